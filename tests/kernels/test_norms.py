"""Normalisations against their definitions in float64, with every access to memory watched.

A result may be off by 64 eps_A times the size of what is added up for it (no chain of roundings here is longer, sums of
sums included), and by its own rounding to T. Backward passes start from statistics and outputs that both sides share.
"""

import numpy as np
import pytest
from hypothesis import given, strategies as st

import tinygrad_fast as tf
import tinygrad_fast.nn.functional as F
from tinygrad_fast import backend, nn
from tinygrad_fast.backend import windows
from tinygrad_fast.backend.launchers import norms
from tinygrad_fast.backend.wide import wide_type
from tinygrad_fast.models import resnet8

from .test_matmul import DTYPES, EPS

PLAIN = backend.CPU()
SHAPES = [  # several packs, parts and slabs; channels and pixels that no pack divides; nothing to share
    *((6, 8, 20, 20), (5, 3, 7, 7), (3, 33, 5), (70, 20), (2, 300, 3, 2)),
    *((3, 2, 1, 1), (9, 1, 5), (2, 2, 700), (1, 4, 2, 2), (40, 64, 2, 3)),
]
GROUPED = [((3, 8, 5, 5), 2), ((2, 6, 30), 6), ((2, 12, 9, 3), 1), ((5, 9), 3), ((1, 4, 40, 40), 2), ((40, 10, 4), 5)]
ROWS = [
    *(((7, 40), 1), ((7, 400), 1), ((3, 4, 5), 2), ((300, 3), 1)),
    *(((2, 3, 1000), 1), ((9, 1), 1), ((4, 5), 2), ((3, 4100), 1)),
]
BLOCKS = st.sampled_from([norms.BLOCKS, 3])  # with 3, each has much to do, one thing after another
ORDERS = ["channels last", "in order", "reversed"]


def laid(a, order):
    """The values of a (N, C, ...) in another order in memory."""
    if order == "reversed":
        return np.ascontiguousarray(a[::-1])[::-1]
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1) if order == "channels last" else a


def close(got, want, size, dtype):
    """size: of what is added up; want, in float64, broadcasts to got."""
    allowed = 64 * EPS["float64" if dtype == "float64" else "float32"] * size + 1.01 * EPS[dtype] * abs(want) + 2.0**-24
    assert got.dtype == dtype and got.shape == want.shape
    error = abs(got.astype(np.float64) - want)
    assert not (~(error <= allowed)).any(), f"{(error / allowed).max():.1f} times the tolerance"


def doubled(*arrays):
    return [None if a is None else a.astype(np.float64) for a in arrays]


class Drawn:
    """Arrays for a normalisation of a shape: in dtype, w and b also wide, one or both of them absent."""

    def __init__(self, data, shape, of, dtype):
        self.rng = np.random.default_rng(data.draw(st.integers(0, 99)))
        self.dtype, self.order, self.shape = np.dtype(dtype), data.draw(st.sampled_from(ORDERS)), shape
        self.wide = wide_type(self.dtype)
        kind = data.draw(st.sampled_from([self.dtype, self.wide]))
        self.x = self.image(data.draw(st.sampled_from([0, 3])))
        given = data.draw(st.sampled_from(["w b", "w", "b", ""]))
        self.w, self.b = (self.rng.standard_normal(of).astype(kind) if n in given else None for n in "wb")

    def image(self, mean=0):
        return laid((self.rng.standard_normal(self.shape) + mean).astype(self.dtype), self.order)

    def gradients(self, got, want, xhat, g, rstd):
        """dx, dw and db against the definition's; xhat, g and rstd in float64."""
        w = 1.0 if self.w is None else abs(self.w.astype(np.float64)).max()
        spread = 1 + abs(xhat).max()
        close(got[0], want[0], rstd.max() * w * abs(g).max() * spread**2, self.dtype.name)
        length = np.sqrt(xhat.size / got[1].size)  # of a sum of as many signs
        close(got[1], want[1], length * abs(g).max() * spread, self.wide.name)
        close(got[2], want[2], length * abs(g).max(), self.wide.name)


def tallied(machine, before, tally):
    for kernel, n in (machine.launch.counts - before).items():
        tally(kernel=kernel, launches=n)


@pytest.mark.parametrize("dtype", DTYPES)
def test_batch_norm(machine, monkeypatch, dtype, tally):
    before = machine.launch.counts.copy()

    @given(st.data())
    def any_batch_norm(data):
        monkeypatch.setattr(norms, "BLOCKS", data.draw(BLOCKS))
        shape = data.draw(st.sampled_from(SHAPES))
        d = Drawn(data, shape, shape[1], dtype)
        res = d.image() if data.draw(st.booleans()) else None
        g = laid(d.rng.standard_normal(shape).astype(dtype), data.draw(st.sampled_from(ORDERS)))
        relu, given, eps = data.draw(st.booleans()), data.draw(st.booleans()), 0.1
        x, w, b, r = doubled(d.x, d.w, d.b, res)
        if given:
            mean, var = d.rng.standard_normal(shape[1]), d.rng.uniform(0.5, 2, shape[1])
            mean, var = (v.astype(data.draw(st.sampled_from([d.dtype, d.wide]))) for v in (mean, var))
            y, kept, rstd = machine.batch_norm_eval(d.x, mean, var, d.w, d.b, res, eps, relu)
            want, _, rs = PLAIN.batch_norm_eval(x, *doubled(mean, var), w, b, r, eps, relu)
        else:
            y, kept, mean, rstd, var = machine.batch_norm(d.x, d.w, d.b, res, None, None, eps, relu)
            want, _, m, rs, v = PLAIN.batch_norm(x, w, b, r, None, None, eps, relu)
            close(mean, m, abs(x).max(), d.wide.name)
            close(var, v, abs(x).max() ** 2, d.wide.name)
        close(rstd, rs, rs, d.wide.name)
        along = (-1, *(1,) * (len(shape) - 2))
        xhat = (x - mean.astype(np.float64).reshape(along)) * rs.reshape(along)
        size = (abs(xhat).max() + abs(x).max()) * (1 if w is None else abs(w).max()) / np.sqrt(eps)
        close(y, want, size + (0 if b is None else abs(b).max()) + (0 if r is None else abs(r).max()), d.dtype.name)

        name = "batch_norm_eval_back" if given else "batch_norm_back"
        assert (kept is not None) == (relu and res is not None)  # else the sign of y follows from x
        got = getattr(machine, name)(g, d.x, d.w, d.b, mean, rstd, kept, relu, res is not None)
        wanted = getattr(PLAIN, name)(*doubled(g, d.x, d.w, d.b, mean, rstd, y), relu, res is not None)
        d.gradients(got, wanted, xhat, *doubled(g, rstd))
        assert (got[3] is None) == (res is None)
        if res is not None:
            np.testing.assert_array_equal(got[3].astype(np.float64), wanted[3])
        if d.order != "reversed" and min(shape) > 1:
            assert windows.memory_order(y) == windows.memory_order(got[0]) == windows.memory_order(d.x)

    any_batch_norm()
    tallied(machine, before, tally)


@pytest.mark.parametrize("dtype", DTYPES)
def test_group_norm(machine, monkeypatch, dtype, tally):
    before = machine.launch.counts.copy()

    @given(st.data())
    def any_group_norm(data):
        monkeypatch.setattr(norms, "BLOCKS", data.draw(BLOCKS))
        shape, groups = data.draw(st.sampled_from(GROUPED))
        d = Drawn(data, shape, shape[1], dtype)
        g = d.image()
        x, w, b = doubled(d.x, d.w, d.b)
        y, mean, rstd = machine.group_norm(d.x, d.w, d.b, groups, 0.1)
        want, m, rs = PLAIN.group_norm(x, w, b, groups, 0.1)
        close(mean, m, abs(x).max(), d.wide.name)
        close(rstd, rs, abs(x).max() ** 2 * rs**3, d.wide.name)
        xhat = PLAIN.group_norm(x, None, None, groups, 0.1)[0]
        size = (abs(xhat).max() + abs(x).max()) * (1 if w is None else abs(w).max()) / np.sqrt(0.1)
        close(y, want, size + (0 if b is None else abs(b).max()), d.dtype.name)
        got = machine.group_norm_back(g, d.x, d.w, mean, rstd, groups)
        wanted = PLAIN.group_norm_back(*doubled(g, d.x, d.w, mean, rstd), groups)
        d.gradients(got, wanted, xhat, *doubled(g, rstd))
        if d.order != "reversed" and min(shape) > 1:
            assert windows.memory_order(y) == windows.memory_order(got[0]) == windows.memory_order(d.x)

    any_group_norm()
    tallied(machine, before, tally)


@pytest.mark.parametrize("dtype", DTYPES)
def test_layer_norm(machine, monkeypatch, dtype, tally):
    before = machine.launch.counts.copy()

    @given(st.data())
    def any_layer_norm(data):
        monkeypatch.setattr(norms, "BLOCKS", data.draw(BLOCKS))
        shape, k = data.draw(st.sampled_from(ROWS))
        axis = tuple(range(len(shape) - k, len(shape)))
        d = Drawn(data, shape, shape[-k:], dtype)
        g = d.image()
        x, w, b = doubled(d.x, d.w, d.b)
        y, mean, rstd = machine.layer_norm(d.x, d.w, d.b, axis, 0.1)
        want, m, rs = PLAIN.layer_norm(x, w, b, axis, 0.1)
        close(mean, m, abs(x).max(), d.wide.name)
        close(rstd, rs, abs(x).max() ** 2 * rs**3, d.wide.name)
        xhat = (x - m) * rs
        size = (abs(xhat).max() + abs(x).max()) * (1 if w is None else abs(w).max()) / np.sqrt(0.1)
        close(y, want, size + (0 if b is None else abs(b).max()), d.dtype.name)
        got = machine.layer_norm_back(g, d.x, d.w, mean, rstd, axis)
        wanted = PLAIN.layer_norm_back(*doubled(g, d.x, d.w, mean, rstd), axis)
        d.gradients(got, wanted, xhat, *doubled(g, rstd))

    any_layer_norm()
    tallied(machine, before, tally)


@pytest.mark.parametrize("order", ORDERS[:2])
def test_large_means_cost_no_digits(machine, order):
    rng = np.random.default_rng(0)
    x = laid((rng.standard_normal((8, 6, 16, 16)) + 1e4).astype(np.float32), order)
    *_, var = machine.batch_norm(x, None, None, None, None, None, 1e-5, False)
    np.testing.assert_allclose(var, x.astype(np.float64).var((0, 2, 3)), rtol=2e-6)
    _, _, rstd = machine.group_norm(x, None, None, 3, 0)
    want = x.reshape(8, 3, -1).astype(np.float64).var(-1) ** -0.5
    np.testing.assert_allclose(rstd.reshape(8, 3), want, rtol=2e-6)
    _, _, rstd = machine.layer_norm(x, None, None, (2, 3), 0)
    np.testing.assert_allclose(rstd[..., 0, 0], x.astype(np.float64).var((2, 3)) ** -0.5, rtol=2e-6)


@pytest.mark.parametrize("order", ORDERS[:2])
def test_what_is_not_a_number_stays_in_its_channel(machine, order):
    x = laid(np.random.default_rng(0).standard_normal((2, 5, 3, 3)).astype(np.float32), order)
    x[1, 2, 0, 0], x[0, 4, 1, 1] = np.nan, np.inf
    y, kept, mean, rstd, var = machine.batch_norm(x, None, None, None, None, None, 1e-5, True)
    dx, dw, _, _ = machine.batch_norm_back(np.ones_like(x), x, None, None, mean, rstd, kept, True, False)
    for a in (y.sum((0, 2, 3)), var, rstd, dx.sum((0, 2, 3)), dw):
        assert np.isnan(a).tolist() == [False, False, True, False, True]


@pytest.mark.parametrize("order", ORDERS[:2])
def test_a_channel_of_one_value(machine, order):
    x = laid(np.full((3, 4, 5, 5), 1e20, np.float32), order)
    y, _, mean, rstd, var = machine.batch_norm(x, None, np.float32([1, -2, 3, 4]), None, None, None, 1e-5, False)
    np.testing.assert_array_equal(y[0, :, 0, 0], [1, -2, 3, 4])
    assert (mean == x[0, 0, 0, 0]).all() and (var == 0).all()
    np.testing.assert_allclose(rstd, 1e-5**-0.5, rtol=1e-6)


@pytest.mark.parametrize("order", ORDERS[:2])
def test_what_was_rounded_to_0_is_not_let_through(machine, order):
    """Above 0 as it is computed, and 0 as it is stored: ReLU's gradient is that of what is stored."""
    x = laid(np.random.default_rng(0).standard_normal((4, 3, 5, 5)).astype(np.float16), order)
    w = np.float32([1e-9, 1e-9, 1])
    y, kept, mean, rstd, _ = machine.batch_norm(x, w, None, None, None, None, 1e-5, True)
    dx, _, db, _ = machine.batch_norm_back(np.ones_like(x), x, w, None, mean, rstd, kept, True, False)
    assert not y[:, :2].any() and not dx[:, :2].any() and not db[:2].any()
    assert db[2] == (y[:, 2] > 0).sum() > 0


def test_nothing_to_normalise(machine):
    counts = machine.launch.counts.copy()
    x = np.ones((0, 3, 2), np.float32)
    y, _, mean, _, var = machine.batch_norm(x, None, None, None, None, None, 1e-5, False)
    assert y.shape == x.shape and np.isnan(mean).all() and np.isnan(var).all()
    dx, dw, db = machine.layer_norm_back(x, x, None, np.ones((0, 3, 1)), np.ones((0, 3, 1)), (2,))
    assert dx.shape == x.shape and dw.tolist() == db.tolist() == [0, 0]
    assert not [name for name in machine.launch.counts - counts if "norm" in name]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 9])
def test_running_statistics(machine, dtype, n):
    rng = np.random.default_rng(0)
    running = [a.astype(dtype) for a in rng.uniform(0.5, 2, (2, 300))]
    new = [a.astype(wide_type(np.dtype(dtype))) for a in rng.uniform(0.5, 2, (2, 300))]
    want = doubled(*running)
    PLAIN.batch_norm_remember_(*want, *doubled(*new), 0.25, n)
    machine.batch_norm_remember_(*running, *new, 0.25, n)
    for got, right in zip(running, want, strict=True):
        close(got, right, 3, np.dtype(dtype).name)
    every = np.zeros((2, 8), dtype)  # every second number of it
    machine.batch_norm_remember_(*every[:, ::2], *(a[:4] for a in new), 0.25, n)
    np.testing.assert_allclose(every[0, ::2].astype(float), new[0][:4] * 0.25, rtol=0.02)
    assert not every[:, 1::2].any()


def launched(device, f):
    counts = backend.get(device).launch.counts
    counts.clear()
    f()
    return dict(counts)


FORWARD = {"batch_norm_moments": 1, "batch_norm_statistics": 1, "batch_norm": 1}
BACK = {"batch_norm_sums": 1, "batch_norm_slopes": 1}
WITH_X = {"batch_norm_back": 1}
LAYER = {"layer_norm": 1, "layer_norm_back": 1, "layer_norm_parameters": 1}


@pytest.mark.parametrize(
    "norm, kernels",
    [
        (lambda x, w: F.batch_norm(x, None, None, w, w, training=True, residual=x, relu=True), FORWARD | BACK | WITH_X),
        (lambda x, w: F.batch_norm(x, w, w, w, w), {"batch_norm": 1} | BACK),
        (lambda x, w: F.group_norm(x, 2, w, w), FORWARD | BACK | WITH_X),
        (lambda x, w: F.layer_norm(x, (4,), w, w), LAYER),
        (lambda x, w: nn.BatchNorm2d(4).to(x.device)(x), FORWARD | BACK | WITH_X | {"batch_norm_remember_": 1}),
    ],
)
def test_what_users_call_runs_its_kernels(device, norm, kernels):
    x, w = tf.rand(2, 4, 3, 4).to(device).requires_grad_(), tf.rand(4).to(device)
    assert launched(device, lambda: norm(x, w).sum().backward()) == kernels | {"sum": 1}
    assert x.grad.isfinite().all()


def test_every_norm_of_a_step_of_training_is_a_kernel(device):
    model = resnet8(num_classes=3).to(device)
    norms = sum(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    counts = launched(device, lambda: model(tf.rand(2, 3, 8, 8).to(device)).sum().backward())
    kernels = (FORWARD | BACK | WITH_X).keys() - {"batch_norm_moments"}  # the convolutions find these
    assert norms and {name: counts[name] for name in kernels} == dict.fromkeys(kernels, norms)
