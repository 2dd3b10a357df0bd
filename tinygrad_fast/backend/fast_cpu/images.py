"""A batch of images made ready for a network: divided among the threads; flips and crops by looking pixels up."""

from __future__ import annotations

import numpy as np

from ...dtypes import is_float
from .. import windows
from .base import FastBase
from .layout import empty, nchw, nhwc
from .threads import parallel

CROSSED = np.array([[0, 1, 0], [1, 0, 0], [1, 1, 0]], bool)  # 0 in a matrix that leaves rows rows


class Images(FastBase):
    """augment, a few images at a time."""

    def augment(self, x, place, light, erased, mean, std, size, mode, padding_mode, dtype, rows=None, averaged=None):
        x = x if rows is None else x[rows]
        y = empty((len(x), *size, x.shape[1]), dtype)
        straight = (
            mode == "nearest"
            and light is None
            and averaged is None
            and dtype == np.float32
            and bool((place[:, 2, 2] == 1).all())
        )
        straight = straight and not place[:, CROSSED].any()

        def run(lo, hi):
            each = [None if a is None else a[lo:hi] for a in (x, place, light, erased)]
            if straight:
                self._look_up(y[lo:hi], each[0], each[1], each[3], mean, std, padding_mode)
            else:
                part = super(Images, self).augment(*each, mean, std, size, mode, padding_mode, dtype, averaged=averaged)
                y[lo:hi] = part.transpose(windows.NHWC)

        parallel(run, len(x), max(1, self.sizes.passes // max(y[:1].nbytes, 1)))
        return nchw(y)

    def _look_up(self, y, x, place, erased, mean, std, padding_mode):
        """Whole pixels, in the order that the definition computes in: the same to the bit."""
        (n, oh, ow, c), (h, w) = y.shape, x.shape[2:]
        stays = (oh, ow) == (h, w) and (place == np.eye(3)).all()
        pixels = nhwc(x) if stays else self._found(x, place, (oh, ow), padding_mode)
        np.divide(pixels, 1.0 if is_float(x.dtype) else 255.0, out=y, dtype=y.dtype)
        if mean is not None:  # a row of pixels at a time: a loop over three channels would be a loop over three numbers
            lines = y.reshape(n, oh, ow * c)
            lines -= np.tile(mean, ow)
            lines /= np.tile(std, ow)
        for image, box in enumerate(() if erased is None else np.ceil(erased).clip(0).astype(np.int64)):
            y[image, box[0] : box[2], box[1] : box[3]] = 0

    def _found(self, x, place, size, padding_mode):
        (n, c, h, w), (oh, ow) = x.shape, size
        rows = np.rint(place[:, 1, 1:2] * np.arange(oh, dtype=np.float32) + place[:, 1, 2:])
        columns = np.rint(place[:, 0, :1] * np.arange(ow, dtype=np.float32) + place[:, 0, 2:])
        rows, columns = (self._within(a, k, padding_mode, True)[0] for a, k in ((rows, h), (columns, w)))
        above = np.arange(n)[:, None] * h + rows.clip(0, h - 1).astype(np.int64)
        index = above[:, :, None] * w + columns.clip(0, w - 1).astype(np.int64)[:, None]
        pixels = nhwc(x).reshape(-1, c).take(index, 0)
        for axis, (at, k) in enumerate(((rows, h), (columns, w)), 1):
            image, line = np.nonzero((at < 0) | (at >= k))
            pixels[(image, line) if axis == 1 else (image, slice(None), line)] = 0
        return pixels
