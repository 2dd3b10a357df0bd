"""The inner loops, twice: `plain.py` with NumPy, `compiled.py` with Numba. One of them is chosen at first use."""

from __future__ import annotations

import os
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType


def choose(which: str | None = None) -> ModuleType:
    """ "plain", "compiled", or, without a wish, compiled if Numba is installed and TINYGRAD_FAST_NUMBA is not "0"."""
    if which is None:
        which = "compiled" if installed() and os.environ.get("TINYGRAD_FAST_NUMBA", "1") != "0" else "plain"
    return import_module(f".{which}", __name__)


def installed() -> bool:
    """True where the compiled loops can be had."""
    return find_spec("numba") is not None
