"""The GPU: `CPU`'s primitives on CuPy's arrays, and a launcher for every kernel of our own (`launchers/`).

`CPU` is a list of NumPy names, and NumPy's functions hand themselves over when they are given another library's array:
`np.add(a, b)` of CuPy arrays is `cupy.add(a, b)`, by the protocols of NEP 13 and NEP 18. So the list is written once,
and serves here as it stands. What remains is what has no array to look at (making one), what the two libraries do not
share, and what has a kernel. `Emulated` is the same machine with NumPy for CuPy and the emulator for the driver: each
launcher runs on both. Next on the way: `launchers/`, then `kernels/README.md`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from ..tape import mode
from . import special, windows
from .cpu import CPU
from .driver import CuPy
from .emulator import Emulator
from .graph import Graph, Rehearsal, refuse_in_capture
from .launch import Launcher
from .launchers import Checks, ConvMoments, Losses, Pools, Products, Random, Reductions, Sampling, Updates
from .launchers.tiles import Hardware
from .transfer import Transfer
from .wide import wide

# What a step must not do while it is captured, and what to do instead
TO_HOST = (
    "reads a number from the GPU: item(), tolist(), numpy(), bool(), print, an index that is a mask",
    "Return the tensor from the step, and read it outside",
)
FROM_HOST = (
    "copies numbers from the host to the GPU: a tensor made from a list, an array or random numbers",
    "Make it before the step, or hand it in as an argument of the step",
)


@cache
def why_not() -> str:
    """Why there is no GPU to use; "" where there is one. A broken CuPy is as good as none, whatever it raises."""
    try:
        import cupy

        return "" if cupy.cuda.is_available() else "CuPy finds no GPU or no driver"
    except ImportError as e:
        return f"CuPy is not installed ({e})"
    except Exception as e:
        return f"CuPy does not work ({type(e).__name__}: {e})"


def need() -> Any:
    """CuPy, or RuntimeError with what to do."""
    if reason := why_not():
        raise RuntimeError(
            f'device "cuda": {reason}. Run "python -m tinygrad_fast doctor", which says what to do; '
            'device="emulated" runs the same kernels without a GPU'
        )
    import cupy

    return cupy


def index_of(name: str) -> int:
    """The number of the GPU that a device name means: "cuda" is CuPy's current one."""
    cuda, number = need().cuda, name.partition(":")[2]
    if name == "cuda":
        return int(cuda.runtime.getDevice())
    count = cuda.runtime.getDeviceCount()
    if not number.isdecimal() or int(number) >= count:
        there = "is one GPU, cuda:0" if count == 1 else f"are {count} GPUs, cuda:0 to cuda:{count - 1}"
        raise RuntimeError(f"device {name!r}: there {there}")
    return int(number)


def on(index: int) -> Any:
    """The machine of one GPU; see `OneOfMany` for computers with several."""
    return CUDA() if need().cuda.runtime.getDeviceCount() == 1 else OneOfMany(index)


class CUDA(Products, ConvMoments, Losses, Updates, Reductions, Pools, Random, Sampling, Checks):
    """Elementwise work by CuPy, everything hard by kernels."""

    name = "cuda"
    transfer: Transfer | None = None  # copies beside the kernels; None: there is but one thing at a time

    def __init__(self) -> None:
        super().__init__()
        cupy = need()
        from cupyx.scipy.special import erf

        self.np, self.array, self.launch = cupy, cupy.ndarray, Launcher(CuPy(cupy, self.told))
        self.transfer = Transfer(cupy)
        self._erf = erf
        about = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.runtime.getDevice())
        capability, processors = 10 * about["major"] + about["minor"], about["multiProcessorCount"]
        self.hardware = Hardware(capability, processors, about["name"].decode())

    # In and out

    def asarray(self, a, dtype=None):
        """CuPy keeps the memory order of what it copies only where that is C or Fortran's"""
        if not isinstance(a, self.array):
            refuse_in_capture(*FROM_HOST)
        if not isinstance(a, np.ndarray) or a.flags.c_contiguous or a.flags.f_contiguous:
            return self.np.asarray(a, dtype)
        order = windows.memory_order(a)
        return self.np.asarray(a.transpose(order), dtype).transpose(windows.inverse(order))

    def to_numpy(self, a):
        refuse_in_capture(*TO_HOST)
        near = self.np.asnumpy(a)
        self._tell()
        return near

    def numbers(self, a):
        refuse_in_capture(*TO_HOST)
        return a.tolist()

    def told(self, make):
        return self.asarray(make()) if mode.capture is None else mode.capture.told(make)

    def graph(self):
        self.ready_to_check()
        return Graph(self)

    def address(self, a):
        return a.data.ptr

    def full(self, shape, value, dtype):
        return self.np.full(shape, value, dtype)

    def own(self, d, g):
        """As CPU's. CuPy writes to an expanded array without complaint, so strides must tell."""
        gs = g if type(g) is tuple else (g,)
        if _expanded(d) or any(isinstance(v, self.array) and self.np.may_share_memory(d, v) for v in gs):
            return self.copy(d)
        return d

    def write_(self, x, value, key=...):
        if _expanded(x):
            raise RuntimeError("in-place write: this memory is expanded; write to a copy, x.clone()")
        x[key] = value

    # Where CuPy lacks what CPU's line uses

    def one_hot(self, index, n, dtype):
        return (index[..., None] == self.np.arange(n)).astype(dtype)

    @wide
    def erf(self, x):
        return self._erf(x)


class OneOfMany:
    """One GPU among several: a `CUDA`, each function of which runs with its GPU as CuPy's current one.

    Copies, allocations and launches go to the current device, whatever arrays they are given. Entering it takes about a
    microsecond, which a computer with a single GPU never pays.
    """

    def __init__(self, index: int):
        self._device, self._index = need().cuda.Device, index
        with self._device(index):
            self._machine = CUDA()
        self._machine.name = f"cuda:{index}"

    def __setattr__(self, name: str, value: Any) -> None:
        """What is set of the machine (`rung`, `poisoned`), it has to know."""
        if name in ("_device", "_index", "_machine"):
            object.__setattr__(self, name, value)
        else:
            setattr(self._machine, name, value)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._machine, name)
        if not callable(found) or name in ("array", "launch"):
            return found

        def run(*arrays: Any, **static: Any) -> Any:
            with self._device(self._index):  # one for each use: it keeps the device before, and threads share this
                return found(*arrays, **static)

        return run


def _expanded(x: Any) -> bool:
    """True if several elements of x share a place in memory."""
    return any(n > 1 and s == 0 for n, s in zip(x.shape, x.strides))


class Emulated(CUDA):
    """The same machine without a GPU: NumPy for CuPy, the emulator for the driver. `launch.counts` tells what ran.

    check: watch every access of every kernel to memory (see `emulator/`).
    """

    name = "emulated"
    poisoned = True

    def __init__(self, check: bool = False) -> None:
        Checks.__init__(self)
        self.np, self.array, self.launch = np, np.ndarray, Launcher(Emulator(check))
        self._erf = special.erf
        self.hardware = Hardware(90, 132)  # of an H100

    # Copied, as between a computer and its GPU: no tensor here shares its memory with one on "cpu"
    def asarray(self, a, dtype=None):
        if not isinstance(a, np.generic):  # what NumPy makes of a result without axes is there already
            refuse_in_capture(*FROM_HOST)
        return np.array(a, dtype)

    def to_numpy(self, a):
        refuse_in_capture(*TO_HOST)
        near = np.array(a)
        self._tell()
        return near

    def graph(self):
        return Rehearsal(self)

    def address(self, a):
        return a.ctypes.data

    own = CPU.own  # views of NumPy's may be read-only
