"""From the name of a kernel to its run: find its source, specialise, compile, check what it is given, launch.

    launch("matmul_tiles", grid=(4, 4), block=(16, 16), defines={"DTYPE": "float32", "TILE": 16}, x=x, w=w, ..., M=64)

A kernel's own signature says what it takes: arguments go by the names of its parameters, numbers become the types
written there, structures are given as dicts, lists of arrays or numbers (`Arrays<T> ws`, `List<i64> sizes`, lists.cuh)
as lists, and an array that is copied by boxes (`TensorMap x`, hopper.cuh) as `Boxed`. `defines` are what it is compiled
for (dtype, tile shape, flags), never sizes: each new set of them is compiled anew. Which machine compiles and runs is a
parameter: `driver.py`, or the `emulator/`. Next on the way: `launchers/`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .source import KernelError, Parameter, Source, held, kernel_folder, sources

Triple = tuple[int, int, int]


class Runtime(Protocol):
    """Who compiles a source, and runs what comes out."""

    array: Any  # the type of its arrays

    def compile(self, source: Source, defines: Mapping[str, Any]) -> Any:
        """Whatever `run` takes; KernelError with the compiler's words if it refuses."""

    def run(self, compiled: Any, kernel: str, grid: Triple, block: Triple, shared: int, arguments: list[Any]) -> None:
        """One launch. The arguments are arrays, NumPy scalars, 0-d structures, `Listed` or `Boxed`, as the parameters
        are."""


class Strided:
    """An array whose strides the kernel is told: it need not be contiguous."""

    def __init__(self, array: Any):
        if any(s % array.itemsize for s in array.strides):
            raise KernelError(f"strides must be whole elements of {array.itemsize} bytes; got {array.strides}. Copy it")
        self.array = array
        self.strides = tuple(s // array.itemsize for s in array.strides)  # in elements


@dataclass(frozen=True)
class Boxed:
    """An array that a kernel copies by boxes (kernels/hopper.cuh), as it wants to see it: three axes, neighbours first.

    sizes: of the axes; strides: of the second and the third, in bytes, multiples of 16; box: extents of a copy. A row
    of a box has 128 bytes, and is swizzled.
    """

    array: Any
    sizes: Triple
    strides: tuple[int, int]
    box: Triple


LIST = np.dtype([("at", np.uintp), ("size", np.int32)], align=True)  # `struct List` of kernels/lists.cuh


class Listed:
    """A list that a kernel reads in memory: its lines. Those of arrays are addresses, which only a machine knows."""

    def __init__(self, lines: np.ndarray, arrays: Sequence[Any] = ()):
        self.lines, self.arrays = lines, arrays

    def fill(self, address: Callable[[Any], int]) -> None:
        self.lines[: len(self.arrays)] = [address(a) for a in self.arrays]

    def at(self, place: int) -> np.ndarray:
        """What the kernel is handed if the lines are there."""
        return np.array((place, len(self.lines)), LIST)


class Launcher:
    """`launch(kernel, grid, block, defines, **arguments)` on one machine. `counts` tells how often each kernel ran.

    place: the folder of the kernels; None for those of this package.
    """

    def __init__(self, machine: Runtime, place: Path | None = None):
        self.machine, self.place = machine, place
        self.counts: Counter[str] = Counter()
        self._compiled: dict[Any, Any] = {}

    def __call__(
        self,
        kernel: str,
        *,
        grid: tuple[int, ...],
        block: tuple[int, ...],
        defines: Mapping[str, Any],
        shared: int = 0,
        **arguments: Any,
    ) -> None:
        if kernel not in (known := sources(self.place or kernel_folder())):
            raise KernelError(f"{kernel}: no such kernel. There are {', '.join(sorted(known))}")
        source = known[kernel]
        with _named(kernel, defines, arguments):
            converted = self._converted(source, kernel, defines, arguments)
            if 0 not in grid:
                compiled = self.compiled(source, defines)
                self.machine.run(compiled, kernel, _three(grid), _three(block), shared, converted)
                self.counts[kernel] += 1

    def compiled(self, source: Source, defines: Mapping[str, Any]) -> Any:
        key = (self.place, source.file, *defines.items())
        if key not in self._compiled:
            self._compiled[key] = self.machine.compile(source, defines)
        return self._compiled[key]

    def _converted(
        self, source: Source, kernel: str, defines: Mapping[str, Any], arguments: Mapping[str, Any]
    ) -> list[Any]:
        parameters = source.kernels[kernel]
        if {p.name for p in parameters} != set(arguments):
            raise KernelError(f"takes {', '.join(p.name for p in parameters)}; got {', '.join(arguments)}")
        return [self._argument(source, p, arguments[p.name], defines) for p in parameters]

    def _argument(self, source: Source, parameter: Parameter, value: Any, defines: Mapping[str, Any]) -> Any:
        if parameter.pointer:
            return np.uintp(0) if value is None else self._array(parameter, value, held(parameter.target, defines))
        if parameter.boxed:
            self._array(parameter, Strided(value.array), str(defines["DTYPE"]))
            return value
        if parameter.listed:
            name = held(parameter.target, defines)  # the same for all of them
            if parameter.type.startswith("List<"):
                return Listed(np.array(value, name))
            return Listed(np.zeros(len(value), np.uintp), [self._array(parameter, a, name) for a in value])
        if parameter.type in source.structures:
            return _filled(source.structures[parameter.type], value)
        kind = held(parameter.type, defines)
        number = np.dtype(kind).type(value) if kind.startswith("float") else int(value)
        if isinstance(number, int):
            limits = np.iinfo(kind)
            if not limits.min <= number <= limits.max:
                raise KernelError(f"{parameter.name} is a {parameter.type}, at most {limits.max}; got {number}")
            return np.dtype(kind).type(number)
        return number

    def _array(self, parameter: Parameter, value: Any, name: str) -> Any:
        array = value.array if isinstance(value, Strided) else value
        if not isinstance(array, self.machine.array):
            want = f"{self.machine.array.__module__}.{self.machine.array.__name__}"
            raise KernelError(f"{parameter.name} must be a {want}; got {type(array).__name__}")
        if _name(array.dtype) != name:
            raise KernelError(f"{parameter.name} must be {name}; got {array.dtype.name}")
        if array is value and not array.flags.c_contiguous:
            raise KernelError(
                f"{parameter.name} must lie in order C; got shape {array.shape} with strides {array.strides}. Copy it, "
                "or tell the kernel its strides and pass Strided(array)"
            )
        return array


@cache
def _name(dtype: np.dtype) -> str:
    return dtype.name  # NumPy makes it anew each time, in a microsecond


class _named:
    """Errors of a launch get the kernel's name, its defines and the shapes of its arrays in front."""

    def __init__(self, kernel: str, defines: Mapping[str, Any], arguments: Mapping[str, Any]):
        self.kernel, self.defines, self.arguments = kernel, defines, arguments

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, KernelError):
            flags = " ".join(f"-D{name}={value}" for name, value in self.defines.items())
            arrays = [(name, getattr(a, "array", a)) for name, a in self.arguments.items()]
            shapes = [f"{name} {a.shape}" for name, a in arrays if hasattr(a, "shape")]
            shapes += [f"{len(a)} {name}" for name, a in arrays if type(a) is list]
            raise KernelError(f"{self.kernel} ({flags}; {', '.join(shapes)}): {error}") from None


def _filled(dtype: np.dtype, value: Mapping[str, Any]) -> np.ndarray:
    """A 0-d structure with the fields of a dict. What a list leaves free is zero."""
    structure = np.zeros((), dtype)
    for name in dtype.names or ():
        try:
            if structure[name].ndim:
                structure[name][: len(value[name])] = value[name]
            else:
                structure[name] = value[name]
        except OverflowError:
            most = np.iinfo(structure[name].dtype).max
            raise KernelError(f"{name} is an integer of at most {most}; got {value[name]}") from None
    return structure


def _three(n: tuple[int, ...]) -> Triple:
    x, y, z = (*n, 1, 1)[:3]
    return x, y, z
