"""Initial values: distributions, gains, one seed for all, PyTorch's defaults; and why He's gain is the right one."""

from math import sqrt

import numpy as np
import pytest

import tinygrad_fast as tf
from tinygrad_fast import nn
from tinygrad_fast.nn import init

N = 400  # a mean over N^2 draws is within 5 / N standard deviations but once in 10^6 times; the seed is fixed besides


def drawn(f, *args, shape=(N, N), **kwargs):
    tf.manual_seed(0)
    t = tf.zeros(shape)
    assert f(t, *args, **kwargs) is t
    return t.numpy()


def test_uniform_and_normal():
    u = drawn(init.uniform_, -2, 4)
    assert u.min() >= -2 and u.max() < 4
    assert abs(u.mean() - 1) < 5 / N * sqrt(3) and abs(u.std() - sqrt(3)) < 0.02
    z = drawn(init.normal_, 3, 0.5)
    assert abs(z.mean() - 3) < 5 / N * 0.5 and abs(z.std() - 0.5) < 0.005
    assert drawn(init.constant_, 2.5).min() == drawn(init.constant_, 2.5).max() == 2.5
    assert not drawn(init.zeros_).any() and (drawn(init.ones_) == 1).all()


def test_trunc_normal():
    z = drawn(init.trunc_normal_, 1, 2, 0, 4)
    assert z.min() >= 0 and z.max() <= 4
    # N(1, 4) on [0, 4], alpha = -1/2, beta = 3/2: the mean is 1 + 2 (phi(alpha) - phi(beta)) / (Phi(beta) - Phi(alpha))
    assert abs(z.mean() - 1.7112) < 5 / N * 2
    inside = drawn(init.normal_, 1, 2)
    inside = inside[(inside >= 0) & (inside <= 4)]
    assert abs(z.std() - inside.std()) < 0.02
    with pytest.raises(ValueError, match=r"\[a, b\] must hold 1 % of N\(mean, std\^2\) or more; got 0 % for \[9, 10\]"):
        init.trunc_normal_(tf.zeros(3), a=9, b=10)


@pytest.mark.parametrize(
    ("f", "kwargs", "std"),
    [
        (init.xavier_uniform_, {}, sqrt(2 / (6 * 9 + 8 * 9))),
        (init.xavier_normal_, {"gain": 2}, 2 * sqrt(2 / (6 * 9 + 8 * 9))),
        (init.kaiming_uniform_, {}, sqrt(2 / (6 * 9))),
        (init.kaiming_normal_, {"mode": "fan_out", "nonlinearity": "relu"}, sqrt(2 / (8 * 9))),
        (init.kaiming_normal_, {"a": 2}, sqrt(2 / 5 / (6 * 9))),
        (init.kaiming_uniform_, {"a": sqrt(5)}, 1 / sqrt(3 * 6 * 9)),
        (init.kaiming_normal_, {"nonlinearity": "tanh"}, 5 / 3 / sqrt(6 * 9)),
    ],
)
def test_scaled_by_fan(f, kwargs, std):
    w = np.concatenate([f(tf.zeros(8, 6, 3, 3), **kwargs).numpy().ravel() for _ in range(50)])
    assert (
        abs(w.std() / std - 1) < 0.03
    )  # 21,600 draws: four standard deviations of a std are 4 / sqrt(2 * 21600) = 2 %
    if f in (init.xavier_uniform_, init.kaiming_uniform_):
        assert abs(w).max() <= std * sqrt(3) * 1.000001


def test_gains():
    gains = {
        "linear": 1,
        "conv2d": 1,
        "conv_transpose2d": 1,
        "sigmoid": 1,
        "tanh": 5 / 3,
        "relu": sqrt(2),
        "selu": 0.75,
    }
    for name, gain in gains.items():
        assert init.calculate_gain(name) == pytest.approx(gain)
    assert init.calculate_gain("leaky_relu") == pytest.approx(sqrt(2 / (1 + 0.01**2)))
    assert init.calculate_gain("leaky_relu", 0) == pytest.approx(sqrt(2))
    with pytest.raises(ValueError, match=r"nonlinearity must be one of linear, .*, leaky_relu; got 'gelu'"):
        init.calculate_gain("gelu")
    with pytest.raises(ValueError, match="mode must be fan_in or fan_out; got 'fan'"):
        init.kaiming_normal_(tf.zeros(2, 2), mode="fan")
    with pytest.raises(ValueError, match=r"need a weight of 2 axes or more .*; got shape \(3,\)"):
        init.xavier_normal_(tf.zeros(3))


def test_writes_are_outside_the_graph_and_counted():
    p = nn.Parameter(tf.zeros(3))
    loss = (p * p).sum()
    init.normal_(p)
    assert p.is_leaf and p.requires_grad
    with pytest.raises(RuntimeError, match="written in place after the forward pass"):
        loss.backward()


def test_one_seed_gives_the_same_weights():
    def weights(dtype=None):
        tf.manual_seed(7)
        net = nn.Sequential(
            nn.Conv2d(3, 8, 3, dtype=dtype), nn.Linear(4, 2, dtype=dtype), nn.Embedding(5, 3, dtype=dtype)
        )
        return np.concatenate([p.detach().double().numpy().ravel() for p in net.parameters()])

    assert np.array_equal(weights(), weights())
    assert np.allclose(weights(), weights("float64"), rtol=1e-6)
    first = weights()
    assert len(set(first.tolist())) > 0.99 * len(first)  # no two layers from one stream
    mine = tf.Generator(3)
    init.normal_(a := tf.zeros(4), generator=mine)
    init.normal_(b := tf.zeros(4), generator=tf.Generator(3))
    assert a.tolist() == b.tolist()


def test_the_seed_decides_not_the_memory_order():
    tf.manual_seed(0)
    w = nn.Conv2d(3, 4, 3).weight.detach().numpy()
    tf.manual_seed(0)
    plain = init.uniform_(tf.zeros(4, 3, 3, 3), -1 / sqrt(27), 1 / sqrt(27)).numpy()
    assert np.array_equal(w, plain) and w.strides != plain.strides


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [
        (nn.Linear(64, 500), 64),
        (nn.Conv2d(16, 64, 3), 144),
        (nn.Conv2d(16, 64, (3, 5), groups=4), 60),
        (nn.Conv1d(8, 100, 5), 40),
        (nn.ConvTranspose2d(64, 16, 3), 144),  # PyTorch counts the second axis, here the outputs
    ],
    ids=lambda v: type(v).__name__,
)
def test_pytorch_defaults(layer, fan_in):
    k = 1 / sqrt(fan_in)
    for p in layer.parameters():
        values = p.detach().numpy()
        assert abs(values).max() <= k
        assert abs(values).max() > 0.8 * k  # 16 draws or more
    w = layer.weight.detach().numpy()
    assert abs(w.std() / (k / sqrt(3)) - 1) < 0.05 and abs(w.mean()) < 0.05 * k


def test_other_defaults():
    table = nn.Embedding(300, 20, padding_idx=-1)
    assert table.padding_idx == 299 and not table.weight[299].detach().numpy().any()
    assert abs(table.weight.detach().numpy().std() - 1) < 0.05
    for norm in (nn.BatchNorm2d(3), nn.GroupNorm(1, 3), nn.LayerNorm(3)):
        assert norm.weight.tolist() == [1, 1, 1] and norm.bias.tolist() == [0, 0, 0]
    bn = nn.BatchNorm1d(2)
    assert bn.running_mean.tolist() == [0, 0] and bn.running_var.tolist() == [1, 1]
    assert bn.num_batches_tracked.item() == 0 and bn.num_batches_tracked.dtype == tf.int64


def through(layers, f):
    x = tf.randn(64, 128)
    with tf.no_grad():
        for layer in layers:
            x = f(layer(x))
    return x.std().item()


def test_kaiming_keeps_the_signal_through_fifty_layers():
    tf.manual_seed(0)
    layers = [nn.Linear(128, 128, bias=False) for _ in range(50)]
    default = through(layers, tf.relu)
    for layer in layers:
        init.kaiming_normal_(layer.weight, nonlinearity="relu")
    assert 0.3 < through(layers, tf.relu) < 3
    for layer in layers:
        init.xavier_normal_(layer.weight)
    assert through(layers, tf.relu) < 1e-6 and default < 1e-6  # without the gain of sqrt(2), 2^(-50/2) is left
