"""The loops of `winograd.py`, compiled: transforms of tiles, and the scheme from end to end for few channels.

C and O are whole vectors; `suited` says so.
"""

from __future__ import annotations

from .loop import IMAGES, LINE, LINES, ZERO, filled, inner, loop
from .product import ROWS, multiply
from .transforms import a_into, back, bt_into
from .vectors import LANES

NUMBERS = 2048  # of V at a place: all 36 places of V and of M stay in a cache of 1 MiB


@inner
def tile_in(x, shape, i, top, left, v, to, plane):
    """v[to + p plane + channel] <- B^T d B of the tile of image i that begins at (top, left)"""
    _, h, w, c = shape
    for channel in range(0, c, LANES):
        bt_into(x, i * h * w * c + channel, h, w, c, top, left, v, to + channel, plane)


@inner
def tile_back(g, shape, i, top, left, m, to, plane):
    """m[to + p plane + channel] <- A g A^T"""
    _, h, w, o = shape
    for channel in range(0, o, LANES):
        a_into(g, i * h * w * o + channel, h, w, o, top, left, m, to + channel, plane)


@inner
def tile_out(m, at, plane, y, shape, i, top, left, first, some, b, res, relu):
    """y <- relu?(A^T m A + b + res) for `some` channels from `first` on; m[at + p plane + (channel - first)]"""
    _, h, w, o = shape
    image, added = i * h * w * o + first, res.size > 0
    for channel in range(0, some, LANES):
        to = image + channel
        back(m, at + channel, plane, b, first + channel, y, to, h, w, o, top, left, res, added, relu)


# Some rows of tiles, lo..hi, counted through all images; tile t of memory is the first of them.


@loop(f"{IMAGES} {LINES} i8 i8 i8 i8 i8 i8 i8")
def tiles_in(x, v, lo, hi, t, th, tw, p, q):
    """v[:, t C:] <- B^T d B of the tiles in tile rows lo..hi; d 6 x 6, every 4 pixels, the first at (-p, -q)"""
    c, pixels, out = x.shape[3], x.reshape(x.size), v.reshape(v.size)
    for r in range(lo, hi):
        for z in range(tw):
            tile_in(pixels, x.shape, r // th, r % th * 4 - p, z * 4 - q, out, t * c, v.shape[1])
            t += 1


@loop(f"{IMAGES} {LINES} i8 i8 i8 i8 i8")
def tiles_back(g, m, lo, hi, t, th, tw):
    """m[:, t O:] <- A g A^T, the adjoint of `tiles_out`"""
    o, pixels, out = g.shape[3], g.reshape(g.size), m.reshape(m.size)
    for r in range(lo, hi):
        for z in range(tw):
            tile_back(pixels, g.shape, r // th, r % th * 4, z * 4, out, t * o, m.shape[1])
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
    vs, ms, bias = v.reshape(v.size), m.reshape(m.size), filled(o, ZERO)
    for k in range(b.size):
        bias[k] = b[k]
    for first in range(lo * tw, hi * tw, tiles):
        n = min(tiles, hi * tw - first)
        for t in range(n):
            r, left = (first + t) // tw, (first + t) % tw * 4
            tile_in(pixels, x.shape, r // th, r % th * 4 - p, left - q, vs, t * c, vp)
        for channel in range(0, o, some):
            width = min(some, o - channel)
            for place in range(36):
                multiply(
                    vs, place * vp, c, 1, n, filters, place * c * o + channel, o, c, ms, place * mp, width, width, True
                )
            for t in range(n):
                r, left = (first + t) // tw, (first + t) % tw * 4
                tile_out(ms, t * width, mp, out, y.shape, r // th, r % th * 4, left, channel, width, bias, more, relu)


@loop(f"{IMAGES} {IMAGES} f4[:,:,::1] {LINES} {LINES} i8 i8 i8 i8 i8 i8 i8")
def winograd_dw(g, x, du, v, m, tiles, lo, hi, th, tw, p, q):
    """du (36, C, O) += V^T (A g A^T) of the tile rows lo..hi"""
    c, o, vp, mp = x.shape[3], g.shape[3], v.shape[1], m.shape[1]
    pixels, given, out = x.reshape(x.size), g.reshape(g.size), du.reshape(du.size)
    vs, ms = v.reshape(v.size), m.reshape(m.size)
    for first in range(lo * tw, hi * tw, tiles):
        n = min(tiles, hi * tw - first)
        for t in range(n):
            r, left = (first + t) // tw, (first + t) % tw * 4
            tile_in(pixels, x.shape, r // th, r % th * 4 - p, left - q, vs, t * c, vp)
            tile_back(given, g.shape, r // th, r % th * 4, left, ms, t * o, mp)
        for place in range(36):
            multiply(vs, place * vp, 1, c, c, ms, place * mp, o, n, out, place * c * o, o, o, False)
