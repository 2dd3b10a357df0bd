"""Samples side by side: a list of tuples -> a tuple of arrays; and the memory of samples already made."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from ..creation import from_numpy
from ..functions import stack
from ..tensor import Tensor


def collate(samples: Sequence, name: Callable[[int], str] = "sample {}".format) -> Any:
    """A list of n samples -> arrays with a first dimension n, member by member. Texts and None stay lists.

    Images (C, H, W) become (N, C, H, W) in N, H, W, C memory when each of them is H, W, C in memory. Raises TypeError
    or ValueError naming the member, and items (`name(j)` is that of sample j) whose shapes differ.
    """
    first = samples[0]
    if isinstance(first, tuple):
        if len(lengths := {len(s) for s in samples}) > 1:
            raise ValueError(f"collate: every sample has as many members; got {sorted(lengths)}")
        return tuple(_member(column, i, name) for i, column in enumerate(zip(*samples)))
    return _member(samples, 0, name)


def _member(column: Sequence, i: int, name: Callable[[int], str]) -> Any:
    first = column[0]
    if first is None or isinstance(first, (str, bytes)):
        return list(column)
    if isinstance(first, Image.Image):
        raise TypeError(f"collate: member {i} is a PIL image; an item transform ToTensor() makes it an array")
    if isinstance(first, (bool, int, float)):
        return np.array(column, np.float32 if float in map(type, column) else None)
    if isinstance(first, (tuple, list)):
        return collate([tuple(c) for c in column], name)
    if isinstance(first, (np.ndarray, np.generic, Tensor)):
        if len({c.shape for c in column}) > 1:
            raise ValueError(_ragged(column, i, name))
        if isinstance(first, Tensor):
            return stack(list(column))
        if first.ndim == 3 and not first.flags.c_contiguous:
            return np.stack([a.transpose(1, 2, 0) for a in column]).transpose(0, 3, 1, 2)
        return np.stack(column)
    raise TypeError(
        f"collate: member {i} is a {type(first).__name__}; a sample is made of arrays, numbers and texts "
        "(add a transform that makes it one, or pass collate_fn=)"
    )


def _ragged(column: Sequence, i: int, name: Callable[[int], str]) -> str:
    seen: dict[tuple, int] = {}
    for j, c in enumerate(column):
        seen.setdefault(c.shape, j)
    shown = ", ".join(f"{shape} of {name(j)}" for shape, j in list(seen.items())[:4])
    advice = "bring them to one size with item_tfms=Resize(size)" if column[0].ndim == 3 else "pad them in before_batch"
    return (
        f"collate: member {i} has one shape in all {len(column)} samples of a batch; got {len(seen)} shapes: {shown}; "
        f"{advice}"
    )


class Rows:
    """images[index], not yet read: the first pass over them may choose as it reads."""

    def __init__(self, images: Tensor, index: np.ndarray):
        self.images, self.index = images, index

    def read(self) -> Tensor:
        return self.images[self.index]


def to_tensors(batch: Any, device: Any = None) -> Any:
    """The arrays of a batch as Tensors, on `device` if one is given; lists of texts stay."""
    if isinstance(batch, tuple):
        return tuple(to_tensors(member, device) for member in batch)
    if isinstance(batch, np.ndarray):
        batch = from_numpy(batch)
    return batch.to(device) if device is not None and isinstance(batch, Tensor) else batch


def kind_of(x: Any) -> str | None:
    """The kind of a member that no block has named: three dimensions are an image."""
    return "image" if isinstance(x, Image.Image) or getattr(x, "ndim", 0) == 3 else None


def size_of(x: Any) -> int:
    """Bytes that a sample takes, roughly."""
    if isinstance(x, (tuple, list)):
        return sum(map(size_of, x))
    if isinstance(x, Image.Image):
        return x.width * x.height * len(x.getbands())
    return getattr(x, "nbytes", 0) + 100


class Cache:
    """Samples by index, as long as they fit into `budget` bytes. What does not fit is made anew each time."""

    def __init__(self, budget: int):
        self.budget, self.used, self._lock = budget, 0, threading.Lock()
        self.samples: dict[int, Any] = {}

    def get(self, i: int) -> Any:
        return self.samples.get(i)

    def put(self, i: int, sample: Any) -> None:
        if self.budget:
            size = size_of(sample)
            with self._lock:
                if self.used + size <= self.budget and i not in self.samples:
                    self.samples[i] = sample
                    self.used += size
