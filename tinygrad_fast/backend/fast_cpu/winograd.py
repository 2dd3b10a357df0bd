"""Winograd's convolution F(4x4, 3x3): 36 multiplications where the definition needs 144.

**One dimension first.** Three filter taps w slide over a line of pixels d. Two outputs side by side are

    y0 = d0 w0 + d1 w1 + d2 w2              6 multiplications
    y1 = d1 w0 + d2 w1 + d3 w2

and four do as well, F(2, 3):

    m1 = (d0 - d2) w0                       y0 = m1 + m2 + m3
    m2 = (d1 + d2) (w0 + w1 + w2) / 2       y1 = m2 - m3 - m4
    m3 = (d2 - d1) (w0 - w1 + w2) / 2
    m4 = (d1 - d3) w2

which is y = A^T [(G w) * (B^T d)], `*` element by element: transform the filter, transform the data, multiply,
transform back. Why it works: pixels and taps are the coefficients of polynomials, and a convolution is their product.
A product of polynomials can be had from its values at enough points: evaluate both factors at the points (G and B^T),
multiply the values, interpolate (A^T). F(2, 3) evaluates at 0, 1, -1 and infinity; F(4, 3) at 0, 1, -1, 2, -2 and
infinity: six products for four outputs of three taps each, which are 12 by the definition. (Transposing the scheme
turns the product of polynomials, which is a long convolution, into the sliding sum of a filter; that is why the data
are multiplied by the transpose of an interpolation.)

**Two dimensions** are one after the other: Y = A^T [(G w G^T) * (B^T d B)] A with a tile d of 6 x 6 pixels and 4 x 4
outputs: 36 multiplications instead of 16 x 9 = 144, a quarter. Tiles lie every 4 pixels and overlap by 2.

**Channels.** Sums over input channels commute with A^T, so they are done before it: at each of the 36 places of a tile
there is a matrix product (tiles, C) @ (C, O), all that is left of the convolution:

    V[36, tiles, C] = B^T d B          of every tile and channel
    U[36, C, O]     = G w G^T          once
    M[36, tiles, O] = V @ U            36 matrix products
    Y               = A^T M A          of every tile and output channel

**Cost** of a tile with C channels in and out, in multiply-adds: 144 C^2 by the definition, 36 C^2 here, and the
transforms. As matrices on both axes at once they are 36 x 36 + 16 x 36 numbers a channel, 1872 C: as much as the
product at C = 52. Written out, one axis after the other, they are 256 C additions and multiplications: as much at C =
7. So thin layers gain little, and NumPy's thin layers least. And memory: 36 matrices pass through the caches, which is
why there are three schedules:

* *shallow* (C O at most 128^2): each thread takes some tiles from end to end, few enough for V and M to stay in its
  cache. U is small and stays there too.
* *deep, by places* (NumPy): U alone is larger than a cache. All threads transform tiles; then the 36 products are
  divided among them, each with its own U[i], used once for very many tiles; then all transform back.
* *by columns* (compiled loops; deep layers, or few tiles): U, four times the size of the filters, is never whole in
  memory. All threads transform tiles; then each takes 32 output channels at a time: transforms those columns of the
  filters, multiplies all tiles by them and transforms back. Measured (512 channels, 64 images of 4 x 4, two cores):
  6.5 -> 3.5 ms.

**The way back.** The input's gradient is the convolution of g with the filter turned by half a turn and C and O
exchanged: the same code. The filter's gradient transposes the scheme: dU = V^T (A g A^T), dw = G^T dU G.

**Rounding.** Powers of the points 2 and -2 make entries up to 8 in A and 1/24 in G: sums of numbers larger than their
result. Measured in float32 on 16 to 512 channels, the largest error is 3e-6 to 1.1e-5 of the largest output (the
direct sum: 4e-7), the mean error 5 to 12 times that of the direct sum. Convolutions of float64 take the plain path, so
gradient checks stay exact.

Sources: Winograd, "Arithmetic Complexity of Computations" (1980); Lavin and Gray, "Fast Algorithms for Convolutional
Neural Networks" (2016), whose matrices these are.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...shapes import Pair
from .layout import empty
from .threads import parallel, summed

BT = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    np.float32,
)
G = np.array(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ],
    np.float32,
)
AT = np.array(
    [
        [1, 1, 1, 1, 1, 0],
        [0, 1, -1, 2, -2, 0],
        [0, 1, 1, 4, 4, 0],
        [0, 1, -1, 8, -8, 1],
    ],
    np.float32,
)
GG = np.kron(G, G)  # (36, 9): both axes at once
GG_TURNED = np.ascontiguousarray(GG[:, ::-1])  # for filters whose taps come in reverse
GGT = np.ascontiguousarray(GG.T)
COLUMNS = 8192  # of a filter's numbers that a thread transforms at a time
PLACES = 9  # of the 36 products that a thread makes at a time: one by one, they would wait for Python's lock


def _by(matrix: np.ndarray, a: np.ndarray, out: np.ndarray) -> np.ndarray:
    """matrix @ a, a block of columns at a time"""
    parallel(lambda lo, hi: np.matmul(matrix, a[:, lo:hi], out=out[:, lo:hi]), a.shape[1], COLUMNS)
    return out


def filters(w: np.ndarray, matrix: np.ndarray = GG) -> np.ndarray:
    """U (36, C, O) = G w G^T of filters (3, 3, C, O)"""
    _, _, c, o = w.shape
    return _by(matrix, w.reshape(9, c * o), empty((36, c * o), w.dtype)).reshape(36, c, o)


def planes(t: int, c: int, dtype: Any) -> np.ndarray:
    """Memory for a number a place, tile and channel: (36, at least t c).

    A tile is written to 36 planes at once. Were they a multiple of 4096 bytes apart, all 36 would compete for the same
    few lines of the cache (measured: ten times as slow); 16 numbers more, or 32, keep them off multiples of 512.
    """
    gap = 16 if (t * c + 16) % 128 else 32
    return empty((36, t * c + gap), dtype)


def matrices(v: np.ndarray, t: int, c: int) -> np.ndarray:
    """What planes hold of t tiles, as (36, t, C): a view"""
    return v[:, : t * c].reshape(36, t, c)


class WinogradPlan:
    """How a product of C by O channels over an output (N, OH, OW) is done: the schedule, and who takes which tiles."""

    def __init__(self, xp: Any, n: int, hw: tuple[int, ...], c: int, o: int):
        self.loops, self.c, self.o, sizes = xp.loops.suited(c, o), c, o, xp.sizes
        self.th, self.tw = -(-hw[0] // 4), -(-hw[1] // 4)  # tiles down and across
        self.rows = n * self.th  # of tiles, through all images
        self.block = self.rows_of(max(sizes.tiles, sizes.thin // max(c, o)))
        tiles, image = self.rows * self.tw, self.th * self.tw
        self.shallow = c * o <= sizes.shallow
        self.columns = self.loops.columns and (tiles <= 4 * o or not self.shallow)
        at_once = sizes.shared // (c + o) if self.columns else sizes.chunk  # tiles that V and M hold; whole images
        step = self.th * max(1, at_once // image)
        self.chunks = [(lo, min(lo + step, self.rows)) for lo in range(0, self.rows, step)]

    def rows_of(self, tiles: int) -> int:
        """Tile rows for about so many tiles: whole images, or a part of one; two blocks at least, for two threads."""
        want = min(max(1, tiles // self.tw), -(-self.rows // 2))
        return want - want % self.th if want >= self.th else want

    def each(self, f: Any, a: np.ndarray, b: np.ndarray, first: int, last: int, *more: Any) -> None:
        """A transform of the tile rows first..last, divided among the threads."""
        th, tw = self.th, self.tw
        parallel(lambda lo, hi: f(a, b, first + lo, first + hi, lo * tw, th, tw, *more), last - first, self.block)


def conv(xp: Any, x: np.ndarray, w: np.ndarray, y: np.ndarray, padding: Pair, b: Any, res: Any, relu: bool) -> None:
    """y (N, OH, OW, O) <- relu?(x * w + b + res) for x (N, H, W, C) and w (3, 3, C, O)"""
    plan = WinogradPlan(xp, len(y), y.shape[1:3], *w.shape[2:])
    if plan.columns:
        _by_columns(plan, x, w, False, y, padding, b, res, relu)
    else:
        (_shallow if plan.shallow else _by_places)(plan, x, filters(w), y, padding, b, res, relu)


def input_gradient(xp: Any, g: np.ndarray, w: np.ndarray, d: np.ndarray, padding: Pair) -> None:
    """d (N, H, W, C) <- g (N, OH, OW, O) * w (3, 3, C, O) turned by half a turn, C and O exchanged"""
    plan = WinogradPlan(xp, len(d), d.shape[1:3], g.shape[3], d.shape[3])
    if plan.columns:
        _by_columns(plan, g, w, True, d, padding)
    elif plan.shallow:
        turned = empty((3, 3, plan.c, plan.o), w.dtype)
        turned[...] = w[::-1, ::-1].transpose(0, 1, 3, 2)
        _shallow(plan, g, filters(turned), d, padding)
    else:
        _by_places(plan, g, filters(w, GG_TURNED).transpose(0, 2, 1), d, padding)


def filter_gradient(xp: Any, g: np.ndarray, x: np.ndarray, padding: Pair) -> np.ndarray:
    """dw (3, 3, C, O) for g (N, OH, OW, O) and x (N, H, W, C)"""
    plan = WinogradPlan(xp, len(g), g.shape[1:3], x.shape[3], g.shape[3])
    c, o = plan.c, plan.o
    if plan.columns:
        return _dw_by_columns(plan, g, x, padding)
    if plan.shallow:
        du = summed(lambda _, lo, hi: _dw_shallow(plan, g, x, lo, hi, padding), plan.rows)
    else:
        du = _dw_by_places(plan, g, x, padding)
    return _by(GGT, du.reshape(36, c * o), empty((9, c * o), x.dtype)).reshape(3, 3, c, o)


# ------------------------------------------------------------------------------------------------------------- shallow


def _shallow(
    plan: WinogradPlan, x: np.ndarray, u: np.ndarray, y: np.ndarray, padding: Pair,
    b: Any = None, res: Any = None, relu: bool = False,
) -> None:  # fmt: skip
    loops, th, tw = plan.loops, plan.th, plan.tw
    tiles, channels = loops.at_once(plan.block * tw, plan.c, plan.o)

    def scratch() -> tuple[np.ndarray, np.ndarray]:
        return planes(tiles, plan.c, x.dtype), planes(tiles, channels, x.dtype)

    def some(lo: int, hi: int, v: np.ndarray, m: np.ndarray) -> None:
        loops.winograd(x, u, y, v, m, tiles, channels, lo, hi, th, tw, *padding, b, res, relu)

    parallel(some, plan.rows, plan.block, scratch)


def _dw_shallow(plan: WinogradPlan, g: np.ndarray, x: np.ndarray, start: int, stop: int, padding: Pair) -> np.ndarray:
    """The sum of V^T (A g A^T) over the tile rows start..stop, a block after the other: the work of one thread."""
    loops, du = plan.loops, empty((36, plan.c, plan.o), x.dtype)
    tiles, _ = loops.at_once(plan.block * plan.tw, plan.c, plan.o)
    v, m = planes(tiles, plan.c, x.dtype), planes(tiles, plan.o, x.dtype)
    du[...] = 0
    for lo in range(start, stop, plan.block):
        hi = min(lo + plan.block, stop)
        loops.winograd_dw(g, x, du, v, m, tiles, lo, hi, plan.th, plan.tw, *padding)
    return du


# ----------------------------------------------------------------------------------------------------- deep, by places


def _by_places(
    plan: WinogradPlan, x: np.ndarray, u: np.ndarray, y: np.ndarray, padding: Pair,
    b: Any = None, res: Any = None, relu: bool = False,
) -> None:  # fmt: skip
    for first, last in plan.chunks:
        m = _products(plan, x, u, first, last, padding)
        plan.each(lambda m, y, *place: plan.loops.tiles_out(m, y, *place, b, res, relu), m, y, first, last)


def _products(plan: WinogradPlan, x: np.ndarray, u: np.ndarray, first: int, last: int, padding: Pair) -> np.ndarray:
    """M = V U of the tile rows first..last, the 36 products divided among the threads. V ends with this function."""
    tiles, (_, c, o) = (last - first) * plan.tw, u.shape
    v, m = planes(tiles, c, x.dtype), planes(tiles, o, x.dtype)
    plan.each(plan.loops.tiles_in, x, v, first, last, *padding)
    vs, ms = matrices(v, tiles, c), matrices(m, tiles, o)
    parallel(lambda lo, hi: np.matmul(vs[lo:hi], u[lo:hi], out=ms[lo:hi]), 36, PLACES)
    return m


def _dw_by_places(plan: WinogradPlan, g: np.ndarray, x: np.ndarray, padding: Pair) -> np.ndarray:
    du = empty((36, plan.c, plan.o), x.dtype)
    for first, last in plan.chunks:
        _add_products(plan, g, x, du, first, last, padding)
    return du


def _transformed(
    plan: WinogradPlan, g: np.ndarray, x: np.ndarray, first: int, last: int, padding: Pair
) -> tuple[np.ndarray, np.ndarray, int]:
    """B^T x B and A g A^T of the tile rows first..last, and how many tiles these are."""
    tiles = (last - first) * plan.tw
    v, m = planes(tiles, plan.c, x.dtype), planes(tiles, plan.o, x.dtype)
    plan.each(plan.loops.tiles_in, x, v, first, last, *padding)
    plan.each(plan.loops.tiles_back, g, m, first, last)
    return v, m, tiles


def _add_products(
    plan: WinogradPlan, g: np.ndarray, x: np.ndarray, du: np.ndarray, first: int, last: int, padding: Pair
) -> None:
    """du <- V^T (A g A^T) of the tile rows first..last, added to what is there unless they are the first."""
    v, m, tiles = _transformed(plan, g, x, first, last, padding)
    vs, ms = matrices(v, tiles, plan.c), matrices(m, tiles, plan.o)

    def products(lo: int, hi: int) -> None:
        some = vs[lo:hi].transpose(0, 2, 1), ms[lo:hi]
        if first:
            du[lo:hi] += np.matmul(*some, out=empty((hi - lo, *du.shape[1:]), du.dtype))
        else:
            np.matmul(*some, out=du[lo:hi])

    parallel(products, 36, PLACES)


# ---------------------------------------------------------------------------------------------------------- by columns


def _by_columns(
    plan: WinogradPlan, x: np.ndarray, w: np.ndarray, turned: bool, y: np.ndarray, padding: Pair,
    b: Any = None, res: Any = None, relu: bool = False,
) -> None:  # fmt: skip
    for chunk in plan.chunks:
        _chunk_by_columns(plan, x, w, turned, y, *chunk, padding, b, res, relu)


def _chunk_by_columns(
    plan: WinogradPlan, x: np.ndarray, w: np.ndarray, turned: bool, y: np.ndarray, first: int, last: int, padding: Pair,
    b: Any, res: Any, relu: bool,
) -> None:  # fmt: skip
    loops, tw, c = plan.loops, plan.tw, plan.c
    some, tiles = loops.columns.COLUMNS, loops.columns.TILES
    v = planes((last - first) * tw, c, x.dtype)
    plan.each(loops.tiles_in, x, v, first, last, *padding)

    def scratch() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        taps = empty((9 * c * some if turned else 0,), x.dtype)
        return planes(c, some, x.dtype), planes(tiles, some, x.dtype), taps

    def columns(lo: int, hi: int, u: np.ndarray, m: np.ndarray, taps: np.ndarray) -> None:
        loops.columns.conv(v, w, y, u, m, taps, tiles, some, first, last - first, tw, lo, hi, b, res, relu, turned)

    parallel(columns, plan.o, some, scratch)


def _dw_by_columns(plan: WinogradPlan, g: np.ndarray, x: np.ndarray, padding: Pair) -> np.ndarray:
    dw = empty((3, 3, plan.c, plan.o), x.dtype)
    for first, last in plan.chunks:
        _add_columns(plan, g, x, dw, first, last, padding)
    return dw


def _add_columns(
    plan: WinogradPlan, g: np.ndarray, x: np.ndarray, dw: np.ndarray, first: int, last: int, padding: Pair
) -> None:
    """dw <- G^T (V^T (A g A^T)) G of the tile rows first..last, added to what is there unless they are the first."""
    some, (v, m, tiles) = plan.loops.columns.COLUMNS, _transformed(plan, g, x, first, last, padding)

    def columns(lo: int, hi: int, du: np.ndarray) -> None:
        plan.loops.columns.filter_gradient(v, m, dw, du, some, tiles, lo, hi, first == 0)

    parallel(columns, plan.o, some, lambda: (planes(some, some, x.dtype),))
