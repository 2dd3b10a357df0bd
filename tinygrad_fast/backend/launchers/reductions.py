"""Launchers of kernels/reduce.cu and kernels/softmax.cu."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import inf, prod
from typing import Any

from ...dtypes import int64, is_float
from ...shapes import Shape
from .. import windows
from ..launch import Strided
from ..wide import wide_type
from .machine import Machine, merged, power

AXES = 4  # of `struct Axes`
BLOCKS = 1024  # fill a large GPU: where there are fewer, long rows are cut. A constant, so that sums are alike on all
PIECE = 16  # numbers of a lane in a piece, at least
LARGE = 1 << 31  # from so many results or numbers of one on, kernels count in 64 bits
FOUND = {"var": 3, "logsumexp": 2}  # numbers that a piece finds; the others find one


class Reductions(Machine):
    """Reductions of floats over any axes, and the softmax family. Integers and bools stay with the library."""

    def sum(self, x, axis, keepdims=False):
        return self._reduction("sum", x, axis, keepdims) if is_float(x.dtype) else super().sum(x, axis, keepdims)

    def prod(self, x, axis, keepdims=False):
        return self._reduction("prod", x, axis, keepdims) if is_float(x.dtype) else super().prod(x, axis, keepdims)

    def mean(self, x, axis, keepdims=False):
        return self._reduction("mean", x, axis, keepdims, by=prod(x.shape[i] for i in axis))

    def var(self, x, axis, correction, keepdims=False):
        return self._reduction("var", x, axis, keepdims, by=max(prod(x.shape[i] for i in axis) - correction, 0))

    def amax(self, x, axis, keepdims=False):
        return self._reduction("amax", x, axis, keepdims) if _some(x, axis) else super().amax(x, axis, keepdims)

    def amin(self, x, axis, keepdims=False):
        return self._reduction("amin", x, axis, keepdims) if _some(x, axis) else super().amin(x, axis, keepdims)

    def logsumexp(self, x, axis, keepdims=False):
        return (
            self._reduction("logsumexp", x, axis, keepdims) if _some(x, axis) else super().logsumexp(x, axis, keepdims)
        )

    def argmax(self, x, axis, keepdims=False):
        return self._best("argmax", x, axis, keepdims) if _some(x, (axis,)) else super().argmax(x, axis, keepdims)

    def argmin(self, x, axis, keepdims=False):
        return self._best("argmin", x, axis, keepdims) if _some(x, (axis,)) else super().argmin(x, axis, keepdims)

    def _reduction(self, kernel, x, axis, keepdims, **more):
        near, plan = self._planned(x, axis)
        y, tiling, given = self.empty(plan.shape, x.dtype), plan.tiling, dict(plan.axes, **more)
        if tiling.pieces == 1:
            self._tiled(kernel, x.dtype, tiling, x=near, pieces=None, piece=None, y=y, **given)
        else:
            found = self.empty((tiling.pieces, tiling.K, FOUND.get(kernel, 1)), wide_type(x.dtype))
            self._tiled(kernel, x.dtype, tiling, x=near, pieces=None, piece=found, y=None, **given)
            last = Tiling(tiling.K, tiling.pieces, columns=True)
            self._tiled(kernel, x.dtype, last, x=None, pieces=found, piece=None, y=y, **given)
        return plan.seen(y, _ones(x.shape, axis) if keepdims else None)

    def _best(self, kernel, x, axis, keepdims):
        near, plan = self._planned(x, (axis,), cut=False)
        y = self.empty(plan.shape, int64)
        self._tiled(kernel, x.dtype, plan.tiling, x=near, y=y, **plan.axes)
        return plan.seen(y, _ones(x.shape, (axis,)) if keepdims else None)

    def _planned(self, x, axis, cut=True):
        """What a kernel reads, and how: x as it lies, or a copy where its axes are too many to be told."""
        given = Strided(x if x.ndim else self.np.asarray(x))  # NumPy makes scalars of what has no axes
        plan = _plan(x.shape, given.strides, tuple(axis), cut)
        if plan is None:
            kept = [i for i in range(x.ndim) if i not in axis]
            x = self.contiguous(x.transpose(*kept, *axis))
            given = Strided(x)
            plan = _plan(x.shape, given.strides, tuple(range(len(kept), x.ndim)), cut)
        return given, plan

    def _tiled(self, kernel, dtype, tiling, **given):
        defines = {"DTYPE": dtype.name} | ({"INDEX": "i64"} if max(tiling.K, tiling.R) >= LARGE else {})
        self.launch(kernel, grid=tiling.grid, block=(tiling.threads,), defines=defines, plan=tiling.plan, **given)

    # The softmax family: kernels/softmax.cu

    def softmax(self, x, axis):
        return self._classwise("softmax", "y", x, (axis,), x=x)

    def log_softmax(self, x, axis):
        return self._classwise("log_softmax", "y", x, (axis,), x=x)

    def softmax_back(self, g, y, axis):
        return self._classwise("softmax_back", "dx", y, (axis,), g=g, y=y)

    def log_softmax_back(self, g, y, axis):
        return self._classwise("log_softmax_back", "dx", y, (axis,), g=g, y=y)

    def logsumexp_back(self, g, x, y, axis):
        found = self._classwise("logsumexp_back", "dx", x, axis, g=g, x=x, y=y)
        return super().logsumexp_back(g, x, y, axis) if found is None else found

    def _classwise(self, kernel, result, like, axis, **arrays):
        """The result lies in memory as `like`; None where the axes do not follow each other in memory, or are none."""
        order = windows.memory_order(like)
        shape = [like.shape[i] for i in order]
        own = [at for at, i in enumerate(order) if i in axis]
        if not own or own[-1] - own[0] >= len(own):
            return None
        classes, inner = prod(shape[at] for at in own), prod(shape[own[-1] + 1 :])
        y = self.empty(shape, like.dtype)
        near = {name: self.contiguous(a.transpose(order)) for name, a in arrays.items()} | {result: y}
        tiling = Tiling(y.size // max(classes, 1), classes, columns=inner > 1)
        size = dict(positions=tiling.K, C=classes, inner=inner, lanes=tiling.lanes)
        defines = {"DTYPE": like.dtype.name}
        self.launch(kernel, grid=tiling.grid[:1], block=(tiling.threads,), defines=defines, **near, **size)
        return y.transpose(windows.inverse(order))


class Tiling:
    """Who finds K results of R numbers each: `struct Plan` of reduce.cu. Rows or columns: see lanes.cuh.

    cut: rows that are long are cut into pieces where results are few, until there are so many blocks.
    """

    def __init__(self, K: int, R: int, columns: bool, cut: int = 0):
        few = power(-(-R // 4))  # lanes that take four numbers each
        if columns:
            results = min(power(K), 32)
            lanes = max(32 // results, min(few, 256 // results))
        elif R <= 512:
            lanes = min(few, 32)
            results = max(32 // lanes, min(power(K), 128 // lanes))
        else:
            lanes, results = 128 if R <= 2048 else 256 if R <= 8192 else 512, 1
        blocks = -(-K // results)
        pieces = max(min(cut // max(blocks, 1), R // (lanes * PIECE)), 1)
        length = -(-R // (pieces * lanes)) * lanes
        self.K, self.R, self.lanes, self.threads = K, R, lanes, lanes * results
        self.pieces = -(-R // length) if pieces > 1 else 1
        self.grid = (blocks, self.pieces)
        self.plan = dict(K=K, R=R, length=length, lanes=lanes, columns=columns)


@dataclass(frozen=True)
class Plan:
    """How an array of some shape and strides is reduced."""

    axes: dict[str, dict[str, Shape]]  # kept and reduced, as `struct Axes`
    shape: Shape  # of the result, its axes in the order in which they lie in memory
    order: Shape | None  # back to the order in which they are named; None: it is the same
    tiling: Tiling

    def seen(self, y: Any, shape: Shape | None) -> Any:
        y = y if self.order is None else y.transpose(self.order)
        return y if shape is None else y.reshape(shape)


@lru_cache(maxsize=1024)
def _plan(shape: Shape, strides: Shape, axis: Shape, cut: bool) -> Plan | None:
    """None where more axes remain than a kernel can be told. The result lies in memory as the kept axes do."""
    slow = sorted(range(len(shape)), key=lambda i: -abs(strides[i]) if shape[i] > 1 and strides[i] else -inf)
    order = [i for i in slow if i not in axis]
    groups = (order, [i for i in slow if i in axis])
    kept, reduced = (merged([(shape[i], strides[i]) for i in group]) for group in groups)
    if max(len(kept), len(reduced)) > AXES:
        return None
    k, r = (abs(axes[-1][1]) if axes else 0 for axes in (kept, reduced))
    results, numbers = (prod(n for n, _ in axes) for axes in (kept, reduced))
    tiling = Tiling(results, numbers, columns=0 < k and (k < r or not r), cut=BLOCKS if cut else 0)
    named = sorted(order)
    back = None if order == named else windows.inverse([named.index(i) for i in order])
    axes = {"kept": _filled(kept), "reduced": _filled(reduced)}
    return Plan(axes, tuple(shape[i] for i in order), back, tiling)


def _filled(axes: list[Shape]) -> dict[str, Shape]:
    n, s = zip(*[(1, 0)] * (AXES - len(axes)), *axes) if axes else ((1,) * AXES, (0,) * AXES)
    return {"n": n, "s": s}


def _some(x: Any, axis: Shape) -> bool:
    """Are there floats to choose from? The library does the others, and says what is wrong with none."""
    return is_float(x.dtype) and all(x.shape[i] for i in axis)


def _ones(shape: Shape, axis: Shape) -> Shape:
    return tuple(1 if i in axis else n for i, n in enumerate(shape))
