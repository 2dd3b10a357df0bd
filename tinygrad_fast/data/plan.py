"""Batch transforms, several at once: each writes into a plan what it wants done to the images; the plan is one pass.

A batch that goes through IntToFloat, Flip, RandomCropPad and Normalize one after another is read and written four
times, in float32. Together they are one matrix for each image and a few numbers: one read of the bytes, one write of
what the network takes. Several interpolations become one as well, which keeps pictures sharp.

A transform takes part by `join(plan, rng)`, next to its `encode`, and draws the same there. backend/images.py defines
the pass. Next on the way: augment.py and affine.py, the transforms.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..backend.wide import wide_type
from ..tensor import Tensor
from ..tensor.core import wrap
from .collate import Rows
from .transforms import Pipeline

MOVE, LIGHT, NORMALIZE, ERASE = range(4)  # what the pass does, in this order


class BatchPlan:
    """What is to be done to a batch of images x (N, C, H, W), bytes or floats; or x[rows], with `rows` (N,).

    The methods return False, and change nothing, where the pass cannot do it after what is planned already. What they
    take for each image, N of them, may also be one for all.
    """

    def __init__(self, x: Tensor, rows: np.ndarray | None = None):
        self.rows = rows
        self.n, self.channels, *size = x.shape if rows is None else (len(rows), *x.shape[1:])
        self.size: tuple[int, int] = (size[0], size[1])  # of the images that come out, so far
        self.shown: tuple[float, float] = self.size  # height and width of the part of x that they show
        self.dtype = x.dtype if x.is_floating_point() else None  # None: not yet numbers
        self.bytes = x.dtype == np.uint8
        self.place = np.tile(np.eye(3), (self.n, 1, 1))  # column, row, 1 of a pixel that comes out -> of one of x
        self.reading: tuple[str, str, str] | None = None  # by whom, mode, padding_mode; None: whole pixels, all inside
        self.light: np.ndarray | None = None  # (N, 2) brightness, contrast
        self.mean: np.ndarray | None = None
        self.std: np.ndarray | None = None
        self.erased: np.ndarray | None = None  # (N, 4) top, left, bottom, right
        self._stage = MOVE

    def to_float(self, dtype: np.dtype) -> bool:
        """Bytes become numbers in [0, 1]."""
        if self.dtype is not None or not self.bytes:
            return False
        self.dtype = dtype
        return True

    def move(self, place: np.ndarray, size: tuple[int, int]) -> bool:
        """Pixel (column, row, 1) of images of `size` is the pixel of now at `place` (N, 3, 3) times that, inside."""
        if not self._may(MOVE):
            return False
        self.place, self.size = self.place @ place, size
        return True

    def crop(self, place: np.ndarray, size: tuple[int, int], padding_mode: str) -> bool:
        """The same, of pixels that may lie outside; after it nothing may: beyond a crop there is no image."""
        if self.reading is not None or not self.move(place, size):
            return False
        self.reading = ("crop", "nearest", padding_mode)
        return True

    def warp(
        self, place: np.ndarray, size: tuple[int, int], padding_mode: str, mode: str, box: tuple | None = None
    ) -> bool:
        """Read at places from -1 to 1, from centre to centre of the outer pixels: grid_sample's align_corners.

        Warps that follow one another are one, as in fastai: only what lies outside of the first image is outside.
        `box`: of the part (top, left, height, width) of each image.
        """
        (top, left, h, w), reading = box or (0, 0, *self.size), ("warp", mode, padding_mode)
        corner = np.array([[1.0, 0.0, left], [0.0, 1.0, top], [0.0, 0.0, 1.0]])
        place = corner @ to_pixels((h, w)) @ place @ np.linalg.inv(to_pixels(size))
        (whole_h, whole_w), (shown_h, shown_w) = self.size, self.shown
        if self.reading not in (None, reading) or not self.move(place, size):
            return False
        self.reading, self.shown = reading, (shown_h * h / whole_h, shown_w * w / whole_w)
        return True

    def lit(self, brightness: np.ndarray, contrast: np.ndarray) -> bool:
        """logit(y) = contrast (logit(x) + brightness), a number for each image."""
        if not self._may(LIGHT):
            return False
        before, scale = np.array([[0.0, 1.0]] * self.n).T if self.light is None else self.light.T
        self.light = np.stack([before + brightness / scale, scale * contrast], axis=1)
        return True

    def normalize(self, mean: np.ndarray, std: np.ndarray) -> bool:
        """(x - mean) / std, a number for each channel."""
        if self.mean is not None or not self._may(NORMALIZE):
            return False
        self.mean, self.std = mean, std
        return True

    def erase(self, box: np.ndarray) -> bool:
        """0 in the rectangle (top, left, bottom, right) of each image, (N, 4)."""
        if self.erased is not None or not self._may(ERASE):
            return False
        self.erased = np.broadcast_to(box, (self.n, 4))
        return True

    def _may(self, stage: int) -> bool:
        if self.dtype is None or self._stage > stage:
            return False
        self._stage = stage
        return True

    def run(self, x: Tensor) -> Tensor:
        """Do it. What differs from image to image goes to the device as one array."""
        _, mode, padding_mode = self.reading or ("", "nearest", "zeros")
        averaged, place = self._averaged(x.shape[2:], mode)
        small = [place, self.light, self.erased, self.mean, self.std]
        given = [np.zeros(0) if a is None else a for a in small]
        flat = x.xp.asarray(np.concatenate([a.reshape(-1) for a in given]).astype(wide_type(self.dtype)))
        ends = np.cumsum([a.size for a in given]).tolist()
        arrays = [
            None if a is None else flat[end - a.size : end].reshape(a.shape) for a, end in zip(small, ends, strict=True)
        ]
        read = dict(size=self.size, mode=mode, padding_mode=padding_mode, dtype=self.dtype, averaged=averaged)
        if self.rows is not None:
            read["rows"] = x.xp.asarray(self.rows)
        return wrap(x.xp.augment(x.data, *arrays, **read), x.xp, [0])

    def _averaged(self, whole: tuple[int, ...], mode: str) -> tuple[tuple[int, int] | None, np.ndarray]:
        """The size that images are averaged to as they are read, twice what is wanted, where pixels would be skipped
        otherwise; and the places in that."""
        (h, w), (oh, ow) = whole, self.size
        by = min(self.shown[0] / oh, self.shown[1] / ow) / 2
        if mode == "nearest" or by <= 1 or by <= self._zoom():
            return None, self.place
        size = int(h / by + 1e-9), int(w / by + 1e-9)
        return size, to_pixels(size) @ np.linalg.inv(to_pixels((h, w))) @ self.place

    def _zoom(self) -> float:
        """How many times larger things look at most than in the part of x that is shown, in images of its size."""
        (oh, ow), corners = self.size, []
        for i in (0, oh - 1):
            corners += [self.place @ (j, i, 1.0) for j in (0, ow - 1)]
        at = np.stack(corners) @ np.linalg.inv(to_pixels(self.shown)).T
        at = at[..., :2] / at[..., 2:]
        return 2 / max(float(at.max() - at.min()), 1e-9)


def to_pixels(size: tuple[float, float]) -> np.ndarray:
    """The matrix from [-1, 1] to pixels (column, row); the middle of an axis of one pixel is 0."""
    (y, x), (down, right) = ((n - 1) / 2 for n in size), (max(n - 1, 1e-9) / 2 for n in size)
    return np.array([[right, 0, x], [0, down, y], [0, 0, 1]])


class BatchPipeline(Pipeline):
    """Transforms of batches: runs of those that can join a plan are one pass."""

    def __call__(
        self, x: Any, key: np.ndarray | None = None, position: int = 0, start: int = 0, stop: int | None = None
    ) -> Any:
        steps = range(start, len(self.tfms) if stop is None else stop)
        if self.kinds is None:
            return self._through(x, list(steps), key, position)
        ons = [(i, self.tfms[i].on) for i in steps]
        members = zip(x, self.kinds, strict=True)
        return tuple(self._through(m, [i for i, on in ons if on is None or k in on], key, position) for m, k in members)

    def _through(self, x: Any, steps: list[int], key: np.ndarray | None, position: int) -> Any:
        """One member through the transforms numbered `steps`."""
        while steps:
            n, (images, rows) = 0, (x.images, x.index) if isinstance(x, Rows) else (x, None)
            if isinstance(images, Tensor) and images.ndim == 4 and images.numel():
                plan = BatchPlan(images, rows)
                n = sum(1 for _ in self._joined(plan, steps, key, position))
            x = plan.run(images) if n > 1 else self.one(steps[0], _read(x), key, position)
            steps = steps[max(n, 1) :]
        return _read(x)

    def _joined(self, plan: BatchPlan, steps: list[int], key: np.ndarray | None, position: int) -> Iterator[int]:
        for i in steps:
            t = self.tfms[i]
            meant = issubclass(_owner(t, "join"), _owner(t, "encode"))
            if not (meant and t.join(plan, self.generator(i, key, position))):
                return
            yield i


def _read(x: Any) -> Any:
    return x.read() if isinstance(x, Rows) else x


def _owner(t: Any, method: str) -> type:
    """The class that a method comes from: who overrides `encode` alone does not mean the `join` that is inherited."""
    return next(kind for kind in type(t).__mro__ if method in vars(kind))
