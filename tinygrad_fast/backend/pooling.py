"""Pooling and resampling on NumPy: windows that pick, and tables that weigh. In any memory order, kept in the result.

A maximum remembers which place of its window won (`tap`, one byte an output), so the way back needs no search.
Averages and interpolations are one matrix an axis (`tables.py`), applied in bands, because a row reads only neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from ..dtypes import is_float
from ..shapes import Pair
from ..tables import Table, edges
from .windows import NCHW, NHWC, channels_last, empty_like, inverse, memory_order, some_images, spots

# Maximum: `back` and `at` are each other's adjoints


def max_pool2d(x, kernel, stride, padding, dilation, out):
    """The largest of each window and its place there, counted along rows; the first of equals, the last NaN."""
    lowest = -np.inf if is_float(x.dtype) else np.iinfo(x.dtype).min
    y = empty_like(x, [*x.shape[:2], *out])
    tap = np.zeros_like(y, np.min_scalar_type(kernel[0] * kernel[1] - 1))
    for some in some_images(len(x), 8 * y[:1].nbytes):
        whole = _around(x[some], padding, lowest, kernel, stride, dilation, out)
        for place, spot in _places(whole, kernel, stride, dilation, out):
            if not place:
                y[some] = spot
                continue
            won = np.greater(spot, y[some])
            if is_float(x.dtype):
                won |= np.isnan(spot)
            np.maximum(y[some], spot, out=y[some])
            np.maximum(tap[some], won.astype(tap.dtype) * tap.dtype.type(place), out=tap[some])
    return y, tap


def max_pool2d_back(g, tap, kernel, stride, padding, dilation, hw):
    """Each gradient at the place that won."""
    out, zeros = g.shape[2:], empty_like(g, [*g.shape[:2], *hw])
    zeros[...] = 0
    d = _around(zeros, padding, 0, kernel, stride, dilation, out)
    for some in some_images(len(g), 8 * g[:1].nbytes):
        for place, spot in _places(d[some], kernel, stride, dilation, out):
            spot += g[some] * (tap[some] == place)  # five times as fast as a sum with `where=`
    return d[:, :, padding[0] : padding[0] + hw[0], padding[1] : padding[1] + hw[1]]


def max_pool2d_at(x, tap, kernel, stride, padding, dilation):
    """x read at the places that won: the adjoint of `max_pool2d_back`."""
    out = tap.shape[2:]
    y = empty_like(x, list(tap.shape))
    for place, spot in _places(_around(x, padding, 0, kernel, stride, dilation, out), kernel, stride, dilation, out):
        np.copyto(y, spot, where=tap == place)
    return y


def max_pool2d_index(tap, kernel, stride, padding, dilation, hw):
    """The places that won, as i W + j in the whole image."""
    i, j = np.divmod(tap.astype(np.int64), kernel[1])
    i = i * dilation[0] + (np.arange(tap.shape[2]) * stride[0] - padding[0])[:, None]
    return i * hw[1] + j * dilation[1] + (np.arange(tap.shape[3]) * stride[1] - padding[1])


def _around(x, padding, value, kernel, stride, dilation, out):
    """x (N, C, H, W) with `value` around it, as far as the windows reach; x itself where they stay inside."""
    far = [(o - 1) * s + d * (k - 1) + 1 for o, s, d, k in zip(out, stride, dilation, kernel, strict=True)]
    (h, w), (p, q) = x.shape[2:], padding
    if padding == (0, 0) and far[0] <= h and far[1] <= w:
        return x
    y = empty_like(x, [*x.shape[:2], max(h + p, far[0]), max(w + q, far[1])])
    y[...] = value
    y[:, :, p : p + h, q : q + w] = x
    return y


def _places(x, kernel: Pair, stride: Pair, dilation: Pair, out: Pair) -> Iterator[tuple[int, np.ndarray]]:
    """For each place of the window, the view (N, C, OH, OW) of x that it lies on."""
    for i, j, spot in spots(x.transpose(NHWC), kernel, stride, dilation, out):
        yield i * kernel[1] + j, spot.transpose(NCHW)


def adaptive_max_index(x, size):
    """(N, OH OW, C): where in the image, as i W + j, the largest of each bin stands."""
    (n, c, h, w), xl = x.shape, x.transpose(NHWC)
    index = channels_last(n, c, *size, np.dtype(np.int64)).transpose(NHWC)
    for i, (a, b) in enumerate(edges(h, size[0])):
        for j, (left, right) in enumerate(edges(w, size[1])):
            k = xl[:, a:b, left:right].reshape(n, (b - a) * (right - left), c).argmax(axis=1)
            index[:, i, j] = (a + k // (right - left)) * w + left + k % (right - left)
    return index.reshape(n, size[0] * size[1], c)


# One matrix an axis


def resample2d(x, rows, columns):
    """y[n, c] = A x[n, c] B^T, A and B the matrices of two tables"""
    return _along(_along(x, rows, 2), columns, 3)


BAND = 32  # outputs that are made by one small matrix


def _along(x: np.ndarray, table: Table, axis: int) -> np.ndarray:
    """A on one axis: in memory order x is (P, n, Q), and y (P, size, Q)."""
    order = memory_order(x)
    at = order.index(axis)
    shape = [x.shape[i] for i in order]
    p, q = int(np.prod(shape[:at])), int(np.prod(shape[at + 1 :]))
    x3 = x.transpose(order).reshape(p, x.shape[axis], q)
    if table.picks:
        y3 = x3.take([start for start, _ in table.rows], axis=1)
    else:
        y3 = np.empty((p, table.size, q), x.dtype)
        for i, j, a, b, part in _bands(table, x.dtype):
            if b - a == 1:  # a matrix of one column is slow as a matrix
                np.multiply(part, x3[:, a:b], out=y3[:, i:j])
            elif q == 1:
                y3[:, i:j, 0] = x3[:, a:b, 0] @ part.T
            else:
                np.matmul(part, x3[:, a:b], out=y3[:, i:j])
    shape[at] = table.size
    return y3.reshape(shape).transpose(inverse(order))


@lru_cache(maxsize=256)
def _bands(table: Table, dtype: np.dtype) -> list[tuple[int, int, int, int, np.ndarray]]:
    """The matrix of a table, cut: outputs i..j read inputs a..b only, through a matrix (j - i, b - a)."""
    matrix = np.zeros((len(table.rows), table.n))
    for i, (start, weights) in enumerate(table.rows):
        matrix[i, start : start + len(weights)] = weights
    matrix = (matrix.T if table.turned else matrix).astype(dtype)
    found = []
    for i in range(0, len(matrix), BAND):
        band = matrix[i : i + BAND]
        read = np.flatnonzero(band.any(axis=0))
        a, b = (int(read[0]), int(read[-1]) + 1) if len(read) else (0, 0)
        found.append((i, i + len(band), a, b, np.ascontiguousarray(band[:, a:b])))
    return found


# Single pixels


def pixels(x, index):
    """(N, C, OH, OW) from x (N, C, H, W) and index (N, OH, OW), which counts i W + j"""
    n, c, h, w = x.shape
    at = (index + (np.arange(n) * (h * w))[:, None, None]).reshape(-1)
    return x.transpose(NHWC).reshape(-1, c).take(at, axis=0).reshape(*index.shape, c).transpose(NCHW)


def pixels_back(g, index, hw):
    """The adjoint of `pixels`: gradients added up where the pixels were read. Sorted first, then summed in runs."""
    (n, c), size = g.shape[:2], hw[0] * hw[1]
    at = (index + (np.arange(n) * size)[:, None, None]).reshape(-1)
    order = at.argsort(kind="stable")
    at, first = np.unique(at[order], return_index=True)
    d = np.zeros((n * size, c), g.dtype)
    if len(at):
        d[at] = np.add.reduceat(g.transpose(NHWC).reshape(-1, c)[order], first, axis=0)
    return d.reshape(n, *hw, c).transpose(NCHW)
