"""Kernels without a GPU: the same .cu files, compiled by a C++ compiler and run on the CPU, one block at a time.

`cuda.h` gives the compiler CUDA's words; `machine.cpp` runs a block's threads as fibers and says where a barrier or a
warp waits in vain; `checker.cpp` watches every access to memory in the checking mode. `build.py` finds a compiler and
keeps what it built; `elf.py` finds the shared memory in that. This file loads a library, hands it a launch, and says in
words what went wrong; `trace.py`, what a thread did.
"""

from __future__ import annotations

import ctypes as C
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from functools import cache, cached_property
from typing import Any

import numpy as np

from ..launch import Boxed, Listed, Triple
from ..source import KernelError, Parameter, Source
from . import build, elf
from .places import chains, in_shared
from .trace import trace as trace, wanting

RED = 4096  # bytes around every array that belong to nobody, in the checking mode


def why_not() -> str:
    """Why nothing can be emulated here; "" where it can."""
    try:
        build.compiler()
    except build.NoCompiler as e:
        return str(e)
    return ""


class _Three(C.Structure):
    _fields_ = [(axis, C.c_uint) for axis in "xyz"]

    def __str__(self) -> str:
        return f"({self.x}, {self.y}, {self.z})"


class _Fault(C.Structure):
    """`struct Fault` of machine.h"""

    _fields_ = [
        *(("what", C.c_char_p), ("file", C.c_char_p), ("line", C.c_int), ("word", C.c_char_p), ("code", C.c_longlong)),
        *(("block", _Three), ("thread", _Three), ("space", C.c_int), ("offset", C.c_longlong), ("bytes", C.c_int)),
        *(("owner", _Three), ("other", _Three), ("other_block", _Three)),
        *(("also_file", C.c_char_p), ("also_line", C.c_int), ("also_word", C.c_char_p)),
    ]


class Library:
    """A compiled source. checked: in the form in which each access to memory is seen."""

    def __init__(self, source: Source, defines: Mapping[str, Any], checked: bool):
        flags = [f"{name}={value}" for name, value in defines.items()]
        try:
            self.path = build.library(source, flags, checked)
        except build.NoCompiler as e:
            raise KernelError(str(e)) from None
        except subprocess.CalledProcessError as e:
            raise KernelError(f"the C++ compiler refused it:\n{e.stderr.strip()}") from None
        self.source, self.defines, self.loaded = source, defines, C.CDLL(str(self.path))
        self.fault = _Fault.in_dll(self.loaded, "emulator_fault")
        self.watch, self.trace = self.loaded.emulator_watch, self.loaded.emulator_trace
        self.watch.argtypes = [C.c_void_p, C.c_longlong, C.c_void_p]
        self.trace.argtypes = [C.c_void_p, C.c_longlong, *[C.c_uint] * 3, *[C.c_int] * 2]
        if checked and not elf.is_known(self.path):
            _say_what_is_not_watched()
        self.shared = elf.shared_arrays(self.path)
        places = np.array([each[1:] for each in self.shared], np.int64)
        self.loaded.emulator_fixed(C.c_void_p(places.ctypes.data), C.c_int(len(places)))

    @cached_property
    def checked(self) -> Library:
        """The same, in that form."""
        return Library(self.source, self.defines, True)


@cache
def _say_what_is_not_watched() -> None:
    print(
        "emulator: the checking mode finds __shared__ arrays in ELF files alone (Linux), and this system has others: "
        "races in them, and reads of what nobody wrote there, go unseen; global memory is watched",
        file=sys.stderr,
    )


class Emulator:
    """A machine for `launch.py`. `check=True` watches every access to memory, some ten times slower.

    It then reports accesses outside an array, reads of what nobody wrote, and races, with kernel, block, thread and
    line. An array that a kernel may write (`T* y`) counts as unwritten when it starts, unless its name or the kernel's
    ends in `_`, changed in place. Barriers that not all threads reach, and warps that do not meet, are reported always.
    `__shared__` arrays are watched on Linux alone (`elf.py`); elsewhere the first check says so.
    """

    array = np.ndarray

    def __init__(self, check: bool = False):
        self.check = check
        self._lock = threading.Lock()  # a library has one machine, and one launch at a time

    def compile(self, source: Source, defines: Mapping[str, Any]) -> Library:
        return Library(source, defines, self.check)

    def run(self, library: Any, kernel: str, grid: Triple, block: Triple, shared: int, arguments: list[Any]) -> None:
        with self._lock:
            if (seen := wanting(kernel)) or self.check:
                self._checked(library.checked if seen else library, kernel, grid, block, shared, arguments, seen)
            else:
                _fill(arguments, _address)
                self._launch(library, kernel, grid, block, shared, [_value(a, _address) for a in arguments], [])

    def _launch(self, library, kernel, grid, block, shared, values, arrays):
        pointers = (C.c_void_p * len(values))(*(v.ctypes.data for v in values))
        three = C.c_uint * 3
        getattr(library.loaded, f"emulate_{kernel}")(three(*grid), three(*block), C.c_int(shared), pointers)
        if library.fault.what:
            raise KernelError(_told(library, arrays))

    def _checked(self, library, kernel, grid, block, shared, arguments, seen):
        """The arrays move into one piece of memory with red zones between them, each byte marked, and back."""
        spans = list(_spans(library.source.kernels[kernel], arguments))
        size = RED
        for span in spans:
            span.start, size = size, (size + span.bytes + 2 * RED) // RED * RED
        memory, marks = np.full(size, 0xFF, np.uint8), np.zeros(size, np.uint8)
        moved = {id(span.array): span.copied(memory).ctypes.data for span in spans}
        _fill(arguments, lambda array: moved[id(array)])
        for span in spans:
            span.copied(memory)[...] = span.array
            span.marked(marks)[...] = 1 if self.check and span.parameter.writes_only and not kernel.endswith("_") else 2
        library.watch(memory.ctypes.data, size, marks.ctypes.data)
        try:
            values = [_value(a, lambda array: moved[id(array)]) for a in arguments]
            with seen.watching(library, kernel, grid, block, spans) if seen else nullcontext():
                self._launch(library, kernel, grid, block, shared, values, spans)
        finally:
            library.watch(None, 0, None)
        for span in spans:
            if not span.parameter.reads_only:
                span.array[...] = span.copied(memory)


class _Span:
    """An array's place in the memory of a checked launch."""

    def __init__(self, parameter: Parameter, name: str, array: np.ndarray):
        self.parameter, self.name, self.array, self.start = parameter, name, array, 0
        reach = [(n - 1) * s for n, s in zip(array.shape, array.strides)] if array.size else []
        self.before = -sum(r for r in reach if r < 0)  # bytes below the first element
        self.bytes = self.before + sum(r for r in reach if r > 0) + array.itemsize if array.size else 0

    def copied(self, memory: np.ndarray) -> np.ndarray:
        a = self.array
        return np.ndarray(a.shape, a.dtype, memory.data, self.start + self.before, a.strides)

    def marked(self, marks: np.ndarray) -> np.ndarray:
        a = self.array
        return np.ndarray((*a.shape, a.itemsize), np.uint8, marks.data, self.start + self.before, (*a.strides, 1))


def _spans(parameters: Iterable[Parameter], arguments: list[Any]) -> Iterator[_Span]:
    for p, a in zip(parameters, arguments):
        if isinstance(a, Listed):
            yield _Span(Parameter("const " + p.type, p.name), p.name, a.lines)
            yield from (_Span(p, f"{p.name}[{i}]", array) for i, array in enumerate(a.arrays))
        elif isinstance(a, Boxed):
            yield _Span(p, p.name, a.array)
        elif p.pointer and isinstance(a, np.ndarray):
            yield _Span(p, p.name, a)


def _fill(arguments: list[Any], address: Callable[[np.ndarray], int]) -> None:
    for a in arguments:
        if isinstance(a, Listed):
            a.fill(address)


def _address(array: np.ndarray) -> int:
    return array.ctypes.data


def _value(argument: Any, address: Callable[[np.ndarray], int]) -> np.ndarray:
    """What the kernel is handed, where it can be pointed at: a number, a structure, an array's or a list's address."""
    if isinstance(argument, Listed):
        return argument.at(address(argument.lines))
    if isinstance(argument, Boxed):
        return _map(argument, address)
    if isinstance(argument, np.ndarray) and argument.dtype.names is None:
        return np.array(address(argument), np.uintp)
    return np.asarray(argument)


MAP = np.dtype(  # `struct Boxes` of machine.h
    [
        *(("array", np.uint64), ("size", np.uint64, 3), ("stride", np.uint64, 2), ("box", np.uint32, 3)),
        *(("element", np.uint32), ("swizzle", np.uint32), ("rest", np.uint8, 60)),
    ]
)


def _map(boxed: Boxed, address: Callable[[np.ndarray], int]) -> np.ndarray:
    a = boxed.array
    row = (address(a), boxed.sizes, boxed.strides, boxed.box, a.itemsize, 3, 0)  # 3: swizzled in rows of 128 bytes
    return np.array(row, MAP)


def _told(library: Library, arrays: list[_Span]) -> str:
    """A fault in words: what, which thread, where."""
    fault = library.fault
    text = f"thread {fault.thread} of block {fault.block} {fault.what.decode()}"
    if not fault.code and not fault.file:
        return fault.what.decode()
    near = str(fault.other_block) == str(fault.block)
    if "same time" in text and not (near and str(fault.other) == str(fault.thread)):
        text += f" (thread {fault.other})" if near else f" (thread {fault.other} of block {fault.other_block})"
    if text.endswith("than"):
        text += f" thread {fault.other}"
    if fault.space == 1:
        at = fault.offset
        span = min(arrays, key=lambda s: max(s.start - at, at - s.start - s.bytes))  # the nearest
        past = at - span.start - span.bytes
        name, size = span.name, span.array.itemsize
        text += f": {fault.bytes} bytes " + (
            f"{past} past the end of {name}" if past >= 0
            else f"{span.start - at} before {name}" if at < span.start
            else f"at element {(at - span.start - span.before) // size} of {name}"
        )  # fmt: skip
    elif fault.space == 2:
        text += f": {fault.bytes} bytes {in_shared(library, fault.offset, fault.bytes)} in shared memory"
    elif fault.space == 3:
        text += f": {fault.bytes} bytes at byte {fault.offset} of shared memory"
        if str(fault.owner) != str(fault.block):
            text += f" of block {fault.owner}"
    if fault.file:
        text += f"\n  at {fault.file.decode()}:{fault.line}"
    [chain] = chains(library.path, [fault.code]) if fault.code else [[]]
    text += "".join(f"\n  at {file}:{line}" for file, line in chain)
    if fault.also_file:
        who = "the copy" if fault.code else f"thread {fault.other}"
        text += f"\n  {who} at {fault.also_file.decode()}:{fault.also_line}"
    return text
