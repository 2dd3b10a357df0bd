"""Convolution on NumPy: a patch of the image is a row, so a convolution is a matrix product.

x (N, C, H, W) logical; channels last in memory inside, so that the C numbers of a pixel lie side by side:
    rows (N, OH, OW, KH KW C) @ w (KH KW C, O) -> y (N, OH, OW, O), seen as (N, O, OH, OW).
The three functions are each other's adjoints.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import as_strided

Pair = tuple[int, int]


def channels_last(n: int, c: int, h: int, w: int, dtype: np.dtype) -> np.ndarray:
    """An empty (N, C, H, W) array that lies N H W C in memory."""
    return np.empty((n, h, w, c), dtype).transpose(0, 3, 1, 2)


def empty_like(x: np.ndarray, shape: list[int]) -> np.ndarray:
    """An empty array of `shape` whose axes lie in memory in x's order."""
    order = sorted(range(x.ndim), key=lambda i: -abs(x.strides[i]))  # stable: ties keep the logical order
    return (
        np.empty([shape[i] for i in order], x.dtype).transpose(np.argsort(order)) if x.ndim else np.empty((), x.dtype)
    )


def padded(x: np.ndarray, padding: Pair, value: float = 0) -> np.ndarray:
    """x (N, C, H, W) -> (N, H + 2p, W + 2q, C), contiguous where padding makes a copy."""
    xl = x.transpose(0, 2, 3, 1)
    if padding == (0, 0):
        return xl
    p, q = padding
    n, h, w, c = xl.shape
    y = np.full((n, h + 2 * p, w + 2 * q, c), value, x.dtype)
    y[:, p : p + h, q : q + w] = xl
    return y


def patches(xl: np.ndarray, k: Pair, stride: Pair, dilation: Pair, out: Pair) -> np.ndarray:
    """A view (N, OH, OW, KH, KW, C) of the padded image: nothing is copied."""
    n, _, _, c = xl.shape
    sn, sh, sw, sc = xl.strides
    shape = (n, *out, *k, c)
    return as_strided(
        xl, shape, (sn, sh * stride[0], sw * stride[1], sh * dilation[0], sw * dilation[1], sc), writeable=False
    )


def fits(hw: Pair, k: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Pair:
    """The output's height and width."""
    oh, ow = (
        (n + 2 * p - d * (m - 1) - 1) // s + 1 for n, m, s, p, d in zip(hw, k, stride, padding, dilation, strict=True)
    )
    return oh, ow


def conv2d(x, w, stride, padding, dilation, groups):
    """y[n, o, i, j] = sum over c, a, b of x[n, c, i s + a d - p, j s + b d - p] w[o, c, a, b]"""
    o, c, kh, kw = w.shape
    out = fits(x.shape[2:], (kh, kw), stride, padding, dilation)
    rows = patches(padded(x, padding), (kh, kw), stride, dilation, out)
    if groups == 1:
        y = rows.reshape(-1, kh * kw * c) @ w.transpose(2, 3, 1, 0).reshape(-1, o)
    else:
        rows = rows.reshape(-1, kh * kw, groups, c).transpose(2, 0, 1, 3).reshape(groups, -1, kh * kw * c)
        ws = w.reshape(groups, o // groups, c, kh * kw).transpose(0, 3, 2, 1).reshape(groups, kh * kw * c, -1)
        y = (rows @ ws).transpose(1, 0, 2)
    return y.reshape(len(x), *out, o).transpose(0, 3, 1, 2)


def conv2d_dx(g, w, stride, padding, dilation, groups, hw):
    """The adjoint of conv2d in x: every output's gradient goes back to the patch it was made from."""
    (o, c, kh, kw), (n, _, oh, ow) = w.shape, g.shape
    gl = g.transpose(0, 2, 3, 1).reshape(-1, groups, o // groups)
    ws = w.reshape(groups, o // groups, c, kh * kw).transpose(0, 1, 3, 2).reshape(groups, o // groups, -1)
    back = (gl.transpose(1, 0, 2) @ ws).reshape(groups, n, oh, ow, kh, kw, c)
    (sh, sw), (dh, dw), (p, q) = stride, dilation, padding
    d = np.zeros((n, hw[0] + 2 * p, hw[1] + 2 * q, groups, c), g.dtype)
    for i in range(kh):
        for j in range(kw):
            spot = d[:, i * dh : i * dh + sh * (oh - 1) + 1 : sh, j * dw : j * dw + sw * (ow - 1) + 1 : sw]
            spot += back[:, :, :, :, i, j].transpose(1, 2, 3, 0, 4)
    d = d.reshape(*d.shape[:3], groups * c)[:, p : p + hw[0], q : q + hw[1]]
    return d.transpose(0, 3, 1, 2)


def conv2d_dw(g, x, stride, padding, dilation, groups, k):
    """The adjoint of conv2d in w: patches^T @ g."""
    (_, o, oh, ow), c = g.shape, x.shape[1] // groups
    rows = patches(padded(x, padding), k, stride, dilation, (oh, ow)).reshape(-1, k[0] * k[1], groups, c)
    rows = rows.transpose(2, 1, 3, 0).reshape(groups, k[0] * k[1] * c, -1)
    gl = g.transpose(0, 2, 3, 1).reshape(-1, groups, o // groups).transpose(1, 0, 2)
    d = (rows @ gl).reshape(groups, *k, c, o // groups)
    return d.transpose(0, 4, 3, 1, 2).reshape(o, c, *k) if groups > 1 else d[0].transpose(3, 2, 0, 1)
