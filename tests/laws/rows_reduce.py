"""Rows: many numbers to one, running sums, what sorts."""

import numpy as np

from tinygrad_fast import Tensor
from tinygrad_fast.testing import Args, Table, strategies as some

rows = Table()


def over(values, **static):
    """An array, the axes to reduce, keepdim or not."""

    def draw(draw, fill):
        shape = draw(some.shapes())
        x = getattr(fill, values)(shape)
        return Args(x, dim=draw(some.axes(len(shape))), keepdim=draw(some.booleans()), **static)

    return draw


def along(values, min_dims=1, keep=False):
    """An array and one axis of it."""

    def draw(draw, fill):
        shape = draw(some.shapes(min_dims=min_dims))
        static = {"keepdim": draw(some.booleans())} if keep else {}
        return Args(getattr(fill, values)(shape), dim=draw(some.axis(len(shape))), **static)

    return draw


rows.row("sum", Tensor.sum, linear=True)(over("normal"))
rows.row("mean", Tensor.mean, linear=True)(over("normal"))
rows.row("amax", Tensor.amax)(over("distinct"))
rows.row("amin", Tensor.amin)(over("distinct"))
rows.row("logsumexp", Tensor.logsumexp)(over("normal"))
rows.row("max", Tensor.max)(along("distinct", min_dims=0, keep=True))
rows.row("min", Tensor.min)(along("distinct", min_dims=0, keep=True))
rows.row("max / all", lambda x: x.max())(lambda draw, fill: Args(fill.distinct(draw(some.shapes()))))
rows.row("min / all", lambda x: x.min())(lambda draw, fill: Args(fill.distinct(draw(some.shapes()))))
rows.row("softmax", Tensor.softmax)(along("normal", min_dims=0))
rows.row("log_softmax", Tensor.log_softmax)(along("normal", min_dims=0))
rows.row("cumsum", Tensor.cumsum, linear=True)(along("normal", min_dims=1))
rows.row("sort", lambda x, dim: x.sort(dim).values)(along("distinct"))
rows.row("sort / descending", lambda x, dim: x.sort(dim, True).values)(along("distinct"))


@rows.row("max / tensor", Tensor.max)
def max_of_two(draw, fill):
    a, b = draw(some.broadcastable(2))
    return Args(fill.integers(a, -9, 9) * 0.2 + 0.1, fill.integers(b, -9, 9) * 0.2)


@rows.row("prod", Tensor.prod)
def prod(draw, fill):
    """Factors near 1, so that the product of many stays small."""
    shape = draw(some.shapes(limit=36))
    x = fill.between(shape, 0.6, 1.5) * fill.sign(shape)
    return Args(x, dim=draw(some.axes(len(shape))), keepdim=draw(some.booleans()))


@rows.row("prod / zeros", Tensor.prod)
def prod_with_zeros(draw, fill):
    """Where one element is 0, its slope is the product of the others; where two are, all slopes are 0, but differences
    leave h^2 times the slope of what is not 0: small numbers keep that below what the slope law allows."""
    args = prod(draw, fill)
    (x,) = args.arrays
    return Args(np.where(fill.between(x.shape, 0, 1) < 0.2, 0.0, x / 4), **args.static)


def spread_out(draw, fill, **limits):
    """An array and axes with at least two elements to average over; correction 0 or 1."""
    shape = draw(some.shapes(min_dims=1, **limits).filter(lambda s: max(s) > 1))
    dim = draw(some.axes(len(shape)).filter(lambda d: count(shape, d) > 1))
    static = {"keepdim": draw(some.booleans()), "correction": draw(some.sampled_from([0, 1]))}
    return Args(fill.distinct(shape, gap=0.5), dim=dim, **static)


def count(shape, dim):
    """How many elements of `shape` go into one result of a reduction over `dim`."""
    axes = range(len(shape)) if dim is None else dim if isinstance(dim, tuple) else (dim,)
    n = 1
    for i in axes:
        n *= shape[i]
    return n


rows.row("var", Tensor.var)(spread_out)
rows.row("std", Tensor.std, skip={"layout": "equal elements, as in a spread array, have no slope of std"})(spread_out)


@rows.row("norm", Tensor.norm)
def norm(draw, fill):
    shape = draw(some.shapes())
    p = draw(some.sampled_from([1, 2, 3, 1.5]))
    return Args(fill.nonzero(shape), p=p, dim=draw(some.axes(len(shape))), keepdim=draw(some.booleans()))


@rows.row("norm / largest", lambda x, dim: x.norm(float("inf"), dim))
def norm_largest(draw, fill):
    shape = draw(some.shapes())
    x = fill.distinct(shape)
    return Args((x - x.min() + 0.3) * fill.sign(shape), dim=draw(some.axes(len(shape))))


@rows.row("topk", lambda x, k, dim, largest: x.topk(k, dim, largest).values)
def topk(draw, fill):
    shape = draw(some.shapes(min_dims=1))
    dim = draw(some.axis(len(shape)))
    return Args(fill.distinct(shape), k=draw(some.integers(1, shape[dim])), dim=dim, largest=draw(some.booleans()))
