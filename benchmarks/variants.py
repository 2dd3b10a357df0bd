"""Who takes part: tinygrad_fast with either of its loops; PyTorch in either memory format, as it comes and tuned.

PyTorch asks the C library for the memory of every result, and that asks the operating system: fresh pages, zeroed at
their first touch. tinygrad_fast keeps such memory by itself. *Tuned* tells the C library to keep it as well, which no
user of PyTorch has by default, and which shows how much of a ratio is the allocator's.
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass, field
from importlib.util import find_spec


@dataclass(frozen=True)
class Variant:
    """The file with its cases, what its environment says, how images lie, and whether its allocator is tuned."""

    lib: str
    env: dict[str, str] = field(default_factory=dict)
    channels_last: bool = False
    tuned: bool = False


VARIANTS = {
    "NumPy": Variant("ours", {"TINYGRAD_FAST_NUMBA": "0"}),
    "Numba": Variant("ours", {"TINYGRAD_FAST_NUMBA": "1"}),
    "PyTorch": Variant("peer"),
    "PyTorch channels_last": Variant("peer", channels_last=True),
    "PyTorch tuned": Variant("peer", tuned=True),
    "PyTorch tuned channels_last": Variant("peer", channels_last=True, tuned=True),
}
OURS = [kind for kind, v in VARIANTS.items() if v.lib == "ours"]
PEERS = [kind for kind, v in VARIANTS.items() if v.lib == "peer" and not v.tuned]
TUNED = [kind for kind, v in VARIANTS.items() if v.tuned]


def here(alone: bool) -> tuple[list[str], list[str]]:
    """(the variants that can run here, why others cannot). alone: ours only."""
    missing = {}
    if find_spec("numba") is None:
        missing["Numba"] = "Numba is not installed: pip install -e '.[numba]'"
    if not alone and not hasattr(ctypes.CDLL(None) if os.name == "posix" else None, "mallopt"):
        missing |= dict.fromkeys(TUNED, "PyTorch's allocator is not tuned: this C library has no mallopt")
    wanted = OURS if alone else VARIANTS
    return [kind for kind in wanted if kind not in missing], list(dict.fromkeys(missing.values()))


def environment(threads: int, **more: str) -> dict[str, str]:
    """Ours, and as many threads for every library: some read it while they load, so a process must begin with it."""
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "TINYGRAD_FAST_THREADS")
    return os.environ | dict.fromkeys(names, str(threads)) | more


def tune() -> None:
    """From now on this process keeps the memory that it frees (glibc's <malloc.h>)."""
    trim_threshold, top_pad, mmap_max = -1, -2, -4
    mallopt = ctypes.CDLL(None).mallopt
    for option, value in ((mmap_max, 0), (trim_threshold, 2**31 - 1), (top_pad, 64 << 20)):
        if not mallopt(option, value):
            raise RuntimeError(f"mallopt({option}, {value}) must be taken by the C library; it refused")
