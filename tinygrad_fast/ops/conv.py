"""Convolution and its two adjoints: a set closed under differentiation, each the pullback of the others.

Images are (N, C, H, W), weights (O, C/groups, KH, KW); `stride`, `padding`, `dilation` are pairs (height, width).
Cross-correlation, as everywhere in this field: the kernel is not flipped. Next on the way: `pool.py`.
"""

from __future__ import annotations

from .. import shapes
from .common import once, same


def conv2d(xp, x, w, b=None, res=None, *, stride, padding, dilation, groups, relu=False):
    """relu?(sum over c, p, q of x[n, c, i s + p d - pad, j s + q d - pad] w[o, c, p, q] + b[o] + res[n, o, i, j])

    dx = g sent back to the patches     dw = patches^T g     db = g summed over N, H, W     dres = g
    """
    geometry = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    out = shapes.conv2d(x.shape, w.shape, **geometry)
    if res is not None:
        shapes.equal("conv2d with residual", out, res.shape)
    hw, k = x.shape[2:], w.shape[2:]
    if b is None and res is None and not relu:
        y, local = xp.conv2d(x, w, **geometry), same
    else:
        y = xp.conv2d_epilogue(x, w, b, res, relu=relu, **geometry)
        kept = y if relu else None
        local = once(lambda g: xp.relu_back(g, kept)) if relu else same
    return y, (
        lambda g: xp.conv2d_dx(local(g), w, hw=hw, **geometry),
        lambda g: xp.conv2d_dw(local(g), x, k=k, **geometry),
        lambda g: xp.sum(local(g), axis=(0, 2, 3)),
        local,
    )


def conv2d_moments(xp, x, w, *, stride, padding, dilation, groups):
    """conv2d(x, w); aux: for a batch norm behind it, mean and biased variance of its channels, where they come free."""
    geometry = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    shapes.conv2d(x.shape, w.shape, **geometry)
    hw, k = x.shape[2:], w.shape[2:]
    y, *moments = xp.conv2d_moments(x, w, **geometry)
    return (
        y,
        (lambda g: xp.conv2d_dx(g, w, hw=hw, **geometry), lambda g: xp.conv2d_dw(g, x, k=k, **geometry)),
        tuple(moments),
    )


def conv2d_dx(xp, g, w, *, stride, padding, dilation, groups, hw):
    """conv2d in reverse: gradients (N, O, OH, OW) sent back to images (N, C, *hw). As a layer: conv_transpose2d."""
    geometry = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    k = w.shape[2:]
    return xp.conv2d_dx(g, w, hw=hw, **geometry), (
        lambda v: xp.conv2d(v, w, **geometry),
        lambda v: xp.conv2d_dw(g, v, k=k, **geometry),
    )


def conv2d_dw(xp, g, x, *, stride, padding, dilation, groups, k):
    """The gradient of the weights (O, C/groups, *k) from gradients (N, O, OH, OW) and images."""
    geometry = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    hw = x.shape[2:]
    return xp.conv2d_dw(g, x, k=k, **geometry), (
        lambda v: xp.conv2d(x, v, **geometry),
        lambda v: xp.conv2d_dx(g, v, hw=hw, **geometry),
    )
