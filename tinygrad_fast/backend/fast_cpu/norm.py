"""Batch norm in two passes each way, with residual and ReLU inside.

Forward: the moments of each block of pixels, by columns; then y. The blocks' moments are combined in float64 (Chan,
Golub and LeVeque 1979), so that a mean much larger than the deviation costs no digits. Backward: two sums, and the
gradient behind ReLU, which is the residual's or becomes dx; then dx.
Blocks have a fixed size, so the sums come out the same whatever the number of threads.

Pixels lie channels-last, as lines of C numbers. Where C is small, several pixels make one line, and the numbers that
belong to a channel are repeated as often: in a loop over 16 numbers the overhead is most of the time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .base import FastBase
from .layout import empty_like, rows
from .threads import parallel

LONG = 512  # numbers that a line has at least, if it can


class PixelLines:
    """Arrays of one shape, channels-last, as lines of `repeat` pixels, and the blocks they are cut into."""

    def __init__(self, xp: FastBase, *arrays: Any):
        pixels: Any = rows(arrays[0])
        self.n, self.c = pixels.shape
        self.repeat = 1
        while self.repeat * self.c < LONG and self.n % (2 * self.repeat) == 0:
            self.repeat *= 2
        self.arrays = [self.lines(a) for a in arrays]
        self.count = self.n // self.repeat
        self.step = max(1, xp.sizes.sums // (4 * self.repeat * self.c))
        self.blocks = -(-self.count // self.step)

    def lines(self, a: Any) -> Any:
        """An array of that shape and order as lines, a view; None as None."""
        pixels: Any = None if a is None else rows(a)
        return None if a is None else pixels.reshape(-1, self.repeat * self.c)

    def tiled(self, v: np.ndarray, dtype: Any) -> np.ndarray:
        """A number a channel -> one for each number of a line."""
        line = np.empty((self.repeat, self.c), dtype)
        line[...] = v
        return line.reshape(-1)

    def each(self, f: Callable[..., None], *more: Any) -> None:
        """f(i, *blocks): block i of every array, and of `more` of them."""
        arrays = [*self.arrays, *map(self.lines, more)]

        def one(i: int, _: int) -> None:
            at = slice(i * self.step, min((i + 1) * self.step, self.count))
            f(i, *(None if a is None else a[at] for a in arrays))

        parallel(one, self.blocks)

    def sums(self, f: Callable[..., None], *more: Any) -> tuple[np.ndarray, np.ndarray]:
        """Two numbers a block and channel, written by f(first, second, *blocks): each (parts, C) in float64."""
        first, second = np.empty((2, self.blocks, self.repeat * self.c), np.float32)
        self.each(lambda i, *blocks: f(first[i], second[i], *blocks), *more)
        a, b = (v.reshape(-1, self.c).astype(np.float64) for v in (first, second))
        return a, b

    def sizes(self) -> np.ndarray:
        """How many pixels each part of `sums` is about, (parts, 1)."""
        sizes = np.full(self.blocks, self.step)
        sizes[-1] = self.count - self.step * (self.blocks - 1)
        return np.repeat(sizes, self.repeat)[:, None]


class Norms(FastBase):
    """batch_norm and batch_norm_eval on pixels that lie channels-last; in any other order the definition."""

    def _lines(self, *arrays: Any) -> PixelLines | None:
        x = arrays[0]
        if not self.large(x) or any(a is not None and (a.dtype != x.dtype or rows(a) is None) for a in arrays):
            return None
        return PixelLines(self, *arrays)

    def batch_norm(self, x, w, b, res, mean, var, eps, relu):
        if (lines := self._lines(x, res)) is None:
            return super().batch_norm(x, w, b, res, mean, var, eps, relu)
        means, m2s = lines.sums(lambda mean, m2, block, _: self.loops.moments(block, mean, m2))
        sizes = lines.sizes()
        mean = (sizes * means).sum(0) / lines.n
        var = (m2s.sum(0) + (sizes * (means - mean) ** 2).sum(0)) / lines.n
        rstd = 1 / np.sqrt(var + eps)
        y = self._normalised(x, lines, mean, rstd, w, b, relu)
        return y, y if relu else None, mean.astype(x.dtype), rstd.astype(x.dtype), var.astype(x.dtype)

    def batch_norm_eval(self, x, mean, var, w, b, res, eps, relu):
        if (lines := self._lines(x, res)) is None:
            return super().batch_norm_eval(x, mean, var, w, b, res, eps, relu)
        rstd = 1 / np.sqrt(var.astype(np.float64) + eps)
        y = self._normalised(x, lines, mean.astype(np.float64), rstd, w, b, relu)
        return y, y if relu else None, rstd.astype(x.dtype)

    def _normalised(self, x, lines, mean, rstd, w, b, relu):
        """relu?((x - mean) rstd w + b + res): x times a number, plus a number"""
        scale = rstd if w is None else rstd * w
        shift = -mean * scale if b is None else b - mean * scale
        scale, shift, y = lines.tiled(scale, x.dtype), lines.tiled(shift, x.dtype), empty_like(x)
        lines.each(lambda _, block, res, out: self.loops.normalise(block, out, scale, shift, res, relu), y)
        return y

    def batch_norm_back(self, g, x, w, b, mean, rstd, kept, relu, residual):
        if (lines := self._lines(x, g, kept)) is None:
            return super().batch_norm_back(g, x, w, b, mean, rstd, kept, relu, residual)
        h, total, dot = self._grad_sums(g, x, lines, mean, relu)
        n, wide = lines.n, rstd.astype(np.float64)
        scale = wide if w is None else wide * w
        slope = -scale * wide**2 * dot / n
        level = -scale * total / n - slope * mean
        dx = self._standard_dx(h, x, lines, scale, slope, level, relu and not residual)
        return dx, (dot * wide).astype(x.dtype), total.astype(x.dtype), h if residual else None

    def batch_norm_eval_back(self, g, x, w, b, mean, rstd, kept, relu, residual):
        if mean.dtype != x.dtype or (lines := self._lines(x, g, kept)) is None:
            return super().batch_norm_eval_back(g, x, w, b, mean, rstd, kept, relu, residual)
        h, total, dot = self._grad_sums(g, x, lines, mean, relu)
        scale = rstd if w is None else rstd * w
        none = np.zeros_like(scale)
        dx = self._standard_dx(h, x, lines, scale, none, none, relu and not residual)
        return dx, (dot * rstd).astype(x.dtype), total.astype(x.dtype), h if residual else None

    def _grad_sums(self, g, x, lines, mean, relu):
        """h = g where y > 0;  sum h and sum h (x - mean) of each channel"""
        means, grad_sums, h = lines.tiled(mean, mean.dtype), self.loops.grad_sums, empty_like(x) if relu else None
        totals, dots = lines.sums(lambda total, dot, x, g, y, h: grad_sums(g, x, y, means, h, total, dot), h)
        return h if relu else g, totals.sum(0), dots.sum(0)

    def _standard_dx(self, h, x, lines, scale, slope, level, reuse):
        """dx = scale h + slope x + level, written over h if nobody else wants that"""
        a, b, c = (lines.tiled(v, x.dtype) for v in (scale, slope, level))
        dx = h if reuse else empty_like(x)
        lines.each(lambda _, x, g, y, h, dx: self.loops.standard_back(h, x, a, b, c, dx), h, None if reuse else dx)
        return dx
