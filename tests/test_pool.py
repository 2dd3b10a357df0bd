"""Pools: small numbers, identities, ties, NaN, indices, memory order, and what is said of misuse."""

import numpy as np
import pytest

import tinygrad_fast as tf
from tinygrad_fast.backend import why_not
from tinygrad_fast.nn import functional as F
from tinygrad_fast.testing.memory import is_channels_last, lay

X = (np.arange(1, 13).reshape(1, 1, 3, 4) ** 2) / 10  # 0.1 0.4 0.9 1.6 / 2.5 3.6 4.9 6.4 / 8.1 10 12.1 14.4
NEAR = 1e-12  # float64, sums of a few numbers below 15


def near(got, want):
    return np.abs(got.numpy() - np.asarray(want)).max() <= NEAR


def drawn(*shape):
    return np.random.default_rng(0).standard_normal(shape)


def test_max_pool2d_golden():
    y, index = F.max_pool2d(tf.tensor(X), 2, ceil_mode=True, return_indices=True)
    assert y[0, 0].tolist() == [[3.6, 6.4], [10.0, 14.4]]
    assert index[0, 0].tolist() == [[5, 7], [9, 11]]
    assert index.dtype == tf.int64
    assert F.max_pool2d(tf.tensor(X), 2)[0, 0].tolist() == [[3.6, 6.4]]  # the last row hangs over: left out


@pytest.mark.parametrize("kernel, stride, padding, dilation", [(2, 2, 0, 1), (3, 2, 1, 1), (3, 1, 1, 1), (2, 3, 0, 3)])
@pytest.mark.parametrize("ceil", [False, True])
def test_max_pool2d_by_loops(kernel, stride, padding, dilation, ceil):
    x = drawn(2, 3, 7, 6)
    y, index = F.max_pool2d(tf.tensor(x), kernel, stride, padding, dilation, ceil, True)
    read = np.take_along_axis(x.reshape(2, 3, -1), index.numpy().reshape(2, 3, -1), 2)
    assert (read.reshape(y.shape) == y.numpy()).all()

    def places(i, size):
        first = i * stride - padding
        return [at for at in range(first, first + dilation * kernel, dilation) if 0 <= at < size]

    for n, c, i, j in np.ndindex(*y.shape):
        rows, columns = places(i, 7), places(j, 6)
        assert y.numpy()[n, c, i, j] == x[n, c][np.ix_(rows, columns)].max()


def test_the_first_of_equals_gets_the_gradient():
    x = tf.tensor([[[[1.0, 1.0], [1.0, 1.0]]]], requires_grad=True)
    y, index = F.max_pool2d(x, 2, return_indices=True)
    y.backward()
    assert index.item() == 0
    assert x.grad.tolist() == [[[[1.0, 0.0], [0.0, 0.0]]]]


def test_windows_that_overlap_add_up():
    x = tf.tensor([[[[0.0, 5.0, 1.0, 2.0]]]], requires_grad=True)
    F.max_pool2d(x, (1, 2), 1).backward(tf.tensor([[[[1.0, 10.0, 100.0]]]]))
    assert x.grad.tolist() == [[[[0.0, 11.0, 0.0, 100.0]]]]


def test_nan_wins():
    x = tf.tensor([[[[1.0, float("nan")], [3.0, 2.0]]]])
    y, index = F.max_pool2d(x, 2, return_indices=True)
    assert np.isnan(y.item())
    assert index.item() == 1
    assert np.isnan(F.adaptive_max_pool2d(x, 1).item())


def test_a_window_of_more_than_256_places():
    x = drawn(1, 1, 20, 20)
    y, index = F.max_pool2d(tf.tensor(x), 20, return_indices=True)
    assert y.item() == x.max()
    assert index.item() == x.argmax()


def test_avg_pool2d_golden():
    x = tf.tensor(X)
    assert near(F.avg_pool2d(x, 2, 2, 1, True), [[[[0.025, 0.325, 0.4], [2.65, 7.65, 5.2]]]])
    assert near(F.avg_pool2d(x, 2, 2, 1, True, False), [[[[0.1, 0.65, 1.6], [5.3, 7.65, 10.4]]]])
    assert near(F.avg_pool2d(x, (2, 3), divisor_override=4), [[[[3.1]]]])


def test_averages_are_convolutions_with_equal_weights():
    x = drawn(2, 3, 7, 5)
    w = np.full((3, 1, 3, 2), 1 / 6)
    want = F.conv2d(tf.tensor(x), tf.tensor(w), stride=2, padding=1, groups=3)
    assert near(F.avg_pool2d(tf.tensor(x), (3, 2), 2, 1), want.numpy())


def test_more_windows_than_fit_a_band():
    x = drawn(1, 2, 90, 75)
    want = x[:, :, :90, :74].reshape(1, 2, 45, 2, 37, 2).mean(axis=(3, 5))
    assert near(F.avg_pool2d(tf.tensor(x), 2), want)


def test_adaptive_golden():
    x = tf.tensor(X)
    assert near(F.adaptive_avg_pool2d(x, (2, 3)), [[[[1.65, 2.45, 3.45], [6.05, 7.65, 9.45]]]])
    y, index = F.adaptive_max_pool2d(x, (2, 3), return_indices=True)
    assert y[0, 0].tolist() == [[3.6, 4.9, 6.4], [10.0, 12.1, 14.4]]
    assert index[0, 0].tolist() == [[5, 6, 7], [9, 10, 11]]


def test_adaptive_identities():
    x = tf.tensor(drawn(2, 3, 6, 4))
    assert near(F.adaptive_avg_pool2d(x, 1), x.mean((2, 3), keepdim=True).numpy())
    assert near(F.adaptive_max_pool2d(x, 1), x.amax((2, 3), keepdim=True).numpy())
    assert near(F.adaptive_avg_pool2d(x, (3, 2)), F.avg_pool2d(x, 2).numpy())
    assert near(F.adaptive_max_pool2d(x, (3, 2)), F.max_pool2d(x, 2).numpy())
    assert near(F.adaptive_avg_pool2d(x, (None, 4)), x.numpy())  # as many bins as pixels
    assert F.adaptive_avg_pool2d(x, (8, 9)).shape == (2, 3, 8, 9)


POOLS = [
    lambda x: F.max_pool2d(x, 2),
    lambda x: F.max_pool2d(x, 3, 2, 1, return_indices=True)[0],
    lambda x: F.avg_pool2d(x, 3, 2, 1),
    lambda x: F.adaptive_avg_pool2d(x, 1),
    lambda x: F.adaptive_avg_pool2d(x, (2, 3)),
    lambda x: F.adaptive_max_pool2d(x, (2, 3)),
]


@pytest.mark.parametrize("pool", POOLS)
def test_one_image_without_a_batch(pool):
    x = tf.tensor(drawn(3, 6, 5))
    assert (pool(x).numpy() == pool(x.unsqueeze(0))[0].numpy()).all()


@pytest.mark.parametrize("device", ["cpu", "emulated"])
@pytest.mark.parametrize("shape", [(0, 3, 6, 5), (2, 0, 6, 5)])
@pytest.mark.parametrize("pool", POOLS)
def test_no_images_or_no_channels(pool, shape, device):
    if reason := why_not(device):
        pytest.skip(reason)
    x = tf.zeros(shape, device=device, requires_grad=True)
    y = pool(x)
    assert y.shape == (*shape[:2], *pool(tf.zeros(1, 1, 6, 5)).shape[2:])
    y.sum().backward()
    assert x.grad.shape == shape


@pytest.mark.parametrize("pool", POOLS)
def test_channels_last_stays(pool):
    assert is_channels_last(pool(tf.tensor(lay(drawn(2, 3, 6, 5), "channels_last"))).data)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sixteen_bits(dtype):
    x = tf.ones(1, 1, 64, 64, dtype=dtype, requires_grad=True)
    assert F.avg_pool2d(x, 64, divisor_override=1).item() == 4096  # summed wide: bfloat16 would stop at 256
    assert F.adaptive_avg_pool2d(x, 1).item() == 1
    y = F.max_pool2d(x, 3, 2, 1)
    assert y.dtype == x.dtype
    y.sum().backward()
    assert x.grad.dtype == x.dtype
    assert F.adaptive_max_pool2d(x, 3).dtype == x.dtype


def raised(kind, call):
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


def test_errors():
    x = tf.zeros(1, 2, 4, 4)
    text = raised(ValueError, lambda: F.max_pool2d(x, 2, padding=2))
    assert text == (
        "max_pool2d: padding must be from 0 to half of the kernel, or a window may lie outside the image; got padding "
        "(2, 2), kernel_size (2, 2). Use F.pad for more"
    )
    text = raised(ValueError, lambda: F.avg_pool2d(x, 5))
    assert "avg_pool2d: the window must fit into the padded image; got image (4, 4), kernel_size (5, 5)" in text
    assert "input must be (N, C, H, W) or (C, H, W); got (4, 4)" in raised(ValueError, lambda: F.max_pool2d(x[0, 0], 2))
    assert "kernel_size, stride and dilation >= 1" in raised(ValueError, lambda: F.max_pool2d(x, 0))
    assert "max_pool2d: kernel_size: must be an int, or 2" in raised(ValueError, lambda: F.max_pool2d(x, (2, 2, 2)))
    assert "divisor_override must not be 0" in raised(ValueError, lambda: F.avg_pool2d(x, 2, divisor_override=0))
    assert "output_size must be an int >= 1" in raised(ValueError, lambda: F.adaptive_avg_pool2d(x, 0))
    assert "output_size must be an int >= 1" in raised(ValueError, lambda: F.adaptive_max_pool2d(x, (1, 2, 3)))
    assert "at least one pixel" in raised(ValueError, lambda: F.adaptive_avg_pool2d(tf.zeros(1, 2, 0, 3), 1))
    text = raised(RuntimeError, lambda: F.avg_pool2d(x.long(), 2))
    assert "avg_pool2d: must be of a floating dtype; got int64" in text
