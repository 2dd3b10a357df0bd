"""The inner loops of `direct.py` where each channel has a filter of its own, compiled.

The product of `product.py` without its sum over channels: a vector holds LANES channels of a pixel, and meets the same
channels of a tap.
"""

from __future__ import annotations

from .compiled_direct import bordered, lines
from .loop import IMAGES, loop
from .product import ROWS, products
from .vectors import LANES

FILTERS = "f4[:,:,::1]"
pixels, pixel = products(ROWS, 1, by_channel=True), products(1, 1, by_channel=True)
three_taps = products(3, 1, by_channel=True)


@loop(f"{IMAGES} {FILTERS} {IMAGES} f4[::1] i8 i8 i8 i8 i8 i8 i8 i8 i8 i8 i8")
def conv(x, w, y, buffer, lo, hi, oh, ow, sh, sw, top, left, y0, y1, ys):
    """Rows lo..hi, counted through all images, of y[:, y0::ys, y1::ys] (N, OH, OW, C) <- x * w, w (KH, KW, C)"""
    (kh, kw, c), (_, h, wide, _) = w.shape, y.shape
    taps, out, width = w.reshape(w.size), y.reshape(y.size), (ow - 1) * sw + kw
    bordered(x, lo, hi, oh, sh, -top, -left, kh, width, buffer)
    count = ROWS if ow >= ROWS else 1
    for r in range(lo, hi):
        row, to_row = lines(r, lo, oh, sh, kh) * width * c, ((r // oh * h + y0 + r % oh * ys) * wide + y1) * c
        for channel in range(0, c, LANES):
            p = 0
            while p < ow:
                p = min(p, ow - count)  # the last ones may be computed twice
                at, to = row + p * sw * c + channel, to_row + p * ys * c + channel
                if count == ROWS:
                    pixels(
                        buffer, at, sw * c, width * c, c, taps, channel, kw * c, c, kh, kw, out, to, ys * c, True
                    )  # fmt: skip
                else:
                    pixel(buffer, at, sw * c, width * c, c, taps, channel, kw * c, c, kh, kw, out, to, ys * c, True)
                p += count


@loop(f"{IMAGES} {IMAGES} {FILTERS} f4[::1] i8 i8 i8 i8 i8 i8")
def filter_gradient(g, x, dw, buffer, lo, hi, sh, sw, top, left):
    """dw (KH, KW, C) += what rows lo..hi of g (N, OH, OW, C), counted through all images, say of it"""
    (kh, kw, c), (_, oh, ow, _) = dw.shape, g.shape
    given, out, width = g.reshape(g.size), dw.reshape(dw.size), (ow - 1) * sw + kw
    bordered(x, lo, hi, oh, sh, -top, -left, kh, width, buffer)
    r = lo
    while r < hi:
        rows = min(oh - r % oh, hi - r)
        for a in range(kh):
            row = (lines(r, lo, oh, sh, kh) + a) * width * c
            for channel in range(0, c, LANES):
                j, g_at = 0, r * ow * c + channel
                while j < kw:
                    at, to = row + j * c + channel, (a * kw + j) * c + channel
                    if kw - j >= 3:
                        three_taps(
                            buffer, at, c, sh * width * c, sw * c, given, g_at, ow * c, c, rows, ow, out, to, c, False
                        )  # fmt: skip
                        j += 3
                    else:
                        pixel(
                            buffer, at, c, sh * width * c, sw * c, given, g_at, ow * c, c, rows, ow, out, to, c, False
                        )  # fmt: skip
                        j += 1
        r += rows
