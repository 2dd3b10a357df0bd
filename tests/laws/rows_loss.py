"""Rows: losses, in all their options."""

import numpy as np

import tinygrad_fast as tf
import tinygrad_fast.nn.functional as F
from tinygrad_fast.testing import Args, Table, strategies as some

rows = Table()


def reduction(draw):
    return draw(some.sampled_from(["none", "mean", "sum"]))


def scores(draw):
    """(N, C, ...) with at least two classes: the probability of a single one is 1."""
    n, *rest = draw(some.shapes(min_dims=1, max_dims=3, max_side=3, limit=12))
    return n, draw(some.integers(2, 4)), *rest


def logits(draw, fill):
    """Logits (N, C, ...), targets (N, ...) of which some are ignored, the index that is, and weights or None."""
    n, c, *rest = scores(draw)
    t = fill.integers((n, *rest), 0, c)
    ignore = draw(some.sampled_from([-100, 0, c + 1]))
    t = np.where(fill.between(t.shape, 0, 1) < 0.2, ignore, t)
    t.flat[0] = c - 1  # one at least counts
    return fill.normal((n, c, *rest)), t, ignore


def weights(like, on):
    """Some weight for each class, that depends on nothing."""
    return (tf.arange(like.shape[1]) * 0.5 + 0.5).to(like.device).to(like.dtype) if on else None


def classes(f):
    """f of logits and targets, with weights made to fit."""

    def call(x, t, weighted, **static):
        return f(x, t, weights(x, weighted), **static)

    return call


@rows.row("cross_entropy", classes(F.cross_entropy))
def cross_entropy(draw, fill):
    x, t, ignore = logits(draw, fill)
    e = draw(some.sampled_from([0.0, 0.1, 0.6]))
    options = {"weighted": draw(some.booleans()), "ignore_index": ignore, "label_smoothing": e}
    return Args(x, t, reduction=reduction(draw), **options)


@rows.row("cross_entropy / one", F.cross_entropy)
def cross_entropy_one(draw, fill):
    c = draw(some.integers(2, 6))
    return Args(fill.normal((c,)), fill.integers((), 0, c), reduction=reduction(draw))


@rows.row("cross_entropy / probabilities", classes(F.cross_entropy))
def cross_entropy_probabilities(draw, fill):
    shape = scores(draw)
    e = draw(some.sampled_from([0.0, 0.1, 0.6]))
    options = {"weighted": draw(some.booleans()), "label_smoothing": e, "reduction": reduction(draw)}
    return Args(fill.normal(shape), fill.probabilities(shape, 1), **options)


@rows.row("nll_loss", classes(F.nll_loss), linear=True)
def nll_loss(draw, fill):
    x, t, ignore = logits(draw, fill)
    return Args(x, t, weighted=draw(some.booleans()), ignore_index=ignore, reduction=reduction(draw))


@rows.row("binary_cross_entropy", F.binary_cross_entropy)
def binary_cross_entropy(draw, fill):
    shape = draw(some.shapes())
    more = [fill.positive(shape)] if draw(some.booleans()) else []
    return Args(fill.between(shape, 0.1, 0.9), fill.between(shape, 0, 1), *more, reduction=reduction(draw))


@rows.row("binary_cross_entropy_with_logits", F.binary_cross_entropy_with_logits)
def binary_cross_entropy_with_logits(draw, fill):
    shape = draw(some.shapes())
    more = [fill.positive(shape)] if draw(some.booleans()) else []
    return Args(fill.away(shape, 0.0), fill.between(shape, 0, 1), *more, reduction=reduction(draw))


@rows.row(
    "binary_cross_entropy_with_logits / pos_weight",
    lambda x, t, p, *w, reduction: F.binary_cross_entropy_with_logits(x, t, *w, pos_weight=p, reduction=reduction),
)
def binary_cross_entropy_pos_weight(draw, fill):
    """Weights of columns, and of all or rows: what repeats at the left of x's shape, and at its right."""
    shape = draw(some.shapes(min_dims=1))
    p = fill.positive(shape[draw(some.integers(0, len(shape) - 1)) :])
    w = [fill.positive(draw(some.sampled_from([shape, (*shape[:-1], 1)])))] if draw(some.booleans()) else []
    return Args(fill.away(shape, 0.0), fill.between(shape, 0, 1), p, *w, reduction=reduction(draw))


def pair(*kinks, **options):
    """Input and target, their difference away from the kinks."""

    def draw(draw, fill):
        shape = draw(some.shapes())
        t, d = fill.integers(shape, -4, 5) * 0.25, fill.away(shape, *kinks)
        chosen = {name: draw(some.sampled_from(among)) for name, among in options.items()}
        return Args(t + d, t, reduction=reduction(draw), **chosen)

    return draw


def weighed(f):
    return lambda x, t, w, reduction: f(x, t, weight=w, reduction=reduction)


def three(draw, fill):
    """Two elements at least: with one, "mean" does not depend on its weight, but for rounding."""
    shape = draw(some.shapes(min_dims=1, min_side=2))
    x, t, w = fill.distinct(shape, gap=1.0), fill.between(shape, -0.1, 0.1) - 0.5, fill.positive(shape)
    return Args(x, t, w, reduction=reduction(draw))


rows.row("mse_loss", F.mse_loss)(pair())
rows.row("mse_loss / weight", weighed(F.mse_loss))(three)
rows.row("l1_loss", F.l1_loss)(pair(0.0))
rows.row("smooth_l1_loss", F.smooth_l1_loss)(pair(-1.0, 1.0, beta=[1.0]))
rows.row("smooth_l1_loss / beta", F.smooth_l1_loss)(pair(-0.5, 0.0, 0.5, beta=[0, 0.5]))
rows.row("huber_loss", F.huber_loss)(pair(-0.8, 0.8, delta=[0.8]))
