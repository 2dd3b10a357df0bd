"""Losses of classification. The formulas stand in `backend/losses.py`; the others are elementwise ops and a mean.

`reduction` is "none", "sum", or "mean", which divides by the sum of the weights of the positions that count.
"""

from __future__ import annotations

from .. import shapes
from .common import sum_to


def cross_entropy(xp, x, t, w=None, *, ignore_index, label_smoothing, reduction):
    """-w[t] log softmax(x)[t], reduced.     dx = g w[t] (softmax(x) - onehot(t))

    x (N, C, ...) logits, t (N, ...) class indices, w (C,) weights of the classes. A position whose t is `ignore_index`
    counts nothing. label_smoothing e: onehot becomes (1 - e) onehot + e / C (Szegedy et al. 2016, section 7).
    """
    shapes.classes("cross_entropy", x.shape, t.shape, shapes.of(w))
    static = {"ignore_index": ignore_index, "label_smoothing": label_smoothing, "reduction": reduction}
    y, logp, weight = xp.cross_entropy(x, t, w, **static)
    return y, (lambda g: xp.cross_entropy_back(g, logp, t, w, weight, **static), None, None)


def soft_cross_entropy(xp, x, t, w=None, *, label_smoothing, reduction):
    """-sum of w t log softmax(x) over the classes, reduced; x and t (N, C, ...), t holds probabilities.

    dx = g (softmax(x) sum(w t) - w t)     dt = -g w log softmax(x)     label_smoothing e: (1 - e) t + e / C for t
    """
    static = {"label_smoothing": label_smoothing, "reduction": reduction}
    y, logp = xp.soft_cross_entropy(x, t, w, **static)
    return y, (
        lambda g: xp.soft_cross_entropy_back(g, logp, t, w, **static),
        lambda g: xp.soft_cross_entropy_dt(g, logp, w, **static),
        None,
    )


def nll_loss(xp, x, t, w=None, *, ignore_index, reduction):
    """-w[t] x[t], reduced; x (N, C, ...) holds log-probabilities.     dx = -g w[t] onehot(t)"""
    shapes.classes("nll_loss", x.shape, t.shape, shapes.of(w))
    static = {"ignore_index": ignore_index, "reduction": reduction}
    y, weight = xp.nll_loss(x, t, w, **static)
    return y, (lambda g: xp.nll_loss_back(g, x, t, weight, **static), None, None)


def binary_cross_entropy(xp, x, t):
    """-t log(x) - (1 - t) log(1 - x) for probabilities x, no logarithm below -100.

    dx = g (x - t) / max(x (1 - x), 1e-12)     dt = g (log(1 - x) - log(x))
    """
    shapes.equal("binary_cross_entropy", x.shape, t.shape)
    return xp.binary_cross_entropy(x, t), (
        lambda g: xp.binary_cross_entropy_back(g, x, t),
        lambda g: xp.binary_cross_entropy_dt(g, x),
    )


def binary_cross_entropy_with_logits(xp, x, t, w=None, pos_weight=None, *, reduction):
    """w (pos_weight t softplus(-x) + (1 - t) softplus(x)), reduced: the above for probabilities sigmoid(x).

    dx = g w ((1 - t) sigmoid(x) - pos_weight t sigmoid(-x))     dt = g w (pos_weight softplus(-x) - softplus(x))
    dw = g loss / w, dpos_weight = g w t softplus(-x), summed over broadcast axes.     "mean" is over the elements
    """
    shapes.equal("binary_cross_entropy_with_logits", x.shape, t.shape)
    ws, ps, static = shapes.of(w), shapes.of(pos_weight), {"reduction": reduction}
    return xp.binary_cross_entropy_with_logits(x, t, w, pos_weight, **static), (
        lambda g: xp.binary_cross_entropy_with_logits_back(g, x, t, w, pos_weight, **static),
        lambda g: xp.binary_cross_entropy_with_logits_dt(g, x, w, pos_weight, **static),
        lambda g: sum_to(xp, xp.binary_cross_entropy_with_logits_dw(g, x, t, pos_weight, **static), ws),
        lambda g: sum_to(xp, xp.binary_cross_entropy_with_logits_dp(g, x, t, w, **static), ps),
    )
