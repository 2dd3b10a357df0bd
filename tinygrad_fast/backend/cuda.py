"""The GPU: `CPU`'s primitives on CuPy's arrays, and a launcher for every kernel of our own (`launchers/`).

`CPU` is a list of NumPy names, and NumPy's functions hand themselves over when they are given another library's array:
`np.add(a, b)` of CuPy arrays is `cupy.add(a, b)`, by the protocols of NEP 13 and NEP 18. So the list is written once,
and serves here as it stands. What remains is what has no array to look at (making one), what the two libraries do not
share, and what has a kernel. `Emulated` is the same machine with NumPy for CuPy and the emulator for the driver: each
launcher runs on both. Next on the way: `launchers/`, then `kernels/README.md`.
"""

from __future__ import annotations

from functools import cache, wraps
from typing import Any

import numpy as np

from ..dtypes import is_float
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
from .wide import wide, wide_type

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


def lying(name: str) -> Any:
    """CPU's elementwise function of that name, its result in the memory order of what it is given.

    NumPy sees to that by itself. CuPy's results lie in order C, and its neighbouring threads take neighbours of order
    C: channels-last would be lost at the first addition, and be read with gaps.
    """

    @wraps(getattr(CPU, name))
    def run(self: CUDA, *given: Any, **static: Any) -> Any:
        return self.as_they_lie(getattr(super(CUDA, self), name), *given, **static)

    return run


class CUDA(Products, ConvMoments, Losses, Updates, Reductions, Pools, Random, Sampling, Checks):
    """Elementwise work by CuPy, everything hard by kernels."""

    name = "cuda"
    transfer: Transfer | None = None  # copies beside the kernels; None: there is but one thing at a time

    def __init__(self) -> None:
        super().__init__()
        cupy = need()
        from cupyx.scipy.special import erf

        self.np, self.array, self.launch = cupy, cupy.ndarray, Launcher(CuPy(cupy, self.host_input))
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

    def host_input(self, make):
        return self.asarray(make()) if mode.capture is None else mode.capture.host_input(make)

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
        if key is not ... or not isinstance(value, self.array) or value.shape != x.shape:
            x[key] = value
        else:
            self.as_they_lie(_fill, x, value)

    # Elementwise, over arrays as they lie

    def as_they_lie(self, f, *given, **static):
        """f(*given, **static), an elementwise function, of arrays seen in the order in which the largest lies"""
        arrays = [a for a in given if isinstance(a, self.array)]
        if all(a.flags.c_contiguous for a in arrays):
            return f(*given, **static)
        like = max(arrays, key=lambda a: (a.ndim, a.size))
        order = windows.memory_order(like)

        def seen(a):
            if not isinstance(a, self.array) or not a.ndim:
                return a
            return a.reshape((1,) * (like.ndim - a.ndim) + a.shape).transpose(order)

        y = f(*map(seen, given), **static)
        return None if y is None else y.transpose(windows.inverse(order))

    add, sub, mul, div, pow = map(lying, ("add", "sub", "mul", "div", "pow"))
    add_, mul_, maximum, minimum, where = map(lying, ("add_", "mul_", "maximum", "minimum", "where"))
    eq, ne, lt, le, gt, ge = map(lying, ("eq", "ne", "lt", "le", "gt", "ge"))
    logical_and, logical_or, logical_xor = map(lying, ("logical_and", "logical_or", "logical_xor"))
    bitwise_and, bitwise_or, bitwise_xor = map(lying, ("bitwise_and", "bitwise_or", "bitwise_xor"))
    neg, abs, sign, square, floor, ceil, round = map(lying, ("neg", "abs", "sign", "square", "floor", "ceil", "round"))
    exp, expm1, sqrt, log, log1p, sin, cos = map(lying, ("exp", "expm1", "sqrt", "log", "log1p", "sin", "cos"))
    tan, tanh, logical_not, isnan, isinf = map(lying, ("tan", "tanh", "logical_not", "isnan", "isinf"))
    isfinite, reciprocal, rsqrt, sigmoid = map(lying, ("isfinite", "reciprocal", "rsqrt", "sigmoid"))
    _cast = lying("cast")

    def copy(self, x):
        return self.as_they_lie(lambda a: a.copy(), x)  # CPU's finds the order by itself, and here it is found already

    def cast(self, x, dtype):
        return x if x.dtype == dtype else self._cast(x, dtype=dtype)

    @wide
    def erf(self, x):
        return self.as_they_lie(self._erf, x)

    # Where CuPy lacks what CPU's line uses, or computes something else

    def one_hot(self, index, n, dtype):
        return (index[..., None] == self.np.arange(n)).astype(dtype)

    def remainder(self, a, b):
        """CuPy's is a - floor(a / b) b, by which 1 % 0.1 is 0"""
        return self._divided(_remainder, super().remainder, a, b)

    def floor_divide(self, a, b):
        """CuPy's is floor(a / b), by which 1 // 0.1 is 10"""
        return self._divided(_floor_divide, super().floor_divide, a, b)

    def _divided(self, of_floats, of_integers, a, b):
        dtype = next(v.dtype for v in (a, b) if isinstance(v, self.array))
        if not is_float(dtype):
            return self.as_they_lie(of_integers, a, b)
        a, b = (self.cast(v, dtype=wide_type(dtype)) if isinstance(v, self.array) else v for v in (a, b))
        return self.cast(self.as_they_lie(of_floats, a, b), dtype=dtype)

    def cat(self, *xs, axis):
        """CuPy's sends the addresses of many small arrays from the host, which a captured step must not"""
        shape, start = list(xs[0].shape), 0
        shape[axis] = sum(x.shape[axis] for x in xs)
        y = windows.empty_like(max(xs, key=lambda x: x.size), shape)
        for x in xs:
            end = start + x.shape[axis]
            self.write_(y[(slice(None),) * axis + (slice(start, end),)], x)
            start = end
        return y


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


def _fill(x: Any, value: Any) -> None:
    x[...] = value


def _remainder(a: Any, b: Any) -> Any:
    """a - floor(a / b) b, with the sign of b, as NumPy: exact, by way of fmod."""
    rest = np.fmod(a, b)
    return np.where((rest != 0) & ((rest < 0) != (b < 0)), rest + b, np.copysign(rest, b))


def _floor_divide(a: Any, b: Any) -> Any:
    """floor(a / b) as NumPy: a less the remainder is a multiple of b, but for its rounding."""
    rest = np.fmod(a, b)
    whole = (a - rest) / b - ((rest != 0) & ((rest < 0) != (b < 0)))
    return np.where((b == 0) & (rest != rest), a / b, np.rint(whole))


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
