"""Matrix products. Two matrices, or batches of them; everything else that multiplies is written with these.

Next on the way: `conv.py`, a matrix product with a funny address function.
"""

from __future__ import annotations

from math import prod

from .. import shapes
from .common import once, same, sum_to


def matmul(xp, x, w):
    """x (..., M, K) @ w (..., K, N) -> y (..., M, N).     dx = g w^T     dw = x^T g, summed over broadcast axes

    Where one w serves all batches, dw is one product over the rows of all of them: x^T g of each, (..., K, N), would be
    written, and read again to be summed.
    """
    shapes.matmul(x.shape, w.shape)
    xs, ws = x.shape, w.shape

    def dx(g):
        return sum_to(xp, xp.matmul(g, xp.swap(w)), xs)

    def dw(g):
        if len(xs) > 2 and prod(ws[:-2]) == 1:
            return xp.reshape(xp.linear_dw(x, g), shape=ws)
        return sum_to(xp, xp.matmul(xp.swap(x), g), ws)

    return xp.matmul(x, w), (dx, dw)


def linear(xp, x, w, b=None, *, relu=False):
    """relu?(x w^T + b), x (..., K), w (O, K), b (O).     dx = g w     dw = g^T x     db = g summed over rows"""
    shapes.linear(x.shape, w.shape, None if b is None else b.shape)
    y = xp.linear(x, w, b, relu=relu)
    kept = y if relu else None
    local = once(lambda g: xp.relu_back(g, kept)) if relu else same
    lead = tuple(range(len(x.shape) - 1))
    return y, (
        lambda g: xp.matmul(local(g), w),
        lambda g: xp.linear_dw(local(g), x),
        lambda g: xp.sum(local(g), axis=lead),
    )
