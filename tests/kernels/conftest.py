"""What the tests of kernels share: a compiler, and the machines that they run on."""

import inspect
from pathlib import Path

import numpy as np
import pytest

from tinygrad_fast.backend import launch, windows
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

    __slots__ = ("machine",)  # and no __dict__ but the machine's: there monkeypatch looks for what it puts back

    def __init__(self, machine):
        object.__setattr__(self, "machine", vars(machine).get("_machine", machine))  # of several GPUs the current one

    def __getattr__(self, name):
        f = getattr(self.machine, name)
        if not inspect.ismethod(f):
            return f

        def run(*arrays, **static):
            there = [self._there(a) for a in arrays]
            found = self._here(f(*there, **{name: self._there(a) for name, a in static.items()}))
            for near, far in zip(arrays, there):
                if name.endswith("_") and isinstance(near, np.ndarray):  # in place
                    near[...] = self._here(far)
            return found

        return run

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


def needs_ampere(hardware):
    if hardware.capability < 80:
        pytest.skip(f"tensor cores take these from sm_80 on, and this GPU is sm_{hardware.capability}")


def needs_hopper(hardware):
    if hardware.capability != 90:
        pytest.skip(f"these words are sm_90a's alone, and this GPU is sm_{hardware.capability}")


HERE, DEFINES = Path(__file__).parent, {"DTYPE": "float32"}
GPU = pytest.param("cuda", marks=pytest.mark.gpu)
unwatched = pytest.mark.parametrize("machine", ["plain", GPU], indirect=True)  # for what would take the checker long


@pytest.fixture(params=["emulated", GPU])
def device(request):
    """The same for tests that speak of tensors: the device's name."""
    return request.param


@pytest.fixture(scope="module", params=["watched", GPU])
def machine(request):
    """Where a kernel runs: the emulator, every access to memory watched (or not: "plain"); by -m gpu, a GPU."""
    return Near(request.getfixturevalue("cuda")) if request.param == "cuda" else Emulated(request.param == "watched")


@pytest.fixture
def run(machine):
    """run(kernel, grid, block, **arguments): one of words.cu; what it wrote stands in the arrays that were given."""
    there = getattr(machine, "machine", machine)
    words = launch.Launcher(there.launch.machine, HERE)

    def moved(a):
        return [moved(b) for b in a] if type(a) is list else there.asarray(a) if isinstance(a, np.ndarray) else a

    def back(near, far):
        for a, b in zip(near, far) if type(near) is list else [(near, far)]:
            if isinstance(a, np.ndarray):
                a[...] = there.to_numpy(b)

    def once(kernel, grid, block, defines=DEFINES, shared=0, **arguments):
        given = {name: moved(a) for name, a in arguments.items()}
        words(kernel, grid=grid, block=block, defines=defines, shared=shared, **given)
        for name, a in arguments.items():
            back(a, given[name])

    return once
