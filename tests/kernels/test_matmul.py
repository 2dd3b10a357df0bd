"""Every rung of the ladder against NumPy in float64, with every access to memory watched.

|y - want| <= (K + 2) eps_A sum |x| |w| + eps_T |want|: the bound of a sum of K products in A, rounded once to T.
"""

import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, strategies as st

import tinygrad_fast as tf
from tinygrad_fast import backend
from tinygrad_fast.backend import launch
from tinygrad_fast.backend.cuda import Emulated
from tinygrad_fast.backend.launchers.products import RUNGS

DTYPES = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16]
EPS = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
SIZES = st.sampled_from([1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 40, 65, 68, 130])
BATCHES = [((), ()), ((2,), (2,)), ((3, 1), (2,)), ((2, 3), ()), ((), (4,)), ((1, 2, 1, 3), (2, 1, 2, 1))]
LAYOUTS = ["in order", "transposed", "every other", "reversed", "one row for all"]


@pytest.fixture(scope="module")
def machine():
    return Emulated(check=True)


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


def check(machine, x, w, bias=None, relu=False):
    got = machine._product(x, w, bias, relu)
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


@pytest.mark.parametrize("rung", RUNGS)
def test_nothing_to_multiply(machine, monkeypatch, rung):
    monkeypatch.setattr(machine, "rung", rung)
    bias = np.array([1, -2, 3], np.float32)
    y = machine._product(np.empty((2, 0), np.float32), np.empty((0, 3), np.float32), bias, True)
    np.testing.assert_array_equal(y, [[1, 0, 3]] * 2)
    assert machine._product(np.empty((0, 4), np.float32), np.ones((4, 3), np.float32)).shape == (0, 3)


MUTANTS = {  # rung: (what stands there, what is put in its place), each a fault that somebody once made
    "matmul_naive": [("m >= M || n >= N", "n >= N"), ("m >= M || n >= N", "m >= M")],
    "matmul_tiles": [
        ("__syncthreads();  // both tiles are there", ""),
        ("__syncthreads();  // nobody reads them any more", ""),
        ("m0 + xi < M && k0 + xj < K", "k0 + xj < K"),
        ("k0 + wi < K && n0 + wj < N", "n0 + wj < N"),
        ("if (m < M && n < N) finish", "finish"),
    ],
    "matmul_registers": [
        ("inside >= 4 && ", ""),
        ("if (across ? k0 + k >= K : first + s >= count) inside = 0;", ""),
        ("      __syncthreads();\n#pragma unroll", "#pragma unroll"),
        ("      }\n      __syncthreads();\n", "      }\n"),
        ("m < M && n + 3 < N && ", "m < M && "),
        ("if (m < M && n + j < N) to[j]", "if (n + j < N) to[j]"),
    ],
}


@pytest.mark.parametrize("rung, old, new", [(rung, *pair) for rung, pairs in MUTANTS.items() for pair in pairs])
def test_faults_planted_in_the_ladder_are_found(tmp_path, rung, old, new, tally):
    text = (launch.folder() / "matmul.cu").read_text()
    assert old in text
    (tmp_path / "matmul.cu").write_text(text.replace(old, new))
    machine = Emulated(check=True)
    machine.rung, machine.launch.place = rung, tmp_path
    x = np.random.default_rng(0).standard_normal((33, 34)).astype(np.float32)
    with pytest.raises(launch.KernelError, match=rf"(?s){rung} .*thread \(.*matmul\.cu:\d+"):
        machine.matmul(x, x.T.copy())
        machine.matmul(x.T, x)
    tally(faults=1)


def test_large_products_take_the_last_rung(machine):
    x = np.random.default_rng(0).standard_normal((132, 12)).astype(np.float32)
    before = machine.launch.counts.copy()
    check(machine, x, x.T.copy())  # whole vectors of four, on both sides of a tile's edge
    assert machine.launch.counts - before == {"matmul_registers": 1}


def test_more_batches_than_a_grid_has():
    """blockIdx.z ends at 65535: the kernels go on in steps of it."""
    fast = Emulated()
    x = np.random.default_rng(0).standard_normal((70000, 1, 2)).astype(np.float32)
    check(fast, x, x.swapaxes(1, 2))


def test_nan_passes_relu(machine):
    y = machine._product(np.array([[np.nan]], np.float32), np.ones((1, 1), np.float32), None, True)
    assert math.isnan(y[0, 0])


def test_tensors_run_it_forward_and_back():
    xp = backend.get("emulated")
    before = xp.launch.counts.copy()
    x, w = tf.rand(5, 7).to("emulated").requires_grad_(), tf.rand(7, 3).to("emulated").requires_grad_()
    y = x @ w
    y.sum().backward()
    assert xp.launch.counts - before == {"matmul_tiles": 3}  # y, dx, dw
    np.testing.assert_allclose(y.numpy(force=True), x.numpy(force=True) @ w.numpy(force=True), rtol=1e-5)
    assert str(y.device) == "emulated" and x.grad.shape == (5, 7)
    with pytest.raises((RuntimeError, ValueError), match="device"):
        x @ tf.rand(7, 3)


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
