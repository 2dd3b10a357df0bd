"""What the parts of the fast CPU share: which loops they run, how large their blocks are, and what is worth it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..cpu import CPU


class Machine(CPU):
    """Sizes were measured on two cores with 1 MiB of L2 cache each; a cache of another size wants others."""

    least = 1 << 14  # elements: with fewer, calling costs more than computing, and the plain path is as good
    lines = 1 << 18  # bytes of an array that several passes run over
    rows = 1 << 20  # bytes of patches that are multiplied at a time
    shallow = 128 * 128  # C O up to which a thread takes Winograd tiles from end to end
    tiles, deep_tiles, chunk_tiles = 128, 64, 2048  # of a block: shallow; deep; and between its stages

    def __init__(self, loops: str | None = None):
        self._loops: Any = None
        self._which = loops

    @property
    def loops(self) -> Any:
        """The inner loops: compiled where Numba is installed (and TINYGRAD_FAST_NUMBA is not 0), else NumPy's."""
        if self._loops is None:
            from . import loops

            self._loops = loops.choose(self._which)
        return self._loops

    def large(self, x: Any) -> bool:
        """True for an array in float32 that is worth dividing."""
        return x.dtype == np.float32 and x.size >= self.least
