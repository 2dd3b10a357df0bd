"""Cross-entropy of class indices, rows divided among the threads."""

from __future__ import annotations

import numpy as np

from .layout import empty
from .machine import Machine
from .threads import parallel


class Losses(Machine):
    """Logits (N, C) in float32, without weights or smoothing; anything else is the definition's."""

    def cross_entropy(self, x, t, w, ignore_index, label_smoothing, reduction):
        if x.ndim != 2 or x.dtype != np.float32 or w is not None or label_smoothing or not x.size:
            return super().cross_entropy(x, t, w, ignore_index, label_smoothing, reduction)
        x, t = np.ascontiguousarray(x), np.ascontiguousarray(t, np.int64)
        logp, loss, rows = empty(x.shape, x.dtype), np.empty(len(x), x.dtype), self.loops.cross_entropy
        self._over_rows(lambda lo, hi: rows(x[lo:hi], t[lo:hi], ignore_index, logp[lo:hi], loss[lo:hi]), x)
        weight = (t != ignore_index).astype(x.dtype)
        if reduction == "mean":
            with np.errstate(all="ignore"):
                return loss.sum() / weight.sum(), logp, weight
        return loss.sum() if reduction == "sum" else loss, logp, weight

    def cross_entropy_back(self, g, logp, t, w, weight, ignore_index, label_smoothing, reduction):
        if logp.ndim != 2 or logp.dtype != np.float32 or g.dtype != np.float32 or w is not None or label_smoothing:
            return super().cross_entropy_back(g, logp, t, w, weight, ignore_index, label_smoothing, reduction)
        if not logp.flags.c_contiguous:
            return super().cross_entropy_back(g, logp, t, w, weight, ignore_index, label_smoothing, reduction)
        with np.errstate(all="ignore"):
            share = g / weight.sum() if reduction == "mean" else g
        a, t = np.ascontiguousarray(np.broadcast_to(share, t.shape)), np.ascontiguousarray(t, np.int64)
        d, rows = empty(logp.shape, logp.dtype), self.loops.cross_entropy_back
        self._over_rows(lambda lo, hi: rows(a[lo:hi], logp[lo:hi], t[lo:hi], ignore_index, d[lo:hi]), logp)
        return d

    def _over_rows(self, f, x):
        if x.size < self.sizes.least:
            with np.errstate(all="ignore"):
                return f(0, len(x))
        parallel(f, len(x), max(1, self.sizes.line // (4 * x.shape[1])))
