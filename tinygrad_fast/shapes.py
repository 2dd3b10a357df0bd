"""Shape rules. Checked before arrays are touched; each message says the rule, what was given, what to do.

Pure Python on tuples of ints: knows neither arrays nor tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from operator import index
from typing import Any, NamedTuple

Shape = tuple[int, ...]
Pair = tuple[int, int]  # height and width
Ints = int | Sequence[int]  # one for all axes, or one for each: see `ints`


class ShapeError(ValueError, RuntimeError):
    """Shapes that do not fit. A ValueError to those who come from NumPy, a RuntimeError to those from PyTorch."""


class Places(NamedTuple):
    """Where an index may point. With `of` ("classes"), to 0..n-1; without, to -n..n-1 along an axis of n."""

    name: str  # of the function
    what: str  # "target": what the index is to it
    n: int
    of: str = ""  # "classes"
    ignored: int | None = None  # with `of`: an index that may stand anywhere and points nowhere

    @property
    def low(self) -> int:
        return 0 if self.of else -self.n

    def error(self, got: Any, more: str = "") -> IndexError:
        rule = f"{self.name}: every {self.what} must be in {self.low}..{self.n - 1}"
        rule += f", there are {self.n} {self.of}" if self.of else f" for an axis of {self.n}"
        unless = "" if self.ignored is None else f" (ignore_index is {self.ignored})"
        advice = ". Number them from 0, or make room for more" if self.of else ""
        return IndexError(f"{rule}; got {got}{unless}{advice}{more}")


class Slot:
    """Stands in a static index for the array that is given as the i-th index input."""

    __slots__ = ("i",)

    def __init__(self, i: int):
        self.i = i


def ints(name: str, value: Any, n: int | None = None) -> tuple[Any, ...]:
    """n ints, from one for all (3 or [3]) or n of them; without n, as many as are given."""
    error: type[Exception] = ShapeError
    try:
        many = tuple(map(index, (value,) if hasattr(value, "__index__") else value))
        if n is None or len(many) == n:
            return many
        if len(many) == 1:
            return many * n
    except TypeError:
        error = TypeError
    rule = "needs ints" if n is None else f"must be an int, or {n} of them"
    raise error(f"{name}: {rule}; got {value!r}")


def of(a: Any) -> Shape:
    """The shape of an array, or () for a Python number."""
    return getattr(a, "shape", ())


def broadcast(name: str, *given: Shape) -> Shape:
    """The common shape: aligned at the right, each axis equal or 1."""
    ndim = max(map(len, given))
    out = []
    for i in range(-ndim, 0):
        sizes = {s[i] for s in given if -i <= len(s)} - {1}
        if len(sizes) > 1:
            raise ShapeError(
                f"{name}: shapes must match axis by axis from the right, or be 1; got {' and '.join(map(str, given))}, "
                f"which differ at axis {i}. Reshape, or unsqueeze where an axis is missing"
            )
        out.append(sizes.pop() if sizes else 1)
    return tuple(out)


def unexpand(shape: Shape, target: Shape) -> Shape:
    """The axes to sum so that a gradient of `shape` becomes one of `target`: broadcasting in reverse."""
    lead = len(shape) - len(target)
    return tuple(range(lead)) + tuple(i + lead for i, n in enumerate(target) if n == 1 and shape[i + lead] != 1)


def expand(shape: Shape, sizes: Sequence[int]) -> Shape:
    """The target of `expand`, with -1 for "as it is"."""
    sizes = ints("expand", sizes)
    lead = len(sizes) - len(shape)
    if lead < 0:
        raise ShapeError(f"expand: needs at least the input's {len(shape)} axes {shape}; got {tuple(sizes)}")
    target = tuple(shape[i - lead] if n == -1 and i >= lead else n for i, n in enumerate(sizes))
    for n, m in zip(shape, target[lead:], strict=True):
        if n not in (1, m):
            raise ShapeError(f"expand: only axes of size 1 can grow; got input {shape} and target {tuple(sizes)}")
    if any(n < 0 for n in target[:lead]):
        raise ShapeError(f"expand: -1 is not allowed for a new leading axis; got {tuple(sizes)} for input {shape}")
    return target


def axis(dim: int, ndim: int, name: str = "dim") -> int:
    """One axis in 0..ndim-1 from one in -ndim..ndim-1. A 0-d tensor counts as having one axis, as in PyTorch."""
    if isinstance(dim, bool) or not hasattr(dim, "__index__"):
        raise TypeError(f"{name}: must be an int; got {dim!r}")
    n = max(ndim, 1)
    if not -n <= dim < n:
        raise IndexError(f"{name}: must be in {-n}..{n - 1} for a tensor of {ndim} axes; got {dim}")
    return int(dim) % n


def axes(dim: int | Sequence[int] | None, ndim: int) -> Shape:
    """A sorted tuple of axes from an int, several, or None (all)."""
    if dim is None:
        return tuple(range(ndim))
    many = [axis(d, ndim) for d in (dim if isinstance(dim, (tuple, list)) else (dim,))]
    if len(set(many)) != len(many):
        raise ShapeError(f"dim: each axis at most once; got {dim}")
    if not many:
        return tuple(range(ndim))
    return tuple(sorted(many)) if ndim else ()


def reduced(shape: Shape, axis: Shape, keepdims: bool) -> Shape:
    """The shape after a reduction over `axis`."""
    if keepdims:
        return tuple(1 if i in axis else n for i, n in enumerate(shape))
    return tuple(n for i, n in enumerate(shape) if i not in axis)


def reshape(shape: Shape, sizes: Sequence[int]) -> Shape:
    """The target of `reshape`, its one -1 replaced by what is left."""
    sizes, total = ints("reshape", sizes), prod(shape)
    if sizes.count(-1) > 1 or any(n < -1 for n in sizes):
        raise ShapeError(f"reshape: sizes are >= 0, at most one of them -1; got {sizes}")
    if -1 in sizes:
        rest = -prod(sizes)
        if rest == 0 or total % rest:
            raise ShapeError(f"reshape: {total} elements of shape {shape} do not divide into {sizes}")
        return tuple(total // rest if n == -1 else n for n in sizes)
    if prod(sizes) != total:
        raise ShapeError(
            f"reshape: the number of elements must stay {total} (shape {shape}); {sizes} has {prod(sizes)}. "
            "Put -1 for one axis to have it worked out"
        )
    return sizes


def permute(dims: Sequence[int], ndim: int) -> Shape:
    """A full order of the axes, each once."""
    order = tuple(axis(d, ndim) for d in dims)
    if sorted(order) != list(range(ndim)):
        raise ShapeError(f"permute: must name each of the {ndim} axes once; got {tuple(dims)}")
    return order


def same_but(name: str, given: Sequence[Shape], along: int) -> None:
    """All shapes equal but along one axis (cat)."""
    first = given[0]
    for s in given[1:]:
        if len(s) != len(first) or any(a != b for i, (a, b) in enumerate(zip(s, first)) if i != along):
            raise ShapeError(
                f"{name}: shapes must agree on every axis but dim={along}; got {', '.join(map(str, given))}"
            )


def matmul(a: Shape, b: Shape) -> None:
    """(..., M, K) @ (..., K, N), batch axes broadcast."""
    if len(a) < 2 or len(b) < 2 or a[-1] != b[-2]:
        raise ShapeError(
            f"matmul: x (..., M, K) @ w (..., K, N) needs equal K; got x {a} and w {b}. Transpose one of them?"
        )
    if a[:-2] != b[:-2]:
        broadcast("matmul (batch axes)", a[:-2], b[:-2])


def linear(x: Shape, w: Shape, b: Shape | None) -> None:
    """x (..., K), w (O, K), b (O)."""
    if len(w) != 2 or not x or x[-1] != w[1]:
        raise ShapeError(
            f"linear: x (..., K) and weight (O, K) need equal K; got x {x} and weight {w}. "
            "Flatten the input, or make the layer with in_features=x.shape[-1]"
        )
    if b is not None and b != w[:1]:
        raise ShapeError(f"linear: bias must be (O,) = {w[:1]}; got {b}")


def window(n: int, k: int, stride: int, padding: int, dilation: int = 1, ceil: bool = False) -> int:
    """How many windows of `k` fit along an axis of `n`: floor((n + 2 padding - dilation (k - 1) - 1) / stride) + 1.

    With `ceil` a last window may hang over the right edge, but must start inside the input or its left padding.
    """
    room = n + 2 * padding - dilation * (k - 1) - 1
    if not ceil:
        return room // stride + 1
    out = -(-room // stride) + 1
    return out - 1 if (out - 1) * stride >= n + padding else out


def conv2d(x: Shape, w: Shape, stride: tuple, padding: tuple, dilation: tuple, groups: int) -> Shape:
    """x (N, C, H, W), w (O, C/groups, KH, KW) -> (N, O, OH, OW)."""
    if len(x) != 4 or len(w) != 4:
        raise ShapeError(f"conv2d: x (N, C, H, W) and weight (O, C/groups, KH, KW); got x {x} and weight {w}")
    if min(stride) < 1 or min(dilation) < 1 or min(padding) < 0 or groups < 1:
        raise ShapeError(
            f"conv2d: stride, dilation and groups >= 1, padding >= 0; got stride {stride}, dilation {dilation}, "
            f"groups {groups}, padding {padding}"
        )
    if x[1] != w[1] * groups or w[0] % groups:
        raise ShapeError(
            f"conv2d: weight (O, C/groups, KH, KW) needs C = {w[1] * groups} channels in x and O divisible by groups; "
            f"got x {x}, weight {w}, groups {groups}"
        )
    hw = tuple(window(n, k, s, p, d) for n, k, s, p, d in zip(x[2:], w[2:], stride, padding, dilation, strict=True))
    if min(hw) < 1:
        raise ShapeError(
            f"conv2d: the kernel must fit into the padded image; got image {x[2:]}, kernel {w[2:]}, padding {padding}, "
            f"dilation {dilation}. Use a larger image or padding"
        )
    return (x[0], w[0], *hw)


def equal(name: str, a: Shape, b: Shape) -> None:
    """Input and target of a loss: the same shape, nothing is broadcast."""
    if a != b:
        raise ValueError(
            f"{name}: input and target must have the same shape; got {a} and {b}. Broadcasting here is nearly always a "
            "mistake: reshape or squeeze one of them, or write target.expand_as(input)"
        )


def classes(name: str, x: Shape, t: Shape, w: Shape) -> None:
    """x (N, C, ...), t (N, ...) class indices, w (C,) or () for none."""
    if len(x) < 2 or t != x[:1] + x[2:]:
        raise ValueError(
            f"{name}: input (N, C, ...) needs targets (N, ...) of class indices; got input {x} and target {t}. "
            "The classes stand on axis 1: permute the input, or drop that axis of the target"
        )
    if w not in ((), (x[1],)):
        raise ValueError(f"{name}: weight must have one element for each of the {x[1]} classes; got shape {w}")


def batch_norm(x: Shape, w: Shape, b: Shape, res: Shape, mean: Shape = (), var: Shape = ()) -> None:
    """x (N, C, ...), res as x; the others (C,), or () for none."""
    if len(x) < 2:
        raise ValueError(f"batch_norm: input must be (N, C, ...); got {x}")
    for name, s in {"weight": w, "bias": b, "running_mean": mean, "running_var": var}.items():
        if s not in ((), (x[1],)):
            raise ValueError(f"batch_norm: {name} must be (C,) = {(x[1],)}, one for each channel of {x}; got {s}")
    if res not in ((), x):
        raise ValueError(f"batch_norm: residual must have the input's shape {x}; got {res}")


def layer_norm(x: Shape, axis: Shape, w: Shape, b: Shape) -> None:
    """w and b have the shape of the last axes, which are normalised, or () for none."""
    tail = tuple(x[i] for i in axis)
    for name, s in {"weight": w, "bias": b}.items():
        if s not in ((), tail):
            raise ValueError(f"layer_norm: {name} must have the normalized shape {tail}; got {s}")


def group_norm(x: Shape, groups: int, w: Shape, b: Shape) -> None:
    """x (N, C, ...), C divisible by groups; w and b (C,), or () for none."""
    if len(x) < 2 or groups < 1 or x[1] % groups:
        raise ValueError(f"group_norm: input (N, C, ...) needs C divisible by num_groups; got {x} and {groups} groups")
    for name, s in {"weight": w, "bias": b}.items():
        if s not in ((), (x[1],)):
            raise ValueError(f"group_norm: {name} must be (C,) = {(x[1],)}, one for each channel of {x}; got {s}")
