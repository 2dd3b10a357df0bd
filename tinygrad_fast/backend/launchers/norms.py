"""Launchers of kernels/batch_norm.cu (batch norm and group norm) and kernels/layer_norm.cu."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from math import prod
from typing import Any

from ..wide import wide_type
from .machine import Machine, power

Grid = tuple[int, ...]
BLOCKS = 512  # of a launch, at most: a large GPU is full. By sizes alone, so that sums are the same on every GPU
BYTES = 16  # that a thread reads at once: V numbers
THREADS = 256  # of a block
WARPS = THREADS // 32


def unless_empty(f: Callable) -> Callable:
    """The definition where the first array has no elements: there is nothing to launch."""

    @wraps(f)
    def run(self: Norms, *arrays: Any, **static: Any) -> Any:
        if arrays[0].size:
            return f(self, *arrays, **static)
        return getattr(super(Norms, self), f.__name__)(*arrays, **static)

    return run


class Columns:
    """How x (N, C, ...) lies in memory, and who takes what of it: the grid, and `struct Shape` of batch_norm.cu.

    apart: each sample has statistics of its own; group: so many neighbouring channels have the same.
    """

    def __init__(self, x: Any, apart: bool = False, group: int = 1):
        n, c, p = x.shape[0], x.shape[1], prod(x.shape[2:])
        to_last = (0, *range(2, x.ndim), 1)
        self.last = c > 1 and (x.transpose(to_last).flags.c_contiguous or not x.flags.c_contiguous)
        self.axes = to_last if self.last else tuple(range(x.ndim))  # to memory
        self.back = (0, x.ndim - 1, *range(1, x.ndim - 1)) if self.last else self.axes
        length = c if self.last else p
        packs = _packs(x, length)
        units = (p if self.last else packs) * (1 if apart else n)
        columns = c * n if apart else c
        if self.last:
            results = min(power(packs), 32)
            lanes, across = THREADS // results, -(-packs // results) * (columns // c)
        else:
            lanes = min(power(units), THREADS)
            across = -(-columns // (THREADS // lanes))
        least = 4 * lanes  # units worth a block
        step = -(-units // min(max(BLOCKS // across, 1), -(-units // least)))
        self.grid = (across, -(-units // step))
        self.statistics, self.columns = columns // group, columns
        self.shape = dict(C=c, length=length, units=units, step=step, columns=columns, group=group)
        self.shape["lanes"] = lanes
        self.defines = {"DTYPE": x.dtype.name, "LAST": int(self.last)}


class Norms(Machine):
    """Normalisation. Results lie in memory as x does, channels-last if x lies in neither order."""

    @unless_empty
    def batch_norm(self, x, w, b, res, mean, var, eps, relu):
        at = Columns(x)
        x, res = _near(self, at, x, res)
        if mean is None or var is None:
            mean, var = self._statistics(at, x)
        y, rstd = self._normalised(at, x, mean, var, w, b, res, eps, relu)
        return y, _kept(y, res, relu), mean, rstd, var

    @unless_empty
    def batch_norm_back(self, g, x, w, b, mean, rstd, kept, relu, residual):
        return self._pulled(Columns(x), g, x, w, b, mean, rstd, kept, relu, residual)

    def batch_norm_remember_(self, running_mean, running_var, mean, var, momentum, n):
        running = running_mean, running_var
        if any(a.dtype != running_mean.dtype or not a.flags.c_contiguous for a in running):
            return super().batch_norm_remember_(*running, mean, var, momentum, n)
        c, factor = mean.size, n / (n - 1) if n > 1 else 1.0
        mean, var = _wide(self, running_mean, mean, var)
        self.launch(
            "batch_norm_remember_",
            **dict(grid=(-(-c // THREADS),), block=(THREADS,), defines={"DTYPE": running_mean.dtype.name, "LAST": 1}),
            **dict(running_mean_=running_mean, running_var_=running_var, mean=mean, var=var),
            **dict(momentum=momentum, factor=factor, C=c),
        )

    @unless_empty
    def batch_norm_eval(self, x, mean, var, w, b, res, eps, relu):
        at = Columns(x)
        x, res = _near(self, at, x, res)
        y, rstd = self._normalised(at, x, *_wide(self, x, mean, var), w, b, res, eps, relu)
        return y, _kept(y, res, relu), rstd

    @unless_empty
    def batch_norm_eval_back(self, g, x, w, b, mean, rstd, kept, relu, residual):
        (mean,) = _wide(self, x, mean)
        return self._pulled(Columns(x), g, x, w, b, mean, rstd, kept, relu, residual, fixed=True)

    @unless_empty
    def group_norm(self, x, w, b, groups, eps):
        at, shape = Columns(x, True, x.shape[1] // groups), (len(x), groups, *(1,) * (x.ndim - 1))
        (x,) = _near(self, at, x)
        mean, var = self._statistics(at, x)
        y, rstd = self._normalised(at, x, mean, var, w, b, None, eps, False)
        return y, mean.reshape(shape), rstd.reshape(shape)

    @unless_empty
    def group_norm_back(self, g, x, w, mean, rstd, groups):
        at = Columns(x, True, x.shape[1] // groups)
        return self._pulled(at, g, x, w, None, mean.reshape(-1), rstd.reshape(-1), None, False, False)[:3]

    def _statistics(self, at, x):
        """Mean and biased variance"""
        parts = self.empty((at.grid[1], at.columns, 4), wide_type(x.dtype))
        _by_columns(self, "batch_norm_moments", at, x=x, parts=parts)
        return self.merged_moments(parts, at.shape["group"], at.defines)

    def merged_moments(self, parts, group, defines):
        """The parts of mean and variance, (count, columns, 4), put together; of `group` neighbouring columns each."""
        count, columns, _ = parts.shape
        mean, var = (self.empty(columns // group, parts.dtype) for _ in range(2))
        results, lanes = WARPS, 32  # of a block; threads that share a result
        if group == 1:  # whole lines of 128 bytes, and some 4 parts a thread
            results = min(power(columns), 8)
            lanes = min(max(power(count) // 4, 32 // results), 1024 // results)
        self.launch(
            "batch_norm_statistics",
            **dict(grid=(-(-mean.size // results),), block=(results * lanes,), defines=defines),
            **dict(parts=parts, mean=mean, var=var, count=count, columns=columns, group=group, lanes=lanes),
            neighbours=group == 1,
        )
        return mean, var

    def _normalised(self, at, x, mean, var, w, b, res, eps, relu):
        """relu?((x - mean) rstd w + b + res), and rstd"""
        w, b = _wide(self, x, w, b)
        y, rstd = self.empty(x.shape, x.dtype), self.empty(at.statistics, mean.dtype)
        given = dict(x=x, res=res, mean=mean, var=var, w=w, b=b, y=y, rstd=rstd, eps=eps, relu=relu)
        _by_columns(self, "batch_norm", at, **given)
        return y.transpose(at.back), rstd

    def _pulled(self, at, g, x, w, b, mean, rstd, kept, relu, residual, fixed=False):
        """dx, dw, db, dres; fixed: the statistics do not depend on x."""
        dres, y = g if residual else None, kept if relu and residual else None
        g, x, y = _near(self, at, g, x, y)
        (w, b), kind, c = _wide(self, x, w, b), mean.dtype, at.shape["C"]
        parts, dw, db = self.empty((at.grid[1], at.columns, 2), kind), self.empty(c, kind), self.empty(c, kind)
        dx, h, means = self.empty(x.shape, x.dtype), None, dict(mean_wh=None, mean_whd=None)
        if y is not None:
            h = self.empty(x.shape, x.dtype)
            dres = h.transpose(at.back)
        if not fixed:
            means = {name: self.empty(at.statistics, kind) for name in means}
        known, found = dict(mean=mean, rstd=rstd, w=w, b=b), dict(parts=parts, h=h, dx=dx if fixed else None)
        _by_columns(self, "batch_norm_sums", at, g=g, x=x, y=y, **known, **found, relu=relu)
        sums, warps = dict(parts=parts, w=w, rstd=rstd, count=at.grid[1]), c if fixed else c + at.statistics
        self.launch(
            "batch_norm_slopes",
            **dict(grid=(-(-warps // WARPS),), block=(THREADS,), defines=at.defines, shape=at.shape),
            **sums | means | dict(dw=dw, db=db, n=x.size // at.statistics),
        )
        if not fixed:
            given = dict(h=g, relu=relu) if h is None else dict(h=h, relu=False)
            _by_columns(self, "batch_norm_back", at, **given, x=x, **known, **means, dx=dx)
        return dx.transpose(at.back), dw, db, dres

    # Layer norm: kernels/layer_norm.cu

    @unless_empty
    def layer_norm(self, x, w, b, axis, eps):
        length, kind = prod(x.shape[i] for i in axis), wide_type(x.dtype)
        rows, kept = x.size // length, tuple(1 if i in axis else n for i, n in enumerate(x.shape))
        lanes = min(power(_packs(x, length)), THREADS)
        (w, b), x = _wide(self, x, w, b), self.contiguous(x)
        y, mean, rstd = self.empty(x.shape, x.dtype), self.empty(kept, kind), self.empty(kept, kind)
        grid, found = (-(-rows // (THREADS // lanes)),), dict(y=y, mean=mean, rstd=rstd)
        _by_rows(self, "layer_norm", x, rows, length, grid, w=w, b=b, **found, eps=eps, lanes=lanes)
        return y, mean, rstd

    @unless_empty
    def layer_norm_back(self, g, x, w, mean, rstd, axis):
        shape = tuple(x.shape[i] for i in axis)
        length, packs = prod(shape), _packs(x, prod(shape))
        rows, lanes = x.size // length, min(power(packs), 2 * THREADS)
        (w,), (g, x) = _wide(self, x, w), (self.contiguous(a) for a in (g, x))
        known, dx, threads = dict(g=g, mean=mean, rstd=rstd), self.empty(x.shape, x.dtype), max(lanes, THREADS)
        blocks, parts = rows, None
        if packs <= lanes:  # a thread meets the same columns in each row
            blocks = min(-(-rows // (threads // lanes)), BLOCKS)
            parts = self.empty((blocks, 2, length), mean.dtype)
        found = dict(dx=dx, parts=parts)
        _by_rows(self, "layer_norm_back", x, rows, length, (blocks,), threads, **known, w=w, **found, lanes=lanes)
        if parts is None:
            grid = (-(-packs // 32), min(max(BLOCKS * 32 // packs, 1), -(-rows // WARPS)))
            parts = self.empty((grid[1], 2, length), mean.dtype)
            _by_rows(self, "layer_norm_columns", x, rows, length, grid, **known, parts=parts)
        dw, db = self.empty(shape, mean.dtype), self.empty(shape, mean.dtype)
        grid, defines = (-(-length // WARPS),), {"DTYPE": x.dtype.name}
        found = dict(parts=parts, dw=dw, db=db, count=len(parts), L=length)
        self.launch("layer_norm_parameters", grid=grid, block=(THREADS,), defines=defines, **found)
        return dx, dw, db


def _kept(y: Any, res: Any, relu: bool) -> Any:
    """What the way back wants of y: where it is positive, if that does not follow from x."""
    return y if relu and res is not None else None


def _near(xp: Machine, at: Columns, *arrays: Any) -> Iterator[Any]:
    """Each in order C, with its axes as they are in memory."""
    return (None if a is None else xp.contiguous(a.transpose(at.axes)) for a in arrays)


def _wide(xp: Machine, x: Any, *arrays: Any) -> Iterator[Any]:
    """Each in order C, in the type that x is computed in."""
    return (xp.contiguous(a, wide_type(x.dtype)) for a in arrays)


def _by_columns(xp: Machine, kernel: str, at: Columns, **given: Any) -> None:
    xp.launch(kernel, grid=at.grid, block=(THREADS,), defines=at.defines, shape=at.shape, **given)


def _by_rows(
    xp: Machine, kernel: str, x: Any, rows: int, length: int, grid: Grid, threads: int = THREADS, **given: Any
) -> None:
    xp.launch(kernel, grid=grid, block=(threads,), defines={"DTYPE": x.dtype.name}, x=x, R=rows, L=length, **given)


def _packs(x: Any, length: int) -> int:
    """Packs of V numbers in a line of memory."""
    return -(-length * x.itemsize // BYTES)
