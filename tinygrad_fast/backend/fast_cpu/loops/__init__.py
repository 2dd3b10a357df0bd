"""The inner loops, twice: `plain.py` with NumPy, `compiled.py` with Numba. One of them is chosen at first use."""

from __future__ import annotations

import os
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

YES, NO = ("1", "on", "true", "yes"), ("0", "off", "false", "no")


def choose(which: str | None = None) -> ModuleType:
    """ "plain", "compiled", or, without a wish, what TINYGRAD_FAST_NUMBA says; else compiled if Numba is installed.

    Raises ValueError where the variable says neither yes nor no, ImportError where it says yes and there is no Numba.
    """
    told = os.environ.get("TINYGRAD_FAST_NUMBA", "").lower()
    if which is None and told and told not in YES + NO:
        raise ValueError(
            f"TINYGRAD_FAST_NUMBA: must be {', '.join(YES)} (compiled loops) or {', '.join(NO)} (NumPy's); got {told!r}"
        )
    if which is None and told in YES and not installed():
        raise ImportError(f'TINYGRAD_FAST_NUMBA is {told!r}, and Numba is not installed. Run "pip install numba"')
    return import_module("." + (which or ("compiled" if installed() and told not in NO else "plain")), __name__)


def installed() -> bool:
    """True where the compiled loops can be had."""
    return find_spec("numba") is not None
