"""Launcher of kernels/conv2d_moments.cu: a convolution that finds mean and variance of what it writes."""

from __future__ import annotations

from math import prod

from .. import windows
from ..wide import wide_type
from .convolutions import KKCO, Convolutions
from .norms import Norms


class ConvMoments(Convolutions, Norms):
    """The convolution leaves what its tiles found; batch norm's kernel puts that together."""

    def conv2d_moments(self, x, w, stride, padding, dilation, groups):
        c, n, k = w.shape[1], len(w) // groups, w.shape[2:]
        out = windows.fits(x.shape[2:], k, stride, padding, dilation)
        y = self.empty((len(x), *out, len(w)), x.dtype)
        if self._conv_rung(n, c, prod(k), groups, groups, x, w, y) != "tiles":
            return (self.conv2d(x, w, stride, padding, dilation, groups),)
        x, w = self._lying(x, windows.NHWC), self._lying(w, KKCO)
        tile, given = self._conv_tiles(x, w, out, stride, padding, dilation, groups)
        parts = self.empty((-(-len(x) * prod(out) // tile.BM), n * groups, 4), wide_type(x.dtype))
        self.launch("conv2d_moments_tiles", **given, y=y, parts=parts, whole=self._whole_chunks(n, y))
        mean, var = self.merged_moments(parts, 1, {"DTYPE": x.dtype.name, "LAST": 1})
        return y.transpose(windows.NCHW), mean, var
