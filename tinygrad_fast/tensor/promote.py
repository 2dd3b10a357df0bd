"""Promotion: what a person writes on the other side of an operator, and the type in which both sides meet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import dtypes, ops, shapes
from .core import Core, apply, wrap


def fresh_array(value: Any, dtype: Any) -> np.ndarray:
    """A fresh NumPy array; Python floats become float32, everything else keeps its type."""
    if isinstance(value, Core):
        value = value.xp.to_numpy(value.data)
    first = value
    while isinstance(first, (list, tuple)) and first:
        first = first[0]
    try:
        a = np.array(value, None if dtype is None else dtypes.dtype_of(dtype))
    except ValueError as e:
        raise ValueError(f"tensor: nested lists must be rectangular, all of one length at each level; {e}") from None
    if dtype is None and a.dtype == np.float64 and (isinstance(value, (list, tuple)) or type(value) is float):
        if not hasattr(first, "dtype"):
            a = a.astype(np.float32)
    dtypes.dtype_of(a.dtype)
    return a


def operand(value: Any, like: Core) -> Any:
    """The other side of a two-operand method: a Tensor, a Python number, or None if it is neither."""
    if isinstance(value, Core) or type(value) in (float, int, bool):
        return value
    if isinstance(value, np.ndarray):
        return wrap(like.xp.asarray(value), like.xp, [0])
    if isinstance(value, np.generic):
        return value.item()
    return None


def pair(op: Callable, a: Any, b: Any, floating: bool = False) -> Any:
    """A two-operand op in the type where both meet (`floating`: at least float32)."""
    if not isinstance(a, Core) and not isinstance(b, Core):
        raise TypeError(f"{op.__name__}: needs a Tensor; got {type(a).__name__} and {type(b).__name__}")
    like = a if isinstance(a, Core) else b
    a, b = operand(a, like), operand(b, like)
    if a is None or b is None:
        return NotImplemented
    dtype = dtypes.result_type(a, b)
    if floating and not dtypes.is_float(dtype):
        dtype = dtypes.float32
    if isinstance(a, Core) and isinstance(b, Core) and a.data.shape != b.data.shape:
        shapes.broadcast(op.__name__, a.data.shape, b.data.shape)
    return apply(op, within(a, dtype), within(b, dtype))


def within(a: Any, dtype: np.dtype) -> Any:
    """A Tensor cast to `dtype` if it must be; a number as the kind of number that `dtype` holds."""
    if isinstance(a, Core):
        return a if a.data.dtype == dtype else apply(ops.cast, a, dtype=dtype)
    return float(a) if dtypes.is_float(dtype) else a


def as_float(x: Any) -> Any:
    """Integers and bools as float32: what exp, sqrt and the like compute in."""
    if not isinstance(x, Core):
        raise TypeError(f"needs a Tensor; got {type(x).__name__}. Make one with tf.tensor(...)")
    return x if dtypes.is_float(x.data.dtype) else apply(ops.cast, x, dtype=dtypes.float32)


def must_float(name: str, x: Core) -> Any:
    if not dtypes.is_float(x.data.dtype):
        raise RuntimeError(f"{name}: must be of a floating dtype; got {x.data.dtype}. Write x.float().{name}(...)")
    return x


def sizes_of(sizes: tuple) -> tuple:
    """f(2, 3) and f((2, 3)) mean the same."""
    return tuple(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes
