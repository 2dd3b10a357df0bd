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
    """A device by name, "cpu" or "cuda:0": a string with PyTorch's `.type` and `.index`."""

    __slots__ = ()

    @property
    def type(self) -> str:
        return self.partition(":")[0]

    @property
    def index(self) -> int | None:  # type: ignore[override]  # PyTorch's name; str.index has no use here
        number = self.partition(":")[2]
        return int(number) if number else None

    def __repr__(self) -> str:
        return f"device({str.__repr__(self)})"


def _cuda() -> Composed:
    from .cuda import CUDA  # what a CPU user does not load cannot disturb

    return CUDA()


def _emulated() -> Composed:
    from .cuda import Emulated

    return Emulated()


_makers: dict[str, Callable[[], Composed]] = {"cpu": FastCPU, "cuda": _cuda, "emulated": _emulated}
_made: dict[str, Composed] = {}


def register(name: str, make: Callable[[], Composed]) -> None:
    """Offer a machine under a device name; `make()` runs at its first use."""
    _makers[name] = make


def names() -> list[str]:
    """The devices on offer."""
    return sorted(_makers)


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
    """The backend of a device name (default: "cpu")."""
    name = "cpu" if device is None else str(device)
    if name not in _made:
        if name not in _makers:
            raise ValueError(f"device: must be one of {', '.join(sorted(_makers))}; got {name!r}")
        _made[name] = _makers[name]()
        _made[name].name = name
    return _made[name]
