"""Cross-entropy of class indices, rows divided among the threads."""

from __future__ import annotations

import numpy as np

from ...dtypes import bool_, float32
from ..cpu import quiet
from .base import FastBase
from .layout import empty
from .threads import parallel


class Losses(FastBase):
    """Logits (N, C) in float32, without weights or smoothing; anything else is the definition's.

    A position then weighs 1 or 0, and `weight` holds bools: which is how the way back knows what it deals with.
    """

    @quiet
    def cross_entropy(self, x, t, w, ignore_index, label_smoothing, reduction):
        if x.ndim != 2 or x.dtype != float32 or w is not None or label_smoothing or not x.size:
            return super().cross_entropy(x, t, w, ignore_index, label_smoothing, reduction)
        x, t = np.ascontiguousarray(x), np.ascontiguousarray(t, np.int64)
        logp, loss, weight = empty(x.shape, x.dtype), np.empty(len(x), x.dtype), t != ignore_index
        self._over_rows(self.loops.cross_entropy, (x, t), ignore_index, (logp, loss))
        if reduction == "none":
            return loss, logp, weight
        total = np.add.reduce(loss)
        return total / int(np.count_nonzero(weight)) if reduction == "mean" else total, logp, weight

    @quiet
    def cross_entropy_back(self, g, logp, t, w, weight, ignore_index, label_smoothing, reduction):
        if weight.dtype != bool_:
            return super().cross_entropy_back(g, logp, t, w, weight, ignore_index, label_smoothing, reduction)
        a, t = np.empty(len(logp), g.dtype), np.ascontiguousarray(t, np.int64)
        a[...] = g / int(np.count_nonzero(weight)) if reduction == "mean" else g
        d = empty(logp.shape, logp.dtype)
        self._over_rows(self.loops.cross_entropy_back, (a, logp, t), ignore_index, (d,))
        return d

    def _over_rows(self, loop, ins, ignore_index, outs):
        n, size = len(ins[0]), outs[0].size
        if size < self.sizes.least:
            return loop(*ins, ignore_index, *outs)

        def some(lo, hi):
            loop(*(a[lo:hi] for a in ins), ignore_index, *(a[lo:hi] for a in outs))

        parallel(some, n, max(1, min(self.sizes.passes * n // (4 * size), -(-n // 2))))
