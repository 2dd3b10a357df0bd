"""Rows: convolutions, their adjoints, and patches as columns. All bilinear or linear; weights have their own order."""

import tinygrad_fast as tf
from tinygrad_fast import ops
from tinygrad_fast.nn import functional as F
from tinygrad_fast.testing import Args, Table, strategies as some

rows = Table()
PRODUCT = {"linear": True, "images": (0,)}


def small(draw, **limits):
    return draw(some.windows(max_padding=1, **limits))


@rows.row("conv2d", F.conv2d, **PRODUCT)
def conv2d(draw, fill):
    g = small(draw)
    return Args(fill.normal(g.x), fill.normal(g.w), fill.normal(g.w[:1]), **g.options)


@rows.row("conv2d / one channel a group", F.conv2d, **PRODUCT)
def depthwise(draw, fill):
    g = small(draw, grouped=False)
    c, o = g.x[1], g.x[1] * draw(some.integers(1, 2))
    return Args(fill.normal(g.x), fill.normal((o, 1, *g.kernel)), **{**g.options, "groups": c})


@rows.row("conv2d / same", F.conv2d, **PRODUCT)
def same(draw, fill):
    """Even kernels want one zero more on one side."""
    k = (draw(some.integers(1, 4)), draw(some.integers(1, 4)))
    d = draw(some.integers(1, 2))
    return Args(fill.normal((1, 2, 3, 4)), fill.normal((2, 2, *k)), padding="same", dilation=d)


@rows.row("conv2d / wide padding", F.conv2d, **PRODUCT)
def wide_padding(draw, fill):
    """A border wider than the filter: windows that lie in it whole."""
    c, o, kh, kw = (draw(some.integers(1, 2)) for _ in range(4))
    h, w, s = (draw(some.integers(1, 3)) for _ in range(3))
    return Args(fill.normal((1, c, h, w)), fill.normal((o, c, kh, kw)), padding=draw(some.integers(3, 4)), stride=s)


@rows.row("conv2d / relu", lambda x, w, b, **options: F.conv2d(x, w, b, relu=True, **options), images=(0,))
def relu(draw, fill):
    """The bias keeps relu away from 0: each output channel is on everywhere, or off."""
    g = small(draw)
    taps = g.w[1] * g.w[2] * g.w[3]
    x, w = fill.between(g.x, -1, 1), fill.between(g.w, -1, 1)
    return Args(x, w, fill.sign(g.w[:1]) * (taps + 0.3), **g.options)


@rows.row(
    "conv2d / residual, relu", lambda x, w, b, r, **o: F.conv2d(x, w, b, residual=r, relu=True, **o), images=(0, 3)
)
def residual(draw, fill):
    """The residual keeps relu away from 0."""
    g = small(draw)
    taps = g.w[1] * g.w[2] * g.w[3]
    x, w = fill.between(g.x, -1, 1), fill.between(g.w, -1, 1)
    return Args(x, w, fill.between(g.w[:1], -1, 1), fill.sign(g.y) * (taps + 1.3), **g.options)


@rows.row("conv2d / 3x3", F.conv2d, **PRODUCT)
def three_by_three(draw, fill):
    """Images of several tiles of 4 x 4, the last ones cut off: what Winograd's scheme takes."""
    (h, w), p = (draw(some.integers(4, 9)), draw(some.integers(4, 6))), draw(some.integers(0, 2))
    n, c, o = draw(some.integers(1, 2)), draw(some.integers(1, 3)), draw(some.integers(1, 3))
    x = (n, c, h + max(0, 2 - 2 * p), w + max(0, 2 - 2 * p))
    return Args(fill.normal(x), fill.normal((o, c, 3, 3)), fill.normal((o,)), padding=p)


@rows.row("conv2d / vectors of channels", F.conv2d, **PRODUCT)
def vectors(draw, fill):
    """Channels by 16: what direct convolution takes, one vector or two of them at a time."""
    c, o, p = draw(some.sampled_from((3, 16))), draw(some.sampled_from((16, 32, 48))), draw(some.integers(0, 2))
    k, s = (draw(some.integers(2, 3)), draw(some.integers(1, 3))), draw(some.integers(1, 3))
    return Args(
        fill.normal((1, c, draw(some.integers(3, 4)), draw(some.integers(3, 10)))),
        fill.normal((o, c, *k)),
        stride=s,
        padding=p,
    )


@rows.row("conv1d", F.conv1d, **PRODUCT)
def conv1d(draw, fill):
    g = small(draw, axes=1)
    return Args(fill.normal(g.x), fill.normal(g.w), fill.normal(g.w[:1]), **g.options)


@rows.row("conv_transpose2d", F.conv_transpose2d, **PRODUCT)
def conv_transpose2d(draw, fill):
    g = small(draw)
    extra = tuple(draw(some.integers(0, max(s, d) - 1)) for s, d in zip(g.stride, g.dilation, strict=True))
    n, o, c = g.x[0], g.w[0], g.w[1] * g.groups
    sizes = [draw(some.integers(1, 3)) + 2 * p for p in g.padding]  # the padding is cut off the output
    return Args(fill.normal((n, o, *sizes)), fill.normal(g.w), fill.normal((c,)), output_padding=extra, **g.options)


@rows.row("unfold", F.unfold, linear=True)
def unfold(draw, fill):
    g = small(draw, grouped=False)
    return Args(fill.normal(g.x), kernel_size=g.kernel, stride=g.stride, padding=g.padding, dilation=g.dilation)


@rows.row("fold", F.fold, linear=True)
def fold(draw, fill):
    g = small(draw, grouped=False)
    windows = {"kernel_size": g.kernel, "stride": g.stride, "padding": g.padding, "dilation": g.dilation}
    columns = (g.x[0], g.x[1] * g.kernel[0] * g.kernel[1], g.y[2] * g.y[3])
    return Args(fill.normal(columns), output_size=g.x[2:], **windows)


# Ops that pullbacks use, and no public function by itself


@rows.row("ops.conv2d_dx", lambda g, w, **static: tf.apply(ops.conv2d_dx, g, w, **static), **PRODUCT)
def conv2d_dx(draw, fill):
    g = small(draw)
    return Args(fill.normal(g.y), fill.normal(g.w), hw=g.x[2:], **g.options)


@rows.row("ops.conv2d_dw", lambda g, x, **static: tf.apply(ops.conv2d_dw, g, x, **static), linear=True, images=())
def conv2d_dw(draw, fill):
    g = small(draw)
    return Args(fill.normal(g.y), fill.normal(g.x), k=g.kernel, **g.options)
