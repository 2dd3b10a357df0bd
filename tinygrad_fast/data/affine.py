"""Batch transforms that read between pixels (mirror, turn, zoom, tilt), and light; with fastai's names and numbers.

Each affine or perspective transform is a matrix for each image, over places (x, y, 1) from -1 to 1: what comes out at
a place is read at the matrix times that place. Those that follow one another are multiplied, and the image is
interpolated once (plan.py); so are changes of light. Their order: 30, light 40; before Normalize.
Source: fastai, `vision/augment.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..tensor import Tensor
from .augment import Flip
from .image import PadMode
from .plan import BatchPlan
from .transforms import RandTransform


class Planned(RandTransform):
    """A transform that says by `join` alone what it does to images of floats."""

    on = ("image",)

    def encode(self, x: Tensor, rng: np.random.Generator | None = None) -> Tensor:
        plan = BatchPlan(x)
        if plan.dtype is None:
            raise TypeError(f"{type(self).__name__}: x must be floating; got {x.dtype}. Put IntToFloat() before it")
        if rng is None and self.split_idx == 0:
            return x
        self.join(plan, rng)
        return plan.run(x)


def drawn(rng: np.random.Generator, n: int, p: float, draw: Callable[[int], np.ndarray], neutral: float) -> np.ndarray:
    """`draw(n)` where a coin of probability p says so, for each image; else `neutral`."""
    values, chosen = draw(n), rng.random(n) < p
    return np.where(chosen, values, neutral)


def matrices(rows: list[list[Any]], n: int) -> np.ndarray:
    """(N, 3, 3) of numbers and arrays (N,), the last row 0 0 1."""
    return np.stack([np.stack([np.broadcast_to(a, n) for a in row], -1) for row in [*rows, [0.0, 0.0, 1.0]]], 1)


class Coordinates(Planned):
    """An image read at `matrix(n, rng)` (N, 3, 3) times each place. Outside of it lies what pad_mode says.

    `batch`: one draw for all images of a batch.
    """

    order = 30

    def __init__(self, p: float, mode: str = "bilinear", pad_mode: str = PadMode.Reflection, batch: bool = False):
        self.p, self.mode, self.pad_mode, self.batch = p, mode, PadMode(pad_mode), batch

    def matrix(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """(N, 3, 3), over places of a square."""
        raise NotImplementedError

    def fitted(self, place: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """`matrix` over places of an image of `size`: a rotation does not shear it. (fastai does so once, with the
        product of all: on oblong images a zoom after a rotation lies elsewhere there.)"""
        (h, w), place = size, place.copy()
        place[:, 0, 1] *= h / w
        place[:, 1, 0] *= w / h
        return place

    def join(self, plan: BatchPlan, rng: np.random.Generator | None) -> bool:
        if rng is None:
            return True
        place = self.fitted(self.matrix(1 if self.batch else plan.n, rng), plan.size)
        return plan.warp(place, plan.size, self.pad_mode, self.mode)


class Rotate(Coordinates):
    """Turned by an angle from [-max_deg, max_deg] degrees, with probability p.

    x' = x cos + y sin, y' = y cos - x sin
    """

    def __init__(self, max_deg: float = 10, p: float = 0.5, **options: Any):
        super().__init__(p, **options)
        self.max_deg = max_deg

    def matrix(self, n: int, rng: np.random.Generator) -> np.ndarray:
        return rotation(drawn(rng, n, self.p, lambda n: rng.uniform(-self.max_deg, self.max_deg, n), 0.0))


def rotation(degrees: np.ndarray) -> np.ndarray:
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return matrices([[cos, sin, 0.0], [-sin, cos, 0.0]], len(degrees))


class Zoom(Coordinates):
    """Enlarged by a factor from [min_zoom, max_zoom] around a centre of its own, with probability p."""

    def __init__(self, min_zoom: float = 1.0, max_zoom: float = 1.1, p: float = 0.5, **options: Any):
        super().__init__(p, **options)
        self.min_zoom, self.max_zoom = min_zoom, max_zoom

    def matrix(self, n: int, rng: np.random.Generator) -> np.ndarray:
        by = drawn(rng, n, self.p, lambda n: rng.uniform(self.min_zoom, self.max_zoom, n), 1.0)
        return zoom(by, rng.random(n), rng.random(n))


def zoom(by: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """x, y in [0, 1]: the point that stays where it is."""
    s = 1 / by
    return matrices([[s, 0.0, (1 - s) * (2 * x - 1)], [0.0, s, (1 - s) * (2 * y - 1)]], len(by))


class Warp(Coordinates):
    """Seen from a little above or below, and from a side: the corners move by up to `magnitude`, with probability p."""

    def __init__(self, magnitude: float = 0.2, p: float = 0.5, **options: Any):
        super().__init__(p, **options)
        self.magnitude = magnitude

    def matrix(self, n: int, rng: np.random.Generator) -> np.ndarray:
        def draw(n: int) -> np.ndarray:
            return rng.uniform(-self.magnitude, self.magnitude, n)

        return perspective(drawn(rng, n, self.p, draw, 0.0), drawn(rng, n, self.p, draw, 0.0))

    def fitted(self, place: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """As it is: the corners of an oblong image are its corners."""
        return place


def perspective(dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """The map that takes the corners, moved by dx and dy, to the corners: eight equations for eight numbers."""
    corners = np.array([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
    moved = np.stack([[-1 - dy, -1 - dx], [-1 + dy, 1 + dx], [1 + dy, -1 + dx], [1 - dy, 1 - dx]])  # (4, 2, N)
    n = len(dx)
    a, b = np.zeros((n, 8, 8)), np.zeros((n, 8, 1))
    for i, ((u, v), (x, y)) in enumerate(zip(corners, moved, strict=True)):
        ones, none = np.ones(n), np.zeros(n)
        a[:, 2 * i] = np.stack([x, y, ones, none, none, none, -u * x, -u * y], 1)
        a[:, 2 * i + 1] = np.stack([none, none, none, x, y, ones, -v * x, -v * y], 1)
        b[:, 2 * i], b[:, 2 * i + 1] = u, v
    return np.concatenate([np.linalg.solve(a, b)[:, :, 0], np.ones((n, 1))], 1).reshape(n, 3, 3)


class Dihedral(Coordinates):
    """One of the eight ways to lay down a square: mirrored left to right, top to bottom, along its diagonal."""

    def __init__(self, p: float = 0.5, **options: Any):
        super().__init__(p, **options)

    def matrix(self, n: int, rng: np.random.Generator) -> np.ndarray:
        return dihedral(drawn(rng, n, self.p, lambda n: rng.integers(0, 8, n), 0).astype(int))


def dihedral(k: np.ndarray) -> np.ndarray:
    """Bits of k: 1 mirrors x, 2 mirrors y, 4 exchanges them."""
    x, y, turned = 1.0 - 2 * (k & 1), 1.0 - (k & 2), k & 4 > 0
    return matrices([[np.where(turned, 0, x), turned * x, 0.0], [turned * y, np.where(turned, 0, y), 0.0]], len(k))


class Sized(Coordinates):
    """Every image at `size`, a number or (height, width), while training or not."""

    split_idx = None

    def __init__(self, size: int | tuple[int, int] | None, **options: Any):
        super().__init__(1.0, **options)
        self.size = (size, size) if isinstance(size, int) else size

    def join(self, plan: BatchPlan, rng: np.random.Generator | None) -> bool:
        size = self.size or plan.size
        return size == plan.size or plan.warp(np.eye(3)[None], size, self.pad_mode, self.mode)


class RandomResizedCropGPU(Sized):
    """A part of the images, the same for the whole batch, at `size`; without `size` as large as it is.

    Its area is from [min_scale, 1] of theirs, its width / height from `ratio`, evenly on a logarithmic scale. In
    validation, and where ten draws do not fit, it is the largest part in the middle whose ratio is allowed, in
    validation times valid_scale.
    """

    def __init__(
        self,
        size: int | tuple[int, int] | None,
        min_scale: float = 0.08,
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        valid_scale: float = 1.0,
        **options: Any,
    ):
        super().__init__(size, **options)
        self.min_scale, self.ratio, self.valid_scale = min_scale, ratio, valid_scale

    def join(self, plan: BatchPlan, rng: np.random.Generator | None) -> bool:
        box = self.box(*plan.size, rng)
        return plan.warp(np.eye(3)[None], self.size or box[2:], self.pad_mode, self.mode, box)

    def box(self, h: int, w: int, rng: np.random.Generator | None) -> tuple[int, int, int, int]:
        """top, left, height, width"""
        low, high = self.ratio
        for _ in range(10):
            if rng is None:
                break
            area, ratio = rng.uniform(self.min_scale, 1) * h * w, math.exp(rng.uniform(math.log(low), math.log(high)))
            part_h, part_w = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
            if part_h <= h and part_w <= w:
                top, left = (int(rng.integers(0, k + 1)) for k in (h - part_h, w - part_w))
                return top, left, part_h, part_w
        by = self.valid_scale if rng is None else 1
        part_h, part_w = int(int(min(h, w / low)) * by), int(int(min(w, h * high)) * by)
        return (h - part_h) // 2, (w - part_w) // 2, part_h, part_w


class Lighting(Planned):
    """logit(y) = contrast (logit(x) + brightness) with probability p; max_lighting says how far both go.

    `batch`: one draw for all images of a batch.
    """

    order = 40

    def __init__(self, max_lighting: float = 0.2, p: float = 0.75, batch: bool = False):
        self.max_lighting, self.p, self.batch = max_lighting, p, batch

    def light(self, n: int, rng: np.random.Generator) -> tuple[Any, Any]:
        """brightness (N,), contrast (N,); a number where it is one for all"""
        raise NotImplementedError

    def join(self, plan: BatchPlan, rng: np.random.Generator | None) -> bool:
        return rng is None or plan.lit(*self.light(1 if self.batch else plan.n, rng))


class Brightness(Lighting):
    """The logit of b is added to that of each pixel, b from (1 +- max_lighting) / 2."""

    def light(self, n: int, rng: np.random.Generator) -> tuple[Any, Any]:
        low, high = (1 - self.max_lighting) / 2, (1 + self.max_lighting) / 2
        b = drawn(rng, n, self.p, lambda n: rng.uniform(low, high, n), 0.5)
        return np.log(b / (1 - b)), 1.0


class Contrast(Lighting):
    """The logit of each pixel is multiplied by c, its logarithm from +- log(1 - max_lighting)."""

    def light(self, n: int, rng: np.random.Generator) -> tuple[Any, Any]:
        most = abs(math.log(1 - self.max_lighting))
        return 0.0, np.exp(drawn(rng, n, self.p, lambda n: rng.uniform(-most, most, n), 0.0))


def aug_transforms(
    mult: float = 1.0,
    do_flip: bool = True,
    flip_vert: bool = False,
    max_rotate: float = 10.0,
    min_zoom: float = 1.0,
    max_zoom: float = 1.1,
    max_lighting: float = 0.2,
    max_warp: float = 0.2,
    p_affine: float = 0.75,
    p_lighting: float = 0.75,
    xtra_tfms: Any = None,
    size: int | tuple[int, int] | None = None,
    mode: str = "bilinear",
    pad_mode: str = PadMode.Reflection,
    batch: bool = False,
    min_scale: float = 1.0,
) -> list:
    """The usual augmentation of photographs; what has magnitude 0 is left out.

    `mult` multiplies rotation (degrees), light and tilt, and not zoom. `do_flip`: mirrored half of the time, or
    (`flip_vert`) any of eight ways. `size`: what comes out, of training and validation images; the training images are
    interpolated once for all of it together. `min_scale` below 1: what comes out is a square part of at least
    that share of the area, the same for the whole batch; in validation the largest square in the middle. `batch`: one
    draw of everything for the whole batch.
    """
    read: dict[str, Any] = {"mode": mode, "pad_mode": pad_mode, "batch": batch}
    max_rotate, max_lighting, max_warp = (most * mult for most in (max_rotate, max_lighting, max_warp))
    tfms: list = []
    if max_warp:  # the first: it tilts the picture, and the others move what is then seen
        tfms.append(Warp(max_warp, p_affine, **read))
    if do_flip:
        tfms.append(Dihedral(0.5, **read) if flip_vert else Flip(0.5, batch))
    if max_rotate:
        tfms.append(Rotate(max_rotate, p_affine, **read))
    if min_zoom < 1 or max_zoom > 1:
        tfms.append(Zoom(min_zoom, max_zoom, p_affine, **read))
    if min_scale != 1:
        tfms.append(RandomResizedCropGPU(size, min_scale, (1, 1), **read))
    elif size is not None:
        tfms.append(Sized(size, **read))
    if max_lighting:
        tfms += [kind(max_lighting, p_lighting, batch) for kind in (Brightness, Contrast)]
    return tfms + (list(xtra_tfms) if isinstance(xtra_tfms, (list, tuple)) else [xtra_tfms] if xtra_tfms else [])
