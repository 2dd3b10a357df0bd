"""Convolutions: against six loops, as identities, in every float, and what is said of misuse."""

import numpy as np
import pytest

import tinygrad_fast as tf
from tinygrad_fast.backend import windows
from tinygrad_fast.nn import functional as F
from tinygrad_fast.testing.memory import is_channels_last, lay

EXACT = 1e-12  # float64, sums of fewer than a hundred products of order 1


def loops(x, w, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    """The definition, one number at a time."""
    (n, _, h, wide), (o, each, kh, kw) = x.shape, w.shape
    oh = (h + 2 * padding[0] - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    ow = (wide + 2 * padding[1] - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    y = np.zeros((n, o, oh, ow))
    for image, out, i, j in np.ndindex(*y.shape):
        first = out // (o // groups) * each
        for ch, a, b in np.ndindex(each, kh, kw):
            row = i * stride[0] + a * dilation[0] - padding[0]
            column = j * stride[1] + b * dilation[1] - padding[1]
            if 0 <= row < h and 0 <= column < wide:
                y[image, out, i, j] += x[image, first + ch, row, column] * w[out, ch, a, b]
    return y


GEOMETRY = [
    {},
    {"padding": (1, 1)},
    {"stride": (2, 1), "padding": (1, 2)},
    {"dilation": (2, 1), "padding": (2, 0)},
    {"stride": (3, 2), "dilation": (1, 2), "padding": (0, 2)},
]


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def turned(x):
    """The same values, channels last in memory."""
    return lay(x, "channels_last")


@pytest.mark.parametrize("groups, o, each", [(1, 4, 2), (2, 4, 1), (2, 2, 1), (2, 6, 3)])
@pytest.mark.parametrize("options", GEOMETRY)
def test_six_loops(options, groups, o, each):
    x, w = drawn(2, each * groups, 6, 7), drawn(o, each, 3, 2, seed=1)
    want = loops(x, w, groups=groups, **options)
    for order in (np.ascontiguousarray, turned):
        got = F.conv2d(tf.tensor(order(x)), tf.tensor(order(w)), groups=groups, **options)
        assert np.abs(got.numpy() - want).max() <= EXACT


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("options", GEOMETRY)
def test_blocks_of_one_image_give_the_same(monkeypatch, options, groups):
    x, w = drawn(3, 4, 6, 7), drawn(4, 4 // groups, 3, 2, seed=1)

    def everything():
        x_, w_ = tf.tensor(x, requires_grad=True), tf.tensor(w, requires_grad=True)
        y = F.conv2d(x_, w_, groups=groups, **options)
        return y, *tf.autograd.grad(y, (x_, w_), tf.ones_like(y))

    whole = everything()
    monkeypatch.setattr(windows, "BLOCK", 1)
    for a, b in zip(everything(), whole, strict=True):
        assert np.abs((a - b).detach().numpy()).max() <= EXACT


def test_golden():
    x = tf.tensor([[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]], requires_grad=True)
    w = tf.tensor([[[[1.0, -1.0], [0.5, 2.0]]]], requires_grad=True)
    y = F.conv2d(x, w, tf.tensor([10.0]))
    assert y.tolist() == [[[[21.0, 23.5]]]]  # 10 + 1 - 2 + 2 + 10, 10 + 2 - 3 + 2.5 + 12
    y.sum().backward()
    assert x.grad.tolist() == [[[[1.0, 0.0, -1.0], [0.5, 2.5, 2.0]]]]
    assert w.grad.tolist() == [[[[3.0, 5.0], [9.0, 11.0]]]]


def test_one_by_one_is_linear():
    x, w, b = drawn(2, 3, 4, 5), drawn(6, 3, 1, 1, seed=1), drawn(6, seed=2)
    got = F.conv2d(*map(tf.tensor, (x, w, b))).numpy()
    assert np.abs(got - (np.einsum("nchw,oc->nohw", x, w[:, :, 0, 0]) + b[:, None, None])).max() <= EXACT


def test_relu_is_the_same_in_one_pass():
    args = tf.tensor(drawn(2, 3, 5, 5)), tf.tensor(drawn(4, 3, 3, 3)), tf.tensor(drawn(4))
    fused, apart = F.conv2d(*args, padding=1, relu=True), F.conv2d(*args, padding=1).relu()
    assert (fused.numpy() == apart.numpy()).all()
    assert (fused.numpy() >= 0).all()


@pytest.mark.parametrize("kernel", [(1, 2), (3, 3), (4, 5)])
@pytest.mark.parametrize("dilation", [1, 2])
def test_padding_same_and_valid(kernel, dilation):
    x, w = drawn(1, 2, 6, 7), drawn(3, 2, *kernel)
    total = [dilation * (k - 1) for k in kernel]
    around = np.pad(x, ((0, 0), (0, 0), *((t // 2, t - t // 2) for t in total)))  # the odd zero at the end
    same = F.conv2d(tf.tensor(x), tf.tensor(w), padding="same", dilation=dilation)
    assert same.shape == (1, 3, 6, 7)
    assert np.abs(same.numpy() - loops(around, w, dilation=(dilation, dilation))).max() <= EXACT
    valid = F.conv2d(tf.tensor(x), tf.tensor(w), padding="valid")
    assert (valid.numpy() == F.conv2d(tf.tensor(x), tf.tensor(w)).numpy()).all()


def test_one_image_without_a_batch():
    x, w = tf.tensor(drawn(2, 5, 5)), tf.tensor(drawn(3, 2, 3, 3))
    assert (F.conv2d(x, w).numpy() == F.conv2d(x.unsqueeze(0), w)[0].numpy()).all()
    back = tf.tensor(drawn(2, 3, 3, 3))
    assert (F.conv_transpose2d(x, back).numpy() == F.conv_transpose2d(x.unsqueeze(0), back)[0].numpy()).all()
    signal, kernel = tf.tensor(drawn(2, 9)), tf.tensor(drawn(3, 2, 4))
    assert (F.conv1d(signal, kernel).numpy() == F.conv1d(signal.unsqueeze(0), kernel)[0].numpy()).all()


def test_no_images():
    x, w = tf.zeros(0, 3, 5, 5, requires_grad=True), tf.ones(4, 3, 3, 3, requires_grad=True)
    y = F.conv2d(x, w)
    assert y.shape == (0, 4, 3, 3)
    y.sum().backward()
    assert x.grad.shape == x.shape
    assert (w.grad.numpy() == 0).all()


def test_conv1d_is_a_correlation():
    x, w = drawn(1, 1, 12), drawn(1, 1, 5, seed=1)
    got = F.conv1d(tf.tensor(x), tf.tensor(w)).numpy()[0, 0]
    assert np.abs(got - np.correlate(x[0, 0], w[0, 0], "valid")).max() <= EXACT
    same = F.conv1d(tf.tensor(x), tf.tensor(w), padding="same").numpy()[0, 0]
    assert np.abs(same - np.correlate(x[0, 0], w[0, 0], "same")).max() <= EXACT
    strided = F.conv1d(tf.tensor(x), tf.tensor(w), stride=3, dilation=2, padding=(1,))
    assert strided.shape == (1, 1, 2)


@pytest.mark.parametrize("stride, padding, extra, dilation", [(1, 0, 0, 1), (2, 1, 1, 1), (3, 2, 1, 2), (1, 1, 1, 2)])
@pytest.mark.parametrize("groups", [1, 2])
def test_conv_transpose2d_is_the_adjoint(stride, padding, extra, dilation, groups):
    """<conv_transpose(x), v> = <x, conv(v)>; output pixels that conv2d does not reach get nothing."""
    x, w = tf.tensor(drawn(2, 4, 3, 4)), tf.tensor(drawn(4, 3, 3, 2, seed=1))
    y = F.conv_transpose2d(x, w, None, stride, padding, extra, groups, dilation)
    h, wide = ((n - 1) * stride - 2 * padding + dilation * (k - 1) + extra + 1 for n, k in ((3, 3), (4, 2)))
    assert y.shape == (2, 3 * groups, h, wide)
    v = tf.tensor(drawn(*y.shape, seed=2))
    forward = F.conv2d(v, w, None, stride, padding, dilation, groups)[:, :, :3, :4]
    assert abs((y * v).sum().item() - (forward * x).sum().item()) <= 1e-10


def test_conv_transpose2d_golden():
    x, w = tf.tensor([[[[1.0, 2.0]]]]), tf.tensor([[[[1.0, 10.0, 100.0]]]])
    y = F.conv_transpose2d(x, w, tf.tensor([0.5]), stride=2)
    assert y.tolist() == [[[[1.5, 10.5, 102.5, 20.5, 200.5]]]]
    wider = F.conv_transpose2d(x, w, stride=2, output_padding=(0, 1))
    assert wider.tolist() == [[[[1.0, 10.0, 102.0, 20.0, 200.0, 0.0]]]]


def test_unfold_and_fold():
    x = tf.arange(12.0).reshape(1, 1, 3, 4)
    columns = F.unfold(x, (2, 3), stride=(1, 1))
    assert columns[0, :3].tolist() == [[0, 1, 4, 5], [1, 2, 5, 6], [2, 3, 6, 7]]
    assert columns[0, 3:].tolist() == [[4, 5, 8, 9], [5, 6, 9, 10], [6, 7, 10, 11]]
    counts = F.fold(F.unfold(tf.ones(1, 1, 3, 4), (2, 3)), (3, 4), (2, 3))
    assert counts[0, 0].tolist() == [[1, 2, 2, 1], [2, 4, 4, 2], [1, 2, 2, 1]]
    one = F.unfold(x[0], 2, dilation=2, padding=1, stride=2)
    assert (one.numpy() == F.unfold(x, 2, 2, 1, 2)[0].numpy()).all()
    assert F.fold(one, (3, 4), 2, 2, 1, 2).shape == (1, 3, 4)


def test_a_convolution_is_unfold_and_matmul():
    x, w = tf.tensor(drawn(2, 3, 5, 6)), tf.tensor(drawn(4, 3, 3, 2, seed=1))
    rows = F.unfold(x, (3, 2), padding=1, stride=2)
    y = w.reshape(4, -1).matmul(rows).reshape(2, 4, 3, 4)
    assert np.abs((y - F.conv2d(x, w, stride=2, padding=1)).numpy()).max() <= EXACT


@pytest.mark.parametrize("order", [np.ascontiguousarray, turned])
def test_channels_last_whatever_came_in(order):
    x = tf.tensor(order(drawn(2, 3, 6, 5)), requires_grad=True)
    for groups, stride in [(1, 1), (1, 2), (3, 1), (3, 2)]:
        y = F.conv2d(x, tf.tensor(drawn(6, 3 // groups, 3, 3)), None, stride, 1, 1, groups)
        assert is_channels_last(y.data)
        arrived = []
        x.register_hook(lambda g, kept=arrived: kept.append(g))
        tf.autograd.grad(y, x, tf.tensor(turned(drawn(*y.shape))))
        assert is_channels_last(arrived[0].data)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sixteen_bits_are_summed_wide(dtype):
    """2048 ones: float16 and bfloat16 sums of ones stop at 2048 and 256."""
    x, w = tf.ones(1, 2048, 2, 2, dtype=dtype), tf.ones(1, 2048, 2, 2, dtype=dtype)
    y = F.conv2d(x, w, tf.tensor([0.0], dtype=dtype))
    assert y.dtype == x.dtype
    assert y.item() == 8192
    step = 2.0**-10 if dtype == "float16" else 2.0**-7  # from 1 to the next number
    w = tf.tensor([[[[1.0]], [[0.375 * step]]]], dtype=dtype)
    once = F.conv2d(tf.ones(1, 2, 1, 1, dtype=dtype), w, tf.tensor([0.375 * step], dtype=dtype))
    assert once.item() == 1 + step  # rounded in between, neither part would change the 1


def raised(kind, call):
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


def test_errors():
    x, w = tf.zeros(2, 3, 8, 8), tf.zeros(6, 3, 3, 3)
    text = raised(ValueError, lambda: F.conv2d(x, tf.zeros(6, 4, 3, 3)))
    assert text.startswith("conv2d: weight (O, C/groups, KH, KW) needs C = 4 channels in x")
    assert "got x (2, 3, 8, 8), weight (6, 4, 3, 3), groups 1" in text
    text = raised(ValueError, lambda: F.conv2d(tf.zeros(8, 8), w))
    assert text == (
        "conv2d: input (N, C, H, W) or (C, H, W), weight (O, C/groups, KH, KW); got input (8, 8) and "
        "weight (6, 3, 3, 3)"
    )
    text = raised(ValueError, lambda: F.conv1d(tf.zeros(2, 3, 8), w))
    assert text.startswith("conv1d: input (N, C, L) or (C, L), weight (O, C/groups, K); got input (2, 3, 8)")
    assert "the kernel must fit into the padded image" in raised(ValueError, lambda: F.conv2d(tf.zeros(1, 3, 2, 2), w))
    assert "stride, dilation and groups >= 1" in raised(ValueError, lambda: F.conv2d(x, w, stride=0))
    assert "groups must be at least 1; got 0" in raised(ValueError, lambda: F.conv2d(x, w, groups=0))
    assert "must be an int, or 2 of them" in raised(ValueError, lambda: F.conv2d(x, w, stride=(1, 2, 3)))
    assert 'padding="same" needs stride 1; got (2, 2)' in raised(ValueError, lambda: F.conv2d(x, w, None, 2, "same"))
    assert 'a number, "valid" or "same"; got \'full\'' in raised(ValueError, lambda: F.conv2d(x, w, padding="full"))
    text = raised(TypeError, lambda: F.conv2d(x.double(), w))
    assert text == (
        "conv2d: input, weight must have one dtype; got input float64, weight float32. Convert one with .to(dtype)"
    )
    assert "bias must be (6,)" in raised(ValueError, lambda: F.conv2d(x, w, tf.zeros(3)))
    assert "must be of a floating dtype" in raised(RuntimeError, lambda: F.conv2d(x.long(), w.long()))


def test_errors_of_the_others():
    x, w = tf.zeros(2, 4, 5, 5), tf.zeros(4, 2, 3, 3)
    text = raised(ValueError, lambda: F.conv_transpose2d(x, tf.zeros(3, 2, 3, 3)))
    assert "weight (C, O/groups, KH, KW)" in text
    assert "got input (2, 4, 5, 5), weight (3, 2, 3, 3), groups 1" in text
    assert "less than stride or dilation" in raised(ValueError, lambda: F.conv_transpose2d(x, w, output_padding=1))
    assert "at least one pixel" in raised(ValueError, lambda: F.conv_transpose2d(x, w, padding=4))
    assert "stride and dilation >= 1" in raised(ValueError, lambda: F.conv_transpose2d(x, w, stride=0))
    assert "bias must be (2,)" in raised(ValueError, lambda: F.conv_transpose2d(x, w, tf.zeros(4)))
    assert "input must be (N, C, H, W) or (C, H, W)" in raised(ValueError, lambda: F.unfold(tf.zeros(5), 2))
    assert "the patches must fit" in raised(ValueError, lambda: F.unfold(x, 6))
    assert "kernel_size, stride and dilation >= 1" in raised(ValueError, lambda: F.unfold(x, 0))
    text = raised(ValueError, lambda: F.fold(tf.zeros(1, 8, 5), (3, 4), 2))
    assert text == (
        "fold: input (N, C KH KW, L) with KH KW = 4 and L = 2 x 3 = 6 patches of the image (3, 4); got (1, 8, 5)"
    )
