"""Windows that keep their largest number. Averages of windows are `resample.py`.

`kernel`, `stride`, `padding`, `dilation` are pairs (height, width), `out` the output's height and width.
`max_pool2d_back` and `max_pool2d_at` are each other's pullbacks. Next on the way: `resample.py`.
"""

from __future__ import annotations


def max_pool2d(xp, x, *, kernel, stride, padding, dilation, out):
    """The largest of each window; aux: `tap`, its place in the window.     dx = g at that place, else 0"""
    windows = {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}
    hw = x.shape[2:]
    y, tap = xp.max_pool2d(x, out=out, **windows)
    return y, (lambda g: xp.max_pool2d_back(g, tap, hw=hw, **windows),), (tap,)


def max_pool2d_back(xp, g, tap, *, kernel, stride, padding, dilation, hw):
    """Zeros (N, C, *hw) with g added where each window's tap points.     dg = h there"""
    windows = {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}
    return xp.max_pool2d_back(g, tap, hw=hw, **windows), (lambda h: xp.max_pool2d_at(h, tap, **windows), None)


def max_pool2d_at(xp, x, tap, *, kernel, stride, padding, dilation):
    """x read where each window's tap points: `max_pool2d_back` in reverse.     dx = g sent back there"""
    windows = {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}
    hw = x.shape[2:]
    return xp.max_pool2d_at(x, tap, **windows), (lambda g: xp.max_pool2d_back(g, tap, hw=hw, **windows), None)


def max_pool2d_index(xp, tap, *, kernel, stride, padding, dilation, hw):
    """Where each tap points in the image, as i W + j."""
    windows = {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}
    return xp.max_pool2d_index(tap, hw=hw, **windows), (None,)


def adaptive_max_pool2d(xp, x, *, size):
    """The largest of each of OH x OW bins; aux: its index i W + j in the image.     dx = g at that index, else 0

    Bin i of n pixels runs from floor(i n / OH) to ceil((i + 1) n / OH): bins may overlap.
    """
    n, c, h, w = x.shape
    index = xp.adaptive_max_index(x, size=size)

    def rows(a):
        return xp.reshape(xp.permute(a, axes=(0, 2, 3, 1)), shape=(n, a.shape[2] * a.shape[3], c))

    def image(a, hw):
        return xp.permute(xp.reshape(a, shape=(n, *hw, c)), axes=(0, 3, 1, 2))

    def dx(g):
        return image(xp.gather_back(rows(g), index, axis=1, shape=(n, h * w, c)), (h, w))

    return image(xp.gather(rows(x), index, axis=1), size), (dx,), (image(index, size),)


def adaptive_max_index(xp, x, *, size):
    """(N, OH OW, C): the index i W + j of the largest in each bin."""
    return xp.adaptive_max_index(x, size=size), (None,)
