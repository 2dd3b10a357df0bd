"""Every rung of convolution and its gradients against NumPy in float64, with every access to memory watched.

|y - want| <= (L + 2) eps_A sum |x| |w| + eps_T |want|, L no less than the products in a sum. Where float32 runs as
TF32, both operands are first rounded to it here, too.
"""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, strategies as st

import tinygrad_fast as tf
from tinygrad_fast import backend
from tinygrad_fast.backend import cuda, windows
from tinygrad_fast.backend.cuda import Emulated
from tinygrad_fast.backend.launchers import convolutions, tiles, tuned
from tinygrad_fast.backend.source import KernelError, kernel_folder

from . import like_cupy, like_driver
from .conftest import needs_hopper, unwatched, with_a_fault
from .test_matmul import DTYPES, EPS, laid_out, tf32

LAYOUTS = st.sampled_from(["in order", "transposed", "reversed"])
NAMES = {"conv2d", "conv2d_dx", "conv2d_dw"}
SQUARE = ((1, 1), (1, 1), (1, 1), 1)  # stride, padding, dilation, groups


def close(got, want, size, length, dtype):
    eps = EPS[np.dtype(dtype).name]
    allowed = (length + 2) * min(eps, EPS["float32"]) * size + eps * abs(want) + 2.0**-24
    assert got.dtype == dtype and got.shape == want.shape
    assert not (~(abs(got.astype(np.float64) - want) <= allowed)).any()


def arrays(dtype, n, c, o, hw, k, geometry, seed=0):
    """x, w and g of a convolution."""
    rng = np.random.default_rng(seed)
    shapes = (n, c, *hw), (o, c // geometry[3], *k), (n, o, *windows.fits(hw, k, *geometry[:3]))
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def check(machine, x, w, g, geometry, names=NAMES, rounded=lambda a: a):
    xw, ww, gw = (rounded(a).astype(np.float64) for a in (x, w, g))
    for name, a, b, more in (
        ("conv2d", (x, xw), (w, ww), ()),
        ("conv2d_dx", (g, gw), (w, ww), (x.shape[2:],)),
        ("conv2d_dw", (g, gw), (x, xw), (w.shape[2:],)),
    ):
        if name in names:
            plain = getattr(windows, name)
            want, size = plain(a[1], b[1], *geometry, *more), plain(abs(a[1]), abs(b[1]), *geometry, *more)
            got = getattr(machine, name)(a[0], b[0], *geometry, *more)
            close(got, want, size, g.size if name == "conv2d_dw" else w.size, x.dtype)


def tell(tally, machine, before):
    for kernel, n in (machine.launch.counts - before).items():
        tally(kernel=kernel, launches=n)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rung", ["naive", "narrow"])
def test_forward_and_both_gradients(machine, monkeypatch, rung, dtype, tally):
    monkeypatch.setattr(machine, "convolves", rung)
    before = machine.launch.counts.copy()

    @given(st.data())
    def any_convolution(data):
        one_to = lambda n: data.draw(st.integers(1, n))  # noqa: E731
        groups, n, k = one_to(3), one_to(2), (one_to(3), one_to(3))
        c, o, stride, dilation = groups * one_to(3), groups * one_to(3), (one_to(3), one_to(2)), (one_to(2), one_to(2))
        padding, hw = (one_to(3) - 1, one_to(2) - 1), (4 + one_to(6), 4 + one_to(5))
        geometry = (stride, padding, dilation, groups)
        given_ = arrays(dtype, n, c, o, hw, k, geometry, data.draw(st.integers(0, 99)))
        check(machine, *(laid_out(a, data.draw(LAYOUTS)) for a in given_), geometry)

    any_convolution()
    tell(tally, machine, before)


# The tile loop is compiled anew for each width of a copy: channels and outputs of a group that have one for both, the
# half or a part of it for one, and the smallest for another.
WIDTHS = {"float16": [(3, 16), (5, 19), (12, 20), (8, 70), (16, 16)], "float32": [(3, 16), (16, 70), (20, 12)]}
ENGINES = [*((t, "") for t in DTYPES), (np.float16, "Warpgroups"), (ml_dtypes.bfloat16, "Warpgroups")]


def use(machine, monkeypatch, engine):
    """Hopper's engine of the tile loop, or that of every GPU."""
    if engine == "Warpgroups":
        needs_hopper(machine.hardware)
    elif machine.hardware.capability == 90:
        monkeypatch.setattr(machine, "hardware", tiles.Hardware(80, machine.hardware.processors))


@pytest.mark.parametrize("dtype, engine", ENGINES)
def test_tile_loop(machine, monkeypatch, dtype, engine, tally):
    use(machine, monkeypatch, engine)
    monkeypatch.setattr(machine, "convolves", "tiles")
    before = machine.launch.counts.copy()

    @given(st.data())
    def any_convolution(data):
        one_to = lambda n: data.draw(st.integers(1, n))  # noqa: E731
        c, o = data.draw(st.sampled_from(WIDTHS.get(np.dtype(dtype).name, [(5, 16), (8, 16)])))
        groups, k, n = one_to(2), (one_to(3), one_to(5)), one_to(2)
        stride, dilation, padding = (one_to(3), one_to(4)), (one_to(2), one_to(2)), (one_to(4) - 1, one_to(2) - 1)
        hw = (4 + one_to(8), 8 + one_to(5))
        geometry = (stride, padding, dilation, groups)
        given_ = arrays(dtype, n, groups * c, groups * o, hw, k, geometry, data.draw(st.integers(0, 99)))
        check(machine, *(laid_out(a, data.draw(LAYOUTS)) for a in given_), geometry)

    any_convolution()
    tell(tally, machine, before)


def in_parts(tile, rate, m, n, depth, groups):
    """As `split`, but always as many parts as there can be."""
    return tile.BK, -(-depth // tile.BK)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_sums_in_parts(machine, monkeypatch, dtype):
    monkeypatch.setattr(convolutions, "split", in_parts)
    for geometry in (SQUARE, ((2, 1), (0, 1), (1, 2), 2)):
        check(machine, *arrays(dtype, 3, 32, 64, (9, 7), (3, 3), geometry), geometry, {"conv2d_dw"})
    assert machine.launch.counts["conv2d_dw_sum"] >= 2


def large_tiles(machine, dtype, smallest=False):
    """The shapes that only large images are given, on this GPU."""
    dtype = np.dtype(dtype)
    shapes = tiles.best_engine(dtype.name, machine.hardware).tiles[dtype.itemsize]
    return [machine.hardware.suited(tile) for tile in (shapes if smallest else shapes[:-1])]


@unwatched
@pytest.mark.parametrize("dtype, engine", [(np.float16, ""), (np.float16, "Warpgroups"), (np.float32, "")])
def test_large_tiles(machine, monkeypatch, dtype, engine):
    """Those that only large images are given: here to some that fill them and reach over each edge."""
    use(machine, monkeypatch, engine)
    given_ = arrays(dtype, 5, 32, 72, (12, 13), (3, 3), ((2, 2), (1, 1), (1, 1), 1))
    for tile in large_tiles(machine, dtype):
        monkeypatch.setattr(tiles.Engine, "choose", lambda *_, tile=tile: tile)
        machine.launch.counts.clear()
        check(machine, *given_, ((2, 2), (1, 1), (1, 1), 1))
        assert machine.launch.counts.keys() == {"conv2d_tiles", "conv2d_dx_tiles", "conv2d_dw_tiles"}


def test_odd_channels_are_copied_beside_zeros(machine, monkeypatch):
    """float16: what the kernel is given, where copies of 4 bytes would not do. Other dtypes stay as they are."""
    monkeypatch.setattr(machine, "convolves", "tiles")
    for dtype, (c, o), (pixel, columns) in (
        (np.float16, (3, 33), (4, 40)),
        (np.float16, (6, 16), (6, 16)),
        (np.float32, (3, 33), (3, 33)),
    ):
        x, w, g = arrays(dtype, 1, c, o, (6, 5), (3, 3), SQUARE)
        seen = []
        with monkeypatch.context() as here:
            run = machine.launch
            noted = lambda kernel, run=run, seen=seen, **given: seen.append(given) or run(kernel, **given)  # noqa: E731
            here.setattr(machine, "launch", noted)
            machine.conv2d(x, w, *SQUARE)
            dw = machine.conv2d_dw(g, x, *SQUARE, (3, 3))
        assert [(given["walk"]["pixel"], given["columns"], given["N"]) for given in seen] == [(pixel, columns, o)] * 2
        assert dw.shape == w.shape and dw.transpose(2, 3, 1, 0).flags.c_contiguous


def test_odd_channels_that_would_grow_too_large_stay_as_they_are():
    half, single = (np.broadcast_to(np.zeros(1, t), 1 << 29) for t in (np.float16, np.float32))
    rung = lambda c, a: Emulated()._conv_rung(64, c, 49, 1, 1, a)  # noqa: E731
    assert [rung(3, half), rung(4, half), rung(3, single)] == ["naive", "tiles", "tiles"]


def test_tf32_is_asked_for(machine):
    given_ = arrays(np.float32, 1, 16, 16, (6, 5), (3, 3), SQUARE)
    with pytest.raises(AssertionError):
        check(machine, *given_, SQUARE, rounded=tf32)  # it is exact
    tf.set_float32_matmul_precision("high")
    try:
        check(machine, *given_, SQUARE, rounded=tf32)
    finally:
        tf.set_float32_matmul_precision("highest")


def test_an_older_gpu(monkeypatch):
    turing = Emulated()
    turing.hardware = tiles.Hardware(75, 40)
    check(turing, *arrays(np.float16, 1, 16, 16, (6, 5), (3, 3), SQUARE), SQUARE)
    assert turing.launch.counts.keys() == {"conv2d_tiles", "conv2d_dx_tiles", "conv2d_dw_tiles"}


@pytest.mark.parametrize("rung", ["naive", "narrow", "tiles"])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("o", [4, 5])
def test_bias_residual_and_relu(machine, monkeypatch, rung, relu, o):
    monkeypatch.setattr(machine, "convolves", rung)
    rng = np.random.default_rng(0)
    x, w, b, res = (rng.standard_normal(s).astype(np.float32) for s in ((2, 3, 5, 6), (o, 3, 3, 3), (o,), (2, o, 5, 6)))
    y = machine.conv2d_epilogue(x, w, b, laid_out(res, "transposed"), relu, *SQUARE)
    want = windows.conv2d(x, w, *SQUARE) + b[:, None, None] + res
    np.testing.assert_allclose(y, np.maximum(want, 0) if relu else want, rtol=1e-5, atol=1e-5)
    assert windows.memory_order(y) == [0, 2, 3, 1]  # channels-last


@pytest.mark.parametrize("rung", ["narrow", "tiles"])
def test_arrays_that_do_not_begin_aligned(machine, monkeypatch, rung):
    monkeypatch.setattr(machine, "convolves", rung)
    off = [np.empty(a.size + 1, a.dtype)[1:] for a in arrays(np.float32, 2, 8, 8, (5, 4), (3, 3), SQUARE)]
    x, w, g = off[0].reshape(2, 5, 4, 8), off[1].reshape(3, 3, 8, 8), off[2].reshape(2, 5, 4, 8)
    for a in (x, w, g):
        a[...] = np.random.default_rng(1).standard_normal(a.shape)
    x, w, g = x.transpose(windows.NCHW), w.transpose(3, 2, 0, 1), g.transpose(windows.NCHW)
    check(machine, x, w, g, SQUARE)
    y = machine.conv2d_epilogue(x, w, None, g, False, *SQUARE)
    np.testing.assert_allclose(y, windows.conv2d(x, w, *SQUARE) + g, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rung", ["naive", "narrow", "tiles"])
def test_nothing_to_convolve(machine, monkeypatch, rung):
    monkeypatch.setattr(machine, "convolves", rung)
    x, w, g = arrays(np.float32, 0, 4, 6, (5, 4), (3, 3), SQUARE)  # no images
    assert machine.conv2d(x, w, *SQUARE).shape == (0, 6, 5, 4)
    assert machine.conv2d_dx(g, w, *SQUARE, (5, 4)).shape == (0, 4, 5, 4)
    np.testing.assert_array_equal(machine.conv2d_dw(g, x, *SQUARE, (3, 3)), np.zeros((6, 4, 3, 3)))
    x, w, g = arrays(np.float32, 2, 0, 6, (5, 4), (3, 3), SQUARE)  # no channels
    np.testing.assert_array_equal(machine.conv2d(x, w, *SQUARE), np.zeros((2, 6, 5, 4)))
    assert machine.conv2d_dx(g, w, *SQUARE, (5, 4)).shape == (2, 0, 5, 4)
    assert machine.conv2d_dw(g, x, *SQUARE, (3, 3)).shape == (6, 0, 3, 3)


@unwatched
@pytest.mark.parametrize("c, groups, k", [(1 << 17, 2, (1, 1)), (2, 2, (3, 4 * 21846))])
def test_more_taps_and_channels_than_a_grid_has(machine, c, groups, k):
    """Blocks for them go along x: y and z end at 65,535."""
    geometry = ((1, 1), (0, 0), (1, 1), groups)
    x, _, g = arrays(np.float32, 1, c, 2 * groups, k, k, geometry)
    before = machine.launch.counts.copy()
    np.testing.assert_allclose(machine.conv2d_dw(g, x, *geometry, k), windows.conv2d_dw(g, x, *geometry, k), rtol=1e-6)
    assert "conv2d_dw_narrow" in machine.launch.counts - before


# Which rung


def ran(machine, dtype, c, o, k, groups=1, hw=(6, 5), stride=1):
    before = machine.launch.counts.copy()
    geometry = ((stride, stride), (k // 2, k // 2), (1, 1), groups)
    check(machine, *arrays(dtype, 1, c, o, hw, (k, k), geometry), geometry)
    return set(machine.launch.counts - before)


def test_rungs_are_chosen(machine):
    on_tiles = {"conv2d_tiles", "conv2d_dx_tiles", "conv2d_dw_tiles"}
    alone = {"conv2d_narrow", "conv2d_dw_narrow", "conv2d_dw_sum"}
    assert ran(machine, np.float16, 16, 16, 3) == on_tiles
    assert ran(machine, ml_dtypes.bfloat16, 64, 64, 1, stride=2) == on_tiles
    assert ran(machine, np.float16, 64, 64, 3, groups=4) == on_tiles
    assert ran(machine, np.float16, 64, 10, 1, hw=(9, 8)) == {"conv2d_tiles", "conv2d_narrow", "conv2d_dw_tiles"}
    assert ran(machine, np.float16, 3, 16, 3) == {"conv2d_tiles", "conv2d_dx_tiles", "conv2d_dw_tiles"}
    assert ran(machine, np.float16, 16, 16, 3, groups=16) == alone  # depthwise
    assert ran(machine, np.float16, 16, 16, 3, groups=4) == alone


def test_a_rung_that_there_is_not(machine, monkeypatch):
    monkeypatch.setattr(machine, "convolves", "tile")
    with pytest.raises(ValueError, match="machine.convolves: must be one of naive, narrow, tiles, or \"\"; got 'tile'"):
        ran(machine, np.float32, 16, 16, 3)


def test_a_transposed_convolution_is_the_input_gradient(device):
    xp = backend.get(device)
    before = xp.launch.counts.copy()
    x, w = tf.rand(1, 16, 4, 5).to(device), tf.rand(16, 16, 3, 3).to(device)
    y = tf.nn.functional.conv_transpose2d(x, w, stride=2)
    assert xp.launch.counts - before == {"conv2d_dx_tiles": 1} and y.shape == (1, 16, 9, 11)


def test_parts_are_told_by_sizes():
    """The layers of a ResNet on 512 images of 32 x 32, float16; and what is too short to divide."""
    tile = dict(zip("large square tall small".split(), tiles.TENSOR_CORES.tiles[2]))
    parts = lambda tile, c, pixels: convolutions.split(tile, 620e12, 9 * c, c, pixels, 1)[1]  # noqa: E731
    assert parts(tile["tall"], 64, 512 * 32 * 32) == 88
    assert parts(tile["square"], 128, 512 * 16 * 16) == 29
    assert parts(tile["large"], 256, 512 * 8 * 8) == 7
    assert parts(tile["large"], 512, 512 * 4 * 4) == 3
    assert parts(tile["small"], 64, 512) == 1
    large, _, tall, _ = tiles.WARPGROUPS.tiles[2]  # a block each for 132 processors
    assert parts(tall, 64, 512 * 32 * 32) * tall.blocks(576, 64) == 132
    assert parts(large, 128, 512 * 16 * 16) * large.blocks(1152, 128) == 130


@pytest.mark.parametrize("capability", [80, 90])
def test_every_gpu_adds_up_the_same(capability):
    """However many processors it has."""
    x, _, g = arrays(np.float16, 8, 16, 16, (32, 32), (3, 3), SQUARE)
    found = []
    for processors in (12, 132):
        machine = Emulated()
        machine.hardware = tiles.Hardware(capability, processors)
        found.append(machine.conv2d_dw(g, x, *SQUARE, (3, 3)))
        assert machine.launch.counts == {"conv2d_dw_tiles": 1, "conv2d_dw_sum": 1}
    np.testing.assert_array_equal(*found)


def test_hoppers_engine_is_taken_where_it_is_understood(monkeypatch):
    """By float16 and bfloat16 on sm_90 alone; not where the other engine was measured to be faster."""
    for dtype, capability, engine in (
        (np.float16, 90, "Warpgroups"),
        (ml_dtypes.bfloat16, 90, "Warpgroups"),
        (np.float32, 90, "MultiplyAdds"),
        (np.float16, 80, "TensorCores"),
        (np.float16, 120, "TensorCores"),
    ):
        machine, asked = Emulated(), []
        machine.hardware = tiles.Hardware(capability, 132, "a GPU")
        x, w, g = arrays(dtype, 1, 16, 16, (4, 4), (3, 3), SQUARE)
        run = machine.launch
        noted = lambda kernel, run=run, asked=asked, **given: asked.append(given) or run(kernel, **given)  # noqa: E731
        monkeypatch.setattr(machine, "launch", noted)
        check(machine, x, w, g, SQUARE)
        assert [given["defines"]["ENGINE"] for given in asked] == [engine] * 3
    measured = {"a GPU": {"conv2d_tiles": {"Warpgroups, 2 bytes, 64 x 64": []}}}
    monkeypatch.setattr(tuned, "table", lambda: measured)

    machine, half = Emulated(), np.dtype(np.float16)
    machine.hardware = tiles.Hardware(90, 132, "a GPU")

    def best(m, c):
        return machine._conv_loop("conv2d_tiles", half, m, 64, 1, XV=(np.zeros(64, half), c)).engine.name

    assert (best(64, 8), best(65, 8), best(64, 4)) == ("TensorCores", "Warpgroups", "Warpgroups")


def test_it_is_compiled_for_hopper_alone():
    """On CuPy: by NVRTC itself, for sm_90a; every other engine as CuPy does it."""
    x, w, _ = arrays(np.float16, 1, 16, 16, (4, 4), (3, 3), SQUARE)
    with like_cupy.installed():
        machine = cuda.CUDA()
        like_driver.compiled.clear()
        for capability in (80, 90):
            machine.hardware = tiles.Hardware(capability, 132)
            y = machine.conv2d(machine.asarray(x), machine.asarray(w), *SQUARE)
            np.testing.assert_allclose(y.held, windows.conv2d(x.astype("f"), w.astype("f"), *SQUARE), rtol=0, atol=0.05)
    [options] = like_driver.compiled
    assert {"-arch=sm_90a", "-DENGINE=Warpgroups", "-DBM=64"} <= set(options)


def test_division():
    some = [*range(1, 100), *(2**i + d for i in range(7, 31) for d in (-1, 0, 1)), 2**31 - 1]
    for by in some:
        d = convolutions._division(by)
        assert d["times"] < 2**32 and d["minus"] == -by
        for n in {0, 1, by - 1, by, 7 * by - 1, 7 * by, 2**31 // by * by - 1, 2**31 - 1, 123456789}:
            if n < 2**31:
                assert (2 * n * d["times"] >> 32) >> d["shift"] == n // by


# Faults

PARTS = [*(path.name for path in kernel_folder().glob("conv2d*")), "warpgroups.cuh"]
FAULTS = [  # rung, file, what stands there, what is put in its place
    ("tiles", "conv2d_loop.cuh", "walk.pixel, inside ? h : FAR", "walk.pixel, h"),
    ("tiles", "conv2d_loop.cuh", "+ c), inside ? h : FAR", "+ c), h"),
    ("tiles", "conv2d_loop.cuh", "((u32)(corner.h + tap.h) < (u32)walk.H) & ", ""),
    ("tiles", "conv2d_loop.cuh", " & ((u32)(corner.w + tap.w) < (u32)walk.W)", ""),
    ("tiles", "conv2d_loop.cuh", "lane = r + more", "lane = r"),
    ("tiles", "conv2d_loop.cuh", "if (n + e < N) row[n + e] = ", "row[n + e] = "),
    ("tiles", "conv2d_loop.cuh", "if (n + e < N) r.at[e] = ", "r.at[e] = "),
    ("tiles", "conv2d_loop.cuh", "a * walk.dilation_h, w", "a, w"),
    ("tiles", "conv2d_tiles.cu", "m < M ?", "m <= M ?"),
    ("tiles", "conv2d_tiles.cu", "bias && n + e < N", "bias"),
    ("tiles", "conv2d_tiles.cu", "{w + group * columns", "{w"),
    ("tiles", "conv2d_dx_tiles.cu", "between || tap >= size", "tap >= size"),
    ("tiles", "conv2d_dx_tiles.cu", "between || tap >= size", "between"),
    ("tiles", "conv2d_dx_tiles.cu", "(size - 1 - tap) / apart + 1", "(size - 1 - tap) / apart"),
    ("tiles", "conv2d_dx_tiles.cu", "return {at - i * stride, -i,", "return {at - i * stride, i,"),
    ("tiles", "conv2d_dx_tiles.cu", "between = z / apart", "between = 0"),
    ("tiles", "conv2d_dx_tiles.cu", "if (right.taps < by_taps.by) by_taps = by_taps_less;", ""),
    ("tiles", "conv2d_dx_tiles.cu", "y < H && ", ""),
    ("tiles", "conv2d_dx_tiles.cu", " && x < W", ""),
    ("tiles", "conv2d_dx_tiles.cu", "c < count", "true"),
    ("tiles", "conv2d_dw_tiles.cu", "K - begin < each ? K : begin + each", "K"),
    ("tiles", "conv2d_dw_tiles.cu", "(i64)z * M * O", "(i64)0"),
    ("tiles", "conv2d.cu", "z < n;", "z < n - 1;"),
    ("tiles", "conv2d.cu", "i < count;", "i <= count;"),
    ("narrow", "conv2d_narrow.cu", "if (i >= count) return;", ""),
    ("narrow", "conv2d_narrow.cu", "at < size ? at : -1", "at"),
    ("narrow", "conv2d_narrow.cu", "if (h < 0) continue;", ""),
    ("narrow", "conv2d_narrow.cu", "if (at % up) return -1;", ""),
    ("narrow", "conv2d_narrow.cu", "if (ow + r >= OW) continue;", ""),
    ("narrow", "conv2d_narrow.cu", "  if (o < O) {", "  {"),
    ("narrow", "conv2d_narrow.cu", "if ((u32)h >= (u32)walk.H) continue;", ""),
    ("narrow", "conv2d_narrow.cu", "b0 + t >= KW || (u32)at >= (u32)walk.W", "b0 + t >= KW"),
    ("narrow", "conv2d_narrow.cu", "  __syncthreads();\n", ""),
    ("narrow", "conv2d_narrow.cu", "pixels - begin < each ? pixels : begin + each", "begin + each"),
]


@pytest.mark.parametrize("rung, file, old, new", FAULTS)
def test_planted_faults_are_found(tmp_path, monkeypatch, rung, file, old, new, tally):
    with_a_fault(tmp_path, PARTS, file, old, new)
    machine = Emulated(check=True)
    machine.convolves, machine.launch.place = rung, tmp_path
    monkeypatch.setattr(convolutions, "split", in_parts)
    with pytest.raises((KernelError, AssertionError)):
        two_convolutions(machine)
    tally(faults=1)


# Of Hopper's engine: what stands there, what is put in its place, and what the checking mode says of it
HOPPER_FAULTS = [
    ("arrived() const { proxy_fence(); }", "arrived() const {}", "has not shown"),
    ("      wgmma_fence();\n", "", "without a wgmma_fence"),
    ("LAG = 1", "LAG = 0", "copy on its way|multiplies at the same time|nobody has written"),
    ("wgmma_wait<1>();", "", "copy on its way|multiplies at the same time|more products"),
    ("finish() const { wgmma_wait<0>(); }", "finish() const {}", "another multiplies|what another|unequal"),
    ("c / 8 * ROWS * PITCH + ", "", "copies at the same time|unequal"),
    ("(c % 8 ^ turn(r)) * 16", "c % 8 * 16", "unequal"),
    ("__shfl_sync(~0u, wm, 0) / 64 * BOX", "0", "unequal"),
    ("(TileA::K_MAJOR ? 32 : 16 * 128)", "(32)", "unequal"),
    ("8 * (i / 2 % 2)", "8 * (i % 2)", "unequal"),
]


@pytest.mark.parametrize("old, new, says", HOPPER_FAULTS)
def test_planted_faults_of_hoppers_engine_are_found(tmp_path, monkeypatch, old, new, says, tally):
    with_a_fault(tmp_path, PARTS, "warpgroups.cuh", old, new)
    machine = Emulated(check=True)
    machine.launch.place = tmp_path
    monkeypatch.setattr(tiles.Engine, "choose", lambda *_: tiles.WARPGROUPS.tiles[2][1])
    with pytest.raises((KernelError, AssertionError), match=None if "unequal" in says else says):
        check(machine, *arrays(np.float16, 1, 128, 136, (12, 13), (3, 3), SQUARE), SQUARE)
    tally(faults=1)


def two_convolutions(machine):
    """Rows and residues without taps, rests of every division, several parts and groups."""
    for geometry in (((4, 3), (1, 1), (1, 1), 2), ((2, 2), (1, 1), (2, 1), 1)):
        x, w, g = arrays(np.float32, 2, 6, 10, (9, 8), (3, 5), geometry)
        check(machine, x, w, g, geometry)
        bias = np.random.default_rng(0).standard_normal(10).astype(np.float32)
        y = machine.conv2d_epilogue(x, w, bias, g, False, *geometry)
        np.testing.assert_allclose(y, windows.conv2d(x, w, *geometry) + bias[:, None, None] + g, 1e-4, 1e-4)
        x[:, :, 6] = np.inf  # a row that no tap meets; one behind the last tap would
        assert np.isfinite(windows.conv2d(x, w, *geometry)).all()
        assert np.isfinite(machine.conv2d(x, w, *geometry)).all()


@pytest.mark.parametrize("rung", ["narrow", "tiles"])
def test_where_no_fault_is_planted_none_is_found(machine, monkeypatch, rung):
    monkeypatch.setattr(convolutions, "split", in_parts)
    monkeypatch.setattr(machine, "convolves", rung)
    two_convolutions(machine)
