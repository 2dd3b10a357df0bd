"""Launchers of kernels/dropout.cu."""

from __future__ import annotations

from math import prod
from typing import Any

from ...dtypes import bool_, float32
from .. import windows
from .machine import Machine, lanes

Axes = tuple[int, ...]


class Random(Machine):
    """Random numbers, and dropout. The key is an array of this machine: no step waits for it."""

    def uniform(self, key, shape):
        y = self.empty(shape, float32)
        self._by_quarters("uniform", (1, 1, y.size), "float32", key=key, y=y)
        return y

    def uniform_like(self, x, key):
        axes, back, planes = _lies(x)
        y = self.empty([x.shape[i] for i in axes], float32)
        self._by_quarters("uniform", planes, "float32", key=key, y=y)
        return y.transpose(back)

    def dropout(self, x, key, p):
        axes, back, planes = _lies(x)
        y, kept = (self.empty([x.shape[i] for i in axes], dtype) for dtype in (x.dtype, bool_))
        given = dict(x=self.contiguous(x.transpose(axes)), key=key, y=y, kept=kept, p=p, scale=_scale(p))
        self._by_quarters("dropout", planes, x.dtype.name, **given)
        return y.transpose(back), kept.transpose(back)

    def dropout_back(self, g, kept, p):
        axes, back, _ = _lies(kept)
        dx = self.empty([g.shape[i] for i in axes], g.dtype)
        g, kept = (self.contiguous(a.transpose(axes)) for a in (g, kept))
        grid, defines = (-(-g.size // 1024),), {"DTYPE": g.dtype.name}
        given = dict(g=g, kept=kept, dx=dx, scale=_scale(p), n=g.size)
        self.launch("dropout_back", grid=grid, block=(256,), defines=defines, **given)
        return dx.transpose(back)

    def _by_quarters(self, kernel, planes, dtype, **given):
        """A thread for four numbers of a plane (N, C, P); where there are channels, neighbours are channels."""
        n, c, p = planes
        x = lanes(c)
        quarters = -(-p // 4) if n * c == 1 else (p + 6) // 4  # a plane may begin and end inside one
        grid = (-(-quarters // (256 // x)), min(n, 65535))
        self.launch(kernel, grid=grid, block=(x, 256 // x), defines={"DTYPE": dtype}, N=n, C=c, P=p, **given)


def _scale(p: float) -> float:
    return 1 / (1 - p) if p < 1 else 0.0


def _lies(x: Any) -> tuple[Axes, Axes, tuple[int, int, int]]:
    """The axes in the order to work in, the way back, and (N, C, P): images that lie channels-last, else one plane."""
    if windows.is_channels_last(x):
        return windows.NHWC, windows.NCHW, (*x.shape[:2], prod(x.shape[2:]))
    axes = tuple(range(x.ndim))
    return axes, axes, (1, 1, x.size)
