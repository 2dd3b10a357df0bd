"""Max pooling, images divided among the threads."""

from __future__ import annotations

import numpy as np

from .layout import empty, nchw, nhwc
from .machine import Machine
from .threads import parallel


class Pools(Machine):
    """max_pool2d and its adjoint; windows of more than 256 places take the plain path."""

    def max_pool2d(self, x, kernel, stride, padding, dilation, out):
        if not self.large(x) or kernel[0] * kernel[1] > 256:
            return super().max_pool2d(x, kernel, stride, padding, dilation, out)
        xl, shape = nhwc(x), (len(x), *out, x.shape[1])
        y, tap, window = empty(shape, x.dtype), empty(shape, np.uint8), (*kernel, *stride, *padding, *dilation)
        parallel(lambda lo, hi: self.loops.max_pool(xl, y, tap, lo, hi, *window), len(xl), self._images(xl))
        return nchw(y), nchw(tap)

    def max_pool2d_back(self, g, tap, kernel, stride, padding, dilation, hw):
        if not self.large(g) or tap.dtype != np.uint8:
            return super().max_pool2d_back(g, tap, kernel, stride, padding, dilation, hw)
        gl, taps, window = nhwc(g), nhwc(tap), (*kernel, *stride, *padding, *dilation)
        d = empty((len(g), *hw, g.shape[1]), g.dtype)
        parallel(lambda lo, hi: self.loops.max_pool_back(gl, taps, d, lo, hi, *window), len(d), self._images(d))
        return nchw(d)

    def _images(self, x: np.ndarray) -> int:
        """How many images are taken at a time."""
        return max(1, min(self.sizes.line // x[0].nbytes, -(-len(x) // 2)))
