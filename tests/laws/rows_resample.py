"""Rows: images at another resolution, or read at computed places."""

import numpy as np

import tinygrad_fast as tf
from tinygrad_fast import ops
from tinygrad_fast.nn import functional as F
from tinygrad_fast.testing import Args, Table, strategies as some

rows = Table()
LINEAR = {"linear": True}


def image(draw, fill, least=1, channels=2):
    sides = (draw(some.integers(least, 4)), draw(some.integers(least, 4)))
    return fill.normal((draw(some.integers(1, 2)), draw(some.integers(1, channels)), *sides))


def size(draw):
    """The size wanted, or a factor."""
    if draw(some.booleans()):
        return {"size": (draw(some.integers(1, 6)), draw(some.integers(1, 6)))}
    return {"scale_factor": draw(some.sampled_from([2, 1.7, (1.0, 3.0), (1.4, 2)]))}


@rows.row("interpolate", F.interpolate, **LINEAR)
def nearest(draw, fill):
    return Args(image(draw, fill), **size(draw))


@rows.row("interpolate / bilinear", F.interpolate, **LINEAR)
def bilinear(draw, fill):
    return Args(image(draw, fill), mode="bilinear", align_corners=draw(some.booleans()), **size(draw))


def places(draw, fill, x, align_corners):
    """A grid whose places lie 0.2 pixels or more from every pixel's centre and edge, some of them outside the image."""
    shape = (x.shape[0], draw(some.integers(1, 3)), draw(some.integers(1, 2)))
    each = []
    for n in (x.shape[3], x.shape[2]):
        pixel = fill.integers(shape, -2, n + 1) + fill.between(shape, 0.2, 0.3) + 0.5 * fill.mask(shape)
        each.append(2 * pixel / (n - 1) - 1 if align_corners else (2 * pixel + 1) / n - 1)
    return np.stack(each, axis=-1)


def sampled(mode):
    def draw_one(draw, fill):
        align = draw(some.booleans())
        x = image(draw, fill, least=2 if align else 1)
        padding = draw(some.sampled_from(["zeros", "border", "reflection"]))
        return Args(x, places(draw, fill, x, align), mode=mode, padding_mode=padding, align_corners=align)

    return draw_one


rows.row("grid_sample", F.grid_sample, linear=(0,), images=(0,))(sampled("bilinear"))
rows.row("grid_sample / nearest", F.grid_sample, linear=(0,), images=(0,))(sampled("nearest"))


@rows.row("affine_grid", F.affine_grid, **LINEAR)
def affine_grid(draw, fill):
    n, h, w = draw(some.integers(1, 2)), draw(some.integers(1, 4)), draw(some.integers(1, 4))
    return Args(fill.normal((n, 2, 3)), size=(n, 3, h, w), align_corners=draw(some.booleans()))


@rows.row("pixel_shuffle", F.pixel_shuffle, **LINEAR)
def pixel_shuffle(draw, fill):
    r, (n, c, h, w) = draw(some.integers(1, 2)), image(draw, fill).shape
    return Args(fill.normal((n, c * r * r, h, w)), upscale_factor=r)


@rows.row("pixel_unshuffle", F.pixel_unshuffle, **LINEAR)
def pixel_unshuffle(draw, fill):
    r, (n, c, h, w) = draw(some.integers(1, 2)), image(draw, fill).shape
    return Args(fill.normal((n, c, h * r, w * r)), downscale_factor=r)


# Ops that pullbacks use, and no public function by itself


@rows.row("ops.pixels", lambda x, index: tf.apply(ops.pixels, x, index), **LINEAR)
def pixels(draw, fill):
    x = image(draw, fill)
    return Args(x, fill.integers((x.shape[0], 2, 3), 0, x.shape[2] * x.shape[3]))


@rows.row("ops.pixels_back", lambda g, index, hw: tf.apply(ops.pixels_back, g, index, hw=hw), **LINEAR)
def pixels_back(draw, fill):
    g, hw = image(draw, fill), (draw(some.integers(1, 3)), 2)
    return Args(g, fill.integers((g.shape[0], *g.shape[2:]), 0, 2 * hw[0]), hw=hw)
