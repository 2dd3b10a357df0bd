"""Cross-entropy of class indices, rows divided among the threads; of two classes by their logit, block by block."""

from __future__ import annotations

import numpy as np

from ...dtypes import bool_, float32
from ..cpu import quiet
from .base import FastBase
from .elementwise import by_blocks
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

    def binary_cross_entropy_with_logits(self, x, t, w, pos_weight, reduction):
        whole = super().binary_cross_entropy_with_logits
        if x.dtype != float32 or w is not None or pos_weight is not None:
            return whole(x, t, w, pos_weight, reduction)
        return self._gathered(by_blocks(self, lambda x, t: whole(x, t, None, None, "none"), x, t), reduction)

    def binary_cross_entropy_with_logits_back(self, g, x, t, w, pos_weight, reduction):
        whole = super().binary_cross_entropy_with_logits_back
        if x.dtype != float32 or w is not None or pos_weight is not None:
            return whole(g, x, t, w, pos_weight, reduction)
        if reduction == "none":
            return by_blocks(self, lambda g, x, t: whole(g, x, t, None, None, "none"), g, x, t)
        part = self._own(g, x, None, reduction)
        return by_blocks(self, lambda x, t: whole(part, x, t, None, None, "sum"), x, t)

    def _over_rows(self, loop, ins, ignore_index, outs):
        n, size = len(ins[0]), outs[0].size
        if size < self.sizes.least:
            return loop(*ins, ignore_index, *outs)

        def some(lo, hi):
            loop(*(a[lo:hi] for a in ins), ignore_index, *(a[lo:hi] for a in outs))

        parallel(some, n, max(1, min(self.sizes.passes * n // (4 * size), -(-n // 2))))
