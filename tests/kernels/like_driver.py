"""What stands behind kernels for one architecture (like_cupy.py): NVRTC by itself, and the driver's tensor maps.

As strict as the manuals: a source that needs sm_90a is compiled for nothing else, a cubin is loaded by the GPU that it
is for, and a tensor map that the manual forbids is refused.
"""

import ctypes as C
import itertools
import json
from pathlib import Path

import numpy as np

from tinygrad_fast.backend.emulator import MAP
from tinygrad_fast.backend.source import kernel_folder, sources

GPU = "sm_90"  # and what is of it alone, sm_90a


def known(text):
    """The source of a kernel of ours, or of a test's, by its text."""
    every = [*sources(kernel_folder()).values(), *sources(Path(__file__).parent).values()]
    return next((s for s in every if s.text == text), None)


def defined(options):
    """-DNAME=value"""
    return dict(o[2:].split("=") for o in options if o.startswith("-D"))


# NVRTC


class NVRTCError(RuntimeError):
    pass


numbers = itertools.count(1)
programs = {}  # by number: text, cubin, log; those that nobody has destroyed
compiled = []  # the options of each compilation


def createProgram(src, name, headers, include_names):
    assert type(src) is type(name) is str and len(headers) == len(include_names)
    programs[number := next(numbers)] = [src, None, ""]
    return number


def compileProgram(prog, options):
    assert all(type(o) is str for o in options)
    compiled.append(tuple(options))
    [architecture] = [o.removeprefix("-arch=") for o in options if o.startswith("-arch=")]
    source = known(programs[prog][0])
    if not source or source.architecture(defined(options)) not in ("", architecture):
        programs[prog][2] = f"kernel.cu(1): error: not supported on .target '{architecture}'"
        raise NVRTCError("NVRTC_ERROR_COMPILATION (6)")
    programs[prog][1] = json.dumps([architecture, source.text, options]).encode()


def getCUBIN(prog):
    """As CuPy's: without the last byte."""
    return programs[prog][1]


def getProgramLog(prog):
    return programs[prog][2]


def destroyProgram(prog):
    del programs[prog]


def opened(cubin):
    """(source, options) of what is in a file; None if this GPU cannot run it."""
    if not cubin.endswith(b"\0"):
        return None  # cut off
    architecture, text, options = json.loads(cubin[:-1])
    return (known(text), options) if architecture in (GPU, GPU + "a") else None


# The driver

BYTES = {6: 2, 9: 2}  # of an element: float16, bfloat16
SWIZZLE_128, INVALID_VALUE = 3, 1
maps = []  # what was asked for


def cuTensorMapEncodeTiled(to, dtype, rank, address, sizes, strides, box, steps, interleave, swizzle, promotion, fill):
    """A map as the emulator reads it; an error for what the manual forbids."""
    maps.append(dict(sizes=tuple(sizes), strides=tuple(strides), box=tuple(box), dtype=dtype))
    element, row = BYTES.get(dtype, 0), box[0] * BYTES.get(dtype, 0)
    holds = (
        to.value % 64 == 0,
        element > 0 and rank == 3 == len(sizes) == len(strides) + 1 == len(box) == len(steps),
        address.value and address.value % 16 == 0,
        all(0 < n <= 1 << 32 for n in sizes),
        all(s % 16 == 0 and s < 1 << 40 for s in strides),
        strides[0] >= sizes[0] * element and strides[1] >= strides[0] * sizes[1] and strides[1] % strides[0] == 0,
        all(0 < n <= 256 for n in box) and row % 16 == 0,
        row <= 128 and swizzle == SWIZZLE_128,
        list(steps) == [1, 1, 1] and interleave == fill == 0 and promotion in range(4),
    )
    if not all(holds):
        return INVALID_VALUE
    map = np.array((address.value, list(sizes), list(strides), list(box), element, swizzle, 0), MAP)
    C.memmove(to.value, map.ctypes.data, 128)
    return 0
