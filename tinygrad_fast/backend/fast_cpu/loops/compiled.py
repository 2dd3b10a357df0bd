"""The inner loops of `plain.py`, compiled by Numba: the same names, arguments and results, one pass where NumPy needs
several.

Each is compiled at its first call for the types it declares, and kept in a file beside this one (or in Numba's cache
folder), from which later processes load it. The innermost loop always runs over channels, which lie side by side, so
that it becomes vector instructions; `nogil` lets several threads run. An argument marked `?` may be None.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

FAST = {"reassoc", "contract", "nsz", "arcp"}  # sums in any order, fused multiply-add; NaN and infinity stay what they are
ZERO, TWO, FOUR, FIVE, EIGHT = map(np.float32, (0, 2, 4, 5, 8))


class Loop:
    """A function that is compiled when it is first called. `types`: of its arguments, as Numba spells them."""

    def __init__(self, f: Callable, types: str):
        self.f, self.run = f, None
        self.types = types.replace("?", "").replace("f4", "float32").replace("i8", "int64").replace("b1", "boolean")
        self.types = self.types.replace("u1", "uint8").replace("u4", "uint32").replace("f8", "float64")
        self.optional = [(i, np.empty((0,) * (t.count(",") + 1), np.float32)) for i, t in enumerate(types.split(" ")) if "?" in t]
        self.__doc__ = f.__doc__

    def __call__(self, *args: Any) -> None:
        if self.run is None:
            self.run = njit(f"void({self.types.replace(' ', ', ')})", nogil=True, cache=True, fastmath=FAST)(self.f)
        if self.optional:
            given = list(args)
            for i, nothing in self.optional:
                if given[i] is None:
                    given[i] = nothing
            args = tuple(given)
        try:
            self.run(*args)
        except TypeError:  # Numba takes no read-only arrays
            if all(a.flags.writeable for a in args if isinstance(a, np.ndarray)):
                raise
            self.run(*(a.copy() if isinstance(a, np.ndarray) and not a.flags.writeable else a for a in args))


def loop(types: str) -> Callable[[Callable], Loop]:
    return lambda f: Loop(f, types)


inner = njit(nogil=True, fastmath=FAST, cache=True, inline="never")


# ------------------------------------------------------------------------------------------------------------- windows

IMAGES, LINES, LINE, TILES = "f4[:,:,:,::1]", "f4[:,::1]", "f4[::1]", "f4[:,:,::1]"
WINDOW = " ".join(["i8"] * 8)  # OH or none, OW, KH, KW, strides, paddings


@loop(f"{IMAGES} {LINES} i8 i8 {WINDOW}")
def patches(x, rows, lo, hi, oh, ow, kh, kw, sh, sw, ph, pw):
    """rows (.., KH KW C) <- the patch of each pixel in the output rows lo..hi, which are counted through all images."""
    n, h, w, c = x.shape
    for r in range(lo, hi):
        i, top = r // oh, r % oh * sh - ph
        for b in range(ow):
            left, line = b * sw - pw, (r - lo) * ow + b
            for u in range(kh):
                for v in range(kw):
                    at = (u * kw + v) * c
                    if 0 <= top + u < h and 0 <= left + v < w:
                        for k in range(c):
                            rows[line, at + k] = x[i, top + u, left + v, k]
                    else:
                        for k in range(c):
                            rows[line, at + k] = ZERO


@loop(f"{LINES} {IMAGES} i8 i8 i8 i8 i8 i8 i8")
def unpatches(rows, d, ow, kh, kw, sh, sw, ph, pw):
    """`patches` in reverse, over whole images: d <- the rows added up where their patches lay."""
    n, h, w, c = d.shape
    oh = len(rows) // (n * ow)
    d[:] = ZERO
    for line in range(len(rows)):
        i, a, b = line // (oh * ow), line // ow % oh, line % ow
        for u in range(kh):
            y = a * sh - ph + u
            for v in range(kw):
                z, at = b * sw - pw + v, (u * kw + v) * c
                if 0 <= y < h and 0 <= z < w:
                    for k in range(c):
                        d[i, y, z, k] += rows[line, at + k]


@loop(f"{LINES} {LINE}? {LINES}? b1")
def finish(y, b, res, relu):
    """y <- relu?(y + b + res), b and res may be None"""
    for r in range(len(y)):
        if b.size:
            for k in range(y.shape[1]):
                y[r, k] += b[k]
        if res.size:
            for k in range(y.shape[1]):
                y[r, k] += res[r, k]
        if relu:
            for k in range(y.shape[1]):
                y[r, k] = max(y[r, k], ZERO)


# ------------------------------------------------------------------------------------------------------------ winograd


@inner
def load(x, i, top, left, d):
    """d <- the pixels of x[i] from (top, left), 0 outside"""
    _, h, w, c = x.shape
    for a in range(d.shape[0]):
        for b in range(d.shape[1]):
            if 0 <= top + a < h and 0 <= left + b < w:
                for k in range(c):
                    d[a, b, k] = x[i, top + a, left + b, k]
            else:
                for k in range(c):
                    d[a, b, k] = ZERO


@loop(f"{IMAGES} {TILES} i8 i8 i8 i8 i8 i8 i8")
def tiles_in(x, v, lo, hi, t, th, tw, p, q):
    """v[:, t:] <- B^T d B of the tiles in tile rows lo..hi; d 6 x 6, every 4 pixels, the first at (-p, -q)"""
    c = x.shape[3]
    d, s = np.empty((6, 6, c), np.float32), np.empty((6, 6, c), np.float32)
    for r in range(lo, hi):
        for b in range(tw):
            load(x, r // th, r % th * 4 - p, b * 4 - q, d)
            for j in range(6):
                for k in range(c):
                    x0, x1, x2, x3, x4, x5 = d[0, j, k], d[1, j, k], d[2, j, k], d[3, j, k], d[4, j, k], d[5, j, k]
                    e, o, f, g = x4 - FOUR * x2, x3 - FOUR * x1, x4 - x2, TWO * (x3 - x1)
                    s[0, j, k] = FOUR * x0 - FIVE * x2 + x4
                    s[1, j, k] = e + o
                    s[2, j, k] = e - o
                    s[3, j, k] = f + g
                    s[4, j, k] = f - g
                    s[5, j, k] = FOUR * x1 - FIVE * x3 + x5
            for i in range(6):
                for k in range(c):
                    x0, x1, x2, x3, x4, x5 = s[i, 0, k], s[i, 1, k], s[i, 2, k], s[i, 3, k], s[i, 4, k], s[i, 5, k]
                    e, o, f, g = x4 - FOUR * x2, x3 - FOUR * x1, x4 - x2, TWO * (x3 - x1)
                    v[6 * i, t, k] = FOUR * x0 - FIVE * x2 + x4
                    v[6 * i + 1, t, k] = e + o
                    v[6 * i + 2, t, k] = e - o
                    v[6 * i + 3, t, k] = f + g
                    v[6 * i + 4, t, k] = f - g
                    v[6 * i + 5, t, k] = FOUR * x1 - FIVE * x3 + x5
            t += 1


@loop(f"{TILES} {IMAGES} i8 i8 i8 i8 i8 {LINE}? {IMAGES}? b1")
def tiles_out(m, y, lo, hi, t, th, tw, b, res, relu):
    """y <- relu?(A^T m A + b + res): 4 x 4 pixels from each tile, those outside y left out"""
    n, h, w, o = y.shape
    s, d = np.empty((4, 6, o), np.float32), np.empty((4, 4, o), np.float32)
    for r in range(lo, hi):
        image, top = r // th, r % th * 4
        for z in range(tw):
            for j in range(6):
                for k in range(o):
                    p, q = m[6 + j, t, k] + m[12 + j, t, k], m[6 + j, t, k] - m[12 + j, t, k]
                    u, v = m[18 + j, t, k] + m[24 + j, t, k], m[18 + j, t, k] - m[24 + j, t, k]
                    s[0, j, k] = m[j, t, k] + p + u
                    s[1, j, k] = q + TWO * v
                    s[2, j, k] = p + FOUR * u
                    s[3, j, k] = q + EIGHT * v + m[30 + j, t, k]
            for i in range(4):
                for k in range(o):
                    p, q = s[i, 1, k] + s[i, 2, k], s[i, 1, k] - s[i, 2, k]
                    u, v = s[i, 3, k] + s[i, 4, k], s[i, 3, k] - s[i, 4, k]
                    d[i, 0, k] = s[i, 0, k] + p + u
                    d[i, 1, k] = q + TWO * v
                    d[i, 2, k] = p + FOUR * u
                    d[i, 3, k] = q + EIGHT * v + s[i, 5, k]
            for i in range(min(4, h - top)):
                for j in range(min(4, w - 4 * z)):
                    if b.size:
                        for k in range(o):
                            d[i, j, k] += b[k]
                    if res.size:
                        for k in range(o):
                            d[i, j, k] += res[image, top + i, 4 * z + j, k]
                    if relu:
                        for k in range(o):
                            d[i, j, k] = max(d[i, j, k], ZERO)
                    for k in range(o):
                        y[image, top + i, 4 * z + j, k] = d[i, j, k]
            t += 1


@loop(f"{IMAGES} {TILES} i8 i8 i8 i8 i8")
def tiles_back(g, m, lo, hi, t, th, tw):
    """m[:, t:] <- A g A^T, the adjoint of `tiles_out`"""
    o = g.shape[3]
    d, s = np.empty((4, 4, o), np.float32), np.empty((6, 4, o), np.float32)
    for r in range(lo, hi):
        for b in range(tw):
            load(g, r // th, r % th * 4, b * 4, d)
            for j in range(4):
                for k in range(o):
                    x0, x1, x2, x3 = d[0, j, k], d[1, j, k], d[2, j, k], d[3, j, k]
                    p, q, u, v = x0 + x2, x1 + x3, x0 + FOUR * x2, TWO * x1 + EIGHT * x3
                    s[0, j, k] = x0
                    s[1, j, k] = p + q
                    s[2, j, k] = p - q
                    s[3, j, k] = u + v
                    s[4, j, k] = u - v
                    s[5, j, k] = x3
            for i in range(6):
                for k in range(o):
                    x0, x1, x2, x3 = s[i, 0, k], s[i, 1, k], s[i, 2, k], s[i, 3, k]
                    p, q, u, v = x0 + x2, x1 + x3, x0 + FOUR * x2, TWO * x1 + EIGHT * x3
                    m[6 * i, t, k] = x0
                    m[6 * i + 1, t, k] = p + q
                    m[6 * i + 2, t, k] = p - q
                    m[6 * i + 3, t, k] = u + v
                    m[6 * i + 4, t, k] = u - v
                    m[6 * i + 5, t, k] = x3
            t += 1


# --------------------------------------------------------------------------------------------------------- batch norm


@loop(f"{LINES} {LINE} {LINE}")
def moments(x, mean, m2):
    """mean and sum of squared differences from it, of each column: sums of differences from the first row"""
    n, c = x.shape
    s, q = np.zeros(c, np.float32), np.zeros(c, np.float32)
    for r in range(n):
        for k in range(c):
            d = x[r, k] - x[0, k]
            s[k] += d
            q[k] += d * d
    for k in range(c):
        mean[k] = x[0, k] + s[k] / np.float32(n)
        m2[k] = q[k] - s[k] * s[k] / np.float32(n)


@loop(f"{LINES} {LINES} {LINE} {LINE} {LINES}? b1")
def normalise(x, y, scale, shift, res, relu):
    """y <- relu?(x scale + shift + res)"""
    c = x.shape[1]
    low = ZERO if relu else np.float32(-np.inf)
    for r in range(len(x)):
        if res.size:
            for k in range(c):
                y[r, k] = max(x[r, k] * scale[k] + shift[k] + res[r, k], low)
        else:
            for k in range(c):
                y[r, k] = max(x[r, k] * scale[k] + shift[k], low)


@loop(f"{LINES} {LINES} {LINES}? {LINE} {LINE} {LINE}")
def tilts(g, x, y, mean, total, dot):
    """total <- sum g, dot <- sum g (x - mean) of each column; y: only where it is above 0, or None"""
    n, c = x.shape
    s, q = np.zeros(c, np.float32), np.zeros(c, np.float32)
    for r in range(n):
        if y.size:
            for k in range(c):
                h = g[r, k] if y[r, k] > ZERO else ZERO
                s[k] += h
                q[k] += h * (x[r, k] - mean[k])
        else:
            for k in range(c):
                s[k] += g[r, k]
                q[k] += g[r, k] * (x[r, k] - mean[k])
    for k in range(c):
        total[k] = s[k]
        dot[k] = q[k]


@loop(f"{LINES} {LINES} {LINES}? {LINE} {LINE} {LINE} {LINES} {LINES}?")
def standard_back(g, x, y, a, b, c, dx, dres):
    """h = g where y > 0;  dx <- a h + b x + c;  dres <- h"""
    n, width = x.shape
    for r in range(n):
        if y.size and dres.size:
            for k in range(width):
                h = g[r, k] if y[r, k] > ZERO else ZERO
                dres[r, k] = h
                dx[r, k] = a[k] * h + b[k] * x[r, k] + c[k]
        elif y.size:
            for k in range(width):
                h = g[r, k] if y[r, k] > ZERO else ZERO
                dx[r, k] = a[k] * h + b[k] * x[r, k] + c[k]
        else:
            for k in range(width):
                dx[r, k] = a[k] * g[r, k] + b[k] * x[r, k] + c[k]
            if dres.size:
                for k in range(width):
                    dres[r, k] = g[r, k]


@loop(f"{LINE} {LINE} {LINE}")
def relu_back(g, y, d):
    """d <- g where y > 0, else 0"""
    for i in range(g.size):
        d[i] = g[i] if y[i] > ZERO else ZERO


# -------------------------------------------------------------------------------------------------------------- pooling

TAPS = "u1[:,:,:,::1]"
POOL = " ".join(["i8"] * 10)  # lo, hi, KH, KW, strides, paddings, dilations


@loop(f"{IMAGES} {IMAGES} {TAPS} {POOL}")
def max_pool(x, y, tap, lo, hi, kh, kw, sh, sw, ph, pw, dh, dw):
    """Images lo..hi of y and tap <- the largest of each window and its place there; the first of equals, NaN above all"""
    _, h, w, c = x.shape
    _, oh, ow, _ = y.shape
    for i in range(lo, hi):
        for a in range(oh):
            for b in range(ow):
                for k in range(c):
                    y[i, a, b, k] = np.float32(-np.inf)
                    tap[i, a, b, k] = 0
                for u in range(kh):
                    p = a * sh - ph + u * dh
                    for v in range(kw):
                        q = b * sw - pw + v * dw
                        if 0 <= p < h and 0 <= q < w:
                            place = np.uint8(u * kw + v)
                            for k in range(c):
                                spot, best = x[i, p, q, k], y[i, a, b, k]
                                won = (spot > best) | ((spot != spot) & (best == best))
                                y[i, a, b, k] = spot if won else best
                                tap[i, a, b, k] = place if won else tap[i, a, b, k]


@loop(f"{IMAGES} {TAPS} {IMAGES} {POOL}")
def max_pool_back(g, tap, d, lo, hi, kh, kw, sh, sw, ph, pw, dh, dw):
    """Images lo..hi of d <- each gradient at the place that won, 0 elsewhere"""
    _, h, w, c = d.shape
    _, oh, ow, _ = g.shape
    for i in range(lo, hi):
        d[i] = ZERO
        for a in range(oh):
            for b in range(ow):
                for u in range(kh):
                    p = a * sh - ph + u * dh
                    for v in range(kw):
                        q = b * sw - pw + v * dw
                        if 0 <= p < h and 0 <= q < w:
                            place = np.uint8(u * kw + v)
                            for k in range(c):
                                d[i, p, q, k] += g[i, a, b, k] if tap[i, a, b, k] == place else ZERO


# --------------------------------------------------------------------------------------------------------------- losses

LOG2E, LN2_HIGH, LN2_LOW = np.float32(1.44269504), np.float32(0.693359375), np.float32(-2.12194440e-4)
P0, P1, P2 = np.float32(1.9875691500e-4), np.float32(1.3981999507e-3), np.float32(8.3334519073e-3)
P3, P4, P5 = np.float32(4.1665795894e-2), np.float32(1.6666665459e-1), np.float32(5.0000001201e-1)
HALF, ONE, LOW = np.float32(0.5), np.float32(1), np.float32(-87.3)


@inner
def exp(x):
    """e^x for x <= 0 as 2^n e^r, |r| <= ln 2 / 2, in operations that become vector instructions (the C library's does
    not); below -87.3 it is 0. Two units in the last place. Source: Moshier's Cephes, expf."""
    small = x < LOW
    x = LOW if small else x
    n = np.floor(x * LOG2E + HALF)
    r = x - n * LN2_HIGH - n * LN2_LOW
    p = ((((P0 * r + P1) * r + P2) * r + P3) * r + P4) * r + P5
    e = (p * (r * r) + r + ONE) * np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
    return ZERO if small else e


@loop(f"{LINES} i8[::1] i8 {LINES} {LINE}")
def cross_entropy(x, t, ignored, logp, loss):
    """logp <- log softmax of each row of x;  loss <- -logp[t], 0 where t is `ignored`"""
    n, c = x.shape
    for r in range(n):
        top = x[r, 0]
        for k in range(c):
            top = x[r, k] if x[r, k] > top or x[r, k] != x[r, k] else top
        total = ZERO
        for k in range(c):
            d = x[r, k] - top
            logp[r, k] = d
            total += exp(d)
        total = np.log(total)
        for k in range(c):
            logp[r, k] -= total
        loss[r] = ZERO if t[r] == ignored else -logp[r, t[r]]


@loop(f"{LINE} {LINES} i8[::1] i8 {LINES}")
def cross_entropy_back(a, logp, t, ignored, d):
    """d <- (exp(logp) - onehot(t)) a, a one number a row, 0 where t is `ignored`"""
    n, c = logp.shape
    for r in range(n):
        if t[r] == ignored:
            for k in range(c):
                d[r, k] = ZERO
        else:
            for k in range(c):
                d[r, k] = exp(logp[r, k]) * a[r]
            d[r, t[r]] -= a[r]


# ----------------------------------------------------------------------------------------------- tables, random numbers


@loop(f"i8[::1] {LINES} {LINES} i8 i8")
def scatter(index, g, d, first, last):
    """Columns first..last of d: row index[i] += row i of g."""
    for i in range(len(index)):
        for k in range(first, last):
            d[index[i], k] += g[i, k]


M0, M1, W0, W1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57), np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
BITS, SHIFT, EIGHT_BITS, STEP = np.uint64(0xFFFFFFFF), np.uint64(32), np.uint64(8), np.float32(2.0**-24)


@loop(f"{LINE} {LINE} b1[::1] i8 u4[::1] f8 f4")
def dropout(x, y, kept, lo, key, p, scale):
    """kept <- uniform number i >= p;  y <- x scale where kept, else 0; x begins at number lo, a multiple of 4"""
    u = np.empty(4, np.float32)
    for block in range((x.size + 3) // 4):
        at = np.uint64(block + lo // 4)
        c0, c1, c2, c3 = at & BITS, at >> SHIFT, np.uint64(0), np.uint64(key[1])
        k0, k1 = np.uint64(key[0]), np.uint64(key[2])
        for _ in range(10):
            p0, p1 = c0 * M0, c2 * M1
            c0, c1, c2, c3 = (p1 >> SHIFT) ^ c1 ^ k0, p1 & BITS, (p0 >> SHIFT) ^ c3 ^ k1, p0 & BITS
            k0, k1 = (k0 + W0) & BITS, (k1 + W1) & BITS
        u[0], u[1] = np.float32(c0 >> EIGHT_BITS) * STEP, np.float32(c1 >> EIGHT_BITS) * STEP
        u[2], u[3] = np.float32(c2 >> EIGHT_BITS) * STEP, np.float32(c3 >> EIGHT_BITS) * STEP
        for j in range(min(4, x.size - 4 * block)):
            i = 4 * block + j
            kept[i] = u[j] >= p
            y[i] = x[i] * scale if kept[i] else ZERO


# -------------------------------------------------------------------------------------------------------------- updates


@loop(f"{LINE} {LINE} {LINE}? f4 f4 f4 f4 b1")
def sgd(w, g, v, lr, m, fresh, decay, nesterov):
    """One block of `Updates.sgd_`; v may be None"""
    if v.size:
        for i in range(w.size):
            d = g[i] + decay * w[i]
            v[i] = m * v[i] + fresh * d
            w[i] -= lr * (d + m * v[i] if nesterov else v[i])
    else:
        for i in range(w.size):
            w[i] -= lr * (g[i] + decay * w[i])


@loop(f"{LINE} {LINE} {LINE} {LINE} f4 f8 f8 f4 f4 f4 f4")
def adam(w, g, m, v, rate, beta1, beta2, root, eps, decay, shrink):
    """One block of `Updates.adam_`: decay is added to the gradient, or w is multiplied by shrink"""
    b1, b2, f1, f2 = np.float32(beta1), np.float32(beta2), np.float32(1 - beta1), np.float32(1 - beta2)
    over = ONE / root
    for i in range(w.size):
        p = w[i] * shrink
        d = g[i] + decay * p
        m[i] = b1 * m[i] + f1 * d
        v[i] = b2 * v[i] + f2 * d * d
        w[i] = p - rate * (m[i] / (np.sqrt(v[i]) * over + eps))
