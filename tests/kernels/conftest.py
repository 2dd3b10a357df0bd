"""What the tests of kernels share: a compiler, and the machines that they run on."""

import inspect
import secrets
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from tinygrad_fast.backend import launch, windows
from tinygrad_fast.backend.cuda import Emulated
from tinygrad_fast.backend.emulator import build
from tinygrad_fast.backend.source import kernel_folder
from tinygrad_fast.testing import memory


@pytest.fixture(autouse=True)
def needs_compiler():
    """Kernels are compiled here: where there is no C++ compiler, say so in place of each test."""
    try:
        build.compiler()
    except build.NoCompiler as e:
        pytest.skip(str(e))


class Moved:
    """Moves arrays to a machine, those in lists and tuples too, and knows which went where."""

    def __init__(self, machine):
        self.machine, self.moved = machine, []

    def __call__(self, a):
        if type(a) in (tuple, list):
            return type(a)(map(self, a))
        if not isinstance(a, np.ndarray):
            return a
        self.moved.append((a, memory.on(self.machine, a)))
        return self.moved[-1][1]


class Near:
    """A machine for tests that speak NumPy: arrays go there, answers come back, each in its memory order; and what a
    function whose name ends in _ has written, to where it was."""

    __slots__ = ("machine",)  # and no __dict__ but the machine's: there monkeypatch looks for what it puts back

    def __init__(self, machine):
        object.__setattr__(self, "machine", vars(machine).get("_machine", machine))  # of several GPUs the current one

    def __getattr__(self, name):
        f = getattr(self.machine, name)
        if not inspect.ismethod(f):
            return f

        def run(*arrays, **static):
            there = Moved(self.machine)
            result = f(*map(there, arrays), **{key: there(value) for key, value in static.items()})
            for near, far in there.moved if name.endswith("_") else ():
                if near.flags.writeable:
                    near[...] = self._here(far)
            return self._here(result)

        return run

    def __setattr__(self, name, value):
        setattr(self.machine, name, value)

    def __delattr__(self, name):
        delattr(self.machine, name)

    def _here(self, a):
        if type(a) is tuple:
            return tuple(map(self._here, a))
        if not isinstance(a, self.machine.array):
            return a
        order = windows.memory_order(a)
        return self.machine.to_numpy(a.transpose(order)).transpose([order.index(i) for i in range(a.ndim)])


@cache
def new():
    """A number of this run by -m gpu; 0 else."""
    return secrets.randbits(32) if settings.default is settings.get_profile("gpu") else 0


def generator(seed):
    """Of the same numbers each time; by -m gpu of those of this run, which is named where a test fails."""
    print(f"generator: new() = {new()}")
    return np.random.default_rng([seed, new()])


def with_a_fault(folder, names, file, old, new):
    """A copy of these kernels, with one place of a file changed."""
    for name in names:
        text = (kernel_folder() / name).read_text()
        assert name != file or text.count(old) == 1, old
        (folder / name).write_text(text.replace(old, new) if name == file else text)


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
