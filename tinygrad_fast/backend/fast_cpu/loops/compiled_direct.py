"""The inner loops of `direct.py`, compiled: who calls the small matrix product of `product.py`, and with what."""

from __future__ import annotations

import numpy as np

from .loop import IMAGES, ZERO, fill, inner, loop
from .product import add, as_many
from .vectors import LANES as LANES


@inner
def lines(r, lo, oh, sh, kh):
    """How many lines of the buffer lie before what row r of y needs, in a block that begins at row lo"""
    first = lo // oh * oh
    whole = (oh - 1) * sh + kh  # lines of an image
    skipped = (lo - first) * sh  # of the first image
    return (r - first) // oh * whole + (r - first) % oh * sh - skipped


@inner
def bordered(x, lo, hi, oh, sh, top, left, kh, width, b):
    """b <- the lines of x that rows lo..hi of y need, image after image, `width` pixels each, 0 outside"""
    (_, h, w, c), pixels, r = x.shape, x.reshape(x.size), lo
    first, last = max(0, -left), min(width, w + -left)
    while r < hi:
        i, a = r // oh, r % oh
        rows = min(oh - a, hi - r)
        for line in range((rows - 1) * sh + kh):
            to, row = (lines(r, lo, oh, sh, kh) + line) * width * c, a * sh + top + line
            if not 0 <= row < h or first >= last:
                fill(b, to, to + width * c, ZERO)
                continue
            fill(b, to, to + first * c, ZERO)
            fill(b, to + last * c, to + width * c, ZERO)
            at = ((i * h + row) * w + left) * c
            for k in range(first * c, last * c):
                b[np.uint64(to + k)] = pixels[np.uint64(at + k)]
        r += rows


@loop(f"{IMAGES} {IMAGES} {IMAGES} f4[::1] i8 i8 i8 i8 i8 i8 i8 i8 i8 i8 i8")
def conv(x, w, y, buffer, lo, hi, oh, ow, sh, sw, top, left, y0, y1, ys):
    """Rows lo..hi, counted through all images, of y[:, y0::ys, y1::ys] (N, OH, OW, O) <- x * w, w (KH, KW, C, O)"""
    (kh, kw, c, o), (_, h, wide, _) = w.shape, y.shape
    taps, out, width = w.reshape(w.size), y.reshape(y.size), (ow - 1) * sw + kw
    bordered(x, lo, hi, oh, sh, -top, -left, kh, width, buffer)
    count, channel = as_many(ow), 0
    while channel < o:  # outside: so much of w stays near while all rows use it
        vectors = 2 if o - channel >= 2 * LANES else 1
        for r in range(lo, hi):
            at = lines(r, lo, oh, sh, kh) * width * c
            to = ((r // oh * h + y0 + r % oh * ys) * wide + y1) * o + channel
            p = 0
            while p < ow:
                p = min(p, ow - count)  # the last ones may be computed twice
                add(
                    count, vectors, buffer, at + p * sw * c, sw * c, width * c, 1,
                    taps, channel, kw * c * o, o, kh, kw * c, out, to + p * ys * o, ys * o, True,
                )  # fmt: skip
                p += count
        channel += vectors * LANES


@loop(f"{IMAGES} {IMAGES} {IMAGES} f4[::1] i8 i8 i8 i8 i8 i8")
def filter_gradient(g, x, dw, buffer, lo, hi, sh, sw, top, left):
    """dw (KH, KW, C, O) += what rows lo..hi of g (N, OH, OW, O), counted through all images, say of it"""
    (kh, kw, c, o), (_, oh, ow, _) = dw.shape, g.shape
    given, out, width = g.reshape(g.size), dw.reshape(dw.size), (ow - 1) * sw + kw
    bordered(x, lo, hi, oh, sh, -top, -left, kh, width, buffer)
    channel = 0
    while channel < o:
        vectors = 2 if o - channel >= 2 * LANES else 1
        for a in range(kh):
            j = 0
            while j < kw * c:
                count, r = as_many(kw * c - j), lo
                while r < hi:
                    rows = min(oh - r % oh, hi - r)
                    add(
                        count, vectors, buffer, (lines(r, lo, oh, sh, kh) + a) * width * c + j, 1, sh * width * c,
                        sw * c, given, r * ow * o + channel, ow * o, o, rows, ow,
                        out, (a * kw * c + j) * o + channel, o, False,
                    )  # fmt: skip
                    r += rows
                j += count
        channel += vectors * LANES
