"""The parts of a long sum: a weight gradient has few results, and without parts most of a GPU would be idle."""

from __future__ import annotations

from functools import cache

from . import tiles

# Of an H100, and not of the GPU that is found, so that all GPUs with the same engine round the same sums the same
PROCESSORS = 132
RATES = {  # flop a second that the engines are expected to reach, by bytes of an element
    "Warpgroups": {2: 700e12},
    "TensorCores": {2: 620e12, 4: 310e12},
    "MultiplyAdds": {2: 50e12, 4: 50e12, 8: 25e12},
}


@cache
def split(tile: tiles.Tile, rate: float, m: int, n: int, depth: int, groups: int) -> tuple[int, int]:
    """(summands of a part, parts) of the sums of a weight gradient, with the least time to be expected:

    waves of blocks, each summing its part, and 4 steps to begin; and for several parts, writing and reading them.
    """
    blocks, steps, slots = tile.blocks(m, n) * groups, -(-depth // tile.BK), PROCESSORS * max(256 // tile.threads, 1)
    step = 2 * tile.BM * tile.BN * tile.BK * slots / rate  # seconds

    def seconds(parts):
        waves, more = -(-blocks * parts // slots), (8 * parts * m * n * groups / 4e12 + 3e-6 if parts > 1 else 0)
        return waves * (-(-steps // parts) + 4) * step + more

    most = max(1, min(steps // 8, 65535 // groups, 512))  # a part has 8 steps or more
    each = -(-steps // min(range(1, most + 1), key=seconds)) * tile.BK
    return each, -(-depth // each)
