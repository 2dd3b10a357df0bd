"""The loops of `winograd.py`, compiled: transforms of tiles, and the scheme from end to end for few channels."""

from __future__ import annotations

import numpy as np

from .loop import IMAGES, LINE, LINES, ZERO, inner, loop
from .product import ROWS, multiply
from .transforms import a_into, back, bt_into
from .vectors import LANES

NUMBERS = 2048  # of V at a place: all 36 places of V and of M stay in a cache of 1 MiB

# A tile: all its channels. Those left over beyond whole vectors pass through d and e, 36 vectors each.


@inner
def gather(x, image, h, w, c, top, left, size, n, d):
    """d <- n numbers of each of the size x size pixels from (top, left), 0 outside; LANES apart"""
    d[:] = ZERO
    for i in range(max(0, -top), min(size, h - top)):
        for j in range(max(0, -left), min(size, w - left)):
            for k in range(n):
                d[(i * size + j) * LANES + k] = x[image + ((top + i) * w + left + j) * c + k]


@inner
def spread(e, v, to, plane, n):
    """v <- n numbers of each of the 36 vectors in e"""
    for p in range(36):
        for k in range(n):
            v[to + p * plane + k] = e[p * LANES + k]


@inner
def tile_in(x, shape, i, top, left, v, to, plane, d, e):
    """v[to + p plane + channel] <- B^T d B of the tile of image i that begins at (top, left)"""
    _, h, w, c = shape
    image, whole = i * h * w * c, c - c % LANES
    for channel in range(0, whole, LANES):
        bt_into(x, image + channel, h, w, c, top, left, v, to + channel, plane)
    if whole < c:
        gather(x, image + whole, h, w, c, top, left, 6, c - whole, d)
        bt_into(d, 0, 6, 6, LANES, 0, 0, e, 0, LANES)
        spread(e, v, to + whole, plane, c - whole)


@inner
def tile_back(g, shape, i, top, left, m, to, plane, d, e):
    """m[to + p plane + channel] <- A g A^T"""
    _, h, w, o = shape
    image, whole = i * h * w * o, o - o % LANES
    for channel in range(0, whole, LANES):
        a_into(g, image + channel, h, w, o, top, left, m, to + channel, plane)
    if whole < o:
        gather(g, image + whole, h, w, o, top, left, 4, o - whole, d)
        a_into(d, 0, 4, 4, LANES, 0, 0, e, 0, LANES)
        spread(e, m, to + whole, plane, o - whole)


@inner
def tile_out(m, at, plane, y, shape, i, top, left, first, some, b, res, relu, d, e):
    """y <- relu?(A^T m A + b + res) for `some` channels from `first` on; m[at + p plane + (channel - first)]

    b has a number for each channel and LANES more.
    """
    _, h, w, o = shape
    image, whole = i * h * w * o + first, some - some % LANES
    for channel in range(0, whole, LANES):
        back(
            m, at + channel, plane, b, first + channel, y, image + channel, h, w, o, top, left, res, res.size > 0, relu
        )
    n = some - whole
    if n:
        for p in range(36):
            for k in range(n):
                d[p * LANES + k] = m[at + p * plane + whole + k]
        back(d, 0, LANES, b, first + whole, e, 0, 4, 4, LANES, 0, 0, res, False, False)
        for j in range(min(4, h - top)):
            for z in range(min(4, w - left)):
                for k in range(n):
                    to = image + whole + ((top + j) * w + left + z) * o + k
                    value = e[(4 * j + z) * LANES + k]
                    if res.size:
                        value += res[to]
                    y[to] = max(value, ZERO) if relu else value


# Some rows of tiles, lo..hi, counted through all images; tile t of memory is the first of them.


@loop(f"{IMAGES} {LINES} i8 i8 i8 i8 i8 i8 i8")
def tiles_in(x, v, lo, hi, t, th, tw, p, q):
    """v[:, t C:] <- B^T d B of the tiles in tile rows lo..hi; d 6 x 6, every 4 pixels, the first at (-p, -q)"""
    c, pixels, out = x.shape[3], x.reshape(x.size), v.reshape(v.size)
    d, e = np.zeros(36 * LANES, np.float32), np.zeros(36 * LANES, np.float32)
    for r in range(lo, hi):
        for z in range(tw):
            tile_in(pixels, x.shape, r // th, r % th * 4 - p, z * 4 - q, out, t * c, v.shape[1], d, e)
            t += 1


@loop(f"{LINES} {IMAGES} i8 i8 i8 i8 i8 {LINE}? {IMAGES}? b1")
def tiles_out(m, y, lo, hi, t, th, tw, b, res, relu):
    """y <- relu?(A^T m A + b + res): 4 x 4 pixels from each tile, those outside y left out"""
    o, given, pixels, more = y.shape[3], m.reshape(m.size), y.reshape(y.size), res.reshape(res.size)
    d, e, bias = np.zeros(36 * LANES, np.float32), np.zeros(36 * LANES, np.float32), np.zeros(o + LANES, np.float32)
    if b.size:
        bias[:o] = b
    for r in range(lo, hi):
        for z in range(tw):
            tile_out(
                given, t * o, m.shape[1], pixels, y.shape, r // th, r % th * 4, z * 4, 0, o, bias, more, relu, d, e
            )
            t += 1


@loop(f"{IMAGES} {LINES} i8 i8 i8 i8 i8")
def tiles_back(g, m, lo, hi, t, th, tw):
    """m[:, t O:] <- A g A^T, the adjoint of `tiles_out`"""
    o, pixels, out = g.shape[3], g.reshape(g.size), m.reshape(m.size)
    d, e = np.zeros(36 * LANES, np.float32), np.zeros(36 * LANES, np.float32)
    for r in range(lo, hi):
        for z in range(tw):
            tile_back(pixels, g.shape, r // th, r % th * 4, z * 4, out, t * o, m.shape[1], d, e)
            t += 1


# From end to end: some tiles at a time, so few that what is between the transforms stays in a core's cache.


def at_once(tiles, c, o):
    """How many of so many tiles, and how many of O output channels, `winograd` takes at a time"""
    return min(tiles, max(ROWS, NUMBERS // max(c, o))), min(o, 2 * LANES)


@loop(f"{IMAGES} f4[:,:,::1] {IMAGES} {LINES} {LINES} i8 i8 i8 i8 i8 i8 i8 i8 {LINE}? {IMAGES}? b1")
def winograd(x, u, y, v, m, tiles, some, lo, hi, th, tw, p, q, b, res, relu):
    """y <- relu?(x * w + b + res) of the tile rows lo..hi, u = `filters(w)`; v, m: room for what is taken at once"""
    c, o, vp, mp = x.shape[3], y.shape[3], v.shape[1], m.shape[1]
    pixels, filters, out, more = x.reshape(x.size), u.reshape(u.size), y.reshape(y.size), res.reshape(res.size)
    vs, ms, bias = v.reshape(v.size), m.reshape(m.size), np.zeros(o + LANES, np.float32)
    d, e = np.zeros(36 * LANES, np.float32), np.zeros(36 * LANES, np.float32)
    if b.size:
        bias[:o] = b
    for first in range(lo * tw, hi * tw, tiles):
        n = min(tiles, hi * tw - first)
        for t in range(n):
            r, left = (first + t) // tw, (first + t) % tw * 4
            tile_in(pixels, x.shape, r // th, r % th * 4 - p, left - q, vs, t * c, vp, d, e)
        for channel in range(0, o, some):
            width = min(some, o - channel)
            for place in range(36):
                multiply(
                    vs, place * vp, c, 1, n, filters, place * c * o + channel, o, c, ms, place * mp, width, width, True
                )
            for t in range(n):
                r, left = (first + t) // tw, (first + t) % tw * 4
                tile_out(
                    ms, t * width, mp, out, y.shape, r // th, r % th * 4, left, channel, width, bias, more, relu, d, e
                )


@loop(f"{IMAGES} {IMAGES} f4[:,:,::1] {LINES} {LINES} i8 i8 i8 i8 i8 i8 i8")
def winograd_dw(g, x, du, v, m, tiles, lo, hi, th, tw, p, q):
    """du (36, C, O) += V^T (A g A^T) of the tile rows lo..hi"""
    c, o, vp, mp = x.shape[3], g.shape[3], v.shape[1], m.shape[1]
    pixels, given, out = x.reshape(x.size), g.reshape(g.size), du.reshape(du.size)
    vs, ms = v.reshape(v.size), m.reshape(m.size)
    d, e = np.zeros(36 * LANES, np.float32), np.zeros(36 * LANES, np.float32)
    for first in range(lo * tw, hi * tw, tiles):
        n = min(tiles, hi * tw - first)
        for t in range(n):
            r, left = (first + t) // tw, (first + t) % tw * 4
            tile_in(pixels, x.shape, r // th, r % th * 4 - p, left - q, vs, t * c, vp, d, e)
            tile_back(given, g.shape, r // th, r % th * 4, left, ms, t * o, mp, d, e)
        for place in range(36):
            multiply(vs, place * vp, 1, c, c, ms, place * mp, o, n, out, place * c * o, o, o, False)
