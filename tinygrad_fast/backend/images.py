"""Definition: a batch of images as files have them -> as a network takes them. Moved, lit, normalised, in one pass.

Everything that differs from image to image is a small array, so that a batch is one call however it was drawn. No
gradient: the images are data. `data/plan.py` draws; `sampling.py` says how an image is read between its pixels.
"""

from __future__ import annotations

from ..dtypes import is_float
from ..shapes import Slot
from ..tables import bins
from .wide import wide_type


class Images:
    """`pixels(x, index)` reads x (N, C, H, W) at index (N, OH, OW) = i W + j."""

    def augment(self, x, place, light, erased, mean, std, size, mode, padding_mode, dtype, rows=None, averaged=None):
        """y[n, c, i, j] = (light(x[n, c] read at place) - mean[c]) / std[c], and 0 where erased

        x (N, C, H, W): bytes, which count as 1/255, or floats in [0, 1]; with rows (N,), integers, x[rows] instead;
            with averaged = (H', W') images of that size instead, whose pixels are the means of `tables.bins`
        place (N, 3, 3): pixel (i, j) of size = (OH, OW) reads column a / d, row b / d of x, where
            [a, b, d] = place [j, i, 1]; mode "bilinear" or "nearest", padding_mode of grid_sample with align_corners
        light (N, 2) or None: logit(y) = contrast (logit(x) + brightness), x kept 1e-7 away from 0 and 1
        erased (N, 4) or None: rows top <= i < bottom, columns left <= j < right
        mean, std (C,) or None. All of these float32 (float64 if dtype is), computed in that and rounded once.
        """
        x = x if rows is None else self.getitem(x, rows, key=(Slot(0),))
        wide, whole = wide_type(dtype), not is_float(x.dtype)
        if averaged is not None:
            down, across = (bins(n, k) for n, k in zip(x.shape[2:], averaged, strict=True))
            x = self.resample2d(self.cast(x, dtype=wide), rows=down, columns=across)
        n, c, *hw = x.shape
        i, j = (self.sub(self.cumsum(self.full((k,), 1.0, wide), axis=0), 1.0) for k in size)  # 0, 1, 2, ...
        i, j = self.reshape(i, shape=(1, size[0], 1)), self.reshape(j, shape=(1, 1, size[1]))
        v = self._weighed(x, *self._places_in(place, i, j, hw, padding_mode, wide), mode)
        v = self.div(v, 255.0) if whole else v
        if light is not None:
            brightness, contrast = (self.reshape(a, shape=(n, 1, 1, 1)) for a in self._numbers(light, wide))
            v = self.clip(v, low=1e-7, high=1 - 1e-7)
            logit = self.log(self.div(v, self.sub(1.0, v)))
            v = self.sigmoid(self.mul(self.add(logit, brightness), contrast))
        if mean is not None:
            mean, std = (self.reshape(self.cast(a, dtype=wide), shape=(1, c, 1, 1)) for a in (mean, std))
            v = self.div(self.sub(v, mean), std)
        if erased is not None:
            top, left, bottom, right = (self.reshape(a, shape=(n, 1, 1)) for a in self._numbers(erased, wide))
            rows, columns = (
                self.logical_and(self.ge(at, low), self.lt(at, high))
                for at, low, high in ((i, top, bottom), (j, left, right))
            )
            inside = self.logical_and(rows, columns)
            v = self.where(self.reshape(inside, shape=(n, 1, *size)), 0.0, v)
        return self.cast(v, dtype=dtype)

    def _places_in(self, place, i, j, hw, padding_mode, dtype):
        """(column, row) of x for each pixel of y, in pixels, brought to the image."""
        m = [a for row in self._entries(place) for a in self._numbers(row, dtype)]
        m = [self.reshape(a, shape=(a.shape[0], 1, 1)) for a in m]
        a, b, d = (self.add(self.add(self.mul(p, j), self.mul(q, i)), r) for p, q, r in (m[:3], m[3:6], m[6:]))
        for at, k in ((self.div(a, d), hw[1]), (self.div(b, d), hw[0])):
            yield self._within(at, k, padding_mode, align_corners=True)[0]

    def _weighed(self, x, columns, rows, mode):
        """x (N, C, H, W) at (columns, rows), each (N, OH, OW): up to four pixels, weighed."""
        (n, _, h, w), (oh, ow), y = x.shape, rows.shape[1:], None
        for row, in_rows, wy, _ in self._sides(rows, h, mode):
            for column, in_columns, wx, _ in self._sides(columns, w, mode):
                weight = self.where(self.logical_and(in_rows, in_columns), self.mul(wx, wy), 0.0)
                part = self.cast(self.pixels(x, self.add(self.mul(row, w), column)), dtype=weight.dtype)
                part = self.mul(part, self.reshape(weight, shape=(n, 1, oh, ow)))
                y = part if y is None else self.add(y, part)
        return y

    def _entries(self, a):
        return [self.getitem(a, key=(slice(None), k)) for k in range(a.shape[1])]

    def _numbers(self, a, dtype):
        return [self.cast(column, dtype=dtype) for column in self._entries(a)]
