"""What launchers may use: CPU's primitives, memory, and `launch`. `cuda.py` fills it in."""

from __future__ import annotations

from typing import Any

from ..cpu import CPU
from ..launch import Launcher


def lanes(n: int, most: int = 32) -> int:
    """Threads side by side for n neighbours: a power of two, at most `most`."""
    return min(most, 1 << max(n - 1, 0).bit_length())


class Machine(CPU):
    """A machine with kernels: `np` is the library of its arrays, CuPy or NumPy."""

    np: Any
    launch: Launcher

    def empty(self, shape, dtype):
        """An array of any values."""
        return self.np.empty(shape, dtype)
