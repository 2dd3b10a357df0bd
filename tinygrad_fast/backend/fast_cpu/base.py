"""What the parts of the fast CPU share: which loops they run, how large their blocks are, and what is worth it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..cpu import CPU
from . import workers


@dataclass(frozen=True)
class Sizes:
    """Measured on two cores with 1 MiB of L2 cache each; a cache of another size wants others."""

    least: int = 1 << 14  # elements: with fewer, calling costs more than computing, and the plain path is as good
    divided: int = 1 << 18  # elements of elementwise work: with fewer, waking a thread costs more than it saves
    together: int = 1 << 19  # numbers of all parameters: with fewer, one thread updates them as fast
    line: int = 1 << 18  # bytes of a piece that is passed over
    passes: int = 1 << 19  # the same where NumPy needs several passes: between two of them threads wait for its lock
    sums: int = 1 << 20  # the same where each piece leaves sums behind, which someone has to add up
    images: int = 1 << 22  # bytes of images that are pooled at a time: they gain nothing from a cache
    patches: int = 1 << 20  # bytes of patches that are multiplied at a time
    filter: int = 9 * 128 * 256  # numbers of a filter that stays in the cache while it is used
    shallow: int = 128 * 128  # C O up to which a thread takes Winograd tiles from end to end
    tiles: int = 64  # of Winograd in a block, at least,
    thin: int = 8192  # and this over the channels where they are few
    one_axis: int = 48 * 48  # C O up to which NumPy's loops take Winograd's scheme down the columns alone,
    lines: int = 1 << 18  # and the numbers that it holds between its stages
    chunk: int = 2048  # tiles between the stages of the deep schedule by places,
    shared: int = 1 << 17  # and by columns this over C + O: both matrices stay in a cache of 32 MiB


class FastBase(CPU):
    """`loops`: "plain" or "compiled"; by default compiled where Numba is installed."""

    def __init__(self, loops: str | None = None, sizes: Sizes = Sizes()):
        self.sizes, self._which = sizes, loops
        self._loops: Any = None

    @property
    def loops(self) -> Any:
        """The inner loops: compiled where Numba is installed (unless TINYGRAD_FAST_NUMBA says no), else NumPy's."""
        if self._loops is None:
            from . import loops

            self._loops = loops.choose(self._which)
            if self._loops.waiting:
                workers.linger = self._loops.waiting.linger
        return self._loops

    def large(self, x: Any, other: int = 1) -> bool:
        """True for float32 where x, or something else of so many numbers, is worth dividing, and neither is empty."""
        few, many = sorted((x.size, other))
        return x.dtype == np.float32 and few > 0 and many >= self.sizes.least
