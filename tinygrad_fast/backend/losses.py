"""Losses of classification, defined: what `Composed` says of them.

Logits x (N, C, ...) have the classes on axis 1; class indices t (N, ...) lack that axis; w (C,) or None weighs the
classes. 16-bit x is computed wide. No size depends on a value: where t is ignored, the position weighs 0.
"""

from __future__ import annotations

from math import prod

from ..shapes import Slot
from .wide import wide, wide_type


class Losses:
    """Definitions. `reduction` is "none", "sum", or "mean": the sum over the sum of the positions' weights."""

    def cross_entropy(self, x, t, w, ignore_index, label_smoothing, reduction):
        """-w[t] logp[t], logp = log_softmax(x) -> loss, logp, weight (what each position weighs)

        With label_smoothing e: 1 - e of that, and e of the mean over the classes of -w logp.
        """
        logp = self.log_softmax(self.cast(x, dtype=wide_type(x.dtype)), axis=1)
        loss, weight = self._picked(logp, t, w, ignore_index)
        if label_smoothing:
            every = logp if w is None else self.mul(logp, self._by_class(w, logp))
            smooth = self.mul(self.sum(every, axis=(1,)), -label_smoothing / x.shape[1])
            loss = self.add(self.mul(loss, 1 - label_smoothing), smooth)
        return self.cast(self._reduced(loss, t, weight, ignore_index, reduction), dtype=x.dtype), logp, weight

    def cross_entropy_back(self, g, logp, t, w, weight, ignore_index, label_smoothing, reduction):
        """p (a + s sum(w)) - s w - a onehot(t), with p = exp(logp), a = g (1 - e) weight, s = g e / C"""
        shared, e, c = self._shared(g, t, weight, ignore_index, reduction), label_smoothing, logp.shape[1]
        a = self._column(self.mul(shared, self.mul(weight, 1 - e) if e else weight))
        total, spread = a, None
        if e:
            s = self._column(self.mul(shared, e / c))
            every = float(c) if w is None else self.sum(self.cast(w, dtype=s.dtype), axis=(0,))
            total = self.add(a, self.mul(s, every))
            spread = s if w is None else self.mul(s, self._by_class(w, logp))
        d = self.mul(self.exp(logp), total)
        d = d if spread is None else self.sub(d, spread)
        return self.cast(self.sub(d, self.mul(self._onehot(t, ignore_index, logp), a)), dtype=g.dtype)

    def soft_cross_entropy(self, x, t, w, label_smoothing, reduction):
        """-sum over the classes of w q logp, q = (1 - e) t + e / C for probabilities t, shaped as x -> loss, logp

        The mean is over positions, whatever they weigh.
        """
        logp = self.log_softmax(self.cast(x, dtype=wide_type(x.dtype)), axis=1)
        loss = self.neg(self.sum(self.mul(logp, self._wanted(t, w, logp, label_smoothing)), axis=(1,)))
        return self.cast(self._gathered(loss, reduction), dtype=x.dtype), logp

    def soft_cross_entropy_back(self, g, logp, t, w, label_smoothing, reduction):
        """p sum(a w q) - a w q, with p = exp(logp), a each position's part of g"""
        d = self.mul(self._wanted(t, w, logp, label_smoothing), self._part(g, logp, reduction))
        total = self.sum(d, axis=(1,), keepdims=True)
        return self.cast(self.sub(self.mul(self.exp(logp), total), d), dtype=g.dtype)

    def soft_cross_entropy_dt(self, g, logp, w, label_smoothing, reduction):
        """-(1 - e) a w logp"""
        d = self.mul(logp, self.mul(self._part(g, logp, reduction), label_smoothing - 1))
        return self.cast(d if w is None else self.mul(d, self._by_class(w, d)), dtype=g.dtype)

    def _wanted(self, t, w, logp, e):
        """w ((1 - e) t + e / C), in logp's type"""
        q = self.cast(t, dtype=logp.dtype)
        q = self.add(self.mul(q, 1 - e), e / logp.shape[1]) if e else q
        return q if w is None else self.mul(q, self._by_class(w, q))

    def _gathered(self, loss, reduction):
        """(N, ...) reduced"""
        if reduction == "none":
            return loss
        total = self.sum(loss, axis=tuple(range(loss.ndim)))
        return total if reduction == "sum" else self.div(total, float(prod(loss.shape)))

    def _part(self, g, logp, reduction):
        """`_gathered` in reverse: each position's part of g, as (N, 1, ...) or one number, in logp's type"""
        g = self.cast(g, dtype=logp.dtype)
        if reduction == "none":
            return self._column(g)
        return self.div(g, float(prod(logp.shape) // logp.shape[1])) if reduction == "mean" else g

    def nll_loss(self, logp, t, w, ignore_index, reduction):
        """-w[t] logp[t] -> loss, weight"""
        loss, weight = self._picked(self.cast(logp, dtype=wide_type(logp.dtype)), t, w, ignore_index)
        return self.cast(self._reduced(loss, t, weight, ignore_index, reduction), dtype=logp.dtype), weight

    def nll_loss_back(self, g, logp, t, weight, ignore_index, reduction):
        """-g weight onehot(t)"""
        a = self._column(self.mul(self._shared(g, t, weight, ignore_index, reduction), weight))
        return self.cast(self.neg(self.mul(self._onehot(t, ignore_index, logp), a)), dtype=g.dtype)

    def _picked(self, logp, t, w, ignore_index):
        """-w[t] logp[t], and w[t], which is 0 where t is ignored."""
        kept = self.ne(t, ignore_index)
        safe = self.where(kept, t, 0)
        weight = self.cast(kept, dtype=logp.dtype)
        if w is not None:
            weight = self.mul(weight, self.getitem(self.cast(w, dtype=logp.dtype), safe, key=(Slot(0),)))
        own = self.reshape(self.gather(logp, self._column(safe), axis=1), shape=t.shape)
        return self.neg(self.mul(own, weight)), weight

    def _reduced(self, loss, t, weight, ignore_index, reduction):
        loss = self.where(self.ne(t, ignore_index), loss, 0.0)  # also where the logits of an ignored one are inf
        if reduction == "none":
            return loss
        axis = tuple(range(loss.ndim))
        total = self.sum(loss, axis=axis)
        return total if reduction == "sum" else self.div(total, self.sum(weight, axis=axis))

    def _shared(self, g, t, weight, ignore_index, reduction):
        """`_reduced` in reverse: each position's part of g (wide), 0 where it is ignored."""
        g = self.cast(g, dtype=weight.dtype)
        if reduction == "mean":
            g = self.div(g, self.sum(weight, axis=tuple(range(weight.ndim))))
        return self.where(self.ne(t, ignore_index), g, 0.0)

    def _column(self, a):
        """(N, ...) -> (N, 1, ...)"""
        return self.reshape(a, shape=(a.shape[0], 1, *a.shape[1:]))

    def _by_class(self, w, x):
        """(C,) -> (1, C, 1, ...), in x's type"""
        return self.reshape(self.cast(w, dtype=x.dtype), shape=(1, x.shape[1]) + (1,) * (x.ndim - 2))

    def _onehot(self, t, ignore_index, x):
        """1 at the class of each position, else 0, in x's shape; what stands at an ignored one, nobody may ask."""
        hot = self.one_hot(self.where(self.ne(t, ignore_index), t, 0), n=x.shape[1], dtype=wide_type(x.dtype))
        return self.permute(hot, axes=(0, t.ndim, *range(1, t.ndim)))

    @wide
    def binary_cross_entropy(self, x, t):
        """-t log(x) - (1 - t) log(1 - x), no logarithm below -100"""
        yes, no = self._logs(x)
        return self.neg(self.add(self.mul(t, yes), self.mul(self.sub(1, t), no)))

    @wide
    def binary_cross_entropy_back(self, g, x, t):
        """g (x - t) / max(x (1 - x), 1e-12)"""
        return self.div(self.mul(g, self.sub(x, t)), self.maximum(self.mul(x, self.sub(1, x)), 1e-12))

    @wide
    def binary_cross_entropy_dt(self, g, x):
        """g (log(1 - x) - log(x)), no logarithm below -100"""
        yes, no = self._logs(x)
        return self.mul(g, self.sub(no, yes))

    def _logs(self, x):
        return self.maximum(self.log(x), -100.0), self.maximum(self.log1p(self.neg(x)), -100.0)

    @wide
    def binary_cross_entropy_with_logits(self, x, t, w, pos_weight, reduction):
        """w (pos_weight t softplus(-x) + (1 - t) softplus(x)), reduced: no cancellation, no overflow"""
        loss = self.add(self._times(self._missed(x, t), pos_weight), self.mul(self.sub(1, t), self._soft(x)))
        return self._gathered(self._times(loss, w), reduction)

    @wide
    def binary_cross_entropy_with_logits_back(self, g, x, t, w, pos_weight, reduction):
        """a ((1 - t) sigmoid(x) - pos_weight t sigmoid(-x)), a = g w each element's part of g"""
        yes = self._times(self.mul(t, self.sigmoid(self.neg(x))), pos_weight)
        return self.mul(self._own(g, x, w, reduction), self.sub(self.mul(self.sub(1, t), self.sigmoid(x)), yes))

    @wide
    def binary_cross_entropy_with_logits_dt(self, g, x, w, pos_weight, reduction):
        """a (pos_weight softplus(-x) - softplus(x))"""
        yes = self._times(self._soft(self.neg(x)), pos_weight)
        return self.mul(self._own(g, x, w, reduction), self.sub(yes, self._soft(x)))

    @wide
    def binary_cross_entropy_with_logits_dw(self, g, x, t, pos_weight, reduction):
        """The loss of each element, times its part of g"""
        loss = self.add(self._times(self._missed(x, t), pos_weight), self.mul(self.sub(1, t), self._soft(x)))
        return self.mul(self._own(g, x, None, reduction), loss)

    @wide
    def binary_cross_entropy_with_logits_dp(self, g, x, t, w, reduction):
        """a t softplus(-x), for pos_weight"""
        return self.mul(self._own(g, x, w, reduction), self._missed(x, t))

    def _missed(self, x, t):
        """t softplus(-x)"""
        return self.mul(t, self._soft(self.neg(x)))

    def _times(self, x, w):
        return x if w is None else self.mul(x, w)

    def _own(self, g, x, w, reduction):
        """`_gathered` in reverse: w times each element's part of g; it broadcasts to x"""
        return self._times(self.div(g, float(prod(x.shape))) if reduction == "mean" else g, w)

    def _soft(self, x):
        return self.softplus(x, beta=1.0, threshold=float("inf"))
