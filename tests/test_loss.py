"""Losses: numbers from PyTorch 2.13 (float64), identities, extremes, texts of errors."""

import math

import numpy as np
import pytest

import tinygrad_fast as tf
import tinygrad_fast.nn.functional as F

Z = [[2.0, 1.0, 0.1], [0.5, -1.0, 3.0], [0.0, 0.2, -0.3]]
T, W = [0, 2, 1], [1.0, 2.0, 0.5]
P = [[0.7, 0.2, 0.1], [0.1, 0.1, 0.8], [0.3, 0.4, 0.3]]


def double(a, **kw):
    return tf.tensor(np.asarray(a, np.float64), **kw)


def test_cross_entropy_and_its_gradient():
    z = double([[2.0, 1.0, 0.1]], requires_grad=True)
    loss = F.cross_entropy(z, tf.tensor([0]))
    loss.backward()
    assert loss.item() == pytest.approx(0.41703001627783354, rel=1e-14)
    np.testing.assert_allclose(
        z.grad.numpy(), [[-0.3409988611140321, 0.2424329707047139, 0.0985658904093182]], rtol=1e-12
    )
    assert F.cross_entropy(z, tf.tensor([0]), label_smoothing=0.1).item() == pytest.approx(
        0.5136966829445002, rel=1e-14
    )


@pytest.mark.parametrize(
    "target, options, want",
    [
        (T, {"weight": W}, 0.6390702332348389),  # the sum over 1 + 0.5 + 2
        ([0, -100, 1], {"weight": W}, 0.729636217204915),
        (T, {"weight": W, "label_smoothing": 0.1}, 0.7541656177376631),
        (T, {"weight": W, "reduction": "none"}, [0.41703001627783354, 0.04783716470719114, 1.7718786353369114]),
        (P, {}, 0.8828812211202237),
        (P, {"weight": W, "label_smoothing": 0.1}, 1.20903035138257),
    ],
)
def test_options_of_cross_entropy(target, options, want):
    options = {k: double(v) if k == "weight" else v for k, v in options.items()}
    target = tf.tensor(target) if isinstance(target[0], int) else double(target)
    np.testing.assert_allclose(F.cross_entropy(double(Z), target, **options).numpy(), want, rtol=1e-13)


def test_binary_cross_entropies():
    x, t = double([2.0, -1.0], requires_grad=True), double([1.0, 0.0])
    loss = F.binary_cross_entropy_with_logits(x, t)
    loss.backward()
    assert loss.item() == pytest.approx(0.22009484928059764, rel=1e-14)
    np.testing.assert_allclose(x.grad.numpy(), [-0.05960146101105884, 0.13447071068499755], rtol=1e-13)
    with_weight = F.binary_cross_entropy_with_logits(x, t, pos_weight=double([3.0, 2.0]))
    assert with_weight.item() == pytest.approx(0.34702286032357016, rel=1e-14)
    assert F.binary_cross_entropy(double([0.9, 0.2]), t).item() == pytest.approx(0.16425203348601802, rel=1e-14)
    assert F.binary_cross_entropy(double([0.0, 1.0]), t, reduction="none").tolist() == [100, 100]
    assert F.binary_cross_entropy(x.sigmoid(), t).item() == pytest.approx(loss.item(), rel=1e-14)


@pytest.mark.parametrize(
    "f, options, mean",
    [
        (F.mse_loss, {}, 37 / 12),
        (F.l1_loss, {}, 7 / 6),
        (F.smooth_l1_loss, {}, 0.875),
        (F.smooth_l1_loss, {"beta": 0.5}, 1.0),
        (F.smooth_l1_loss, {"beta": 0}, 7 / 6),
        (F.huber_loss, {}, 0.875),
        (F.huber_loss, {"delta": 2.0}, 1.375),
    ],
)
def test_regression(f, options, mean):
    a, b = double([1.0, -2.0, 0.3]), double([0.5, 1.0, 0.3])
    assert f(a, b, **options).item() == pytest.approx(mean, rel=1e-14)
    assert f(a, b, reduction="sum", **options).item() == pytest.approx(3 * mean, rel=1e-14)
    each = f(a, b, reduction="none", **options)
    assert each.shape == (3,) and each.mean().item() == pytest.approx(mean, rel=1e-14)


def test_weights_of_regression():
    a, b, w = double([1.0, -2.0]), double([0.5, 1.0]), double([3.0, 1.0])
    assert F.mse_loss(a, b, weight=w).item() == pytest.approx((3 * 0.25 + 9) / 4)
    assert F.l1_loss(a, b, weight=w).item() == pytest.approx((3 * 0.5 + 3) / 4)
    assert F.huber_loss(a, b, weight=w).item() == pytest.approx((3 * 0.125 + 2.5) / 2)  # by the count: as PyTorch


def test_identities():
    z, t, w = double(Z), tf.tensor(T), double(W)
    for options in ({}, {"weight": w}, {"reduction": "sum"}, {"reduction": "none", "weight": w}, {"ignore_index": 2}):
        nll = F.nll_loss(z.log_softmax(1), t, **options)
        np.testing.assert_allclose(F.cross_entropy(z, t, **options).numpy(), nll.numpy(), rtol=1e-14)
    hot = F.one_hot(t, 3).double()
    assert F.cross_entropy(z, hot).item() == pytest.approx(F.cross_entropy(z, t).item(), rel=1e-14)
    assert F.cross_entropy(z[0], t[0]).item() == pytest.approx(F.cross_entropy(z[:1], t[:1]).item(), rel=1e-14)
    assert F.cross_entropy(z[0], t[0], reduction="none").shape == ()
    two = tf.stack([double([0.0, 0.0, 0.0]), double([2.0, -1.0, 0.5])], 1)  # two classes: the binary one
    binary = F.binary_cross_entropy_with_logits(double([2.0, -1.0, 0.5]), double([1.0, 0.0, 1.0]))
    assert F.cross_entropy(two, tf.tensor([1, 0, 1])).item() == pytest.approx(binary.item(), rel=1e-14)


def test_any_spatial_shape_is_a_longer_batch():
    rng = np.random.default_rng(0)
    z, t = rng.standard_normal((2, 4, 3, 5)), rng.integers(0, 4, (2, 3, 5))
    t[0, 1] = -100
    flat = F.cross_entropy(tf.tensor(z.transpose(0, 2, 3, 1).reshape(-1, 4)), tf.tensor(t.reshape(-1)))
    assert F.cross_entropy(tf.tensor(z), tf.tensor(t)).item() == pytest.approx(flat.item(), rel=1e-13)


@pytest.mark.parametrize("dtype", [tf.float64, tf.float32, "bfloat16"])
def test_finite_at_logits_of_ten_thousand(dtype):
    z = tf.tensor([[1e4, -1e4], [1e4, -1e4]]).to(dtype).requires_grad_()
    loss = F.cross_entropy(z, tf.tensor([0, 1]), reduction="none")
    loss.sum().backward()
    assert loss[0].item() == 0 and loss[1].item() == pytest.approx(2e4, rel=2e-3)
    assert z.grad.tolist() == [[0, 0], [1, -1]]
    x = tf.tensor([1e4, -1e4, 1e4, -1e4]).to(dtype).requires_grad_()
    loss = F.binary_cross_entropy_with_logits(x, tf.tensor([1.0, 0.0, 0.0, 1.0]).to(dtype), reduction="none")
    loss.sum().backward()
    assert loss[:2].tolist() == [0, 0] and loss[2:].tolist() == pytest.approx([1e4, 1e4], rel=2e-3)
    assert x.grad.tolist() == [0, 0, 1, -1]


def test_small_losses_keep_their_digits():
    """Far on the right side the loss is about e^-20; float32 holds it to seven digits, nothing may cancel."""
    for x, t in ((20.0, 1.0), (-20.0, 0.0)):
        got = F.binary_cross_entropy_with_logits(tf.tensor([x]), tf.tensor([t])).item()
        assert got == pytest.approx(math.log1p(math.exp(-20)), rel=1e-6)
    x = tf.tensor([20.0], requires_grad=True)
    F.binary_cross_entropy_with_logits(x, tf.tensor([1.0])).backward()
    assert x.grad.item() == pytest.approx(-1 / (1 + math.exp(20)), rel=1e-6)


def test_what_is_ignored_counts_nothing():
    z = double([[2.0, 1.0, 0.1], [float("inf"), 0.0, 0.0]], requires_grad=True)
    assert F.cross_entropy(z, tf.tensor([0, -100])).item() == pytest.approx(0.41703001627783354, rel=1e-14)
    z = double(Z, requires_grad=True)
    loss = F.cross_entropy(z, tf.tensor([-100, -100, -100]))
    loss.backward()
    assert math.isnan(loss.item()) and not z.grad.numpy().any()  # 0 / 0; the gradient is 0, as in PyTorch
    assert F.cross_entropy(z, tf.tensor([7, 7, 7]), ignore_index=7, reduction="sum").item() == 0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bit_floats_are_rounded_once(dtype):
    rng = np.random.default_rng(0)
    z = tf.tensor(rng.standard_normal((50, 10)) * 3).to(dtype)
    step = {"float16": 2.0**-10, "bfloat16": 2.0**-7}[dtype]
    for f, target in [
        (F.cross_entropy, tf.tensor(rng.integers(0, 10, 50))),
        (F.binary_cross_entropy_with_logits, tf.tensor(rng.uniform(0, 1, (50, 10))).to(dtype)),
        (F.mse_loss, tf.tensor(rng.standard_normal((50, 10))).to(dtype)),
        (F.huber_loss, tf.tensor(rng.standard_normal((50, 10))).to(dtype)),
    ]:
        exact = f(z.double(), target if target.dtype == tf.int64 else target.double()).item()
        got = f(z, target)
        assert got.dtype == z.dtype and abs(got.item() - exact) <= 0.51 * step * abs(exact)


def test_mse_of_float16_does_not_overflow_inside():
    """300^2 is more than float16 holds; the mean of it and 999 zeros is not."""
    x = tf.tensor([300.0] + [0.0] * 999).half()
    assert F.mse_loss(x, tf.zeros(1000, dtype=tf.float16)).item() == pytest.approx(90, rel=1e-3)


@pytest.mark.parametrize(
    "wrong, kind, text",
    [
        (
            lambda z: F.cross_entropy(z, tf.tensor([0, 3, 1])),
            IndexError,
            r"cross_entropy: every target must be in 0\.\.2, there are 3 classes; got 3 \(ignore_index is -100\)",
        ),
        (lambda z: F.nll_loss(z, tf.tensor([0, -1, 1])), IndexError, "nll_loss: every target must be in .*got -1"),
        (
            lambda z: F.cross_entropy(z, tf.tensor([0, 1])),
            ValueError,
            r"input \(N, C, \.\.\.\) needs targets \(N, \.\.\.\) of class indices; got input \(3, 3\) and .* \(2,\)",
        ),
        (lambda z: F.cross_entropy(z, tf.tensor([[0], [1], [2]])), ValueError, "needs targets"),
        (lambda z: F.cross_entropy(z, tf.tensor([0.0, 1.0, 2.0])), TypeError, r"For classes write target\.long"),
        (lambda z: F.cross_entropy(z, tf.tensor([[0.0], [1.0]])), ValueError, "must have the same shape"),
        (lambda z: F.cross_entropy(z, z, ignore_index=2), ValueError, "probabilities have no index to ignore"),
        (lambda z: F.cross_entropy(z, tf.tensor(T), tf.ones(4)), ValueError, r"one element for each of the 3 classes"),
        (lambda z: F.cross_entropy(z, tf.tensor(T), label_smoothing=2), ValueError, r"must be in \[0, 1\]; got 2"),
        (lambda z: F.cross_entropy(z.long(), tf.tensor(T)), RuntimeError, "must be of a floating dtype; got int64"),
        (lambda z: F.cross_entropy(z, tf.tensor(T), reduction="avg"), ValueError, "'none', 'mean' or 'sum'; got 'avg'"),
        (lambda z: F.cross_entropy(z, tf.tensor(T), size_average=False), ValueError, "write reduction='mean'"),
        (
            lambda z: F.cross_entropy(z, tf.tensor(T), tf.ones(3, requires_grad=True)),
            RuntimeError,
            r"weight gets no gradient; pass weight\.detach\(\)",
        ),
        (
            lambda z: F.mse_loss(z, tf.zeros(3)),
            ValueError,
            r"mse_loss: input and target must have the same shape; got \(3, 3\) and \(3,\).*Broadcasting",
        ),
        (lambda z: F.mse_loss(z.long(), z.long()), RuntimeError, "must be of a floating dtype; got int64"),
        (lambda z: F.mse_loss(z, z, weight=tf.ones(3)), ValueError, "same shape"),
        (lambda z: F.binary_cross_entropy(z, z), RuntimeError, r"input must be in \[0, 1\]; got -1 to 3.*with_logits"),
        (lambda z: F.binary_cross_entropy_with_logits(z, z[0]), ValueError, "same shape"),
        (lambda z: F.binary_cross_entropy_with_logits(z, z, pos_weight=tf.ones(2)), ValueError, "pos_weight: shapes"),
        (lambda z: F.binary_cross_entropy_with_logits(z[0], z[0], pos_weight=z), ValueError, "must broadcast to"),
        (lambda z: F.huber_loss(z, z, delta=0), ValueError, "delta must be above 0; got 0"),
        (lambda z: F.smooth_l1_loss(z, z, beta=-1), ValueError, "beta must be at least 0; got -1"),
    ],
)
def test_errors(wrong, kind, text):
    with pytest.raises(kind, match=text):
        wrong(tf.tensor(Z))
