"""Every rung of the ladder against NumPy in float64, with every access to memory watched.

|y - want| <= (K + 2) eps_A sum |x| |w| + eps_T |want|: the bound of a sum of K products in A, in any order, rounded
once to T. Where float32 runs as TF32, x and w are first rounded to it here, too.
"""

import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, strategies as st

import tinygrad_fast as tf
from tinygrad_fast import backend
from tinygrad_fast.backend.cuda import Emulated
from tinygrad_fast.backend.launchers import products, tiles
from tinygrad_fast.backend.launchers.products import ENGINES, RUNGS
from tinygrad_fast.backend.source import KernelError, kernel_folder

from .conftest import generator, with_a_fault

DTYPES = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16]
EPS = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
SIZES = st.sampled_from([1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 40, 65, 68, 130])
BATCHES = [((), ()), ((2,), (2,)), ((3, 1), (2,)), ((2, 3), ()), ((), (4,)), ((1, 2, 1, 3), (2, 1, 2, 1))]
LAYOUTS = ["in order", "transposed", "every other", "reversed", "one row for all"]


def laid_out(a, how):
    """The values of a, or some of them, in another order in memory."""
    if how == "transposed":
        return np.ascontiguousarray(a.swapaxes(-1, -2)).swapaxes(-1, -2)
    if how == "every other":
        wide = np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)
        wide[..., ::2] = a
        return wide[..., ::2]
    if how == "reversed":
        return np.ascontiguousarray(a[..., ::-1, :])[..., ::-1, :]
    return np.broadcast_to(a[..., :1, :], a.shape) if how == "one row for all" else a


def tf32(a):
    """float32 to 10 bits of fraction, ties away from zero"""
    return ((np.ascontiguousarray(a).view(np.uint32) + 0x1000) & 0xFFFFE000).view(np.float32)


def check(machine, x, w, bias=None, relu=False):
    before = machine.launch.counts["matmul_tensor"]
    got = machine._product(x, w, bias, relu)
    if x.dtype == np.float32 and machine.launch.counts["matmul_tensor"] > before:
        x, w = tf32(x), tf32(w)
    wide = [np.zeros(w.shape[-1]) if a is None else a.astype(np.float64) for a in (x, w, bias)]
    want = wide[0] @ wide[1] + wide[2]
    size = abs(wide[0]) @ abs(wide[1]) + abs(wide[2])
    want = np.maximum(want, 0) if relu else want
    name = x.dtype.name
    sums = EPS["float64" if name == "float64" else "float32"]
    allowed = (x.shape[-1] + 2) * sums * size + EPS[name] * abs(want) + 2.0**-24
    assert got.dtype == x.dtype and got.shape == want.shape
    assert not (~(abs(got.astype(np.float64) - want) <= allowed)).any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rung", RUNGS)
def test_rungs(machine, monkeypatch, rung, dtype, tally):
    monkeypatch.setattr(machine, "rung", rung)
    before = machine.launch.counts[rung]

    @given(st.data())
    def any_product(data):
        m, n, k = (data.draw(SIZES) for _ in "mnk")
        a, b = data.draw(st.sampled_from(BATCHES))
        rng = np.random.default_rng(data.draw(st.integers(0, 99)))
        x, w = (rng.standard_normal(s).astype(dtype) for s in ((*a, m, k), (*b, k, n)))
        x, w = (laid_out(v, data.draw(st.sampled_from(LAYOUTS))) for v in (x, w))
        bias = rng.standard_normal(n).astype(dtype) if data.draw(st.booleans()) else None
        check(machine, x, w, bias, data.draw(st.booleans()))

    any_product()
    tally(kernel=rung, launches=machine.launch.counts[rung] - before)


# The tile loop is compiled anew for each form of its operands: where neighbours lie, and how many are copied at once.
# Each form has layouts of x and w, and what m, n and k are odd multiples of; E elements are 16 bytes.
WHOLE = ["in order", "reversed", "one row for all"]
FORMS = {
    "along k, along n": (WHOLE, WHOLE, lambda E: (1, E, E)),
    "along m, along k": (["transposed"], ["transposed"], lambda E: (E, 1, E)),
    "in pieces": (["in order"], ["in order"], lambda E: (1, E // 2, 2)),
    "one by one": (["transposed"], ["every other"], lambda E: (1, 1, 1)),
}
SOME = {"bfloat16": 1, "float64": 2}  # forms enough, where another dtype has the same code
LOOPS = [
    (rung, dtype, form)
    for rung in ENGINES
    for dtype in DTYPES
    if rung == "matmul_registers" or dtype is not np.float64
    for form in list(FORMS)[: SOME.get(np.dtype(dtype).name)]
]


@pytest.mark.parametrize("rung, dtype, form", LOOPS)
def test_tile_loop(machine, monkeypatch, rung, dtype, form, tally):
    """Of odd float16: loads of 2 bytes, or copies of the operands (`SMALL`)."""
    monkeypatch.setattr(machine, "rung", rung)
    before = machine.launch.counts[rung]
    x_layouts, w_layouts, multiples = FORMS[form]

    @given(st.data())
    def any_product(data):
        odd = st.sampled_from([1, 3, 5, 9, 17, 33, 65])
        sizes = multiples(16 // np.dtype(dtype).itemsize)
        m, n, k = (of * data.draw(odd.filter(lambda i, of=of: i * of <= 140)) for of in sizes)
        a, b = data.draw(st.sampled_from(BATCHES))
        rng = np.random.default_rng(data.draw(st.integers(0, 99)))
        x, w = (rng.standard_normal(s).astype(dtype) for s in ((*a, m, k), (*b, k, n)))
        x, w = laid_out(x, data.draw(st.sampled_from(x_layouts))), laid_out(w, data.draw(st.sampled_from(w_layouts)))
        bias = rng.standard_normal(n).astype(dtype) if data.draw(st.booleans()) else None
        monkeypatch.setattr(products, "SMALL", 0 if form == "one by one" and data.draw(st.booleans()) else 1 << 30)
        check(machine, x, w, bias, data.draw(st.booleans()))

    any_product()
    tally(kernel=rung, launches=machine.launch.counts[rung] - before)


def test_odd_float16_is_copied_where_that_pays(monkeypatch):
    """Into rows with zeros behind them. A small product reads it where it lies."""
    x, w = (np.random.default_rng(0).standard_normal(shape).astype(np.float16) for shape in [(65, 33), (33, 64)])
    for small, width in ((1 << 30, 1), (0, 8)):
        monkeypatch.setattr(products, "SMALL", small)
        machine, seen = Emulated(), []
        run = machine.launch
        machine.launch = lambda kernel, run=run, seen=seen, **given: seen.append(given) or run(kernel, **given)
        machine.launch.counts = run.counts
        check(machine, x, w)
        [given] = seen
        assert (given["defines"]["XV"], given["defines"]["WV"]) == (width, 8)
        assert np.may_share_memory(given["x"].array, x) == (width == 1) and given["w"].array is w


@pytest.mark.parametrize("rung", ENGINES)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("machine", ["plain", pytest.param("cuda", marks=pytest.mark.gpu)], indirect=True)
def test_large_tiles(machine, monkeypatch, rung, dtype):
    """Those that only a large product is given: here to one that fills them and reaches over each edge."""
    rng = generator(0)
    x, w = (rng.standard_normal((270, 272)).astype(dtype) for _ in "xw")
    monkeypatch.setattr(machine, "rung", rung)
    for tile in ENGINES[rung].tiles[x.itemsize][:-1]:
        monkeypatch.setattr(tiles.Engine, "choose", lambda *_, tile=tile: tile)
        check(machine, x[:, :72], w[:72], w[0], True)


@pytest.mark.parametrize("rung", [*RUNGS, *ENGINES])
def test_nothing_to_multiply(machine, monkeypatch, rung):
    monkeypatch.setattr(machine, "rung", rung)
    bias = np.array([1, -2, 3], np.float32)
    y = machine._product(np.empty((2, 0), np.float32), np.empty((0, 3), np.float32), bias, True)
    np.testing.assert_array_equal(y, [[1, 0, 3]] * 2)
    assert machine._product(np.empty((0, 4), np.float32), np.ones((4, 3), np.float32)).shape == (0, 3)
    y = machine.linear(np.empty((2, 5, 0), np.float32), np.empty((3, 0), np.float32), bias, True)
    np.testing.assert_array_equal(y, np.broadcast_to([1, 0, 3], (2, 5, 3)))


MUTANTS = {  # rung: (what stands there, what is put in its place), each a fault that somebody once made
    "matmul_naive": [
        ("m >= M", "m > M"),
        ("n < N; n += gridDim.y * blockDim.x", "n <= N; n += gridDim.y * blockDim.x"),
    ],
    "matmul_tiles": [
        ("__syncthreads();  // both tiles are there", ""),
        ("__syncthreads();  // nobody reads them any more", ""),
        ("m0 + xi < M && k0 + xj < K", "k0 + xj < K"),
        ("k0 + wi < K && n0 + wj < N", "n0 + wj < N"),
        ("if (m < M && n < N) finish", "finish"),
    ],
}


@pytest.mark.parametrize("rung, old, new", [(rung, *pair) for rung, pairs in MUTANTS.items() for pair in pairs])
def test_faults_planted_in_the_ladder_are_found(tmp_path, rung, old, new, tally):
    text = (kernel_folder() / "matmul.cu").read_text()
    assert old in text
    (tmp_path / "matmul.cu").write_text(text.replace(old, new))
    machine = Emulated(check=True)
    machine.rung, machine.launch.place = rung, tmp_path
    x = np.random.default_rng(0).standard_normal((33, 34)).astype(np.float32)
    with pytest.raises(KernelError, match=rf"(?s){rung} .*thread \(.*matmul\.cu:\d+"):
        machine.matmul(x, x.T.copy())
        machine.matmul(x.T, x)
    tally(faults=1)


LOOP_MUTANTS = [  # file, what stands there, what is put in its place
    ("matmul.cuh", "m < M ? y", "m <= M ? y"),
    ("matmul.cuh", "!row || n >= N", "!row"),
    ("tile_loop.cuh", "k < tile.end};", "true};"),
    ("tile_loop.cuh", "i < count};", "true};"),
    ("tile_loop.cuh", "copy_wait<AHEAD - 1>", "copy_wait<AHEAD>"),
    ("tile_loop.cuh", "    __syncthreads();  // everybody's", "    //"),
    ("tile_loop.cuh", "    __syncthreads();  // everybody's", "    if (threadIdx.x < 64) __syncthreads();  //"),
    ("tile_loop.cuh", "    copy_commit();", "    if (k0 < k_end) copy_commit();"),
    ("tile_loop.cuh", "free = AHEAD * SIZE;", "free = AHEAD * SIZE - SIZE;"),
    ("engines.cuh", "ldmatrix<false>(r, ", "if (threadIdx.x % 32 < 16) ldmatrix<false>(r, "),
    ("tile_loop.cuh", "  __syncthreads();  // and nobody reads the last", "  // and nobody reads the last"),
    ("tile_loop.cuh", "    engine.lay_down(i, staged);\n    __syncwarp();", "    engine.lay_down(i, staged);"),
    ("tile_loop.cuh", "    }\n    __syncwarp();", "    }"),
    ("tile_order.cuh", "in % group) * ROWS", "0) * ROWS"),
]


@pytest.mark.parametrize("file, old, new", LOOP_MUTANTS)
def test_faults_planted_in_the_tile_loop_are_found(tmp_path, file, old, new, tally):
    machine = planted(tmp_path, file, old, new)
    rng = np.random.default_rng(0)
    with pytest.raises(
        KernelError,
        match=r"(?s)matmul_tensor .*thread \(.*(_loop\.cuh|engines\.cuh|_tensor\.cu|matmul\.cuh):\d+",
    ):
        for m, n, k in (72, 136, 136), (71, 137, 134):  # whole chunks, and pieces
            machine.matmul(*(rng.standard_normal(shape).astype(np.float16) for shape in ((m, k), (k, n))))
    tally(faults=1)


def planted(folder, file, old, new):
    """A machine whose kernels are read from a copy with one fault."""
    parts = "matmul_tensor.cu", "matmul_loop.cuh", "matmul.cuh", "tile_loop.cuh", "tile_order.cuh", "engines.cuh"
    with_a_fault(folder, parts, file, old, new)
    machine = Emulated(check=True)
    machine.rung, machine.launch.place = "matmul_tensor", folder
    return machine


def test_registers_in_another_order_show_in_the_values(tmp_path):
    machine = planted(tmp_path, "engines.cuh", "j % 2), half = IS_B ? j % 2 : j / 2;", "j % 2), half = j / 2;")
    x = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float16)
    with pytest.raises(AssertionError):
        check(machine, x, x)


def ran(machine, dtype, *shape):
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    before = machine.launch.counts.copy()
    check(machine, x, x.T.copy())
    return dict(machine.launch.counts - before)


def test_rungs_are_chosen(machine):
    assert ran(machine, np.float32, 132, 12) == {"matmul_registers": 1}
    assert ran(machine, np.float32, 32, 12) == {"matmul_tiles": 1}
    assert ran(machine, np.float16, 132, 16) == {"matmul_tensor": 1}
    assert ran(machine, np.float16, 12, 16) == {"matmul_tiles": 1}
    assert ran(machine, ml_dtypes.bfloat16, 72, 16) == {"matmul_tensor": 1}
    assert ran(machine, np.float64, 72, 16) == {"matmul_registers": 1}


def test_older_gpus_take_what_they_have(monkeypatch):
    turing = Emulated()
    turing.hardware = tiles.Hardware(75, 40)
    assert ran(turing, np.float16, 132, 16) == {"matmul_tensor": 1}
    assert ran(turing, ml_dtypes.bfloat16, 72, 16) == {"matmul_registers": 1}
    assert tiles.TENSOR_CORES.choose(2, 4096, 4096, 1, 16, turing.hardware).STAGES == 2
    small = tiles.TENSOR_CORES.tiles[2][-1]
    assert tiles.TENSOR_CORES.choose(2, 4096, 4096, 1, 8, turing.hardware).BM == small.BM  # a larger one would spill
    assert tiles.TENSOR_CORES.choose(2, 4096, 4096, 1, 8, tiles.Hardware(80, 40)).BM > small.BM


def test_a_rung_that_there_is_not():
    x, turing = np.ones((2, 2), np.float32), Emulated()
    turing.rung, turing.hardware = "matmul", tiles.Hardware(75, 40)
    said = "machine.rung: must be one of matmul_naive, .*matmul_cluster, matmul_hopper, or \"\"; got 'matmul'"
    with pytest.raises(ValueError, match=said):
        turing.matmul(x, x)
    turing.rung = "matmul_tensor"
    for dtype in (np.float64, np.float32, ml_dtypes.bfloat16):
        said = f'sm_75 matmul_tensor multiplies float16; got {np.dtype(dtype).name}. Cast .* or set it to "matmul_reg'
        with pytest.raises(ValueError, match=said):
            turing.matmul(x.astype(dtype), x.astype(dtype))
    turing.hardware = H100
    with pytest.raises(ValueError, match="sm_90 matmul_tensor multiplies float16, bfloat16, float32; got float64"):
        turing.matmul(x.astype(np.float64), x.astype(np.float64))


@pytest.mark.parametrize("rung", RUNGS)
def test_more_columns_than_a_grid_has_blocks(monkeypatch, rung):
    monkeypatch.setattr(products, "ALONG_Y", 2)
    machine = Emulated(check=True)
    machine.rung = rung
    x, w = (np.random.default_rng(0).standard_normal(shape).astype(np.float32) for shape in ((9, 20), (20, 150)))
    check(machine, x, w, w[0], True)


H100 = tiles.Hardware(90, 132)


@pytest.mark.parametrize(
    "sizes, chosen",
    [
        ((4096, 4096, 1, 16), (128, 256)),
        ((4096, 4096, 1, 4), (64, 64)),  # in pieces
        ((1024, 1024, 1, 16), (64, 64)),  # 64 larger tiles: half of the processors would idle
        ((1536, 1536, 1, 16), (128, 128)),
        ((50000, 64, 1, 16), (256, 64)),
        ((50000, 130, 1, 16), (64, 64)),  # 128 x 256 would be half outside
        ((128, 128, 200, 16), (128, 128)),
        ((128, 10, 1, 16), (64, 64)),
    ],
)
def test_tiles_are_chosen(sizes, chosen):
    tile = tiles.TENSOR_CORES.choose(2, *sizes, H100)
    assert (tile.BM, tile.BN) == chosen


@pytest.mark.parametrize(
    "processors, chosen",
    [
        (128, (128, 256)),  # each has one
        (108, (128, 128)),  # 20 would have a second round for themselves: 2 of 32K elements, or 3 of 16K
        (64, (128, 256)),  # two full rounds
        (132, (128, 128)),  # 128 tiles: four would idle
    ],
)
def test_rounds_count(processors, chosen):
    tile = tiles.TENSOR_CORES.choose(2, 8192, 512, 1, 16, tiles.Hardware(80, processors))
    assert (tile.BM, tile.BN) == chosen


@pytest.mark.parametrize(
    "side, depth, others, found",
    [
        ((64, 72), (72, 1), (), (1, 8)),  # neighbours along k
        ((72, 1), (64, 72), (), (0, 8)),
        ((64, 36), (36, 1), (), (1, 4)),
        ((64, 72), (72, 1), (4,), (1, 4)),  # a batch stride, or an address that is a multiple of 4 elements
        ((64, 72), (35, 1), (), (1, 1)),  # k ends within a chunk
        ((64, 0), (72, 1), (0,), (1, 8)),  # one row for all
        ((1, 5), (8, 1), (), (1, 8)),  # the stride of an axis of one element means nothing
        ((35, 1), (7, 35), (), (0, 1)),
        ((35, 70), (7, 2), (), (1, 1)),
    ],
)
def test_orders(side, depth, others, found):
    assert tiles.order(2, side, depth, others) == found


def test_tf32_is_asked_for(machine):
    assert tf.get_float32_matmul_precision() == "highest"
    tf.set_float32_matmul_precision("high")
    try:
        assert tf.get_float32_matmul_precision() == "high"
        assert ran(machine, np.float32, 132, 12) == {"matmul_tensor": 1}
        x = np.full((64, 64), 1 + 2.0**-12, np.float32)
        assert (machine.matmul(x, x) == 64).all()  # TF32 does not see the last bits
    finally:
        tf.set_float32_matmul_precision("highest")
    assert (machine.matmul(x, x) > 64).all()
    with pytest.raises(ValueError, match='must be "highest" .* or "high" .*; got \'medium\''):
        tf.set_float32_matmul_precision("medium")


def test_more_batches_than_a_grid_has():
    """blockIdx.z ends at 65535: the kernels go on in steps of it."""
    fast = Emulated()
    x = np.random.default_rng(0).standard_normal((70000, 1, 2)).astype(np.float32)
    check(fast, x, x.swapaxes(1, 2))


def test_rows_that_lie_far_apart(machine, monkeypatch):
    """2^31 bytes from row to row: the tile loop is given a copy."""
    monkeypatch.setattr(machine, "rung", "matmul_tensor")
    memory = np.zeros((1 << 30) + 8, np.float16)  # few pages of which are touched
    x = np.lib.stride_tricks.as_strided(memory, (2, 8), (1 << 31, 2))
    x[:] = np.arange(16).reshape(2, 8)
    check(machine, x, np.eye(8, dtype=np.float16))


def test_nan_passes_relu(machine):
    y = machine._product(np.array([[np.nan]], np.float32), np.ones((1, 1), np.float32), None, True)
    assert math.isnan(y[0, 0])


def test_tensors_run_it_forward_and_back():
    xp = backend.get("emulated")
    before = xp.launch.counts.copy()
    x, w = tf.rand(5, 7).to("emulated").requires_grad_(), tf.rand(7, 3).to("emulated").requires_grad_()
    y = x @ w
    y.sum().backward()
    assert xp.launch.counts - before == {"matmul_tiles": 3, "sum": 1}  # y, dx, dw
    np.testing.assert_allclose(y.numpy(force=True), x.numpy(force=True) @ w.numpy(force=True), rtol=1e-5)
    assert str(y.device) == "emulated" and x.grad.shape == (5, 7)
    with pytest.raises((RuntimeError, ValueError), match="device"):
        x @ tf.rand(7, 3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layer", [False, True])
def test_the_gradient_of_one_matrix_for_a_batch_is_one_product(layer, dtype):
    """No (B, K, N) is written and summed. Of few tiles and 2,000 rows the sum is divided; of 20 or none it is not."""
    xp, op = backend.get("emulated"), tf.ops.linear if layer else tf.ops.matmul
    rng, name = np.random.default_rng(0), np.dtype(dtype).name
    for rows in (500, 5, 0):
        x, w, g = (rng.standard_normal(shape).astype(dtype) for shape in [(4, rows, 24), (24, 16), (4, rows, 16)])
        x = laid_out(x, "transposed" if rows == 500 else "in order")  # rows that lie in no order are copied
        _, (_, dw, *_) = op(xp, x, w.T if layer else w)
        before = xp.launch.counts.copy()
        got = dw(g)
        product = "matmul_tiles" if dtype in (np.float32, np.float64) else "matmul_tensor"
        product = product if rows else "matmul_naive"
        divided = {"conv2d_dw_tiles": 1, "conv2d_dw_sum": 1}
        assert xp.launch.counts - before == (divided if rows == 500 else {product: 1})
        assert got.shape == ((16, 24) if layer else (24, 16)) and got.flags.c_contiguous
        x, g = (a.reshape(-1, a.shape[-1]).astype(np.float64) for a in (x, g))
        sums = EPS["float64" if name == "float64" else "float32"] * (len(x) + 2) * (abs(x).T @ abs(g))
        error = abs((got.T if layer else got).astype(np.float64) - x.T @ g)
        assert (error <= sums + EPS[name] * abs(x.T @ g)).all()


def test_whole_numbers_go_to_numpy(machine):
    before = machine.launch.counts.total()
    x = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(machine.matmul(x, x.T), x @ x.T)
    assert machine.launch.counts.total() == before


def test_no_memory_is_shared_with_the_cpu():
    x = tf.zeros(3)
    far = x.to("emulated")
    near = far.to("cpu")
    far += 1
    assert x.tolist() == near.tolist() == [0, 0, 0] and far.tolist() == [1, 1, 1]
