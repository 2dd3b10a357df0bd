"""Cross-entropy against its definition in float64, with every access to memory watched."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

import tinygrad_fast as tf
import tinygrad_fast.nn.functional as F
from tinygrad_fast import backend
from tinygrad_fast.backend.cuda import Emulated

from .test_matmul import DTYPES, EPS


def both(machine, x, t, w, g, **static):
    """Loss and gradient: of the kernels, and of the definition in float64."""
    plain, found = backend.CPU(), []
    for xp, dtype in ((machine, x.dtype), (plain, np.dtype("float64"))):
        near = [None if a is None else a.astype(dtype) for a in (x, w, g)]
        loss, kept, weight = xp.cross_entropy(near[0], t, near[1], **static)
        found += [loss, xp.cross_entropy_back(near[2], kept, t, near[1], weight, **static)]
    return found


@pytest.mark.parametrize("dtype", DTYPES)
def test_values_and_gradients(machine, dtype, tally):
    before = machine.launch.counts.copy()
    eps = EPS[np.dtype(dtype).name]
    wide = max(EPS["float32"], eps) if dtype is not np.float64 else eps

    @given(st.data())
    def any_loss(data):
        n, c = data.draw(st.integers(1, 3)), data.draw(st.sampled_from([1, 2, 10, 33, 130, 700, 1200]))
        rest = data.draw(st.sampled_from([(), (2,), (2, 3)]))
        reduction, smoothing = (
            data.draw(st.sampled_from(["none", "sum", "mean"])),
            data.draw(st.sampled_from([0.0, 0.1])),
        )
        rng = np.random.default_rng(data.draw(st.integers(0, 99)))
        x = (rng.standard_normal((n, c, *rest)) * data.draw(st.sampled_from([1, 30]))).astype(dtype)
        if rest and data.draw(st.booleans()):
            x = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)  # the classes fastest
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


def test_stable_at_any_height(machine):
    x = np.array([[1e4, 1e4 - 1, -1e4], [-1e4, -1e4 + 2, -1e4], [3e38, -3e38, 0]], np.float32)
    t, static = np.array([1, 0, 0]), dict(ignore_index=-100, label_smoothing=0.0, reduction="none")
    loss, dx, want, want_dx = both(machine, x, t, None, np.ones(3), **static)
    np.testing.assert_allclose(loss, want, rtol=1e-6)
    np.testing.assert_allclose(dx, want_dx, rtol=1e-6)


def test_rows_that_mean_nothing_are_nan(machine):
    x = np.array([[-np.inf, -np.inf], [np.nan, 1], [np.inf, 1], [1, 2], [-np.inf, 0]], np.float32)
    t = np.array([0, 1, 0, 7, 1])  # there is no class 7
    loss, _, _ = machine.cross_entropy(x, t, None, ignore_index=-100, label_smoothing=0.0, reduction="none")
    assert np.isnan(loss[:4]).all() and loss[4] == 0


def test_a_hundred_thousand_classes():
    x = np.random.default_rng(0).standard_normal((2, 100_000)).astype(np.float32)
    static = dict(ignore_index=-100, label_smoothing=0.1, reduction="mean")
    loss, dx, want, want_dx = both(Emulated(), x, np.array([5, 99_999]), None, np.ones(()), **static)
    np.testing.assert_allclose(loss, want, rtol=1e-6)
    np.testing.assert_allclose(dx, want_dx, rtol=1e-5, atol=1e-10)


def test_a_step_of_training_runs_its_kernels():
    counts = backend.get("emulated").launch.counts
    counts.clear()
    x, w = tf.rand(4, 6).to("emulated"), tf.rand(3, 6).to("emulated").requires_grad_()
    F.cross_entropy(F.linear(x, w), tf.tensor([0, 2, 1, 0]).to("emulated")).backward()
    of_sums = {"sum": 3}  # the loss, and twice the weights
    assert counts == {"check_indices": 1, "matmul_tiles": 2, "cross_entropy": 1, "cross_entropy_back": 1} | of_sums
    assert w.grad.isfinite().all()
