"""Which specialisations of the kernels there are: the table of kernels/README.md, and the tile loop's.

A specialisation is a kernel and what it is compiled with: "DTYPE=float32 PACKED=1". Most kernels have few, and each has
a row in the table. The tile loop has a thousand: every shape that `launchers/tiles.py` offers, with every width of its
copies. tests/conftest.py sees what tests launch, and lets none pass that is neither in the table nor among these.
"""

import re
from functools import cache
from itertools import product

from tinygrad_fast.backend.launchers import products, tiles
from tinygrad_fast.backend.source import kernel_folder
from tinygrad_fast.dtypes import dtype_of

DTYPES = "float64 float32 float16 bfloat16".split()
GPUS = {"sm_75": 75, "sm_80": 80, "sm_90": 90, "sm_90a": 90, "sm_120": 120}  # architecture: compute capability
ROWS = [
    tuple(cell.strip(" `") for cell in row.split("|")[1:-1])
    for row in (kernel_folder() / "README.md").read_text().splitlines()
    if row.startswith("| `")
]
TABLE = [row for row in ROWS if len(row) == 6]
HOPPER = [row for row in ROWS if row[0] in products.HOPPER]
LOOPS = [row for row in ROWS if len(row) == 8 and row not in HOPPER]  # on the tile loop
COPIES = {  # kernels of the tile loop: the flags that say how wide their copies are
    "conv2d_tiles": "XV WV",
    "conv2d_moments_tiles": "XV WV",
    "conv2d_dx_tiles": "GV WV",
    "conv2d_dw_tiles": "GV XV",
    **dict.fromkeys(products.ENGINES, "XV WV"),
}


def tile_of(cell):
    """ "128x256x32 64x64 4" """
    return tiles.Tile(*map(int, re.findall(r"\d+", cell)))


def hopper_tile(cell):
    """ "128x256 4" """
    return tiles.HopperTile(*map(int, re.findall(r"\d+", cell)))


def flags(**defines):
    """In one order."""
    return " ".join(f"{name}={defines[name]}" for name in sorted(defines))


def engines(kernel, dtype, architecture):
    """Those by which a kernel may multiply this dtype: by its rung, or by float32's precision; sm_90a has its own."""
    hardware = tiles.Hardware(GPUS[architecture], 132)
    if architecture == "sm_90a":
        return [tiles.WARPGROUPS] * (tiles.on_hopper(dtype, hardware) and kernel not in products.ENGINES)
    takes = tiles.tensor_cores_take(dtype, hardware)
    if kernel in products.ENGINES:
        engine = products.ENGINES[kernel]
        return [engine] if takes or engine is tiles.MULTIPLY_ADDS else []
    return [tiles.TENSOR_CORES] * takes + [tiles.MULTIPLY_ADDS] * (not takes or dtype == "float32")


@cache
def on_the_tile_loop():
    """Every specialisation of the tile loop that a launcher can ask for: {(kernel, flags): architectures}"""
    found = {}
    for (kernel, copies), dtype, (architecture, capability) in product(COPIES.items(), DTYPES, GPUS.items()):
        itemsize, hardware = dtype_of(dtype).itemsize, tiles.Hardware(capability, 132)
        for engine in engines(kernel, dtype, architecture):
            for widths in product(widths_of(kernel, itemsize), repeat=2):
                for tile in engine.offered(itemsize, min(widths) * itemsize, hardware):
                    for more in orders(kernel, engine):
                        how = tile.defines() | dict(zip(copies.split(), widths)) | more
                        found.setdefault((kernel, flags(DTYPE=dtype, **how)), []).append(architecture)
    return found


def widths_of(kernel, itemsize):
    """Copies of 16, 8 or 4 bytes; in small products of odd float16 also of 2."""
    return sorted({*tiles.widths(itemsize), *({1} if kernel in products.ENGINES else ())}, reverse=True)


def orders(kernel, engine):
    """What else the kernel is compiled with: convolutions their engine, products where neighbours lie."""
    if kernel not in products.ENGINES:
        return [{"ENGINE": engine.name}]
    return [{"XK": x, "WK": w} for x, w in product((0, 1), repeat=2)]


@cache
def in_the_table():
    """The specialisations that have a row of their own: {(kernel, flags): registers of a thread}"""
    rows = [(kernel, how, dtypes, registers) for kernel, how, dtypes, _, registers, _ in TABLE]
    rows += [(row[0], compiled_with_tile(*row[1:3]), row[3], row[5]) for row in LOOPS + HOPPER]
    return {
        (kernel, flags(DTYPE=dtype, **dict(flag.split("=") for flag in how.split()))): int(registers)
        for kernel, how, dtypes, registers in rows
        for dtype in dtypes.split()
    }


def compiled_with_tile(cell, more):
    tile = (tile_of if "x" in cell.partition(" ")[2] else hopper_tile)(cell)
    return f"{flags(**tile.defines())} {more}"


def known(kernel, defines):
    """Whether a specialisation is one of these; of the tile loop narrower ones may be compiled in its place."""
    asked = kernel, flags(**defines)
    return asked in in_the_table() or asked in on_the_tile_loop() or asked in on_hopper()


def fits(kernel, defines, threads):
    """Whether a GPU, which has 65,536 registers for a block, runs one of so many threads. What has no row of its own
    is held to that by its __launch_bounds__."""
    return threads * in_the_table().get((kernel, flags(**defines)), 0) <= 65536


@cache
def on_hopper():
    """As `on_the_tile_loop`, of the rungs for Hopper."""
    forms = product(products.HOPPER, tiles.HOPPER, ("float16", "bfloat16"), (0, 1), (0, 1))
    return {(rung, flags(DTYPE=t, XK=x, WK=w, **tile.defines())): ["sm_90a"] for rung, tile, t, x, w in forms}


def narrowest():
    """Of each shape of the tile loop, dtype and engine the form with the narrowest copies: it takes the most registers.
    On sm_75, and on one of the others in turn, whose code differs little; of products in one order in turn. And all of
    Hopper's."""
    found = {}
    for (kernel, how), where in on_the_tile_loop().items():
        defines = dict(flag.split("=") for flag in how.split())
        widths = sum(int(defines.pop(copy)) for copy in COPIES[kernel].split())
        shape = kernel, flags(**{name: value for name, value in defines.items() if name not in ("XK", "WK")})
        found.setdefault(shape, []).append((widths, how, where))
    for i, ((kernel, _), forms) in enumerate(found.items()):
        least = [form for form in forms if form[0] == min(forms)[0]]
        _, how, where = least[i % len(least)]
        yield kernel, how, where[i % len(where)]
    for (kernel, how), where in on_hopper().items():
        yield kernel, how, *where


def every_form():
    for (kernel, how), where in (on_the_tile_loop() | on_hopper()).items():
        for architecture in where:
            yield kernel, how, architecture
