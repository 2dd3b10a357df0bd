"""Launchers of kernels/batch_norm.cu (batch norm and group norm) and kernels/layer_norm.cu."""

from __future__ import annotations

from math import prod
from typing import Any

from ..wide import wide_type
from .machine import Machine

BLOCKS = 512  # of a launch, about: a large GPU full. From sizes alone, so that sums are the same on every GPU
BYTES = 16  # that a thread reads at once: V numbers


class Columns:
    """How x (N, C, ...) lies in memory, and who takes what of it: the grid, and `struct Shape` of batch_norm.cu.

    apart: every sample has statistics of its own; shared: so many neighbouring channels have the same.
    """

    def __init__(self, x: Any, apart: bool = False, shared: int = 1):
        n, c, p = x.shape[0], x.shape[1], prod(x.shape[2:])
        to_last = (0, *range(2, x.ndim), 1)
        self.last = c > 1 and (x.transpose(to_last).flags.c_contiguous or not x.flags.c_contiguous)
        self.axes, self.back = tuple(range(x.ndim)), tuple(range(x.ndim))
        if self.last:
            self.axes, self.back = to_last, (0, x.ndim - 1, *range(1, x.ndim - 1))
        length = c if self.last else p
        packs = -(-length * x.itemsize // BYTES)
        units = (p if self.last else packs) * (1 if apart else n)
        columns = c * n if apart else c
        if self.last:
            wide = min(_power(packs), 32)
            self.block, across = (wide, 256 // wide), -(-packs // wide) * (columns // c)
        else:
            wide = min(_power(units), 256)
            self.block, across = (wide, 256 // wide), -(-columns * wide // 256)
        tile = 4 * self.block[self.last]
        step = -(-units // min(max(BLOCKS // across, 1), -(-units // tile)))
        self.shape = dict(C=c, length=length, units=units, step=step, columns=columns, shared=shared)
        self.grid = across, -(-units // step)
        self.statistics, self.numbers = columns // shared, x.size // (columns // shared)
        self.defines = {"DTYPE": x.dtype.name, "LAST": int(self.last)}


class Norms(Machine):
    """Normalisation; results lie in memory as x does, channels-last where x lies in neither order."""

    def batch_norm(self, x, w, b, res, eps, relu):
        if not x.size:
            return super().batch_norm(x, w, b, res, eps, relu)
        at = Columns(x)
        mean, var = self._statistics(at, x)
        y, rstd = self._normalised(at, x, mean, var, w, b, res, eps, relu)
        return y, mean, rstd, var

    def batch_norm_eval(self, x, mean, var, w, b, res, eps, relu):
        if not x.size:
            return super().batch_norm_eval(x, mean, var, w, b, res, eps, relu)
        return self._normalised(Columns(x), x, mean, var, w, b, res, eps, relu)

    def batch_norm_back(self, g, x, w, mean, rstd, y, relu, residual):
        if not x.size:
            return super().batch_norm_back(g, x, w, mean, rstd, y, relu, residual)
        return self._slopes(Columns(x), g, x, w, mean, rstd, y if relu else None, residual)

    def batch_norm_eval_back(self, g, x, w, mean, rstd, y, relu, residual):
        if not x.size:
            return super().batch_norm_eval_back(g, x, w, mean, rstd, y, relu, residual)
        return self._slopes(Columns(x), g, x, w, mean, rstd, y if relu else None, residual, given=True)

    def group_norm(self, x, w, b, groups, eps):
        if not x.size:
            return super().group_norm(x, w, b, groups, eps)
        at = Columns(x, apart=True, shared=x.shape[1] // groups)
        mean, var = self._statistics(at, x)
        y, rstd = self._normalised(at, x, mean, var, w, b, None, eps, False)
        shape = (len(x), groups, *(1,) * (x.ndim - 1))
        return y, mean.reshape(shape), rstd.reshape(shape)

    def group_norm_back(self, g, x, w, mean, rstd, groups):
        if not x.size:
            return super().group_norm_back(g, x, w, mean, rstd, groups)
        at = Columns(x, apart=True, shared=x.shape[1] // groups)
        return self._slopes(at, g, x, w, mean.reshape(-1), rstd.reshape(-1), None, False)[:3]

    def _near(self, at, *arrays):
        """Arrays as they lie: in order C with the axes of memory; None stays None."""
        return (None if a is None else self.np.ascontiguousarray(a.transpose(at.axes)) for a in arrays)

    def _wide(self, x, *arrays):
        """Arrays of numbers for channels, in the type that x is computed in."""
        kind = wide_type(x.dtype)
        return (None if a is None else self.np.ascontiguousarray(a, kind) for a in arrays)

    def _columns(self, kernel, at, **given):
        self.launch(kernel, grid=at.grid, block=at.block, defines=at.defines, shape=at.shape, **given)

    def _warps(self, kernel, at, warps, **given):
        given |= dict(count=at.grid[1], shape=at.shape)
        self.launch(kernel, grid=(-(-warps // 8),), block=(256,), defines=at.defines, **given)

    def _statistics(self, at, x):
        """Mean and biased variance"""
        (x,), kind = self._near(at, x), wide_type(x.dtype)
        parts = self.empty((at.grid[1], at.shape["columns"], 3), kind)
        mean, var = (self.empty(at.statistics, kind) for _ in range(2))
        self._columns("batch_norm_moments", at, x=x, parts=parts)
        self._warps("batch_norm_statistics", at, at.statistics, parts=parts, mean=mean, var=var)
        return mean, var

    def _normalised(self, at, x, mean, var, w, b, res, eps, relu):
        """relu?((x - mean) rstd w + b + res), and rstd"""
        mean, var, w, b = self._wide(x, mean, var, w, b)
        x, res = self._near(at, x, res)
        y, rstd = self.empty(x.shape, x.dtype), self.empty(at.statistics, mean.dtype)
        given = dict(x=x, res=res, mean=mean, var=var, w=w, b=b, y=y, rstd=rstd)
        self._columns("batch_norm", at, **given, eps=eps, relu=relu)
        return y.transpose(at.back), rstd

    def _slopes(self, at, g, x, w, mean, rstd, y, residual, given=False):
        """dx, dw, db, dres; given: the statistics are no functions of x"""
        mean, rstd, w = self._wide(x, mean, rstd, w)
        dres = g if residual and y is None else None
        g, x, y = self._near(at, g, x, y)
        like = lambda: self.empty(x.shape, x.dtype)  # noqa: E731
        parts = self.empty((at.grid[1], at.shape["columns"], 2), mean.dtype)
        dx = like()
        h = like() if y is not None and residual else None
        bits = -(-x.shape[-1] * x.itemsize // BYTES) * (x.size // x.shape[-1])
        kept = self.empty(bits, "uint8") if y is not None and h is None and not given else None
        self._columns(
            "batch_norm_sums", at, g=g, x=x, y=y, mean=mean, rstd=rstd, w=w, parts=parts, dres=h, kept=kept,
            dx=dx if given else None,
        )  # fmt: skip
        c = at.shape["C"]
        dw, db = (self.empty(c, mean.dtype) for _ in range(2))
        level, tilt = (None if given else self.empty(at.statistics, mean.dtype) for _ in range(2))
        warps = c if given else c + at.statistics
        self._warps(
            "batch_norm_slopes", at, warps, parts=parts, w=w, rstd=rstd, dw=dw, db=db, level=level, tilt=tilt,
            n=at.numbers,
        )  # fmt: skip
        if not given:
            self._columns(
                "batch_norm_back", at, g=g if h is None else h, kept=kept, x=x, mean=mean, rstd=rstd, w=w,
                level=level, tilt=tilt, dx=dx,
            )  # fmt: skip
        return dx.transpose(at.back), dw, db, dres if h is None else h.transpose(at.back)

    def layer_norm(self, x, w, b, axis, eps):
        if not x.size:
            return super().layer_norm(x, w, b, axis, eps)
        rows, length, packs = _rows(x, axis)
        wide = min(_power(packs), 256)
        near, (w, b) = self.np.ascontiguousarray(x), self._wide(x, w, b)
        y, kept = self.empty(x.shape, x.dtype), tuple(1 if i in axis else n for i, n in enumerate(x.shape))
        mean, rstd = (self.empty(kept, wide_type(x.dtype)) for _ in range(2))
        lines = 256 // wide
        self.launch(
            "layer_norm", grid=(-(-rows // lines),), block=(wide, lines), defines={"DTYPE": x.dtype.name}, x=near,
            w=w, b=b, y=y, mean=mean, rstd=rstd, R=rows, L=length, eps=eps,
        )  # fmt: skip
        return y, mean, rstd

    def layer_norm_back(self, g, x, w, mean, rstd, axis):
        if not x.size:
            return super().layer_norm_back(g, x, w, mean, rstd, axis)
        rows, length, packs = _rows(x, axis)
        wide = min(_power(packs), 512)
        lines, fits = max(256 // wide, 1), packs <= wide
        blocks = min(-(-rows // lines), BLOCKS) if fits else rows
        defines, size = {"DTYPE": x.dtype.name}, dict(R=rows, L=length)
        g, x = (self.np.ascontiguousarray(a) for a in (g, x))
        (w,), dx = self._wide(x, w), self.empty(x.shape, x.dtype)
        given = dict(g=g, x=x, mean=mean, rstd=rstd)
        parts = self.empty((blocks, 2, length), mean.dtype) if fits else None
        self.launch(
            "layer_norm_back", grid=(blocks,), block=(wide, lines), defines=defines, w=w, dx=dx, parts=parts, **given,
            **size,
        )  # fmt: skip
        if parts is None:
            slabs = -(-packs // 32)
            parts = self.empty((min(max(BLOCKS // slabs, 1), -(-rows // 8)), 2, length), mean.dtype)
            self.launch(
                "layer_norm_columns", grid=(slabs, len(parts)), block=(32, 8), defines=defines, parts=parts, **given,
                **size,
            )  # fmt: skip
        shape = tuple(x.shape[i] for i in axis)
        dw, db = (self.empty(shape, mean.dtype) for _ in range(2))
        self.launch(
            "layer_norm_parameters", grid=(-(-length // 8),), block=(256,), defines=defines, parts=parts, dw=dw, db=db,
            count=len(parts), L=length,
        )  # fmt: skip
        return dx, dw, db


def _rows(x: Any, axis: tuple[int, ...]) -> tuple[int, int, int]:
    """Rows, numbers of each, and packs of V that these are."""
    length = prod(x.shape[i] for i in axis)
    return x.size // length, length, -(-length * x.itemsize // BYTES)


def _power(n: int) -> int:
    """The least power of two that is not below n."""
    return 1 << (n - 1).bit_length()
