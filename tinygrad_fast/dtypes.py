"""Element types: their names, what counts as a float, and which type two operands meet in.

A dtype here is NumPy's. NumPy's own promotion is not used: it takes int64 + float32 to float64, where everyone who
trains networks expects float32. The rules are `torch.result_type`'s. Next on the way: `tensor/`, which promotes
before an op sees its arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np

float16, float32, float64 = np.dtype("float16"), np.dtype("float32"), np.dtype("float64")
uint8, int8, int16 = np.dtype("uint8"), np.dtype("int8"), np.dtype("int16")
int32, int64, bool_ = np.dtype("int32"), np.dtype("int64"), np.dtype("bool")


def bfloat16() -> np.dtype:
    """float32 with 16 of its 24 bits of precision cut off: 8 exponent bits, 8 bits of precision. Loads ml_dtypes."""
    import ml_dtypes

    return np.dtype(ml_dtypes.bfloat16)


def dtype_of(name: Any) -> np.dtype:
    """A dtype from what a person writes: tf.float32, np.float32, "float32", float (float64), "bfloat16"."""
    if isinstance(name, str) and name == "bfloat16":
        return bfloat16()
    try:
        dtype = np.dtype(name)
    except TypeError:
        raise TypeError(f"dtype: must be tf.float32, tf.int64, 'bfloat16' or the like; got {name!r}") from None
    if not (is_float(dtype) or dtype.kind in "iub") or dtype.itemsize > 8:
        raise TypeError(f"a tensor holds floats, integers or bools; got dtype {dtype}. Convert the values first")
    return dtype if dtype.isnative else dtype.newbyteorder("=")


def is_float(dtype: np.dtype) -> bool:
    """True for float16, bfloat16, float32, float64: the types that can carry a gradient."""
    return dtype.kind == "f" or (dtype.kind == "V" and dtype.name == "bfloat16")  # ml_dtypes reports kind "V"


def is_half(dtype: np.dtype) -> bool:
    """True for float16 and bfloat16."""
    return dtype.itemsize == 2 and is_float(dtype)


def rank(dtype: np.dtype) -> int:
    """bool 0, integers 1, floats 2: a scalar only changes a tensor's type when its rank is higher."""
    return 2 if is_float(dtype) else 0 if dtype.kind == "b" else 1


def rank_of_number(value: bool | int | float) -> int:
    """The rank of a Python number: bool 0, int 1, float 2."""
    if not isinstance(value, (int, float)):
        raise TypeError(f"result_type: needs Tensors and numbers; got {type(value).__name__}")
    return 0 if isinstance(value, bool) else 1 if isinstance(value, int) else 2


_NUMBER = (bool_, int64, float32)  # what a Python number of each rank becomes when no tensor has that rank


def join(a: np.dtype, b: np.dtype) -> np.dtype:
    """The smallest type that holds both: floats win over integers; float16 with bfloat16 meets in float32."""
    if a == b:
        return a
    if is_float(a) != is_float(b):
        return a if is_float(a) else b
    if is_float(a) and a.itemsize == b.itemsize:
        return float32
    if is_float(a):
        return a if a.itemsize > b.itemsize else b
    if np.dtype("uint64") in (a, b) and "i" in a.kind + b.kind:
        raise TypeError(f"no integer type holds both {a} and {b}; convert one of them: x.long()")
    return np.promote_types(a, b)


def result_type(*operands: Any) -> np.dtype:
    """The dtype in which tensors and Python numbers meet: `torch.result_type`, for any number of operands.

    Three classes, strongest first: tensors with axes, 0-d tensors, Python numbers. A weaker class decides only when its
    rank (bool < integer < float) is higher than the ranks of all stronger ones; a Python float then gives float32.

    >>> result_type(int64_vector, 1.5), result_type(float16_vector, float64_scalar_tensor)
    (dtype('float32'), dtype('float16'))
    """
    best: np.dtype | None = None
    for ndim_class in (True, False):
        joined: np.dtype | None = None
        for t in operands:
            if hasattr(t, "dtype") and (t.ndim > 0) == ndim_class:
                joined = t.dtype if joined is None else join(joined, t.dtype)
        if joined is not None and (best is None or rank(joined) > rank(best)):
            best = joined
    numbers = [rank_of_number(t) for t in operands if not hasattr(t, "dtype")]
    if numbers and (best is None or max(numbers) > rank(best)):
        best = _NUMBER[max(numbers)]
    if best is None:
        raise TypeError("result_type: needs at least one tensor or number")
    return best
