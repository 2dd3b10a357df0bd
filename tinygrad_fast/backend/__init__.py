"""The machines an op can run on, by device name. A backend is a set of array functions in two tiers:

`composed.py` defines fused names over other names (the specification); a machine's own file holds its primitives, and
overrides of fused names where it has something faster. Each backend exists once: tensors compare it by identity.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .composed import Composed as Composed
from .cpu import CPU
from .fast_cpu import FastCPU


class Device(str):
    """A device by name, "cpu" or "cuda:0": a string with PyTorch's `.type` and `.index`. tf.device("cuda", 1), too."""

    __slots__ = ()

    def __new__(cls, type: str, index: int | None = None) -> Device:
        return super().__new__(cls, type if index is None else f"{type}:{index}")

    @property
    def type(self) -> str:
        return str(self).partition(":")[0]

    @property
    def index(self) -> int | None:  # type: ignore[override]  # PyTorch's name; str.index has no use here
        number = self.partition(":")[2]
        return int(number) if number else None

    def __repr__(self) -> str:
        name, _, number = str(self).partition(":")
        return f"device(type={name!r}" + (f", index={number})" if number else ")")


def _emulated() -> Any:
    from .cuda import Emulated  # what a CPU user does not load cannot disturb

    return Emulated()


_makers: dict[str, Callable[[], Any]] = {"cpu": FastCPU, "emulated": _emulated}
_made: dict[str, Any] = {}
_chosen: Device | None = None  # the default device, if a person has set one


def register(name: str, make: Callable[[], Any]) -> None:
    """Offer a machine under a device name; `make()` runs at its first use."""
    _makers[name] = make


def names() -> list[str]:
    """The devices on offer."""
    return sorted({*_makers, "cuda"})


def why_not(name: str) -> str:
    """Why a device on offer cannot be used on this computer; "" where it can."""
    if name not in ("cuda", "emulated"):
        return ""
    from . import cuda, emulator

    return (cuda if name == "cuda" else emulator).why_not()


def is_device(name: str) -> bool:
    """True for what looks like a device and not like a dtype: "cpu", "cuda:1", or a registered name."""
    return isinstance(name, Device) or name in _makers or name.partition(":")[0] in ("cpu", "cuda", "emulated")


def get(device: Any = None) -> Any:
    """The backend of a device name; "cuda" is the current GPU, "cuda:0" unless it was changed; "cpu:0" is "cpu".

    Raises ValueError for a name that is none, RuntimeError for a GPU that is not there.
    """
    name = str(get_default_device() if device is None else device)
    if name == "cpu:0":
        name = "cpu"  # there is one
    xp = _made.get(name)
    return _new(name) if xp is None else xp


def _new(name: str) -> Any:
    if name.partition(":")[0] == "cuda" and name not in _makers:
        from . import cuda

        index = cuda.index_of(name)
        name, make = f"cuda:{index}", lambda: cuda.on(index)
        if name in _made:  # "cuda" is never kept: which GPU it means may change
            return _made[name]
    elif name in _makers:
        make = _makers[name]
    else:
        raise ValueError(f"device: must be one of {', '.join(names())}; got {name!r}")
    _made[name] = make()
    _made[name].name = name
    return _made[name]


def set_default_device(device: Any) -> None:
    """Where tensors are made from now on, and loaders bring their batches, unless told otherwise; None: the CPU again.

    `tf.from_numpy` shares memory with an array and stays on the CPU. Raises what a tensor on that device would.
    """
    global _chosen
    _chosen = None if device is None else Device(get(device).name)


def get_default_device() -> Device:
    """Where tensors are made: "cpu", or what `set_default_device` said."""
    return _chosen or Device("cpu")


def chosen_device() -> Device | None:
    """The default device if a person has set one, else None."""
    return _chosen
