"""Sources, compilers and the cache: what is found, built once, and said when it cannot be."""

import importlib.util
import os
import re
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from tinygrad_fast.backend import launch
from tinygrad_fast.backend.emulator import Emulator, build
from tinygrad_fast.backend.source import KernelError, read_source, sources

from .test_emulator import SAYS, planted

KERNEL = """#include "common.cuh"

extern "C" __global__ void twice(const T* x, T* y, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) narrow(2 * wide(x[i]), y[i]);
}
"""


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """An empty cache, a folder for kernels, and nothing remembered."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "twice.cu").write_text(KERNEL)
    for f in (build.compiler, build.cache_folder, sources):
        f.cache_clear()
    yield tmp_path
    for f in (build.compiler, build.cache_folder, sources):
        f.cache_clear()


def twice(place, machine=None, **changes):
    x = np.arange(5, dtype=np.float32)
    y = np.empty_like(x)
    given = dict(grid=(1,), block=(8,), defines={"DTYPE": "float32"}, x=x, y=y, n=5) | changes
    launcher = launch.Launcher(machine or Emulator(), place)
    launcher("twice", **given)
    return given["y"]


def test_built_once_and_again_when_something_changes(fresh, monkeypatch):
    runs, real = [], subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda command, **kw: runs.append(command) or real(command, **kw))
    np.testing.assert_array_equal(twice(fresh), [0, 2, 4, 6, 8])
    first = len(runs)
    assert first == 1 + len(build.MACHINE) + 1  # the kernel, the parts of the machine, and all of them together
    twice(fresh)
    assert len(runs) == first
    twice(fresh, defines={"DTYPE": "float32", "FLAG": 1})
    assert len(runs) == first + 2
    left = {p.suffix for p in (fresh / "cache").rglob("*") if p.is_file()}
    assert left == {".o", ".so"}  # nothing half-made


def test_what_is_not_used_goes(fresh, monkeypatch):
    """By age, and by size: the least recently used first, but nothing of the last hour."""
    folder, now = build.cache_folder(), time.time()

    def put(name, hours, size=1):
        (folder / name).touch()
        os.truncate(folder / name, size)  # takes no room
        os.utime(folder / name, (now - 3600 * hours,) * 2)

    def left():
        return {p.name for p in folder.iterdir() if "twice" not in p.name and ".cpp" not in p.name}

    put("month", 31 * 24), put("week", 7 * 24), put("day", 24), put("now", 0)
    (folder / "stopped").mkdir()
    (folder / "stopped" / "made").write_text("")
    os.utime(folder / "stopped", (now - 7200,) * 2)
    twice(fresh)
    assert left() == {"week", "day", "now"}
    put("large", 48, build.KEPT // 2), put("larger", 0.5, build.KEPT // 2)
    twice(fresh)
    assert "week" in left()  # nothing was built
    twice(fresh, defines={"DTYPE": "float32", "FLAG": 1})
    assert left() == {"day", "now", "larger"}
    put("larger", 0.5, 2 * build.KEPT)
    twice(fresh, defines={"DTYPE": "float32", "FLAG": 2})
    assert left() == {"now", "larger"}


def test_what_is_used_is_touched(fresh):
    twice(fresh)
    [made] = build.cache_folder().glob("*-twice.cu.so")
    os.utime(made, (0, 0))
    twice(fresh)
    assert time.time() - made.stat().st_mtime < 3600


def test_cache_that_cannot_be_written(fresh, monkeypatch):
    (fresh / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(fresh / "file"))
    np.testing.assert_array_equal(twice(fresh), [0, 2, 4, 6, 8])


def test_no_compiler_says_what_to_install(fresh, monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(KernelError, match=r"^twice \(.*needs a C\+\+ compiler.*pip install ziglang"):
        twice(fresh)


@pytest.mark.skipif(importlib.util.find_spec("ziglang") is None, reason="the ziglang wheel is not installed")
def test_compiler_of_the_ziglang_wheel(fresh, monkeypatch):
    monkeypatch.setenv("CXX", " ".join(build.ZIG))
    np.testing.assert_array_equal(twice(fresh), [0, 2, 4, 6, 8])
    with pytest.raises(KernelError, match=r"thread \(3, 0, 0\) .* 0 past the end of y"):
        twice(fresh, Emulator(check=True), y=np.empty(3, np.float32))
    for kernel in ("unwritten_result", "past_in_template", "past_one_of_two"):
        with pytest.raises(KernelError, match=re.escape(SAYS[kernel])):
            planted(kernel, check=True)


def test_errors_of_the_compiler_name_file_and_line(fresh):
    (fresh / "twice.cu").write_text(KERNEL.replace("wide(x[i])", "wider(x[i])"))
    with pytest.raises(KernelError, match=r"(?s)^twice \(-DDTYPE=float32; x \(5,\), y \(5,\)\).*twice\.cu:5:"):
        twice(fresh)


@pytest.mark.parametrize(
    "changes, says",
    [
        (dict(n=1 << 31), "n is a int, at most 2147483647; got 2147483648"),
        (dict(y=np.empty(5, np.float64)), "y must be float32; got float64"),
        (dict(y=np.empty((5, 2), np.float32)[:, 0]), r"y must lie in order C; got shape \(5,\) with strides \(8,\)"),
        (dict(y=[1, 2]), "y must be a numpy.ndarray; got list"),
        (dict(m=1), "takes x, y, n; got x, y, n, m"),
        (dict(block=(1025,)), "a block must have 1 to 1024 threads"),
        (dict(shared=228 << 10), "at most 227 KB"),
    ],
)
def test_arguments_are_checked(fresh, changes, says):
    with pytest.raises(KernelError, match=says):
        twice(fresh, **changes)


def test_unknown_kernel(fresh):
    with pytest.raises(KernelError, match="thrice: no such kernel. There are twice"):
        launch.Launcher(Emulator(), fresh)("thrice", grid=(1,), block=(1,), defines={})


def test_empty_grid_launches_nothing(fresh):
    launcher, empty = launch.Launcher(Emulator(), fresh), np.empty(0, np.float32)
    launcher("twice", grid=(0,), block=(8,), defines={"DTYPE": "float32"}, x=empty, y=empty, n=0)
    assert not launcher.counts


def test_a_kernel_may_use_every_name_of_the_machines(fresh):
    text = re.sub(r"//.*", "", (build.HERE / "machine.h").read_text())
    types = set(re.findall(r"(?:struct|enum) (\w+) \{", text)) - {"dim3"}  # which is CUDA's
    functions = set(re.findall(r"^(?:\[\[noreturn\]\] )?[a-zA-Z]+(?: long)? (?!emulator_)(\w+)\(", text, re.M))
    words = {w for body in re.findall(r"enum \w+ \{([^}]*)\}", text) for w in re.findall(r"\w+", body)}
    assert {"Thread", "Copy"} <= types and {"stop", "land"} <= functions and {"READY", "SYNC"} <= words
    own = [f"struct {name} {{ int x; }};" for name in types]
    own += [f"__device__ int {name}(int x) {{ return x; }}" for name in functions]
    own += [f"const int {name} = 0;" for name in words | {"MOST_SHARED"}]
    (fresh / "twice.cu").write_text(KERNEL.replace("extern", "\n".join([*own, "extern"]), 1))
    np.testing.assert_array_equal(twice(fresh, Emulator(check=True)), [0, 2, 4, 6, 8])


def test_structures_lie_as_the_compiler_lays_them():
    line = read_source(Path(__file__).parent / "words.cu").structures["Line"]
    assert line.names == ("n", "slope", "big") and line.itemsize == 24 and line.fields["big"][1] == 16
