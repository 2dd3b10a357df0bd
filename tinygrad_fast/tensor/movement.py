"""The same numbers in other places: `reshape`, `permute`, `expand`, `cat`, `split`. Ops in `ops/movement.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import dtypes, ops, shapes
from .arithmetic import Arithmetic
from .core import apply, wrap
from .promote import cast_to, must_tensor, must_tensors, sizes_of

if TYPE_CHECKING:
    from . import Tensor


class Movement(Arithmetic):
    """Methods that move numbers; results may share memory with the input."""

    __slots__ = ()

    def reshape(self, shape: Any = (), *more: int) -> Tensor:
        return apply(ops.reshape, self, shape=shapes.reshape(self.shape, sizes_of((shape, *more))))

    def view(self, *shape: Any) -> Tensor:
        """As `reshape`: memory order is not part of the meaning here, so it copies where it must."""
        return self.reshape(sizes_of(shape))

    def view_as(self, other: Tensor) -> Tensor:
        must_tensor("view_as", other)
        return self.reshape(other.shape)

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        first, last = shapes.axis(start_dim, self.ndim), shapes.axis(end_dim, self.ndim)
        if first > last:
            raise RuntimeError(f"flatten: start_dim must not come after end_dim; got {start_dim} and {end_dim}")
        middle = prod(self.shape[first : last + 1])
        return self.reshape(*self.shape[:first], middle, *self.shape[last + 1 :])

    def permute(self, dims: Any = (), *more: int) -> Tensor:
        return apply(ops.permute, self, axes=shapes.permute(sizes_of((dims, *more)), self.ndim))

    def transpose(self, dim0: int, dim1: int) -> Tensor:
        a, b = shapes.axis(dim0, self.ndim), shapes.axis(dim1, self.ndim)
        order = list(range(self.ndim))
        if order:
            order[a], order[b] = b, a
        return apply(ops.permute, self, axes=tuple(order))

    def t(self) -> Tensor:
        if self.ndim > 2:
            raise RuntimeError(f"t: needs at most 2 axes; got {self.shape}. Use .transpose(dim0, dim1) or .mT")
        return self.T

    @property
    def T(self) -> Tensor:
        return self.permute(*range(self.ndim)[::-1])

    @property
    def mT(self) -> Tensor:
        return self.transpose(-1, -2)

    def movedim(self, source: Any, destination: Any) -> Tensor:
        """Axes `source` (an int or several) at the positions `destination`; the others keep their order."""
        ends = [d if isinstance(d, (tuple, list)) else (d,) for d in (source, destination)]
        a, b = ([shapes.axis(d, self.ndim) for d in end] for end in ends)
        if len(a) != len(b) or len({*a}) < len(a) or len({*b}) < len(b):
            raise RuntimeError(f"movedim: one destination for each source, no axis twice; got {source}, {destination}")
        order = [i for i in range(self.ndim) if i not in a]
        for place, i in sorted(zip(b, a)):
            order.insert(place, i)
        return self.permute(*order)

    def squeeze(self, dim: Any = None) -> Tensor:
        axis = shapes.axes(dim, self.ndim)
        return self.reshape(tuple(n for i, n in enumerate(self.shape) if not (i in axis and n == 1)))

    def unsqueeze(self, dim: int) -> Tensor:
        i = shapes.axis(dim, self.ndim + 1)
        return self.reshape(self.shape[:i] + (1,) + self.shape[i:])

    def expand(self, *sizes: Any) -> Tensor:
        return apply(ops.expand, self, shape=shapes.expand(self.shape, sizes_of(sizes)))

    def expand_as(self, other: Tensor) -> Tensor:
        must_tensor("expand_as", other)
        return self.expand(other.shape)

    def broadcast_to(self, size: Any, *more: int) -> Tensor:
        return self.expand(sizes_of((size, *more)))

    def repeat(self, *sizes: Any) -> Tensor:
        """Tiled: sizes[i] copies along axis i."""
        sizes = shapes.ints("repeat", sizes_of(sizes))
        if min(sizes, default=0) < 0:
            raise RuntimeError(f"repeat: counts are at least 0; got {sizes}")
        if len(sizes) < self.ndim:
            raise RuntimeError(f"repeat: needs a count for each of the {self.ndim} axes; got {sizes}")
        shape = (1,) * (len(sizes) - self.ndim) + self.shape
        paired = self.reshape(tuple(n for m in shape for n in (1, m)))
        wide = paired.expand(tuple(n for k, m in zip(sizes, shape) for n in (k, m)))
        return wide.reshape(tuple(k * m for k, m in zip(sizes, shape)))

    def flip(self, dims: Any, *more: int) -> Tensor:
        dims = sizes_of((dims, *more))
        return apply(ops.flip, self, axis=shapes.axes(dims, self.ndim) if dims else ())

    def roll(self, shifts: Any, dims: Any = None) -> Tensor:
        """What leaves at one end comes in at the other; without `dims`, as one long row."""
        if dims is None:
            return self.reshape(-1).roll(shifts, 0).reshape(self.shape)
        x: Any = self
        many = (shapes.ints("roll", v) for v in (shifts, dims))
        for shift, dim in zip(*many, strict=True):
            n = x.size(dim)
            k = shift % n if n else 0
            x = cat([x.narrow(dim, n - k, k), x.narrow(dim, 0, n - k)], dim)
        return x

    def narrow(self, dim: int, start: int, length: int) -> Tensor:
        i, n = shapes.axis(dim, self.ndim), self.size(dim)
        start, length = shapes.ints("narrow", (start, length))
        if min(start, length) < 0 or start + length > n:
            raise RuntimeError(f"narrow: start + length must lie within {n}; got {start} + {length}")
        return apply(ops.getitem, self, key=(slice(None),) * i + (slice(start, start + length),))

    def split(self, split_size: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
        """Consecutive parts: of one size (the last may be smaller), or of each of the sizes given."""
        i, n = shapes.axis(dim, self.ndim), self.size(dim)
        if isinstance(split_size, (int, np.integer)):
            if split_size < 1:
                raise RuntimeError(f"split: the size must be at least 1; got {split_size}")
            sizes = tuple(min(split_size, n - s) for s in range(0, n, split_size)) or (0,)
        else:
            sizes = shapes.ints("split", split_size)
            if min(sizes, default=0) < 0 or sum(sizes) != n:
                raise RuntimeError(f"split: sizes must be >= 0 and sum to {n}, the size of dim {dim}; got {sizes}")
        return apply(ops.split, self, sizes=sizes, axis=i)

    def chunk(self, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
        """At most `chunks` parts of equal size (the last may be smaller)."""
        (chunks,) = shapes.ints("chunk", (chunks,))
        if chunks < 1:
            raise RuntimeError(f"chunk: needs at least 1 chunk; got {chunks}")
        return self.split(max(-(-self.size(dim) // chunks), 1), dim)

    def unbind(self, dim: int = 0) -> tuple[Tensor, ...]:
        """The slices along an axis, which goes away."""
        i = shapes.axis(dim, self.ndim)
        return tuple(p.squeeze(i) for p in self.split(1, i)) if self.size(dim) else ()

    def tril(self, diagonal: int = 0) -> Tensor:
        """Zeros above the diagonal."""
        (k,) = shapes.ints("tril", (diagonal,))
        return self._triangle(lambda i, j: j - i <= k)

    def triu(self, diagonal: int = 0) -> Tensor:
        """Zeros below the diagonal."""
        (k,) = shapes.ints("triu", (diagonal,))
        return self._triangle(lambda i, j: j - i >= k)

    def _triangle(self, keep: Callable) -> Tensor:
        if self.ndim < 2:
            raise RuntimeError(f"tril, triu: need at least 2 axes; got {self.shape}")
        mask = keep(*np.ogrid[: self.shape[-2], : self.shape[-1]])
        return apply(ops.where, wrap(self.xp.asarray(mask), self.xp, [0]), self, cast_to(0, self.dtype))

    def __iter__(self) -> Iterator[Tensor]:
        if not self.data.shape:
            raise TypeError("iter: a 0-d tensor has nothing to iterate over; use .item()")
        return iter(self.unbind(0))


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Joined along an axis; all other axes must agree. Tensors of shape (0,) are left out, as in PyTorch."""
    must_tensors("cat", tensors)
    tensors = [t for t in tensors if t.shape != (0,)] or tensors
    if not tensors:
        raise RuntimeError("cat: needs at least one tensor")
    if not tensors[0].ndim:
        raise RuntimeError("cat: 0-d tensors have no axis to be joined along; use tf.stack")
    axis = shapes.axis(dim, tensors[0].ndim)
    shapes.same_but("cat", [t.shape for t in tensors], axis)
    dtype = dtypes.result_type(*tensors)
    return apply(ops.cat, *(cast_to(t, dtype) for t in tensors), axis=axis)
