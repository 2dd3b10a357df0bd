"""What a transform is, and how several run one after another.

An item passes three stages, each a `Pipeline`:

    type     one member at a time   a path -> an image; "cat" -> 0            on the CPU, in the loader's threads
    item     the tuple (x, y)       Resize, ToTensor                          the same threads
    batch    the tuple of batches   IntToFloat, Flip, Normalize               on the batch's device

Every member of the tuple has a kind ("image", "category", ...), said by its block; a transform names in `on` the kinds
that it changes and leaves the others alone. `decode` runs the way back, for people to look at. labels.py, image.py and
augment.py hold the transforms; loader.py runs them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from .errors import naming


class Transform:
    """One step: `encode` on the way in, `decode` on the way back.

    `order`      its place within a stage, lowest first, ties as listed;
    `on`         the kinds of members it changes, None for all;
    `split_idx`  0: on training items only, 1: on validation items only, None: on both;
    `learns`     True if `setup` is to see the training data first.
    """

    order: int = 0
    on: tuple[str, ...] | None = None
    split_idx: int | None = None
    learns: bool = False

    def setup(self, values: Iterable, before: Sequence[Transform]) -> None:
        """Learn from the training data: the values of one member, each as the transforms `before` leave it."""

    def encode(self, x: Any) -> Any:
        return x

    def decode(self, x: Any) -> Any:
        return x

    def join(self, plan: Any, rng: np.random.Generator | None) -> bool:
        """Write into a `BatchPlan` (plan.py) what `encode` does to a batch of images; False where that cannot be."""
        return False

    def __call__(self, x: Any) -> Any:
        return self.encode(x)

    def __repr__(self) -> str:
        shown = ((k, v.tolist() if isinstance(v, np.ndarray) else v) for k, v in vars(self).items())
        return f"{type(self).__name__}({', '.join(f'{k}={v}' for k, v in shown if not k.startswith('_'))})"


class RandTransform(Transform):
    """A step that draws: `encode(x, rng)` with a generator of its own, on training items; `rng` is None elsewhere.

    The members of one tuple get equal generators, so that an image and its mask are cropped at the same place.
    """

    split_idx: int | None = 0

    def encode(self, x: Any, rng: np.random.Generator | None = None) -> Any:
        return x


class Func(Transform):
    """A plain function as a step, applied to images (its `on` can be changed); give it `order` to move it."""

    on: tuple[str, ...] | None = ("image",)

    def __init__(self, func: Callable, order: int = 0):
        self.func, self.order = func, getattr(func, "order", order)

    def encode(self, x: Any) -> Any:
        return self.func(x)

    def __repr__(self) -> str:
        return getattr(self.func, "__name__", repr(self.func))


def as_transform(t: Any) -> Transform:
    """A Transform, a class of one, or a plain function."""
    if isinstance(t, type) and issubclass(t, Transform):
        return t()
    if isinstance(t, Transform):
        return t
    if callable(t):
        return Func(t)
    raise TypeError(f"a transform is a Transform or a function of one argument; got {t!r}")


def as_list(x: Any) -> list:
    """None -> [], one thing -> [it], a list or tuple -> a list."""
    return [] if x is None else list(x) if isinstance(x, (list, tuple)) else [x]


def merge(*stages: Any) -> list[Transform]:
    """Transforms of several sources as one list. Of one class (or one function) only the last is kept, at its place."""
    tfms = [as_transform(t) for stage in stages for t in as_list(stage)]
    last = {t.func if isinstance(t, Func) else type(t): t for t in tfms}
    return [t for t in tfms if any(t is kept for kept in last.values())]


def generator(key: np.ndarray, *place: int) -> np.random.Generator:
    """The generator at `place` (up to three counts: position, step) of the stream `key`: the same in every thread.

    `key` is what `tinygrad_fast.rng` hands out, [seed low, seed high, stream]; Philox counts through each place's own
    2^64 draws.
    """
    counter = np.zeros(4, np.uint64)
    counter[1 : 1 + len(place)] = place
    return np.random.Generator(np.random.Philox(key=key[:2].astype(np.uint64) << _TOP | key[2], counter=counter))


_TOP = np.array([32, 32], np.uint64)


class Pipeline:
    """Transforms in order, over one value or over the members of a tuple that they are `on`.

    `kinds` names the members; without it the pipeline is of one value, and every transform takes it.
    """

    def __init__(self, tfms: Any = None, kinds: Sequence[str | None] | None = None, split_idx: int = 1):
        tfms = sorted((as_transform(t) for t in as_list(tfms)), key=lambda t: t.order)
        self.tfms = [t for t in tfms if t.split_idx in (None, split_idx)]
        self.kinds, self.training = kinds, split_idx == 0
        draws = [isinstance(t, Func) or (self.training and isinstance(t, RandTransform)) for t in self.tfms]
        self.fixed = draws.index(True) if True in draws else len(draws)  # so many do the same each time: may be kept

    def __repr__(self) -> str:
        return " -> ".join(map(repr, self.tfms)) or "(nothing)"

    def step(self, i: int, x: Any, key: np.ndarray | None = None, position: int = 0) -> Any:
        """The i-th transform alone, on a value or a tuple."""
        if self.kinds is None:
            return self.one(i, x, key, position)
        on, members = self.tfms[i].on, zip(x, self.kinds, strict=True)
        return tuple(self.one(i, m, key, position) if on is None or k in on else m for m, k in members)

    def one(self, i: int, x: Any, key: np.ndarray | None, position: int) -> Any:
        """The i-th transform on one value."""
        t = self.tfms[i]
        return t.encode(x, self.generator(i, key, position)) if isinstance(t, RandTransform) else t.encode(x)

    def generator(self, i: int, key: np.ndarray | None, position: int) -> np.random.Generator | None:
        """What the i-th transform draws from: None outside training."""
        return generator(key, position, i) if self.training and key is not None else None

    def __call__(
        self, x: Any, key: np.ndarray | None = None, position: int = 0, start: int = 0, stop: int | None = None
    ) -> Any:
        """Encode: the transforms numbered [start, stop), drawing at `position` of the stream `key`."""
        for i in range(start, len(self.tfms) if stop is None else stop):
            x = self.step(i, x, key, position)
        return x

    def decode(self, x: Any) -> Any:
        """The way back, last transform first."""
        for t in reversed(self.tfms):
            if self.kinds is None:
                x = t.decode(x)
            else:
                x = tuple(t.decode(m) if t.on is None or k in t.on else m for m, k in zip(x, self.kinds, strict=True))
        return x

    def setup(self, values: Callable[[], Iterable]) -> None:
        """Let the transforms that learn see the training values, each as the transforms before it leave them."""

        def before(i: int, value: Any) -> Any:
            with naming("item {}".format, value):
                return self(value, stop=i)

        for i, t in enumerate(self.tfms):
            if t.learns:
                t.setup((before(i, v) for v in values()), self.tfms[:i])
