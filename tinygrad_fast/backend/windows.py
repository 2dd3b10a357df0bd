"""Convolution on NumPy: a patch of the image is a row, so a convolution is a matrix product.

x (N, C, H, W) logical; channels last in memory inside, so that the C numbers of a pixel lie side by side:
    rows (N OH OW, KH KW C) @ w (KH KW C, O) -> y (N OH OW, O), seen as (N, O, OH, OW).
The rows are made for a few images at a time. The three functions are each other's adjoints; so are `unfold` and `fold`.
Next on the way: `pooling.py`, windows that pick or weigh instead of multiply.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ..shapes import Pair, window

NHWC, NCHW = (0, 2, 3, 1), (0, 3, 1, 2)  # to channels last and back
BLOCK = 8 << 20  # bytes of rows made at a time: they are still in a cache when they are multiplied


def channels_last(n: int, c: int, h: int, w: int, dtype: np.dtype) -> np.ndarray:
    """An empty (N, C, H, W) array that lies N H W C in memory."""
    return np.empty((n, h, w, c), dtype).transpose(NCHW)


def memory_order(x: np.ndarray) -> list[int]:
    """The axes of x from the slowest to the fastest. Those of length 1 and those expanded (stride 0) tell nothing.

    Images of one channel, or of one pixel, could be either; they count as channels-last.
    """
    steps = [abs(s) if n > 1 else 0 for n, s in zip(x.shape, x.strides)]
    if x.ndim == 4 and (not steps[0] or steps[0] == max(steps)):  # not a weight, whose first axis may be the fastest
        pixels = [s for s in steps[2:] if s]
        if not steps[1] or not pixels or steps[1] < min(pixels):
            return [0, 2, 3, 1]
    return sorted(range(x.ndim), key=lambda i: -steps[i] or -np.inf)


def inverse(order: Sequence[int]) -> tuple[int, ...]:
    """Back from an order of axes: a.transpose(order).transpose(inverse(order)) is a."""
    return tuple(sorted(range(len(order)), key=order.__getitem__))


def is_channels_last(x: np.ndarray) -> bool:
    """True for images (N, C, H, W) that lie N H W C in memory."""
    return memory_order(x) == list(NHWC)


def empty_like(x: np.ndarray, shape: list[int]) -> np.ndarray:
    """An empty array of `shape` whose axes lie in memory in x's order."""
    order = memory_order(x)
    return np.empty_like(x, order="C", shape=[shape[i] for i in order]).transpose(inverse(order))


def padded(x: np.ndarray, padding: Pair) -> np.ndarray:
    """x (N, C, H, W) -> (N, H + 2p, W + 2q, C), zeros around it; without padding a view."""
    xl = x.transpose(NHWC)
    if padding == (0, 0):
        return xl
    p, q = padding
    n, h, w, c = xl.shape
    y = np.zeros((n, h + 2 * p, w + 2 * q, c), x.dtype)
    y[:, p : p + h, q : q + w] = xl
    return y


def patches(xl: np.ndarray, k: Pair, stride: Pair, dilation: Pair, out: Pair) -> np.ndarray:
    """A view (N, OH, OW, KH, KW, C) of the padded image: nothing is copied."""
    n, _, _, c = xl.shape
    sn, sh, sw, sc = xl.strides
    strides = (sn, sh * stride[0], sw * stride[1], sh * dilation[0], sw * dilation[1], sc)
    return as_strided(xl, (n, *out, *k, c), strides, writeable=False)


def _rows(seen: np.ndarray) -> np.ndarray:
    """Patches (N, OH, OW, KH, KW, C), or pixels (N, OH, OW, C), as a matrix, one a row."""
    return seen.reshape(prod(seen.shape[:3]), prod(seen.shape[3:]))


def fits(hw: Pair, k: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Pair:
    """The output's height and width."""
    oh, ow = (window(*axis) for axis in zip(hw, k, stride, padding, dilation, strict=True))
    return oh, ow


def spots(d: np.ndarray, k: Pair, stride: Pair, dilation: Pair, out: Pair) -> Iterator[tuple[int, int, np.ndarray]]:
    """For each place (i, j) of the kernel, the view (N, OH, OW, ...) of d (N, H, W, ...) that it lies on."""
    (sh, sw), (dh, dw), (oh, ow) = stride, dilation, out
    for i in range(k[0]):
        for j in range(k[1]):
            yield i, j, d[:, i * dh : i * dh + sh * (oh - 1) + 1 : sh, j * dw : j * dw + sw * (ow - 1) + 1 : sw]


def some_images(n: int, size: int) -> Iterator[slice]:
    """Slices of n images, each of them `size` bytes of rows, BLOCK bytes together."""
    step = max(1, BLOCK // max(size, 1))
    return (slice(i, i + step) for i in range(0, n, step))


# Convolution


def conv2d(x, w, stride, padding, dilation, groups):
    """y[n, o, i, j] = sum over c, a, b of x[n, c, i s + a d - p, j s + b d - p] w[o, c, a, b]"""
    if groups > 1 and w.shape[1] == 1:
        return _depthwise(x, w, stride, padding, dilation)
    if groups > 1:
        return _each_group(conv2d, groups, (x, 1), (w, 0), NHWC, stride, padding, dilation)
    (n, c), (o, _, *k) = x.shape[:2], w.shape
    out, width = fits(x.shape[2:], k, stride, padding, dilation), k[0] * k[1] * c
    ws = w.transpose(2, 3, 1, 0).reshape(width, o)
    y = channels_last(n, o, *out, x.dtype)
    for some in some_images(n, out[0] * out[1] * width * x.itemsize):
        rows = _rows(patches(padded(x[some], padding), k, stride, dilation, out))  # a view for 1x1
        np.matmul(rows, ws, out=_rows(y[some].transpose(NHWC)))
    return y


def conv2d_dx(g, w, stride, padding, dilation, groups, hw):
    """The adjoint of conv2d in x: every output's gradient goes back to the patch it was made from."""
    if groups > 1 and w.shape[1] == 1:
        return _depthwise_dx(g, w, stride, padding, dilation, hw, groups)
    if groups > 1:
        return _each_group(conv2d_dx, groups, (g, 1), (w, 0), NHWC, stride, padding, dilation, hw=hw)
    (o, c, *k), n, out = w.shape, len(g), g.shape[2:]
    if stride == (1, 1) and 4 * c >= o:  # then it is a convolution with the kernel turned: no scattered writes
        around = tuple(d * (m - 1) - p for d, m, p in zip(dilation, k, padding, strict=True))
        if min(around) >= 0 and fits(out, k, stride, around, dilation) == hw:
            return conv2d(g, w[:, :, ::-1, ::-1].swapaxes(0, 1), stride, around, dilation, 1)
    ws = w.transpose(NHWC).reshape(o, k[0] * k[1] * c)
    d = np.zeros((n, hw[0] + 2 * padding[0], hw[1] + 2 * padding[1], c), g.dtype)
    for some in some_images(n, out[0] * out[1] * k[0] * k[1] * c * g.itemsize):
        gl = g[some].transpose(NHWC)
        back = (_rows(gl) @ ws).reshape(*gl.shape[:3], *k, c)
        for i, j, spot in spots(d[some], k, stride, dilation, out):
            spot += back[:, :, :, i, j]
    return d[:, padding[0] : padding[0] + hw[0], padding[1] : padding[1] + hw[1]].transpose(NCHW)


def conv2d_dw(g, x, stride, padding, dilation, groups, k):
    """The adjoint of conv2d in w: rows^T @ g, memory in the order KH KW C O."""
    if groups > 1 and x.shape[1] == groups:
        return _depthwise_dw(g, x, stride, padding, dilation, k)
    if groups > 1:
        return _each_group(conv2d_dw, groups, (g, 1), (x, 1), (2, 3, 1, 0), stride, padding, dilation, k=k)
    (n, o, *out), c = g.shape, x.shape[1]
    width = k[0] * k[1] * c
    d = np.zeros((width, o), g.dtype)
    for some in some_images(n, out[0] * out[1] * width * x.itemsize):
        rows = _rows(patches(padded(x[some], padding), k, stride, dilation, out))
        d += rows.T @ _rows(g[some].transpose(NHWC))
    return d.reshape(*k, c, o).transpose(3, 2, 0, 1)


def _each_group(f, groups, a, b, order, *geometry, **more):
    """f on every group's slice of two arrays, given as (array, its axis of groups); joined along order's last axis."""
    parts = zip(*(np.split(array, groups, axis=axis) for array, axis in (a, b)), strict=True)
    joined = np.concatenate([f(p, q, *geometry, 1, **more).transpose(order) for p, q in parts], axis=-1)
    return joined.transpose(np.argsort(order))


# One channel in each group (depthwise): too thin for matrix products, so a sum over the places of the kernel


def _depthwise(x, w, stride, padding, dilation):
    """y[.., c m] = sum over places of x[.., c] w[c m, place]"""
    (n, c), (o, _, *k) = x.shape[:2], w.shape
    out, ws = fits(x.shape[2:], k, stride, padding, dilation), _by_place(w, c)
    y = np.zeros((n, *out, c, o // c), x.dtype)
    for some in some_images(n, 8 * out[0] * out[1] * o * x.itemsize):
        for i, j, spot in spots(padded(x[some], padding), k, stride, dilation, out):
            y[some] += spot[..., None] * ws[i, j]
    return y.reshape(n, *out, o).transpose(NCHW)


def _depthwise_dx(g, w, stride, padding, dilation, hw, c):
    (n, o, *out), k, ws = g.shape, w.shape[2:], _by_place(w, c)
    gl = g.transpose(NHWC).reshape(n, *out, c, o // c)
    d = np.zeros((n, hw[0] + 2 * padding[0], hw[1] + 2 * padding[1], c), g.dtype)
    for some in some_images(n, 8 * out[0] * out[1] * o * g.itemsize):
        for i, j, spot in spots(d[some], k, stride, dilation, out):
            back = gl[some] * ws[i, j]
            spot += back[..., 0] if o == c else back.sum(axis=-1)
    return d[:, padding[0] : padding[0] + hw[0], padding[1] : padding[1] + hw[1]].transpose(NCHW)


def _depthwise_dw(g, x, stride, padding, dilation, k):
    (n, o, *out), c = g.shape, x.shape[1]
    gl = g.transpose(NHWC).reshape(n, *out, c, o // c)
    d = np.empty((*k, c, o // c), g.dtype)
    for i, j, spot in spots(padded(x, padding), k, stride, dilation, out):
        d[i, j] = np.einsum("nijc,nijcm->cm", spot, gl)
    return d.reshape(*k, 1, o).transpose(3, 2, 0, 1)


def _by_place(w, c):
    """(O, 1, KH, KW) -> (KH, KW, C, O/C)"""
    return w.transpose(2, 3, 0, 1).reshape(*w.shape[2:], c, -1)


# The patches themselves


def unfold(x, kernel, stride, padding, dilation):
    """(N, C, H, W) -> (N, C KH KW, OH OW): every patch a column"""
    n, c, *hw = x.shape
    out = fits(hw, kernel, stride, padding, dilation)
    cols = patches(padded(x, padding), kernel, stride, dilation, out).transpose(0, 5, 3, 4, 1, 2)
    return cols.reshape(n, c * kernel[0] * kernel[1], out[0] * out[1])


def fold(y, hw, kernel, stride, padding, dilation):
    """The adjoint of unfold: columns added up where their patches lay, (N, C, *hw)."""
    n, c, (p, q) = len(y), y.shape[1] // (kernel[0] * kernel[1]), padding
    out = fits(hw, kernel, stride, padding, dilation)
    back = y.reshape(n, c, *kernel, *out).transpose(0, 4, 5, 2, 3, 1)
    d = np.zeros((n, hw[0] + 2 * p, hw[1] + 2 * q, c), y.dtype)
    for i, j, spot in spots(d, kernel, stride, dilation, out):
        spot += back[:, :, :, i, j]
    return d[:, p : p + hw[0], q : q + hw[1]].transpose(NCHW)
