"""Interpolation and sampling: PyTorch's numbers, identities, memory order, and what is said of misuse."""

import numpy as np
import pytest

import tinygrad_fast as tf
from tinygrad_fast import tables
from tinygrad_fast.nn import functional as F
from tinygrad_fast.testing.memory import is_channels_last, lay

X = (np.arange(1, 13).reshape(1, 1, 3, 4) ** 2) / 10  # 0.1 0.4 0.9 1.6 / 2.5 3.6 4.9 6.4 / 8.1 10 12.1 14.4
NEAR = 2e-6  # the numbers below were printed in float32


def near(got, want):
    return np.abs(got.numpy().reshape(-1) - np.asarray(want).reshape(-1)).max() <= NEAR


def drawn(*shape):
    return np.random.default_rng(0).standard_normal(shape)


# The numbers of PyTorch 2.13
BILINEAR = {
    (("size", (5, 3)), ("align_corners", False)): [
        *(0.150000, 0.650000, 1.483333, 1.163333, 2.090000, 3.350000, 2.683333, 4.250000, 6.150000),
        *(6.123333, 8.330000, 10.870000, 8.416667, 11.050000, 14.016667),
    ],
    (("size", (5, 3)), ("align_corners", True)): [
        *(0.1, 0.65, 1.6, 1.3, 2.45, 4.0, 2.5, 4.25, 6.4, 5.3, 7.65, 10.4, 8.1, 11.05, 14.4),
    ],
    (("scale_factor", 1.6),): [
        *(0.100000, 0.231250, 0.431250, 0.743750, 1.118750, 1.556250, 1.150000, 1.434375, 1.853125, 2.384375, 2.978125),
        *(3.634375, 2.850000, 3.353125, 4.084375, 4.928125, 5.834375, 6.803125, 6.350000, 7.071875, 8.115625, 9.271875),
        *(10.490625, 11.771875),
    ],
    (("scale_factor", 1.6), ("recompute_scale_factor", True)): [
        *(0.100000, 0.250000, 0.483333, 0.816667, 1.250000, 1.600000, 1.600000, 2.000000, 2.566667, 3.233333, 4.000000),
        *(4.600000, 4.600000, 5.300000, 6.266667, 7.333333, 8.500000, 9.400000, 8.100000, 9.050000, 10.350000),
        *(11.750000, 13.250000, 14.400000),
    ],
}


@pytest.mark.parametrize("options", BILINEAR)
def test_bilinear_golden(options):
    assert near(F.interpolate(tf.tensor(X), mode="bilinear", **dict(options)), BILINEAR[options])


def test_nearest_golden():
    x = tf.tensor(X)
    first, second = [0.1, 0.1, 0.4, 0.4, 0.9, 1.6], [2.5, 2.5, 3.6, 3.6, 4.9, 6.4]
    assert F.interpolate(x, scale_factor=1.6)[0, 0].tolist() == [first, first, second, second]
    first, second = [0.1, 0.1, 0.4, 0.4, 0.9, 0.9, 1.6], [2.5, 2.5, 3.6, 3.6, 4.9, 4.9, 6.4]
    assert F.interpolate(x, (2, 7))[0, 0].tolist() == [first, second]


def test_nearest_takes_the_pixels_that_pytorch_takes():
    """41 * 2 / 82 is 1, but in float32 a little less; at the same size and at twice the size nothing is rounded."""
    assert [i for i, _ in tables.nearest(2, 82).rows].index(1) == 42
    assert [i for i, _ in tables.nearest(3, 6, 2.2432).rows] == [0, 0, 1, 1, 2, 2]
    assert [i for i, _ in tables.nearest(17, 17, 1.0033).rows] == list(range(17))


def test_nearest_of_any_dtype():
    for dtype in ("uint8", "int64", "bool", "bfloat16"):
        x = tf.tensor([[[[0, 1], [1, 0]]]], dtype=dtype)
        y = F.interpolate(x, scale_factor=2)
        assert y.dtype == x.dtype
        assert y[0, 0].float().tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]]


def test_an_infinite_pixel_stays_where_it_is():
    x = np.zeros((1, 1, 100, 100))
    x[0, 0, 5, 5] = np.inf
    y = F.interpolate(tf.tensor(x), scale_factor=2).numpy()
    assert np.isinf(y).sum() == 4
    assert not np.isnan(y).any()


def test_identities():
    x = tf.tensor(drawn(2, 3, 5, 7))
    assert (F.interpolate(x, (5, 7)).numpy() == x.numpy()).all()
    assert (F.interpolate(x, (5, 7), mode="bilinear").numpy() == x.numpy()).all()
    back = F.avg_pool2d(F.interpolate(x, scale_factor=3), 3)
    assert np.abs((back - x).numpy()).max() <= 1e-12
    line = tf.arange(6.0, dtype=tf.float64).expand(1, 1, 4, 6)  # a straight line stays straight between the centres
    longer = F.interpolate(line, (4, 11), mode="bilinear", align_corners=True)
    assert np.abs(longer.numpy() - np.linspace(0, 5, 11)).max() <= 1e-12


def test_gradient_of_nearest_counts():
    x = tf.zeros(1, 1, 2, 2, requires_grad=True)
    F.interpolate(x, (3, 4)).sum().backward()
    assert x.grad[0, 0].tolist() == [[4, 4], [2, 2]]


THETA = [[[0.8, 0.3, -0.2], [-0.4, 1.1, 0.5]]]
GRID = {
    False: [
        *(-0.883333, 0.216667, -0.35, -0.05, 0.183333, -0.316667),
        *(-0.583333, 1.316667, -0.05, 1.05, 0.483333, 0.783333),
    ],
    True: [-1.3, -0.2, -0.5, -0.6, 0.3, -1.0, -0.7, 2.0, 0.1, 1.6, 0.9, 1.2],
}
SAMPLED = {
    (False, "bilinear", "zeros"): [3.168000, 3.152000, 2.877333, 0.218333, 4.607000, 10.868000],
    (False, "bilinear", "border"): [4.320000, 3.152000, 2.877333, 8.733333, 10.840000, 13.173333],
    (False, "bilinear", "reflection"): [4.320000, 3.152000, 2.877333, 8.733333, 10.840000, 13.173333],
    (False, "nearest", "zeros"): [2.5, 3.6, 4.9, 0, 0, 12.1],
    (False, "nearest", "border"): [2.5, 3.6, 4.9, 8.1, 10.0, 12.1],
    (False, "nearest", "reflection"): [2.5, 3.6, 4.9, 8.1, 10.0, 12.1],
    (True, "bilinear", "zeros"): [1.111000, 1.525000, 0.875000, 0.000000, 4.546000, 11.244000],
    (True, "bilinear", "border"): [2.020000, 1.525000, 0.875000, 8.955000, 11.365000, 14.055000],
    (True, "bilinear", "reflection"): [2.443000, 1.525000, 0.875000, 2.995000, 7.213000, 12.479000],
    (True, "nearest", "zeros"): [2.5, 0.4, 0.9, 0, 0, 14.4],
    (True, "nearest", "border"): [2.5, 0.4, 0.9, 8.1, 12.1, 14.4],
    (True, "nearest", "reflection"): [2.5, 0.4, 0.9, 2.5, 4.9, 14.4],
}


@pytest.mark.parametrize("align", [False, True])
def test_affine_grid_golden(align):
    assert near(F.affine_grid(tf.tensor(THETA), (1, 1, 2, 3), align), GRID[align])


@pytest.mark.parametrize("align, mode, padding", SAMPLED)
def test_grid_sample_golden(align, mode, padding):
    grid = F.affine_grid(tf.tensor(THETA, dtype=tf.float64), (1, 1, 2, 3), align)
    y = F.grid_sample(tf.tensor(X), grid, mode, padding, align)
    assert np.abs(y.numpy().reshape(-1) - SAMPLED[align, mode, padding]).max() <= 1e-5


@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_the_identity_grid_reads_the_image(align, mode):
    x = tf.tensor(drawn(2, 3, 4, 5))
    identity = tf.tensor(np.array([[[1.0, 0, 0], [0, 1, 0]]] * 2))
    y = F.grid_sample(x, F.affine_grid(identity, x.shape, align), mode, "zeros", align)
    assert np.abs((y - x).numpy()).max() <= 1e-12


def test_a_place_that_is_no_number_reads_zero():
    grid = tf.tensor([[[[float("nan"), 0.0], [float("inf"), 0.0], [0.0, 0.0]]]])
    for padding in ("zeros", "border"):
        y = F.grid_sample(tf.ones(1, 1, 3, 3), grid, "bilinear", padding, True).numpy().reshape(-1)
        assert y[0] == 0
        assert y[2] == 1


def test_pixel_shuffle():
    x = tf.arange(8).reshape(1, 8, 1, 1)
    y = F.pixel_shuffle(x, 2)
    assert y[0].tolist() == [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]
    assert F.pixel_unshuffle(y, 2).tolist() == x.tolist()
    assert F.pixel_shuffle(x[0], 2).tolist() == y[0].tolist()
    assert F.pixel_unshuffle(y[0], 2).tolist() == x[0].tolist()


RESAMPLED = [
    lambda x: F.interpolate(x, scale_factor=2),
    lambda x: F.interpolate(x, (3, 4), mode="bilinear"),
    lambda x: F.grid_sample(x, tf.zeros(2, 3, 4, 2, dtype=x.dtype), align_corners=False),
    lambda x: F.pixel_shuffle(x, 2),
    lambda x: F.pixel_unshuffle(x, 2),
]


@pytest.mark.parametrize("resample", RESAMPLED)
def test_channels_last_stays(resample):
    x = lay(drawn(2, 8, 6, 4), "channels_last")
    assert is_channels_last(resample(tf.tensor(x)).data)
    assert np.abs((resample(tf.tensor(x)) - resample(tf.tensor(drawn(2, 8, 6, 4)))).numpy()).max() <= 1e-12


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sixteen_bits(dtype):
    x = tf.tensor(drawn(1, 2, 5, 5), dtype=dtype)
    wide = x.double()
    eps = 2.0**-8 if dtype == "bfloat16" else 2.0**-11
    for run in (
        lambda x: F.interpolate(x, (9, 7), mode="bilinear"),
        lambda x: F.grid_sample(x, tf.full((1, 2, 2, 2), 0.375, dtype=x.dtype), align_corners=False),
    ):
        y, want = run(x), run(wide).numpy()
        assert y.dtype == x.dtype
        assert (np.abs(y.double().numpy() - want) <= 1.01 * eps * np.abs(want) + 1e-6).all()  # rounded once


def raised(kind, call):
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


def test_errors_of_interpolate():
    x = tf.zeros(1, 2, 4, 4)
    assert raised(ValueError, lambda: F.interpolate(x)) == (
        "interpolate: give either size or scale_factor; got size None and scale_factor None"
    )
    assert "give either size or scale_factor" in raised(ValueError, lambda: F.interpolate(x, 2, 2.0))
    text = raised(ValueError, lambda: F.interpolate(x, 2, mode="bicubic"))
    assert text == 'interpolate: mode must be "nearest" or "bilinear"; got \'bicubic\''
    assert "Leave it out" in raised(ValueError, lambda: F.interpolate(x, 2, align_corners=False))
    assert "needs a scale_factor" in raised(ValueError, lambda: F.interpolate(x, 2, recompute_scale_factor=True))
    assert "input must be (N, C, H, W); got (4, 4)" in raised(ValueError, lambda: F.interpolate(x[0, 0], 2))
    assert "at least one pixel" in raised(ValueError, lambda: F.interpolate(x, scale_factor=0.1))
    assert "must be a number > 0 or two of them" in raised(ValueError, lambda: F.interpolate(x, scale_factor=-1.0))
    assert "floating dtype" in raised(RuntimeError, lambda: F.interpolate(x.long(), 2, mode="bilinear"))


def test_errors_of_the_others():
    x, grid = tf.zeros(1, 2, 4, 4), tf.zeros(1, 3, 3, 2)
    assert "grid (N, OH, OW, 2) of one N; got input (1, 2, 4, 4) and grid (1, 3, 3)" in raised(
        ValueError, lambda: F.grid_sample(x, grid[..., 0])
    )
    assert "mode must be one of bilinear, nearest" in raised(ValueError, lambda: F.grid_sample(x, grid, "bicubic"))
    assert "padding_mode must be one of" in raised(ValueError, lambda: F.grid_sample(x, grid, padding_mode="wrap"))
    assert "must have one dtype" in raised(TypeError, lambda: F.grid_sample(x, grid.double()))
    assert "theta (N, 2, 3)" in raised(ValueError, lambda: F.affine_grid(tf.zeros(1, 3, 3), (1, 1, 2, 2)))
    assert "C must be divisible by upscale_factor^2" in raised(ValueError, lambda: F.pixel_shuffle(x, 2))
    assert "H and W must be divisible" in raised(ValueError, lambda: F.pixel_unshuffle(x, 3))
