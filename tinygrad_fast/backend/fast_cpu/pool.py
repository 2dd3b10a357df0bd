"""Pools and resampling, images divided among the threads; of a max pool, a single image by its rows."""

from __future__ import annotations

import numpy as np

from ...tables import spans
from .base import FastBase
from .layout import empty, nchw, nhwc
from .threads import parallel


class Pools(FastBase):
    """max_pool2d and its adjoint, where windows have at most 256 places; resample2d."""

    def max_pool2d(self, x, kernel, stride, padding, dilation, out):
        if not self.large(x) or kernel[0] * kernel[1] > 256:
            return super().max_pool2d(x, kernel, stride, padding, dilation, out)
        xl, shape = nhwc(x), (len(x), *out, x.shape[1])
        y, tap, window = empty(shape, x.dtype), empty(shape, np.uint8), (*kernel, *stride, *padding, *dilation)

        def strip(lo: int, hi: int) -> None:
            """Rows lo..hi of a single image's result, from the rows that they look at"""
            top, reach = lo * stride[0] - padding[0], (kernel[0] - 1) * dilation[0] + 1
            rows = xl[:, max(top, 0) : top + (hi - 1 - lo) * stride[0] + reach]
            above = (max(-top, 0), padding[1])
            self.loops.max_pool(rows, y[:, lo:hi], tap[:, lo:hi], 0, 1, *kernel, *stride, *above, *dilation)

        if len(xl) == 1:
            parallel(strip, out[0], -(-out[0] // 2))
        else:
            parallel(lambda lo, hi: self.loops.max_pool(xl, y, tap, lo, hi, *window), len(xl), self._images(xl))
        return nchw(y), nchw(tap)

    def max_pool2d_back(self, g, tap, kernel, stride, padding, dilation, hw):
        if not self.large(g) or tap.dtype != np.uint8:
            return super().max_pool2d_back(g, tap, kernel, stride, padding, dilation, hw)
        gl, taps, window = nhwc(g), nhwc(tap), (*kernel, *stride, *padding, *dilation)
        d = empty((len(g), *hw, g.shape[1]), g.dtype)
        parallel(lambda lo, hi: self.loops.max_pool_back(gl, taps, d, lo, hi, *window), len(d), self._images(d))
        return nchw(d)

    def resample2d(self, x, rows, columns):
        """Small windows in one loop; large ones are matrix products, as defined."""
        outputs = rows.size * columns.size
        if not self.large(x, x.shape[0] * x.shape[1] * outputs) or not self.loops.resample:
            return super().resample2d(x, rows, columns)
        tables = [a.astype(t) for table in (rows, columns) for a, t in zip(spans(table), (np.int64, np.float32))]
        if tables[0][:, 1].sum() * tables[2][:, 1].sum() > 64 * outputs:
            return super().resample2d(x, rows, columns)
        xl, y = nhwc(x), empty((len(x), rows.size, columns.size, x.shape[1]), x.dtype)
        larger = max(xl, y, key=np.size)
        parallel(lambda lo, hi: self.loops.resample(xl, y, lo, hi, *tables), len(x), self._images(larger))
        return nchw(y)

    def _images(self, x: np.ndarray) -> int:
        """How many images are taken at a time."""
        return max(1, min(self.sizes.images // x[0].nbytes, -(-len(x) // 2)))
