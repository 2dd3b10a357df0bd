"""Rows: activations, `linear`, dropout, tables, padding. The functions that stand in `functional` alone."""

import tinygrad_fast as tf
import tinygrad_fast.nn.functional as F
from tinygrad_fast.testing import Args, Table, strategies as some

rows = Table()


def one(values, *bounds, **options):
    """One array of any shape; of each option, one of the values given."""

    def draw(draw, fill):
        chosen = {name: draw(some.sampled_from(among)) for name, among in options.items()}
        return Args(getattr(fill, values)(draw(some.shapes()), *bounds), **chosen)

    return draw


rows.row("relu6", lambda x: F.relu6(3 * x))(one("away", 0.0, 2.0))
rows.row("hardtanh", F.hardtanh)(one("away", -0.5, 1.0, min_val=[-0.5], max_val=[1.0]))
rows.row("leaky_relu", F.leaky_relu)(one("away", 0.0, negative_slope=[0.01, 0.3]))
rows.row("elu", F.elu)(one("away", 0.0, alpha=[1.0, 0.4]))
rows.row("gelu", F.gelu)(one("normal", 2.0, approximate=["none", "tanh"]))
rows.row("silu", F.silu)(one("normal", 2.0))
rows.row("softplus", F.softplus)(one("away", 1.0, beta=[1, 2.5], threshold=[20]))
rows.row("softplus / threshold", lambda x, beta: F.softplus(x, beta, threshold=beta))(  # linear above 1
    one("away", 1.0, beta=[1, 2])
)
rows.row("logsigmoid", F.logsigmoid)(one("normal", 2.0))


@rows.row("linear / functional", F.linear, linear=True, images=())
def linear(draw, fill):
    x, w, b = _linear(draw, fill)
    return Args(x, w, b) if draw(some.booleans()) else Args(x, w)


@rows.row("linear / relu", lambda *xs: F.linear(*xs, relu=True), images=())
def linear_relu(draw, fill):
    """Odd multiples of 1/4 are far from the kink, and so are their sums with whole numbers."""
    x, w, b = _linear(draw, fill)
    return Args(
        fill.integers(x.shape, -3, 4) * 1.0, fill.integers(w.shape, -3, 4) * 1.0, fill.beside(b.shape, 0.3, 0.7)
    )


def _linear(draw, fill):
    lead, (k, o) = draw(some.shapes(max_dims=3, limit=12)), draw(some.shapes(min_dims=2, max_dims=2))
    return fill.normal((*lead, k)), fill.normal((o, k)), fill.normal((o,))


def dropped(x, p, seed):
    """A function of x: the seed is an argument."""
    tf.manual_seed(seed)
    return F.dropout(x, p)


@rows.row("dropout", dropped, linear=True)
def dropout(draw, fill):
    p = draw(some.sampled_from([0.0, 0.2, 0.5, 1.0]))
    return Args(fill.normal(draw(some.shapes())), p=p, seed=draw(some.integers(0, 99)))


@rows.row("embedding", lambda w, i, padding_idx: F.embedding(i, w, padding_idx), linear=True, images=())
def embedding(draw, fill):
    """The row of the padding index is not read: its gradient is 0 by decree, not the slope."""
    n, d = draw(some.integers(2, 4)), draw(some.integers(1, 4))
    pad = draw(some.sampled_from([None, 0, -1]))
    index = fill.integers(draw(some.shapes(max_dims=3, limit=20)), pad == 0, n - (pad == -1))
    return Args(fill.normal((n, d)), index, padding_idx=pad)


@rows.row("pad", F.pad, linear=True)
def pad(draw, fill):
    shape = draw(some.shapes(min_dims=1, limit=30))
    pairs = draw(some.integers(1, len(shape)))
    widths = [draw(some.integers(-1, 2)) if n > 2 else draw(some.integers(0, 2)) for n in shape for _ in (0, 1)]
    return Args(fill.normal(shape), pad=reversed_pairs(widths)[: 2 * pairs])


@rows.row("pad / from the input", F.pad, linear=True)
def pad_modes(draw, fill):
    """Of the axes after the channels, where there are any."""
    shape = draw(some.shapes(min_dims=1, limit=30))
    mode = draw(some.sampled_from(["reflect", "replicate", "circular"]))
    pairs = draw(some.integers(1, max(len(shape) - 2, 1)))
    limit = {"reflect": [n - 1 for n in shape], "circular": shape, "replicate": [2] * len(shape)}[mode]
    widths = [draw(some.integers(0, min(m, 2))) for m in limit for _ in (0, 1)]
    return Args(fill.normal(shape), pad=reversed_pairs(widths)[: 2 * pairs], mode=mode)


def reversed_pairs(widths):
    """(before, after) of the first axis, then the next -> the last axis first, as `pad` counts."""
    return tuple(n for i in range(len(widths) - 2, -1, -2) for n in widths[i : i + 2])
