"""To watch a counter that another thread counts up (`workers.py`)."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .loop import loop


@intrinsic
def now(typing: Any, count: Any) -> Any:
    """count[0], looked up in memory each time: of a plain read the compiler would keep what it once read."""

    def generate(context, builder, signature, args):
        array = cgutils.create_struct_proxy(signature.args[0])(context, builder, args[0])
        return builder.load_atomic(builder.bitcast(array.data, ir.IntType(64).as_pointer()), "acquire", 8)

    return types.int64(count), generate


@loop("i8[::1] i8 i8")
def linger(count, seen, times):
    """Return once count[0] is more than `seen`, or after so many looks."""
    for _ in range(times):
        if now(count) > seen:
            break
