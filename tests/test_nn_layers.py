"""Layers: each calls the function of its name with its arguments; batch norm keeps its statistics; misuse is told."""

import numpy as np
import pytest

import tinygrad_fast as tf
from tinygrad_fast import nn
from tinygrad_fast.nn import functional as F


def image(*shape, seed=0):
    return tf.randn(*shape, generator=tf.Generator(seed))


def same(a, b):
    np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())


CASES = {  # layer, input shape, the same as a function of layer and x
    "Linear": (nn.Linear(4, 3), (2, 5, 4), lambda m, x: x @ m.weight.T + m.bias),
    "Conv1d": (
        nn.Conv1d(4, 6, 3, 2, 1, 2, 2),
        (2, 4, 9),
        lambda m, x: F.conv1d(x, m.weight, m.bias, 2, 1, 2, 2),
    ),
    "Conv2d": (
        nn.Conv2d(4, 6, (3, 2), 2, (1, 0), 2, 2, bias=False),
        (2, 4, 9, 8),
        lambda m, x: F.conv2d(x, m.weight, None, 2, (1, 0), 2, 2),
    ),
    "Conv2d same": (
        nn.Conv2d(2, 3, 3, padding="same"),
        (2, 2, 5, 4),
        lambda m, x: F.conv2d(x, m.weight, m.bias, padding=1),
    ),
    "ConvTranspose2d": (
        nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, 2, dilation=2),
        (2, 4, 5, 4),
        lambda m, x: F.conv_transpose2d(x, m.weight, m.bias, 2, 1, 1, 2, 2),
    ),
    "LayerNorm": (nn.LayerNorm((3, 4)), (2, 3, 4), lambda m, x: F.layer_norm(x, (3, 4), m.weight, m.bias)),
    "LayerNorm plain": (
        nn.LayerNorm(4, 0.1, elementwise_affine=False),
        (2, 4),
        lambda m, x: F.layer_norm(x, 4, eps=0.1),
    ),
    "GroupNorm": (nn.GroupNorm(2, 4, 0.1), (2, 4, 3), lambda m, x: F.group_norm(x, 2, m.weight, m.bias, 0.1)),
    "ReLU": (nn.ReLU(inplace=True), (5,), lambda m, x: x.maximum(0.0)),
    "LeakyReLU": (nn.LeakyReLU(0.2), (5,), lambda m, x: F.leaky_relu(x, 0.2)),
    "GELU": (nn.GELU("tanh"), (5,), lambda m, x: F.gelu(x, "tanh")),
    "SiLU": (nn.SiLU(), (5,), lambda m, x: F.silu(x)),
    "ELU": (nn.ELU(0.5), (5,), lambda m, x: F.elu(x, 0.5)),
    "Softplus": (nn.Softplus(2, 1), (5,), lambda m, x: F.softplus(x, 2, 1)),
    "Sigmoid": (nn.Sigmoid(), (5,), lambda m, x: x.sigmoid()),
    "Tanh": (nn.Tanh(), (5,), lambda m, x: x.tanh()),
    "Softmax": (nn.Softmax(1), (2, 3, 4), lambda m, x: x.softmax(1)),
    "LogSoftmax": (nn.LogSoftmax(-1), (2, 3), lambda m, x: x.log_softmax(-1)),
    "MaxPool2d": (nn.MaxPool2d(3, 2, 1), (2, 3, 7, 6), lambda m, x: F.max_pool2d(x, 3, 2, 1)),
    "MaxPool2d ceil": (
        nn.MaxPool2d(2, ceil_mode=True),
        (1, 2, 5, 5),
        lambda m, x: F.max_pool2d(x, 2, ceil_mode=True),
    ),
    "AvgPool2d": (
        nn.AvgPool2d(3, 2, 1, count_include_pad=False),
        (2, 3, 7, 6),
        lambda m, x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    ),
    "AdaptiveAvgPool2d": (nn.AdaptiveAvgPool2d(1), (2, 3, 5, 4), lambda m, x: x.mean((2, 3), keepdim=True)),
    "AdaptiveMaxPool2d": (nn.AdaptiveMaxPool2d((1, 1)), (2, 3, 5, 4), lambda m, x: x.amax((2, 3), keepdim=True)),
    "PixelShuffle": (nn.PixelShuffle(2), (1, 8, 2, 3), lambda m, x: F.pixel_shuffle(x, 2)),
    "Upsample": (nn.Upsample(scale_factor=2), (1, 2, 2, 3), lambda m, x: F.interpolate(x, scale_factor=2)),
    "Upsample bilinear": (
        nn.Upsample((5, 4), mode="bilinear", align_corners=True),
        (1, 2, 2, 3),
        lambda m, x: F.interpolate(x, (5, 4), mode="bilinear", align_corners=True),
    ),
    "Flatten": (nn.Flatten(), (2, 3, 4), lambda m, x: x.reshape(2, 12)),
    "Flatten some": (nn.Flatten(0, 1), (2, 3, 4), lambda m, x: x.reshape(6, 4)),
    "Identity": (nn.Identity(1, b=2), (2, 3), lambda m, x: x),
    "Dropout": (nn.Dropout(0.3).eval(), (50,), lambda m, x: x),
}


@pytest.mark.parametrize("name", CASES)
def test_layer_is_its_function(name):
    layer, shape, function = CASES[name]
    x = image(*shape)
    np.testing.assert_allclose(  # a product may be summed in another order
        layer(x).detach().numpy(), function(layer, x).detach().numpy(), rtol=1e-5, atol=1e-6
    )


def test_fused_relu():
    x = image(2, 3, 5, 5)
    conv, linear = nn.Conv2d(3, 4, 3), nn.Linear(5, 2)
    same(conv(x, relu=True), conv(x).relu())
    same(linear(x, relu=True), linear(x).relu())


def test_dropout():
    x = tf.ones(10000)
    layer = nn.Dropout(0.25)
    tf.manual_seed(1)
    y = layer(x).numpy()
    assert set(np.round(y, 6)) == {0.0, np.float32(round(4 / 3, 6))}
    assert abs((y == 0).mean() - 0.25) < 0.02
    assert not np.array_equal(layer(x).numpy(), y)
    tf.manual_seed(1)
    assert np.array_equal(layer(x).numpy(), y)
    with pytest.raises(ValueError, match="p is a probability, 0 <= p <= 1; got 1.5"):
        nn.Dropout(1.5)


def test_embedding():
    layer = nn.Embedding(5, 3, padding_idx=1)
    index = tf.tensor([[0, 1], [4, 4]])
    y = layer(index)
    assert y.shape == (2, 2, 3)
    same(y[1, 0], layer.weight[4])
    y.sum().backward()
    assert layer.weight.grad.sum(1).tolist() == [3, 0, 0, 0, 6]
    table = nn.Embedding.from_pretrained(tf.eye(3))
    assert not table.weight.requires_grad and table(tf.tensor([2])).tolist() == [[0, 0, 1]]
    assert repr(layer) == "Embedding(5, 3, padding_idx=1)" and repr(table) == "Embedding(3, 3)"
    with pytest.raises(IndexError):
        layer(tf.tensor([5]))
    with pytest.raises(ValueError, match="padding_idx must be in the table of 5; got 5"):
        nn.Embedding(5, 3, padding_idx=5)


# Batch norm


@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5), (4, 3, 2, 5)])
def test_batch_norm_normalises_and_remembers(shape):
    layer = (nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d)(3, eps=1e-3, momentum=0.25)
    axes, wide = tuple(i for i in range(len(shape)) if i != 1), [1, 3] + [1] * (len(shape) - 2)
    with tf.no_grad():
        layer.weight.copy_(tf.tensor([1.0, 2.0, -1.0]))
        layer.bias.copy_(tf.tensor([0.0, 1.0, 2.0]))
    w, b = (p.detach().numpy().reshape(wide) for p in (layer.weight, layer.bias))
    mean, var = np.zeros(3), np.ones(3)
    for seed in range(3):
        x = image(*shape, seed=seed) * 3 + 1
        a = x.numpy().astype(np.float64)
        m, v = a.mean(axes), a.var(axes)
        expected = (a - m.reshape(wide)) / np.sqrt(v.reshape(wide) + 1e-3) * w + b
        np.testing.assert_allclose(layer(x).detach().numpy(), expected, rtol=1e-4, atol=1e-5)  # float32
        mean = 0.75 * mean + 0.25 * m
        var = 0.75 * var + 0.25 * a.var(axes, ddof=1)
        np.testing.assert_allclose(layer.running_mean.numpy(), mean, rtol=1e-5)
        np.testing.assert_allclose(layer.running_var.numpy(), var, rtol=1e-5)
        assert layer.num_batches_tracked.item() == seed + 1
    y = layer.eval()(x)
    expected = (a - mean.reshape(wide)) / np.sqrt(var.reshape(wide) + 1e-3) * w + b
    np.testing.assert_allclose(y.detach().numpy(), expected, rtol=1e-4, atol=1e-5)
    assert layer.num_batches_tracked.item() == 3
    layer.reset_running_stats()
    assert layer.running_mean.tolist() == [0] * 3 and layer.running_var.tolist() == [1] * 3
    assert layer.num_batches_tracked.item() == 0 and layer.weight.tolist() == [1, 2, -1]


def test_batch_norm_mean_over_all_batches():
    layer = nn.BatchNorm1d(2, momentum=None)
    batches = [image(5, 2, seed=i) for i in range(4)]
    for x in batches:
        layer(x)
    np.testing.assert_allclose(layer.running_mean.numpy(), np.mean([b.numpy().mean(0) for b in batches], 0), atol=1e-6)
    expected = np.mean([b.numpy().var(0, ddof=1) for b in batches], 0)
    np.testing.assert_allclose(layer.running_var.numpy(), expected, rtol=1e-5)


def test_batch_norm_without_statistics_or_weights():
    layer = nn.BatchNorm1d(2, affine=False, track_running_stats=False).eval()
    assert layer.state_dict() == {} and not list(layer.parameters())
    y = layer(image(50, 2) * 4 + 7)
    assert abs(y.numpy().mean()) < 1e-5 and abs(y.numpy().std() - 1) < 1e-3


def test_batch_norm_residual_and_relu():
    layer, plain = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
    x, r = image(4, 3, 2, 2), image(4, 3, 2, 2, seed=1)
    for mode in (True, False):
        layer.train(mode), plain.train(mode)
        expected = (plain(x) + r).relu().detach().numpy()
        np.testing.assert_allclose(layer(x, residual=r, relu=True).detach().numpy(), expected, atol=1e-6)
        assert layer.running_var.tolist() == plain.running_var.tolist()


def test_batch_norm_statistics_are_outside_the_graph():
    layer = nn.BatchNorm1d(2)
    losses = [layer(image(5, 2, seed=i)).square().sum() for i in range(2)]
    for loss in losses:
        loss.backward()  # the second forward wrote the running statistics, which no gradient needs
    assert layer.weight.grad is not None and not layer.running_mean.requires_grad


def test_batch_norm_misuse():
    with pytest.raises(RuntimeError, match=r"BatchNorm2d: x must be \(N, C, H, W\); got shape \(2, 3\)"):
        nn.BatchNorm2d(3)(tf.ones(2, 3))
    with pytest.raises(RuntimeError, match=r"BatchNorm1d: x must be \(N, C\) or \(N, C, L\); got shape \(2, 3, 1, 1\)"):
        nn.BatchNorm1d(3)(tf.ones(2, 3, 1, 1))
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        nn.BatchNorm1d(3)(tf.ones(1, 3))
    with pytest.raises((RuntimeError, ValueError), match="3"):
        nn.BatchNorm1d(3)(tf.ones(5, 4))
    with pytest.raises(ValueError, match="num_groups must divide num_channels; got 2 and 3"):
        nn.GroupNorm(2, 3)
    with pytest.raises(ValueError, match="Conv2d: groups must divide both channel counts; got 4 in, 3 out, 2"):
        nn.Conv2d(4, 3, 1, groups=2)
    with pytest.raises(ValueError, match=r"kernel_size: must be an int, or 2 of them; got \(3, 3, 3\)"):
        nn.Conv2d(4, 3, (3, 3, 3))


# Losses


def test_losses_are_their_functions():
    x, t = image(4, 3), tf.tensor([0, 2, 1, 1])
    w = tf.tensor([1.0, 2.0, 0.5])
    loss = nn.CrossEntropyLoss(w, ignore_index=1, label_smoothing=0.1)
    same(loss(x, t), F.cross_entropy(x, t, weight=w, ignore_index=1, label_smoothing=0.1))
    assert list(loss.state_dict()) == ["weight"] and loss.double().weight.dtype == tf.float64
    logp = x.log_softmax(1)
    same(nn.NLLLoss(reduction="sum")(logp, t), F.nll_loss(logp, t, reduction="sum"))
    p, y = x.sigmoid(), (image(4, 3, seed=1) > 0).float()
    same(nn.BCELoss()(p, y), F.binary_cross_entropy(p, y))
    same(
        nn.BCEWithLogitsLoss(pos_weight=w, reduction="none")(x, y),
        F.binary_cross_entropy_with_logits(x, y, pos_weight=w, reduction="none"),
    )
    same(nn.MSELoss(reduction="none")(x, y), (x - y) ** 2)
    same(nn.L1Loss()(x, y), (x - y).abs().mean())
    same(nn.SmoothL1Loss(beta=0.5)(x, y), F.smooth_l1_loss(x, y, beta=0.5))
    same(nn.HuberLoss(delta=0.5)(x, y), F.huber_loss(x, y, delta=0.5))
    with pytest.raises(ValueError, match="MSELoss: reduction must be 'none', 'mean' or 'sum'; got 'avg'"):
        nn.MSELoss(reduction="avg")


# Everything else


def test_repr_as_in_pytorch():
    expected = {
        nn.ConvTranspose2d(4, 2, 3, 2, 1, 1, bias=False): (
            "ConvTranspose2d(4, 2, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), output_padding=(1, 1), "
            "bias=False)"
        ),
        nn.Conv2d(4, 4, 3, dilation=2, groups=4, padding="same"): (
            "Conv2d(4, 4, kernel_size=(3, 3), stride=(1, 1), padding=same, dilation=(2, 2), groups=4)"
        ),
        nn.BatchNorm2d(3): "BatchNorm2d(3, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)",
        nn.LayerNorm(3): "LayerNorm((3,), eps=1e-05, elementwise_affine=True)",
        nn.GroupNorm(1, 3): "GroupNorm(1, 3, eps=1e-05, affine=True)",
        nn.Dropout(0.1): "Dropout(p=0.1, inplace=False)",
        nn.ReLU(inplace=True): "ReLU(inplace=True)",
        nn.LeakyReLU(): "LeakyReLU(negative_slope=0.01)",
        nn.MaxPool2d(2): "MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)",
        nn.AdaptiveAvgPool2d((1, 2)): "AdaptiveAvgPool2d(output_size=(1, 2))",
        nn.Softmax(dim=1): "Softmax(dim=1)",
        nn.Flatten(): "Flatten(start_dim=1, end_dim=-1)",
        nn.MSELoss(): "MSELoss()",
    }
    for layer, text in expected.items():
        assert repr(layer) == text


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_dtype(dtype):
    layers = [nn.Conv2d(3, 4, 3, dtype=dtype), nn.BatchNorm2d(4, dtype=dtype), nn.GroupNorm(2, 4, dtype=dtype)]
    x = image(2, 3, 4, 4).to(dtype=dtype)
    y = nn.Sequential(*layers, nn.Flatten(), nn.Linear(16, 2, dtype=dtype))(x)
    y.float().sum().backward()
    assert y.dtype == layers[0].weight.grad.dtype == tf.tensor(0.0, dtype=dtype).dtype


def test_clip_grad_norm():
    ps = [nn.Parameter(tf.zeros(2)), nn.Parameter(tf.zeros(1)), nn.Parameter(tf.zeros(1))]
    ps[0].grad, ps[1].grad = tf.tensor([3.0, 0.0]), tf.tensor([4.0])
    assert nn.utils.clip_grad_norm_(ps, 10).item() == 5
    assert ps[0].grad.tolist() == [3, 0]
    assert nn.utils.clip_grad_norm_(ps, 1, norm_type=float("inf")).item() == 4
    assert ps[0].grad.tolist() == pytest.approx([0.75, 0]) and ps[1].grad.tolist() == pytest.approx([1.0])
    nn.utils.clip_grad_value_(ps, 0.5)
    assert ps[0].grad.tolist() == [0.5, 0] and ps[1].grad.tolist() == [0.5]
    assert nn.utils.clip_grad_norm_(ps[2], 1).item() == 0
    ps[0].grad = tf.tensor([float("nan"), 0.0])
    with pytest.raises(RuntimeError, match="the gradients' norm must be finite; got nan"):
        nn.utils.clip_grad_norm_(ps, 1, error_if_nonfinite=True)


def test_total_norm_of_any_tensors():
    xs = [tf.tensor([[3.0, 0.0]]), tf.tensor(-4.0), tf.zeros(0), tf.tensor([6e4], dtype="float16")]
    assert nn.utils.get_total_norm(xs[:3]).item() == 5
    assert nn.utils.get_total_norm(xs[:3], 1).item() == 7
    assert nn.utils.get_total_norm(xs, float("inf")).item() == 6e4
    big = nn.utils.get_total_norm(xs[3:] * 4)
    assert big.item() == 120000 and big.dtype == tf.float32  # too large for float16
    assert nn.utils.get_total_norm(xs[1].double()).dtype == tf.float64
    assert nn.utils.get_total_norm([]).item() == 0
    with pytest.raises(ValueError, match="get_total_norm: norm_type must be > 0; got 0"):
        nn.utils.get_total_norm(xs, 0)
    with pytest.raises(TypeError, match="get_total_norm: tensors must be of a floating dtype; got int64"):
        nn.utils.get_total_norm(tf.tensor([1, 2]))


def test_clipping_a_gradient_that_came_as_an_expansion():
    """The gradient of a mean is one number, seen n times; a leaf's must be memory of its own."""
    p = nn.Parameter(tf.zeros(4))
    p.mean().backward()
    nn.utils.clip_grad_norm_(p, 0.1)
    assert p.grad.tolist() == pytest.approx([0.05] * 4, rel=1e-5)


def test_parameters_as_a_vector():
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    v = nn.utils.parameters_to_vector(net.parameters())
    assert v.shape == (13,)
    nn.utils.vector_to_parameters(tf.arange(13).float(), net.parameters())
    assert net[1].weight.tolist() == [[9, 10, 11]] and net[1].bias.tolist() == [12]
    with pytest.raises(RuntimeError, match=r"the vector must have shape \(13,\); got \(12,\)"):
        nn.utils.vector_to_parameters(tf.zeros(12), net.parameters())
