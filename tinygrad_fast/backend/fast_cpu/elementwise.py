"""Elementwise work on large arrays, divided among the threads; dropout; tables; the largest few.

A core alone cannot use all of the memory's bandwidth, and results that are written to fresh pages wait for them: so
large operands are cut into pieces, and results come from `memory.py`. Operands must lie alike (or one be a number).
"""

from __future__ import annotations

from functools import wraps
from typing import Any

import numpy as np

from ...dtypes import float32
from ..cpu import CPU, quiet
from ..wide import wide_type
from .base import FastBase
from .layout import empty, empty_like, flat
from .threads import get_num_threads, parallel


def _piece(xp: FastBase, n: int) -> int:
    """How many of n numbers are taken at a time: half of a thread's share, a multiple of 4 (random numbers come by 4).

    Each number is passed over once, so no piece needs to fit a cache, and between two pieces threads wait for Python.
    """
    return max(xp.sizes.line // 4, -(-n // (8 * get_num_threads())) * 4)


def _two(name: str, f: np.ufunc) -> Any:
    """CPU's operation of two operands, divided if both are large and lie alike, or one is a number."""
    plain = getattr(CPU, name)

    def run(self: Any, a: Any, b: Any) -> Any:
        like = a if hasattr(a, "size") else b
        if like.size < self.sizes.divided or like.dtype != np.float32:
            return plain(self, a, b)
        both = hasattr(a, "size") and hasattr(b, "size")
        if both and (a.shape != b.shape or a.strides != b.strides or a.dtype != b.dtype):
            return plain(self, a, b)
        if (line := flat(like)) is None:
            return plain(self, a, b)
        y = empty_like(like)
        out: Any = flat(y)
        al, bl = (flat(v) if isinstance(v, np.ndarray) else v for v in (a, b))

        def some(lo: int, hi: int) -> None:
            left, right = (v[lo:hi] if isinstance(v, np.ndarray) else v for v in (al, bl))
            f(left, right, out=out[lo:hi])

        parallel(some, len(line), _piece(self, len(line)))
        return y

    run.__doc__ = f"np.{f.__name__}, by pieces"
    return run


def _one(name: str, f: np.ufunc) -> Any:
    """CPU's function of one operand, divided if it is large."""
    plain = getattr(CPU, name)

    def run(self: Any, x: Any) -> Any:
        if x.size < self.sizes.divided or x.dtype != np.float32 or (line := flat(x)) is None:
            return plain(x)
        y = empty_like(x)
        out: Any = flat(y)
        parallel(lambda lo, hi: f(line[lo:hi], out=out[lo:hi]), len(line), _piece(self, len(line)))
        return y

    run.__doc__ = f"np.{f.__name__}, by pieces"
    return run


def by_blocks(xp: FastBase, f: Any, *arrays: Any) -> Any:
    """f(*arrays), elementwise and of several passes, block by block: what it makes on the way stays in the cache."""
    x = arrays[0]
    alike = all(a.dtype == np.float32 and a.shape == x.shape and a.strides == x.strides for a in arrays)
    if x.size < xp.sizes.divided or not alike or flat(x) is None:
        return f(*arrays)
    y = empty_like(x)
    lines: list[Any] = [flat(a) for a in arrays]
    out: Any = flat(y)

    def some(lo: int, hi: int) -> None:
        out[lo:hi] = f(*(a[lo:hi] for a in lines))

    parallel(some, len(out), xp.sizes.passes // 4)
    return y


def _blocks(name: str) -> Any:
    """CPU's definition, by blocks."""
    definition = getattr(CPU, name)

    @wraps(definition)
    def run(self: Any, *arrays: Any, **static: Any) -> Any:
        return by_blocks(self, lambda *some: definition(self, *some, **static), *arrays)

    return run


class Elementwise(FastBase):
    """Operations of large float32 arrays."""

    add, sub, mul, div = _two("add", np.add), _two("sub", np.subtract), _two("mul", np.multiply), _two("div", np.divide)
    maximum, minimum = _two("maximum", np.maximum), _two("minimum", np.minimum)
    exp, log, sqrt, tanh = _one("exp", np.exp), _one("log", np.log), _one("sqrt", np.sqrt), _one("tanh", np.tanh)
    gelu, gelu_back, silu, silu_back = map(_blocks, ("gelu", "gelu_back", "silu", "silu_back"))
    elu, elu_back, softplus, softplus_back = map(_blocks, ("elu", "elu_back", "softplus", "softplus_back"))
    leaky_relu, leaky_relu_back = map(_blocks, ("leaky_relu", "leaky_relu_back"))
    erf_back, hardtanh_back = map(_blocks, ("erf_back", "hardtanh_back"))

    def copy(self, x):
        if x.size < self.sizes.divided or (line := flat(x)) is None:
            return super().copy(x)
        y = empty_like(x)
        out: Any = flat(y)
        parallel(lambda lo, hi: np.copyto(out[lo:hi], line[lo:hi]), len(line), _piece(self, len(line)))
        return y

    def relu(self, x):
        if x.size < self.sizes.divided or x.dtype != np.float32 or (line := flat(x)) is None:
            return super().relu(x)
        y = empty_like(x)
        out: Any = flat(y)
        parallel(lambda lo, hi: self.loops.relu(line[lo:hi], out[lo:hi]), len(line), _piece(self, len(line)))
        return y

    @quiet
    def relu_back(self, g, y):
        if y.size < self.sizes.divided and y.dtype == float32:
            return np.multiply(g, np.greater(y, 0).astype(float32))
        if y.dtype != np.float32 or g.strides != y.strides or (line := flat(y)) is None:
            return super().relu_back(g, y)
        d = empty_like(y)
        gs, out, relu_back = flat(g), flat(d), self.loops.relu_back
        parallel(lambda lo, hi: relu_back(gs[lo:hi], line[lo:hi], out[lo:hi]), len(line), _piece(self, len(line)))
        return d

    def erf(self, x):
        if x.dtype != float32 or not x.size or (line := flat(x)) is None:
            return super().erf(x)
        y = empty_like(x)
        out, erf = flat(y), self.loops.erf
        parallel(lambda lo, hi: erf(line[lo:hi], out[lo:hi]), len(line), self.sizes.passes // 4)
        return y

    def dropout(self, x, key, p):
        if x.dtype != float32 or not x.size or not x.flags.c_contiguous or p >= 1:
            return super().dropout(x, key, p)
        y, kept = empty(x.shape, x.dtype), empty(x.shape, np.bool_)
        line, out, mask, scale = flat(x), flat(y), flat(kept), np.float32(1 / (1 - p))

        def some(lo, hi):
            self.loops.dropout(line[lo:hi], out[lo:hi], mask[lo:hi], lo, key, p, scale)

        parallel(some, len(line), _piece(self, len(line)))
        return y, kept

    def embedding_back(self, index, g, rows, padding_idx):
        width = g.shape[-1]
        if not self.large(g) or not g.flags.c_contiguous:
            return super().embedding_back(index, g, rows, padding_idx)
        at, lines, d = index.astype(np.int64).reshape(-1), g.reshape(-1, width), empty((rows, width), g.dtype)
        at = np.where(at < 0, at + rows, at)
        d[...] = 0
        parallel(lambda lo, hi: self.loops.scatter(at, lines, d, lo, hi), width, -(-width // 2))
        if padding_idx is not None:
            d[padding_idx] = 0
        return d

    @quiet
    def topk(self, x, k, axis, descending):
        """Without sorting all: what is beyond the k-th of each line, then that in order. Not where others equal it"""
        n = x.shape[axis]
        if x.size < self.sizes.least or not 0 < 4 * k <= n:
            return super().topk(x, k, axis, descending)
        lines = np.moveaxis(self.cast(x, dtype=wide_type(x.dtype)), axis, -1)
        shape, lines = lines.shape[:-1], np.ascontiguousarray(lines).reshape(-1, n)
        parts = np.partition(lines, n - k if descending else k - 1, axis=1)
        best, beyond = (parts[:, n - k :], np.greater_equal) if descending else (parts[:, :k], np.less_equal)
        chosen = beyond(lines, best[:, :1] if descending else best[:, -1:])
        if (best != best).any() or not (np.count_nonzero(chosen, axis=1) == k).all():  # NaN, or more than k
            return super().topk(x, k, axis, descending)
        index = np.nonzero(chosen)[1].reshape(-1, k)
        order = self.argsort(np.take_along_axis(lines, index, 1), 1, descending)
        index = np.take_along_axis(index, order, 1).reshape(*shape, k)
        return np.ascontiguousarray(np.moveaxis(index, -1, axis))
