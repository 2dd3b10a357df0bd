"""Normalisation: xhat = (x - mean) / sqrt(var + eps), y = xhat w + b, over axes that differ from one op to the next.

x may be of a 16-bit type while w, b and the statistics are float32; y has x's type. w and b may be None. The formulas
of the pullbacks stand in `backend/norms.py`. Next on the way: `loss.py`.
"""

from __future__ import annotations

from .. import shapes
from .common import once


def batch_norm(xp, x, w=None, b=None, res=None, mean=None, var=None, *, eps, relu=False):
    """relu?(xhat w + b + res), each channel by the statistics of the batch; aux: its mean and biased variance.

    x (N, C, ...), w and b (C,), res as x. mean, var: what `conv2d_moments` found of x, if it did.
    dx = w rstd (g - mean(g) - xhat mean(g xhat))     dw = sum g xhat     db = sum g     dres = g.
    Ioffe and Szegedy 2015
    """
    shapes.batch_norm(x.shape, shapes.of(w), shapes.of(b), shapes.of(res))
    y, kept, mean, rstd, var = xp.batch_norm(x, w, b, res, mean, var, eps=eps, relu=relu)
    residual = res is not None
    back = once(lambda g: xp.batch_norm_back(g, x, w, b, mean, rstd, kept, relu=relu, residual=residual))
    return y, (*_pulls(xp, back, w, b), None, None), (mean, var)


def batch_norm_eval(xp, x, mean, var, w=None, b=None, res=None, *, eps, relu=False):
    """relu?(xhat w + b + res), each channel by the statistics given, which get no gradient.     dx = g w rstd"""
    shapes.batch_norm(x.shape, shapes.of(w), shapes.of(b), shapes.of(res), mean.shape, var.shape)
    y, kept, rstd = xp.batch_norm_eval(x, mean, var, w, b, res, eps=eps, relu=relu)
    residual = res is not None
    back = once(lambda g: xp.batch_norm_eval_back(g, x, w, b, mean, rstd, kept, relu=relu, residual=residual))
    dx, dw, db, dres = _pulls(xp, back, w, b)
    return y, (dx, None, None, dw, db, dres)


def layer_norm(xp, x, w=None, b=None, *, axis, eps):
    """xhat w + b, statistics over the last axes; w and b have their shape.     Ba, Kiros and Hinton 2016"""
    shapes.layer_norm(x.shape, axis, shapes.of(w), shapes.of(b))
    y, mean, rstd = xp.layer_norm(x, w, b, axis=axis, eps=eps)
    back = once(lambda g: xp.layer_norm_back(g, x, w, mean, rstd, axis=axis))
    return y, _pulls(xp, back, w, b)[:3]


def group_norm(xp, x, w=None, b=None, *, groups, eps):
    """xhat w + b, statistics over C / groups channels and all that follows; w and b (C,).     Wu and He 2018"""
    shapes.group_norm(x.shape, groups, shapes.of(w), shapes.of(b))
    y, mean, rstd = xp.group_norm(x, w, b, groups=groups, eps=eps)
    back = once(lambda g: xp.group_norm_back(g, x, w, mean, rstd, groups=groups))
    return y, _pulls(xp, back, w, b)[:3]


def _pulls(xp, back, w, b):
    """One pullback each for x, w, b, res: the parts of `back`, in the types of what they belong to."""
    wt, bt = getattr(w, "dtype", None), getattr(b, "dtype", None)
    return (
        lambda g: back(g)[0],
        lambda g: xp.cast(back(g)[1], dtype=wt),
        lambda g: xp.cast(back(g)[2], dtype=bt),
        lambda g: back(g)[3],
    )
