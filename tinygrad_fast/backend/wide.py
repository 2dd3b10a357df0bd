"""16-bit floats in definitions: computed in float32, rounded once."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from ..dtypes import float32, is_float


def wide_type(dtype: Any) -> Any:
    """The type to compute in: float32 for the 16-bit floats, else the type itself."""
    return float32 if dtype.itemsize == 2 and is_float(dtype) else dtype  # is_half, without a call for most


def wide(f: Callable) -> Callable:
    """Decorator of a definition: arrays of a 16-bit float arrive as float32, and the result goes back, rounded once."""

    @wraps(f)
    def run(self: Any, x: Any, *rest: Any, **static: Any) -> Any:
        narrow = x.dtype
        if narrow.itemsize != 2 or not is_float(narrow):
            return f(self, x, *rest, **static)
        given = (self.cast(a, dtype=float32) if getattr(a, "dtype", None) == narrow else a for a in (x, *rest))
        return self.cast(f(self, *given, **static), dtype=narrow)

    return run
