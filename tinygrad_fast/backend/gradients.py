"""What is done to the gradients of all parameters before a step: clipping, loss scaling. The definitions.

`gs` are lists of arrays, written in place by the names that end in `_`. Nothing is read back: a norm and a flag stay on
the machine. Next on the way: `updates.py`, the step itself.
"""

from __future__ import annotations

from math import inf

import numpy as np

from ..dtypes import float32, float64
from .wide import wide_type


class Gradients:
    """What `Composed` says of lists of gradients. 16-bit floats are computed in float32 and rounded once."""

    def total_norm(self, gs, p):
        """(sum of |g|^p over all elements of all arrays)^(1/p), the largest |g| for p = inf; p > 0 -> 0-d

        float64 if one of them is, else float32: the norm of 16-bit gradients may well be above 65504.
        """
        total = self.full((), 0, norm_type(gs))
        for g in filter(lambda g: g.size, gs):
            axes, g = tuple(range(g.ndim)), self.abs(self.cast(g, dtype=total.dtype))
            if p == inf:
                total = self.maximum(total, self.amax(g, axis=axes))
            else:
                total = self.add(total, self.sum(self.mul(g, g) if p == 2 else self.pow(g, float(p)), axis=axes))
        return total if p == inf else self.sqrt(total) if p == 2 else self.pow(total, 1 / p)

    def clip_norm_(self, gs, norm, most):
        """g <- g min(1, most / (norm + 1e-6)), norm as of `total_norm`"""
        scale = self.clip_scale(norm, most)
        for g in gs:
            kind = wide_type(g.dtype)
            self._rewrite(g, self.mul(self.cast(g, dtype=kind), self.cast(scale, dtype=kind)))

    def clip_scale(self, norm, most):
        """min(1, most / (norm + 1e-6)), 0-d: what a gradient is multiplied by so that the norm of all is at most
        `most`"""
        return self.minimum(self.div(most, self.add(norm, 1e-6)), 1.0)

    def clip_value_(self, gs, most):
        """g <- min(max(g, -most), most)"""
        for g in gs:
            self._rewrite(g, self.clip(self.cast(g, dtype=wide_type(g.dtype)), -most, most))

    def unscale_(self, gs, inverse, found):
        """found <- 1 if any g is inf or NaN;  g <- inverse g

        Loss scaling: `inverse` (0-d, float64) is one over what the loss was multiplied by, `found` (0-d, int32) the
        verdict on the step. Source: PyTorch's _amp_foreach_non_finite_check_and_unscale_.
        """
        for g in gs:
            lost = self.any(self.logical_not(self.isfinite(g)), axis=tuple(range(g.ndim)))
            self._rewrite(found, self.maximum(found, self.cast(lost, dtype=found.dtype)))
            kind = wide_type(g.dtype)
            self._rewrite(g, self.mul(self.cast(g, dtype=kind), self.cast(inverse, dtype=kind)))

    def update_scale_(self, state, flags, growth, backoff, interval):
        """lost = how many flags are 1;  skipped <- skipped + lost
        s <- backoff s, good <- 0 if lost, else good <- good + 1;  s <- growth s, good <- 0 if good = interval

        Loss scaling: what follows from the verdicts of `unscale_`. state: s, 1 / s, good, skipped, in float64; s stays
        a normal float32, and good counts the steps in a row that went well.
        """
        scale, _, good, skipped = self.numbers(state)
        lost, most = sum(self.numbers(flag) for flag in flags), float(np.finfo(np.float32).max)
        good += 1
        if lost:
            scale, good = max(scale * backoff, float(np.finfo(np.float32).tiny)), 0
        elif good >= interval:
            scale, good = scale * growth if scale * growth <= most else scale, 0
        for i, value in enumerate((scale, 1 / scale, good, skipped + lost)):
            self.write_(state, value, (i,))

    def _rewrite(self, x, value):
        self.write_(x, self.cast(value, dtype=x.dtype))


def norm_type(gs):
    """What the norm of a list is computed in."""
    return float64 if any(g.dtype == float64 for g in gs) else float32
