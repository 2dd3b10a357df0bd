"""Shape rules of windows, pools and resampling. Each message says the rule, what was given, what to do.

Pure Python on tuples of ints, as `shapes.py`, which holds the general rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import floor
from typing import Any

from .shapes import Ints, Pair, Shape, ShapeError, ints, window


def images(name: str, x: Shape, many: bool = False) -> None:
    """x (N, C, H, W), or one image (C, H, W) unless `many`."""
    if len(x) not in ((4,) if many else (3, 4)):
        one = "" if many else " or (C, H, W)"
        raise ShapeError(f"{name}: input must be (N, C, H, W){one}; got {x}. Add the missing axes with unsqueeze")


def one_type(name: str, **arrays: Any) -> None:
    """All arrays of one dtype; those that are None do not count."""
    given = {key: a.dtype for key, a in arrays.items() if a is not None}
    if len(set(given.values())) > 1:
        raise TypeError(
            f"{name}: {', '.join(given)} must have one dtype; got {', '.join(f'{k} {d}' for k, d in given.items())}. "
            "Convert one with .to(dtype)"
        )


def axis_pads(name: str, padding: Ints | str, kernel: Shape, stride: Shape, dilation: Shape) -> list:
    """(before, after) on each axis, from a number, one for each axis, "valid" or "same"."""
    if padding == "valid":
        return [(0, 0)] * len(kernel)
    if padding == "same":
        if max(stride) > 1:
            raise ShapeError(f'{name}: padding="same" needs stride 1; got {stride}. Give the padding as a number')
        return [(d * (k - 1) // 2, d * (k - 1) - d * (k - 1) // 2) for k, d in zip(kernel, dilation, strict=True)]
    if isinstance(padding, str):
        raise ValueError(f'{name}: padding must be a number, "valid" or "same"; got {padding!r}')
    return [(p, p) for p in ints(f"{name}: padding", padding, len(kernel))]


def conv(name: str, x: Shape, w: Shape, axes: int, groups: int) -> None:
    """x (N, C, *sizes) or (C, *sizes), w (O, C/groups, *kernel), with `axes` sizes."""
    sizes, kernel = ("L", "K") if axes == 1 else ("H, W", "KH, KW")
    if len(x) not in (axes + 1, axes + 2) or len(w) != axes + 2:
        raise ShapeError(
            f"{name}: input (N, C, {sizes}) or (C, {sizes}), weight (O, C/groups, {kernel}); got input {x} and "
            f"weight {w}"
        )
    if groups < 1:
        raise ShapeError(f"{name}: groups must be at least 1; got {groups}")


def conv_transpose2d(x: Shape, w: Shape, stride: Pair, padding: Pair, extra: Pair, groups: int, dilation: Pair) -> Pair:
    """x (N, C, H, W), w (C, O/groups, KH, KW) -> height and width (H - 1) s - 2 p + d (KH - 1) + extra + 1."""
    if len(x) != 4 or len(w) != 4 or x[1] != w[0] or groups < 1 or x[1] % groups:
        raise ShapeError(
            f"conv_transpose2d: input (N, C, H, W), weight (C, O/groups, KH, KW), C divisible by groups; got input "
            f"{x}, weight {w}, groups {groups}"
        )
    if min(stride) < 1 or min(dilation) < 1 or min(padding) < 0:
        raise ShapeError(
            f"conv_transpose2d: stride and dilation >= 1, padding >= 0; got stride {stride}, dilation {dilation}, "
            f"padding {padding}"
        )
    if min(extra) < 0 or any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation, strict=True)):
        raise ShapeError(
            f"conv_transpose2d: output_padding must be >= 0 and less than stride or dilation; got output_padding "
            f"{extra}, stride {stride}, dilation {dilation}"
        )
    axes = zip(x[2:], w[2:], stride, padding, extra, dilation, strict=True)
    h, wide = ((n - 1) * s - 2 * p + d * (k - 1) + e + 1 for n, k, s, p, e, d in axes)
    if min(h, wide) < 1:
        raise ShapeError(
            f"conv_transpose2d: the output must have at least one pixel; got {(h, wide)} from input {x}, weight {w}, "
            f"stride {stride}, padding {padding}. Use less padding"
        )
    return h, wide


def pool(name: str, x: Shape, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil: bool) -> Pair:
    """The number of windows down and across."""
    images(name, x)
    if min(kernel) < 1 or min(stride) < 1 or min(dilation) < 1:
        raise ShapeError(
            f"{name}: kernel_size, stride and dilation >= 1; got kernel_size {kernel}, stride {stride}, "
            f"dilation {dilation}"
        )
    if any(not 0 <= p <= k // 2 for p, k in zip(padding, kernel, strict=True)):
        raise ShapeError(
            f"{name}: padding must be from 0 to half of the kernel, or a window may lie outside the image; got padding "
            f"{padding}, kernel_size {kernel}. Use F.pad for more"
        )
    axes = zip(x[-2:], kernel, stride, padding, dilation, strict=True)
    oh, ow = (window(n, k, s, p, d, ceil) for n, k, s, p, d in axes)
    if min(oh, ow) < 1:
        raise ShapeError(
            f"{name}: the window must fit into the padded image; got image {x[-2:]}, kernel_size {kernel}, padding "
            f"{padding}, dilation {dilation}. Use a larger image or a smaller kernel"
        )
    return oh, ow


def adaptive(name: str, x: Shape, size: int | Sequence[int | None] | None) -> Pair:
    """The output's height and width; None keeps the input's."""
    images(name, x)
    two = tuple(size) if isinstance(size, Sequence) else (size, size)
    if len(two) != 2 or any(n is not None and (not hasattr(n, "__index__") or n < 1) for n in two):
        raise ShapeError(
            f"{name}: output_size must be an int >= 1 or two of them (height, width), None to keep one; got {size!r}"
        )
    if min(x[-2:]) < 1:
        raise ShapeError(f"{name}: the image must have at least one pixel; got {x}")
    oh, ow = (n if m is None else int(m) for n, m in zip(x[-2:], two, strict=True))
    return oh, ow


def resized(x: Shape, size: Any, scale_factor: Any) -> tuple[Pair, tuple[float | None, float | None]]:
    """The output's height and width, and the scales if they were given: floor(n scale) pixels."""
    images("interpolate", x, many=True)
    if (size is None) == (scale_factor is None):
        raise ValueError(
            f"interpolate: give either size or scale_factor; got size {size} and scale_factor {scale_factor}"
        )
    scales: Any = (None, None)
    if size is not None:
        out = ints("interpolate: size", size, 2)
    else:
        scales = tuple(scale_factor) if isinstance(scale_factor, Sequence) else (scale_factor, scale_factor)
        if len(scales) != 2 or not all(isinstance(s, (int, float)) and s > 0 for s in scales):
            raise ShapeError(f"interpolate: scale_factor must be a number > 0 or two of them; got {scale_factor!r}")
        out = floor(x[2] * scales[0]), floor(x[3] * scales[1])
    if min(out) < 1 or min(x[2:]) < 1:
        raise ShapeError(
            f"interpolate: input and output must have at least one pixel; got image {x[2:]}, size {size}, scale_factor "
            f"{scale_factor}"
        )
    return out, scales


def grid(x: Shape, g: Shape) -> None:
    """x (N, C, H, W), grid (N, OH, OW, 2)."""
    if len(x) != 4 or len(g) != 4 or g[3] != 2 or g[0] != x[0] or min(x[2:]) < 1:
        raise ShapeError(
            f"grid_sample: input (N, C, H, W) with at least one pixel and grid (N, OH, OW, 2) of one N; got input {x} "
            f"and grid {g}. Make a grid with F.affine_grid(theta, size)"
        )


def theta(t: Shape, size: Sequence[int]) -> None:
    """theta (N, 2, 3), size (N, C, H, W)."""
    if len(size) != 4 or min(size) < 1 or tuple(t) != (size[0], 2, 3):
        raise ShapeError(
            f"affine_grid: theta (N, 2, 3) and size (N, C, H, W), all >= 1; got theta {t} and size {tuple(size)}"
        )


def shuffle(name: str, x: Shape, factor: int, back: bool = False) -> None:
    """C divisible by factor^2 (pixel_shuffle); H and W divisible by factor (pixel_unshuffle)."""
    images(name, x)
    if factor < 1 or (any(n % factor for n in x[-2:]) if back else x[-3] % factor**2):
        what = "H and W must be divisible by downscale_factor" if back else "C must be divisible by upscale_factor^2"
        raise ShapeError(f"{name}: {what}, at least 1; got input {x} and factor {factor}")


def columns(name: str, kernel: Pair, hw: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Pair:
    """The number of patches of an image (H, W), down and across."""
    if min(kernel) < 1 or min(stride) < 1 or min(dilation) < 1 or min(padding) < 0:
        raise ShapeError(
            f"{name}: kernel_size, stride and dilation >= 1, padding >= 0; got kernel_size {kernel}, stride {stride}, "
            f"dilation {dilation}, padding {padding}"
        )
    oh, ow = (window(n, k, s, p, d) for n, k, s, p, d in zip(hw, kernel, stride, padding, dilation, strict=True))
    if min(oh, ow) < 1:
        raise ShapeError(
            f"{name}: the patches must fit into the padded image; got image {hw}, kernel_size {kernel}, padding "
            f"{padding}, dilation {dilation}. Use a larger image or padding"
        )
    return oh, ow


def fold(x: Shape, kernel: Pair, hw: Pair, out: Pair) -> None:
    """x (N, C KH KW, L), L the number of patches of the image."""
    k, many = kernel[0] * kernel[1], out[0] * out[1]
    if len(x) not in (2, 3) or x[-2] % k or x[-1] != many:
        raise ShapeError(
            f"fold: input (N, C KH KW, L) with KH KW = {k} and L = {out[0]} x {out[1]} = {many} patches of the image "
            f"{hw}; got {x}"
        )
