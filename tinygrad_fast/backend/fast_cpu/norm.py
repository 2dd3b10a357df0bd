"""Batch norm in two passes each way, with residual and ReLU inside.

Forward: the moments of each block of pixels, by columns; then y. The blocks' moments are combined in float64 (Chan,
Golub and LeVeque 1979), so that a mean much larger than the deviation costs no digits. Backward: two sums, then dx.
Blocks have a fixed size, so the sums come out the same whatever the number of threads.
"""

from __future__ import annotations

import numpy as np

from .layout import empty_like, rows
from .machine import Machine
from .threads import parallel


class Norms(Machine):
    """batch_norm and batch_norm_eval on pixels that lie channels-last; in any other order the definition."""

    def _lined(self, *arrays):
        """Each array as lines (pixels, C), None for None; or None where one cannot be had so."""
        first = arrays[0]
        if not self.large(first) or any(a is not None and a.dtype != first.dtype for a in arrays):
            return None
        found = [None if a is None else rows(a) for a in arrays]
        return None if any(f is None and a is not None for f, a in zip(found, arrays)) else found

    def _each(self, lines, f):
        """f(i, place) for the blocks of the lines; place is the slice of block i."""
        n, step = len(lines), self._step(lines)
        parallel(lambda i, _: f(i, slice(i * step, min((i + 1) * step, n))), -(-n // step))

    def _step(self, lines):
        return max(16, self.lines // (4 * lines.shape[1]))

    def batch_norm(self, x, w, b, res, eps, relu):
        found = self._lined(x, res)
        if found is None:
            return super().batch_norm(x, w, b, res, eps, relu)
        lines, more = found
        n, c, step = *lines.shape, self._step(lines)
        means, m2s = np.empty((2, -(-n // step), c), x.dtype)
        self._each(lines, lambda i, at: self.loops.moments(lines[at], means[i], m2s[i]))
        counts = np.full((len(means), 1), step, np.float64)
        counts[-1] = n - step * (len(means) - 1)
        mean = (counts * means).sum(0) / n
        var = (m2s.sum(0, dtype=np.float64) + (counts * (means - mean) ** 2).sum(0)) / n
        rstd = 1 / np.sqrt(var + eps)
        y = self._normalised(x, lines, more, mean, rstd, w, b, relu)
        return y, mean.astype(x.dtype), rstd.astype(x.dtype), var.astype(x.dtype)

    def batch_norm_eval(self, x, mean, var, w, b, res, eps, relu):
        found = self._lined(x, res)
        if found is None:
            return super().batch_norm_eval(x, mean, var, w, b, res, eps, relu)
        rstd = 1 / np.sqrt(var.astype(np.float64) + eps)
        return self._normalised(x, *found, mean.astype(np.float64), rstd, w, b, relu), rstd.astype(x.dtype)

    def _normalised(self, x, lines, more, mean, rstd, w, b, relu):
        """relu?((x - mean) rstd w + b + res): x times a number, plus a number"""
        scale = rstd if w is None else rstd * w
        shift = -mean * scale if b is None else b - mean * scale
        scale, shift, y = scale.astype(x.dtype), shift.astype(x.dtype), empty_like(x)
        out, normalise = rows(y), self.loops.normalise
        self._each(
            lines,
            lambda _, at: normalise(lines[at], out[at], scale, shift, None if more is None else more[at], relu),
        )
        return y

    def batch_norm_back(self, g, x, w, mean, rstd, y, relu, residual):
        found = self._lined(x, g, y if relu else None)
        if found is None:
            return super().batch_norm_back(g, x, w, mean, rstd, y, relu, residual)
        total, dot = self._tilts(*found, mean)
        n, scale = len(found[0]), rstd.astype(np.float64) if w is None else rstd.astype(np.float64) * w
        slope = -scale * rstd.astype(np.float64) ** 2 * dot / n
        level = -scale * total / n - slope * mean
        dx, dres = self._standard_dx(g, x, *found, scale, slope, level, relu, residual)
        return dx, (dot * rstd).astype(x.dtype), total.astype(x.dtype), dres

    def batch_norm_eval_back(self, g, x, w, mean, rstd, y, relu, residual):
        found = self._lined(x, g, y if relu else None)
        if found is None or mean.dtype != x.dtype:
            return super().batch_norm_eval_back(g, x, w, mean, rstd, y, relu, residual)
        total, dot = self._tilts(*found, mean)
        scale = rstd if w is None else rstd * w
        none = np.zeros_like(scale)
        dx, dres = self._standard_dx(g, x, *found, scale, none, none, relu, residual)
        return dx, (dot * rstd).astype(x.dtype), total.astype(x.dtype), dres

    def _tilts(self, lines, gs, ys, mean):
        """sum g and sum g (x - mean) of each column, in float64"""
        totals, dots = np.empty((2, -(-len(lines) // self._step(lines)), lines.shape[1]), lines.dtype)
        tilts = self.loops.tilts
        self._each(
            lines, lambda i, at: tilts(gs[at], lines[at], None if ys is None else ys[at], mean, totals[i], dots[i])
        )
        return totals.sum(0, dtype=np.float64), dots.sum(0, dtype=np.float64)

    def _standard_dx(self, g, x, lines, gs, ys, scale, slope, level, relu, residual):
        """dx = scale h + slope x + level, h = g where y > 0; and dres = h, if it is asked for"""
        a, b, c = (v.astype(x.dtype) for v in (scale, slope, level))
        dx, dres = empty_like(x), (empty_like(x) if relu else g) if residual else None
        out, extra, standard_back = rows(dx), rows(dres) if relu and residual else None, self.loops.standard_back

        def some(_, at):
            y, d = None if ys is None else ys[at], None if extra is None else extra[at]
            standard_back(gs[at], lines[at], y, a, b, c, out[at], d)

        self._each(lines, some)
        return dx, dres
