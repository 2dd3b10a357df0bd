"""Winograd's scheme by columns of the filters, compiled.

All tiles are transformed already. Each thread takes some columns of the filters, transforms those, multiplies all tiles
by them and transforms back: U, four times the size of the filters, and M are never whole in memory.
"""

from __future__ import annotations

from .compiled_winograd import tile_out
from .loop import IMAGES, LINE, LINES, ZERO, filled, loop
from .product import multiply
from .transforms import g_between, gt_adding, gt_between, transpose
from .vectors import LANES

COLUMNS, TILES = 2 * LANES, 32  # that are multiplied at a time


@loop(f"{LINES} f4[:,:,:,::1] {IMAGES} {LINES} {LINES} f4[::1] i8 i8 i8 i8 i8 i8 i8 {LINE}? {IMAGES}? b1 b1")
def conv(v, w, y, u, m, taps, tiles, some, row, rows, tw, lo, hi, b, res, relu, turned):
    """y[..., lo:hi] <- relu?(x * w + b + res) of `rows` tile rows from `row` on, whose V is v

    C and O are whole vectors. w (3, 3, C, O), or turned: (3, 3, O, C), to be turned by half a turn. u, m, taps: room.
    """
    o, vp, up, mp = y.shape[3], v.shape[1], u.shape[1], m.shape[1]
    c, th = w.shape[3] if turned else w.shape[2], (y.shape[1] + 3) // 4
    filters, out, more = w.reshape(w.size), y.reshape(y.size), res.reshape(res.size)
    vs, us, ms, bias = v.reshape(v.size), u.reshape(u.size), m.reshape(m.size), filled(o, ZERO)
    for k in range(b.size):
        bias[k] = b[k]
    for channel in range(lo, hi, some):
        width = min(some, hi - channel)
        if turned:
            for tap in range(9):
                for k in range(0, width, LANES):
                    at, to = (tap * o + channel + k) * c, (8 - tap) * c * width + k
                    for j in range(0, c, LANES):
                        transpose(filters, at + j, c, taps, to + j * width, width)
        for j in range(c):
            for k in range(0, width, LANES):
                if turned:
                    g_between(taps, j * width + k, c * width, us, j * width + k, up)
                else:
                    g_between(filters, j * o + channel + k, c * o, us, j * width + k, up)
        for first in range(0, rows * tw, tiles):
            n = min(tiles, rows * tw - first)
            for place in range(36):
                multiply(
                    vs, place * vp + first * c, c, 1, n, us, place * up, width, c, ms, place * mp, width, width, True
                )
            for t in range(n):
                r, left = row + (first + t) // tw, (first + t) % tw * 4
                tile_out(ms, t * width, mp, out, y.shape, r // th, r % th * 4, left, channel, width, bias, more, relu)


@loop(f"{LINES} {LINES} f4[:,:,:,::1] {LINES} i8 i8 i8 i8 b1")
def filter_gradient(v, m, dw, du, some, tiles, lo, hi, fresh):
    """dw[..., lo:hi] (3, 3, C, O) <- (or += unless fresh) G^T (V^T M) G of so many tiles; C and O are whole vectors"""
    (_, _, c, o), vp, mp, dp = dw.shape, v.shape[1], m.shape[1], du.shape[1]
    vs, ms, dus, out = v.reshape(v.size), m.reshape(m.size), du.reshape(du.size), dw.reshape(dw.size)
    for channel in range(lo, hi, some):
        width = min(some, hi - channel)
        for first in range(0, c, some):
            n = min(some, c - first)
            for place in range(36):
                multiply(
                    vs, place * vp + first, 1, c, n, ms, place * mp + channel, o, tiles,
                    dus, place * dp, width, width, True,
                )  # fmt: skip
            for j in range(n):
                for k in range(0, width, LANES):
                    at, to = j * width + k, (first + j) * o + channel + k
                    if fresh:
                        gt_between(dus, at, dp, out, to, c * o)
                    else:
                        gt_adding(dus, at, dp, out, to, c * o)
