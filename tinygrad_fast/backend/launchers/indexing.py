"""Launchers of kernels/scatter.cu: reading by index, in reverse."""

from __future__ import annotations

from math import prod
from typing import Any

from ... import determinism
from ...dtypes import int32, int64
from ...shapes import Slot
from .. import windows
from ..wide import wide_type
from .machine import Machine, lanes

CHUNK, NOWHERE = 32, -1  # of scatter.cu
FEW = 64  # entries of a column, up to which each of them looks for its equals


class Indexing(Machine):
    """Sums over equal indices, in a fixed order unless `determinism` allows any.

    Indices lie inside; a negative one counts from the end, but in a table, where there is none (`Places.low`).
    """

    def getitem_back(self, g, *indices, key, shape):
        if not indices:
            return super().getitem_back(g, key=key, shape=shape)
        key, axes = _axes(key, indices, shape)
        read = [i for i, (_, index) in enumerate(axes) if index is not None]
        kept = [i for i in range(len(axes)) if i not in read]
        sizes = [axes[i][0] for i in read]
        places, *more = (self._from_end(axes[i][1], axes[i][0]) for i in read)
        for n, index in zip(sizes[1:], more, strict=True):
            places = places * n + index
        lead = read[0] if read == list(range(read[0], read[-1] + 1)) else 0  # where the places' axes stand in g
        there = range(lead, lead + places.ndim)
        others = [i for i in range(g.ndim) if i not in there]
        lying = [i for i in windows.memory_order(g) if i in others]
        kept = [kept[others.index(i)] for i in lying]
        rows = self._contiguous(g.transpose(*there, *lying), (places.size, prod(g.shape[i] for i in lying)))
        d = self._scatter(rows, places.reshape(-1), prod(sizes))
        d = d.reshape(*sizes, *(axes[i][0] for i in kept)).transpose(windows.inverse([*read, *kept]))
        if all(part == slice(None) for part in key):
            return d
        whole = self.full(shape, 0, g.dtype)
        whole[key] = d
        return whole

    def embedding_back(self, index, g, rows, padding_idx):
        width = g.shape[-1]
        at = index.astype(int64, copy=False).reshape(-1)
        if padding_idx is not None:
            at = self.np.where(at == padding_idx, NOWHERE, at)
        return self._scatter(self._contiguous(g, (at.size, width)), at, rows)

    def gather_back(self, g, index, axis, shape):
        order = windows.memory_order(g)
        sizes = [index.shape[i] for i in order]
        at = order.index(axis)
        o, m, k, i = prod(sizes[:at]), index.shape[axis], shape[axis], prod(sizes[at + 1 :])
        g, index = (self._contiguous(a.transpose(order), (o, m, i)) for a in (g, self._from_end(index, k)))
        if m <= FEW:
            d = self.full((o, k, i), 0, g.dtype)
            given, defines = dict(g=g, index=index, d=d, O=o, M=m, K=k, I=i), {"DTYPE": g.dtype.name, "PACKED": 0}
            self.launch("gather_back", grid=(-(-g.size // 256),), block=(256,), defines=defines, **given)
        else:
            column, line = self.np.arange(o)[:, None, None], self.np.arange(i)
            d = self._scatter(g.reshape(-1, 1), ((column * k + index) * i + line).reshape(-1), o * k * i)
        sizes[at] = k
        d = d.reshape(sizes).transpose(windows.inverse(order))
        if d.shape == shape:
            return d
        whole = self.full(shape, 0, g.dtype)
        whole[tuple(map(slice, d.shape))] = d
        return whole

    def pixels(self, x, index):
        _, c, h, w = x.shape
        lines = x.transpose(windows.NHWC).reshape(-1, c).take(self._places(index, h * w), axis=0)
        return lines.reshape(*index.shape, c).transpose(windows.NCHW)

    def pixels_back(self, g, index, hw):
        n, c = g.shape[:2]
        lines = self._contiguous(g.transpose(windows.NHWC), (index.size, c))
        d = self._scatter(lines, self._places(index, prod(hw)), n * prod(hw))
        return d.reshape(n, *hw, c).transpose(windows.NCHW)

    def _places(self, index, size):
        """Pixels of each image, `size` of them, as pixels of all images."""
        return (self.np.arange(len(index))[:, None, None] * size + index).reshape(-1)

    def _from_end(self, index, n):
        """Indices of -n .. n - 1 as 0 .. n - 1, int64"""
        return (index if isinstance(index, int) else index.astype(int64, copy=False)) % n

    def _contiguous(self, a, shape):
        return self.contiguous(a).reshape(shape)

    def _scatter(self, g, at, rows, s=None, shift=0):
        """(rows, width): row i >> shift of g (n, width), times s[i], added at row at[i]; nowhere, if that is -1."""
        n, width, wide = at.size, g.shape[1], wide_type(g.dtype)
        ordered, pack = determinism.are_deterministic_algorithms_enabled(), 16 // g.itemsize
        packed = ordered and width % pack == 0 and self.address(g) % 16 == 0
        along = width // pack if packed else width
        x = lanes(along, 128)  # threads along a row; the others take the next entries
        defines = {"DTYPE": g.dtype.name, "PACKED": int(packed)}
        shared = dict(block=(x, 128 // x), defines=defines, width=width, rows=rows)
        across = min(-(-along // x), 65535)
        if not ordered:
            d = self.full((rows, width), 0, wide)
            grid = (-(-n // (128 // x)), across)
            self.launch("scatter_atomic", grid=grid, g=g, s=s, row=at, d_=d, n=n, shift=shift, **shared)
            return self.cast(d, dtype=g.dtype)
        d = self.full((rows, width), 0, g.dtype)
        order = (at.astype(int32) if rows < 1 << 31 else at).argsort(kind="stable")  # half the digits to sort by
        kernel, given = "scatter", dict(g=g, s=s, order=order, row=at.take(order), shift=shift)
        while n:
            chunks, part_row, part = -(-n // CHUNK), None, None
            if chunks > 1:
                part_row, part = self.empty(2 * chunks, int64), self.empty((2 * chunks, width), wide)
            grid = (-(-chunks // (128 // x)), across)
            self.launch(kernel, grid=grid, d=d, part_row=part_row, part=part, n=n, **given, **shared)
            kernel, given, n = "scatter_parts", dict(g=part, row=part_row), 2 * chunks if chunks > 1 else 0
        return d


def _axes(key: tuple, indices: tuple, shape: tuple[int, ...]) -> tuple[tuple, list[tuple[int, Any]]]:
    """The part of x that a key with index arrays reads from, as slices; and that part's axes: (size, index or None).

    A number beside index arrays is an index, too.
    """
    used = sum(k is not None and k is not Ellipsis for k in key)
    if Ellipsis not in key:
        key = (*key, Ellipsis)
    i = key.index(Ellipsis)
    key = key[:i] + (slice(None),) * (len(shape) - used) + key[i + 1 :]
    part: list[Any] = []
    axes: list[tuple[int, Any]] = []
    rest = iter(shape)
    for k in key:
        n = 1 if k is None else next(rest)
        if k is None or isinstance(k, slice):
            inside = None if k is None else slice(None) if k.indices(n) == (0, n, 1) else k
            part.append(inside)
            axes.append((n if k is None else len(range(*k.indices(n))), None))
        else:
            part.append(slice(None))
            axes.append((n, indices[k.i] if isinstance(k, Slot) else k))
    return tuple(part), axes
