"""What a compiled loop is: a Python function with the types of its arguments, compiled by Numba at its first call."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

FASTMATH = {"reassoc", "contract", "nsz", "arcp"}  # sums in any order, fused multiply-add; NaN and infinity stay
TYPES = {"f4": "float32", "f8": "float64", "i8": "int64", "u1": "uint8", "u4": "uint32", "b1": "boolean"}
ZERO = np.float32(0)
IMAGES, LINES, LINE = "f4[:,:,:,::1]", "f4[:,::1]", "f4[::1]"
_compiling = threading.Lock()


class CompiledLoop:
    """A function that is compiled at its first call.

    `spelled`: the types of its arguments, as in "f4[:,::1] i8": float32 lines in order C, an integer.
    """

    def __init__(self, f: Callable, spelled: str):
        self.f, self.spelled, self.__doc__ = f, spelled, f.__doc__
        self.run: Any = None
        given = enumerate(spelled.split(" "))
        self.optional = [(i, np.empty((0,) * (t.count(",") + 1), np.float32)) for i, t in given if "?" in t]

    def compiled(self) -> Any:
        arguments = self.spelled.replace("?", "").replace(" ", ", ")
        for short, name in TYPES.items():
            arguments = arguments.replace(short, name)
        return njit(f"void({arguments})", nogil=True, cache=True, fastmath=FASTMATH)(self.f)

    def __call__(self, *args: Any) -> None:
        if self.run is None:
            with _compiling:
                self.run = self.run or self.compiled()
        if self.optional:
            given = list(args)
            for i, nothing in self.optional:
                if given[i] is None:
                    given[i] = nothing
            args = tuple(given)
        try:
            self.run(*args)
        except TypeError:  # Numba takes no read-only arrays
            if all(a.flags.writeable for a in args if isinstance(a, np.ndarray)):
                raise
            self.run(*(a.copy() if isinstance(a, np.ndarray) and not a.flags.writeable else a for a in args))


def loop(spelled: str) -> Callable[[Callable], CompiledLoop]:
    return lambda f: CompiledLoop(f, spelled)


inner = njit(nogil=True, fastmath=FASTMATH, cache=True, inline="always")
part = njit(nogil=True, fastmath=FASTMATH, cache=True)  # compiled once, and called


@inner
def fill(a, first, last, number):
    """a[first:last] <- number. (A slice says the same, and takes Numba seconds to compile.)"""
    for k in range(first, last):
        a[k] = number


@inner
def filled(n, number):
    """n float32 numbers in memory of their own"""
    a = np.empty(n, np.float32)
    fill(a, 0, n, number)
    return a
