"""Rows: normalisation. Values are drawn apart, so that variances are far from 0."""

import tinygrad_fast as tf
import tinygrad_fast.nn.functional as F
from tinygrad_fast.testing import Args, Table, strategies as some

rows = Table()
EPS = 0.01  # within a few orders of the variances: equal elements then have a slope that differences can measure


def images(draw, min_values=2):
    """(N, C, ...) with at least `min_values` values a channel."""
    rest = draw(some.shapes(max_dims=2, max_side=3, limit=9))
    count = 1
    for k in rest:
        count *= k
    n = draw(some.integers(1 if count >= min_values else min_values, 3))
    return n, draw(some.integers(1, 3)), *rest


def affine(draw, fill, shape):
    """Weight and bias, or the first, or none."""
    return [fill.nonzero(shape) for _ in range(draw(some.integers(0, 2)))]


def train(x, *affine):
    return F.batch_norm(x, None, None, *affine, training=True, eps=EPS)


@rows.row("batch_norm", train)
def batch_norm(draw, fill):
    shape = images(draw)
    return Args(fill.distinct(shape, gap=0.5), *affine(draw, fill, shape[1:2]))


def block(x, residual, *affine):
    """relu(batch norm + residual)."""
    return F.batch_norm(x, None, None, *affine, training=True, eps=EPS, residual=residual, relu=True)


@rows.row("batch_norm / residual, relu", block)
def batch_norm_block(draw, fill):
    shape = images(draw)
    far = fill.sign(shape) * fill.between(shape, 16, 20)  # |xhat w + b| < sqrt(27) * 3 = 15.6, less b
    return Args(fill.distinct(shape, gap=0.5), far, fill.nonzero(shape[1:2]), fill.between(shape[1:2], -0.2, 0.2))


@rows.row("batch_norm / relu", lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True, eps=EPS, relu=True))
def batch_norm_relu(draw, fill):
    shape = images(draw)
    side = fill.sign(shape[1:2]) * fill.between(shape[1:2], 16, 20)  # a channel is all above 0 or all below
    return Args(fill.distinct(shape, gap=0.5), fill.nonzero(shape[1:2]), side)


@rows.row("batch_norm / eval", lambda x, *affine: F.batch_norm(x, *running(x), *affine, eps=EPS), linear=True)
def batch_norm_eval(draw, fill):
    shape = images(draw, 1)
    return Args(fill.normal(shape), *affine(draw, fill, shape[1:2]))


def running(x):
    """Some statistics that depend on nothing."""
    steps = tf.arange(x.shape[1]).to(x.device).to(x.dtype)
    return steps * 0.25 - 0.5, steps * 0.5 + 0.75


@rows.row(
    "batch_norm / eval, residual, relu",
    lambda x, r, w, b: F.batch_norm(x, *running(x), w, b, eps=EPS, residual=r, relu=True),
)
def batch_norm_eval_block(draw, fill):
    shape = images(draw, 1)
    far = fill.sign(shape) * fill.between(shape, 16, 20)  # |xhat w| < 3.5 / 0.86 * 3 = 12.2
    return Args(fill.normal(shape), far, fill.nonzero(shape[1:2]), fill.between(shape[1:2], -1, 1))


def convolved(draw, fill):
    """Images, filters, the shape of their convolution with two values a channel at least, and the window."""
    g = draw(some.windows(max_padding=1))
    n = max(g.x[0], 1 + (g.y[2:] == (1, 1)))
    return fill.distinct((n, *g.x[1:]), gap=0.5), fill.nonzero(g.w), (n, *g.y[1:]), g.options


def conv_train(x, w, *affine, **window):
    return F.conv2d_batch_norm(x, w, None, None, *affine, eps=EPS, **window)


@rows.row("conv2d_batch_norm", conv_train, images=(0,))
def conv2d_batch_norm(draw, fill):
    x, w, y, window = convolved(draw, fill)
    return Args(x, w, *affine(draw, fill, y[1:2]), **window)


def conv_block(x, w, gamma, beta, residual, **window):
    return conv_train(x, w, gamma, beta, residual=residual, relu=True, **window)


@rows.row("conv2d_batch_norm / residual, relu", conv_block, images=(0, 4))
def conv2d_batch_norm_block(draw, fill):
    x, w, y, window = convolved(draw, fill)
    far = fill.sign(y) * fill.between(y, 16, 20)  # |xhat gamma + beta| < sqrt(17) * 3 + 0.2 = 12.6
    return Args(x, w, fill.nonzero(y[1:2]), fill.between(y[1:2], -0.2, 0.2), far, **window)


def conv_relu(x, w, gamma, beta, **window):
    return conv_train(x, w, gamma, beta, relu=True, **window)


@rows.row("conv2d_batch_norm / relu, vectors of channels", conv_relu, images=(0,))
def conv2d_batch_norm_relu(draw, fill):
    """Channels enough to fill a tile of the GPU's loop; a channel is all above 0 or all below."""
    o, k, n = draw(some.sampled_from((16, 20))), draw(some.integers(1, 2)), draw(some.integers(2, 3))
    x, w = fill.normal((n, 16, k, 3)), fill.normal((o, 16, k, k))
    side = fill.sign((o,)) * fill.between((o,), 10, 12)  # |xhat gamma| < sqrt(8) * 3 = 8.5
    return Args(x, w, fill.nonzero((o,)), side, stride=draw(some.integers(1, 2)))


@rows.row("layer_norm", lambda x, *affine, k: F.layer_norm(x, x.shape[-k:], *affine, eps=EPS), images=())
def layer_norm(draw, fill):
    shape = draw(some.shapes(min_dims=1, limit=40))
    k = draw(some.integers(1, len(shape)))
    return Args(fill.distinct(shape, gap=0.5), *affine(draw, fill, shape[-k:]), k=k)


@rows.row("group_norm", lambda x, *affine, groups: F.group_norm(x, groups, *affine, eps=EPS))
def group_norm(draw, fill):
    n, _, *rest = images(draw, 1)
    groups = draw(some.integers(1, 3))
    c = groups * draw(some.integers(1, 2))
    return Args(fill.distinct((n, c, *rest), gap=0.5), *affine(draw, fill, (c,)), groups=groups)


@rows.row("normalize", F.normalize)
def normalize(draw, fill):
    """Along two elements at least: a single one becomes its sign, with no slope but rounding."""
    shape = draw(some.shapes(min_dims=1, min_side=2))
    p, dim = draw(some.sampled_from([1, 2.0, 3, 1.5])), draw(some.axis(len(shape)))
    return Args(fill.nonzero(shape), p=p, dim=dim, eps=draw(some.sampled_from([1e-12, 0.1])))
