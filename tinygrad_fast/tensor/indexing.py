"""Reading by position: x[...] with everything PyTorch accepts, `gather`, `index_select`."""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import backend, ops, shapes
from ..shapes import Places, Slot
from .core import Core, apply, wrap
from .movement import Movement

if TYPE_CHECKING:
    from . import Tensor


class Indexing(Movement):
    """Indexing. Index arrays are checked before an op sees them (`check_indices` of the backend)."""

    __slots__ = ()

    def __getitem__(self, key: Any) -> Tensor:
        parts = key if isinstance(key, tuple) else (key,)
        if any(_is_lone_bool(k) for k in parts):
            return _unfold_bools(self, parts)
        static, indices = static_index(self, key)
        if not indices:
            return apply(ops.getitem, self, key=static)
        first, then = ints_first(static)
        x = apply(ops.getitem, self, key=first) if first else self
        return apply(ops.getitem, x, *indices, key=then)

    def gather(self, dim: int, index: Tensor) -> Tensor:
        """y[i][j] = x[index[i][j]][j] for dim 0, and so on."""
        must_index("gather", index)
        axis = shapes.axis(dim, self.ndim)
        if not self.ndim and index.ndim < 2:
            return self.reshape(1).gather(0, index.reshape(-1)).reshape(index.shape)
        if index.ndim != self.ndim or any(a > b for i, (a, b) in enumerate(zip(index.shape, self.shape)) if i != axis):
            raise shapes.ShapeError(
                "gather: the index needs x's number of axes, and no size above x's but along dim; "
                f"got index {index.shape}, x {self.shape}"
            )
        return apply(ops.gather, self, checked_index("gather", index, self.shape[axis]), axis=axis)

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        """The slices along an axis at the given positions."""
        must_index("index_select", index)
        axis = shapes.axis(dim, self.ndim)
        if index.ndim > 1:
            raise IndexError(f"index_select: the index has one axis; got {index.shape}")
        checked = checked_index("index_select", index.reshape(-1), self.size(dim))
        return apply(ops.getitem, self, checked, key=(slice(None),) * axis + (Slot(0),))

    def nonzero(self, *, as_tuple: bool = False) -> Any:
        """The indices (count, ndim) of the elements that are not 0, or one tensor for each axis with `as_tuple`.

        Reads values, which no op may: there is no gradient.
        """
        a = self.xp.to_numpy(self.data)
        found = np.atleast_1d(a).nonzero() if as_tuple else (np.argwhere(a),)
        indices = tuple(wrap(self.xp.asarray(index), self.xp, [0]) for index in found)
        return indices if as_tuple else indices[0]


def must_index(name: str, index: Any) -> None:
    if not isinstance(index, Core):
        raise TypeError(f"{name}: the index must be a Tensor; got {type(index).__name__}. Make one with tf.tensor(...)")


def checked(index: Any, places: Places) -> Any:
    """The index as int64, every element in its place; itself where nothing changes."""
    data = index.xp.check_indices(index.data, places)
    return index if data is index.data else wrap(data, index.xp, [0])


def checked_index(name: str, index: Core, n: int) -> Any:
    """An integer index with every element in -n..n-1; negative ones count from the end."""
    if index.dtype.kind not in "iu":
        raise IndexError(
            f"{name}: an index is made of ints, slices, None, ..., and lists or tensors of integers or bools; "
            f"got {index.dtype}. Write index.long() if the numbers are whole"
        )
    return checked(index, Places(name, "index", n))


def static_index(x: Core, key: Any) -> tuple[tuple, list[Tensor]]:
    """What stands in x[...], as a static key with slots, and the integer tensors that fill the slots."""
    parts = key if isinstance(key, tuple) else (key,)
    if sum(k is Ellipsis for k in parts) > 1:
        raise IndexError("index: only one ... stands for all axes not named; got several")
    used = sum(_consumed(k) for k in parts)
    if used > x.ndim:
        raise IndexError(f"index: at most {x.ndim} indices for a tensor of shape {x.shape}; got {used}")
    static: list[Any] = []
    indices: list[Tensor] = []
    axis = 0
    for k in parts:
        if k is None or k is Ellipsis or isinstance(k, slice):
            static.append(_plain_slice(k) if isinstance(k, slice) else k)
        elif isinstance(k, (int, np.integer)) and not isinstance(k, (bool, np.bool_)):
            n = x.shape[axis]
            if not -n <= k < n:
                raise IndexError(f"index: must be in {-n}..{n - 1} for axis {axis} of shape {x.shape}; got {k}")
            static.append(int(k))
        else:
            for t in _advanced(x, k, axis):
                static.append(Slot(len(indices)))
                indices.append(t)
        axis = axis + x.ndim - used if k is Ellipsis else axis + _consumed(k)
    return tuple(static), indices


def ints_first(static: tuple) -> tuple[tuple, tuple]:
    """An index with ints and arrays in two steps: x[0, :, [1, 2]] is x[0][:, [1, 2]], where NumPy would move axes."""
    if not any(type(k) is int for k in static):
        return (), static
    whole = slice(None)
    first = tuple(whole if isinstance(k, Slot) else k for k in static)
    return first, tuple(k if isinstance(k, Slot) or k is Ellipsis else whole for k in static if type(k) is not int)


def _is_lone_bool(k: Any) -> bool:
    array = isinstance(k, (Core, np.ndarray)) and k.dtype == np.bool_
    return not k.shape if array else isinstance(k, (bool, np.bool_))


def _unfold_bools(x: Any, parts: tuple) -> Tensor:
    """x[True] is x[None], and x[False] the same with an axis of 0: a new axis, read at [0] or nowhere."""
    rest, axis, plain = x.ndim - sum(_consumed(k) for k in parts), 0, []
    for k in parts:
        if _is_lone_bool(k):
            x = x.unsqueeze(axis)
        plain.append(([0] if k else []) if _is_lone_bool(k) else k)
        axis += rest if k is Ellipsis else 1 if _is_lone_bool(k) else _consumed(k)
    return x[tuple(plain)]


def _consumed(k: Any) -> int:
    """How many axes of x one part of an index takes."""
    if k is None or k is Ellipsis or isinstance(k, (bool, np.bool_)):
        return 0
    mask = isinstance(k, (Core, np.ndarray)) and k.dtype == np.bool_
    if isinstance(k, list):
        mask = np.asarray(k).dtype == np.bool_
        return np.asarray(k).ndim if mask else 1
    return k.ndim if mask else 1


def _plain_slice(k: slice) -> slice:
    """A slice of ints: 0-d integer tensors are allowed as bounds."""
    try:
        plain = slice(*(None if v is None else index(v) for v in (k.start, k.stop, k.step)))
    except TypeError:
        raise TypeError(f"index: a slice is made of ints; got {k}") from None
    if plain.step is not None and plain.step < 1:
        raise ValueError(f"index: the step of a slice must be at least 1; got {plain.step}. Reverse with x.flip(dim)")
    return plain


def _advanced(x: Core, k: Any, axis: int) -> list[Tensor]:
    """Integer tensors from a list, an array, an integer tensor or a mask."""
    a = k.xp.to_numpy(k.data) if isinstance(k, Core) and k.dtype == np.bool_ else k
    if not isinstance(a, Core):
        a = np.asarray(a, np.int64) if isinstance(a, list) and not a else np.asarray(a)
    if isinstance(a, np.ndarray) and a.dtype == np.bool_:
        if not a.ndim:
            raise IndexError("index: a single bool is not a place to write to; use x[...] = value if it is True")
        if a.shape != x.shape[axis : axis + a.ndim]:
            covered = x.shape[axis : axis + a.ndim]
            raise IndexError(f"index: a mask needs the shape of the axes it covers, {covered}; got {a.shape}")
        arrays: Any = a.nonzero()
    else:
        arrays = (a,)
    return [_placed(x, t, x.shape[axis + i]) for i, t in enumerate(arrays)]


def _placed(x: Core, index: Any, n: int) -> Tensor:
    """An index for an axis of x, checked on its own device (on the CPU that is done at once) and moved to x's."""
    given = index if isinstance(index, Core) else wrap(index, backend.get("cpu"), [0])
    if given.xp is not x.xp and given.device.type != "cpu":
        raise RuntimeError(
            f"index: an index lies on the CPU, or with the tensor that it is for; got one on {given.xp.name} for a "
            f"tensor on {x.xp.name}. Move it with .to(device)"
        )
    t = checked_index("index", given, n)
    return t if t.xp is x.xp else wrap(x.xp.asarray(t.data), x.xp, [0])
