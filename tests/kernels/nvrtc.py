"""NVIDIA's compiler by plain ctypes: from a .cu file to the code of an architecture, with neither GPU nor driver.

The library comes in the wheel `nvidia-cuda-nvrtc`. `ptxas -v` in its log tells what each kernel uses. What was compiled
is kept in ~/.cache/tinygrad_fast/nvrtc, by the text without comments, what it was compiled with and the compiler.
"""

import ctypes as C
import hashlib
import importlib.util
import os
import pickle
import re
import tempfile
import time
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tinygrad_fast.backend.emulator import build


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
    """A source, compiled; or what was kept of it. Raises Refused."""
    code = re.sub(r"//.*|^#line.*", "", text, flags=re.M)
    made_of = "\0".join((_by(), code, architecture, *sorted(defines)))
    path = _kept() / hashlib.sha256(made_of.encode()).hexdigest()[:32]
    if build._touched(path):
        return pickle.loads(zlib.decompress(path.read_bytes()))
    found = _compiled(text, architecture, *defines)
    with tempfile.NamedTemporaryFile(dir=_kept(), delete=False) as part:
        part.write(zlib.compress(pickle.dumps(found)))
    os.replace(part.name, path)  # whole, or not there
    return found


@cache
def _by():
    """Which compiler, and how it is asked: this file."""
    path = Path(library()._name)
    return f"{path.name} {path.stat().st_size} {Path(__file__).read_text()}"


@cache
def _kept():
    """The folder; what nobody has asked for in a month goes."""
    folder = build.cache_folder().with_name("nvrtc")
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        if time.time() - build._used(path)[0] > build.MONTH:
            path.unlink(missing_ok=True)
    return folder


def _compiled(text, architecture, *defines):
    nvrtc, program, size = library(), C.c_void_p(), C.c_size_t()
    nvrtc.nvrtcCreateProgram(C.byref(program), text.encode(), b"kernel.cu", 0, None, None)
    flags = [f"-arch={architecture}", "-std=c++17", "-ftz=true"]  # as CuPy asks for it
    flags += ["--ptxas-options=-v", *(f"-D{define}" for define in defines)]
    failed = nvrtc.nvrtcCompileProgram(program, len(flags), (C.c_char_p * len(flags))(*(f.encode() for f in flags)))
    nvrtc.nvrtcGetProgramLogSize(program, C.byref(size))
    log = C.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    said = log.value.decode()
    if failed or "warning" in said or "C75" in said:  # info C7510 to C7519: wgmma one after the other
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
