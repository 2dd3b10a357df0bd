"""An image, from its file to bytes of one size: open it, resize it, hand over the array.

Pillow does the work, and releases the interpreter lock while it decodes and resizes. augment.py goes on with batches.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .transforms import RandTransform, Transform

# what Pillow raises on files that are no images or end too early
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)


class PILImage(Transform):
    """A path, bytes, an array (H, W) or (H, W, 3) of uint8, or a PIL image -> a PIL image in RGB."""

    on = ("image",)
    mode = "RGB"

    def encode(self, x: Any) -> Image.Image:
        return self.create(x)

    @classmethod
    def create(cls, source: Any) -> Image.Image:
        """Open and decode `source`. Raises OSError with the file's name if it holds no whole image."""
        if isinstance(source, Image.Image):
            return source if source.mode == cls.mode else source.convert(cls.mode)
        if isinstance(source, (str, os.PathLike)):
            with open(source, "rb", buffering=0) as file:
                name, data = os.fspath(source), file.read()
        elif isinstance(source, (bytes, bytearray, memoryview)):
            name, data = f"these {len(source)} bytes", source
        else:
            return cls._from_array(source)
        try:
            image = Image.open(io.BytesIO(data))
            image.load()
            return image if image.mode == cls.mode else image.convert(cls.mode)
        except _BROKEN as why:
            raise OSError(
                f"{name} cannot be read as an image: {why}; replace or delete it (verify_images(files) lists all such)"
            ) from why

    @classmethod
    def _from_array(cls, source: Any) -> Image.Image:
        array = np.asarray(source)
        if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
            raise TypeError(
                f"{cls.__name__}: an image is a path, bytes, a PIL image, or a uint8 array (H, W) or (H, W, 3); "
                f"got {type(source).__name__}" + (f" {array.dtype} {array.shape}" if array.ndim else f" {source!r}")
            )
        return Image.fromarray(array).convert(cls.mode)


class PILImageBW(PILImage):
    """The same, in grey: one channel."""

    mode = "L"


class ToTensor(Transform):
    """A PIL image <-> a uint8 array (C, H, W). Its memory stays H, W, C, as the file has it."""

    order = 5
    on = ("image",)

    def encode(self, image: Any) -> np.ndarray:
        if isinstance(image, np.ndarray):
            return image
        pixels = np.asarray(image)
        return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)

    def decode(self, array: Any) -> Image.Image:
        pixels = np.asarray(array).transpose(1, 2, 0)
        return Image.fromarray(np.ascontiguousarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels))


class Choice(StrEnum):
    """One of a few words; another one is answered with all of them."""

    @classmethod
    def _missing_(cls, value: object) -> Choice:
        raise ValueError(f"{cls.__name__}: must be one of {', '.join(cls)}; got {value!r}")


class ResizeMethod(Choice):
    """How a picture of another shape fits: cut off, add a border, or distort."""

    Crop, Pad, Squish = "crop", "pad", "squish"


class PadMode(Choice):
    """What a border shows: black, the edge repeated, or the picture mirrored (without its edge)."""

    Zeros, Border, Reflection = "zeros", "border", "reflection"


NUMPY_PAD = {PadMode.Zeros: "constant", PadMode.Border: "edge", PadMode.Reflection: "reflect"}


class Resize(RandTransform):
    """Every image to one `size`, a number or (height, width).

    With s the smaller ("crop") or larger ("pad") of width / target width and height / target height, the part of
    int(s * target) pixels is taken at int(p * (image - part)), and resized once. p is drawn from [0, 1) for each axis
    while training, and is 1/2 otherwise, the centre. A part larger than the image gets a border of `pad_mode`. "squish"
    resizes the whole image.

    >>> Resize(224).box(640, 480)                     # left, top, width, height
    (80, 0, 480, 480)

    Source: fastai, `vision/augment.py`.
    """

    order = 1
    on = ("image",)
    split_idx = None
    resample = Image.Resampling.BILINEAR

    def __init__(
        self, size: int | tuple[int, int], method: str = ResizeMethod.Crop, pad_mode: str = PadMode.Reflection
    ):
        height, width = (size, size) if isinstance(size, (int, np.integer)) else size
        if height < 1 or width < 1:
            raise ValueError(f"Resize: the size is a number of pixels, or (height, width), of at least 1; got {size}")
        self.size = (int(height), int(width))
        self.method, self.pad_mode = ResizeMethod(method), PadMode(pad_mode)

    def box(self, width: int, height: int, at: tuple[float, float] = (0.5, 0.5)) -> tuple[int, int, int, int]:
        """(left, top, width, height) of the part taken of an image; the part may stand out of it."""
        h, w = self.size
        s = (max if self.method == ResizeMethod.Pad else min)(width / w, height / h)
        part_w, part_h = max(1, int(s * w)), max(1, int(s * h))
        return int(at[0] * (width - part_w)), int(at[1] * (height - part_h)), part_w, part_h

    def encode(self, image: Image.Image, rng: np.random.Generator | None = None) -> Image.Image:
        h, w = self.size
        if self.method != ResizeMethod.Squish:
            x, y = (0.5, 0.5) if rng is None else rng.random(2)
            left, top, part_w, part_h = self.box(image.width, image.height, (x, y))
            image = crop_pad(image, left, top, part_w, part_h, self.pad_mode)
        return image if image.size == (w, h) else image.resize((w, h), self.resample)


def crop_pad(image: Image.Image, left: int, top: int, width: int, height: int, pad_mode: str) -> Image.Image:
    """The part of `image` at (left, top); what lies outside the image is filled by `pad_mode`."""
    inside = (max(left, 0), max(top, 0), min(left + width, image.width), min(top + height, image.height))
    pad_x = max(-left, 0), max(left + width - image.width, 0)
    pad_y = max(-top, 0), max(top + height - image.height, 0)
    if inside != (0, 0, *image.size):
        image = image.crop(inside)
    if not any(pad_x + pad_y):
        return image
    pixels = np.asarray(image)
    pads = [pad_y, pad_x] + [(0, 0)] * (pixels.ndim - 2)
    return Image.fromarray(np.pad(pixels, pads, mode=NUMPY_PAD[PadMode(pad_mode)]))  # type: ignore[call-overload]


def verify_images(files: Iterable[str | os.PathLike], num_workers: int = 4) -> list[Path]:
    """The files among `files` that hold no whole image, in order."""

    def broken(file: str | os.PathLike) -> bool:
        try:
            PILImage.create(file)
        except OSError:
            return True
        return False

    paths = [Path(file) for file in files]
    with ThreadPoolExecutor(num_workers) as pool:
        return [path for path, bad in zip(paths, pool.map(broken, paths)) if bad]
