"""Machines made of parts (FastCPU, CUDA): each part overrides names of CPU's, and what else it defines is its own."""

import inspect

import pytest

from tinygrad_fast.backend import CPU, Composed, FastCPU
from tinygrad_fast.backend.cuda import CUDA, Emulated

MACHINES = pytest.mark.parametrize("machine", [FastCPU, CUDA, Emulated], ids=lambda machine: machine.__name__)


def hidden(machine):
    """Names that one part takes from another, or from CPU, unseen: private ones, or a function that is none any more.
    The machine itself may fill in public names of its parts."""
    base, seen, found = set(dir(CPU)) | set(dir(Composed)), {}, []
    for part in reversed(machine.__mro__[: machine.__mro__.index(CPU)]):
        for name, value in vars(part).items():
            if name.startswith("__"):
                continue
            private, last = name.startswith("_"), issubclass(part, (FastCPU, CUDA))
            if name in base and (private or callable(value) != callable(getattr(CPU, name))):
                found.append(f"{part.__name__}.{name} hides CPU's")
            elif name in seen and (private or not last):
                found.append(f"{part.__name__}.{name} hides {seen[name]}'s")
            seen[name] = part.__name__
    return found


@MACHINES
def test_it_overrides_names_and_hides_none(machine):
    assert not hidden(machine)


@pytest.mark.parametrize("machine", [CUDA, Emulated])
def test_what_it_keeps_hides_nothing(machine):
    kept = {name for name in vars(Emulated()) if name.startswith("_")}
    assert kept and not kept & set(dir(machine))


def test_a_hidden_name_is_seen():
    class Left(CPU):
        def _near(self): ...

    class Right(CPU):
        def _near(self): ...
        def _primitive(self): ...

        exp = 1

    class Both(Left, Right):
        pass

    assert hidden(Both) == ["Right.exp hides CPU's", "Left._near hides Right's"]
    Right._column = None  # Composed has one
    assert "Right._column hides CPU's" in hidden(Both)


@MACHINES
def test_overrides_take_what_the_definitions_take(machine):
    for name, _ in inspect.getmembers(CPU, callable):
        mine, theirs = getattr(machine, name), getattr(CPU, name)
        if mine is theirs or name.startswith("__") or name in ("exp", "log", "sqrt", "tanh"):  # NumPy's own
            continue
        a, b = (list(inspect.signature(inspect.unwrap(f)).parameters) for f in (mine, theirs))
        n = len(b) - 1 if b[-1] == "geometry" else None  # **geometry: keywords, which a machine may spell out
        assert a[:n] == b[:n], f"{name}: {a} is not {b}"
