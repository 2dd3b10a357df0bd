"""The gate of NVIDIA's compiler: every kernel, for each dtype and architecture of its row in kernels/README.md."""

import re

import pytest

from tinygrad_fast.backend import launch
from tinygrad_fast.backend.launchers import tiles

from . import nvrtc, sass

ROWS = [
    tuple(cell.strip(" `") for cell in row.split("|")[1:-1])
    for row in (launch.folder() / "README.md").read_text().splitlines()
    if row.startswith("| `")
]
TABLE = [row for row in ROWS if len(row) == 6]
HOPPER = [row for row in ROWS if row[0] in tiles.CLUSTERS]
LOOPS = [row for row in ROWS if len(row) == 8 and row not in HOPPER]  # on the tile loop
ENGINES = {"HMMA": tiles.TENSOR_CORES, "FFMA": tiles.MULTIPLY_ADDS, "DFMA": tiles.MULTIPLY_ADDS}
ALL = {"dtypes": "float64 float32 float16 bfloat16".split(), "architectures": "sm_75 sm_80 sm_90 sm_90a sm_120".split()}
needs_nvrtc = pytest.mark.skipif(nvrtc.library() is None, reason=nvrtc.why_not)
needs_nvdisasm = pytest.mark.skipif(sass.nvdisasm() is None, reason=sass.why_not)


def test_every_kernel_has_a_row():
    assert {row[0] for row in ROWS} == set(launch.sources(launch.folder()))
    assert len(TABLE) + len(LOOPS) + len(HOPPER) == len(ROWS)


def test_every_tile_has_a_row():
    rows = {(row[7].split()[1], tile_of(row[1])) for row in LOOPS}
    for engine in (tiles.TENSOR_CORES, tiles.MULTIPLY_ADDS):
        works = {work for work, e in ENGINES.items() if e is engine}
        assert {tile for shapes in engine.tiles.values() for tile in shapes} <= {t for w, t in rows if w in works}

    hopper = {(row[0], hopper_tile(row[1])) for row in HOPPER}
    assert hopper == {(kernel, tile) for kernel in tiles.CLUSTERS for tile in tiles.HOPPER}


def hopper_tile(cell):
    """ "128x256 4" """
    return tiles.HopperTile(*map(int, re.findall(r"\d+", cell)))


def tile_of(cell):
    """ "128x256x32 64x64 4" """
    return tiles.Tile(*map(int, re.findall(r"\d+", cell)))


def compiled(kernel, flags, dtypes, architectures):
    dtypes, architectures = dtypes.split(), architectures.split()
    assert set(dtypes) <= set(ALL["dtypes"]) and set(architectures) <= set(ALL["architectures"])
    text = launch.sources(launch.folder())[kernel].text
    for architecture in architectures:
        for dtype in dtypes:
            yield (architecture, dtype), nvrtc.compiled(text, architecture, f"DTYPE={dtype}", *flags)


def main_loops(kernel, tile, flags, dtypes, architectures, work):
    """What the kernel uses, and the instructions of its main loop, which does `work`, by architecture and dtype."""
    flags = [f"{name}={n}" for name, n in tile.defines().items()] + flags.split()
    cubins = dict(compiled(kernel, flags, dtypes, architectures))
    used = {at: c.uses[kernel] for at, c in cubins.items()}
    return used, {at: sass.main_loop(c.cubin, kernel, work) for at, c in cubins.items()}


def within(kernel, used, registers):
    print(*used.items(), sep="\n")
    assert not [at for at, use in used.items() if use.spilled], "registers spilled to memory"
    assert not [at for at, use in used.items() if use.stack], "an array of a thread, or of the arguments, in memory"
    over = {at: use for at, use in used.items() if use.registers > registers}
    assert not over, f"{kernel} may take {registers} registers: {over}"
    assert max(use.registers for use in used.values()) > registers - 16, "the budget is too wide to notice anything"


@needs_nvrtc
@pytest.mark.parametrize("kernel, flags, dtypes, architectures, registers, shared", TABLE)
def test_compiles_within_its_budget(kernel, flags, dtypes, architectures, registers, shared, tally):
    used = {at: c.uses[kernel] for at, c in compiled(kernel, flags.split(), dtypes, architectures)}
    within(kernel, used, int(registers))
    over = {at: use for at, use in used.items() if use.shared > int(shared)}
    assert not over, f"{kernel} may take {shared} bytes: {over}"
    tally(cubins=len(used))


@needs_nvrtc
@needs_nvdisasm
@pytest.mark.parametrize("kernel, tile, flags, dtypes, architectures, registers, shared, loop", LOOPS)
def test_main_loops(kernel, tile, flags, dtypes, architectures, registers, shared, loop, tally):
    """Registers as above; and how many instructions the main loop has for each that does the work."""
    tile, (budget, work) = tile_of(tile), loop.split()
    used, loops = main_loops(kernel, tile, flags, dtypes, architectures, work)
    each = {at: len(instructions) / sass.count(instructions, work) for at, instructions in loops.items()}
    within(kernel, used, int(registers))
    assert all(any(sass.word(i).startswith(("LDGSTS", "LDG.")) for i in loop) for loop in loops.values()), "no copies"
    assert ENGINES[work].shared(tile, {"float64": 8, "float32": 4}.get(dtypes, 2)) == int(shared)
    assert not {at: n for at, n in each.items() if not n <= float(budget)}, f"{budget} {work}: {each}"
    assert max(each.values()) > 0.95 * float(budget), f"the budget is too wide to notice anything: {each}"
    tally(cubins=len(used))


@needs_nvrtc
@needs_nvdisasm
@pytest.mark.parametrize("kernel, tile, flags, dtypes, architectures, registers, shared, loop", HOPPER)
def test_the_main_loop_of_hopper(kernel, tile, flags, dtypes, architectures, registers, shared, loop, tally):
    tile, (budget, work) = hopper_tile(tile), loop.split()
    used, loops = main_loops(kernel, tile, flags, dtypes, architectures, work)
    each = {at: len(instructions) / sass.count(instructions, work) for at, instructions in loops.items()}
    for instructions in loops.values():
        waits = [i for i in instructions if "gsb0" in i]  # one commit, one wait: not product by product
        assert len(waits) == 2, f"the products wait for each other: {waits}"
        assert not [i for i in instructions if "MEMBAR" in i or "CCTL" in i], "an arrival waits for the GPU's memory"
    within(kernel, used, int(registers))
    assert tile.shared() == int(shared) <= 227 << 10
    assert 0.95 * float(budget) < max(each.values()) <= float(budget), each
    tally(cubins=len(used))


@needs_nvrtc
@needs_nvdisasm
@pytest.mark.parametrize("tile", tiles.HOPPER)
def test_what_a_cluster_shares_is_copied_once(tile):
    """Of the boxes that a block asks for, its tile of x and half a tile of w, those of w go to both."""
    source = launch.sources(launch.folder())["matmul_cluster"]
    flags = [f"{name}={n}" for name, n in tile.defines().items()] + "DTYPE=float16 XK=1 WK=0".split()
    code, _ = sass.code_of(nvrtc.compiled(source.text, "sm_90a", *flags).cubin, "matmul_cluster")
    counted = sass.count(code, "UTMALDG"), sass.count(code, "UTMALDG.3D.MULTICAST")
    assert counted == (tile.BM // 64 + tile.BN // 2 // 64, tile.BN // 2 // 64)
    assert source.clusters == {"matmul_cluster": tiles.CLUSTERS["matmul_cluster"]}


@needs_nvrtc
@pytest.mark.parametrize("kernel", tiles.CLUSTERS)
def test_hopper_alone_understands_it(kernel):
    text = launch.sources(launch.folder())[kernel].text
    assert launch.sources(launch.folder())[kernel].needs == "sm_90a"
    with pytest.raises(nvrtc.Refused, match=r"\.target 'sm_90'"):
        nvrtc.compiled(text, "sm_90", "DTYPE=float16", "BM=128", "BN=128", "STAGES=6", "XK=1", "WK=0")


@needs_nvrtc
def test_a_refusal_names_file_and_line():
    text = launch.sources(launch.folder())["matmul_naive"].text
    line = next(
        i for i, line in enumerate((launch.folder() / "matmul.cu").read_text().splitlines(), 1) if "A sum = 0" in line
    )
    with pytest.raises(nvrtc.Refused, match=re.escape(f"matmul.cu({line}): error")):
        nvrtc.compiled(text.replace("A sum = 0", "A sum = nothing", 1), "sm_80", "DTYPE=float32", "TILE=16")


@needs_nvrtc
def test_an_array_in_memory_is_seen():
    """Sizes of an array, looked up by a number that only the run knows."""
    text = launch.sources(launch.folder())["sum"].text
    old = "at += i % n * axes.s[d];"
    assert old in text
    plain, moved = (
        nvrtc.compiled(t, "sm_90", "DTYPE=float32") for t in (text, text.replace(old, "at += i % n * axes.s[i % 4];"))
    )
    assert not plain.uses["sum"].stack and moved.uses["sum"].stack and not moved.uses["sum"].spilled


@needs_nvrtc
@needs_nvdisasm
def test_a_loop_of_moves_is_seen():
    """B's registers in another order compute the same with other multiplicands, and cost two moves for each mma."""
    text = launch.sources(launch.folder())["matmul_tensor"].text
    old = "mma(T(), sums[i][j], left[i], &right[j / 2][j % 2 * 2]);"
    assert old in text
    moved = "{ u32 pair[2] = {right[j / 2][j % 2], right[j / 2][2 + j % 2]}; mma(T(), sums[i][j], left[i], pair); }"
    tile = tiles.TENSOR_CORES.tiles[2][1]
    flags = [f"{k}={v}" for k, v in tile.defines().items()] + "DTYPE=float16 XK=1 XV=8 WK=1 WV=8".split()
    cubins = [nvrtc.compiled(t, "sm_90", *flags).cubin for t in (text, text.replace(old, moved))]
    before, after = (len(sass.main_loop(cubin, "matmul_tensor")) for cubin in cubins)
    assert after > before + 64
