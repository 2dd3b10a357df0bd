"""The second tier on the CPU: the primitives, one NumPy line each. Plain on purpose: kernels are compared with this.

Arrays are `np.ndarray` in any memory order. 16-bit floats are computed in float32 and rounded once. What a formula
does at its pole (log 0, 1 / 0) is inf or NaN in silence, as on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from functools import wraps
from typing import Any

import numpy as np

from .. import rng
from ..dtypes import float32, is_float
from ..shapes import Slot
from . import pooling, special, windows
from .composed import Composed
from .wide import wide, wide_type

_silence = copy_context()  # NumPy keeps its errstate in the context: here is one that ignores everything
_silence.run(np.seterr, all="ignore")


def silently(f: Callable, *args: Any, **static: Any) -> Any:
    """f(*args, **static) as under `np.errstate(all="ignore")`, and cheaper: no state is made, and none put back."""
    return _silence.copy().run(f, *args, **static)  # a copy: no context can be entered twice


def quiet(f: Callable) -> Callable:
    """`silently` as a decorator."""

    @wraps(f)
    def run(*args: Any, **static: Any) -> Any:
        return _silence.copy().run(f, *args, **static)

    return run


def _binary(f: Callable) -> Callable:
    """In silence. With a Python float, 16-bit floats are `wide`: NumPy would round the number to 16 bits first."""

    def once(a: Any, b: Any, kind: Any) -> Any:
        return f(a, b, dtype=float32).astype(kind)

    def run(self: CPU, a: Any, b: Any) -> Any:
        if type(b) is float or type(a) is float:
            kind = a.dtype if type(b) is float else b.dtype
            if kind.itemsize == 2:
                return _silence.copy().run(once, a, b, kind)
        return _silence.copy().run(f, a, b)

    return run


def _wide(f: Callable) -> Callable:
    """`wide`, in silence: what diverges becomes inf, as on a GPU."""
    wider = wide(f)

    @wraps(f)
    def run(self: CPU, x: Any, *rest: Any, **static: Any) -> Any:
        return _silence.copy().run(wider if x.dtype.itemsize == 2 else f, self, x, *rest, **static)

    return run


def _whole(f: Callable) -> Callable:
    """Rounding leaves integers as they are; NumPy would turn them into floats."""
    return lambda self, x: f(x) if is_float(x.dtype) else x.copy()


class CPU(Composed):
    """The instruction set, on NumPy."""

    name = "cpu"
    array = np.ndarray  # the type of this machine's arrays
    on_host = True  # its numbers are read without waiting for anything

    # In and out
    def asarray(self, a, dtype=None):
        return np.asarray(a, dtype)

    def to_numpy(self, a):
        return a

    def host_input(self, make):
        """An array of what the host works out anew for each step: make() -> NumPy. A replay of the step asks again."""
        return self.asarray(make())

    def graph(self):
        """What captures a step on this machine (graph.py); None: steps run as they are."""
        return None

    def full(self, shape, value, dtype):
        return np.full(shape, value, dtype)

    def copy(self, x):
        y = windows.empty_like(x, list(x.shape))
        y[...] = x
        return y

    def own(self, d, g):
        """d, or a copy of it where it shares memory with g (with one of them, if g is a tuple), or is an expansion."""
        if d is not g and type(d) is np.ndarray and d.base is None and type(g) is not tuple:
            return d  # the usual case: nothing but the pullback has made this memory
        gs = g if type(g) is tuple else (g,)
        shared = any(isinstance(v, np.ndarray) and np.may_share_memory(d, v) for v in gs)
        d = np.asarray(d)
        return d if d.flags.writeable and not shared else self.copy(d)

    def is_view(self, y, x):
        """True if y looks into the memory of x."""
        base = getattr(y, "base", None)
        return y is x or (base is not None and (base is x or base is getattr(x, "base", None)))

    def write_(self, x, value, key=...):
        """x[key] = value, in place"""
        if not x.flags.writeable:
            raise RuntimeError("in-place write: this memory is expanded or read-only; write to a copy, x.clone()")
        x[key] = value

    @quiet
    def add_(self, x, y):
        np.add(x, y, out=x, casting="unsafe")  # NumPy takes bfloat16 + 2.0 to float32

    @quiet
    def mul_(self, x, y):
        kind = wide_type(x.dtype) if type(y) is float else None  # as in `_binary`
        np.multiply(x, y, out=x, dtype=kind, casting="unsafe")

    def numbers(self, a):
        """A small array as Python floats"""
        return a.tolist()

    # Elementwise, two operands
    add, sub, mul, div, pow = map(_binary, (np.add, np.subtract, np.multiply, np.divide, np.power))
    maximum, minimum = _binary(np.maximum), _binary(np.minimum)
    eq, ne, lt, le, gt, ge = np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal
    logical_and, logical_or, logical_xor = np.logical_and, np.logical_or, np.logical_xor
    bitwise_and, bitwise_or, bitwise_xor = np.bitwise_and, np.bitwise_or, np.bitwise_xor
    floor_divide, remainder = _binary(np.floor_divide), _binary(np.remainder)

    # Elementwise, one operand
    neg, abs, sign, square = np.negative, np.abs, np.sign, staticmethod(quiet(np.square))
    floor, ceil, round = map(_whole, (np.floor, np.ceil, np.rint))
    exp, expm1, sqrt = map(staticmethod, (quiet(np.exp), quiet(np.expm1), quiet(np.sqrt)))
    log, log1p = map(staticmethod, (quiet(np.log), quiet(np.log1p)))
    sin, cos, tan = map(staticmethod, (quiet(np.sin), quiet(np.cos), quiet(np.tan)))
    tanh, logical_not, isnan, isinf, isfinite = np.tanh, np.logical_not, np.isnan, np.isinf, np.isfinite

    @quiet
    def reciprocal(self, x):
        return (1 / x).astype(x.dtype, copy=False)

    @quiet
    def rsqrt(self, x):
        return (1 / np.sqrt(x)).astype(x.dtype, copy=False)

    @_wide
    def sigmoid(self, x):
        return 1 / (1 + np.exp(-x))  # exp may overflow: 1 / inf is the right 0; by tanh, small values would be lost

    @_wide
    def erf(self, x):
        return special.erf(x)

    def clip(self, x, low, high):
        y = x if low is None else self.maximum(x, low)
        return y if high is None else self.minimum(y, high)

    @quiet
    def where(self, c, a, b):
        like = a if hasattr(a, "dtype") else b
        return np.where(c, a, b).astype(like.dtype, copy=False)

    @quiet
    def cast(self, x, dtype):
        return x.astype(dtype, copy=False)

    # Reductions over a tuple of axes
    @_wide
    def sum(self, x, axis, keepdims=False):
        return np.add.reduce(x, axis=axis, keepdims=keepdims)

    @_wide
    def prod(self, x, axis, keepdims=False):
        return np.multiply.reduce(x, axis=axis, keepdims=keepdims)

    @_wide
    def amax(self, x, axis, keepdims=False):
        return x.max(axis=axis, keepdims=keepdims)

    @_wide
    def amin(self, x, axis, keepdims=False):
        return x.min(axis=axis, keepdims=keepdims)

    def any(self, x, axis, keepdims=False):
        return np.any(x, axis=axis, keepdims=keepdims)

    def all(self, x, axis, keepdims=False):
        return np.all(x, axis=axis, keepdims=keepdims)

    # Along one axis
    def argmax(self, x, axis, keepdims=False):
        return np.argmax(x, axis=axis, keepdims=keepdims)

    def argmin(self, x, axis, keepdims=False):
        return np.argmin(x, axis=axis, keepdims=keepdims)

    def argsort(self, x, axis, descending=False):
        x = self.cast(x, dtype=wide_type(x.dtype))  # ml_dtypes leaves NaN where it stands, CuPy sorts no bfloat16
        if not descending:
            return np.argsort(x, axis=axis, kind="stable")
        order = np.argsort(np.flip(x, axis), axis=axis, kind="stable")  # -x would fail for bools and unsigned integers
        return x.shape[axis] - 1 - np.flip(order, axis)

    @_wide
    def cumsum(self, x, axis):
        return np.cumsum(x, axis=axis, dtype=x.dtype)

    # Movement: views where NumPy has one
    def reshape(self, x, shape):
        return x.reshape(shape)

    def permute(self, x, axes):
        return x.transpose(axes)

    def swap(self, x):
        return x.swapaxes(-1, -2)

    def expand(self, x, shape):
        return np.broadcast_to(x, shape)

    def flip(self, x, axis):
        return np.flip(x, axis)

    def pad(self, x, widths, value):
        y = windows.empty_like(x, [n + a + b for n, (a, b) in zip(x.shape, widths, strict=True)])
        y[...] = value
        y[tuple(slice(a, a + n) for n, (a, _) in zip(x.shape, widths))] = x
        return y

    def cat(self, *xs, axis):
        shape = list(xs[0].shape)
        shape[axis] = sum(x.shape[axis] for x in xs)
        return np.concatenate(xs, axis=axis, out=windows.empty_like(max(xs, key=np.size), shape))

    # Indexing and its adjoint
    def getitem(self, x, *indices, key):
        if len(key) == len(indices) == 1 and x.flags.c_contiguous:
            return x.take(indices[0], axis=0)  # the same; several times faster when a row is short
        return x[_fill(key, indices)] if indices or Ellipsis in key else x[(*key, ...)]  # a view also where 0-d

    @_wide
    def getitem_back(self, g, *indices, key, shape):
        """Zeros of `shape`, with g added where `getitem` read."""
        d = _zeros_like(g, shape)
        if indices:
            np.add.at(d, _fill(key, indices), g)
        else:
            d[key] = g
        return d

    def gather(self, x, index, axis):
        """y[..., i, ...] = x[..., index[..., i, ...], ...] along one axis"""
        y = windows.empty_like(x, list(index.shape))
        y[...] = np.take_along_axis(x[tuple(_span(x, index, axis))], index, axis)
        return y

    @_wide
    def gather_back(self, g, index, axis, shape):
        d = _zeros_like(g, shape)
        grid = list(np.ogrid[tuple(map(slice, index.shape))])
        grid[axis] = index
        np.add.at(d, tuple(grid), g)
        return d

    def check_indices(self, index, places):
        """As int64, counted from 0 (what is ignored as it is). Raises IndexError for one that is outside"""
        low = 0
        if index.size:
            low, high = int(np.minimum.reduce(index, axis=None)), int(np.maximum.reduce(index, axis=None))
            if low < places.low or high >= places.n:
                bad = index[(index < places.low) | (index >= places.n)]
                bad = bad if places.ignored is None else bad[bad != places.ignored]
                if bad.size:
                    raise places.error(int(bad[0]))
        index = index.astype(np.int64, copy=False)
        return np.where(index < 0, index + places.n, index) if places.low and low < 0 else index

    def one_hot(self, index, n, dtype):
        """A new last axis of n: 1 at the index, else 0"""
        return np.equal(index[..., None], np.arange(n), order="C").astype(dtype)  # the new axis is the fastest

    # Linear algebra and windows
    @_wide
    def matmul(self, x, w):
        return np.matmul(x, w)

    @_wide
    def conv2d(self, x, w, stride, padding, dilation, groups):
        return windows.conv2d(x, w, stride, padding, dilation, groups)

    @_wide
    def conv2d_dx(self, g, w, stride, padding, dilation, groups, hw):
        return windows.conv2d_dx(g, w, stride, padding, dilation, groups, hw)

    @_wide
    def conv2d_dw(self, g, x, stride, padding, dilation, groups, k):
        return windows.conv2d_dw(g, x, stride, padding, dilation, groups, k)

    def unfold(self, x, kernel, stride, padding, dilation):
        return windows.unfold(x, kernel, stride, padding, dilation)

    @_wide
    def fold(self, y, hw, kernel, stride, padding, dilation):
        return windows.fold(y, hw, kernel, stride, padding, dilation)

    @quiet
    def max_pool2d(self, x, kernel, stride, padding, dilation, out):
        return pooling.max_pool2d(x, kernel, stride, padding, dilation, out)

    @_wide
    def max_pool2d_back(self, g, tap, kernel, stride, padding, dilation, hw):
        return pooling.max_pool2d_back(g, tap, kernel, stride, padding, dilation, hw)

    def max_pool2d_at(self, x, tap, kernel, stride, padding, dilation):
        return pooling.max_pool2d_at(x, tap, kernel, stride, padding, dilation)

    def max_pool2d_index(self, tap, kernel, stride, padding, dilation, hw):
        return pooling.max_pool2d_index(tap, kernel, stride, padding, dilation, hw)

    def adaptive_max_index(self, x, size):
        return pooling.adaptive_max_index(x, size)

    @_wide
    def resample2d(self, x, rows, columns):
        return pooling.resample2d(x, rows, columns)

    def pixels(self, x, index):
        return pooling.pixels(x, index)

    @_wide
    def pixels_back(self, g, index, hw):
        return pooling.pixels_back(g, index, hw)

    # Random numbers: `key` as in rng.py
    def uniform(self, key, shape):
        return rng.uniform(key, int(np.prod(shape))).reshape(shape)

    def uniform_like(self, x, key):
        """One for each element of x, counted in order C, laid out as x"""
        u = np.empty_like(x, np.float32)
        u[...] = self.uniform(key, x.shape)
        return u


def _fill(key: tuple, indices: tuple) -> tuple:
    """The index with its arrays put back where `key` holds their slots."""
    return tuple(indices[k.i] if isinstance(k, Slot) else k for k in key)


def _span(x: np.ndarray, index: np.ndarray, axis: int):
    return (slice(None) if i == axis else slice(n) for i, n in enumerate(index.shape))


def _zeros_like(g: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Zeros of `shape`, in the memory order of g where both have as many axes."""
    if g.ndim != len(shape):
        return np.zeros_like(g, order="C", shape=shape)
    d = windows.empty_like(g, list(shape))
    d[...] = 0
    return d
