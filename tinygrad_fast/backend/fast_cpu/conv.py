"""Convolutions: which way each takes, and the ways by patches.

    way          when                                                   how
    depthwise    compiled loops, a filter a channel, C whole vectors    direct.py
    direct       compiled loops, O whole vectors, not 1x1, and small    direct.py
    winograd     3x3, stride 1, 4 x 4 or larger, more than a few tiles  winograd.py
    lines        the same with few channels, NumPy's loops              winograd_lines.py
    patches      any other, without dilation and groups                 some rows of patches -> a matrix product
    by image     any other groups, dilation                             the plain path, images divided among the threads
    plain        float64, or few numbers                                windows.py

Small: fewer channels than a vector has numbers where Winograd's scheme would do, else a filter as large as a core's
cache. float16 and bfloat16 are computed in float32, and go its way. The gradient of the input, where the stride is 1
and the way winograd or direct, is a convolution with the kernel turned; direct at other strides it is several of them;
by patches, these are multiplied back and added up where they lay. With few patches the filters are the larger matrix:
then all patches are one product, divided by the columns of the filters.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...shapes import Pair, Shape
from .. import windows
from ..wide import wide
from . import direct, winograd, winograd_lines
from .base import FastBase
from .layout import empty, kkco, nchw, nhwc
from .linear import product
from .threads import parallel, summed

SCHEMES = {"winograd": winograd, "lines": winograd_lines}


class Convolutions(FastBase):
    """conv2d and its two adjoints."""

    def way(self, c: int, out: Shape, k: Pair, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> str:
        """The table above, for C channels in and an output (N, O, OH, OW)."""
        n, o, oh, ow = out
        whole = self.loops.direct and o % self.loops.direct.LANES == 0
        if groups > 1 or dilation != (1, 1):
            by_channel = groups == c == o and dilation == (1, 1) and stride[0] == stride[1]
            return "depthwise" if by_channel and whole else "by image"
        tiles = n * -(-oh // 4) * -(-ow // 4)  # with few, transforming the filters costs more than it saves
        fits = k == (3, 3) and stride == (1, 1) and min(oh, ow) >= 4 and max(padding) <= 2 and tiles > self.loops.FEW
        if k != (1, 1) and whole:
            if c < self.loops.direct.LANES if fits else k[0] * k[1] * c * o <= self.sizes.filter:
                return "direct"
        if fits and self.loops.columns is None and c * o <= self.sizes.one_axis:
            return "lines"
        return "winograd" if fits else "patches"

    def _route(self, x, w, stride, padding, dilation, groups):
        """(the way of conv2d(x, w), the shape of its result)"""
        k = w.shape[2:]
        out = (len(x), len(w), *windows.fits(x.shape[2:], k, stride, padding, dilation))
        large = self.large(x, w.size)
        return (self.way(x.shape[1], out, k, stride, padding, dilation, groups) if large else "plain"), out

    @wide
    def conv2d(self, x, w, stride, padding, dilation, groups):
        way, out = self._route(x, w, stride, padding, dilation, groups)
        if way == "plain":
            return windows.conv2d(x, w, stride, padding, dilation, groups)
        if way == "by image":
            return _by_image(lambda some: windows.conv2d(some, w, stride, padding, dilation, groups), x, out)
        return self._fused(way, out, x, w, None, None, False, stride, padding)

    @wide
    def conv2d_epilogue(self, x, w, b, res, relu, **geometry):
        way, out = self._route(x, w, **geometry)
        if way in ("plain", "by image"):
            return super().conv2d_epilogue(x, w, b, res, relu, **geometry)
        return self._fused(way, out, x, w, b, res, relu, geometry["stride"], geometry["padding"])

    def _fused(self, way, out, x, w, b, res, relu, stride, padding):
        """relu?(x * w + b + res), all of it while a block is in the cache"""
        n, o, oh, ow = out
        b = None if b is None else np.ascontiguousarray(b)  # what compiled loops take
        y, resl = empty((n, oh, ow, o), x.dtype), None if res is None else nhwc(res)
        if way in SCHEMES:
            SCHEMES[way].conv(self, nhwc(x), kkco(w), y, padding, b, resl, relu)
        elif way in ("direct", "depthwise"):
            direct.conv(self, nhwc(x), _taps(w, way), y, stride, padding, self._finish(y, b, resl, relu))
        else:
            self._by_patches(nhwc(x), kkco(w), y, stride, padding, self._finish(y, b, resl, relu))
        return nchw(y)

    def _finish(self, y, b, res, relu):
        """finish(lo, hi): relu?(y + b + res) of rows lo..hi of y, through all images; None if nothing is to do"""
        if b is None and res is None and not relu:
            return None
        ow, o = y.shape[2:]
        lines, extra = y.reshape(-1, o), None if res is None else res.reshape(-1, o)

        def finish(lo, hi):
            here = slice(lo * ow, hi * ow)
            self.loops.finish(lines[here], b, None if extra is None else extra[here], relu)

        return finish

    @wide
    def conv2d_dx(self, g, w, stride, padding, dilation, groups, hw):
        k, out = w.shape[2:], (len(g), w.shape[1] * groups, *hw)
        if not self.large(g, w.size):
            return windows.conv2d_dx(g, w, stride, padding, dilation, groups, hw)
        around = (k[0] - 1 - padding[0], k[1] - 1 - padding[1])
        way = self.way(g.shape[1], out, k, stride, around, dilation, groups)
        if way == "by image":
            return _by_image(lambda some: windows.conv2d_dx(some, w, stride, padding, dilation, groups, hw), g, out)
        gl, wl, d = nhwc(g), _taps(w, way), empty((len(g), *hw, out[1]), g.dtype)
        if way in SCHEMES and min(around) >= 0:
            SCHEMES[way].input_gradient(self, gl, wl, d, around)
        elif way in ("direct", "depthwise") and stride[0] == stride[1]:
            direct.input_gradient(self, gl, wl, d, stride[0], padding)
        else:
            self._patches_back(gl, wl, d, stride, padding)
        return nchw(d)

    @wide
    def conv2d_dw(self, g, x, stride, padding, dilation, groups, k):
        if not self.large(x, k[0] * k[1] * x.shape[1] * g.shape[1]):
            return windows.conv2d_dw(g, x, stride, padding, dilation, groups, k)
        way = self.way(x.shape[1], g.shape, k, stride, padding, dilation, groups)
        if way == "by image":
            geometry = stride, padding, dilation, groups, k
            return summed(lambda _, lo, hi: windows.conv2d_dw(g[lo:hi], x[lo:hi], *geometry), len(g))
        gl, xl = nhwc(g), nhwc(x)
        if way in SCHEMES:
            dw = SCHEMES[way].filter_gradient(self, gl, xl, padding)
        elif way == "direct":
            dw = direct.filter_gradient(self, gl, xl, (*k, xl.shape[3], gl.shape[3]), stride, padding)
        elif way == "depthwise":
            dw = direct.filter_gradient(self, gl, xl, (*k, groups), stride, padding)[:, :, None]
        else:
            dw = self._patches_product(gl, xl, k, stride, padding)
        return dw.transpose(3, 2, 0, 1)

    # ------------------------------------------------------------------------------------------------ by patches

    def _patch_rows(self, x: np.ndarray, lo: int, hi: int, geometry: tuple[int, ...]) -> np.ndarray:
        """The patches of the output rows lo..hi as a matrix; of 1x1 windows side by side the pixels themselves."""
        _, ow, *rest = geometry
        c = x.shape[3]
        if rest == [1, 1, 1, 1, 0, 0]:
            return x.reshape(-1, c)[lo * ow : hi * ow]
        rows = empty(((hi - lo) * ow, rest[0] * rest[1] * c), x.dtype)
        self.loops.patches(x, rows, lo, hi, *geometry)
        return rows

    def _by_patches(self, x, w, y, stride, padding, finish):
        """y (N, OH, OW, O) <- x * w, w (KH, KW, C, O); then finish(lo, hi) for the rows lo..hi of y"""
        n, *out, o = y.shape
        geometry = (*out, *w.shape[:2], *stride, *padding)
        matrix, lines = w.reshape(-1, o), y.reshape(-1, o)
        few = len(lines) < len(matrix)
        multiply = product if few else np.matmul

        def some(lo, hi):
            multiply(self._patch_rows(x, lo, hi, geometry), matrix, out=lines[lo * out[1] : hi * out[1]])
            if finish:
                finish(lo, hi)

        if few:
            some(0, n * out[0])
        else:
            parallel(some, n * out[0], self._block(n * out[0], out[1] * len(matrix)))

    def _block(self, n: int, each: int, bytes_: int | None = None) -> int:
        """How many of n rows of `each` numbers are taken at a time; at least two blocks."""
        return max(1, min((bytes_ or self.sizes.patches) // (4 * each), -(-n // 2)))

    def _patches_back(self, g, w, d, stride, padding):
        """d (N, H, W, C) <- every patch's gradient g w^T, added up where it lay"""
        n, *out, o = g.shape
        geometry = (*out, *w.shape[:2], *stride, *padding)
        matrix = w.reshape(-1, o)
        few = n * out[0] * out[1] < len(matrix)
        multiply = product if few else np.matmul

        def some(lo, hi):
            rows = empty(((hi - lo) * out[0] * out[1], len(matrix)), g.dtype)
            multiply(g[lo:hi].reshape(-1, o), matrix.T, out=rows)
            self.loops.unpatches(rows, d[lo:hi], *geometry[1:])

        if few:
            some(0, n)
        else:
            parallel(some, n, self._block(n, out[0] * out[1] * len(matrix)))

    def _patches_product(self, g, x, k, stride, padding):
        """dw (KH, KW, C, O) = patches^T g, summed by each thread over its share of the rows"""
        n, *out, o = g.shape
        geometry, width, lines = (*out, *k, *stride, *padding), k[0] * k[1] * x.shape[3], g.reshape(-1, o)
        if len(lines) < width:
            rows = self._patch_rows(x, 0, n * out[0], geometry)
            return product(rows.T, lines).reshape(*k, x.shape[3], o)
        step = self._block(n * out[0], out[1] * width, max(self.sizes.patches, 32 * width * o))

        def share(_, start, stop):
            total = None
            for lo in range(start, stop, step):
                hi = min(lo + step, stop)
                rows = self._patch_rows(x, lo, hi, geometry)
                part = np.matmul(rows.T, lines[lo * out[1] : hi * out[1]], out=empty((width, o), g.dtype))
                total = part if total is None else np.add(total, part, out=total)
            return total

        return summed(share, n * out[0]).reshape(*k, x.shape[3], o)


def _taps(w: np.ndarray, way: str) -> np.ndarray:
    """A weight as its way wants it: (KH, KW, C, O), or depthwise (KH, KW, C)"""
    return kkco(w)[:, :, 0] if way == "depthwise" else kkco(w)


def _by_image(f: Any, x: np.ndarray, out: tuple[int, ...]) -> np.ndarray:
    """f of every image of x, channels-last images of the shape `out`"""
    n, c, h, w = out
    y = nchw(empty((n, h, w, c), x.dtype))

    def some(lo: int, hi: int) -> None:
        y[lo:hi] = f(x[lo:hi])

    parallel(some, n)
    return y
