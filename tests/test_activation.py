"""Activations, dropout, tables, padding: numbers from PyTorch 2.13 (float64), identities, texts of errors."""

import numpy as np
import pytest

import tinygrad_fast as tf
import tinygrad_fast.nn.functional as F

X = [-3.0, -1.0, -0.1, 0.0, 0.5, 2.0]
GOLDEN = {  # name: (options, values at X, slopes at X)
    "gelu": (
        {},
        [-0.0040496941, -0.1586552539, -0.0460172163, 0.0, 0.3457312306, 1.9544997361],
        [-0.0119456472, -0.0833154706, 0.420476908, 0.5, 0.8674951247, 1.0852318011],
    ),
    "gelu / tanh": (
        {"approximate": "tanh"},
        [-0.0036373921, -0.1588080094, -0.046017249, 0.0, 0.3457140098, 1.9545976941],
        [-0.0115841666, -0.0829640838, 0.4204782107, 0.5, 0.8673699035, 1.0860992566],
    ),
    "silu": (
        {},
        [-0.1422776195, -0.2689414214, -0.0475020813, 0.0, 0.3112296656, 1.761594156],
        [-0.088104106, 0.0723294881, 0.4500832085, 0.5, 0.7399611873, 1.0907842488],
    ),
    "elu": (
        {},
        [-0.9502129316, -0.6321205588, -0.095162582, 0.0, 0.5, 2.0],
        [0.0497870684, 0.3678794412, 0.904837418, 1.0, 1.0, 1.0],
    ),
    "softplus": (
        {},
        [0.0485873516, 0.3132616875, 0.6443966601, 0.6931471806, 0.9740769842, 2.126928011],
        [0.0474258732, 0.2689414214, 0.4750208125, 0.5, 0.6224593312, 0.880797078],
    ),
    "logsigmoid": (
        {},
        [-3.0485873516, -1.3132616875, -0.7443966601, -0.6931471806, -0.4740769842, -0.126928011],
        [0.9525741268, 0.7310585786, 0.5249791875, 0.5, 0.3775406688, 0.119202922],
    ),
    "leaky_relu": ({}, [-0.03, -0.01, -0.001, 0.0, 0.5, 2.0], [0.01, 0.01, 0.01, 0.01, 1.0, 1.0]),
}


def double(a, **kw):
    return tf.tensor(np.asarray(a, np.float64), **kw)


def slope_at(f, x):
    t = double(x, requires_grad=True)
    y = f(t)
    y.sum().backward()
    return y.detach().numpy(), t.grad.numpy()


@pytest.mark.parametrize("name", GOLDEN)
def test_values_and_slopes(name):
    options, value, slope = GOLDEN[name]
    y, d = slope_at(lambda x: getattr(F, name.partition(" ")[0])(x, **options), X)
    np.testing.assert_allclose(y, value, atol=1e-10)  # ten digits were written down
    np.testing.assert_allclose(d, slope, atol=1e-10)


@pytest.mark.parametrize("big", [1e4, 1e30])
def test_far_out_nothing_overflows(big):
    """Warnings are errors here, so this also says that nothing warned."""
    x = [-big, big]
    for f, value, slope in [
        (F.sigmoid, [0, 1], [0, 0]),
        (F.tanh, [-1, 1], [0, 0]),
        (F.softplus, [0, big], [0, 1]),
        (F.logsigmoid, [-big, 0], [1, 0]),
        (F.silu, [0, big], [0, 1]),
        (F.elu, [-1, big], [0, 1]),
        (F.gelu, [0, big], [0, 1]),
        (lambda t: F.softmax(t, 0), [0, 1], [0, 0]),
        (lambda t: F.log_softmax(t, 0), [-2 * big, 0], [1, -1]),
    ]:
        y, d = slope_at(f, x)
        np.testing.assert_allclose(y, value, rtol=1e-15)
        np.testing.assert_allclose(d, slope, rtol=1e-15)
        assert np.isfinite(f(tf.tensor(x)).numpy()).all(), "float32 as well"


def test_slopes_at_the_bounds():
    assert slope_at(F.relu6, [0.0, 3.0, 6.0])[1].tolist() == [0, 1, 0]
    assert slope_at(F.hardtanh, [-1.0, 0.0, 1.0])[1].tolist() == [0, 1, 0]
    assert slope_at(lambda x: x.clamp(-1, 1), [-1.0, 0.0, 1.0])[1].tolist() == [1, 1, 1]


def test_softplus_is_linear_above_the_threshold():
    y, d = slope_at(lambda x: F.softplus(x, beta=2, threshold=1), [0.4, 0.6])
    np.testing.assert_allclose(y, [np.log1p(np.exp(0.8)) / 2, 0.6], rtol=1e-14)
    np.testing.assert_allclose(d, [1 / (1 + np.exp(-0.8)), 1], rtol=1e-14)


def test_identities():
    x = double(np.linspace(-5, 5, 41))
    for left, right in [
        (F.silu(x), x * F.sigmoid(x)),
        (F.logsigmoid(x), F.sigmoid(x).log()),
        (F.softplus(x) - F.softplus(-x), x),
        (F.gelu(x) + F.gelu(-x), x * (x / 2**0.5).erf()),
        (F.leaky_relu(x, 0.2), x.relu() - 0.2 * (-x).relu()),
        (F.elu(x).relu(), x.relu()),
        (F.relu6(x), x.clamp(0, 6)),
        (F.softmax(x, 0).log(), F.log_softmax(x, 0)),
        (F.softmax(x + 7, 0), F.softmax(x, 0)),
    ]:
        np.testing.assert_allclose(left.numpy(), right.numpy(), atol=1e-13)


def test_log_softmax_keeps_small_results_at_any_height():
    """x - logsumexp(x) would have lost all digits: one float32 step at 10,000 is 0.001."""
    y = tf.tensor([10000.0, 9990.0]).log_softmax(0).numpy()
    small = np.log1p(np.exp(-10))
    np.testing.assert_allclose(y, [-small, -10 - small], rtol=1e-7, atol=2**-24)  # 1 + e^-10 is rounded at 1


def test_integers_become_floats():
    assert F.gelu(tf.tensor([1, 2])).dtype == tf.float32
    assert F.softmax(tf.tensor([1, 2]), 0).dtype == tf.float32
    assert F.softmax(tf.tensor([1.0, 2.0]), 0, dtype=tf.float64).dtype == tf.float64


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize(
    "f",
    [F.gelu, F.silu, F.softplus, F.logsigmoid, F.elu]
    + [lambda x: F.softmax(x, 0), lambda x: F.log_softmax(x, 0), lambda x: x.logsumexp(0), lambda x: x.mean()],
    ids=["gelu", "silu", "softplus", "logsigmoid", "elu", "softmax", "log_softmax", "logsumexp", "mean"],
)
def test_16_bit_floats_are_rounded_once(f, dtype):
    """Computed in float32: the result is within one step of the exact result rounded."""
    tf.manual_seed(0)
    x = tf.randn(200).to(dtype) * 2
    got, exact = f(x), f(x.double())
    assert got.dtype == x.dtype
    error = np.abs(got.double().numpy() - exact.numpy())
    step = {"float16": 2.0**-10, "bfloat16": 2.0**-7}[dtype]
    tail = 2.0**-24 * (1 + np.abs(x.double().numpy()))  # 1 + erf(x): float32's rounding at 1, times x
    assert (error <= 0.51 * step * np.abs(exact.numpy()) + tail).all()


def test_mean_of_many_float16_does_not_overflow():
    assert tf.ones(100_000, dtype=tf.float16).mean().item() == 1


@pytest.mark.parametrize(
    "wrong, text",
    [
        (lambda x: F.softmax(x), "softmax: needs dim, the axis that sums to 1"),
        (lambda x: F.log_softmax(x), "log_softmax: needs dim"),
        (lambda x: F.gelu(x, approximate="erf"), "approximate must be 'none' or 'tanh'; got 'erf'"),
        (lambda x: F.hardtanh(x, 1, -1), "needs min_val < max_val"),
        (lambda x: F.softplus(x, beta=0), "beta must not be 0"),
        (lambda x: F.dropout(x, 1.5), "0 <= p <= 1; got 1.5"),
    ],
)
def test_errors(wrong, text):
    with pytest.raises((TypeError, ValueError), match=text):
        wrong(tf.tensor([1.0, 2.0]))


@pytest.mark.parametrize("f", [F.relu, F.relu6, F.hardtanh, F.leaky_relu, F.elu, F.silu, F.dropout])
def test_inplace_is_accepted_and_nothing_is_written(f):
    x = tf.tensor([-1.0, 2.0])
    tf.manual_seed(0)
    y = f(x, inplace=True)
    tf.manual_seed(0)
    assert y.tolist() == f(x).tolist() and x.tolist() == [-1.0, 2.0]


# linear


def test_linear():
    x, w, b = tf.randn(2, 3, 4), tf.randn(5, 4), tf.randn(5)
    want = x.numpy() @ w.numpy().T + b.numpy()
    np.testing.assert_allclose(F.linear(x, w, b).numpy(), want, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(F.linear(x, w, b, relu=True).numpy(), want.clip(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(F.linear(x[0, 0], w).numpy(), x.numpy()[0, 0] @ w.numpy().T, rtol=1e-5, atol=1e-6)
    one = F.linear(x, w[0], b[0])
    assert one.shape == x.shape[:-1] and one.allclose(F.linear(x, w, b)[..., 0], atol=1e-6)
    assert F.linear(x.half(), w, b).dtype == tf.float32
    with pytest.raises(ValueError, match=r"need equal K; got x \(2, 3, 4\) and weight \(4, 5\)"):
        F.linear(x, tf.randn(4, 5))


# dropout


def test_dropout_keeps_the_mean():
    tf.manual_seed(0)
    x = tf.ones(100_000)
    for p in (0.1, 0.5, 0.9):
        y = F.dropout(x, p).numpy()
        assert set(np.unique(y)) == {0, np.float32(1 / (1 - p))}
        deviation = np.sqrt(p / (1 - p) / x.numel())  # of the mean of y
        assert abs(y.mean() - 1) < 5 * deviation


def test_dropout_at_the_ends():
    x = tf.tensor([1.0, -2.0, float("inf")], requires_grad=True)
    assert F.dropout(x, 0.0) is x and F.dropout(x, 0.5, training=False) is x
    y = F.dropout(x, 1.0)
    y.sum().backward()
    assert y.tolist() == [0, 0, 0] and x.grad.tolist() == [0, 0, 0]


def test_the_mask_belongs_to_the_place_not_to_the_memory():
    a = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32) + 10
    views = [a, np.asfortranarray(a), np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)]
    found = []
    for v in views:
        tf.manual_seed(3)
        y = F.dropout(tf.from_numpy(v), 0.4)
        found.append(y.numpy())
        assert y.numpy().strides == v.strides
    assert (found[0] == found[1]).all() and (found[0] == found[2]).all()
    tf.manual_seed(3)
    first, second = F.dropout(tf.from_numpy(a), 0.4), F.dropout(tf.from_numpy(a), 0.4)
    assert (first.numpy() == found[0]).all() and not (second.numpy() == found[0]).all()


def test_one_mask_in_every_dtype():
    masks = []
    for dtype in (tf.float64, tf.float32, tf.float16, "bfloat16"):
        tf.manual_seed(1)
        masks.append((F.dropout(tf.ones(500, dtype=dtype), 0.3) != 0).numpy())
    assert all((m == masks[0]).all() for m in masks)


def test_the_gradient_passes_where_the_value_did():
    x = tf.ones(50, requires_grad=True)
    y = F.dropout(x, 0.5)
    y.sum().backward()
    assert (x.grad.numpy() == y.detach().numpy()).all()


# tables


def test_embedding_adds_up_repeats_and_spares_the_padding():
    w = double(np.arange(8).reshape(4, 2), requires_grad=True)
    y = F.embedding(tf.tensor([[1, 1], [3, 0]]), w, padding_idx=-1)
    assert y.tolist() == [[[2, 3], [2, 3]], [[6, 7], [0, 1]]]
    y.sum().backward()
    assert w.grad.tolist() == [[1, 1], [2, 2], [0, 0], [0, 0]]


def test_embedding_of_16_bits_adds_up_wide():
    w = tf.zeros(1, 1, dtype=tf.float16, requires_grad=True)
    F.embedding(tf.zeros(5000, dtype=tf.int64), w).sum().backward()
    assert w.grad.item() == 5000  # one by one in float16 it would stop at 2048


@pytest.mark.parametrize(
    "wrong, text",
    [
        (
            lambda w: F.embedding(tf.tensor([0, 4]), w),
            r"every index must be in 0\.\.3, there are 4 rows of weight; got 4",
        ),
        (lambda w: F.embedding(tf.tensor([-1]), w), r"got -1"),
        (lambda w: F.embedding(tf.tensor([1.0]), w), "must be of an integer dtype; got float32"),
        (lambda w: F.embedding(tf.tensor([1]), w[0]), r"weight must be \(rows, D\); got \(2,\)"),
        (lambda w: F.embedding(tf.tensor([1]), w, padding_idx=4), r"padding_idx must be in -4\.\.3; got 4"),
        (lambda w: F.embedding(tf.tensor([1]), w, max_norm=1.0), "not offered"),
        (lambda w: F.one_hot(tf.tensor([3]), 3), r"one_hot: every class index must be in 0\.\.2.*got 3"),
        (lambda w: F.one_hot(tf.tensor([3]), 0), "num_classes must be at least 1"),
        (lambda w: F.one_hot(tf.tensor(np.zeros(0, np.int64))), "pass it"),
    ],
)
def test_errors_of_tables(wrong, text):
    with pytest.raises((IndexError, TypeError, ValueError), match=text):
        wrong(tf.zeros(4, 2))


def test_one_hot():
    y = F.one_hot(tf.tensor([[0, 2]]))
    assert y.tolist() == [[[1, 0, 0], [0, 0, 1]]] and y.dtype == tf.int64
    assert F.one_hot(tf.tensor(1), 4).tolist() == [0, 1, 0, 0]


# pad


@pytest.mark.parametrize(
    "mode, name", [("constant", "constant"), ("reflect", "reflect"), ("replicate", "edge"), ("circular", "wrap")]
)
@pytest.mark.parametrize("widths", [(1, 2), (0, 2), (2, 1, 1, 0), (0, 0, 1, 1)])
def test_pad_as_numpy(mode, name, widths):
    a = np.arange(24.0).reshape(2, 3, 4)
    pairs = [widths[i : i + 2] for i in range(0, len(widths), 2)]
    want = np.pad(a, [(0, 0)] * (3 - len(pairs)) + pairs[::-1], mode=name)
    assert (F.pad(tf.tensor(a), widths, mode).numpy() == want).all()


def test_pad_with_a_value_and_with_negative_widths():
    x = tf.arange(3)
    assert F.pad(x, (1, 1), value=7).tolist() == [7, 0, 1, 2, 7]
    assert F.pad(x, (-1, 1)).tolist() == [1, 2, 0]
    assert F.pad(x, (-1, -2)).tolist() == []


@pytest.mark.parametrize(
    "widths, options, text",
    [
        ((1,), {}, r"needs \(before, after\) for each of the last axes"),
        ((1, 1, 1, 1, 1, 1), {}, "at most 2 pairs"),
        ((3, 0), {"mode": "reflect"}, r"reflect takes 0\.\.2 on an axis of 3; got \(3, 0\) for dim=1"),
        ((4, 0), {"mode": "circular"}, r"circular takes 0\.\.3"),
        ((-1, 0), {"mode": "replicate"}, r"got \(-1, 0\)"),
        ((1, 1), {"mode": "mirror"}, "mode must be 'constant', 'reflect', 'replicate' or 'circular'; got 'mirror'"),
        ((1, 1), {"mode": "reflect", "value": 1.0}, "value belongs to mode='constant'"),
        ((-2, -2), {}, r"cannot cut \(-2, -2\) off an axis of 3"),
    ],
)
def test_errors_of_pad(widths, options, text):
    with pytest.raises(ValueError, match=text):
        F.pad(tf.zeros(2, 3), widths, **options)
