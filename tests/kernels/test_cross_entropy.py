"""Cross-entropy against its definition in float64, with every access to memory watched."""

import io
import re

import numpy as np
import pytest
from hypothesis import given, strategies as st

import tinygrad_fast as tf
import tinygrad_fast.nn.functional as F
from tinygrad_fast import backend
from tinygrad_fast.backend.cuda import Emulated
from tinygrad_fast.backend.launchers.losses import FULL
from tinygrad_fast.backend.launchers.reductions import Tiling

from .test_matmul import DTYPES, EPS

large = pytest.mark.parametrize("machine", ["plain", pytest.param("cuda", marks=pytest.mark.gpu)], indirect=True)


def both(machine, x, t, w, g, **static):
    """Loss and gradient: of the kernels, and of the definition in float64."""
    plain, found = backend.CPU(), []
    for xp, dtype in ((machine, x.dtype), (plain, np.dtype("float64"))):
        near = [None if a is None else a.astype(dtype) for a in (x, w, g)]
        loss, kept, weight = xp.cross_entropy(near[0], t, near[1], **static)
        found += [loss, xp.cross_entropy_back(near[2], kept, t, near[1], weight, **static)]
    return found


def in_order(x, axes):
    """The same array, these axes one after another in memory."""
    return np.ascontiguousarray(x.transpose(axes)).transpose(np.argsort(axes).tolist())


@pytest.mark.parametrize("dtype", DTYPES)
def test_values_and_gradients(machine, dtype, tally):
    before = machine.launch.counts.copy()
    eps = EPS[np.dtype(dtype).name]
    wide = max(EPS["float32"], eps) if dtype is not np.float64 else eps

    @given(st.data())
    def any_loss(data):
        n, c = data.draw(st.sampled_from([1, 2, 3, 40])), data.draw(st.sampled_from([1, 2, 10, 33, 130, 700, 1200]))
        rest = data.draw(st.sampled_from([(), (2,), (2, 3)]))
        reduction, smoothing = (
            data.draw(st.sampled_from(["none", "sum", "mean"])),
            data.draw(st.sampled_from([0.0, 0.1])),
        )
        rng = np.random.default_rng(data.draw(st.integers(0, 99)))
        x = (rng.standard_normal((n, c, *rest)) * data.draw(st.sampled_from([1, 30]))).astype(dtype)
        x = in_order(x, data.draw(st.permutations(range(x.ndim))))
        t = rng.integers(0, c, (n, *rest))
        t.flat[1:][rng.random(t.size - 1) < 0.2] = -100
        w = rng.uniform(0.5, 2, c).astype(dtype) if data.draw(st.booleans()) else None
        g = rng.standard_normal(t.shape if reduction == "none" else ()).astype(dtype)
        given = dict(ignore_index=-100, label_smoothing=smoothing, reduction=reduction)
        loss, dx, want, want_dx = both(machine, x, t, w, g, **given)
        size = abs(x.astype(np.float64)).max() + np.log(c) + 1  # the terms whose difference a log-probability is
        assert loss.dtype == dx.dtype == x.dtype and dx.shape == x.shape
        assert not (~(abs(loss - want) <= 4 * wide * (size * 2 * t.size + abs(want)))).any()
        assert not (~(abs(dx - want_dx) <= 4 * wide * size * 2 * (1 + abs(g).max()) + 2.0**-24)).any()

    any_loss()
    for kernel, n in (machine.launch.counts - before).items():
        tally(kernel=kernel, launches=n)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_stable_at_any_height(machine, smoothing):
    x = np.array([[1e4, 1e4 - 1, -1e4], [-1e4, -1e4 + 2, -1e4], [3e38, -3e37, 0]], np.float32)
    t, static = np.array([1, 0, 0]), dict(ignore_index=-100, label_smoothing=smoothing, reduction="none")
    loss, dx, want, want_dx = both(machine, x, t, None, np.ones(3), **static)
    np.testing.assert_allclose(loss, want, rtol=1e-6)
    np.testing.assert_allclose(dx, want_dx, rtol=1e-6)


def test_rows_that_mean_nothing_are_nan(machine):
    x = np.array([[-np.inf] * 2, [np.nan, 1], [np.inf, 1], [np.inf, 1], [1, 2], [-np.inf, 0]], np.float32)
    t = np.array([0, 1, 0, 1, 7, 1])  # there is no class 7
    static = dict(ignore_index=-100, reduction="none")
    loss, _, _ = machine.cross_entropy(x, t, None, label_smoothing=0.0, **static)
    assert np.isnan(loss[:5]).all() and loss[5] == 0
    loss, _, _ = machine.cross_entropy(x, t, None, label_smoothing=0.1, **static)
    assert np.isnan(loss[:5]).all() and loss[5] == np.inf  # smoothing wants a class that cannot be


@large
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("high", [1, 1e4])
def test_a_hundred_thousand_classes(machine, high, weighted, dtype):
    """Smoothed: every logit counts. At 1e4 the smoothed part is a sum of numbers up to 2e4."""
    rng, c = np.random.default_rng(0), 100_000
    x = (rng.standard_normal((3, c)) if high == 1 else rng.uniform(-high, high, (3, c))).astype(dtype)
    w = rng.uniform(0.5, 2, c).astype(dtype) if weighted else None
    static = dict(ignore_index=-100, label_smoothing=0.1, reduction="mean")
    loss, dx, want, want_dx = both(machine, x, np.array([5, -100, 99_999]), w, np.ones(()), **static)
    eps = EPS[np.dtype(dtype).name]
    np.testing.assert_allclose(np.float64(loss), want, rtol=8 * min(eps, EPS["float32"]) + eps)
    np.testing.assert_allclose(
        np.float64(dx),
        want_dx,
        rtol=64 * min(eps, EPS["float32"]) + eps,
        atol=2.0**-25 if dtype == np.float16 else 1e-10,
    )


@large
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("shape", [(2, 20_000), (2, 1200, 3)])
def test_few_long_rows_are_cut(machine, shape, smoothing):
    """Classes side by side, or positions: blocks share a row, and what they find is put together by a second launch."""
    rng, middle = np.random.default_rng(0), shape[1] // 2
    x, t = rng.uniform(-1e4, 1e4, shape).astype(np.float32), rng.integers(0, shape[1], (shape[0], *shape[2:]))
    x[0, :middle] = -1e4 if smoothing else -np.inf  # one piece knows of nothing else
    x[1, middle] = 3e4
    t.flat[:2] = middle + 1, -100
    before, g = machine.launch.counts.copy(), rng.standard_normal(t.shape)
    static = dict(label_smoothing=smoothing, reduction="none")
    runs = [both(machine, x, t, None, g, ignore_index=-100, **static) for _ in range(2)]
    loss, dx, want, want_dx = runs[0]
    np.testing.assert_allclose(loss, want, rtol=1e-6)
    np.testing.assert_allclose(dx, want_dx, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(runs[1][0], loss)
    np.testing.assert_array_equal(runs[1][1], dx)
    q = np.moveaxis(rng.dirichlet(np.ones(shape[1]), t.shape), -1, 1).astype(np.float32)
    loss, dx, _, *want = soft(machine, np.maximum(x, -1e4), q, None, g, **static)
    np.testing.assert_allclose(loss, want[0], rtol=1e-6)
    np.testing.assert_allclose(dx, want[1], rtol=1e-5, atol=1e-7)
    counts = {"cross_entropy": 4, "cross_entropy_back": 2, "soft_cross_entropy": 2, "soft_cross_entropy_back": 1}
    assert machine.launch.counts - before == counts


def test_how_many_blocks_share_a_row():
    """Some 400 rows of 100,000 classes fill a GPU by themselves; few classes are one block's work however few rows."""
    for rows, classes, blocks in [(1, 100_000, 12), (64, 100_000, 8), (400, 100_000, 1), (1, 4_000, 1), (0, 10, 1)]:
        assert Tiling(rows, classes, columns=False, cut=FULL).grid == (rows, blocks)


# What a warp reads


def sectors(kernel, run):
    """For each array, the sectors of the first warp's requests, as the trace counts them."""
    said, found = io.StringIO(), {}
    with tf.emulator.trace(kernel, warp=0, file=said, lines=10_000):
        run()
    for name, n in re.findall(r"(?:read|write)s? (\w+)\[.*?(?:\((\d+) sectors?\))?$", said.getvalue(), re.M):
        found.setdefault(name, []).append(int(n or 1))
    return found


@pytest.mark.parametrize("dtype, line", [(np.float32, 4), (np.float16, 2)])
@pytest.mark.parametrize("last", [False, True])
def test_neighbouring_threads_read_neighbouring_numbers(dtype, line, last):
    """32 pixels of a class are a line where pixels are neighbours in memory, 32 classes of a pixel where these are."""
    machine, (n, c, p) = Emulated(), (2, 64, 96)
    x, q = np.ones((2, n, p, c) if last else (2, n, c, p), dtype)
    x, q = (np.moveaxis(a, -1, 1) if last else a for a in (x, q))
    t, g, static = np.full((n, p), 3), np.ones((), dtype), dict(label_smoothing=0.1, reduction="mean")
    _, kept, weight = machine.cross_entropy(x, t, None, ignore_index=-100, **static)
    _, soft = machine.soft_cross_entropy(x, q, None, **static)
    runs = {
        "cross_entropy": lambda: machine.cross_entropy(x, t, None, ignore_index=-100, **static),
        "cross_entropy_back": lambda: machine.cross_entropy_back(g, kept, t, None, weight, ignore_index=-100, **static),
        "soft_cross_entropy": lambda: machine.soft_cross_entropy(x, q, None, **static),
        "soft_cross_entropy_back": lambda: machine.soft_cross_entropy_back(g, soft, q, None, **static),
    }
    for kernel, run in runs.items():
        found = sectors(kernel, run)
        of_classes = [
            found["x"],
            *([found["t"]] if "soft" in kernel else []),
            *([found["dx"]] if "dx" in found else []),
        ]
        for each in of_classes:
            assert max(each) <= line + 1, f"{kernel}: {each}"  # one more where an array begins inside a sector
            assert len(each) >= 2


def test_smoothing_reads_a_row_once():
    machine, x, t = Emulated(), np.ones((1, 1000), np.float32), np.array([7])
    plain, smooth = (
        sectors("cross_entropy", lambda e=e: machine.cross_entropy(x, t, None, -100, e, "none"))["x"]
        for e in (0.0, 0.1)
    )
    assert len(plain) == len(smooth) == 9  # 128 threads: a thousand by eight requests, and the class that is wanted


def test_a_step_of_training_runs_its_kernels():
    counts = backend.get("emulated").launch.counts
    counts.clear()
    x, w = tf.rand(4, 6).to("emulated"), tf.rand(3, 6).to("emulated").requires_grad_()
    F.cross_entropy(F.linear(x, w), tf.tensor([0, 2, 1, 0]).to("emulated")).backward()
    of_sums = {"sum": 3}  # the loss, and twice the weights
    assert counts == {"check_indices": 1, "matmul_tiles": 2, "cross_entropy": 1, "cross_entropy_back": 1} | of_sums
    assert w.grad.isfinite().all()


# Probabilities


def soft(machine, x, t, w, g, **static):
    """Loss, its gradient in x and in t: of the kernels, and of the definition in float64."""
    plain, found = backend.CPU(), []
    for xp, dtype in ((machine, x.dtype), (plain, np.dtype("float64"))):
        x, t, w, g = (None if a is None else a.astype(dtype) for a in (x, t, w, g))
        loss, kept = xp.soft_cross_entropy(x, t, w, **static)
        found += [loss, xp.soft_cross_entropy_back(g, kept, t, w, **static)]
        found += [xp.soft_cross_entropy_dt(g, kept, w, **static)]
    return found


@pytest.mark.parametrize("dtype", DTYPES)
def test_probabilities(machine, dtype, tally):
    before = machine.launch.counts.copy()
    eps = EPS[np.dtype(dtype).name]
    wide = max(EPS["float32"], eps) if dtype is not np.float64 else eps

    @given(st.data())
    def any_loss(data):
        n, c = data.draw(st.integers(0, 3)), data.draw(st.sampled_from([1, 2, 10, 33, 130, 700, 1200]))
        rest = data.draw(st.sampled_from([(), (2,), (2, 3), (40,)]))
        rng = np.random.default_rng(data.draw(st.integers(0, 99)))
        static = dict(
            label_smoothing=data.draw(st.sampled_from([0.0, 0.1])),
            reduction=data.draw(st.sampled_from(["none", "sum", "mean"])),
        )
        x = (rng.standard_normal((n, *rest, c)) * data.draw(st.sampled_from([1, 30]))).astype(dtype)
        t = rng.dirichlet(np.ones(c), (n, *rest)).astype(dtype)
        x, t = (in_order(np.moveaxis(a, -1, 1), data.draw(st.permutations(range(x.ndim)))) for a in (x, t))
        w = rng.uniform(0.5, 2, c).astype(dtype) if data.draw(st.booleans()) else None
        g = rng.standard_normal((n, *rest) if static["reduction"] == "none" else ()).astype(dtype)
        loss, dx, dt, *want = soft(machine, x, t, w, g, **static)
        size = abs(x.astype(np.float64)).max(initial=0) + np.log(c) + 1
        for got, right, terms in zip((loss, dx, dt), want, (2 * max(t.size // c, 1), 4, 4), strict=True):
            assert got.dtype == dtype and got.shape == right.shape
            allowed = 4 * wide * (size * terms * (1 + abs(g).max(initial=0)) + abs(right)) + 2.0**-24
            assert not (~(abs(got - right) <= allowed) & ~(np.isnan(got) & np.isnan(right))).any()

    any_loss()
    for kernel, n in (machine.launch.counts - before).items():
        tally(kernel=kernel, launches=n)


def test_probabilities_at_any_height(machine):
    """A row with one class far above another, one where nobody wants it; in float32 as in float64."""
    x = np.array([[1e4, 1e4 - 1, -1e4], [-1e4, -1e4 + 2, -1e4], [3e38, -3e37, 0]], np.float32)
    t = np.array([[0.5, 0.5, 0], [0.2, 0.7, 0.1], [1, 0, 0]], np.float32)
    static = dict(label_smoothing=0.0, reduction="none")
    loss, dx, dt, *want = soft(machine, x, t, None, np.ones(3), **static)
    np.testing.assert_allclose(loss, want[0], rtol=1e-6)
    np.testing.assert_allclose(dx, want[1], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(dt, want[2], rtol=1e-6)


def test_rows_of_probabilities_that_mean_nothing(machine):
    x = np.array([[-np.inf] * 2, [np.nan, 1], [np.inf, 1], [-np.inf, 0], [-np.inf, 0]], np.float32)
    t = np.array([[0.5, 0.5], [0.5, 0.5], [0, 1], [0.5, 0.5], [0, 1]], np.float32)
    loss, *_, want, _, _ = soft(machine, x, t, None, np.ones(5), label_smoothing=0.0, reduction="none")
    np.testing.assert_array_equal(loss, want)  # NaN, NaN, NaN, inf, and NaN: 0 times -inf


@large
@pytest.mark.parametrize("high", [1, 1e4])
def test_probabilities_of_a_hundred_thousand_classes(machine, high):
    rng, c = np.random.default_rng(0), 100_000
    x, t = (high * rng.standard_normal((2, c))).astype(np.float32), rng.dirichlet(np.ones(c), 2).astype(np.float32)
    w = rng.uniform(0.5, 2, c).astype(np.float32)
    loss, dx, _, *want = soft(machine, x, t, w, np.ones(()), label_smoothing=0.1, reduction="mean")
    np.testing.assert_allclose(loss, want[0], rtol=1e-6)
    np.testing.assert_allclose(dx, want[1], rtol=1e-4, atol=1e-10)


def test_mixed_targets_run_their_kernels():
    counts = backend.get("emulated").launch.counts
    counts.clear()
    x, t = tf.rand(4, 3).to("emulated").requires_grad_(), tf.rand(4, 3).softmax(1).to("emulated")
    F.cross_entropy(x, t, label_smoothing=0.1).backward()
    assert counts == {"soft_cross_entropy": 1, "sum": 1, "soft_cross_entropy_back": 1}
    assert F.cross_entropy(x[0], t[0]).isfinite().item()
