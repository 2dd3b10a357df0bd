"""The numbers of a case's inputs: the same bits for both libraries."""

from __future__ import annotations

from functools import cache
from math import prod
from typing import Any

import numpy as np

from .case import Array, Case

POOL = 1 << 22


@cache
def drawn(kind: str, dtype: str) -> np.ndarray:
    """Random numbers that every input is cut from: large arrays repeat them."""
    rng = np.random.default_rng(0)
    count = POOL + 12_345  # no power of two: rows of a matrix differ
    if kind == "byte":
        return rng.integers(0, 256, count, np.uint8)
    values = rng.random(count, np.float32) if kind == "share" else rng.standard_normal(count, np.float32)
    return values.astype(np.dtype(dtype) if dtype != "bfloat16" else _bfloat16())


def _bfloat16() -> Any:
    import ml_dtypes

    return ml_dtypes.bfloat16


def filled(array: Array, dtype: str, seed: int) -> np.ndarray:
    """The numbers of an input: images (N, C, H, W) lie in memory with channels last, everything else in order C."""
    n, rng = prod(array.shape), np.random.default_rng(seed)
    if array.kind == "index":
        return rng.integers(0, array.of, array.shape)
    if array.kind in ("grid", "place"):
        made = near_its_own(array.shape, rng) if array.kind == "grid" else rotations(array.shape[0], array.of, rng)
        return made.astype(np.float32).astype("float32" if array.wide else dtype)
    name = "uint8" if array.kind == "byte" else "float32" if array.wide else dtype
    start = seed * 7919 % POOL
    values = np.resize(np.roll(drawn(array.kind, name), -start) if start else drawn(array.kind, name), n)
    if array.kind == "weight":
        fan = prod(array.shape[1:]) if len(array.shape) == 4 else array.shape[-2] if len(array.shape) > 1 else n
        values = (values.astype(np.float32) / np.sqrt(fan, dtype=np.float32)).astype(values.dtype)
    if len(array.shape) == 4 and array.kind != "weight":
        b, c, h, w = array.shape
        return values.reshape(b, h, w, c).transpose(0, 3, 1, 2)
    return values.reshape(array.shape)


def near_its_own(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """(N, H, W, 2): the place of each pixel, half a pixel off at most."""
    _, h, w, _ = shape
    i, j = np.meshgrid(*((2 * np.arange(k) + 1) / k - 1 for k in (h, w)), indexing="ij")
    return np.stack([j, i], -1) + rng.uniform(-1, 1, shape) / [w, h]


def rotations(n: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """(n, 3, 3): by some ten degrees around the middle of an image of so many pixels a side."""
    angle, middle = rng.uniform(-0.2, 0.2, n), (size - 1) / 2
    c, s, one, none = np.cos(angle), np.sin(angle), np.ones(n), np.zeros(n)
    rows = [[c, -s, middle * (1 - c + s)], [s, c, middle * (1 - c - s)], [none, none, one]]
    return np.moveaxis(np.array(rows), -1, 0)


def inputs(case: Case) -> list[np.ndarray]:
    return [filled(a, case.storage, seed) for seed, a in enumerate(case.arrays)]
