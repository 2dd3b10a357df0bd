"""Kernels on a GPU: NVRTC compiles them, the driver runs them, both through CuPy. A machine for `launch.py`."""

from __future__ import annotations

import ctypes as C
import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from .launch import Boxed, Listed, Triple
from .source import KernelError, Source


class CuPy:
    """NVRTC and the driver, through CuPy: `RawModule` keeps what it compiled on disk.

    host_input: make -> where make() stands on the GPU by the time a kernel reads it, also at each replay of a captured
    step.
    """

    def __init__(self, cupy: Any, host_input: Callable[[Callable[[], np.ndarray]], Any]):
        self.cupy, self.array, self.host_input = cupy, cupy.ndarray, host_input

    def compile(self, source: Source, defines: Mapping[str, Any]) -> Any:
        options = ("-std=c++17", *(f"-D{name}={value}" for name, value in defines.items()))
        if architecture := source.architecture(defines):
            return self._compiled_for(architecture, source.text, options)
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
        options, sm_90, which has none of the instructions that sm_90a has. What else it appends stands here."""
        options = (f"-arch={architecture}", "-ftz=true", *options)
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
        lists = [a for a in arguments if isinstance(a, Listed)]
        places = iter(self._sent(lists) if lists else ())
        given = tuple(next(places) if isinstance(a, Listed) else self._given(a) for a in arguments)
        try:
            if shared > 48 << 10:  # more than that must be asked for
                function.max_dynamic_shared_size_bytes = shared
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
        place = self.host_input(lambda: row)
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
    refused = cuda_driver().cuTensorMapEncodeTiled(
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
def cuda_driver() -> Any:
    """The CUDA driver's own library."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        library = C.CDLL(name)
        library.cuTensorMapEncodeTiled  # noqa: B018
    except (OSError, AttributeError) as e:
        raise KernelError(f"tensor maps need {name} of CUDA 12 or later: {e}. Update the GPU's driver") from None
    return library
