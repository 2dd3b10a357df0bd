"""What launchers may use: CPU's primitives, memory, and `launch`. `cuda.py` fills it in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ...dtypes import bool_, is_float
from .. import windows
from ..cpu import CPU
from ..launch import Launcher
from ..source import KernelError
from .tiles import Hardware

Axis = tuple[int, ...]


def power(n: int) -> int:
    """The least power of two that is not below n."""
    return 1 << max(n - 1, 0).bit_length()


def lanes(n: int, most: int = 32) -> int:
    """Threads side by side for n neighbours: a power of two, at most `most`."""
    return min(most, power(n))


def countable(h: int, w: int, c: int = 1) -> None:
    """Threads count the numbers of an image in 32 bits."""
    if h * w * c >= 1 << 31:
        raise KernelError(
            f"an image must have fewer than 2^31 numbers, channels that lie side by side among them; got {h} x {w} "
            f"pixels of {c}. Cut it into parts"
        )


def named(setting: str, value: str, among: tuple[str, ...]) -> str:
    """`machine.setting`: what somebody wants to see run, or "" for what sizes choose."""
    if value and value not in among:
        raise ValueError(f'machine.{setting}: must be one of {", ".join(among)}, or ""; got {value!r}')
    return value


def merged(axes: Iterable[Axis]) -> list[Axis]:
    """Axes (size, stride, stride in another array, ...); those of size 1 left out, those that lie in a row made one."""
    found: list[Axis] = []
    for n, *strides in axes:
        if n == 1:
            continue
        if found and found[-1][1:] == tuple(n * s for s in strides):
            n *= found.pop()[0]
        found.append((n, *strides))
    return found


class Machine(CPU):
    """A machine with kernels: `np` is the library of its arrays, CuPy or NumPy."""

    np: Any
    launch: Launcher
    hardware: Hardware

    on_host = False
    poisoned = False  # results start as NaN, so that an element that no kernel writes shows

    def empty(self, shape, dtype):
        """An array of any values, for a kernel to write all of them."""
        if self.poisoned:
            kind = np.dtype(dtype)
            return self.full(shape, np.nan if is_float(kind) else kind == bool_ or np.iinfo(kind).max, kind)
        return self.np.empty(shape, dtype)

    def address(self, a):
        """Where the first element of an array lies, in bytes."""
        raise NotImplementedError

    def empty_like(self, x, shape):
        """The same, its axes in memory in x's order."""
        order = windows.memory_order(x)
        y = self.empty([shape[i] for i in order], x.dtype)
        return y.transpose(windows.inverse(order))

    def longer(self, a, n):
        """The array with n elements along its last axis: zeros after those that are there."""
        wide = self.full((*a.shape[:-1], n), 0, a.dtype)
        wide[..., : a.shape[-1]] = a
        return wide

    def contiguous(self, a, dtype=None):
        """The array (or None) in order C, as a kernel wants what it is told no strides of; cast to `dtype`, if any."""
        return None if a is None else self.np.ascontiguousarray(a, dtype)
