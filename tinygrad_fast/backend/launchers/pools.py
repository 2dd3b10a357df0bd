"""Launchers of kernels/max_pool2d.cu, adaptive_max_index.cu, resample2d.cu and unfold.cu.

The kernels see images as pixels, (N, H, W, C) in order C. One that lies channels-last is that already; one that lies
N C H W is N C images of one channel. So both are read as they are, and results lie as the image did.
"""

from __future__ import annotations

from functools import cached_property
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ...dtypes import float64, int64, is_float
from ...tables import Table, nearest, spans
from .. import windows
from ..launch import Strided
from ..wide import wide_type
from .machine import Machine, countable, power

THREADS = 256  # of a block
MANY = 1 << 18  # threads that keep a GPU busy
LARGE = 32  # numbers in a window: from here on, several threads may share it


class Weights(NamedTuple):
    """A table as arrays (`tables.spans`): of each output its span, first number and how many, and their weights."""

    at: Any
    by: Any
    reach: int  # the most numbers of one output
    reads: int  # the numbers of all outputs


class Pools(Machine):
    """Windows that pick, weigh, or move."""

    # Maximum

    def max_pool2d(self, x, kernel, stride, padding, dilation, out):
        last = windows.is_channels_last(x)
        xl = self._pixels(x, last)
        n, h, w, c = xl.shape
        countable(*out, c)
        y, tap = self.empty((n, *out, c), x.dtype), self.empty((n, *out, c), _tap_type(kernel))
        given = dict(x=xl, y=y, tap=tap, H=h, W=w, OH=out[0], OW=out[1])
        self._windows("max_pool2d", y, kernel, stride, padding, dilation, **given)
        return _image(y, x, last), _image(tap, x, last)

    def max_pool2d_back(self, g, tap, kernel, stride, padding, dilation, hw):
        # As x did, also where g comes from a flattened image
        last = windows.is_channels_last(g) or windows.is_channels_last(tap)
        gl, taps = self._pixels(g, last), self._pixels(tap.astype(_tap_type(kernel), copy=False), last)
        n, oh, ow, c = gl.shape
        dx = self.empty((n, *hw, c), g.dtype)
        given = dict(g=gl, tap=taps, dx=dx, H=hw[0], W=hw[1], OH=oh, OW=ow)
        self._windows("max_pool2d_back", dx, kernel, stride, padding, dilation, **given)
        return _image(dx, g, last)

    def max_pool2d_at(self, x, tap, kernel, stride, padding, dilation):
        last = windows.is_channels_last(x)
        xl, taps = self._pixels(x, last), self._pixels(tap.astype(_tap_type(kernel), copy=False), last)
        y = self.empty(taps.shape, x.dtype)
        given = dict(x=xl, tap=taps, y=y, H=xl.shape[1], W=xl.shape[2], OH=y.shape[1], OW=y.shape[2])
        self._windows("max_pool2d_at", y, kernel, stride, padding, dilation, **given)
        return _image(y, x, last)

    def max_pool2d_index(self, tap, kernel, stride, padding, dilation, hw):
        """Elementwise: as defined, with this machine's numbers."""
        places, tap = [], tap.astype(int64)
        for axis, place in enumerate((tap // kernel[1], tap % kernel[1])):
            first = self.np.arange(tap.shape[2 + axis]) * stride[axis] - padding[axis]
            places.append(place * dilation[axis] + (first[:, None] if axis == 0 else first))
        return places[0] * hw[1] + places[1]

    def adaptive_max_index(self, x, size):
        last = windows.is_channels_last(x)
        xl = self._pixels(x, last)
        n, h, w, c = xl.shape
        countable(*size, c)
        index = self.empty((n, *size, c), int64)
        reach = -(-h // size[0]), -(-w // size[1])
        given = dict(x=xl, index=index, H=h, W=w, OH=size[0], OW=size[1])
        self._images("adaptive_max_index", index, reach, x.dtype, **given)
        bins = size[0] * size[1]
        return index.reshape(n, bins, c) if last else index.reshape(*x.shape[:2], bins).swapaxes(1, 2)

    # Weights

    def resample2d(self, x, rows, columns):
        last = windows.is_channels_last(x)
        xl = self._pixels(x, last)
        if not is_float(x.dtype):  # the nearest pixels
            down, across = (self.asarray(spans(t)[0][:, 0]) for t in (rows, columns))
            return _image(xl.take(down, axis=1).take(across, axis=2), x, last)
        (n, h, _, c), kind = xl.shape, wide_type(x.dtype)
        down, across = self._weights(rows, kind), self._weights(columns, kind)
        if _in_turn(n * c, h, down, across):
            xl = self._resampled(xl, self._weights(nearest(h, h), kind), across, kind)
            across = self._weights(nearest(columns.size, columns.size), kind)
        return _image(self._resampled(xl, down, across, x.dtype), x, last)

    def _resampled(self, xl, down, across, out):
        n, h, w, c = xl.shape
        countable(len(down.at), len(across.at), c)
        y = self.empty((n, len(down.at), len(across.at), c), out)
        given = dict(x=xl, y=y, H=h, W=w, OH=y.shape[1], OW=y.shape[2])
        given |= dict(rows=down.at, down=down.by, rows_reach=down.reach)
        given |= dict(columns=across.at, across=across.by, columns_reach=across.reach)
        written = "T" if out == xl.dtype else "A" if out == wide_type(xl.dtype) else out.name
        self._images("resample2d", y, (down.reach, across.reach), xl.dtype, OUT=written, **given)
        return y

    @cached_property
    def _tables(self) -> dict[Any, Weights]:
        return {}

    def _weights(self, table: Table, kind: Any) -> Weights:
        """A table in this machine's memory, where it stays."""
        if (found := self._tables.get((table, kind))) is None:
            at, by = spans(table)
            found = Weights(self.asarray(at), self.asarray(by.astype(kind)), by.shape[1], int(at[:, 1].sum()))
            self._tables[table, kind] = found
        return found

    # Columns

    def unfold(self, x, kernel, stride, padding, dilation):
        if not is_float(x.dtype):  # bits that move as those of a float of as many bytes
            bits = x.astype("int16") if x.dtype.itemsize == 1 else x
            y = self.unfold(bits.view(f"float{8 * bits.itemsize}"), kernel, stride, padding, dilation)
            return y.view(bits.dtype).astype(x.dtype)
        (n, c, h, w), out = x.shape, windows.fits(x.shape[2:], kernel, stride, padding, dilation)
        times, places = kernel[0] * kernel[1], out[0] * out[1]
        countable(*out)
        y = self.empty((n, c * times, places), x.dtype)
        given = dict(x=Strided(x), y=y, H=h, W=w)
        given |= dict(zip(("xn", "xc", "xh", "xw"), Strided(x).strides))
        turned = c >= 8 and windows.is_channels_last(x)
        self._columns("unfold", (n, c), out, places, times, turned, kernel, stride, padding, dilation, **given)
        return y

    def fold(self, y, hw, kernel, stride, padding, dilation):
        if not is_float(y.dtype):
            return self.fold(y.astype(float64), hw, kernel, stride, padding, dilation).astype(y.dtype)
        n, c = len(y), y.shape[1] // (kernel[0] * kernel[1])
        out = windows.fits(hw, kernel, stride, padding, dilation)
        countable(*hw)
        x = self.empty((n, *hw, c), y.dtype)
        given = dict(y=self.contiguous(y), x=x, H=hw[0], W=hw[1])
        self._columns("fold", (n, c), out, hw[0] * hw[1], 1, c >= 8, kernel, stride, padding, dilation, **given)
        return x.transpose(windows.NCHW)

    def _columns(self, name, nc, out, places, times, turned, *geometry, **given):
        """A launch of unfold.cu: a block for each 32 places of each 32 channels, `times` over."""
        (n, c), dtype = nc, given["y"].dtype.name
        blocks = -(-places // 32) * -(-c // 32) * times
        defines = {"DTYPE": dtype, "TURNED": int(turned)}
        given |= dict(N=n, C=c, OH=out[0], OW=out[1], win=_win(*geometry))
        self.launch(name, grid=(blocks, _images_at_once(n, blocks)), block=(32, 8), defines=defines, **given)

    # Images as pixels

    def _pixels(self, x, last):
        """x (N, C, H, W) as pixels that begin at a multiple of 16 bytes; its planes as images of one channel unless
        channels lie last."""
        n, c, h, w = x.shape
        countable(h, w, c if last else 1)
        xl = self.contiguous(x.transpose(windows.NHWC) if last else x.reshape(n * c, h, w, 1))
        return xl if self.address(xl) % 16 == 0 else xl.copy()

    def _windows(self, name, into, *geometry, **given):
        """A launch of max_pool2d.cu."""
        self._images(name, into, (1, 1), into.dtype, TAP=given["tap"].dtype.name, win=_win(*geometry), **given)

    def _images(self, name, into, reach, dtype, **given):
        """A launch of a kernel that owns pixels: a thread for each pack of channels of `into`, or several; `reach` is
        the largest window, down and across, that they may share."""
        n, h, w, c = into.shape
        pack = 16 // dtype.itemsize
        packed = c % pack == 0
        defines = {"DTYPE": dtype.name, "PACKED": int(packed)}
        defines |= {name: given.pop(name) for name in ("OUT", "TAP") if name in given}
        packs = h * w * c // (pack if packed else 1)
        share = _share(n * packs, reach, c)
        threads = min(THREADS // (share[0] * share[1]), power(packs))
        block = threads, *share
        blocks = -(-packs // threads)
        grid = blocks, _images_at_once(n, -(-blocks * prod(block) // THREADS))
        self.launch(name, grid=grid, block=block, defines=defines, N=n, C=c, **given)


def _images_at_once(n: int, blocks: int) -> int:
    """How many of n images are in flight, each `blocks` of THREADS: enough to fill a GPU four times. A thread then goes
    on to further images at its own place, whose coordinates it has computed once."""
    return min(n, 65535, -(-4 * MANY // (THREADS * max(blocks, 1))))


def _in_turn(images: int, height: int, down: Weights, across: Weights) -> bool:
    """True where A (x B^T) should be two launches: windows overlap so much that it reads a quarter of the numbers, or
    they are so few and large that a block for each would leave most of the GPU idle."""
    at_once, in_turn = down.reads * across.reads, height * across.reads + down.reads * len(across.at)
    outputs = len(down.at) * len(across.at)
    few = images * outputs < MANY // THREADS and at_once > 8 * THREADS * outputs
    return at_once > 4 * in_turn or few


def _image(yl: Any, x: Any, last: bool) -> Any:
    """Pixels as an image (N, C, OH, OW) that lies as x did."""
    return yl.transpose(windows.NCHW) if last else yl.reshape(*x.shape[:2], *yl.shape[1:3])


def _tap_type(kernel: windows.Pair) -> np.dtype:
    return np.dtype("uint8" if kernel[0] * kernel[1] <= 256 else "uint32")


def _win(kernel, stride, padding, dilation):
    sides = zip("kspd", (kernel, stride, padding, dilation), strict=True)
    return {name + axis: n for name, pair in sides for axis, n in zip("hw", pair, strict=True)}


def _share(packs: int, reach: windows.Pair, channels: int) -> windows.Pair:
    """How many threads share a window, across and down: powers of two. One where windows are small, or packs many
    enough; in planes a warp at least, whose threads then read neighbouring pixels."""
    if reach[0] * reach[1] < LARGE:
        return 1, 1
    wanted = min(max(MANY // max(packs, 1), 32 if channels == 1 else 1), THREADS)
    across = _power_within(min(reach[1], wanted))
    return across, _power_within(min(reach[0], wanted // across))


def _power_within(n: int) -> int:
    """The largest power of two that is at most n."""
    return 1 << max(n, 1).bit_length() - 1
