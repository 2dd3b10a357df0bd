"""What launchers may use: CPU's primitives, memory, and `launch`. `cuda.py` fills it in."""

from __future__ import annotations

from typing import Any

from ..cpu import CPU
from ..launch import Launcher
from .tiles import Hardware


class Machine(CPU):
    """A machine with kernels: `np` is the library of its arrays, CuPy or NumPy."""

    np: Any
    launch: Launcher
    hardware: Hardware

    def empty(self, shape, dtype):
        """An array of any values."""
        return self.np.empty(shape, dtype)

    def address(self, a):
        """Where the first element of an array lies, in bytes."""
        raise NotImplementedError
