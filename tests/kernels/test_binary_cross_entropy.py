"""Binary cross-entropy of logits against its definition in float64, with every access to memory watched."""

import io
import re

import numpy as np
import pytest
from hypothesis import given, strategies as st

import tinygrad_fast as tf
import tinygrad_fast.nn.functional as F
from tinygrad_fast import backend
from tinygrad_fast.backend.cuda import Emulated
from tinygrad_fast.backend.launchers import losses

from .test_matmul import DTYPES, EPS, laid_out

NAME = "binary_cross_entropy_with_logits"
WEIGHTS = [None, (), (1,), (5,), (1, 5), (3, 1), (3, 5), (2, 1, 1), (2, 1, 5), (2, 3, 1), (2, 3, 5)]


def both(machine, g, x, t, w, p, reduction):
    """Loss and gradient: of the kernels, and of the definition in float64."""
    found = []
    for xp, dtype in ((machine, x.dtype), (backend.CPU(), np.dtype("float64"))):
        g, x, t, w, p = (None if a is None else a.astype(dtype) for a in (g, x, t, w, p))
        found += [getattr(xp, NAME)(x, t, w, p, reduction=reduction)]
        found += [getattr(xp, f"{NAME}_back")(g, x, t, w, p, reduction=reduction)]
    return found


@pytest.mark.parametrize("dtype", DTYPES)
def test_values_and_gradients(machine, dtype, tally):
    before = machine.launch.counts.copy()
    eps = EPS[np.dtype(dtype).name]
    least = 8 * min(eps, EPS["float32"])

    @given(st.data())
    def any_loss(data):
        draw, rng = data.draw, np.random.default_rng(data.draw(st.integers(0, 99)))
        reduction = draw(st.sampled_from(["none", "sum", "mean"]))
        high = draw(st.sampled_from([1, 30, 100 if reduction == "sum" else 1e4]))  # float16 ends at 65504
        x, t, g = (rng.uniform(low, top, (2, 3, 5)).astype(dtype) for low, top in ((-high, high), (0, 1), (-1, 1)))
        if draw(st.booleans()):
            t = t.round()
        x, t, g = (laid_out(a, draw(st.sampled_from(["in order", "transposed", "reversed"]))) for a in (x, t, g))
        g = g if reduction == "none" else g[0, 0, 0]
        shapes = (draw(st.sampled_from(WEIGHTS)) for _ in "wp")
        w, p = (None if shape is None else np.asarray(rng.uniform(0.5, 2, shape)).astype(dtype) for shape in shapes)
        y, dx, want, want_dx = both(machine, np.asarray(g), x, t, w, p, reduction)
        assert y.dtype == dx.dtype == x.dtype and y.shape == want.shape and dx.shape == x.shape
        assert not (~(abs(y - want) <= eps * abs(want) * 4 + least * (1 if reduction == "none" else 30))).any()
        assert not (~(abs(dx - want_dx) <= eps * abs(want_dx) * 4 + least)).any()

    any_loss()
    for kernel, n in (machine.launch.counts - before).items():
        tally(kernel=kernel, launches=n)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 2, 3, 8, 9, 2047, 3000])
def test_any_number_of_elements(machine, n, dtype, monkeypatch):
    """Whole packs and what remains of one, more than a grid takes; weights that repeat inside a pack and across two."""
    monkeypatch.setattr(losses, "BLOCKS", 2)
    rng, eps = np.random.default_rng(n), EPS[np.dtype(dtype).name]
    single = min(eps, EPS["float32"])
    x, t = rng.uniform(-3, 3, (3, n)).astype(dtype), rng.uniform(0, 1, (3, n)).astype(dtype)
    w, p = rng.uniform(0.5, 2, (3, 1)).astype(dtype), rng.uniform(0.5, 2, n).astype(dtype)
    for reduction in ("none", "mean"):
        g = np.ones(x.shape if reduction == "none" else (), dtype)
        for weights in ((None, None), (w, p), (p, w)):
            y, dx, want, want_dx = both(machine, g, x, t, *weights, reduction)
            np.testing.assert_allclose(np.float64(y), want, rtol=2 * eps + 16 * single)
            terms = 4 if reduction == "none" else 4 / x.size  # a gradient is the difference of two such
            tiny = 2.0**-24 if dtype is np.float16 else 0
            np.testing.assert_allclose(np.float64(dx), want_dx, rtol=2 * eps, atol=8 * single * terms + tiny)


def test_large_and_small(machine):
    x = np.array([1e4, -1e4, 1e4, -1e4], np.float32)
    t, ones = np.array([1, 0, 0, 1], np.float32), np.ones(4, np.float32)
    y, dx, *_ = both(machine, ones, x, t, None, None, "none")
    assert y.tolist() == [0, 0, 1e4, 1e4] and dx.tolist() == [0, 0, 1, -1]
    x, t = np.array([40, -40, 88], np.float32), np.array([1, 0, 1], np.float32)
    y = machine.binary_cross_entropy_with_logits(x, t, None, None, reduction="none")
    np.testing.assert_allclose(y, np.exp([-40.0, -40.0, -88.0]), rtol=1e-6)


def test_the_same_bits_every_time(machine):
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal(100_003).astype(np.float32), rng.uniform(0, 1, 100_003).astype(np.float32)
    found = {machine.binary_cross_entropy_with_logits(x, t, None, None, reduction="mean").tobytes() for _ in range(3)}
    want = backend.CPU().binary_cross_entropy_with_logits(*map(np.float64, (x, t)), None, None, reduction="mean")
    assert len(found) == 1 and abs(np.frombuffer(found.pop(), np.float32)[0] - want) < 1e-6


def test_of_nothing(machine):
    x = np.zeros((0, 3), np.float32)
    assert machine.binary_cross_entropy_with_logits(x, x, None, None, reduction="sum") == 0
    assert np.isnan(machine.binary_cross_entropy_with_logits(x, x, None, x[:, :1], reduction="mean"))
    g = np.ones((), np.float32)
    assert machine.binary_cross_entropy_with_logits_back(g, x, x, None, None, reduction="mean").shape == (0, 3)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_sixteen_bytes_a_thread(dtype):
    """Of x, t, and weights as large; a warp's 512 bytes of each are 16 sectors, or one more where they begin inside."""
    machine, said = Emulated(), io.StringIO()
    x, t, w = np.random.default_rng(0).uniform(0.1, 1, (3, 4096)).astype(dtype)
    with tf.emulator.trace(NAME, warp=0, file=said, lines=10_000):
        machine.binary_cross_entropy_with_logits(x, t, w, None, reduction="none")
    for name in "xtw":
        [sectors] = re.findall(rf"lanes 0-31 read {name}\[.*\((\d+) sectors\)$", said.getvalue(), re.M)
        assert 16 <= int(sectors) <= 17, said.getvalue()


@pytest.mark.parametrize("dtype", [tf.float32, tf.float16, "bfloat16"])
def test_a_step_reads_what_it_is_given(dtype, monkeypatch):
    """No copy in another dtype, no product outside the kernel: its launches are all there are, but for the sum."""
    machine, others = backend.get("emulated"), []
    counts = machine.launch.counts

    def noted(f):
        return lambda x, *rest, **static: others.append(x.size) or f(x, *rest, **static)

    x, t, w, p = (tf.rand(*shape).to(dtype).to("emulated") for shape in ((6, 4), (6, 4), (6, 1), (4,)))
    x.requires_grad_()
    counts.clear()
    for name in ("cast", "mul", "div"):
        monkeypatch.setattr(machine, name, noted(getattr(machine, name)))
    loss = F.binary_cross_entropy_with_logits(x, t, w, pos_weight=p)
    loss.backward()
    assert loss.dtype == x.grad.dtype == x.dtype
    assert counts == {NAME: 1, "mean": 1, f"{NAME}_back": 1}
    assert max(others) == 1, "of arrays, not of the one loss"
