"""Many numbers to one, over a sorted tuple of axes; and running sums. `axis` never holds a negative number here.

`sum` and `expand` (movement.py) are each other's pullbacks. Next on the way: `movement.py`.
"""

from __future__ import annotations

from math import prod as product

from .. import shapes
from .common import once


def sum(xp, x, *, axis, keepdims=False):
    """The sum over `axis`.     dx = g, expanded (this is `expand` in reverse)"""
    old, one = x.shape, shapes.reduced(x.shape, axis, True)
    return xp.sum(x, axis=axis, keepdims=keepdims), (lambda g: xp.expand(xp.reshape(g, shape=one), shape=old),)


def mean(xp, x, *, axis, keepdims=False):
    """sum / n.     dx = g / n, expanded"""
    old, one = x.shape, shapes.reduced(x.shape, axis, True)
    n = product(old[i] for i in axis) or 1
    return xp.mean(x, axis=axis, keepdims=keepdims), (
        lambda g: xp.expand(xp.reshape(xp.div(g, n), shape=one), shape=old),
    )


def var(xp, x, *, axis, correction, keepdims=False):
    """sum (x - mean)^2 / (n - correction).     dx = g 2 (x - mean) / (n - correction)"""
    one = shapes.reduced(x.shape, axis, True)
    n = _freedom(x.shape, axis, correction)

    def dx(g):
        d = xp.sub(x, xp.mean(x, axis=axis, keepdims=True))
        return xp.mul(d, xp.div(xp.mul(xp.reshape(g, shape=one), 2), n))

    return xp.var(x, axis=axis, correction=correction, keepdims=keepdims), (dx,)


def _freedom(shape, axis, correction):
    """The divisor of a variance: the count less `correction`, not below 0. (`max` is an op in this file.)"""
    n = float(product(shape[i] for i in axis) - correction)
    return n if n > 0 else 0.0


def std(xp, x, *, axis, correction, keepdims=False):
    """sqrt(var).     dx = g (x - mean) / ((n - correction) y), 0 where y is 0"""
    one = shapes.reduced(x.shape, axis, True)
    n = _freedom(x.shape, axis, correction)
    y = xp.sqrt(xp.var(x, axis=axis, correction=correction, keepdims=keepdims))

    def dx(g):
        flat = xp.eq(y, 0)
        scale = xp.where(flat, 0.0, xp.div(g, xp.mul(xp.where(flat, 1.0, y), n)))
        return xp.mul(xp.sub(x, xp.mean(x, axis=axis, keepdims=True)), xp.reshape(scale, shape=one))

    return y, (dx,)


def amax(xp, x, *, axis, keepdims=False):
    """The maximum.     dx = g, shared equally by all that tie"""
    return _extreme(xp, xp.amax(x, axis=axis, keepdims=keepdims), x, axis)


def amin(xp, x, *, axis, keepdims=False):
    """The minimum.     dx = g, shared equally by all that tie"""
    return _extreme(xp, xp.amin(x, axis=axis, keepdims=keepdims), x, axis)


def _extreme(xp, y, x, axis):
    one = shapes.reduced(x.shape, axis, True)

    def dx(g):
        tied = xp.cast(xp.eq(x, xp.reshape(y, shape=one)), dtype=g.dtype)
        return xp.mul(tied, xp.div(xp.reshape(g, shape=one), xp.sum(tied, axis=axis, keepdims=True)))

    return y, (dx,)


def prod(xp, x, *, axis, keepdims=False):
    """The product.     dx = g times the product of all the others, also where some are 0"""
    one = shapes.reduced(x.shape, axis, True)
    return xp.prod(x, axis=axis, keepdims=keepdims), (
        lambda g: xp.mul(xp.reshape(g, shape=one), _others(xp, x, axis)) if axis else g,
    )


def _others(xp, x, axis):
    """For each element the product of all others over `axis`: no division, so zeros need no care, however often."""
    first, *rest = axis
    d = xp.mul(_before(xp, x, first), xp.flip(_before(xp, xp.flip(x, axis=(first,)), first), axis=(first,)))
    return xp.mul(d, _others(xp, xp.prod(x, axis=(first,), keepdims=True), rest)) if rest else d


def _before(xp, x, i):
    """The product of all elements before each one along axis i: log2(n) times, multiply by what lies 2^k before."""
    n, step = x.shape[i], 1
    full = tuple(slice(0, m) for m in x.shape)

    def shifted(a, by):
        kept = xp.getitem(a, key=full[:i] + (slice(0, n - by),) + full[i + 1 :])
        return xp.pad(kept, widths=tuple((by if j == i else 0, 0) for j in range(len(full))), value=1)

    y = shifted(x, 1 if n else 0)
    while step < n:
        y, step = xp.mul(y, shifted(y, step)), 2 * step
    return y


def logsumexp(xp, x, *, axis, keepdims=False):
    """log(sum(exp(x))).     dx = g exp(x - y)"""
    one = shapes.reduced(x.shape, axis, True)
    y = xp.logsumexp(x, axis=axis, keepdims=keepdims)

    def dx(g):
        return xp.logsumexp_back(xp.reshape(g, shape=one), x, xp.reshape(y, shape=one), axis=axis)

    return y, (dx,)


def softmax(xp, x, *, axis):
    """exp(x) / sum(exp(x)) along one axis.     dx = y (g - sum(g y))"""
    y = xp.softmax(x, axis=axis)
    return y, (lambda g: xp.softmax_back(g, y, axis=axis),)


def log_softmax(xp, x, *, axis):
    """x - logsumexp(x) along one axis.     dx = g - exp(y) sum(g)"""
    y = xp.log_softmax(x, axis=axis)
    return y, (lambda g: xp.log_softmax_back(g, y, axis=axis),)


def cumsum(xp, x, *, axis):
    """y_i = x_0 + ... + x_i along one axis.     dx_i = g_i + g_(i+1) + ..."""

    def dx(g):
        return xp.flip(xp.cumsum(xp.flip(g, axis=(axis,)), axis=axis), axis=(axis,))

    return xp.cumsum(x, axis=axis), (dx,)


def max(xp, x, *, axis, keepdims=False):
    """The maximum along one axis; aux: the index of the first.     dx = g at that index, else 0"""
    return _chosen(xp, x, xp.argmax(x, axis=axis, keepdims=True), axis, keepdims)


def min(xp, x, *, axis, keepdims=False):
    """The minimum along one axis; aux: the index of the first.     dx = g at that index, else 0"""
    return _chosen(xp, x, xp.argmin(x, axis=axis, keepdims=True), axis, keepdims)


def _chosen(xp, x, index, axis, keepdims):
    old, one = x.shape, index.shape
    drop = shapes.reduced(one, (axis,), keepdims)
    y = xp.reshape(xp.gather(x, index, axis=axis), shape=drop)
    back = once(lambda g: xp.gather_back(xp.reshape(g, shape=one), index, axis=axis, shape=old))
    return y, (back,), (xp.reshape(index, shape=drop),)


def argmax(xp, x, *, axis, keepdims=False):
    """The index of the first maximum."""
    return xp.argmax(x, axis=axis, keepdims=keepdims), (None,)


def argmin(xp, x, *, axis, keepdims=False):
    """The index of the first minimum."""
    return xp.argmin(x, axis=axis, keepdims=keepdims), (None,)


def argsort(xp, x, *, axis, descending=False):
    """The indices that sort along one axis; equal elements keep their order."""
    return xp.argsort(x, axis=axis, descending=descending), (None,)


def topk(xp, x, *, k, axis, descending):
    """The first k of argsort."""
    return xp.topk(x, k=k, axis=axis, descending=descending), (None,)


def any(xp, x, *, axis, keepdims=False):
    return xp.any(x, axis=axis, keepdims=keepdims), (None,)


def all(xp, x, *, axis, keepdims=False):
    return xp.all(x, axis=axis, keepdims=keepdims), (None,)
