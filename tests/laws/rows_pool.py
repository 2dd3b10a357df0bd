"""Rows: pools. Values are distinct, so that no two of a window tie. Eight channels: those that a GPU reads at once."""

import tinygrad_fast as tf
from tinygrad_fast import ops
from tinygrad_fast.nn import functional as F
from tinygrad_fast.testing import Args, Table, strategies as some

rows = Table()


def pooled(draw, fill, dilated=False):
    """An image and windows over it: padded by at most half the kernel, or dilated, which could miss the image."""
    limits = {"max_dilation": 2, "max_padding": 0} if dilated else {"max_dilation": 1, "half": True}
    g = draw(some.windows(grouped=False, **limits))
    options = {"kernel_size": g.kernel, "stride": g.stride, "padding": g.padding, "ceil_mode": draw(some.booleans())}
    return fill.distinct(g.x), options | ({"dilation": g.dilation} if dilated else {})


def image(draw, fill):
    channels = draw(some.sampled_from([1, 2, 3, 8]))
    shape = (draw(some.integers(1, 2)), channels, draw(some.integers(1, 4)), draw(some.integers(1, 4)))
    size = draw(some.sampled_from([1, (1, 2), (3, 2), (None, 3), 5]))
    return Args(fill.distinct(shape), output_size=size)


@rows.row("max_pool2d", F.max_pool2d)
def max_pool2d(draw, fill):
    x, options = pooled(draw, fill, dilated=draw(some.booleans()))
    return Args(x, **options)


@rows.row("max_pool2d / 3x3, stride 2", F.max_pool2d)
def stem(draw, fill):
    """That of a ResNet, with indices."""
    x = fill.distinct((2, draw(some.sampled_from([2, 8])), draw(some.integers(2, 5)), draw(some.integers(2, 5))))
    return Args(x, kernel_size=3, stride=2, padding=1, return_indices=True)


@rows.row("avg_pool2d", F.avg_pool2d, linear=True)
def avg_pool2d(draw, fill):
    x, options = pooled(draw, fill)
    counts = {"count_include_pad": draw(some.booleans()), "divisor_override": draw(some.sampled_from([None, None, 3]))}
    return Args(x, **options, **counts)


rows.row("adaptive_avg_pool2d", F.adaptive_avg_pool2d, linear=True)(image)
rows.row("adaptive_max_pool2d", F.adaptive_max_pool2d)(image)


# Ops that pullbacks use, and no public function by itself


@rows.row("ops.max_pool2d_back", lambda g, tap, **static: tf.apply(ops.max_pool2d_back, g, tap, **static), linear=True)
def max_pool2d_back(draw, fill):
    g, static = taps(draw)
    return Args(fill.normal(g.y), fill.integers(g.y, 0, g.kernel[0] * g.kernel[1]), hw=g.x[2:], **static)


@rows.row("ops.max_pool2d_at", lambda x, tap, **static: tf.apply(ops.max_pool2d_at, x, tap, **static), linear=True)
def max_pool2d_at(draw, fill):
    g, static = taps(draw)
    return Args(fill.normal(g.x), fill.integers(g.y, 0, g.kernel[0] * g.kernel[1]), **static)


def taps(draw):
    """Windows that stay inside the image, so that any place of one may have won."""
    g = draw(some.windows(grouped=False, max_padding=0))
    g = type(g)(g.x, g.w, (*g.x[:2], *g.y[2:]), g.kernel, g.stride, g.padding, g.dilation, g.groups)
    return g, {"kernel": g.kernel, "stride": g.stride, "padding": g.padding, "dilation": g.dilation}
