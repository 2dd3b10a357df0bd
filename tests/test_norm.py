"""Normalisation: numbers from PyTorch 2.13 (float64), identities, running statistics, 16 bits, texts of errors."""

import numpy as np
import pytest

import tinygrad_fast as tf
import tinygrad_fast.nn.functional as F


def double(a, **kw):
    return tf.tensor(np.asarray(a, np.float64), **kw)


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def test_batch_norm_by_the_batch_and_by_what_it_remembers():
    x, w, b = double([[1, 2], [3, 6], [8, 1]], requires_grad=True), double([2, -1]), double([0.5, 0])
    mean, var = double([0, 0]), double([1, 1])
    y = F.batch_norm(x, mean, var, w, b, training=True)
    (y * double([[1, 2], [3, -1], [0, 0.5]])).sum().backward()
    want = [[-1.538097485635139, 0.4629095539120194], [-0.17936582854504635, -1.3887286617360581]]
    np.testing.assert_allclose(y.detach().numpy(), [*want, [3.2174633141801854, 0.9258191078240388]], rtol=1e-13)
    slope = [[-0.6967849224863529, -0.4959749471687001], [0.9754998321401869, 0.09919617977004226]]
    np.testing.assert_allclose(x.grad.numpy(), [*slope, [-0.2787149096538339, 0.39677876739865786]], rtol=1e-11)
    np.testing.assert_allclose(mean.numpy(), [0.4, 0.3], rtol=1e-14)
    np.testing.assert_allclose(var.numpy(), [2.2, 1.6], rtol=1e-14)  # unbiased: 13 and 7, a tenth of them
    y = F.batch_norm(x.detach(), mean, var, w, b)
    want = [[1.3090379962352612, -1.3439638056912306], [4.0058313170194655, -4.506231583788244]]
    np.testing.assert_allclose(y.numpy(), [*want, [10.747814618979975, -0.5533968611669773]], rtol=1e-13)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("what", ["running_mean", "running_var", "weight", "bias"])
@pytest.mark.parametrize("shape", [(), (0,), (1,), (3,), (1, 2)])
def test_what_belongs_to_the_channels_of_a_batch_norm_has_their_shape(training, what, shape):
    """Also in training, where the running statistics are written to."""
    given = {name: tf.ones(2) for name in ("running_mean", "running_var", "weight", "bias")} | {what: tf.ones(*shape)}
    with pytest.raises(ValueError, match=rf"batch_norm: {what} must be \(C,\) = \(2,\), .* \(4, 2\); got "):
        F.batch_norm(tf.ones(4, 2), **given, training=training)


def test_layer_and_group_norm():
    x = double([[1, 2, 4, -3]])
    want = [[0, 0.39223196855958525, 1.1766959056787558, -1.568927874238341]]
    np.testing.assert_allclose(F.layer_norm(x, 4).numpy(), want, rtol=1e-13)
    want = [[-0.9999800005999799, 0.9999800005999799, 0.9999995918369846, -0.9999995918369846]]
    np.testing.assert_allclose(F.group_norm(x, 2).numpy(), want, rtol=1e-13)


def test_normalize():
    assert F.normalize(double([[3, 4], [0, 0]])).tolist() == [[0.6, 0.8], [0, 0]]
    assert F.normalize(double([[3, -1]]), p=1).tolist() == [[0.75, -0.25]]
    assert F.normalize(double([[3, -4]]), p=float("inf")).tolist() == [[0.75, -1]]
    x = double(np.zeros((2, 3)), requires_grad=True)
    F.normalize(x, eps=0.5).sum().backward()
    assert x.grad.tolist() == [[2, 2, 2], [2, 2, 2]], "at 0 the size is eps, whatever the direction"


def test_the_fused_block_is_its_parts():
    """relu(batch norm + residual) in one op, and in three: values and every gradient."""
    for training in (True, False):
        found = []
        for fused in (True, False):
            x, r = (double(drawn(4, 3, 2, 2, seed=i), requires_grad=True) for i in (1, 2))
            w, b = (double(drawn(3, seed=i), requires_grad=True) for i in (3, 4))
            mean, var = double([0.1, 0.2, 0.3]), double([1, 2, 3])
            if fused:
                y = F.batch_norm(x, mean, var, w, b, training, residual=r, relu=True)
            else:
                y = (F.batch_norm(x, mean, var, w, b, training) + r).relu()
            (y * double(drawn(4, 3, 2, 2, seed=5))).sum().backward()
            found.append([y.detach().numpy(), *(t.grad.numpy() for t in (x, r, w, b)), mean.numpy(), var.numpy()])
        for one, three in zip(*found):
            np.testing.assert_allclose(one, three, rtol=1e-12, atol=1e-14)


def test_identities():
    x = double(drawn(5, 6, 4) * 3 + 7)
    y = F.batch_norm(x, None, None, training=True, eps=0).numpy()
    np.testing.assert_allclose(y.mean((0, 2)), 0, atol=1e-14)
    np.testing.assert_allclose(y.std((0, 2)), 1, rtol=1e-14)
    np.testing.assert_allclose(F.group_norm(x, 1).numpy(), F.layer_norm(x, (6, 4)).numpy(), rtol=1e-12)
    each = F.layer_norm(x, 4).numpy()
    np.testing.assert_allclose(F.group_norm(x, 6).numpy(), each, rtol=1e-12)
    np.testing.assert_allclose(
        F.layer_norm(x * 100 + 5, 4, eps=0).numpy(), F.layer_norm(x, 4, eps=0).numpy(), rtol=1e-10
    )
    turned = F.batch_norm(x.transpose(1, 2).reshape(20, 6), None, None, training=True)
    np.testing.assert_allclose(
        turned.numpy(), F.batch_norm(x, None, None, training=True).transpose(1, 2).reshape(20, 6).numpy(), rtol=1e-12
    )


def test_a_large_mean_costs_no_digits():
    """E[x^2] - E[x]^2 in float32 would have none left: 10,000^2 against a variance of 1."""
    x = tf.tensor((drawn(1000, 1) + 10_000).astype(np.float32))
    y = F.batch_norm(x, None, None, training=True).numpy()
    assert abs(y.std() - 1) < 1e-3 and abs(y.mean()) < 1e-3


@pytest.mark.parametrize("device", ["cpu", "emulated"])
@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 5), (0, 3, 4, 4), (2, 3, 0, 4)])
def test_an_empty_batch_teaches_batch_norm_nothing(shape, device):
    layer = (tf.nn.BatchNorm2d if len(shape) == 4 else tf.nn.BatchNorm1d)(3, device=device)
    x = tf.zeros(shape, device=device, requires_grad=True)
    y = layer(x)
    y.sum().backward()
    assert y.shape == x.grad.shape == shape
    assert layer.running_mean.tolist() == [0, 0, 0] and layer.running_var.tolist() == [1, 1, 1]
    assert layer.num_batches_tracked.item() == 1  # as in PyTorch
    assert layer.weight.grad.tolist() == layer.bias.grad.tolist() == [0, 0, 0]
    if shape == (0, 3, 4, 4):
        statistics = tf.zeros(2, device=device), tf.ones(2, device=device)
        F.conv2d_batch_norm(x, tf.zeros(2, 3, 1, 1, device=device), *statistics)
        assert [s.tolist() for s in statistics] == [[0, 0], [1, 1]]


def test_running_statistics_belong_to_no_graph():
    x, mean, var = tf.randn(4, 3, requires_grad=True), tf.zeros(3), tf.ones(3)
    y = F.batch_norm(x, mean, var, training=True)
    assert not mean.requires_grad and mean.version[0] == 1
    y = y + F.batch_norm(x, mean, var, training=True)
    (y * tf.arange(12.0).reshape(4, 3)).sum().backward()  # written twice since: the batch's own statistics were used
    alone = x.detach().requires_grad_()
    (2 * F.batch_norm(alone, None, None, training=True) * tf.arange(12.0).reshape(4, 3)).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), alone.grad.numpy(), rtol=1e-5, atol=1e-6)
    before = mean.tolist()
    F.batch_norm(x, mean, var)
    assert mean.tolist() == before


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bit_images_with_float32_weights(dtype):
    x = tf.tensor(drawn(8, 4, 3, 3) * 2 + 5).to(dtype).requires_grad_()
    w, b = tf.ones(4, requires_grad=True), tf.zeros(4, requires_grad=True)
    step = {"float16": 2.0**-10, "bfloat16": 2.0**-7}[dtype]
    for f in (
        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True),
        lambda x, w, b: F.batch_norm(x, w.detach(), w.detach(), w, b),
        lambda x, w, b: F.group_norm(x, 2, w, b),
        lambda x, w, b: F.layer_norm(x.transpose(1, 3), 4, w, b),
    ):
        x.grad = w.grad = b.grad = None
        y = f(x, w, b)
        y.sum().backward()
        exact = f(x.detach().double(), w.detach().double(), b.detach().double()).numpy()
        assert y.dtype == x.grad.dtype == x.dtype and w.grad.dtype == b.grad.dtype == tf.float32
        error = np.abs(y.detach().double().numpy() - exact)
        assert (error <= 0.51 * step * np.abs(exact) + 1e-5).all(), "one rounding, and that of float32 before it"


def test_channels_last_stays_channels_last():
    a = np.ascontiguousarray(drawn(2, 5, 4, 3)).transpose(0, 3, 1, 2)
    w = double([1, 2, 3])
    for f in (
        lambda x: F.batch_norm(x, None, None, w, w, training=True, residual=x, relu=True),
        lambda x: F.batch_norm(x, w, w, w, w),
        lambda x: F.group_norm(x, 3, w, w),
    ):
        x = tf.from_numpy(a).requires_grad_()
        y = f(x)
        y.backward(tf.from_numpy(a.copy(order="K")))
        assert y.data.strides == x.grad.data.strides == a.strides


@pytest.mark.parametrize(
    "wrong, kind, text",
    [
        (
            lambda x: F.batch_norm(x[:1], None, None, training=True),
            ValueError,
            r"needs more than 1 value per channel; got input \(1, 3\).*drop_last",
        ),
        (lambda x: F.batch_norm(x, None, None), ValueError, "needs running_mean and running_var; got None"),
        (lambda x: F.batch_norm(x[0], None, None, training=True), ValueError, r"must be \(N, C, \.\.\.\); got \(3,\)"),
        (
            lambda x: F.batch_norm(x, None, None, tf.ones(4), training=True),
            ValueError,
            r"weight must be \(C,\) = \(3,\), one for each channel of \(4, 3\); got \(4,\)",
        ),
        (lambda x: F.batch_norm(x, tf.ones(2), tf.ones(3)), ValueError, "running_mean must be"),
        (
            lambda x: F.batch_norm(x, tf.ones(3), None, training=True),
            ValueError,
            "needs both running_mean and running_var",
        ),
        (
            lambda x: F.batch_norm(x, None, None, training=True, residual=x[:1]),
            ValueError,
            r"residual must have the input's shape \(4, 3\); got \(1, 3\)",
        ),
        (
            lambda x: F.batch_norm(x, None, None, training=True, residual=x.half()),
            TypeError,
            "residual must have the input's dtype",
        ),
        (
            lambda x: F.batch_norm(x, None, None, tf.ones(3).double(), training=True),
            TypeError,
            "weight must have the input's dtype float32",
        ),
        (lambda x: F.batch_norm(x.long(), None, None, training=True), RuntimeError, "floating dtype; got int64"),
        (lambda x: F.layer_norm(x, 4), ValueError, r"last axes must be normalized_shape \(4,\); got input \(4, 3\)"),
        (
            lambda x: F.layer_norm(x, 3, tf.ones(1)),
            ValueError,
            r"weight must have the normalized shape \(3,\); got \(1,\)",
        ),
        (lambda x: F.group_norm(x, 2), ValueError, r"needs C divisible by num_groups; got \(4, 3\) and 2 groups"),
        (lambda x: F.group_norm(x, 3, tf.ones(2)), ValueError, r"weight must be \(C,\) = \(3,\)"),
        (lambda x: F.normalize(x, p=0), ValueError, "p must be above 0; got 0"),
    ],
)
def test_errors(wrong, kind, text):
    with pytest.raises(kind, match=text):
        wrong(tf.randn(4, 3))
