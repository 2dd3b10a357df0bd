"""The inner loops of `plain.py`, compiled by Numba: the same names, arguments and results, one pass where NumPy needs
several.

Each is compiled at its first call for the types it declares, and kept in a file beside this one (or in Numba's cache
folder), from which later processes load it. The innermost loop always runs over numbers that lie side by side, so that
it becomes vector instructions; `nogil` lets several threads run. An argument marked `?` may be None. The transforms of
Winograd's scheme stand in `compiled_winograd.py` and `compiled_columns.py`, direct convolution in
`compiled_direct.py` and `compiled_depthwise.py`.
"""

from __future__ import annotations

import sys

import numpy as np

from ...special import FAR, NEAR
from . import compiled_columns, compiled_depthwise, compiled_direct, plain, waiting as waiting
from .compiled_winograd import (
    at_once as at_once,
    tiles_back as tiles_back,
    tiles_in as tiles_in,
    winograd as winograd,
    winograd_dw as winograd_dw,
)
from .loop import IMAGES, LINE, LINES, ZERO, fill, filled, inner, loop
from .vectors import LANES

# ------------------------------------------------------------------------------------------------------------- windows

direct, depthwise, columns = compiled_direct, compiled_depthwise, compiled_columns
FEW = 11  # tiles that are not worth transforming filters for


def suited(c, o):
    """The loops for Winograd's scheme with C and O channels: these, or NumPy's where they are no whole vectors."""
    return plain if c % LANES or o % LANES else sys.modules[__name__]


WINDOW = " ".join(["i8"] * 8)  # OH or none, OW, KH, KW, strides, paddings


@inner
def run(a, at, b, to, n):
    """b[to : to + n] <- a[at : at + n], flat arrays. (Unsigned places need no test for negative ones.)"""
    at, to = np.uint64(at), np.uint64(to)
    for k in range(np.uint64(n)):
        b[to + k] = a[at + k]


@loop(f"{IMAGES} {LINES} i8 i8 {WINDOW}")
def patches(x, rows, lo, hi, oh, ow, kh, kw, sh, sw, ph, pw):
    """rows (.., KH KW C) <- the patch of each pixel in the output rows lo..hi, which are counted through all images."""
    _, h, w, c = x.shape
    pixels, out, to, width = x.reshape(x.size), rows.reshape(rows.size), 0, kw * c
    for r in range(lo, hi):
        i, top = r // oh, r % oh * sh - ph
        for b in range(ow):
            left = b * sw - pw
            first, last = max(0, -left) * c, min(kw, w - left) * c  # the part of the patch's rows that lies in x
            for u in range(kh):
                if not 0 <= top + u < h or first >= last:
                    fill(out, to, to + width, ZERO)
                else:
                    if last - first < width:
                        fill(out, to, to + width, ZERO)
                    run(pixels, ((i * h + top + u) * w + left) * c + first, out, to + first, last - first)
                to += width


@loop(f"{LINES} {IMAGES} i8 i8 i8 i8 i8 i8 i8")
def unpatches(rows, d, ow, kh, kw, sh, sw, ph, pw):
    """`patches` in reverse, over whole images: d <- the rows added up where their patches lay."""
    n, h, w, c = d.shape
    oh, width = len(rows) // (n * ow), kw * c
    given, pixels = rows.reshape(rows.size), d.reshape(d.size)
    fill(pixels, 0, d.size, ZERO)
    for line in range(len(rows)):
        i, top, left = line // (oh * ow), line // ow % oh * sh - ph, line % ow * sw - pw
        first, last = max(0, -left) * c, min(kw, w - left) * c
        for u in range(kh):
            if 0 <= top + u < h:
                at = np.uint64((line * kh + u) * width + first)
                to = np.uint64(((i * h + top + u) * w + left) * c + first)
                for k in range(np.uint64(max(0, last - first))):
                    pixels[to + k] += given[at + k]


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


# --------------------------------------------------------------------------------------------------------- batch norm


@loop(f"{LINES} {LINE} {LINE}")
def moments(x, mean, m2):
    """mean and sum of squared differences from it, of each column"""
    n, c = x.shape  # one pass: sums of differences from the first row, which is as far from zero as the mean is
    s, q = filled(c, ZERO), filled(c, ZERO)
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


@loop(f"{LINES} {LINES} {LINES}? {LINE} {LINES}? {LINE} {LINE}")
def grad_sums(g, x, y, mean, h, total, dot):
    """h <- g where y > 0;  total <- sum h, dot <- sum h (x - mean) of each column; y and h may be None: h is g"""
    n, c = x.shape
    s, q = filled(c, ZERO), filled(c, ZERO)
    for r in range(n):
        if y.size:
            for k in range(c):
                v = g[r, k] if y[r, k] > ZERO else ZERO
                h[r, k] = v
                s[k] += v
                q[k] += v * (x[r, k] - mean[k])
        else:
            for k in range(c):
                s[k] += g[r, k]
                q[k] += g[r, k] * (x[r, k] - mean[k])
    for k in range(c):
        total[k] = s[k]
        dot[k] = q[k]


@loop(f"{LINES} {LINES} {LINE} {LINE} {LINE} {LINES}?")
def standard_back(h, x, a, b, c, dx):
    """dx <- a h + b x + c; written over h where dx is None"""
    n, width = x.shape
    for r in range(n):
        if dx.size:
            for k in range(width):
                dx[r, k] = a[k] * h[r, k] + b[k] * x[r, k] + c[k]
        else:
            for k in range(width):
                h[r, k] = a[k] * h[r, k] + b[k] * x[r, k] + c[k]


@loop(f"{LINE} {LINE}")
def relu(x, y):
    """y <- max(x, 0)"""
    for i in range(x.size):
        y[i] = ZERO if x[i] < ZERO else x[i]


@loop(f"{LINE} {LINE} {LINE}")
def relu_back(g, y, d):
    """d <- g where y > 0, else 0"""
    for i in range(g.size):
        d[i] = g[i] if y[i] > ZERO else ZERO


# -------------------------------------------------------------------------------------------------------------- pooling

SPANS = "i8[:,::1]"
TAPS = "u1[:,:,:,::1]"
POOL = " ".join(["i8"] * 10)  # lo, hi, KH, KW, strides, paddings, dilations


@loop(f"{IMAGES} {IMAGES} {TAPS} {POOL}")
def max_pool(x, y, tap, lo, hi, kh, kw, sh, sw, ph, pw, dh, dw):
    """Images lo..hi of y, tap <- the largest of each window and its place there; the first of equals, the last NaN"""
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
                                won = (spot > best) | (spot != spot)
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


@loop(f"{IMAGES} {IMAGES} i8 i8 {SPANS} {LINES} {SPANS} {LINES}")
def resample(x, y, lo, hi, rows, down, columns, across):
    """Images lo..hi of y <- A x B^T; A and B as spans (first input, how many) and weights of each output"""
    _, oh, ow, c = y.shape
    for i in range(lo, hi):
        for a in range(oh):
            for b in range(ow):
                if rows[a, 1] * columns[b, 1] == 0:
                    y[i, a, b] = ZERO
                for u in range(rows[a, 1]):
                    for v in range(columns[b, 1]):
                        weight, p, q = down[a, u] * across[b, v], rows[a, 0] + u, columns[b, 0] + v
                        if u + v == 0:
                            for k in range(c):
                                y[i, a, b, k] = weight * x[i, p, q, k]
                        else:
                            for k in range(c):
                                y[i, a, b, k] += weight * x[i, p, q, k]


# --------------------------------------------------------------------------------------------------------------- losses

LOG2E, LN2_HIGH, LN2_LOW = np.float32(1.44269504), np.float32(0.693359375), np.float32(-2.12194440e-4)
P0, P1, P2 = np.float32(1.9875691500e-4), np.float32(1.3981999507e-3), np.float32(8.3334519073e-3)
P3, P4, P5 = np.float32(4.1665795894e-2), np.float32(1.6666665459e-1), np.float32(5.0000001201e-1)
HALF, ONE, FOUR, LOW = np.float32(0.5), np.float32(1), np.float32(4), np.float32(-87.3)


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


N0, N1, N2, N3, N4, N5, N6 = map(np.float32, NEAR)
F0, F1, F2, F3, F4, F5, F6 = map(np.float32, FAR)


@loop(f"{LINE} {LINE}")
def erf(x, y):
    """y <- erf(x), by the polynomials of `special`"""
    for i in range(x.size):
        v = x[i]
        size = min(abs(v), FOUR) if v == v else v  # NaN stays
        s = v * v
        near = v + v * ((((((N0 * s + N1) * s + N2) * s + N3) * s + N4) * s + N5) * s + N6)
        q = (((((F0 * size + F1) * size + F2) * size + F3) * size + F4) * size + F5) * size + F6
        y[i] = near if size <= ONE else np.copysign(ONE - exp(-q), v)


@loop(f"{LINES} i8[::1] i8 {LINES} {LINE}")
def cross_entropy(x, t, ignored, logp, loss):
    """logp <- log softmax of each row of x;  loss <- -logp[t], 0 where t is `ignored`"""
    n, c = x.shape
    tops = np.empty(LANES, np.float32)  # side by side, so that they are a vector; a row with NaN becomes NaN anyhow
    for r in range(n):
        top = x[r, 0]
        fill(tops, 0, LANES, top)
        for k in range(0, c - LANES + 1, LANES):
            for i in range(LANES):
                tops[i] = x[r, k + i] if x[r, k + i] > tops[i] else tops[i]
        for k in range(c - c % LANES, c):
            top = max(top, x[r, k])
        for i in range(LANES):
            top = max(top, tops[i])
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
    """Columns first..last of d: row index[i] += row i of g, for all i"""
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


@loop(f"{LINE} {LINE} {LINE} f4 f4 f4 f4 f4 b1")
def sgd(w, g, v, clip, lr, m, fresh, decay, nesterov):
    """One block of `Updates.sgd_`; clip is what g is multiplied by; without momentum v is empty"""
    if v.size:
        for i in range(w.size):
            d = clip * g[i] + decay * w[i]
            v[i] = m * v[i] + fresh * d
            w[i] -= lr * (d + m * v[i] if nesterov else v[i])
    else:
        for i in range(w.size):
            w[i] -= lr * (clip * g[i] + decay * w[i])


@loop(f"{LINE} {LINE} {LINE} {LINE} f4 f4 f8 f8 f4 f4 f4 f4")
def adam(w, g, m, v, clip, rate, beta1, beta2, root, eps, decay, shrink):
    """One block of `Updates.adam_`: decay is added to the gradient, or w is multiplied by shrink"""
    b1, b2, f1, f2 = np.float32(beta1), np.float32(beta2), np.float32(1 - beta1), np.float32(1 - beta2)
    over = ONE / root
    for i in range(w.size):
        p = w[i] * shrink
        d = clip * g[i] + decay * p
        m[i] = b1 * m[i] + f1 * d
        v[i] = b2 * v[i] + f2 * d * d
        w[i] = p - rate * (m[i] / (np.sqrt(v[i]) * over + eps))
