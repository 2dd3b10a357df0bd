"""The stand-in beside the CuPy that is installed: names, parameters, defaults. Its import needs no GPU.

Much of CuPy is compiled by Cython and says in the first line of its documentation what it takes. The stand-in may take
less than CuPy, and nothing else: what a launcher gives to it CuPy takes too, and by the same names.
"""

import functools
import inspect
import re
import struct
from pathlib import Path

import pytest

from tinygrad_fast.backend import driver

from . import like_cuda, like_cupy

real = like_cupy.real
pytestmark = pytest.mark.skipif(
    not real, reason="CuPy is not installed (pip install cupy-cuda13x); its import needs no GPU"
)
ROOT = Path(__file__).parents[2]
FREE = inspect.Parameter.empty  # no default
VARIOUS = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def at(root, path):
    return functools.reduce(getattr, path.split("."), root)


def parameters(f):
    """(name, default, only by keyword) of each, without `self`."""
    try:
        found = [
            (p.name, p.default, p.kind is p.KEYWORD_ONLY)
            for p in inspect.signature(f).parameters.values()
            if p.kind not in VARIOUS
        ]
    except (TypeError, ValueError):  # "RawModule(str code=None, *, tuple options=())"
        found, only = [], False
        for part in re.search(r"\((.*)\)", f.__doc__.strip().partition("\n")[0])[1].split(", "):
            name, has, default = part.partition("=")
            only |= name == "*"
            if name.strip("*"):
                found.append((name.split()[-1], eval(default) if has else FREE, only))
    return [p for p in found if p[0] != "self"]


NAMES = {  # of both, unless the stand-in keeps it elsewhere
    **dict.fromkeys(("asarray", "asnumpy", "empty", "get_default_memory_pool", "get_default_pinned_memory_pool")),
    **dict.fromkeys(("lib.stride_tricks.as_strided", "ndarray.set", "ndarray.copy", "ndarray.tolist")),
    **dict.fromkeys(("RawModule", "RawModule.compile", "RawModule.get_function")),
    **dict.fromkeys(("cuda.is_available", "cuda.get_current_stream", "cuda.set_allocator", "cuda.Device")),
    **dict.fromkeys(("cuda.Device.use", "cuda.Device.synchronize")),
    **dict.fromkeys(("cuda.Stream", "cuda.Stream.record", "cuda.Stream.wait_event", "cuda.Stream.synchronize")),
    **dict.fromkeys(("cuda.Event", "cuda.Event.record", "cuda.Event.synchronize")),
    **dict.fromkeys(f"cuda.runtime.{name}" for name in vars(like_cuda.runtime)),
    **dict.fromkeys(f"cuda.nvrtc.{name}" for name in ("getVersion", "getSupportedArchs", *like_cupy.NVRTC[1:])),
    "cuda.MemoryPool.used_bytes": like_cuda.MemoryPool.used_bytes,
    "cuda.MemoryPool.total_bytes": like_cuda.MemoryPool.total_bytes,
    "cuda.MemoryPool.free_bytes": like_cuda.MemoryPool.free_bytes,
    "cuda.MemoryPool.free_all_blocks": like_cuda.MemoryPool.free_all_blocks,
    "cuda.PinnedMemoryPool.free_all_blocks": like_cuda.PinnedMemoryPool.free_all_blocks,
}


@pytest.mark.parametrize("name", NAMES)
def test_it_takes_no_more_than_cupy(name):
    theirs = parameters(at(real, name))
    for i, (given, default, only) in enumerate(parameters(NAMES[name] or at(like_cupy, name))):
        place, *found = next((j, *p) for j, p in enumerate(theirs) if p[0] == given)
        assert only or (place == i and not found[2]), f"{given} is not the parameter at place {i} of {theirs}"
        assert default in (FREE, found[1]), f"{given} is {found[1]} where nobody says otherwise"


def test_of_a_kernel():
    said = real.RawKernel.__call__.__doc__
    assert "__call__(self, grid, block, args, \\*, shared_mem=0)" in said
    assert str(inspect.signature(like_cupy.RawKernel.__call__)) == "(self, grid, block, args, *, shared_mem=0)"
    assert real.RawKernel.max_dynamic_shared_size_bytes.__set__


@pytest.mark.parametrize("event", ["malloc_postprocess", "free_postprocess"])
def test_what_a_memory_hook_is_told(event):
    """By keyword; which, their documentation says."""
    theirs = re.findall(r"(\w+)\s*\(int\)", getattr(real.cuda.MemoryHook, event).__doc__)
    told = {}
    hook = type("Hook", (like_cuda.MemoryHook,), {"name": "test", event: lambda self, **given: told.update(given)})()
    with hook:
        like_cupy.empty((3,), "float32")
    assert set(told) == set(theirs)


def test_errors_are_of_their_kinds():
    exceptions = ("cuda.compiler.CompileException", "cuda.driver.CUDADriverError", "cuda.nvrtc.NVRTCError")
    for name in exceptions:
        assert at(like_cupy, name).__mro__[1:] == at(real, name).__mro__[1:]
    assert str(at(real, exceptions[0])("what the compiler says", "source", "name", ())) == "what the compiler says"


def test_what_the_framework_names_is_there():
    """`cupy.cuda.Device(...)`, `self.np.where(...)`: each chain of names, to where it is called."""
    found = set()
    for path in [*(ROOT / "tinygrad_fast").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]:
        text = path.read_text(encoding="utf-8")
        found |= set(re.findall(r"\b(?:_?cupy(?:\(\))?|(?:self|xp)\.np)\.([A-Za-z_][\w.]*\w)", text))
    assert {"cuda.runtime.getDeviceProperties", "ascontiguousarray", "RawModule"} <= found
    for name in found:
        at(real, name)


def test_a_cubin_goes_to_disk_whole():
    """The headers of its segments stand at the end of the file, and the driver reads all of them."""
    text = 'extern "C" __global__ void nothing() {}'
    try:
        cubin = driver.CuPy(real, None)._cubin(text, ("-arch=sm_90a", "-std=c++17"))
    except RuntimeError as e:
        pytest.skip(f"CuPy finds no NVRTC: {e}")
    [at], (size, count) = struct.unpack_from("<Q", cubin, 32), struct.unpack_from("<HH", cubin, 54)
    assert cubin.startswith(b"\x7fELF") and len(cubin) == at + size * count
