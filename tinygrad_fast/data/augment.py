"""Batch transforms: a whole batch of images at once, as a Tensor on its device.

Each draws per image from the NumPy generator that it is handed, so a batch is the same on every device. `encode` does
one alone, by Tensor operations; `join` lets several be one pass (plan.py). Their order: IntToFloat 10, Flip and
RandomCropPad 30, Normalize 99, Cutout 100. affine.py: those that read between pixels, and light.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..backend.wide import wide_type
from ..dtypes import dtype_of
from ..tensor import Tensor
from .collate import to_tensors
from .image import PadMode
from .plan import BatchPlan
from .transforms import RandTransform, Transform

imagenet_stats = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
cifar_stats = ([0.491, 0.482, 0.447], [0.247, 0.243, 0.261])
mnist_stats = ([0.131], [0.308])


class IntToFloat(Transform):
    """Bytes 0..255 (N, C, H, W) <-> x / 255 in [0, 1].

    `dtype` is that of the batch: float32, or "float16" for a network in mixed precision, whose first layer would round
    it anyway.
    """

    order = 10
    on = ("image",)

    def __init__(self, dtype: Any = "float32"):
        self.dtype = dtype_of(dtype)

    def encode(self, x: Tensor) -> Tensor:
        return x if x.is_floating_point() else (x.to(wide_type(self.dtype)) / 255).to(self.dtype)

    def join(self, plan: BatchPlan, rng: np.random.Generator | None) -> bool:
        return plan.to_float(self.dtype)

    def decode(self, x: Tensor) -> Tensor:
        return (x.clamp(0, 1) * 255).round().to(np.uint8) if x.is_floating_point() else x


class Normalize(Transform):
    """(x - mean) / std for each channel <-> x * std + mean.

    `mean`, `std`: one number a channel; without them, those of one training batch (std + 1e-7).

    >>> Normalize.from_stats(*imagenet_stats)
    """

    order = 99
    on = ("image",)

    def __init__(self, mean: Sequence[float] | None = None, std: Sequence[float] | None = None):
        if (mean is None) != (std is None) or (mean is not None and std is not None and len(mean) != len(std)):
            raise ValueError(
                f"Normalize: mean and std are one number a channel, or neither is given; got {mean}, {std}"
            )
        self.mean = None if mean is None else np.array(mean, np.float32)
        self.std = None if std is None else np.array(std, np.float32)
        self._grids: dict[tuple, tuple[Tensor, Tensor]] = {}

    @classmethod
    def from_stats(cls, mean: Sequence[float], std: Sequence[float]) -> Normalize:
        return cls(mean, std)

    @property
    def learns(self) -> bool:  # type: ignore[override]
        return self.mean is None

    def setup(self, values: Iterable, before: Sequence[Transform]) -> None:
        images = next(iter(values), None)
        if images is None or images.ndim != 4:
            raise ValueError(
                "Normalize: takes its statistics from a batch of images (N, C, H, W); got "
                + ("data without a member of kind 'image'" if images is None else f"shape {images.shape}")
                + ". Other inputs are scaled before they become a TensorDataset, or by a batch norm first in the model"
            )
        x = images.detach().to("cpu").numpy().astype(np.float64)
        self.mean = x.mean((0, 2, 3)).astype(np.float32)
        self.std = (x.std((0, 2, 3), ddof=1) + 1e-7).astype(np.float32)

    def _grid(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """mean and std spread over one image (1, C, H, W), so that the subtraction runs along long rows of memory."""
        _, c, h, w = x.shape
        if (c, h, w, x.dtype, x.device) not in self._grids:
            if self.mean is None or self.std is None:
                raise ValueError("Normalize: has no statistics; give mean and std, or put it in a DataLoader of items")
            if not x.is_floating_point():
                raise TypeError(f"Normalize: x must be floating; got {x.dtype}. Put IntToFloat() before it")
            if c != len(self.mean):
                raise ValueError(
                    f"Normalize: one mean and std a channel; got {len(self.mean)} for x of shape {x.shape}"
                )
            grids = (np.tile(s.astype(x.dtype), (1, h, w, 1)).transpose(0, 3, 1, 2) for s in (self.mean, self.std))
            self._grids[c, h, w, x.dtype, x.device] = to_tensors(tuple(grids), x.device)
        return self._grids[c, h, w, x.dtype, x.device]

    def encode(self, x: Tensor) -> Tensor:
        mean, std = self._grid(x)
        return (x - mean) / std

    def join(self, plan: BatchPlan, rng: np.random.Generator | None) -> bool:
        if self.mean is None or self.std is None or len(self.mean) != plan.channels:
            return False  # `encode` says what is wrong
        return plan.normalize(self.mean, self.std)

    def decode(self, x: Tensor) -> Tensor:
        mean, std = self._grid(x)
        return x * std + mean


class Flip(RandTransform):
    """Each image mirrored left to right with probability `p`; `batch`: all of a batch, or none."""

    order = 30
    on = ("image",)

    def __init__(self, p: float = 0.5, batch: bool = False):
        self.p, self.batch = p, batch

    def encode(self, x: Tensor, rng: np.random.Generator | None = None) -> Tensor:
        if rng is None:
            return x
        n, _, h, w = x.shape
        columns = np.where(self._draw(n, rng)[:, None], np.arange(w)[::-1], np.arange(w))
        return pixels(x, np.arange(h), columns)

    def join(self, plan: BatchPlan, rng: np.random.Generator | None) -> bool:
        if rng is None:
            return True
        mirror = np.array([[-1, 0, plan.size[1] - 1], [0, 1, 0], [0, 0, 1]])
        return plan.move(np.where(self._draw(plan.n, rng)[:, None, None], mirror, np.eye(3)), plan.size)

    def _draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        return rng.random(1 if self.batch else n) < self.p


class RandomCropPad(RandTransform):
    """Each image cropped to `size` (default: its own size) at a place of its own, out of a border of `pad` pixels.

    `pad_mode` "zeros" (black, so before Normalize), "border" or "reflection". Source: He et al. 2015, section 4.2.
    """

    order = 30
    on = ("image",)

    def __init__(self, size: int | tuple[int, int] | None = None, pad: int = 4, pad_mode: str = PadMode.Zeros):
        self.size = (size, size) if isinstance(size, int) else size
        self.pad, self.pad_mode = pad, PadMode(pad_mode)

    def encode(self, x: Tensor, rng: np.random.Generator | None = None) -> Tensor:
        if rng is None:
            return x
        (out_h, out_w), tops, lefts = self._draw(x.shape[0], (x.shape[2], x.shape[3]), rng)
        return pixels(x, tops[:, None] + np.arange(out_h), lefts[:, None] + np.arange(out_w), self.pad_mode)

    def join(self, plan: BatchPlan, rng: np.random.Generator | None) -> bool:
        if rng is None:
            return True
        size, tops, lefts = self._draw(plan.n, plan.size, rng)
        place = np.tile(np.eye(3), (plan.n, 1, 1))
        place[:, 0, 2], place[:, 1, 2] = lefts, tops
        return plan.crop(place, size, self.pad_mode)

    def _draw(self, n: int, hw: tuple[int, int], rng: np.random.Generator) -> tuple[tuple[int, int], Any, Any]:
        (h, w), pad = hw, self.pad
        out_h, out_w = self.size or hw
        if out_h > h + 2 * pad or out_w > w + 2 * pad:
            raise ValueError(f"RandomCropPad: size <= image + 2 pad; got {(out_h, out_w)} of {(h, w)} with pad {pad}")
        tops = rng.integers(-pad, h + pad - out_h + 1, n)
        return (out_h, out_w), tops, rng.integers(-pad, w + pad - out_w + 1, n)


class Cutout(RandTransform):
    """A square of `size` pixels of each image set to 0, anywhere inside it: after Normalize, the mean colour.

    Source: DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", 2017; that the
    square lies inside is Page's way.
    """

    order = 100
    on = ("image",)

    def __init__(self, size: int = 8):
        self.size = size

    def encode(self, x: Tensor, rng: np.random.Generator | None = None) -> Tensor:
        if rng is None:
            return x
        kept = np.ones((x.shape[0], 1, *x.shape[2:]), x.dtype)
        for image, (top, left, bottom, right) in zip(kept, self._draw(x.shape[0], (x.shape[2], x.shape[3]), rng)):
            image[:, top:bottom, left:right] = 0
        return x * to_tensors(kept, x.device)

    def join(self, plan: BatchPlan, rng: np.random.Generator | None) -> bool:
        return rng is None or plan.erase(self._draw(plan.n, plan.size, rng))

    def _draw(self, n: int, hw: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        """(N, 4): top, left, bottom, right"""
        if self.size > min(hw):
            raise ValueError(f"Cutout: size <= height and width of the images; got {self.size} for {hw}")
        start = np.stack([rng.integers(0, k - self.size + 1, n) for k in hw], axis=1)
        return np.concatenate([start, start + self.size], axis=1)


def pixels(x: Tensor, rows: np.ndarray, columns: np.ndarray, outside: str = PadMode.Zeros) -> Tensor:
    """y[n, :, i, j] = x[n, :, rows[n, i], columns[n, j]]: any flip and any crop, in one gather.

    x (N, C, H, W); rows (N, h) or (h,), columns (N, w) or (w,), integers; what lies outside x is filled as `outside`
    says. y (N, C, h, w), its memory N, h, w, C.
    """
    n, c, h, w = x.shape
    rows, columns = np.broadcast_to(rows, (n, np.shape(rows)[-1])), np.broadcast_to(columns, (n, np.shape(columns)[-1]))
    starts = (np.arange(n)[:, None] * h + _within(rows, h, outside)) * w
    index = starts[:, :, None] + _within(columns, w, outside)[:, None, :]
    y = x.permute(0, 2, 3, 1).reshape(n * h * w, c)[index]
    if outside == PadMode.Zeros:
        image, i = np.nonzero((rows < 0) | (rows >= h))
        y[image, i] = 0
        image, j = np.nonzero((columns < 0) | (columns >= w))
        y[image, :, j] = 0
    return y.permute(0, 3, 1, 2)


def _within(index: np.ndarray, n: int, mode: str) -> np.ndarray:
    """Indices brought into [0, n): the nearest, or mirrored at the edge."""
    if mode != PadMode.Reflection:
        return index.clip(0, n - 1)
    around = np.abs(index) % max(2 * (n - 1), 1)
    return np.minimum(around, 2 * (n - 1) - around)
