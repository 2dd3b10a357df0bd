"""The linear layer: bias and relu are put into the product where it lies."""

from __future__ import annotations

import numpy as np

from ..cpu import quiet
from .layout import empty
from .machine import Machine


class Linears(Machine):
    """Rows in float32 or float64; 16-bit ones take the definition."""

    @quiet
    def linear(self, x, w, b, relu):
        if w.dtype.itemsize == 2:
            return super().linear(x, w, b, relu)
        y = np.matmul(x, w.T)
        if b is not None:
            np.add(y, b, out=y)
        return np.maximum(y, 0, out=y) if relu else y

    @quiet
    def linear_dw(self, g, x):
        if g.dtype.itemsize == 2 or g.ndim != 2:
            return super().linear_dw(g, x)
        return np.matmul(g.T, x, out=empty((g.shape[1], x.shape[1]), g.dtype))
