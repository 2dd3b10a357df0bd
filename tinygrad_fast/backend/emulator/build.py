"""A kernel's source -> a shared library, by whatever C++ compiler there is: built once, kept by a hash.

What is kept is touched whenever it is used. When something new is built, what has not been used for a month goes, and
what was used least recently until the rest fits into KEPT bytes. What was used within the hour stays: another process
may be about to load it. (Deleting what is loaded does no harm.)
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

from ..source import Source
from . import elf

HERE = Path(__file__).parent
# Never instrumented; the same for every kernel
MACHINE = ("machine.cpp", "matrices.cpp", "hopper.cpp", "checker.cpp", "tracer.cpp")
FLAGS = ("-std=c++17", "-O2", "-fPIC", "-Wall", "-Wno-unknown-pragmas", "-fno-strict-aliasing", "-fno-exceptions")
KERNEL = (
    "-fvisibility=hidden",  # or static variables of templates would be one in all libraries that have them
    "-fdata-sections",  # for elf.spread
)
CHECKED = ("-fsanitize=thread", "-gdwarf-4", "-Og")  # so that each access keeps its file and line
CLANG_CHECKED = ("-mllvm", "-tsan-instrument-read-before-write")  # in `y += 1` it would be told of the write alone
KEPT, HOUR = 512 << 20, 3600
MONTH = 30 * 24 * HOUR

ZIG = (sys.executable, "-m", "ziglang", "c++", "-fno-sanitize=undefined")  # unasked, it makes faults of overflows


class NoCompiler(RuntimeError):
    """There is no C++ compiler on this machine."""


@cache
def compiler() -> tuple[str, ...]:
    """The command of a C++ compiler: $CXX, g++, clang++, or the one inside the `ziglang` wheel."""
    if named := os.environ.get("CXX"):
        return tuple(named.split())
    for name in ("g++", "clang++"):
        if path := shutil.which(name):
            return (path,)
    if importlib.util.find_spec("ziglang"):
        return ZIG
    raise NoCompiler(
        'the emulator needs a C++ compiler: g++, clang++, or $CXX; there is none. Run "pip install ziglang", which '
        "carries one, or install g++ (Debian: apt install g++; macOS: xcode-select --install)"
    )


@cache
def cache_folder() -> Path:
    """~/.cache/tinygrad_fast/emulator ($XDG_CACHE_HOME in place of ~/.cache); where that cannot be written, a folder of
    this process."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tinygrad_fast" / "emulator"
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.mkdtemp(prefix="tinygrad_fast-emulator-"))
    return home


def library(source: Source, defines: Iterable[str], checked: bool = False) -> Path:
    """The library of one .cu file under one set of defines. Raises CalledProcessError with the compiler's words."""
    exported = (f"EMULATE({name}, {source.clusters.get(name, 1)})" for name in source.kernels)
    unit = "\n".join(['#include "cuda.h"', source.text, *exported, ""])
    flags = (*FLAGS, *KERNEL, *(f"-D{name}" for name in defines), *(_checked() if checked else ()))
    kernel = _built(f"{source.file}.o", ("-c", *flags, f"-I{HERE}"), unit, then=elf.spread)
    parts = [_built(f"{name}.o", ("-c", *FLAGS, f"-I{HERE}"), (HERE / name).read_text()) for name in MACHINE]
    # Zig would build its C++ library first
    link = ("-shared", "-nostdlib++") if "ziglang" in compiler() else ("-shared",)
    return _built(f"{source.file}.so", link, None, [kernel, *parts])


def _checked() -> tuple[str, ...]:
    clang = any("clang" in Path(word).name or word == "ziglang" for word in compiler())
    return (*CHECKED, *CLANG_CHECKED) if clang else CHECKED


def _built(
    name: str,
    flags: tuple[str, ...],
    text: str | None,
    objects: Iterable[Path] = (),
    then: Callable[[Path], None] | None = None,
) -> Path:
    """What the compiler makes of `text`, or of objects, and `then` of that: from the cache, or put there in one step
    when it is whole."""
    beside = [(HERE / name).read_text() for name in ("cuda.h", "machine.h", "numbers.h", "elf.py")]
    system = (platform.system(), platform.machine(), *compiler())
    what = "\0".join((*system, *flags, *beside, text or "", *(path.name for path in objects)))
    digest = hashlib.sha256(what.encode()).hexdigest()[:16]
    result = cache_folder() / f"{digest}-{name}"
    if not _touched(result):
        with tempfile.TemporaryDirectory(dir=cache_folder()) as work:
            given = [str(path) for path in objects]
            if text is not None:
                (Path(work) / "unit.cpp").write_text(text, encoding="utf-8")
                given = ["unit.cpp"]
            command = [*compiler(), *flags, *given, "-o", "made"]
            subprocess.run(command, cwd=work, check=True, capture_output=True, text=True)
            if then:
                then(Path(work) / "made")
            os.replace(Path(work) / "made", result)
        _prune(cache_folder())
    return result


def _touched(path: Path) -> bool:
    """Whether it is there; if so, it has been used now."""
    try:
        os.utime(path)
    except OSError:  # not there, or not ours to touch
        return path.exists()
    return True


def _used(path: Path) -> tuple[float, int]:
    """When, and its bytes. What another process has just pruned is of no size and new."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return time.time(), 0
    return stat.st_mtime, stat.st_size


def _prune(folder: Path) -> None:
    kept = 0
    for path in sorted(folder.iterdir(), key=_used, reverse=True):
        used, size = _used(path)  # asked again: it may have been touched meanwhile
        kept, unused = kept + size, time.time() - used
        if unused > MONTH or (unused > HOUR and (kept > KEPT or path.is_dir())):  # a folder: its compiler was stopped
            with suppress(OSError):  # another process was faster, or it is not ours
                shutil.rmtree(path) if path.is_dir() else path.unlink()
