"""The gate of NVIDIA's compiler: every kernel, for each dtype and architecture of its row in kernels/README.md."""

import os
import re
from itertools import product

import pytest

from tinygrad_fast.backend.launchers import tiles
from tinygrad_fast.backend.source import kernel_folder, sources
from tinygrad_fast.dtypes import dtype_of

from . import gate, nvrtc, sass
from .gate import HOPPER, LOOPS, ROWS, TABLE, hopper_tile, tile_of

ENGINES = {
    "HGMMA": tiles.WARPGROUPS,
    "HMMA": tiles.TENSOR_CORES,
    "FFMA": tiles.MULTIPLY_ADDS,
    "DFMA": tiles.MULTIPLY_ADDS,
}
FORMS = list(gate.every_form() if os.environ.get("HYPOTHESIS_PROFILE") == "thorough" else gate.narrowest())
needs_nvrtc = pytest.mark.skipif(nvrtc.library() is None, reason=nvrtc.why_not)
needs_nvdisasm = pytest.mark.skipif(sass.nvdisasm() is None, reason=sass.why_not)


def test_every_kernel_has_a_row():
    assert {row[0] for row in ROWS} == set(sources(kernel_folder()))
    assert len(TABLE) + len(LOOPS) + len(HOPPER) == len(ROWS)


@pytest.mark.parametrize("file", sorted(kernel_folder().glob("*.cu")), ids=lambda file: file.name)
def test_every_header_says_what_share_of_the_limit_to_expect(file):
    """In numbers of its own; a reference to another file is none."""
    parts = re.findall(r"// MEASURED  (.*?)// SOURCE", file.read_text(), re.S)
    assert parts and file.read_text().count("// MEASURED") == len(parts)
    for part in parts:
        assert re.search(r"\b0\.\d|an? (half|eighth|tenth)", part), part


def test_no_line_of_a_kernel_is_longer_than_120():
    files = {path.name: path.read_text().splitlines() for path in kernel_folder().glob("*.cu*")}
    assert not [f"{name}:{i}" for name, lines in files.items() for i, line in enumerate(lines, 1) if len(line) > 120]


def test_every_tile_has_a_row():
    """Of each kernel on the tile loop each shape, by engine and bytes of an element: a budget. Turing's, whose code is
    simpler, have one for some, and for all `test_no_form_of_a_tile_spills`."""

    def key(kernel, engine, tile, dtype):
        return kernel, engine.name, tile, dtype_of(dtype).itemsize

    rows = {
        key(k, ENGINES[loop.split()[1]], tile_of(t), dtype)
        for k, t, _, dtypes, *_, loop in LOOPS
        for dtype in dtypes.split()
    }
    for kernel, dtype, architecture in product(gate.COPIES, gate.DTYPES, ("sm_90", "sm_90a")):
        for engine in gate.engines(kernel, dtype, architecture):
            for tile in engine.tiles[dtype_of(dtype).itemsize]:
                assert key(kernel, engine, tile, dtype) in rows, f"{kernel} {engine.name} {dtype} {tile} has no budget"
    hopper = {(row[0], hopper_tile(row[1])) for row in HOPPER}
    assert hopper == {(kernel, tile) for kernel in tiles.CLUSTERS for tile in tiles.HOPPER}


def compiled(kernel, flags, dtypes, architectures):
    dtypes, architectures = dtypes.split(), architectures.split()
    assert set(dtypes) <= set(gate.DTYPES) and set(architectures) <= set(gate.GPUS)
    text = sources(kernel_folder())[kernel].text
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
    if work == "HGMMA":
        products_overlap(loops)
    within(kernel, used, int(registers))
    assert all(any(sass.word(i).startswith(("LDGSTS", "LDG.")) for i in loop) for loop in loops.values()), "no copies"
    assert ENGINES[work].shared(tile, {"float64": 8, "float32": 4}.get(dtypes, 2)) == int(shared)
    assert not {at: n for at, n in each.items() if not n <= float(budget)}, f"{budget} {work}: {each}"
    assert max(each.values()) > 0.95 * float(budget), f"the budget is too wide to notice anything: {each}"
    tally(cubins=len(used))


def products_overlap(loops):
    """Of Hopper: one commit and one wait in each turn of a loop, not product by product."""
    for instructions in loops.values():
        waits = [i for i in instructions if "gsb0" in i]
        assert len(waits) == 2, f"the products wait for each other: {waits}"


@needs_nvrtc
@needs_nvdisasm
@pytest.mark.parametrize("kernel, tile, flags, dtypes, architectures, registers, shared, loop", HOPPER)
def test_the_main_loop_of_hopper(kernel, tile, flags, dtypes, architectures, registers, shared, loop, tally):
    tile, (budget, work) = hopper_tile(tile), loop.split()
    used, loops = main_loops(kernel, tile, flags, dtypes, architectures, work)
    each = {at: len(instructions) / sass.count(instructions, work) for at, instructions in loops.items()}
    products_overlap(loops)
    for instructions in loops.values():
        assert not [i for i in instructions if "MEMBAR" in i or "CCTL" in i], "an arrival waits for the GPU's memory"
    within(kernel, used, int(registers))
    assert tile.shared() == int(shared) <= 227 << 10
    assert 0.95 * float(budget) < max(each.values()) <= float(budget), each
    tally(cubins=len(used))


@needs_nvrtc
@pytest.mark.parametrize("kernel, flags, architecture", FORMS)
def test_no_form_of_a_tile_spills(kernel, flags, architecture, tally):
    """What launchers can ask for beside the rows: the narrowest copies of each shape; in profile `thorough`, all."""
    text = sources(kernel_folder())[kernel].text
    use = nvrtc.compiled(text, architecture, *flags.split()).uses[kernel]
    assert not use.spilled and not use.stack, use
    tally(cubins=1)


def test_what_tests_launch_has_a_row():
    """Flags, widths of copies, stages, a dtype that no launcher asks for: none passes (`launches` in conftest.py)."""
    tile = tiles.TENSOR_CORES.tiles[2][0].defines() | dict(ENGINE="TensorCores", XV=4, WV=8, DTYPE="float16")
    assert gate.known("conv2d_tiles", tile) and gate.known("unfold", dict(TURNED=0, DTYPE="float64"))
    for kernel, defines in (
        ("conv2d_tiles", tile | dict(XV=2)),  # a large tile with copies of 4 bytes
        ("conv2d_tiles", tile | dict(STAGES=3)),
        ("conv2d_tiles", tile | dict(DTYPE="float32")),
        ("unfold", dict(TURNED=2, DTYPE="float64")),
        ("update_scale_", dict(CHUNK=4096, DTYPE="float64")),
        ("conv2d_narrow", dict(WIDTH=8, EACH=1, DTYPE="float32")),
    ):
        assert not gate.known(kernel, defines), (kernel, defines)


def test_a_block_that_has_no_room_is_seen():
    """Threads of 104 registers each: 512, and 1024."""
    how = dict(LAST=1, DTYPE="float32")
    assert gate.fits("batch_norm_moments", how, 512) and not gate.fits("batch_norm_moments", how, 1024)


@needs_nvrtc
@needs_nvdisasm
@pytest.mark.parametrize("tile", tiles.HOPPER)
def test_what_a_cluster_shares_is_copied_once(tile):
    """Of the boxes that a block asks for, its tile of x and half a tile of w, those of w go to both."""
    source = sources(kernel_folder())["matmul_cluster"]
    flags = [f"{name}={n}" for name, n in tile.defines().items()] + "DTYPE=float16 XK=1 WK=0".split()
    code, _ = sass.code_of(nvrtc.compiled(source.text, "sm_90a", *flags).cubin, "matmul_cluster")
    counted = sass.count(code, "UTMALDG"), sass.count(code, "UTMALDG.3D.MULTICAST")
    assert counted == (tile.BM // 64 + tile.BN // 2 // 64, tile.BN // 2 // 64)
    assert source.clusters == {"matmul_cluster": tiles.CLUSTERS["matmul_cluster"]}


@needs_nvrtc
@pytest.mark.parametrize("kernel", tiles.CLUSTERS)
def test_hopper_alone_understands_it(kernel):
    text = sources(kernel_folder())[kernel].text
    assert sources(kernel_folder())[kernel].architecture({}) == "sm_90a"
    with pytest.raises(nvrtc.Refused, match=r"\.target 'sm_90'"):
        nvrtc.compiled(text, "sm_90", "DTYPE=float16", "BM=128", "BN=128", "STAGES=6", "XK=1", "WK=0")


@needs_nvrtc
def test_a_refusal_names_file_and_line():
    text = sources(kernel_folder())["matmul_naive"].text
    line = next(
        i for i, line in enumerate((kernel_folder() / "matmul.cu").read_text().splitlines(), 1) if "A sum = 0" in line
    )
    with pytest.raises(nvrtc.Refused, match=re.escape(f"matmul.cu({line}): error")):
        nvrtc.compiled(text.replace("A sum = 0", "A sum = nothing", 1), "sm_80", "DTYPE=float32", "TILE=16")


@needs_nvrtc
def test_an_array_in_memory_is_seen():
    """Sizes of an array, looked up by a number that only the run knows."""
    text = sources(kernel_folder())["sum"].text
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
    text = sources(kernel_folder())["matmul_tensor"].text
    old = "mma(T(), sums[i][j], left[i], &right[j / 2][j % 2 * 2]);"
    assert old in text
    moved = "{ u32 pair[2] = {right[j / 2][j % 2], right[j / 2][2 + j % 2]}; mma(T(), sums[i][j], left[i], pair); }"
    tile = tiles.TENSOR_CORES.tiles[2][1]
    flags = [f"{k}={v}" for k, v in tile.defines().items()] + "DTYPE=float16 XK=1 XV=8 WK=1 WV=8".split()
    cubins = [nvrtc.compiled(t, "sm_90", *flags).cubin for t in (text, text.replace(old, moved))]
    before, after = (len(sass.main_loop(cubin, "matmul_tensor")) for cubin in cubins)
    assert after > before + 64
