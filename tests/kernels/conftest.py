"""What the tests of kernels share: a compiler, and the machines that they run on."""

import inspect

import numpy as np
import pytest

from tinygrad_fast.backend import windows
from tinygrad_fast.backend.cuda import Emulated
from tinygrad_fast.backend.emulator import build
from tinygrad_fast.testing import memory


@pytest.fixture(autouse=True)
def needs_compiler():
    """Kernels are compiled here: where there is no C++ compiler, say so in place of each test."""
    try:
        build.compiler()
    except build.NoCompiler as e:
        pytest.skip(str(e))


class Near:
    """A machine for tests that speak NumPy: arrays go there, answers come back, each in its memory order."""

    def __init__(self, machine):
        vars(self)["machine"] = machine

    def __getattr__(self, name):
        f = getattr(self.machine, name)
        if not inspect.ismethod(f):
            return f
        return lambda *arrays, **static: self._here(f(*map(self._there, arrays), **static))

    def __setattr__(self, name, value):
        setattr(self.machine, name, value)

    def __delattr__(self, name):
        delattr(self.machine, name)

    def _there(self, a):
        if type(a) is tuple:
            return tuple(map(self._there, a))
        return memory.on(self.machine, a) if isinstance(a, np.ndarray) else a

    def _here(self, a):
        if type(a) is tuple:
            return tuple(map(self._here, a))
        if not isinstance(a, self.machine.array):
            return a
        order = windows.memory_order(a)
        return self.machine.to_numpy(a.transpose(order)).transpose([order.index(i) for i in range(a.ndim)])


def needs_hopper(hardware):
    if hardware.capability != 90:
        pytest.skip(f"these words are sm_90a's alone, and this GPU is sm_{hardware.capability}")


@pytest.fixture(scope="module", params=["watched", pytest.param("cuda", marks=pytest.mark.gpu)])
def machine(request):
    """Where a kernel runs: the emulator, every access to memory watched (or not: "plain"); by -m gpu, a GPU."""
    return Near(request.getfixturevalue("cuda")) if request.param == "cuda" else Emulated(request.param == "watched")
