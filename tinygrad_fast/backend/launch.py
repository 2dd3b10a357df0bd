"""From the name of a kernel to its run: find its source, specialise, compile, check what it is given, launch.

    launch("matmul_tiles", grid=(4, 4), block=(16, 16), defines={"DTYPE": "float32", "TILE": 16}, x=x, w=w, ..., M=64)

A kernel's own signature says what it takes: arguments go by the names of its parameters, numbers become the types
written there, structures are given as dicts, lists of arrays or numbers (`Arrays<T> ws`, `List<i64> sizes`, lists.cuh)
as lists, and an array that is copied by boxes (`TensorMap x`, hopper.cuh) as `Boxed`. `defines` are what it is compiled
for (dtype, tile shape, flags), never sizes: each new set of them is compiled anew. Which machine compiles and runs is a
parameter: `CuPy` here, or the `emulator/`. Next on the way: `launchers/`.
"""

from __future__ import annotations

import ctypes as C
import hashlib
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

Triple = tuple[int, int, int]


class KernelError(RuntimeError):
    """A kernel that could not be compiled, was given what it does not take, or failed: which, with what, and why."""


# ---------------------------------------------------------------------------------------------------------- sources


@dataclass(frozen=True)
class Parameter:
    """One parameter of a kernel, as C spells it: `const T* x`, `int M`, `Batch batch`, `Arrays<const T> gs`,
    `List<i64> sizes`, `const __grid_constant__ TensorMap x`."""

    type: str
    name: str

    @property
    def pointer(self) -> bool:
        return self.type.endswith("*")

    @property
    def listed(self) -> bool:
        """True for a list, of arrays or of numbers."""
        return self.type.startswith(("Arrays<", "List<"))

    @property
    def boxed(self) -> bool:
        """True for an array that the kernel knows by a tensor map."""
        return self.type == "const TensorMap"

    @property
    def reads_only(self) -> bool:
        return self.type.removeprefix("Arrays<").startswith("const ")

    @property
    def writes_only(self) -> bool:
        """What it holds when the kernel starts means nothing; changed in place are those whose name ends in _."""
        return not self.reads_only and not self.name.endswith("_")

    @property
    def target(self) -> str:
        """What a pointer, or each of a list of them, points to; or what is in a list of numbers."""
        return re.sub("^(Arrays<|List<)?(const )?", "", self.type).rstrip("*>").strip()


@dataclass(frozen=True)
class Source:
    """A .cu file with the files that it includes pasted in, and what it says of its kernels and structures."""

    file: str
    text: str
    kernels: Mapping[str, tuple[Parameter, ...]]
    structures: Mapping[str, np.dtype]
    clusters: Mapping[str, int]  # kernels whose blocks run together along x, and how many of them
    needs: str = ""  # the only architecture that it is for, if it says so: "NEEDS     sm_90a"


@cache
def folder() -> Path:
    """Where the kernels are: inside an installed package, beside it in a checkout."""
    package = Path(__file__).parents[1]
    for place in (package / "kernels", package.parent / "kernels"):
        if (place / "common.cuh").exists():
            return place
    raise KernelError(
        f"kernels: common.cuh must be in {package / 'kernels'} (installed) or {package.parent / 'kernels'} (a checkout)"
        "; it is in neither. Install tinygrad_fast again"
    )


@cache
def sources(place: Path) -> dict[str, Source]:
    """The source of every kernel in a folder, by the kernel's name."""
    found = [read(path) for path in sorted(place.glob("*.cu"))]
    return {kernel: source for source in found for kernel in source.kernels}


def read(path: Path) -> Source:
    """A file as the compiler gets it. `#line` keeps its messages about the file and line that a person can open."""
    text = _pasted(path, set())
    bare = re.sub(r"//.*", "", text)
    attributes = r"(?: __cluster_dims__\((\d+), 1, 1\))?(?: __launch_bounds__\([^)]*\))?"
    kernels = re.findall(rf'extern "C" __global__ void{attributes}\s+(\w+)\(([^)]*)\)', bare)
    structures = re.findall(r"^struct (\w+) \{([^}]*)\};", bare, re.M)
    return Source(
        path.name,
        text,
        {name: tuple(map(_parameter, given.split(","))) for _, name, given in kernels},
        {name: _structure(members) for name, members in structures},
        {name: int(blocks) for blocks, name, _ in kernels if blocks},
        found[1] if (found := re.search(r"^// NEEDS +(sm_\w+)", text, re.M)) else "",
    )


def _pasted(path: Path, seen: set[str]) -> str:
    lines = [f'#line 1 "{path.name}"']
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if include := re.match(r'#include "(\w+\.cuh)"', line):
            if include[1] not in seen:
                seen.add(include[1])
                place = path.parent if (path.parent / include[1]).exists() else folder()
                lines += [_pasted(place / include[1], seen), f'#line {number + 1} "{path.name}"']
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"


def _parameter(spelled: str) -> Parameter:
    words = re.sub(r"__restrict__|__grid_constant__", " ", spelled).replace("*", "* ").split()
    return Parameter(" ".join(words[:-1]).replace(" *", "*"), words[-1])


NUMBERS = {"int": "int32", "unsigned": "uint32", "u32": "uint32", "u16": "uint16", "unsigned char": "uint8"}
NUMBERS |= {"i64": "int64", "long long": "int64", "float": "float32", "double": "float64"}


def _structure(members: str) -> np.dtype:
    """The NumPy dtype that lies in memory as a C structure does."""
    fields = []
    for line in filter(None, map(str.strip, members.split(";"))):
        kind = next((c for c in sorted(NUMBERS, key=len, reverse=True) if line.startswith(c + " ")), None)
        if kind is None or "*" in line.removeprefix(kind):
            return np.dtype([])  # not made of numbers alone: no parameter
        for name in line.removeprefix(kind).split(","):
            sized = re.fullmatch(r"(\w+)(?:\[(\d+)\])?", name.strip())
            assert sized, f"structure member {line!r}"
            fields.append((sized[1], NUMBERS[kind], (int(sized[2]),)) if sized[2] else (sized[1], NUMBERS[kind]))
    return np.dtype(fields, align=True)


# --------------------------------------------------------------------------------------------------------- machines


class Machine(Protocol):
    """Who compiles a source, and runs what comes out."""

    array: Any  # the type of its arrays

    def compile(self, source: Source, defines: Mapping[str, Any]) -> Any:
        """Whatever `run` takes; KernelError with the compiler's words if it refuses."""

    def run(self, compiled: Any, kernel: str, grid: Triple, block: Triple, shared: int, arguments: list[Any]) -> None:
        """One launch. The arguments are arrays, NumPy scalars, 0-d structures, `Listed` or `Boxed`, as the parameters
        are."""


class CuPy:
    """NVRTC and the driver, through CuPy: `RawModule` keeps what it compiled on disk.

    told: make -> where make() stands on the GPU by the time a kernel reads it, at each replay of a captured step too.
    """

    def __init__(self, cupy: Any, told: Callable[[Callable[[], np.ndarray]], Any]):
        self.cupy, self.array, self.told = cupy, cupy.ndarray, told

    def compile(self, source: Source, defines: Mapping[str, Any]) -> Any:
        options = ("-std=c++17", *(f"-D{name}={value}" for name, value in defines.items()))
        if source.needs:
            return self._compiled_for(source.needs, source.text, options)
        module = self.cupy.RawModule(code=source.text, options=options)
        try:
            module.compile()
        except self.cupy.cuda.compiler.CompileException as e:
            raise KernelError(str(e)) from None
        return self._functions(module)

    def _functions(self, module: Any) -> Any:
        """A module's functions by name: CuPy asks the driver anew each time, a launch's worth of work."""
        return cache(module.get_function)

    def _compiled_for(self, architecture: str, text: str, options: tuple[str, ...]) -> Any:
        """By NVRTC itself, and kept beside what CuPy keeps: `RawModule` appends the GPU's own architecture to the
        options, sm_90, which has none of the instructions that sm_90a has."""
        options = (f"-arch={architecture}", *options)
        made_of = repr((self.cupy.cuda.nvrtc.getVersion(), options, text)).encode()
        kept = Path(os.environ.get("CUPY_CACHE_DIR", Path.home() / ".cupy" / "kernel_cache"))
        path = kept / f"tinygrad_fast-{hashlib.sha256(made_of).hexdigest()[:32]}.cubin"
        if not path.exists():
            cubin = self._cubin(text, options)
            kept.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=kept, delete=False) as part:
                part.write(cubin)
            os.replace(part.name, path)  # whole, or not there
        module = self.cupy.RawModule(path=str(path))
        module.compile()  # loads it
        return self._functions(module)

    def _cubin(self, text: str, options: tuple[str, ...]) -> bytes:
        """A cubin, whole: CuPy takes its last byte, a zero, for the end of a text, and leaves it out."""
        nvrtc = self.cupy.cuda.nvrtc
        program = nvrtc.createProgram(text, "kernel.cu", (), ())
        try:
            nvrtc.compileProgram(program, options)
            return nvrtc.getCUBIN(program) + b"\0"
        except nvrtc.NVRTCError as e:
            raise KernelError(nvrtc.getProgramLog(program) or str(e)) from None
        finally:
            nvrtc.destroyProgram(program)

    def run(self, compiled: Any, kernel: str, grid: Triple, block: Triple, shared: int, arguments: list[Any]) -> None:
        function = compiled(kernel)
        if shared > 48 << 10:  # more than that must be asked for
            function.max_dynamic_shared_size_bytes = shared
        lists = [a for a in arguments if isinstance(a, Listed)]
        places = iter(self._sent(lists) if lists else ())
        given = tuple(next(places) if isinstance(a, Listed) else self._given(a) for a in arguments)
        try:
            function(grid, block, given, shared_mem=shared)
        except self.cupy.cuda.driver.CUDADriverError as e:
            raise KernelError(
                f"the driver refuses grid {grid}, block {block} and {shared} bytes of shared memory, or an earlier "
                f"launch has failed: {e}"
            ) from None

    def _sent(self, lists: list[Listed]) -> Iterator[np.ndarray]:
        """Where each of some lists lies on the GPU: they go there in a row, by one copy."""
        for each in lists:
            each.fill(lambda array: array.data.ptr)
        row = np.concatenate([each.lines.view(np.uint8) for each in lists])
        place = self.told(lambda: row)
        start = place.data.ptr
        for each in lists:
            yield each.at(start)
            start += each.lines.nbytes

    def _given(self, argument: Any) -> Any:
        if isinstance(argument, Boxed):
            a = argument
            return tensor_map(a.array.data.ptr, a.array.dtype.name, a.sizes, a.strides, a.box)
        return argument


ELEMENTS = {"float16": 6, "bfloat16": 9}  # CUtensorMapDataType
SWIZZLE_128, PROMOTE_256 = 3, 3  # CUtensorMapSwizzle; CUtensorMapL2promotion: to L2 in whole lines of 256 bytes


@lru_cache(maxsize=4096)
def tensor_map(address: int, dtype: str, sizes: Triple, strides: tuple[int, int], box: Triple) -> np.ndarray:
    """A `Boxed` array as the driver writes it down, for which CuPy has no function. KernelError if it refuses."""
    memory = C.create_string_buffer(128 + 64)
    start = -C.addressof(memory) % 64  # it must begin at a multiple of 64
    refused = driver().cuTensorMapEncodeTiled(
        C.c_void_p(C.addressof(memory) + start),
        *(ELEMENTS[dtype], 3, C.c_void_p(address), (C.c_uint64 * 3)(*sizes), (C.c_uint64 * 2)(*strides)),
        *((C.c_uint32 * 3)(*box), (C.c_uint32 * 3)(1, 1, 1)),
        *(0, SWIZZLE_128, PROMOTE_256, 0),  # not interleaved; zeros outside
    )
    if refused:
        raise KernelError(
            f"the driver makes no tensor map (CUDA error {refused}) of {dtype} {sizes} with strides {strides} bytes, "
            f"box {box}, at {address:#x}: the address and strides must be multiples of 16, strides below 2^40, and "
            "each hold the axes before it a whole number of times"
        )
    return np.frombuffer(memory.raw, np.dtype([("opaque", np.uint64, 16)]), 1, start).reshape(())


@cache
def driver() -> Any:
    """The CUDA driver's own library."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        library = C.CDLL(name)
        library.cuTensorMapEncodeTiled  # noqa: B018
    except (OSError, AttributeError) as e:
        raise KernelError(f"tensor maps need {name} of CUDA 12 or later: {e}. Update the GPU's driver") from None
    return library


# --------------------------------------------------------------------------------------------------------- launching


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

    def __init__(self, machine: Machine, place: Path | None = None):
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
        if kernel not in (known := sources(self.place or folder())):
            raise KernelError(f"{kernel}: no such kernel. There are {', '.join(sorted(known))}")
        source = known[kernel]
        with _named(kernel, defines, arguments):
            converted = self._converted(source, kernel, defines, arguments)
            if 0 not in grid:
                compiled = self.compiled(source, defines)
                self.machine.run(compiled, kernel, _three(grid), _three(block), shared, converted)
                self.counts[kernel] += 1

    def compiled(self, source: Source, defines: Mapping[str, Any]) -> Any:
        key = (source.file, *defines.items())
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


def held(spelled: str, defines: Mapping[str, Any]) -> str:
    """The dtype of a C type: T is what the kernel is compiled for, A what that is computed in (common.cuh); another
    name that it is compiled with stands for what it is defined as (-DTAP=uint8)."""
    if spelled == "A":
        return "float64" if defines["DTYPE"] == "float64" else "float32"
    if spelled == "T" or spelled in defines:
        return held(str(defines["DTYPE" if spelled == "T" else spelled]), defines)
    return NUMBERS.get(spelled, spelled)


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
