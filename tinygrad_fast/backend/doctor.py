"""`python -m tinygrad_fast doctor`: can kernels run here?

Each check needs those before it, so the first failure ends the examination, with one command to run (`remedies.py`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np

from . import cuda, emulator, remedies
from .source import KernelError

OLDEST = {12: (5, 0), 13: (7, 5)}  # compute capability that each CUDA still compiles for
OURS = (7, 5)  # and that our kernels want


class Problem(Exception):
    """What is wrong, and the one command to run."""

    def __init__(self, what: str, command: str):
        super().__init__(what)
        self.command = command


def examine(say: Callable[[str], Any] = print) -> bool:
    """All checks, each a line. True if a GPU can be used."""
    for name, check in (("emulator", _emulator), *GPU):
        try:
            say(f"ok      {name}: {check()}")
        except Exception as e:
            said = e if isinstance(e, Problem) else f"{type(e).__name__}: {e}"
            command = e.command if isinstance(e, Problem) else remedies.reinstall_cupy()
            say(f"missing {name}: {said}\n        run: {command}")
            if name != "emulator":
                say('no GPU can be used; device="cpu" works, and device="emulated" where the emulator does')
                return False
    say('device="cuda" works')
    return True


def _emulator() -> str:
    if reason := emulator.why_not():
        raise Problem(reason, remedies.COMPILER)
    compiler = " ".join(emulator.build.compiler())
    try:
        return f"{compiler}; {_multiplies(cuda.Emulated())}"
    except Exception as e:
        remedy = remedies.unset("CXX") if "CXX" in os.environ else remedies.OURSELVES
        raise Problem(f"{compiler} makes nothing that runs: {type(e).__name__}: {e}", remedy) from None


def _package() -> str:
    """Exactly one CuPy: each carries a module of that name."""
    found = remedies.cupys()
    if not found:
        raise Problem(
            "CuPy is not installed (cuda13 wants driver 580 or newer; else cuda12)", remedies.install_cupy(13)
        )
    alone = remedies.another_cupy(13 if any("cuda13" in name for name in found) else 12)
    if len(found) > 1:
        raise Problem(f"several CuPys are installed, {', '.join(found)}, and overwrite each other's files", alone)
    if found[0] not in ("cupy", *(f"cupy-cuda{major}x" for major in OLDEST)):
        raise Problem(f"{found[0]} is made for neither CUDA 12 nor 13", alone)
    return f"{found[0]} {metadata.version(found[0])}"


def _import() -> str:
    try:
        import cupy
    except Exception as e:
        raise Problem(f"CuPy does not load: {type(e).__name__}: {e}", remedies.reinstall_cupy()) from None
    version = str(cupy.__version__)
    if int(version.partition(".")[0]) < 14:
        raise Problem(f"CuPy must be 14 or newer; this is {version}", remedies.update_cupy())
    return version


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def _driver() -> str:
    import cupy

    try:
        number = cupy.cuda.runtime.driverGetVersion()
    except Exception as e:
        raise Problem(f"the NVIDIA driver does not answer: {e}", remedies.restart()) from None
    if not number and remedies.container():
        without = "there is no NVIDIA driver: this container was started without GPUs; start another on its host"
        raise Problem(without, remedies.start_again())
    if not number:
        raise Problem("there is no NVIDIA driver", remedies.install_driver())
    if number // 1000 < min(OLDEST):
        older = f"the driver serves CUDA {_version(number)} and older, and CuPy 14 is made for 12 and 13"
        where = ", on the host of this container" if remedies.container() else ""
        raise Problem(f"{older}: install driver 525 or newer{where}", remedies.install_driver())
    return f"for CUDA {_version(number)} and older"


def _runtime() -> str:
    import cupy

    runtime, driver = cupy.cuda.runtime.runtimeGetVersion(), cupy.cuda.runtime.driverGetVersion()
    if runtime // 1000 > driver // 1000:
        older = remedies.another_cupy(driver // 1000)
        raise Problem(f"CUDA {_version(runtime)} needs a newer driver than {_version(driver)}", older)
    return f"CUDA {_version(runtime)}"


def _devices() -> str:
    import cupy

    runtime = cupy.cuda.runtime
    try:
        count = runtime.getDeviceCount()
    except Exception as e:
        raise _no_device(f"no device answers: {e}") from None
    if not count:
        raise _no_device("there is no device")
    least, told = max(OURS, OLDEST.get(runtime.runtimeGetVersion() // 1000, OURS)), []
    newest = _newest()
    for i in range(count):
        found = runtime.getDeviceProperties(i)
        capability, name = (found["major"], found["minor"]), found["name"].decode()
        if capability < least:
            had, needed = (".".join(map(str, version)) for version in (capability, least))
            old = f"{name} has compute capability {had}; at least {needed} is needed"
            others = ",".join(str(j) for j in range(count) if j != i)
            if others:
                raise Problem(f"{old}: leave it out", remedies.set_to("CUDA_VISIBLE_DEVICES", others))
            raise Problem(f"{old}: CuPy is of no use here", remedies.remove_cupy())
        told.append(f"cuda:{i} {name} ({_sm(capability)}, {found['totalGlobalMem'] / 2**30:.0f} GiB)")
        if newest and capability > newest:
            told[-1] += f", newer than this CUDA knows: the driver translates what is compiled for {_sm(newest)}"
    return "; ".join(told)


def _no_device(what: str) -> Problem:
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is None:
        return Problem(what, remedies.restart())
    return Problem(f"{what}, and CUDA_VISIBLE_DEVICES={visible} hides others", remedies.unset("CUDA_VISIBLE_DEVICES"))


def _sm(capability: tuple[int, int]) -> str:
    return f"sm_{capability[0]}{capability[1]}"


def _newest() -> tuple[int, int] | None:
    """The compute capability up to which this CUDA compiles; None where it cannot be asked: the next check says why."""
    import cupy

    try:
        return divmod(max(cupy.cuda.nvrtc.getSupportedArchs()), 10)
    except Exception:
        return None


def _nvrtc() -> str:
    import cupy

    try:
        return ".".join(map(str, cupy.cuda.nvrtc.getVersion()))
    except Exception as e:
        raise Problem(f"NVRTC, which compiles kernels, does not load: {e}", remedies.reinstall_cupy()) from None


def _headers() -> str:
    import cupy

    try:
        cupy.RawModule(code="#include <cuda_fp16.h>\n").compile()
    except Exception as e:
        raise Problem(f"CUDA's headers are not found: {e}", remedies.reinstall_cupy()) from None
    return "found"


def _kernel() -> str:
    try:
        return _multiplies(cuda.CUDA())
    except KernelError as e:
        raise Problem(f"a kernel of ours is refused: {e}", remedies.OURSELVES) from None
    except Exception as e:
        what = f"a kernel of ours, or what is kept of it, does not run: {type(e).__name__}: {e}"
        raise Problem(what, remedies.forget_kernels()) from None


def _multiplies(xp: cuda.CUDA) -> str:
    """One small product, compiled, run and compared with float64's; float32 rounds to 6e-8 of a number."""
    x = np.random.default_rng(0).standard_normal((33, 33)).astype(np.float32)
    y, want = xp.to_numpy(xp.matmul(xp.asarray(x), xp.asarray(x))), x.astype(np.float64) @ x
    error = float(np.abs(y - want).max() / np.abs(want).max())
    if not error < 1e-5:
        raise RuntimeError(f"a float32 product is wrong by {error:.0e} of its largest element")
    return f"matmul compiled and run; a float32 product is right to {error:.0e} of its largest element"


GPU = (
    *(("CuPy", _package), ("import cupy", _import), ("driver", _driver), ("runtime", _runtime)),
    *(("devices", _devices), ("NVRTC", _nvrtc), ("headers", _headers), ("kernel", _kernel)),
)
