"""Hopper's rungs of the matrix products against NumPy in float64 (the bound: test_matmul.py); and its way to a GPU."""

import ctypes
import dataclasses
import os
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from tinygrad_fast.backend import cuda, driver
from tinygrad_fast.backend.cuda import Emulated
from tinygrad_fast.backend.launchers import tiles
from tinygrad_fast.backend.source import KernelError, kernel_folder, sources

from . import like_cupy, like_driver
from .conftest import needs_hopper
from .test_matmul import check, laid_out

TWO = tiles.Hardware(90, 2)  # an H100 with two processors, so that a block takes several tiles


KERNELS = ["matmul_hopper", "matmul_cluster"]


@pytest.fixture(params=KERNELS)
def hopper(machine, monkeypatch, request):
    """The emulator, or by -m gpu a GPU that is Hopper's."""
    needs_hopper(its := machine.hardware)
    machine.hardware = TWO
    monkeypatch.setattr(machine, "rung", request.param)
    machine.launch.counts.clear()
    yield machine
    machine.hardware = its


def on_hopper(kernel, folder=None, check=True):
    machine = Emulated(check)
    machine.rung, machine.hardware, machine.launch.place = kernel, TWO, folder
    return machine


def test_on_another_gpu_they_are_skipped_and_say_why():
    with pytest.raises(pytest.skip.Exception, match="these words are sm_90a's alone, and this GPU is sm_120"):
        needs_hopper(tiles.Hardware(120, 170))


FORMS = {  # layouts of x and of w, and what m, n and k are multiples of
    "along k, along n": ("in order", "in order", (1, 8, 8)),
    "along m, along n": ("transposed", "in order", (8, 8, 1)),
    "along k, along k": ("in order", "transposed", (1, 1, 8)),
}


@pytest.mark.parametrize("dtype, form", [*((np.float16, f) for f in FORMS), (ml_dtypes.bfloat16, "along k, along n")])
def test_hopper_multiplies(hopper, dtype, form, tally):
    x_layout, w_layout, multiples = FORMS[form]

    @settings(max_examples=12)
    @given(st.data())
    def any_product(data):
        m, n, k = (of * data.draw(st.sampled_from([1, 3, 9, 17, 33])) for of in multiples)
        a, b = data.draw(st.sampled_from([((), ()), ((2,), (2,)), ((3,), ()), ((), (2,))]))
        rng = np.random.default_rng(data.draw(st.integers(0, 99)))
        x, w = (rng.standard_normal(s).astype(dtype) for s in ((*a, m, k), (*b, k, n)))
        bias = rng.standard_normal(n).astype(dtype) if data.draw(st.booleans()) else None
        check(hopper, laid_out(x, x_layout), laid_out(w, w_layout), bias, data.draw(st.booleans()))

    any_product()
    assert set(hopper.launch.counts) == {hopper.rung} and hopper.launch.counts.total() > 8
    tally(kernel=hopper.rung, launches=hopper.launch.counts[hopper.rung])


@pytest.mark.parametrize("machine", ["plain", pytest.param("cuda", marks=pytest.mark.gpu)], indirect=True)
def test_hopper_with_its_large_tile(hopper, monkeypatch):
    monkeypatch.setattr(tiles, "on_clusters", lambda *_: (hopper.rung, tiles.HOPPER[0]))
    x, w = (np.random.default_rng(0).standard_normal((270, 272)).astype(np.float16) for _ in "xw")
    check(hopper, x[:, :200], w[:200], w[0], True)
    assert dict(hopper.launch.counts) == {hopper.rung: 1}


@pytest.mark.parametrize("machine", ["plain", pytest.param("cuda", marks=pytest.mark.gpu)], indirect=True)
@pytest.mark.parametrize("m", [1, 127, 129, 257, 385])
@pytest.mark.parametrize("batches, processors", [(1, 2), (3, 2), (1, 1), (1, 132), (2, 5)])
def test_tiles_that_are_no_pair(machine, monkeypatch, m, batches, processors):
    """1, 1, 2, 3 and 4 of them one above the other, two or one side by side; and processors for a half."""
    needs_hopper(machine.hardware)
    grids = []
    run = machine.launch.machine.run
    monkeypatch.setattr(machine.launch.machine, "run", lambda *given: grids.append(given[2]) or run(*given))
    monkeypatch.setattr(machine, "rung", "matmul_cluster")
    monkeypatch.setattr(machine, "hardware", tiles.Hardware(90, processors))
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(s).astype(np.float16) for s in ((batches, m, 72), (72, 136)))
    check(machine, x, w)
    pairs = -(-m // 256) * 2 * batches
    assert grids == [(min(2 * pairs, max(2, processors // 2 * 2)), 1, 1)]


@pytest.mark.parametrize(
    "x, w, dtype, takes",
    [
        ((64, 64), (64, 64), np.float16, ""),
        ((64, 65), (65, 64), np.float16, "matmul_tensor"),  # rows of x begin unaligned
        ((64, 64), (64, 64), np.float64, "matmul_registers"),
        ((2, 3, 64, 64), (3, 64, 64), np.float16, "matmul_tensor"),  # two axes of a batch
        ((64, 0), (0, 64), np.float16, "matmul_naive"),
    ],
)
def test_what_hopper_leaves_to_the_rung_below(hopper, x, w, dtype, takes):
    check(hopper, np.ones(x, dtype), np.ones(w, dtype))
    assert dict(hopper.launch.counts) == {takes or hopper.rung: 1}


def test_hopper_is_chosen_where_it_pays():
    H100 = tiles.Hardware(90, 132)
    large, small = tiles.HOPPER

    def chosen(m, n, batches=1):
        return tiles.on_clusters(tiles.CLUSTERS, m, n, batches, H100)

    assert chosen(4096, 4096) == ("matmul_cluster", large)
    assert chosen(1536, 1536) == ("matmul_cluster", small)  # of large ones 72, for 132 processors
    assert chosen(2304, 2304) == ("matmul_cluster", small)  # 3 rounds of 132 small tiles, or 2 of large ones
    assert chosen(384, 256 * 88) == ("matmul_hopper", large)  # of four tiles in two pairs one would be empty
    assert chosen(128, 256 * 132) == ("matmul_hopper", large)
    assert chosen(1024, 1024) is None
    machine, x = Emulated(), np.ones((64, 64), np.float16)
    for capability, processors in ((90, 132), (120, 1), (80, 1)):
        machine.hardware = tiles.Hardware(capability, processors)
        machine.matmul(x, x)
    assert dict(machine.launch.counts) == {"matmul_tensor": 3}
    machine.hardware = tiles.Hardware(90, 1)
    big = np.ones((128, 128), np.float16)
    assert (machine.matmul(big, big) == 128).all() and machine.launch.counts["matmul_hopper"] == 1
    machine.hardware = tiles.Hardware(90, 2)
    big = np.ones((256, 128), np.float16)
    assert (machine.matmul(big, big.T) == 128).all() and machine.launch.counts["matmul_cluster"] == 1


PARTS = ("matmul_hopper.cu", "matmul_cluster.cu", "hopper_loop.cuh", "hopper.cuh")


def changed(folder, file, old, new):
    """A copy of the kernels with one place of a file changed."""
    for name in PARTS:
        text = (kernel_folder() / name).read_text()
        assert name != file or old in text, old
        (folder / name).write_text(text.replace(old, new, 1) if name == file else text)
    return folder


LOOP, HOPPER, CLUSTER = "hopper_loop.cuh", "matmul_hopper.cu", "matmul_cluster.cu"
FULL, EMPTY = "barrier_wait(ring.full + turn.stage, turn.parity", "barrier_wait(ring.empty + turn.stage, turn.parity"
START = "  cluster_arrive();\n  cluster_wait();  // both blocks have barriers\n"
END = "  cluster_arrive();\n  cluster_wait();  // nobody's barriers are arrived at any more\n"
TO_BOTH = "if (lane < CLUSTER) barrier_arrive_at(ring.empty + stage, lane)"
MUTANTS = [  # where, what stands there, what is put in its place, what the checking mode says
    (LOOP, f"    {FULL});\n", "", "multiplies what"),
    (LOOP, f"{FULL})", f"{FULL} ^ 1)", "multiplies|never ends"),
    (HOPPER, f"        {EMPTY} ^ 1);\n", "", "copies|multiplies|more often"),
    (HOPPER, f"{EMPTY} ^ 1)", f"{EMPTY})", "never ends"),
    (HOPPER, "barrier_expect(full, STAGE)", "barrier_expect(full, STAGE + 16)", "never ends"),
    (LOOP, "    wgmma_fence();\n", "", "without a wgmma_fence"),
    (LOOP, "    barrier_fence();\n", "", "no barrier_fence"),
    (HOPPER, "  __syncthreads();\n", "", "barrier_init has not|nobody has written|at the same time"),
    (LOOP, "    if (t) done(before.stage)", "    done(turn.stage)", "multipl|more often"),
    (LOOP, "barrier_init(ring.empty + s, readers)", "barrier_init(ring.empty + s, 1)", "copies|more often|never"),
    (LOOP, "threadIdx.x / 128 * BOX", "threadIdx.x / 64 * BOX", "different operands"),
    (LOOP, "    __syncwarp();\n#pragma", "#pragma", "at the same time|nobody has written"),
    (CLUSTER, START, "", "barrier_init has not|at the same time"),
    (CLUSTER, START, "  __syncthreads();\n", "barrier_init has not|at the same time"),
    (CLUSTER, END, "", "has ended|may have ended"),
    (CLUSTER, "open_ring(shared, CLUSTER * WARPS)", "open_ring(shared, WARPS)", "copies|multiplies|more often"),
    (CLUSTER, f"        {EMPTY} ^ 1);\n", "", "copies|multiplies|more often"),
    (CLUSTER, TO_BOTH, TO_BOTH.replace("lane)", "rank)"), "more often|copies|multiplies"),
    (CLUSTER, TO_BOTH, "if (lane == 0) barrier_arrive(ring.empty + stage)", "never ends"),
    (CLUSTER, "copy_box_to(3,", "copy_box_to(1 << rank,", "never ends"),
    (CLUSTER, "copy_box_to(3,", "copy_box_to(1,", "never ends"),
    (CLUSTER, "copy_box_to(3,", "copy_box_to(6,", "its cluster does not have"),
    (CLUSTER, "barrier_expect(full, STAGE)", "barrier_expect(full, STAGE + 16)", "never ends"),
    (CLUSTER, "barrier_expect(full, STAGE)", "barrier_expect(full, STAGE - HALF / 64 * BOX)", "multiplies|copies"),
    (CLUSTER, "        to += rank * HALF / 64 * BOX;\n", "", "copies at the same time|nobody has written"),
]


@pytest.mark.parametrize("file, old, new, says", MUTANTS)
def test_planted_faults_are_found(tmp_path, file, old, new, says, tally):
    kernel = Path(file).stem if file != LOOP else "matmul_hopper"
    machine = on_hopper(kernel, changed(tmp_path, file, old, new))
    x = np.random.default_rng(0).standard_normal((200, 1032)).astype(np.float16)
    with pytest.raises(KernelError, match=rf"(?s){kernel} .*thread \(.*({says}).*\.cuh?:\d+"):
        machine.matmul(x, x.T[:, :136].copy())
    tally(faults=1)


@pytest.mark.parametrize(
    "file, old, new",
    [
        (LOOP, "  wgmma_wait<0>();\n", ""),  # sums that are not there yet
        (LOOP, "xs + k * X_NEXT", "xs + k"),
        ("hopper.cuh", "(u64)1 << 62", "(u64)2 << 62"),  # a swizzle of 64 bytes
        ("hopper.cuh", "(u64)(8 * 128 >> 4) << 32", "(u64)(8 * 64 >> 4) << 32"),
        (LOOP, "lane / 4 + 8 * (i / 2 % 2)", "lane / 4 + 8 * (i % 2)"),
        (CLUSTER, "at.m + rank * BM + 16 * warp", "at.m + 16 * warp"),
        (CLUSTER, "i = rank * HALF; i < (rank + 1) * HALF", "i = 0; i < HALF"),
    ],
)
def test_wrong_numbers_show(tmp_path, file, old, new, tally):
    x = np.random.default_rng(0).standard_normal((136, 136)).astype(np.float16)
    with pytest.raises(AssertionError):
        check(on_hopper("matmul_cluster", changed(tmp_path, file, old, new), check=False), x, x)
    tally(faults=1)


# On CuPy: compiled by NVRTC for sm_90a, its operands described by the driver


@pytest.fixture
def on_cupy():
    """CUDA on the stand-in, and what it is asked for from now on."""
    driver.tensor_map.cache_clear()
    with like_cupy.installed():
        machine = cuda.CUDA()
        machine.rung, machine.hardware = "matmul_hopper", TWO
        like_driver.compiled.clear(), like_driver.maps.clear()
        yield machine
    assert not like_driver.programs, "a program of NVRTC's was not destroyed"


def operands(machine, m=24, n=40, k=72):
    rng = np.random.default_rng(0)
    return [machine.asarray(rng.standard_normal(s).astype(np.float16)) for s in ((m, k), (k, n))]


def test_what_it_is_compiled_with_and_how_its_operands_are_described(on_cupy):
    x, w = operands(on_cupy)
    y = on_cupy.matmul(x, w)
    np.testing.assert_allclose(
        *(a.astype("f") for a in (y.held, x.held.astype("f") @ w.held.astype("f"))), rtol=2e-3, atol=2e-3
    )
    [options] = like_driver.compiled
    flags = {"-DBM=128", "-DBN=128", "-DSTAGES=6", "-DDTYPE=float16", "-DXK=1", "-DWK=0"}
    assert set(options) == {"-arch=sm_90a", "-std=c++17", "-ftz=true"} | flags
    of_x, of_w = like_driver.maps
    assert of_x == dict(sizes=(72, 24, 1), strides=(144, 24 * 144), box=(64, 64, 1), dtype=6)
    assert of_w == dict(sizes=(40, 72, 1), strides=(80, 72 * 80), box=(64, 64, 1), dtype=6)
    on_cupy.matmul(x, w)
    assert len(like_driver.compiled) == 1 and len(like_driver.maps) == 2  # kept, while they lie where they lay


def test_what_is_compiled_is_kept_on_disk(on_cupy, monkeypatch):
    """Another machine is another process here. What NVRTC would make another cubin of is made again."""
    x, w = operands(on_cupy)
    y = on_cupy.matmul(x, w)
    again = cuda.CUDA()
    again.rung, again.hardware = on_cupy.rung, on_cupy.hardware
    assert (again.matmul(x, w).held == y.held).all() and len(like_driver.compiled) == 1
    [file] = Path(os.environ["CUPY_CACHE_DIR"]).iterdir()
    assert file.name.startswith("tinygrad_fast-") and file.suffix == ".cubin"  # and nothing half-made

    source, flags = sources(kernel_folder())["matmul_hopper"], {"DTYPE": "float16", "BM": 128, "BN": 128}
    flags |= {"STAGES": 6, "XK": 1, "WK": 0}
    compile = again.launch.machine.compile
    compile(source, flags)
    assert len(like_driver.compiled) == 2  # another order of -D
    compile(source, flags | {"DTYPE": "bfloat16"})
    monkeypatch.setattr(like_cupy.cuda.nvrtc, "getVersion", lambda: (13, 1))
    compile(source, flags)
    assert len(like_driver.compiled) == 4
    monkeypatch.setattr(like_driver, "known", lambda text: source)
    compile(dataclasses.replace(source, text=source.text + "\n"), flags)
    compile(source, flags)
    assert len(like_driver.compiled) == 5 == len(list(file.parent.iterdir()))


def test_the_parts_of_a_batch(on_cupy):
    x, w = (on_cupy.asarray(np.ones(s, np.float16)) for s in ((3, 8, 16), (16, 8)))
    assert (on_cupy.matmul(x, w).held == 16).all()
    assert [m["sizes"] for m in like_driver.maps] == [(16, 8, 3), (8, 16, 1)]
    assert like_driver.maps[0]["strides"] == (32, 256)


@pytest.mark.parametrize(
    "shape, strides, takes",  # of x: elements of float16
    [
        ((3, 1, 16), (24, 16, 1), (16, 1, 3)),  # a row each: from one to the next
        ((3, 1, 16), (8, 16, 1), None),  # which overlap
        ((2, 4, 16), (64, 16, 1), (16, 4, 2)),
        ((2, 4, 16), (72, 16, 1), None),  # not a whole number of rows
        ((2, 4, 16), (16, 32, 1), None),  # row by row of either matrix
        ((1, 4, 16), (0, 16, 1), (16, 4, 1)),
    ],
)
def test_operands_that_the_manual_allows_are_described(on_cupy, shape, strides, takes):
    memory = np.random.default_rng(0).integers(-4, 4, 256).astype(np.float16)
    x = np.lib.stride_tricks.as_strided(memory, shape, [2 * s for s in strides])
    w = np.ones((16, 8), np.float16)
    y = on_cupy.matmul(like_cupy.ndarray(x), on_cupy.asarray(w))
    np.testing.assert_array_equal(y.held, x @ w)
    assert [m["sizes"] for m in like_driver.maps[:1]] == ([takes] if takes else [])
    assert takes or "matmul_hopper" not in on_cupy.launch.counts


def test_a_description_begins_at_a_multiple_of_64():
    """By luck one in four does."""
    like_driver.maps.clear()
    with like_cupy.installed():
        for rows in range(1, 33):
            map = driver.tensor_map(1 << 20, "bfloat16", (64, rows, 1), (128, 128 * rows), (64, 64, 1))
            assert map.shape == () and map.nbytes == 128
    assert len(like_driver.maps) == 32


@pytest.mark.parametrize(
    "address, sizes, strides",
    [
        (8, (64, 64, 1), (128, 8192)),
        (1 << 20, (64, 64, 1), (136, 64 * 136)),
        (1 << 20, (64, 64, 2), (128, 1 << 40)),
        (1 << 20, (0, 64, 1), (128, 8192)),
        (1 << 20, (64, 64, 1), (112, 64 * 112)),  # rows that overlap
        (1 << 20, (64, 64, 2), (128, 16)),  # matrices that do
        (1 << 20, (64, 64, 2), (128, 8192 + 16)),  # not a whole number of rows
    ],
)
def test_a_map_that_the_driver_refuses(on_cupy, address, sizes, strides):
    with pytest.raises(KernelError, match=r"makes no tensor map \(CUDA error 1\) of float16 \(.*multiples of 16"):
        driver.tensor_map(address, "float16", sizes, strides, (64, 64, 1))


def test_a_refusal_names_the_kernel(on_cupy, monkeypatch):
    monkeypatch.setattr(like_driver, "cuTensorMapEncodeTiled", lambda *given: 999)
    with pytest.raises(KernelError, match=r"(?s)^matmul_hopper \(.*x \(24, 72\).*no tensor map \(CUDA error 999\)"):
        on_cupy.matmul(*operands(on_cupy))
    assert not on_cupy.launch.counts


def test_a_driver_that_is_too_old(monkeypatch):
    def no_library(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", no_library)
    driver.cuda_driver.cache_clear()
    with pytest.raises(KernelError, match=r"tensor maps need .* of CUDA 12 or later: .*Update the GPU's driver"):
        driver.cuda_driver()


def test_a_source_that_nvrtc_refuses(on_cupy):
    source = sources(kernel_folder())["matmul_hopper"]
    with pytest.raises(KernelError, match="not supported on .target 'sm_90'"):
        on_cupy.launch.machine.compile(dataclasses.replace(source, needs=(("sm_90", ""),)), {"DTYPE": "float16"})
    assert not list(Path(os.environ["CUPY_CACHE_DIR"]).iterdir())
    with pytest.raises(KernelError, match="not supported on .target 'sm_90'"):  # as CuPy compiles by itself
        on_cupy.launch.machine.compile(dataclasses.replace(source, needs=""), {"DTYPE": "float16"})
