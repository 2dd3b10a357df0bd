"""The emulator against what CUDA's manual says of each word, and by -m gpu a GPU; its detectors against a planted fault
each.
"""

import re
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

from tinygrad_fast.backend import emulator, launch
from tinygrad_fast.backend.emulator import Emulator, elf
from tinygrad_fast.backend.emulator.places import declarations
from tinygrad_fast.backend.source import KernelError, kernel_folder, read_source, sources

from . import gate, nvrtc
from .conftest import DEFINES, HERE, needs_ampere, unwatched
from .gate import TABLE

FAULTS = read_source(HERE / "faults.cu")


def emulate(kernel, grid, block, check=True, defines=DEFINES, shared=0, **arguments):
    machine = launch.Launcher(Emulator(check), HERE)
    machine(kernel, grid=grid, block=block, defines=defines, shared=shared, **arguments)


def floats(*shape):
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def test_where_shared_arrays_cannot_be_found_it_says_so(monkeypatch, capsys, tmp_path):
    """As on macOS, whose libraries are no ELF files. Once, and only where something is checked."""
    (tmp_path / "library").write_bytes(b"\xcf\xfa\xed\xfe" + bytes(60))
    assert not elf.is_known(tmp_path / "library") and not elf.shared_arrays(tmp_path / "library")
    monkeypatch.setattr(elf, "is_known", lambda library: False)
    emulator._say_what_is_not_watched.cache_clear()
    said = []
    for check in (False, True, True):
        emulate("block_sum", (1,), (256,), check, x=floats(1, 256), y=np.empty(1, np.float32))
        said.append(capsys.readouterr().err)
    assert said[0] == said[2] == "" and said[1].startswith("emulator: the checking mode finds __shared__ arrays in ELF")
    assert said[1].count("\n") == 1
    emulator._say_what_is_not_watched.cache_clear()


def test_what_its_tests_take_has_a_budget(monkeypatch):
    """Of a processor's time, summed over all workers; KERNEL_SECONDS changes it."""
    one = f"{HERE}/test_emulator.py::test_places"
    monkeypatch.setenv("KERNEL_SECONDS", "0")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "1", one]
    done = subprocess.run(command, cwd=HERE.parents[1], capture_output=True, text=True)
    said = r"1 passed|tests/kernels/: at most 0 seconds of a processor; took .*test_places\[watched\] \(\d"
    assert done.returncode == 1 and len(re.findall(said, done.stdout)) == 2, done.stdout


# Words


def test_places(run):
    y = np.zeros((24, 30), np.int32)
    run("places", (2, 3, 4), (5, 3, 2), y=y)
    np.testing.assert_array_equal(y, 1000 * np.arange(24)[:, None] + np.arange(30))


@pytest.mark.parametrize("n", [1, 7, 32, 100, 1024])
def test_dynamic_shared_memory(run, n):
    x, y = floats(3, n), np.empty((3, n), np.float32)
    run("reversed", (3,), (n,), shared=4 * n, x=x, y=y, n=n)
    np.testing.assert_array_equal(y, x[:, ::-1])


def test_block_and_warp_sums(run):
    x, blocks, warps = floats(5, 256), np.empty(5, np.float32), np.empty(8, np.float32)
    run("block_sum", (5,), (256,), x=x, y=blocks)
    np.testing.assert_array_equal(blocks, x.sum(1))
    run("warp_sums", (1,), (256,), x=x[0], y=warps)
    np.testing.assert_array_equal(warps, x[0].reshape(8, 32).sum(1))


@pytest.mark.parametrize("n, width", [(32, 32), (32, 8), (16, 16)])
def test_shuffles(run, n, width):
    y, lane = np.empty((4, n), np.int32), np.arange(n)
    run("shuffles", (1,), (n,), y=y, width=width)
    group, place = lane // width * width, lane % width
    np.testing.assert_array_equal(y[0], group + 3)
    np.testing.assert_array_equal(y[1], np.where(place >= 2, lane - 2, lane))
    np.testing.assert_array_equal(y[2], np.where(place + 2 < width, lane + 2, lane))
    np.testing.assert_array_equal(y[3], lane ^ 1)


def test_votes_of_parts_of_a_warp(run):
    x = np.zeros(32, np.int32)
    x[[0, 1, 5]] = 1
    y = np.empty(32, np.uint32)
    run("votes", (1,), (32,), x=x, y=y)
    assert set(y[1::2]) == {1 << 1 | 1 << 5} and set(y[::2]) == {10}


def test_lanes_that_ended_are_not_waited_for(run):
    y = np.empty(20, np.int32)
    run("early", (1,), (32,), y=y)
    assert set(y) == {(1 << 20) - 1}


def test_syncwarp(run):
    y = np.empty(64, np.int32)
    run("neighbours", (1,), (64,), y=y)
    np.testing.assert_array_equal(y.reshape(2, 32), np.roll(np.arange(64).reshape(2, 32), 2, axis=1))


def test_atomics(run):
    x = np.random.default_rng(0).integers(0, 10, 1000).astype(np.int32)
    y, most = np.zeros(10, np.int32), np.zeros(1, np.int32)
    run("counts", (8,), (128,), x=x, y_=y, most_=most, n=1000)
    np.testing.assert_array_equal(y, np.bincount(x))
    assert most == x.max()


def test_numbers_and_structures_by_value(run):
    y, big = np.empty(5, np.float32), 1 << 40
    run("line", (1,), (8,), at=dict(n=4, slope=[2, 1], big=big), y=y, add=0.5, twice=0.25, far=big)
    np.testing.assert_array_equal(y, [1.75, 3.75, 5.75, 7.75, 1])


def test_a_structure_takes_no_number_that_it_cannot_hold(run):
    with pytest.raises(KernelError, match=r"^line .*n is an integer of at most 2147483647; got 2147483648"):
        run("line", (1,), (8,), at=dict(n=1 << 31, slope=[2, 1], big=0), y=floats(5), add=0.5, twice=0.25, far=0)


@pytest.mark.parametrize("grid", [(1, 65536), (1, 1, 65536)])
def test_a_grid_is_as_large_as_a_gpus(grid):
    with pytest.raises(KernelError, match="at most 65,535 blocks along y and along z"):
        emulate("line", grid, (8,), at=dict(n=4, slope=[2, 1], big=0), y=floats(5), add=0.5, twice=0.25, far=0)


def test_printf(run, capfd):
    run("said", (1,), (4,), x=floats(4))  # and it is waited for
    assert capfd.readouterr().out == "x[1] = 1\nx[3] = 3\n"


def test_lists_of_arrays(run):
    """A kernel whose name ends in _ works in place: what it reads is written."""
    xs, ys, free = [floats(8), 2 * floats(8), floats(3)[1:]], [floats(8), floats(8), floats(2)], np.zeros((), np.int32)
    run("lists_", (4,), (2,), xs=xs, ys=ys, more=[0.5, 0, 0.25], free=free)
    assert [y.tolist()[:3] for y in ys] == [[0.5, 2.5, 2], [0, 3, 2], [1.25, 3.25]] and free == 1


LISTS = [
    (dict(xs=[floats(2), floats(2).astype(np.float64)]), "xs must be float32; got float64"),
    (dict(ys=[floats(2, 2).T]), "ys must lie in order C"),
    (dict(ys=[None]), r"ys must be a .*ndarray; got NoneType"),
]


@pytest.mark.parametrize("change, says", LISTS)
def test_lists_that_are_refused(run, change, says):
    given = dict(xs=[floats(2)], ys=[floats(2)], more=[0.0], free=np.zeros((), np.int32)) | change
    with pytest.raises(KernelError, match=rf"^lists_ .*{len(given['xs'])} xs, {len(given['ys'])} ys.*{says}"):
        run("lists_", (1,), (2,), **given)


@unwatched
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_conversions(run, dtype):
    """Every 16-bit float and there and back; ties, neighbours of ties, what is too large, and random numbers."""
    every = np.arange(1 << 16, dtype=np.uint16).view(dtype).astype(np.float32)
    every = every[~np.isnan(every)]
    finite = np.sort(every[np.isfinite(every)].astype(np.float64))
    ties = ((finite[1:] + finite[:-1]) / 2).astype(np.float32)
    around = np.concatenate([ties, np.nextafter(ties, np.float32(np.inf)), np.nextafter(ties, np.float32(-np.inf))])
    some = np.random.default_rng(0).integers(0, 1 << 32, 100_000, dtype=np.uint32).view(np.float32)
    x = np.concatenate([every, around, some])
    y, back = np.empty(x.shape, dtype), np.empty_like(x)
    name = np.dtype(dtype).name
    run("conversions", (1,), (64,), defines={"DTYPE": name}, x=x, y=y, back=back, n=x.size)
    with np.errstate(over="ignore", invalid="ignore"):
        want = x.astype(dtype).astype(np.float32)
    np.testing.assert_array_equal(y.astype(np.float32), want)  # NaN equals NaN here
    np.testing.assert_array_equal(back, want)


# Words of the tensor cores: the layouts are those of the PTX manual, written out once more

G, T4 = np.arange(32) // 4, np.arange(32) % 4  # a lane's group, and its place in it


@pytest.mark.parametrize("n", [32, 13])
def test_copies_of_four_sizes(run, n):
    x, y = 1 + floats(128), np.empty(240, np.float32)
    run("copies", (1,), (32,), shared=960, x=x, y=y, n=n)
    want = [np.where(np.arange(32 * size) < n * size, x[: 32 * size], 0) for size in (4, 2, 1)]
    halves = np.where(np.arange(32) < n, x.view(np.uint16)[:32], 0).astype(np.uint16)
    np.testing.assert_array_equal(y, np.concatenate([*want, halves.view(np.float32)]))


def test_ldmatrix(run):
    x, y = np.arange(256, dtype=np.uint16), np.empty((2, 4, 32), np.uint32)
    run("fragments", (1,), (32,), shared=512, x=x, y=y)
    pairs = y.view(np.uint16).reshape(2, 4, 32, 2)
    for j, matrix in enumerate(x.reshape(4, 8, 8)):
        for i in (0, 1):
            np.testing.assert_array_equal(pairs[0, j, :, i], matrix[G, 2 * T4 + i])
            np.testing.assert_array_equal(pairs[1, j, :, i], matrix[2 * T4 + i, G])


KINDS = {"f16": (np.float16, 16), "bf16": (ml_dtypes.bfloat16, 16), "tf32": (np.float32, 8), "f16_k8": (np.float16, 8)}


@pytest.mark.parametrize("kind", KINDS)
def test_mma(run, machine, kind):
    if kind != "f16_k8":
        needs_ampere(machine.hardware)
    dtype, depth = KINDS[kind]
    rng = np.random.default_rng(0)
    a, b, c = (rng.integers(-8, 8, s).astype(t) for s, t in [((16, depth), dtype), ((depth, 8), dtype), ((16, 8), "f")])
    each = 4 // a.itemsize  # elements in a register
    left, right = np.zeros((4, 32, each), dtype), np.zeros((2, 32, each), dtype)
    for e in range(each):
        for i in range(depth * a.itemsize // 8):
            left[i, :, e] = a[G + 8 * (i % 2), each * T4 + e + 4 * each * (i // 2)]
        for i in range(depth * a.itemsize // 16):
            right[i, :, e] = b[each * T4 + e + 4 * each * i, G]
    place = [(G + 8 * (i // 2), 2 * T4 + i % 2) for i in range(4)]
    sums = np.empty((4, 32), np.float32)
    given = dict(a=left.view(np.uint32), b=right.view(np.uint32), c=np.stack([c[at] for at in place]))
    run("products", (1,), (32,), **given, d=sums, kind=list(KINDS).index(kind))
    want = c + a.astype("f") @ b.astype("f")  # small whole numbers: exact in any order
    np.testing.assert_array_equal(sums, np.stack([want[at] for at in place]))


def test_what_is_not_rounded_to_tf32_is_cut_off(run, machine):
    needs_ampere(machine.hardware)
    one = np.full((4, 32, 1), 1 + 2.0**-10 + 2.0**-11, np.float32)
    sums = np.empty((4, 32), np.float32)
    given = dict(a=one.view(np.uint32), b=np.ones((2, 32, 1), "f").view(np.uint32), c=np.zeros_like(sums))
    run("products", (1,), (32,), **given, d=sums, kind=2)
    assert set(sums.flat) == {8 * (1 + 2.0**-10)}


def test_rounding_to_tf32(run, machine):
    needs_ampere(machine.hardware)
    x = np.array([1, 1 + 2**-11, -1 - 2**-11, 1 + 2**-11 - 2**-23, 1 + 3 * 2**-11, 2 - 2**-11, np.inf, -np.inf, np.nan])
    x, y = x.astype(np.float32), np.empty(9, np.float32)
    run("rounded", (1,), (32,), x=x.view(np.uint32), y=y.view(np.uint32), n=9)
    want = [1, 1 + 2**-10, -1 - 2**-10, 1, 1 + 2**-9, 2, np.inf, -np.inf, np.nan]
    np.testing.assert_array_equal(y, np.float32(want))


@pytest.mark.skipif(nvrtc.library() is None, reason=nvrtc.why_not)
@pytest.mark.parametrize("architecture", gate.GPUS)
def test_nvidias_compiler_knows_the_words(architecture):
    used = nvrtc.compiled(read_source(HERE / "words.cu").text, architecture, "DTYPE=bfloat16").uses
    assert {"products", "random_numbers"} < set(used) and not any(u.spilled for u in used.values())


# Faults

ALWAYS = (
    "barrier_not_for_all two_barriers barrier_for_some lanes_missing two_collectives absent_lane not_in_mask "
    "half_a_warp small_warp copy_not_aligned"
).split()
SAYS = {
    "barrier_not_for_all": "waits at __syncthreads, which other threads of its block never reach",
    "two_barriers": "thread (0, 0, 0) of block (0, 0, 0) waits at another __syncthreads than thread (32, 0, 0)",
    "barrier_for_some": "thread (0, 0, 0) of block (0, 0, 0) waits at another __syncthreads than thread (3, 0, 0)",
    "lanes_missing": "waits for lanes of its warp that never come",
    "two_collectives": "in different collectives",
    "absent_lane": "thread (0, 0, 0) of block (0, 0, 0) shuffles from a lane that takes no part",
    "not_in_mask": "thread (1, 0, 0) of block (0, 0, 0) is not in the mask",
    "past_the_end": "thread (63, 0, 0) of block (0, 0, 0) writes outside every array: 4 bytes 0 past the end of y",
    "past_one_of_a_list": "writes outside every array: 4 bytes 0 past the end of ys[1]",
    "past_a_list": "reads outside every array: 8 bytes 0 past the end of ys\n",
    "before_the_start": "thread (0, 0, 0) of block (0, 0, 0) reads outside every array: 4 bytes 4 before x",
    "between_the_rows": "thread (1, 0, 0) of block (0, 0, 0) reads outside every array: 4 bytes at element",
    "unwritten_result": "thread (0, 0, 0) of block (0, 0, 0) reads what nobody has written: 4 bytes at element 0 of y",
    "unwritten_shared": "thread (5, 0, 0) of block (0, 0, 0) reads what nobody has written: 4 bytes at held[5] in",
    "past_shared": "thread (10, 0, 0) of block (0, 0, 0) writes outside every array: 4 bytes at byte 40 of shared",
    "no_barrier": "reads what nobody has written",
    "no_second_barrier": "reads what another writes at the same time (thread",
    "two_writers": "thread (1, 0, 0) of block (0, 0, 0) writes at the same time as another (thread (0, 0, 0)):",
    "two_blocks": "thread (0, 0, 0) of block (1, 0, 0) writes at the same time as another",
    "in_step": "at the same time",
    "half_atomic": "writes at the same time as another",
    "unwritten_in_template": "thread (5, 0, 0) of block (0, 0, 0) reads what nobody has written: 4 bytes at held[5] in",
    "past_in_template": "thread (63, 0, 0) of block (0, 0, 0) writes outside every array: 4 bytes 0 past the end of",
    "no_barrier_in_template": "reads what nobody has written: 4 bytes at held[63] in shared memory",
    "past_one_of_two": "thread (63, 0, 0) of block (0, 0, 0) reads outside every array: 4 bytes 0 past the end of",
    "half_a_warp": "waits for lanes of its warp that never come",
    "small_warp": "needs all 32 lanes of its warp",
    "copy_not_aligned": "copies to or from what is not aligned",
    "copy_from_outside": "thread (63, 0, 0) of block (0, 0, 0) reads outside every array: 4 bytes 0 past the end of x",
    "copy_to_outside": "thread (16, 0, 0) of block (0, 0, 0) copies to outside every array: 16 bytes at byte 256",
    "no_wait": "reads what a copy on its way will write",
    "wait_for_too_few": "reads what a copy on its way will write",
    "wait_without_barrier": "thread (1, 0, 0) of block (0, 0, 0) reads what another writes at the same time (thread (0",
    "copy_over_readers": "thread (5, 0, 0) of block (0, 0, 0) copies to what another reads at the same time (thread (6",
    "write_under_a_copy": "writes what a copy on its way will write",
    "two_copies": "copies at the same time to where another writes (thread (0, 0, 0)):",
    "unwritten_fragment": "reads what nobody has written: 16 bytes at byte 0 of shared memory",
}


def planted(kernel, check):
    """Run a kernel of faults.cu: 64 threads, arrays of 64."""
    wide = np.zeros((64, 2 if kernel == "between_the_rows" else 1), np.float32)
    known = {p.name: p for p in FAULTS.kernels[kernel]}
    y = np.zeros(64, np.int32 if "y" in known and known["y"].target == "int" else np.float32)
    arrays = {"x": launch.Strided(wide[:, 0]), "y": y, "ys": [y, y.copy()]}
    shared = 40 if kernel == "past_shared" else 256
    given = {name: arrays[name] for name in known}
    emulate(kernel, (2 if kernel == "two_blocks" else 1,), (64,), check=check, shared=shared, **given)


@pytest.mark.parametrize("kernel", FAULTS.kernels)
def test_detectors(kernel, tally):
    lines = (HERE / "faults.cu").read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if f" {kernel}(" in line)
    if "in_template" in kernel:  # which stands before its kernel
        start = max(i for i in range(start) if lines[i].startswith("template"))
    fault = next(i for i, line in enumerate(lines) if i > start and "// FAULT" in line) + 1
    with pytest.raises(KernelError) as caught:
        planted(kernel, check=kernel not in ALWAYS)
    assert SAYS[kernel] in str(caught.value)
    assert str(caught.value).startswith(kernel) and f"at faults.cu:{fault}" in str(caught.value)
    end = lines.index("}", start)
    also = next((i for i in range(start, end) if "// ALSO" in lines[i]), None)
    assert also is None or re.search(rf"(the copy|thread \(\d+, 0, 0\)) at faults.cu:{also + 1}$", str(caught.value))
    tally(faults=1)


KNOWN = sources(kernel_folder())
FIRST = {KNOWN[row[0]].file: row for row in reversed(TABLE)}  # a kernel of each file


@pytest.mark.parametrize("file", [file for file, row in FIRST.items() if declarations(KNOWN[row[0]], DEFINES)])
def test_every_shared_array_is_watched(file):
    source, flags = KNOWN[FIRST[file][0]], dict(flag.split("=") for flag in FIRST[file][1].split())
    library = Emulator().compile(source, DEFINES | flags)
    assert {array.name for array in library.shared} == set(declarations(source, DEFINES | flags))
    assert all(array.room > array.bytes > 0 for array in library.shared)
