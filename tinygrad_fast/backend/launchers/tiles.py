"""Which shape kernels/tile_loop.cuh runs in, and how it reads an operand: for matrix products and convolutions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from math import gcd

from ..precision import get_float32_matmul_precision
from . import tuned


@dataclass(frozen=True)
class Hardware:
    """What a choice depends on: compute capability (90: sm_90), the number of multiprocessors, the GPU's name."""

    capability: int
    processors: int
    gpu: str = ""

    def suited(self, tile: Tile) -> Tile:
        """The tile as this GPU runs it: before sm_80 no copies are on their way, and shared memory has 64 KB."""
        return tile if self.capability >= 80 else replace(tile, STAGES=2)


@dataclass(frozen=True)
class Tile:
    """A block computes BM x BN, each of its warps WM x WN, BK of k at a time, with STAGES of those in shared memory."""

    BM: int
    BN: int
    BK: int
    WM: int
    WN: int
    STAGES: int

    @property
    def threads(self) -> int:
        return self.BM // self.WM * (self.BN // self.WN) * 32

    def blocks(self, m: int, n: int) -> int:
        return -(-m // self.BM) * -(-n // self.BN)

    def defines(self) -> dict[str, int]:
        return asdict(self)


@dataclass(frozen=True)
class Engine:
    """An engine of the tile loop.

    name: in kernels/engines.cuh or warpgroups.cuh. tiles: its shapes by bytes of an element, the largest first. band:
    bytes of a column of sums that a warp hands out at once: 16 rows of float32, or 32 (16 of float64). stages: how many
    a tuner tries.
    """

    name: str
    tiles: Mapping[int, tuple[Tile, ...]]
    band: int
    stages: tuple[int, ...] = (2, 3, 4, 5)

    def offered(self, itemsize: int, piece: int, hardware: Hardware) -> list[Tile]:
        """The shapes among which `choose` chooses.

        piece: bytes that are copied at once, of the operand with the smaller copies. For 4 of them large tiles have no
        registers left; before sm_80, where a copy passes through registers, for 8 neither.
        """
        *larger, last = self.tiles[itemsize]
        large = piece >= (8 if hardware.capability >= 80 else 16)
        return [hardware.suited(tile) for tile in (*(larger if large else ()), last)]

    def choose(
        self, itemsize: int, m: int, n: int, batches: int, piece: int, hardware: Hardware, kernel: str = ""
    ) -> Tile:
        """The tile measured to be the fastest for this kernel (`tuned.py`). Where none was: what is done soonest
        (`effort`), of the last and of those that leave no processor idle, and a quarter of their work at most outside
        y. Blocks of one processor share its tensor cores, so that one in a round of its own has them for itself."""
        if piece == 16 and (found := tuned.measured(hardware.gpu, kernel, self.name, itemsize, m, n, batches)):
            return Tile(*found)
        *larger, last = self.offered(itemsize, piece, hardware)
        fit = [t for t in larger if _worth(t, t.blocks(m, n), m, n, batches, hardware)] + [last]
        return min(fit, key=lambda t: effort(t, self.tiles[itemsize][0], t.blocks(m, n) * batches, hardware.processors))

    def beaten(self, itemsize: int, m: int, n: int, batches: int, piece: int, hardware: Hardware, kernel: str) -> bool:
        """Whether the engine below was measured to be faster."""
        return piece == 16 and tuned.measured(hardware.gpu, kernel, self.name, itemsize, m, n, batches) == []

    def candidates(self, itemsize: int, most: int) -> list[Tile]:
        """What a tuner tries: each shape with each number of stages whose shared memory is at most so many bytes."""
        tiles = [replace(t, STAGES=stages) for t in self.tiles[itemsize] for stages in self.stages]
        return [t for t in tiles if self.shared(t, itemsize) <= most]

    def shared(self, tile: Tile, itemsize: int) -> int:
        """Bytes of shared memory: for the tiles on their way, and after them for the sums."""
        ring = tile.STAGES * (tile.BM + tile.BN) * tile.BK * itemsize
        return max(ring, tile.threads // 32 * (tile.WN + 8) * self.band)


# 256 x 128: 85 flop a byte from L2, 256 x 64: 51. One stage more than the others have of 64 k; 3 of 128 x 128 let two
# blocks on a processor.
WARPGROUPS = Engine(
    "Warpgroups",
    {
        2: (
            Tile(256, 128, 64, 16, 128, 4),
            Tile(128, 128, 64, 16, 128, 3),
            Tile(256, 64, 64, 16, 64, 4),
            Tile(64, 64, 64, 16, 64, 4),
        )
    },
    band=16 * 4,
    stages=(3, 4, 5),
)
# A warp's 64 x 64 is what shared memory can feed, the block's size what L2 can: 85, 64, 51 and 32 flop a byte
# (kernels/tile_loop.cuh, COST). 96 KB at most, so that each GPU from sm_80 on has room for a block. 64 x 64 twice: two
# warps need fewer instructions for each that multiplies; four are sooner done, where processors have one block or none.
TENSOR_CORES = Engine(
    "TensorCores",
    {
        2: (
            Tile(128, 256, 32, 64, 64, 4),
            Tile(128, 128, 32, 64, 64, 4),
            Tile(256, 64, 32, 64, 64, 4),
            Tile(64, 64, 64, 64, 32, 3),
            Tile(64, 64, 64, 32, 32, 3),
        ),
        4: (Tile(128, 128, 16, 64, 64, 4), Tile(64, 64, 32, 32, 32, 3)),
    },
    band=16 * 4,
)
# 64 sums a thread; 32 of float64, which take two registers each.
MULTIPLY_ADDS = Engine(
    "MultiplyAdds",
    {
        2: (Tile(128, 128, 32, 64, 32, 3), Tile(64, 64, 32, 32, 32, 3)),
        4: (Tile(128, 128, 16, 64, 32, 3), Tile(64, 64, 16, 32, 32, 3)),
        8: (Tile(64, 64, 16, 32, 32, 3),),
    },
    band=32 * 4,
)


@dataclass(frozen=True)
class HopperTile:
    """A block of kernels/hopper_loop.cuh computes BM x BN, with STAGES of 64 k in shared memory."""

    BM: int
    BN: int
    STAGES: int

    @property
    def threads(self) -> int:
        return 2 * self.BM + 32  # a warpgroup for 64 rows, and the warp that copies

    def shared(self) -> int:
        """Bytes of shared memory: the tiles, 16 x 40 sums of each warp on their way out, and two barriers a stage."""
        return self.STAGES * (self.BM + self.BN) * 128 + self.BM // 16 * 16 * 40 * 4 + 16 * self.STAGES

    def blocks(self, m: int, n: int, cluster: int = 1) -> int:
        """Whole clusters: so many tiles one above the other."""
        return -(-m // (cluster * self.BM)) * cluster * -(-n // self.BN)

    def defines(self) -> dict[str, int]:
        return asdict(self)


# The largest first. 213 KB: nearly all that a multiprocessor of Hopper has (227), for it runs one block at a time.
HOPPER = (HopperTile(128, 256, 4), HopperTile(128, 128, 6))
CLUSTERS = {"matmul_cluster": 2, "matmul_hopper": 1}  # who takes them, the highest rung first: blocks of a cluster


def hopper_candidates(most: int) -> list[HopperTile]:
    """As `Engine.candidates`."""
    tiles = [replace(t, STAGES=stages) for t in HOPPER for stages in (2, 3, 4, 5, 6)]
    return [t for t in tiles if t.shared() <= most]


def on_clusters(
    kernels: Iterable[str], m: int, n: int, batches: int, hardware: Hardware
) -> tuple[str, HopperTile] | None:
    """Which of these kernels of Hopper's, the highest first, and its tile: measured to be the fastest (`tuned.py`).
    Where nothing was measured: what is done soonest (`effort`), of the tiles that leave no processor idle, and a
    quarter of their work at most outside y. None where there is none, or the rungs below were measured to be faster."""
    fit: list[tuple[float, str, HopperTile]] = []
    for kernel in kernels:
        if found := tuned.measured(hardware.gpu, kernel, "Hopper", 2, m, n, batches):
            return kernel, HopperTile(*found)
        for tile in HOPPER if found is None else ():
            blocks = tile.blocks(m, n, CLUSTERS[kernel])
            if _worth(tile, blocks, m, n, batches, hardware):
                cost = effort(tile, HOPPER[0], blocks * batches, resident(kernel, hardware))
                fit.append((cost, kernel, tile))
    return min(fit, key=lambda each: each[0])[1:] if fit else None


def resident(kernel: str, hardware: Hardware) -> int:
    """Blocks that run at the same time: one a processor, in whole clusters."""
    return max(hardware.processors // CLUSTERS[kernel], 1) * CLUSTERS[kernel]


def effort(tile: Tile | HopperTile, largest: Tile | HopperTile, blocks: int, at_once: int) -> float:
    """What a processor has to do, in elements of y: its rounds of blocks, and a toll on tiles that are smaller than the
    largest: they read more bytes for each of their products, which by a guess are two thirds of what it waits for."""
    more = (1 / tile.BM + 1 / tile.BN) / (1 / largest.BM + 1 / largest.BN)
    return -(-blocks // at_once) * tile.BM * tile.BN * (1 + 2 * more) / 3


def _worth(tile: Tile | HopperTile, blocks: int, m: int, n: int, batches: int, hardware: Hardware) -> bool:
    return blocks * batches >= hardware.processors and 3 * blocks * tile.BM * tile.BN <= 4 * m * n


ON_TENSOR_CORES = {"float16": 75, "bfloat16": 80, "float32": 80}  # dtype: compute capability; float32 as TF32


def engine(dtype: str, hardware: Hardware) -> Engine:
    """The tensor cores where they take a dtype, and float32 only where it may be rounded to TF32."""
    exact = dtype == "float32" and get_float32_matmul_precision() == "highest"
    return TENSOR_CORES if not exact and tensor_cores_take(dtype, hardware) else MULTIPLY_ADDS


def tensor_cores_take(dtype: str, hardware: Hardware) -> bool:
    """Whether this GPU's tensor cores take a dtype at all, float32 rounded to TF32."""
    return hardware.capability >= ON_TENSOR_CORES.get(dtype, 1000)


def on_tensor_cores(dtype: str, hardware: Hardware) -> bool:
    return engine(dtype, hardware) is TENSOR_CORES


def on_hopper(dtype: str, hardware: Hardware) -> bool:
    """No other GPU has its instructions; of other dtypes they read less than there is."""
    return hardware.capability == 90 and dtype in ("float16", "bfloat16")


def best_engine(dtype: str, hardware: Hardware) -> Engine:
    """Hopper's own where it takes a dtype: of convolutions, unless it is `beaten`."""
    return WARPGROUPS if on_hopper(dtype, hardware) else engine(dtype, hardware)


def anywhere(dtype: str, hardware: Hardware) -> bool:
    return True


def width(itemsize: int, *multiples: int) -> int:
    """Elements that may be copied at once: 16 bytes or a half, a quarter, ... of it, dividing all of `multiples`."""
    return gcd(16 // itemsize, *multiples)


def widths(itemsize: int) -> list[int]:
    """What `width` may be for the tile loop: copies of 16, 8 or 4 bytes."""
    return [size // itemsize for size in (16, 8, 4) if size >= itemsize]


def room(itemsize: int, n: int) -> int:
    """The length of a row that n elements share with zeros, so that 8 bytes are copied at once; 16 where it is long."""
    each = (16 if n >= 32 else 8) // itemsize
    return -(-n // each) * each


def order(itemsize: int, side: tuple[int, int], depth: tuple[int, int], others: Iterable[int]) -> tuple[int, int]:
    """(1 if neighbours lie along k else 0, elements that may be copied at once) for an operand of the tile loop.

    side, depth: extent and stride of m (or n), and of k; others: further strides, and the address in elements.
    """
    (sides, s), (depths, d), others = side, depth, tuple(others)
    along_k = width(itemsize, depths, s if sides > 1 else 0, *others) if d == 1 else 1
    along_m = width(itemsize, sides, d if depths > 1 else 0, *others) if s == 1 else 1
    if along_k == along_m == 1:
        return int(d == 1 or s != 1), 1
    return int(along_k >= along_m), max(along_k, along_m)
