"""Promotion: what may stand on the other side of an operator, and the dtype in which both sides meet."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .. import dtypes, ops, shapes
from ..tape import mode
from .core import Core, apply, wrap


@np.errstate(over="ignore")  # 1e40 is inf as a float32, in silence
def fresh_array(value: Any, dtype: Any) -> np.ndarray:
    """A fresh NumPy array; Python floats become float32, everything else keeps its type."""
    if isinstance(value, Core):
        value = value.xp.to_numpy(value.data)
    first = value
    while isinstance(first, (list, tuple)) and first:
        first = first[0]
    try:
        a = np.array(value, None if dtype is None else dtypes.dtype_of(dtype))
    except OverflowError as e:
        raise RuntimeError(f"tensor: each number must fit into the dtype; {e}. Choose another dtype") from None
    except ValueError as e:
        rule = "rectangular lists, all of one length at each level" if "inhomogeneous" in str(e) else "numbers"
        raise ValueError(f"tensor: needs {rule}; {e}") from None
    spelled = isinstance(value, (list, tuple)) or type(value) is float
    if dtype is None and a.dtype == np.float64 and spelled and not hasattr(first, "dtype"):
        a = a.astype(np.float32)
    return a.astype(dtypes.dtype_of(a.dtype), copy=False)  # native byte order; TypeError for strings, objects


def operand(value: Any, like: Core) -> Any:
    """The other side of a two-operand method: a Tensor, a Python number, or None if it is neither."""
    if isinstance(value, Core) or type(value) in (float, int, bool):
        return value
    if isinstance(value, np.ndarray):
        return wrap(like.xp.asarray(fresh_array(value, None)), like.xp, [0])  # copied: the tape counts no writes to it
    if isinstance(value, np.generic):
        return value.item()
    return float(value) if isinstance(value, float) else int(value) if isinstance(value, int) else None


def binary(op: Callable, a: Any, b: Any, floating: bool = False) -> Any:
    """A two-operand op in the dtype that `result_type` finds for both (`floating`: at least float32)."""
    y = binary_operator(op, a, b, floating)
    if y is NotImplemented:
        kinds = f"{type(a).__name__} and {type(b).__name__}"
        raise TypeError(f"{op.__name__}: needs a Tensor and a Tensor or number; got {kinds}")
    return y


def binary_operator(op: Callable, a: Any, b: Any, floating: bool = False) -> Any:
    """`binary` for operators: NotImplemented where one side is neither Tensor nor number, so that Python asks it."""
    if isinstance(a, Core) and (a.data.dtype.kind == "f" or not floating):  # most calls have nothing to promote
        if type(b) is float and a.data.dtype.kind == "f":
            return apply(op, a, b)
        if isinstance(b, Core) and a.data.dtype is b.data.dtype and a.data.shape == b.data.shape:
            return apply(op, a, b)
    like = a if isinstance(a, Core) else b
    if not isinstance(like, Core):
        return NotImplemented
    a, b = operand(a, like), operand(b, like)
    if a is None or b is None:
        return NotImplemented
    dtype = dtypes.result_type(a, b)
    if floating and not dtypes.is_float(dtype):
        dtype = dtypes.float32
    if isinstance(a, Core) and isinstance(b, Core) and a.data.shape != b.data.shape:
        shapes.broadcast(op.__name__, a.data.shape, b.data.shape)
    try:
        return apply(op, cast_to(a, dtype), cast_to(b, dtype))
    except OverflowError:
        must_fit(op.__name__, dtype, a, b)
        raise


def cast_to(a: Any, dtype: np.dtype) -> Any:
    """A Tensor cast to `dtype` if it has another; a number as a float if `dtype` is floating."""
    if isinstance(a, Core):
        return a if a.data.dtype == dtype else apply(ops.cast, a, dtype=dtype)
    return float(a) if dtypes.is_float(dtype) else a


def autocast_inputs(name: str, *inputs: Any) -> tuple:
    """The inputs of `name`, cast as autocast says. For functions that look at dtypes before `apply` does."""
    return inputs if mode.autocast is None else mode.autocast(name, inputs)


def promote(name: str, *tensors: Any) -> tuple:
    """The tensors, cast to the `result_type` of all of them. None stays None; the first is not None."""
    if mode.autocast is not None:
        tensors = mode.autocast(name, tensors)
    try:
        dtype = tensors[0].data.dtype
        for t in tensors:
            if t is not None and t.data.dtype != dtype:
                break
        else:
            return tensors
    except AttributeError:  # an array has `data` too, without a dtype
        must_tensors(name, (tensors[0], *(t for t in tensors if t is not None)))
        raise
    dtype = dtypes.result_type(*(t for t in tensors if t is not None))
    return tuple(None if t is None else cast_to(t, dtype) for t in tensors)


def as_float(x: Any) -> Any:
    """Integers and bools as float32: what exp, sqrt and the like compute in."""
    return x if dtypes.is_float(x.data.dtype) else apply(ops.cast, x, dtype=dtypes.float32)


def must_tensor(name: str, x: Any) -> None:
    if not isinstance(x, Core):
        must_tensors(name, (x,))


def must_tensors(name: str, given: Any) -> None:
    """Of several; what is no several is refused as well."""
    for t in given if isinstance(given, (tuple, list, Iterable)) else (given,):
        if not isinstance(t, Core):
            raise TypeError(f"{name}: needs Tensors; got {type(t).__name__}. Make one with tf.tensor(...)")


def tensor_list(name: str, given: Any) -> list[Any]:
    """One Tensor, or several, as a list."""
    found = list(given) if isinstance(given, Iterable) and not isinstance(given, Core) else [given]
    must_tensors(name, found)
    return found


def must_integer(name: str, *operands: Any) -> None:
    if any(dtypes.is_float(t.data.dtype) if isinstance(t, Core) else isinstance(t, float) for t in operands):
        raise TypeError(f"{name}: needs integers or bools; got floats. Compare first, as in (x > 0) & (x < 1)")


def must_float(name: str, x: Core) -> Any:
    if not isinstance(x, Core):
        raise TypeError(f"{name}: needs a Tensor; got {type(x).__name__}. Make one with tf.tensor(...)")
    if not dtypes.is_float(x.data.dtype):
        how = f"x.float().{name}(...)" if hasattr(x, name) else f"F.{name}(x.float(), ...)"
        raise RuntimeError(f"{name}: must be of a floating dtype; got {x.data.dtype}. Write {how}")
    return x


def must_fit(name: str, dtype: np.dtype, *values: Any) -> None:
    """Whole numbers are what an integer dtype holds; NumPy refuses others in some places, and cuts them in the rest."""
    if dtype.kind in "iu":
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        for v in values:
            if isinstance(v, (int, np.integer)) and not low <= v <= high:
                raise RuntimeError(
                    f"{name}: {v} does not fit into {dtype}, {low}..{high}. Take a wider one, as x.long() or x.float()"
                )


def sizes_of(sizes: tuple) -> tuple:
    """f(2, 3) and f((2, 3)) mean the same."""
    return tuple(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes
