"""Matrix products and the linear layer: who divides the work, and bias and ReLU put into the product where it lies.

BLAS can divide a product as well as we do. But its threads, once woken, go on watching for more (those of OpenBLAS for
some 20 ms), on the very cores that ours need next. Measured, two cores: where a convolutional network never wakes them,
one image through ResNet-18 takes 10.6 ms, not 13.2, and a step of 16 images of 128 x 128 takes 102 ms, not 148. So
convolutions divide their products among our threads, and the linear layer at the end of such a network keeps to one.
A large product, as in a network of linear layers alone, is left to BLAS.
"""

from __future__ import annotations

from math import prod

import numpy as np

from ..cpu import quiet
from .base import FastBase
from .layout import empty
from .threads import alone, get_num_threads, parallel

SMALL, LARGE = 1 << 18, 1 << 23  # multiplications: with fewer BLAS divides nothing; of 70 us, worth waking a thread for


def matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a b for matrices (M, K) and (K, N), by one thread or those of BLAS"""
    work = len(a) * b.size
    if work < SMALL:
        return np.matmul(a, b)
    out = empty((len(a), b.shape[1]), a.dtype)
    if work >= LARGE:
        return np.matmul(a, b, out=out)
    with alone():
        return np.matmul(a, b, out=out)


def product(a: np.ndarray, b: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """a b for matrices (M, K) and (K, N) of one dtype, divided among our threads along the longer side of the result"""
    m, n = len(a), b.shape[1]
    out = empty((m, n), a.dtype) if out is None else out
    block = max(m, n)
    if m * b.size >= LARGE:
        block = -(-block // (16 * get_num_threads())) * 16
    if n >= m:
        parallel(lambda lo, hi: np.matmul(a, b[:, lo:hi], out=out[:, lo:hi]), n, block)
    else:
        parallel(lambda lo, hi: np.matmul(a[lo:hi], b, out=out[lo:hi]), m, block)
    return out


def batched(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a b for batches of matrices (.., M, K) and (.., K, N), divided among the threads; a batch of one is repeated"""
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    if batch[0] < 2 or a.size * b.shape[-1] < SMALL:
        return np.matmul(a, b)
    y = empty((*batch, a.shape[-2], b.shape[-1]), a.dtype)

    def some(lo: int, hi: int) -> None:
        left, right = (v[lo:hi] if v.ndim == y.ndim and len(v) > 1 else v for v in (a, b))
        np.matmul(left, right, out=y[lo:hi])

    parallel(some, batch[0], -(-batch[0] // get_num_threads()))
    return y


class Linears(FastBase):
    """Matrices of 4 or 8 bytes a number; those of 16 bits take the definition."""

    @quiet
    def matmul(self, x, w):
        if w.dtype.itemsize == 2 or min(x.ndim, w.ndim) < 2:
            return super().matmul(x, w)
        return matmul(x, w) if x.ndim == w.ndim == 2 else batched(x, w)

    @quiet
    def linear(self, x, w, b, relu):
        if w.dtype.itemsize == 2:
            return super().linear(x, w, b, relu)
        lead, k = x.shape[:-1], x.shape[-1]
        y = matmul(x, w.T) if x.ndim == 2 else matmul(x.reshape(prod(lead), k), w.T).reshape(*lead, len(w))
        if b is not None:
            np.add(y, b, out=y)
        return np.maximum(y, 0, out=y) if relu else y

    @quiet
    def linear_dw(self, g, x):
        if g.dtype.itemsize == 2 or g.ndim != 2:
            return super().linear_dw(g, x)
        return matmul(g.T, x)
