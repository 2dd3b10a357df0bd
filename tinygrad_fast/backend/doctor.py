"""`python -m tinygrad_fast doctor`: can kernels run here?

Each check needs those before it, so the first failure ends the examination, with one command to run.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np

from . import cuda, emulator

OLDEST = {12: (5, 0), 13: (7, 5)}  # compute capability that each CUDA still compiles for
OURS = (7, 5)  # and that our kernels want


class Sick(Exception):
    """What is wrong, and the one command to run."""

    def __init__(self, what: str, command: str):
        super().__init__(what)
        self.command = command


def examine(say: Callable[[str], Any] = print) -> bool:
    """All checks, each a line. True if a GPU can be used."""
    for name, check in (("emulator", _emulator), *GPU):
        try:
            say(f"ok      {name}: {check()}")
        except Sick as e:
            say(f"missing {name}: {e}\n        run: {e.command}")
            if name != "emulator":
                say('no GPU can be used; device="cpu" works, and device="emulated" where the emulator does')
                return False
    say('device="cuda" works')
    return True


def _emulator() -> str:
    if reason := emulator.why_not():
        raise Sick(reason, "pip install ziglang")
    return f"{' '.join(emulator.build.compiler())}; {_multiplies(cuda.Emulated())}"


def _installed() -> list[str]:
    return sorted({d.name for d in metadata.distributions() if d.name and d.name.lower().startswith("cupy")})


def _install(major: int) -> str:
    return f"pip install 'tinygrad_fast[cuda{major}]'"


def _reinstall() -> str:
    return f"pip install --force-reinstall '{_installed()[0]}[ctk]'"


def _package() -> str:
    """Exactly one CuPy: each carries a module of that name, and two overwrite each other's files."""
    found = _installed()
    if not found:
        raise Sick("CuPy is not installed (cuda13 wants driver 580 or newer; else cuda12)", _install(13))
    if len(found) > 1:
        raise Sick(f"several CuPys are installed, {', '.join(found)}", f"pip uninstall -y {' '.join(found[1:])}")
    return f"{found[0]} {metadata.version(found[0])}"


def _import() -> str:
    try:
        import cupy
    except Exception as e:
        raise Sick(f"CuPy does not load: {type(e).__name__}: {e}", _reinstall()) from None
    return str(cupy.__version__)


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def _driver() -> str:
    import cupy

    try:
        number = cupy.cuda.runtime.driverGetVersion()
    except Exception as e:
        raise Sick(f"the NVIDIA driver does not answer: {e}", "nvidia-smi") from None
    if not number:
        raise Sick("there is no NVIDIA driver (nvidia-smi comes with it)", "nvidia-smi")
    return f"for CUDA {_version(number)} and older"


def _runtime() -> str:
    import cupy

    runtime, driver = cupy.cuda.runtime.runtimeGetVersion(), cupy.cuda.runtime.driverGetVersion()
    if runtime // 1000 > driver // 1000:
        older = f"pip uninstall -y {_installed()[0]} && {_install(driver // 1000)}"
        raise Sick(f"CUDA {_version(runtime)} needs a newer driver than {_version(driver)}", older)
    return f"CUDA {_version(runtime)}"


def _devices() -> str:
    import cupy

    runtime = cupy.cuda.runtime
    try:
        count = runtime.getDeviceCount()
    except Exception as e:
        raise Sick(f"no device answers: {e}", "nvidia-smi -L") from None
    if not count:
        raise Sick("there is no device", "nvidia-smi -L")
    least, told = max(OURS, OLDEST.get(runtime.runtimeGetVersion() // 1000, OURS)), []
    for i in range(count):
        found = runtime.getDeviceProperties(i)
        capability, name = (found["major"], found["minor"]), found["name"].decode()
        if capability < least:
            had, needed = (".".join(map(str, version)) for version in (capability, least))
            old = f"{name} has compute capability {had}; at least {needed} is needed"
            others = ",".join(str(j) for j in range(count) if j != i)
            raise Sick(old, f"export CUDA_VISIBLE_DEVICES={others}")
        told.append(f"{name} (sm_{capability[0]}{capability[1]}, {found['totalGlobalMem'] / 2**30:.0f} GiB)")
    return ", ".join(told)


def _nvrtc() -> str:
    import cupy

    try:
        return ".".join(map(str, cupy.cuda.nvrtc.getVersion()))
    except Exception as e:
        raise Sick(f"NVRTC, which compiles kernels, does not load: {e}", _reinstall()) from None


def _headers() -> str:
    import cupy

    try:
        cupy.RawModule(code="#include <cuda_fp16.h>\n").compile()
    except Exception as e:
        raise Sick(f"CUDA's headers are not found: {e}", _reinstall()) from None
    return "found"


def _kernel() -> str:
    try:
        return _multiplies(cuda.CUDA())
    except Exception as e:
        again = "CUDA_LAUNCH_BLOCKING=1 python -m tinygrad_fast doctor"
        raise Sick(f"a kernel of ours does not run: {type(e).__name__}: {e}", again) from None


def _multiplies(xp: cuda.CUDA) -> str:
    """One small product, compiled, run and compared."""
    x = np.random.default_rng(0).standard_normal((33, 33)).astype(np.float32)
    y = xp.to_numpy(xp.matmul(xp.asarray(x), xp.asarray(x)))
    error = float(np.abs(y - x.astype(np.float64) @ x).max())
    if not error < 1e-4:
        raise RuntimeError(f"a product is wrong by {error}")
    return f"matmul compiled, run, right to {error:.0e}"


GPU = (
    *(("CuPy", _package), ("import cupy", _import), ("driver", _driver), ("runtime", _runtime)),
    *(("devices", _devices), ("NVRTC", _nvrtc), ("headers", _headers), ("kernel", _kernel)),
)
