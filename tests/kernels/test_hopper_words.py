"""The words of hopper.cuh against what NVIDIA's manual says of each, on the emulator and by -m gpu on Hopper; and the
emulator's detectors against a planted fault each."""

import re
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from tinygrad_fast.backend import launch
from tinygrad_fast.backend.emulator import Emulator
from tinygrad_fast.backend.source import KernelError, read_source

from . import nvrtc
from .conftest import needs_hopper

HERE = Path(__file__).parent
BOX = 64 * 128  # bytes
FAULTS = read_source(HERE / "hopper_faults.cu")


@pytest.fixture
def run(machine):
    """run(kernel, y, shared, **arguments) -> y, by 128 threads: arrays are NumPy's, a `launch.Boxed` holds one."""
    needs_hopper(machine.hardware)
    there = getattr(machine, "machine", machine)
    words = launch.Launcher(there.launch.machine, HERE)

    def moved(a):
        if isinstance(a, launch.Boxed):
            return launch.Boxed(there.asarray(a.array), a.sizes, a.strides, a.box)
        return there.asarray(a) if isinstance(a, np.ndarray) else a

    def once(kernel, y, shared, dtype="float16", columns=128, blocks=1, **arguments):
        given, out = {name: moved(a) for name, a in arguments.items()}, there.asarray(np.zeros_like(y))
        defines = {"DTYPE": dtype, "BN": columns}
        words(kernel, grid=(blocks,), block=(128,), defines=defines, shared=shared, y=out, **given)
        return there.to_numpy(out)

    return once


def boxed(a):
    """A matrix, or several, whose rows lie in order."""
    a = a.reshape(-1, *a.shape[-2:])
    return launch.Boxed(a, a.shape[::-1], (a.strides[1], a.strides[0]), (64, 64, 1))


def swizzled(rows):
    """64 rows of 64 elements as they lie in a box: chunk c, of eight elements, of row r at place c ^ r % 8."""
    chunks = rows.reshape(64, 8, 8)
    lies = np.empty_like(chunks)
    for r in range(64):
        for c in range(8):
            lies[r, c ^ r % 8] = chunks[r, c]
    return lies.reshape(64, 64)


# The copy

PLACES = [(0, 0, 0), (64, 64, 1), (16, 3, 1), (40, 90, 0), (-8, -5, 1), (120, 0, 0), (0, 100, 1), (0, 0, 2), (0, 0, -1)]


@pytest.mark.parametrize("place", PLACES)
def test_a_box_and_zeros_outside(run, place):
    """From element i of row j of matrix b on: there are 2 of 100 x 120, and beside each row 8 numbers more."""
    x = np.random.default_rng(0).integers(1, 1 << 15, (2, 100, 128)).astype(np.uint16)
    about = launch.Boxed(x.view(np.float16), (120, 100, 2), (256, 100 * 256), (64, 64, 1))
    i, j, b = place
    want = np.zeros((64, 64), np.uint16)
    for row in range(64):
        for column in range(64):
            if 0 <= j + row < 100 and 0 <= i + column < 120 and 0 <= b < 2:
                want[row, column] = x[b, j + row, i + column]
    got = run("box", np.zeros((64, 64), np.uint16), BOX + 8, x=about, i=i, j=j, b=b)
    np.testing.assert_array_equal(got, swizzled(want))


# The barrier


def test_phases_come_one_after_another(run):
    """What thread 0 says, three warps hear, each time before it says the next."""
    x = np.arange(7, dtype=np.int32) * 3 + 1
    y = run("phases", np.zeros((7, 96), np.int32), 32, x=x, n=7)
    np.testing.assert_array_equal(y, x[:, None] + 1 + np.arange(96) // 32)


# The cluster


@pytest.mark.parametrize("blocks", [(3, 3), (1, 2), (2, 1), (3, 1), (2, 3)])
def test_boxes_for_the_blocks_of_a_cluster(run, blocks):
    """What a block asks for comes to the blocks of its bits, at the same place in each."""
    x = np.random.default_rng(0).integers(1, 1 << 15, (2, 64, 64)).astype(np.uint16)
    got = run(
        *("shared_boxes", np.zeros((4, 2, 64, 64), np.uint16), 2 * BOX + 8),
        **dict(blocks=4, x=boxed(x.view(np.float16)), blocks0=blocks[0], blocks1=blocks[1]),
    )
    for block in range(4):  # two clusters
        for at in range(2):
            comes = blocks[at] >> block % 2 & 1
            np.testing.assert_array_equal(got[block, at], comes * swizzled(x[at]))


def test_what_a_cluster_is_not(tmp_path):
    """Half a pair; and, on the emulator, blocks with `__shared__` arrays, which it has one of each."""
    words, y = launch.Launcher(Emulator(), HERE), np.zeros((3, 7, 128), np.int32)
    given = dict(block=(128,), defines={"DTYPE": "float16", "BN": 128}, shared=8, n=7)
    with pytest.raises(KernelError, match="^both_arrive .*a grid must be whole clusters along x"):
        words("both_arrive", grid=(3,), y=y, **given)
    lines = "__shared__ volatile int told;", "told = n;", "y[threadIdx.x] = told;"
    text = 'extern "C" __global__ void __cluster_dims__(2, 1, 1) told(int* y, int n) {' + "\n  ".join(lines) + "}\n"
    (tmp_path / "told.cu").write_text('#include "common.cuh"\n' + text)
    with pytest.raises(KernelError, match="share their __shared__ arrays here: use DYNAMIC_SHARED"):
        launch.Launcher(Emulator(), tmp_path)("told", grid=(2,), y=y, **given)


def test_arrivals_at_the_barriers_of_another_block(run):
    y = run("both_arrive", np.zeros((2, 7, 128), np.int32), 8, blocks=2, n=7)
    assert (y == 1 + np.arange(7)[:, None]).all()


# The product


@pytest.mark.parametrize("a_along_k", [True, False])
@pytest.mark.parametrize("b_along_k", [True, False])
@pytest.mark.parametrize("n", [64, 128, 256])
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_products_of_a_warpgroup(run, dtype, n, a_along_k, b_along_k):
    """Thread 32 w + 4 g + t holds d[i] of row 16 w + g + 8 (i / 2 % 2) and column 8 (i / 4) + 2 t + i % 2."""
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-8, 8, s).astype(dtype) for s in ((64, 64), (64, n)))
    c = rng.integers(-8, 8, (64, n)).astype(np.float32)
    i, thread = np.arange(n // 2)[:, None], np.arange(128)
    row = 16 * (thread // 32) + thread % 32 // 4 + 8 * (i // 2 % 2)
    column = 8 * (i // 4) + 2 * (thread % 4) + i % 2
    given = dict(a=boxed(np.ascontiguousarray(a if a_along_k else a.T)), order=a_along_k + 2 * b_along_k)
    given |= dict(b=boxed(np.ascontiguousarray(b.T if b_along_k else b)), c=c[row, column])
    product = a.astype("f") @ b.astype("f")  # small whole numbers: exact in any order
    for more in (0, 1):
        d = run("product", c[row, column], BOX + n // 64 * BOX + 8, np.dtype(dtype).name, n, more=more, **given)
        np.testing.assert_array_equal(d, (product + more * c)[row, column])


def test_products_of_what_threads_have_written(run):
    x = np.random.default_rng(0).integers(-8, 8, (64, 64)).astype(np.float16)
    i, thread = np.arange(32)[:, None], np.arange(128)
    row = 16 * (thread // 32) + thread % 32 // 4 + 8 * (i // 2 % 2)
    column = 8 * (i // 4) + 2 * (thread % 4) + i % 2
    y = run("product_of_what_was_written", np.zeros((32, 128), np.float32), BOX, x=x.view(np.uint16))
    np.testing.assert_array_equal(y, (x.astype("f") @ x.astype("f").T)[row, column])


@pytest.mark.skipif(nvrtc.library() is None, reason=nvrtc.why_not)
def test_nvidias_compiler_knows_the_words():
    text = read_source(HERE / "hopper_words.cu").text
    used = nvrtc.compiled(text, "sm_90a", "DTYPE=bfloat16", "BN=256").uses
    assert set(used) == {"box", "phases", "shared_boxes", "both_arrive", "product", "product_of_what_was_written"}
    assert not any(u.spilled for u in used.values())


# Faults

ALWAYS = (
    "missing_arrival missing_bytes wrong_parity one_arrival_too_many no_barrier_there barrier_not_aligned "
    "no_fence_for_the_copies box_not_aligned nobody_waits_for_a_box no_wgmma_fence no_second_wgmma_fence "
    "lanes_that_disagree warps_that_disagree half_a_warpgroup "
    "block_that_has_not_begun block_that_has_ended box_for_a_block_that_ends box_for_the_wrong_block box_for_no_block "
    "arrival_at_no_block too_many_bytes_expected no_arrival_at_the_cluster two_arrivals_at_the_cluster"
).split()
NEVER = "waits for a phase of its barrier that never ends"
SAYS = {
    "missing_arrival": NEVER,
    "missing_bytes": NEVER,
    "wrong_parity": NEVER,
    "one_arrival_too_many": "thread (0, 0, 0) of block (0, 0, 0) arrives at a barrier more often in a phase than",
    "no_barrier_there": "takes for a barrier what barrier_init has not made one",
    "barrier_not_aligned": "makes a barrier at what is not a multiple of 8",
    "no_fence_for_the_copies": "copies to a barrier that no barrier_fence has shown to the copies",
    "box_not_aligned": "copies a box to where its swizzle does not begin",
    "nobody_waits_for_a_box": "thread (0, 0, 0) of block (0, 0, 0) ends before a copy of a box has landed",
    "no_wgmma_fence": "adds to registers without a wgmma_fence before it",
    "no_second_wgmma_fence": "adds to registers without a wgmma_fence before it",
    "lanes_that_disagree": "gives the lanes of a warp different operands",
    "warps_that_disagree": "gives the warps of a warpgroup different operands",
    "half_a_warpgroup": "needs the four warps of a warpgroup",
    "block_that_has_not_begun": "block (0, 0, 0) takes for a barrier what barrier_init has not made one",
    "block_that_has_ended": "block (0, 0, 0) reaches into a block of its cluster that has ended",
    "box_for_a_block_that_ends": "block (0, 0, 0) copies a box to a block that ends before it has landed",
    "box_for_the_wrong_block": f"block (1, 0, 0) {NEVER}",
    "box_for_no_block": "copies to a block that its cluster does not have",
    "arrival_at_no_block": "block (1, 0, 0) arrives at a barrier of a block that its cluster does not have",
    "too_many_bytes_expected": f"block (0, 0, 0) {NEVER}",
    "no_arrival_at_the_cluster": "waits for its cluster without having arrived at its barrier",
    "two_arrivals_at_the_cluster": "of block (0, 0, 0) arrives at its cluster's barrier again",
    "barrier_made_at_the_same_time": "block (1, 0, 0) reads what another writes at the same time (thread (0, 0, 0) of "
    "block (0, 0, 0)): 8 bytes at byte 0 of shared memory of block (0, 0, 0)",
    "block_that_may_have_ended": "block (1, 0, 0) reaches into a block of its cluster that may have ended",
    "too_few_bytes_expected": f"of block (1, 0, 0) reads what a copy on its way will write: 1 bytes at byte {BOX}",
    "refilled_before_both_have_read": "block (0, 0, 0) copies at the same time to where another writes: 8192 bytes at "
    "byte 0 of shared memory of block (1, 0, 0)",
    "told_too_soon": "of block (1, 0, 0) multiplies what a copy on its way will write: 16 bytes at byte 0",
    "box_not_waited_for": "reads what a copy on its way will write: 1 bytes at byte",
    "written_under_a_box": "(0, 0, 0) of block (0, 0, 0) writes what a copy on its way will write: 1 bytes at byte 5",
    "box_past_shared": "copies to outside every array",
    "box_over_readers": "copies to what another reads at the same time (thread",
    "product_of_what_nobody_wrote": "multiplies what nobody has written: 16 bytes at byte 0 of shared memory",
    "product_of_what_was_not_shown": "multiplies what its writer has not shown to products: 16 bytes at byte",
    "product_of_what_was_shown_too_late": "multiplies what its writer has not shown to products: 16 bytes at byte",
    "product_of_what_was_shown_to_nobody": "multiplies what its writer has not shown to products: 16 bytes at byte",
    "copied_under_a_product": "copies to what another multiplies at the same time (thread",
    "product_asked_for_too_soon": "multiplies what another writes at the same time (thread (0, 0, 0)): 16 bytes at",
    "product_of_what_did_not_land": "multiplies what a copy on its way will write",
    "box_under_a_product": "(0, 0, 0) of block (0, 0, 0) copies to what another multiplies at the same time (thread",
    "written_before_all_have_read": "block (0, 0, 0) writes what another reads at the same time (thread (95, 0, 0))",
}


def planted(kernel, check):
    """Run a kernel of hopper_faults.cu: 128 threads, or the half of them; two boxes of shared memory and a bit."""
    zeros = np.zeros(128, np.float32)
    arrays = {"x": boxed(np.zeros((64, 64), np.float16)), "y": zeros, "z": zeros.copy()}
    given = {p.name: arrays[p.name] for p in FAULTS.kernels[kernel]}
    block = 64 if kernel == "half_a_warpgroup" else 128
    given |= dict(grid=(FAULTS.clusters.get(kernel, 1),), block=(block,), shared=2 * BOX + 16)
    launch.Launcher(Emulator(check), HERE)(kernel, defines={"DTYPE": "float16"}, **given)


def test_every_fault_is_expected():
    assert set(FAULTS.kernels) == set(SAYS)


@pytest.mark.parametrize("kernel", FAULTS.kernels)
def test_detectors(kernel, tally):
    lines = (HERE / "hopper_faults.cu").read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if f" {kernel}(" in line)
    end = lines.index("}", start)
    [fault] = [i + 1 for i in range(start, end) if "// FAULT" in lines[i]]
    also = next((i + 1 for i in range(start, end) if "// ALSO" in lines[i]), None)
    with pytest.raises(KernelError) as caught:
        planted(kernel, check=kernel not in ALWAYS)
    said = str(caught.value)
    assert said.startswith(kernel) and SAYS[kernel] in said and f"at hopper_faults.cu:{fault}" in said, said
    assert also is None or re.search(rf"(the copy|thread \(\d+, 0, 0\)) at hopper_faults.cu:{also}$", said), said
    tally(faults=1)
