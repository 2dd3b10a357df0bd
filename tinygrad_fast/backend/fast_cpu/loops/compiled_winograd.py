"""The transforms of `winograd.py`, compiled: additions and multiplications written out, down and then across.

A tile is taken 16 channels at a time: 6 x 6 vectors of 16 numbers, as wide as the widest registers, in a buffer d of
its own. There each matrix is applied in place, and nothing but these loops touches d: that is what lets the compiler
make one instruction of 16 numbers.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .loop import IMAGES, LINE, LINES, ZERO, inner, loop

TWO, FOUR, FIVE, EIGHT = map(np.float32, (2, 4, 5, 8))
LANES = 16


@intrinsic
def move(typing, a, at, b, to):
    """b[to : to + LANES] <- a[at : at + LANES], flat arrays: one load and one store.

    A loop of 16 would be unrolled into 16 single moves: the compiler cannot know that a and b do not overlap.
    """

    def generate(context, builder, signature, args):
        vector = ir.VectorType(ir.FloatType(), LANES).as_pointer()
        place = [
            builder.bitcast(builder.gep(context.make_array(kind)(context, builder, array).data, [start]), vector)
            for kind, array, start in ((signature.args[i], args[i], args[i + 1]) for i in (0, 2))
        ]
        builder.store(builder.load(place[0], align=4), place[1], align=4)
        return context.get_dummy_value()

    return types.void(a, types.int64, b, types.int64), generate


@inner
def carry(a, at, b, to, n):
    """The same for n numbers, LANES or fewer"""
    if n == LANES:
        move(a, at, b, to)
    else:
        for k in range(n):
            b[to + k] = a[at + k]


@inner
def load(x, shape, i, top, left, channel, size, d):
    """d <- the size x size pixels of image i of x from (top, left), 0 outside; LANES channels, or what is left"""
    _, h, w, c = shape
    n = min(LANES, c - channel)
    a0, a1, b0, b1 = max(0, -top), min(size, h - top), max(0, -left), min(size, w - left)
    if (a1 - a0) * (b1 - b0) < size * size:
        d[:] = ZERO
    for a in range(a0, a1):
        for b in range(b0, b1):
            carry(x, ((i * h + top + a) * w + left + b) * c + channel, d, (6 * a + b) * LANES, n)


@inner
def store(d, v, at, plane, n):
    """v <- d: n numbers to each of the 36 planes, from place `at` of a plane on"""
    for place in range(36):
        carry(d, place * LANES, v, at + place * plane, n)


@inner
def by_bt(d, at, step):
    """B^T times the six vectors at `at`, `step` apart, in their place"""
    step *= LANES
    for k in range(at * LANES, (at + 1) * LANES):
        x0, x1, x2, x3, x4, x5 = d[k], d[step + k], d[2 * step + k], d[3 * step + k], d[4 * step + k], d[5 * step + k]
        e, o, f, g = x4 - FOUR * x2, x3 - FOUR * x1, x4 - x2, TWO * (x3 - x1)
        d[k] = FOUR * x0 - FIVE * x2 + x4
        d[step + k] = e + o
        d[2 * step + k] = e - o
        d[3 * step + k] = f + g
        d[4 * step + k] = f - g
        d[5 * step + k] = FOUR * x1 - FIVE * x3 + x5


@inner
def by_at(d, at, step):
    """A^T times the six vectors: four, in the place of the first"""
    step *= LANES
    for k in range(at * LANES, (at + 1) * LANES):
        x1, x2, x3, x4 = d[step + k], d[2 * step + k], d[3 * step + k], d[4 * step + k]
        p, q, u, v = x1 + x2, x1 - x2, x3 + x4, x3 - x4
        d[k] = d[k] + p + u
        d[step + k] = q + TWO * v
        d[2 * step + k] = p + FOUR * u
        d[3 * step + k] = q + EIGHT * v + d[5 * step + k]


@inner
def by_a(d, at, step):
    """A times the first four vectors: six"""
    step *= LANES
    for k in range(at * LANES, (at + 1) * LANES):
        x0, x1, x2, x3 = d[k], d[step + k], d[2 * step + k], d[3 * step + k]
        p, q, u, v = x0 + x2, x1 + x3, x0 + FOUR * x2, TWO * x1 + EIGHT * x3
        d[step + k] = p + q
        d[2 * step + k] = p - q
        d[3 * step + k] = u + v
        d[4 * step + k] = u - v
        d[5 * step + k] = x3


@loop(f"{IMAGES} {LINES} i8 i8 i8 i8 i8 i8 i8")
def tiles_in(x, v, lo, hi, t, th, tw, p, q):
    """v[:, t C:] <- B^T d B of the tiles in tile rows lo..hi; d 6 x 6, every 4 pixels, the first at (-p, -q)"""
    d, c, pixels, out = np.zeros(36 * LANES, np.float32), x.shape[3], x.reshape(x.size), v.reshape(v.size)
    for r in range(lo, hi):
        for b in range(tw):
            for channel in range(0, c, LANES):
                load(pixels, x.shape, r // th, r % th * 4 - p, b * 4 - q, channel, 6, d)
                for j in range(6):
                    by_bt(d, j, 6)
                for j in range(6):
                    by_bt(d, 6 * j, 1)
                store(d, out, t * c + channel, v.shape[1], min(LANES, c - channel))
            t += 1


@loop(f"{LINES} {IMAGES} i8 i8 i8 i8 i8 {LINE}? {IMAGES}? b1")
def tiles_out(m, y, lo, hi, t, th, tw, b, res, relu):
    """y <- relu?(A^T m A + b + res): 4 x 4 pixels from each tile, those outside y left out"""
    (_, h, w, o), plane, d = y.shape, m.shape[1], np.zeros(36 * LANES, np.float32)
    given, pixels, more = m.reshape(m.size), y.reshape(y.size), res.reshape(res.size)
    bias, extra = np.zeros(LANES, np.float32), np.zeros(LANES, np.float32)
    for r in range(lo, hi):
        i, top = r // th, r % th * 4
        for z in range(tw):
            for channel in range(0, o, LANES):
                n = min(LANES, o - channel)
                for place in range(36):
                    carry(given, place * plane + t * o + channel, d, place * LANES, n)
                for j in range(6):
                    by_at(d, j, 6)
                for j in range(4):
                    by_at(d, 6 * j, 1)
                if b.size:
                    carry(b, channel, bias, 0, n)
                for a in range(min(4, h - top)):
                    for e in range(min(4, w - 4 * z)):
                        at, to = (6 * a + e) * LANES, ((i * h + top + a) * w + 4 * z + e) * o + channel
                        if b.size:
                            for k in range(LANES):
                                d[at + k] += bias[k]
                        if res.size:
                            carry(more, to, extra, 0, n)
                            for k in range(LANES):
                                d[at + k] += extra[k]
                        if relu:
                            for k in range(LANES):
                                d[at + k] = max(d[at + k], ZERO)
                        carry(d, at, pixels, to, n)
            t += 1


@loop(f"{IMAGES} {LINES} i8 i8 i8 i8 i8")
def tiles_back(g, m, lo, hi, t, th, tw):
    """m[:, t O:] <- A g A^T, the adjoint of `tiles_out`"""
    d, o, pixels, out = np.zeros(36 * LANES, np.float32), g.shape[3], g.reshape(g.size), m.reshape(m.size)
    for r in range(lo, hi):
        for b in range(tw):
            for channel in range(0, o, LANES):
                load(pixels, g.shape, r // th, r % th * 4, b * 4, channel, 4, d)
                for j in range(4):
                    by_a(d, j, 6)
                for j in range(6):
                    by_a(d, 6 * j, 1)
                store(d, out, t * o + channel, m.shape[1], min(LANES, o - channel))
            t += 1
