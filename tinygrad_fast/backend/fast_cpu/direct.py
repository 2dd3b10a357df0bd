"""Direct convolution: the definition, at the speed of a matrix product. For compiled loops only.

**A product without its matrix.** With channels last, the pixels under one row of a filter lie side by side: KW C
numbers in a row, and for the pixel beside it the same, C numbers later. So the output pixels p of a row i are

    y[p, o] = sum over a < KH, k < KW C of x_(i + a)[p C + k] w[a, k, o]        x_i: row i of the image, with a border

a product of a matrix whose rows overlap and the filter. BLAS takes no such matrix: its rows would have to be written
out, each pixel KH KW times. Here they are read where they lie.

**Sums stay in registers.** The innermost product (`loops/product.py`) has 8 pixels and two vectors of 16 output
channels (with AVX2: 4, and vectors of 8): 16 registers of sums. Each step of k loads two vectors of w and multiplies
them by 8 numbers of x, which the processor spreads over a vector as it reads them: 16 multiply-adds for 10 loads, and
the multiply-adds are the limit. Measured with one thread of an AMD EPYC with AVX-512, 2026-11-25: 230 to 257 GFlop/s
from 32 channels on, and 208 for 16, which are one vector; OpenBLAS multiplies large matrices at 234.

**The way back** is the same product. The filter's gradient has filter taps in the place of pixels,

    dw[a, j, o] = sum over i, p of x_(i + a)[p C + j] g[i, p, o]          8 taps j, two vectors of o, sums over pixels

and the input's gradient at stride s is s^2 convolutions at stride 1: the pixels (i + s h, j + s v) meet only those taps
that lie s apart, in reverse, of a filter with C and O exchanged. No product with zero is made.

**Depthwise**, a filter (KH, KW, C) with one for each channel: the same rows, and a vector of C numbers of a pixel takes
the place of the single number and of the output channels. Nine multiply-adds an output are too few to hide anything
else: 18 loads are the limit.

**When it pays**: where Winograd's transforms are most of the work (few channels), and where his tiles do not fit (other
strides and sizes of filters), as long as the filter stays in a cache. A border of zeros is written around some rows at
a time, in memory that stays in the cache too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...shapes import Pair
from .layout import empty
from .threads import parallel, summed


def conv(
    xp: Any, x: np.ndarray, w: np.ndarray, y: np.ndarray, stride: Pair, padding: Pair,
    finish: Callable[[int, int], None] | None = None, first: Pair = (0, 0), step: int = 1,
) -> None:  # fmt: skip
    """y[:, i::step, j::step] (N, H, W, O) <- x * w, (i, j) = first, w (KH, KW, C, O) or depthwise (KH, KW, C)

    Then finish(lo, hi), for rows lo..hi of y, counted through all images.
    """
    oh, ow = (len(range(i, n, step)) for i, n in zip(first, y.shape[1:3]))
    blocks = Blocks(xp, len(y), (oh, ow), x.shape[3], w.shape[:2], stride)

    def some(lo: int, hi: int, buffer: np.ndarray) -> None:
        _loops(xp, w).conv(x, w, y, buffer, lo, hi, oh, ow, *stride, *padding, *first, step)
        if finish:
            finish(lo, hi)

    parallel(some, blocks.rows, blocks.block, lambda: (empty((blocks.numbers,), y.dtype),))


def input_gradient(xp: Any, g: np.ndarray, w: np.ndarray, d: np.ndarray, s: int, padding: Pair) -> None:
    """d (N, H, W, C) <- the gradient of what x * w at stride s was, for g (N, OH, OW, O)"""
    for i in range(min(s, d.shape[1])):
        for j in range(min(s, d.shape[2])):
            a, b = (i + padding[0]) % s, (j + padding[1]) % s  # the first of the taps that these pixels meet
            taps = w[a::s, b::s][::-1, ::-1]
            if w.ndim == 4:
                taps = taps.transpose(0, 1, 3, 2)
            if not taps.size:
                d[:, i::s, j::s] = 0
                continue
            turned = empty(taps.shape, w.dtype)
            turned[...] = taps
            around = len(taps) - 1 - (i + padding[0]) // s, taps.shape[1] - 1 - (j + padding[1]) // s
            conv(xp, g, turned, d, (1, 1), around, first=(i, j), step=s)


def filter_gradient(
    xp: Any, g: np.ndarray, x: np.ndarray, shape: tuple[int, ...], stride: Pair, padding: Pair
) -> np.ndarray:
    """dw of this shape for g (N, OH, OW, O), summed by each thread over its share of the rows"""
    n, oh, ow, _ = g.shape
    blocks = Blocks(xp, n, (oh, ow), x.shape[3], shape[:2], stride)

    def share(_: int, start: int, stop: int) -> np.ndarray:
        dw, buffer = empty(shape, x.dtype), empty((blocks.numbers,), x.dtype)
        dw[...] = 0
        for lo in range(start, stop, blocks.block):
            _loops(xp, dw).filter_gradient(g, x, dw, buffer, lo, min(lo + blocks.block, stop), *stride, *padding)
        return dw

    return summed(share, blocks.rows)


def _loops(xp: Any, w: np.ndarray) -> Any:
    return xp.loops.direct if w.ndim == 4 else xp.loops.depthwise


class Blocks:
    """How an output (N, OH, OW) is cut into `rows`, `block` at a time, and the `numbers` of a piece of x with border.

    A block is some rows of one image, or whole images one after the other.
    """

    def __init__(self, xp: Any, n: int, out: Pair, c: int, k: Any, stride: Pair):
        self.rows, oh = n * out[0], out[0]
        line = ((out[1] - 1) * stride[1] + k[1]) * c
        fit = max(1, xp.sizes.line // (4 * line * stride[0]))
        self.block = fit if fit < oh else oh * max(1, min(fit // oh, n // 2))
        self.numbers = (self.block * stride[0] + (self.block // oh + 2) * k[0]) * line  # at most
