"""Winograd's scheme down the columns alone, F(4x1, 3x1), for thin layers: 4.5 multiplications an output instead of 9.

With few channels the transforms of `winograd.py` are most of the work: as matrices on both axes at once, which is how
NumPy does them, they take 117 multiplications an output and channel, and 36 numbers of a tile are gathered from 36
places. On one axis they take 15, and what they move are whole lines of an image: six lines of pixels are a tile.

    V[6, lines] = B^T d          d: 6 lines of x, every 4 lines
    M[6, lines] = V * U          three taps across, by the definition; U[6, 3, C, O] = G w
    Y           = A^T M          4 lines of y

**Three taps across as matrix products.** Pixels side by side lie one after the other in memory, C numbers each. So 3 C
numbers from any pixel on are the patch of one output, and a line of pixels is a matrix of patches already, whose rows
overlap. BLAS takes no overlapping rows, but every third patch overlaps no other:

    pixels       0 1 2 3 4 5 6 7 8 9 ...
    product 0   [0 1 2|3 4 5|6 7 8|9        outputs 0, 3, 6, ...
    product 1      1 2 3|4 5 6|7 8 9|       outputs 1, 4, 7, ...
    product 2        2 3 4|5 6 7|8 9        outputs 2, 5, 8, ...

Three products without a copy, each written to every third pixel of M. The lines of all images follow one another as
one long line; a patch that runs over the end of its line gives a number that nobody reads. Up to 16 channels, BLAS is
happier with two outputs at a time: rows of 4 C numbers, every 4 pixels, from pixel 0 and from pixel 2, times a band
matrix (4 C, 2 O) with a third of zeros (measured on 16 channels: 83 -> 133 GFlop/s).

Measured in one thread, a tile of 4 x 4 outputs: 1.5 -> 0.7 us with 16 channels, 2.9 -> 1.9 with 32, no gain with 64.
The largest error is 1e-6 to 3e-6 of the largest output, less than with both axes.

The way back is as in `winograd.py`: dx is the convolution with the filter turned, dU = V^T (A g) and dw = G^T dU.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...shapes import Pair
from .layout import empty
from .loops.plain import finish, pieces
from .threads import parallel, summed
from .winograd import AT, BT, G

A = np.ascontiguousarray(AT.T)


class Band:
    """How three taps across become products: `outputs` side by side are a row of `taps` pixels, every `step` pixels."""

    def __init__(self, c: int, o: int):
        self.c, self.o = c, o
        self.outputs = 2 if max(c, o) <= 16 else 1
        self.taps, self.step = self.outputs + 2, max(3, 2 * self.outputs)

    def matrix(self, w: np.ndarray) -> np.ndarray:
        """U (6, taps C, outputs O) of filters w (3, 3, C, O)"""
        u, band = np.tensordot(G, w, (1, 0)), np.zeros((6, self.taps, self.c, self.outputs, self.o), w.dtype)
        for i in range(self.outputs):
            band[:, i : i + 3, :, i] = u
        return band.reshape(6, self.taps * self.c, self.outputs * self.o)

    def filters(self, du: np.ndarray) -> np.ndarray:
        """The adjoint of `matrix`: dw (3, 3, C, O)"""
        band = du.reshape(6, self.taps, self.c, self.outputs, self.o)
        return np.tensordot(G, sum(band[:, i : i + 3, :, i] for i in range(self.outputs)), (0, 0))


class LinePlan:
    """The work of one convolution, cut into blocks of tile rows (four lines of y each), counted through all images."""

    def __init__(self, xp: Any, x: np.ndarray, y: np.ndarray, padding: Pair):
        (n, self.oh, self.ow, o), (_, self.h, self.w, c) = y.shape, x.shape
        self.padding, self.dtype, self.band = padding, x.dtype, Band(c, o)
        self.th, self.wide = -(-self.oh // 4), self.ow + 2  # tile rows of an image, pixels of a line with its edges
        self.count = n * self.th
        want = min(max(1, xp.sizes.lines // (6 * self.wide * (c + o))), -(-self.count // 2))
        self.block = want - want % self.th if want >= self.th else want

    def usual(self) -> tuple[Buffers | None]:
        """Those of a block of whole images, used again by the next, so that edges stay 0; else None."""
        return (None if self.block % self.th else Buffers(self, self.block // self.th, 0, self.th),)

    def each(self, lo: int, hi: int, usual: Buffers | None) -> Iterator[tuple[Buffers, slice, int, int]]:
        """(buffers, images, a, z): tile rows a..z of some images, for the rows lo..hi"""
        for images, a, z in pieces(lo, hi, self.th):
            n = images.stop - images.start
            yield usual if usual and usual.place == (n, a, z) else Buffers(self, n, a, z), images, a, z


class Buffers:
    """Memory for some tile rows, and all views of it: Python's lock is held for a moment only between two products."""

    def __init__(self, plan: LinePlan, n: int, a: int, z: int):
        self.place = n, a, z
        band, wide, (p, q) = plan.band, plan.wide, plan.padding
        pixels = n * (z - a) * wide
        v, m = (self._long(pixels + 2 * band.step, c, plan.dtype) for c in (band.c, band.o))
        self.v, self.m = self._by_line(v, n, z - a, wide, band.c), self._by_line(m, n, z - a, wide, band.o)
        self.read = self.m[..., : plan.ow * band.o]  # without the patches that run over the end of a line
        shape = -(-pixels // band.step), band.step
        self.products = [
            (self._rows(v, *shape, first, band.c, band.taps), self._rows(m, *shape, first, band.o, band.outputs))
            for first in range(0, band.step, band.outputs)
        ]
        x = empty((n, 4 * (z - a) + 2, wide, band.c), plan.dtype)
        x[...] = 0
        top, bottom = max(0, 4 * a - p), min(plan.h, 4 * z - p + 2)
        across = min(plan.w, wide - q)
        self.source = slice(top, bottom), slice(0, across)
        self.inside = x[:, top + p - 4 * a : bottom + p - 4 * a, q : q + across]
        self.tiles = _every_fourth(x, 6)
        self.y = None if 4 * z <= plan.oh else empty((n, 4 * (z - a), plan.ow, band.o), plan.dtype)

    @staticmethod
    def _long(pixels: int, channels: int, dtype: Any) -> np.ndarray:
        """Six long lines of pixels, (6, at least so many numbers): apart by no multiple of 512, as `winograd.planes`"""
        size = pixels * channels
        lines = empty((6, size + (16 if (size + 16) % 128 else 32)), dtype)
        lines[...] = 0
        return lines

    @staticmethod
    def _by_line(long: np.ndarray, n: int, th: int, wide: int, channels: int) -> np.ndarray:
        """Six long lines as the lines of n images: (n, th, 6, wide C)"""
        s0, width = long.strides[0], wide * channels
        return np.ndarray((n, th, 6, width), long.dtype, long, 0, (4 * th * width, 4 * width, s0, 4))

    @staticmethod
    def _rows(long: np.ndarray, rows: int, step: int, first: int, channels: int, pixels: int) -> np.ndarray:
        """(6, rows, pixels C): of each long line so many pixels at a time, every `step`, from pixel `first` on"""
        shape, strides = (6, rows, pixels * channels), (long.strides[0], 4 * step * channels, 4)
        return np.ndarray(shape, long.dtype, long, 4 * first * channels, strides)

    def transform(self, x: np.ndarray, images: slice) -> None:
        """V <- B^T d"""
        np.copyto(self.inside, x[(images, *self.source)])
        np.matmul(BT, self.tiles, out=self.v)


def _every_fourth(x: np.ndarray, lines: int) -> np.ndarray:
    """(n, tile rows, lines, W C): so many lines of each image of x, every four lines"""
    (n, h, w, c), (s0, s1, _, _) = x.shape, x.strides
    return np.ndarray((n, h // 4, lines, w * c), x.dtype, x, 0, (s0, 4 * s1, s1, 4))


def conv(xp: Any, x: np.ndarray, w: np.ndarray, y: np.ndarray, padding: Pair, b: Any, res: Any, relu: bool) -> None:
    """y (N, OH, OW, O) <- relu?(x * w + b + res) for x (N, H, W, C) and w (3, 3, C, O)"""
    plan = LinePlan(xp, x, y, padding)
    u = plan.band.matrix(w)

    def some(lo: int, hi: int, usual: Buffers | None) -> None:
        for buffers, images, a, z in plan.each(lo, hi, usual):
            buffers.transform(x, images)
            for rows, out in buffers.products:
                np.matmul(rows, u, out=out)
            place = y[images, 4 * a : 4 * z]
            whole = place if buffers.y is None else buffers.y
            np.matmul(AT, buffers.read, out=_every_fourth(whole, 4))
            if whole is not place:
                np.copyto(place, whole[:, : place.shape[1]])
            finish(place, b, None if res is None else res[images, 4 * a : 4 * z], relu)

    parallel(some, plan.count, plan.block, plan.usual)


def input_gradient(xp: Any, g: np.ndarray, w: np.ndarray, d: np.ndarray, padding: Pair) -> None:
    """d (N, H, W, C) <- g (N, OH, OW, O) * w (3, 3, C, O) turned by half a turn, C and O exchanged"""
    conv(xp, g, w[::-1, ::-1].transpose(0, 1, 3, 2), d, padding, None, None, False)


def filter_gradient(xp: Any, g: np.ndarray, x: np.ndarray, padding: Pair) -> np.ndarray:
    """dw (3, 3, C, O) for g (N, OH, OW, O) and x (N, H, W, C)"""
    plan = LinePlan(xp, x, g, padding)
    band = plan.band

    def share(_: int, start: int, stop: int) -> np.ndarray:
        du = np.zeros((6, band.taps * band.c, band.outputs * band.o), x.dtype)
        part, (usual,) = empty(du.shape, x.dtype), plan.usual()
        for lo in range(start, stop, plan.block):
            for buffers, images, a, z in plan.each(lo, min(lo + plan.block, stop), usual):
                buffers.transform(x, images)
                whole = g[images, 4 * a : 4 * z]
                if buffers.y is not None:
                    np.copyto(buffers.y[:, : whole.shape[1]], whole)
                    buffers.y[:, whole.shape[1] :] = 0
                    whole = buffers.y
                np.matmul(A, _every_fourth(whole, 4), out=buffers.read)
                for rows, out in buffers.products:
                    np.add(du, np.matmul(rows.transpose(0, 2, 1), out, out=part), out=du)
        return du

    return band.filters(summed(share, plan.count))
