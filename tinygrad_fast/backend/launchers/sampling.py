"""Launchers of kernels/grid_sample.cu and augment.cu.

The gradient of an image that was sampled is a sum over equal pixels: `Indexing`'s.
"""

from __future__ import annotations

from math import prod
from typing import Any

from ...dtypes import int64
from .. import windows
from ..launch import Strided
from ..wide import wide_type
from .indexing import Indexing
from .machine import countable, lanes


class Sampling(Indexing):
    """Reading an image at computed places; the results lie as the image does."""

    def grid_sample(self, x, grid, mode, padding_mode, align_corners):
        (n, c), (oh, ow), last = x.shape[:2], grid.shape[1:3], windows.is_channels_last(x)
        y = self.empty((n, oh, ow, c) if last else (n, c, oh, ow), x.dtype)
        y = y.transpose(windows.NCHW) if last else y
        self._by_places("grid_sample", last, grid, _rule(mode, padding_mode, align_corners), x=x, y=y)
        return y

    def grid_sample_dgrid(self, g, x, grid, mode, padding_mode, align_corners):
        if mode == "nearest":
            return super().grid_sample_dgrid(g, x, grid, mode, padding_mode, align_corners)
        last, dgrid = windows.is_channels_last(x), self.empty(grid.shape, grid.dtype)
        g = self._lines(g).transpose(windows.NCHW) if last else self.contiguous(g)
        rule = _rule(mode, padding_mode, align_corners)
        self._by_places("grid_sample_dgrid", last, grid, rule, x=x, g=g, dgrid=dgrid)
        return dgrid

    def grid_sample_dx(self, g, grid, mode, padding_mode, align_corners, hw):
        (n, c), places, corners = g.shape[:2], prod(grid.shape[:3]), 1 if mode == "nearest" else 4
        pixel, weight = (self.empty(corners * places, kind) for kind in (int64, wide_type(g.dtype)))
        given = dict(at=self.contiguous(grid), pixel=pixel, weight=weight, places=places)
        given |= dict(P=prod(grid.shape[1:3]), H=hw[0], W=hw[1], rule=_rule(mode, padding_mode, align_corners))
        defines = {"DTYPE": g.dtype.name}
        self.launch("grid_sample_corners", grid=(-(-places // 256),), block=(256,), defines=defines, **given)
        lines = self._lines(g).reshape(places, c)
        d = self._scatter(lines, pixel, n * prod(hw), weight, shift=corners // 2)
        return d.reshape(n, *hw, c).transpose(windows.NCHW)

    def augment(self, x, place, light, erased, mean, std, size, mode, padding_mode, dtype, rows=None, averaged=None):
        n, (c, *whole), (oh, ow), places = len(place), x.shape[1:], size, Strided(x)
        h, w = averaged or whole
        countable(oh, ow)
        y = self.empty((n, oh, ow, c), dtype)
        given: dict[str, Any] = dict(x=places, xs=dict(zip("nchw", places.strides)), y=y)
        small = dict(place=place, light=light, erased=erased, mean=mean, std=std)
        given |= {name: self.contiguous(a, wide_type(y.dtype)) for name, a in small.items()}
        given["rows"] = self.contiguous(rows, int64)
        given |= dict(N=n, C=c, H=h, W=w, rows_of_x=whole[0], columns_of_x=whole[1], OH=oh, OW=ow)
        given["rule"] = _rule(mode, padding_mode, align_corners=True)
        defines = {"DTYPE": y.dtype.name, "PIXEL": x.dtype.name, "AVERAGED": int(averaged is not None)}
        self.launch("augment", grid=(-(-oh * ow // 256), min(n, 65535)), block=(256,), defines=defines, **given)
        return y.transpose(windows.NCHW)

    def _lines(self, g):
        """g (N, C, H, W) as (N, H, W, C) in order C"""
        return self.contiguous(g.transpose(windows.NHWC))

    def _by_places(self, kernel, last, grid, rule, x, **arrays):
        """A thread a place; with the channels last, up to 32 threads along them."""
        n, c, h, w = x.shape
        p = prod(grid.shape[1:3])
        along = lanes(c) if last else 1
        given: dict[str, Any] = dict(at=self.contiguous(grid), N=n, C=c, H=h, W=w, P=p, rule=rule)
        for name, a in {"x": x, **arrays}.items():
            given[name] = a
            if name != "dgrid":
                given[name] = Strided(a)
                given[name + "s"] = dict(zip("nchw", given[name].strides))
                if name != "x":  # places are counted through: an axis of 1 may have any stride
                    given[name + "s"]["w"] = c if last else 1
        size = dict(grid=(-(-p // (256 // along)), min(n, 65535)), block=(along, 256 // along))
        self.launch(kernel, defines={"DTYPE": x.dtype.name}, **size, **given)


def _rule(mode: str, padding_mode: str, align_corners: bool) -> dict[str, bool]:
    """`struct Rule`: what lies outside is nothing ("zeros"), the border, or the image mirrored at its border."""
    reflects, clips = padding_mode == "reflection", padding_mode != "zeros"
    return dict(nearest=mode == "nearest", reflects=reflects, clips=clips, align=align_corners)
