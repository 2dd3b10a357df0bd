"""Definitions: reading an image at places that are themselves computed (spatial transformers).

A place (gx, gy) runs from -1 to 1 over the image, becomes a pixel's coordinates, then up to four pixels and their
weights. Everything is differentiable: a weight in the place, the pixels in the image.
Source of the conventions: PyTorch's grid_sample; Jaderberg et al., "Spatial Transformer Networks", 2015.
"""

from __future__ import annotations

from ..dtypes import int64
from .wide import wide


class Sampling:
    """`pixels(x, index)` reads x (N, C, H, W) at index (N, OH, OW) = i W + j; `pixels_back` is its adjoint."""

    @wide
    def grid_sample(self, x, grid, mode, padding_mode, align_corners):
        """y[n, c, i, j] = sum of weight times pixel over the corners around grid[n, i, j]; 0 outside the image"""
        n, (oh, ow), y = x.shape[0], grid.shape[1:3], None
        for index, weight, _ in self._corners(grid, x.shape[2:], mode, padding_mode, align_corners):
            part = self.mul(self.pixels(x, index), self.reshape(weight, shape=(n, 1, oh, ow)))
            y = part if y is None else self.add(y, part)
        return y

    @wide
    def grid_sample_dx(self, g, grid, mode, padding_mode, align_corners, hw):
        """Each gradient to the corners that were read, by their weights."""
        n, (oh, ow), d = g.shape[0], grid.shape[1:3], None
        for index, weight, _ in self._corners(grid, hw, mode, padding_mode, align_corners):
            part = self.pixels_back(self.mul(g, self.reshape(weight, shape=(n, 1, oh, ow))), index, hw=hw)
            d = part if d is None else self.add(d, part)
        return d

    @wide
    def grid_sample_dgrid(self, g, x, grid, mode, padding_mode, align_corners):
        """sum over channels of g times how y changes with the place; 0 for the nearest pixel, whose choice is a step"""
        if mode == "nearest":
            return self.full(grid.shape, 0.0, grid.dtype)
        total = None
        for index, _, slopes in self._corners(grid, x.shape[2:], mode, padding_mode, align_corners):
            along = self.sum(self.mul(g, self.pixels(x, index)), axis=(1,))
            part = self.mul(slopes, self.reshape(along, shape=(*along.shape, 1)))
            total = part if total is None else self.add(total, part)
        return total

    def _corners(self, grid, hw, mode, padding_mode, align_corners):
        """For each corner: the index of its pixel, its weight (0 outside), and the weight's slopes in (gx, gy)."""
        (x, dx), (y, dy) = (
            self._place(self.getitem(grid, key=(slice(None),) * 3 + (i,)), n, padding_mode, align_corners)
            for i, n in enumerate(reversed(hw))
        )
        for row, in_rows, wy, sy in self._sides(y, hw[0], mode):
            for column, in_columns, wx, sx in self._sides(x, hw[1], mode):
                inside = self.logical_and(in_rows, in_columns)
                index = self.add(self.mul(row, hw[1]), column)
                slopes = self.mul(sx, self.mul(wy, dx)), self.mul(sy, self.mul(wx, dy))
                each = (self.reshape(self.where(inside, s, 0.0), shape=(*s.shape, 1)) for s in slopes)
                yield index, self.where(inside, self.mul(wx, wy), 0.0), self.cat(*each, axis=3)

    def _place(self, g, n, padding_mode, align_corners):
        """-1..1 to pixels: the centres of the outer pixels (align_corners) or their edges -> coordinate, slope"""
        slope = (n - 1) / 2 if align_corners else n / 2
        place, one = self._within(self.add(self.mul(g, slope), (n - 1) / 2), n, padding_mode, align_corners)
        return place, self.mul(one, slope)

    def _within(self, place, n, padding_mode, align_corners):
        """A coordinate in pixels, brought to the image as padding_mode says -> coordinate, slope: 1, -1 or 0"""
        one = self.full(place.shape, 1.0, place.dtype)
        if padding_mode == "zeros":
            return place, one
        if padding_mode == "reflection":
            low, span = (0.0, n - 1.0) if align_corners else (-0.5, float(n))
            far = self.sub(place, low)
            far, turned = self.abs(far), self.lt(far, 0)
            if not span:
                return self.mul(far, 0.0), self.mul(one, 0.0)
            flips = self.floor(self.div(far, span))
            rest = self.sub(far, self.mul(flips, span))
            odd = self.ne(self.remainder(flips, 2.0), 0.0)
            place = self.add(self.where(odd, self.sub(span, rest), rest), low)
            one = self.where(self.ne(odd, turned), self.neg(one), one)
        inside = self.logical_and(self.gt(place, 0.0), self.lt(place, n - 1.0))
        return self.clip(place, low=0.0, high=n - 1.0), self.where(inside, one, 0.0)

    def _sides(self, place, n, mode):
        """The pixels beside a coordinate: number (0 if outside), whether inside, weight, slope of the weight."""
        one = self.full(place.shape, 1.0, place.dtype)
        if mode == "nearest":
            sides = ((self.round(place), one, self.mul(one, 0.0)),)
        else:
            left = self.floor(place)
            rest = self.sub(place, left)
            sides = ((left, self.sub(1.0, rest), self.neg(one)), (self.add(left, 1.0), rest, one))
        for at, weight, slope in sides:
            inside = self.logical_and(self.ge(at, 0.0), self.le(at, n - 1.0))
            yield self.cast(self.where(inside, at, 0.0), dtype=int64), inside, weight, slope
