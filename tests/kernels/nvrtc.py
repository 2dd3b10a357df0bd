"""NVIDIA's compiler by plain ctypes: from a .cu file to the code of an architecture, with neither GPU nor driver.

The library comes in the wheel `nvidia-cuda-nvrtc`. `ptxas -v` in its log tells what each kernel uses.
"""

import ctypes as C
import importlib.util
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path


class Refused(Exception):
    """The compiler's words."""


@dataclass(frozen=True)
class Use:
    """What a kernel takes of the machine: registers of a thread and shared bytes of a block; and the bytes of a thread
    that lie in memory: registers that were too many (spilled), arrays looked up by a number not known before (stack).
    """

    registers: int
    spilled: int
    stack: int
    shared: int


@dataclass(frozen=True)
class Compiled:
    """A source for one architecture: what each of its kernels uses, and their code."""

    uses: dict[str, Use]
    cubin: bytes


@cache
def library():
    """libnvrtc, or None with the reason in `why_not`."""
    spec = importlib.util.find_spec("nvidia")
    places = [Path(p) for p in spec.submodule_search_locations] if spec else []
    for place in places:
        for path in sorted(place.rglob("libnvrtc.so.*")):
            [builtins] = path.parent.glob("libnvrtc-builtins.so.*")
            C.CDLL(str(builtins), mode=C.RTLD_GLOBAL)
            return C.CDLL(str(path))
    return None


why_not = "the wheel nvidia-cuda-nvrtc is not installed (it exists for Linux and Windows)"


@cache
def compiled(text, architecture, *defines):
    """A source, compiled. Raises Refused."""
    nvrtc, program, size = library(), C.c_void_p(), C.c_size_t()
    nvrtc.nvrtcCreateProgram(C.byref(program), text.encode(), b"kernel.cu", 0, None, None)
    flags = [f"-arch={architecture}", "-std=c++17", "--ptxas-options=-v", *(f"-D{define}" for define in defines)]
    failed = nvrtc.nvrtcCompileProgram(program, len(flags), (C.c_char_p * len(flags))(*(f.encode() for f in flags)))
    nvrtc.nvrtcGetProgramLogSize(program, C.byref(size))
    log = C.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    said = log.value.decode()
    if failed or "warning" in said:
        raise Refused(said)
    nvrtc.nvrtcGetCUBINSize(program, C.byref(size))
    cubin = C.create_string_buffer(size.value)
    nvrtc.nvrtcGetCUBIN(program, cubin)
    nvrtc.nvrtcDestroyProgram(C.byref(program))
    return Compiled(dict(_uses(said)), cubin.raw)


def _uses(log):
    for part in log.split("Compiling entry function")[1:]:
        name = re.match(r" '(\w+)'", part)[1]
        registers = re.search(r"Used (\d+) registers", part)[1]
        stack, *spilled = re.search(
            r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", part
        ).groups()
        shared = re.search(r"(\d+) bytes smem", part)
        yield name, Use(int(registers), sum(map(int, spilled)), int(stack), int(shared[1]) if shared else 0)
