"""A convolution that finds the moments of what it writes, against its definition, with every access to memory watched.

h is held to the convolution in float64 as in test_conv2d.py; mean, var and y to the moments of the h that was stored.
"""

import numpy as np
import pytest
from hypothesis import given, strategies as st

import tinygrad_fast as tf
import tinygrad_fast.nn.functional as F
from tinygrad_fast import nn
from tinygrad_fast.backend import windows
from tinygrad_fast.backend.cuda import Emulated
from tinygrad_fast.backend.launchers import tiles
from tinygrad_fast.backend.source import KernelError
from tinygrad_fast.backend.wide import wide_type
from tinygrad_fast.models import resnet8, resnet18
from tinygrad_fast.nn.utils import conv_bn, fold_batch_norm

from .conftest import GPU, unwatched, with_a_fault
from .test_conv2d import ENGINES, LAYOUTS, SQUARE, arrays, close as close_products, large_tiles, tell, use
from .test_matmul import laid_out
from .test_norms import PLAIN, close, doubled, launched

LAUNCHES = {"conv2d_moments_tiles": 1, "batch_norm_statistics": 1, "batch_norm": 1}
EPS = 0.1


def check(machine, x, w, gamma, beta, res, relu, geometry):
    """Both against their definitions: h by what was given, all else by the h that came out."""
    h, *moments = machine.conv2d_moments(x, w, *geometry)
    y, kept, mean, rstd, var = machine.batch_norm(h, gamma, beta, res, *(moments or (None, None)), EPS, relu)
    xw, ww = doubled(x, w)
    size = windows.conv2d(abs(xw), abs(ww), *geometry)
    close_products(h, windows.conv2d(xw, ww, *geometry), size, w.size, x.dtype)
    hs, gs, bs, rs = doubled(h, gamma, beta, res)
    want, _, m, r, v = PLAIN.batch_norm(hs, gs, bs, rs, None, None, EPS, relu)
    wide, top = wide_type(x.dtype).name, abs(hs).max()
    close(mean, m, top, wide)
    close(var, v, top**2, wide)
    close(rstd, r, top**2 * r**3, wide)
    xhat = abs(hs).max() / np.sqrt(EPS) * (1 if gamma is None else abs(gs).max())
    size = xhat + (0 if beta is None else abs(bs).max()) + (0 if res is None else abs(rs).max())
    close(y, want, size, x.dtype.name)
    assert (kept is not None) == (relu and res is not None)
    assert windows.memory_order(h) == windows.memory_order(y) == [0, 2, 3, 1]


def drawn(dtype, n, c, o, hw, k, geometry, seed=0):
    """x, w, gamma, beta and a residual"""
    x, w, g = arrays(dtype, n, c, o, hw, k, geometry, seed)
    gamma, beta = np.random.default_rng(seed + 1).standard_normal((2, o)).astype(wide_type(np.dtype(dtype)))
    return x, w, gamma, beta, g


# Channels and outputs of a group, so that few widths of copies are compiled; the last of each has rests at every edge
CHANNELS = {"float16": [(16, 16), (8, 72), (3, 20)], "float32": [(16, 16), (20, 70)]}


@pytest.mark.parametrize("dtype, engine", ENGINES)
def test_any_convolution(machine, monkeypatch, dtype, engine, tally):
    use(machine, monkeypatch, engine)
    monkeypatch.setattr(machine, "convolves", "tiles")
    before = machine.launch.counts.copy()

    @given(st.data())
    def any_convolution(data):
        one_to = lambda n: data.draw(st.integers(1, n))  # noqa: E731
        c, o = data.draw(st.sampled_from(CHANNELS.get(np.dtype(dtype).name, [(8, 16)])))
        groups, k, n, hw = one_to(2), (one_to(3), one_to(3)), 1 + one_to(3), (2 + one_to(6), 3 + one_to(8))
        geometry = ((one_to(2), one_to(2)), (one_to(2) - 1, 0), (1, 1), groups)
        x, w, gamma, beta, res = drawn(dtype, n, groups * c, groups * o, hw, k, geometry, data.draw(st.integers(0, 99)))
        gamma, beta, res = (a if data.draw(st.booleans()) else None for a in (gamma, beta, res))
        x, w = laid_out(x, data.draw(LAYOUTS)), laid_out(w, data.draw(LAYOUTS))
        check(machine, x, w, gamma, beta, res, data.draw(st.booleans()), geometry)

    any_convolution()
    assert not (machine.launch.counts - before)["batch_norm_moments"]
    tell(tally, machine, before)


@unwatched
@pytest.mark.parametrize("dtype, engine", [(np.float16, ""), (np.float16, "Warpgroups"), (np.float32, "")])
def test_large_tiles(machine, monkeypatch, dtype, engine):
    """Several of each, with warps above each other, and an edge in the middle of one."""
    use(machine, monkeypatch, engine)
    given_ = drawn(dtype, 5, 32, 72, (12, 13), (3, 3), SQUARE)
    for tile in large_tiles(machine, dtype, smallest=True):
        monkeypatch.setattr(tiles.Engine, "choose", lambda *_, tile=tile: tile)
        machine.launch.counts.clear()
        check(machine, *given_, True, SQUARE)
        assert machine.launch.counts == LAUNCHES


def test_the_same_bits_each_time(machine):
    x, w, *_ = drawn(np.float16, 4, 16, 16, (12, 13), (3, 3), SQUARE)
    one, two = (machine.conv2d_moments(x, w, *SQUARE) for _ in range(2))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


def test_large_means_cost_no_digits(machine):
    """A 1 x 1 window that hands on what it gets: nothing is rounded but by the moments."""
    x = (np.random.default_rng(0).standard_normal((8, 16, 16, 16)) + 1e4).astype(np.float32)
    w, geometry = np.eye(16, dtype=np.float32)[:, :, None, None], ((1, 1), (0, 0), (1, 1), 1)
    h, mean, var = machine.conv2d_moments(x, w, *geometry)
    np.testing.assert_array_equal(h, x)
    np.testing.assert_allclose(var, x.astype(np.float64).var((0, 2, 3)), rtol=2e-6)
    np.testing.assert_allclose(mean, x.astype(np.float64).mean((0, 2, 3)), rtol=1e-7)


def test_what_is_not_a_number_stays_in_its_channel(machine):
    x, w, *_ = drawn(np.float32, 2, 16, 16, (6, 5), (1, 1), ((1, 1), (0, 0), (1, 1), 1))
    w[2], w[4, 0] = np.nan, np.inf
    _, _, var = machine.conv2d_moments(x, w, (1, 1), (0, 0), (1, 1), 1)
    assert np.isnan(var).tolist() == [i in (2, 4) for i in range(16)]


@pytest.mark.parametrize("rung", ["narrow", "naive"])
def test_the_other_rungs_find_nothing(machine, monkeypatch, rung):
    monkeypatch.setattr(machine, "convolves", rung)
    before = machine.launch.counts.copy()
    given_ = drawn(np.float32, 2, 4, 4, (6, 5), (3, 3), SQUARE)
    check(machine, *given_, True, SQUARE)
    ran = machine.launch.counts - before
    assert ran["batch_norm_moments"] == ran["batch_norm"] == 1 and not ran["conv2d_moments_tiles"]


def test_nothing_to_convolve(machine):
    x, w, *_ = drawn(np.float32, 0, 16, 16, (5, 4), (3, 3), SQUARE)
    (h,) = machine.conv2d_moments(x, w, *SQUARE)
    assert h.shape == (0, 16, 5, 4)


# What users call


def composed(conv, bn, x, residual, relu):
    return bn(conv(x), residual, relu)


def block(device, run, dtype=None):
    """y, the gradients and the running statistics of conv - batch norm - add - relu."""
    tf.manual_seed(0)
    conv, bn = nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
    x, r = (tf.randn(4, 16, 6, 5) for _ in range(2))
    conv, bn, x, r = (a.to(device) for a in (conv, bn, x, r))
    x.requires_grad_(), r.requires_grad_()
    with tf.autocast(dtype=dtype or tf.float16, enabled=dtype is not None):
        y = run(conv, bn, x, r if dtype is None else r.to(dtype), True)
    (y.float() * y.float()).sum().backward()
    found = y, x.grad, r.grad, conv.weight.grad, bn.weight.grad, bn.bias.grad, *bn.state_dict().values()
    return y.dtype, [a.numpy(force=True).astype(np.float64) for a in found]


@pytest.mark.parametrize("dtype", [None, tf.float16, tf.bfloat16])
@pytest.mark.parametrize("device", ["cpu", "emulated", GPU])
def test_as_one_after_the_other(device, dtype):
    kind, got = block(device, conv_bn, dtype)
    same, want = block(device, composed, dtype)
    assert kind == same == (dtype or tf.float32)
    for a, b in zip(got, want, strict=True):
        if device == "cpu":
            np.testing.assert_array_equal(a, b)  # the definition
        else:
            np.testing.assert_allclose(a, b, atol=(1e-5 if dtype is None else 0.02) * abs(b).max())


def test_what_users_call_runs_its_kernels(device):
    conv, bn = (m.to(device) for m in (nn.Conv2d(16, 16, 3, bias=False), nn.BatchNorm2d(16)))
    x = tf.rand(2, 16, 6, 5).to(device)
    tiled, apart = {"conv2d_tiles": 1}, {"batch_norm_moments": 1, "batch_norm_statistics": 1, "batch_norm": 1}
    remembered = {"batch_norm_remember_": 1}
    assert launched(device, lambda: conv_bn(conv, bn, x)) == LAUNCHES | remembered
    apart |= remembered
    assert launched(device, lambda: bn(conv(x))) == tiled | apart
    assert bn.num_batches_tracked.item() == 2
    biased = nn.Conv2d(16, 16, 3).to(device)
    assert launched(device, lambda: conv_bn(biased, bn, x)) == tiled | apart
    handle = conv.register_forward_hook(lambda *_: None)
    assert launched(device, lambda: conv_bn(conv, bn, x)) == tiled | apart
    handle.remove()
    bn.eval()
    assert launched(device, lambda: conv_bn(conv, bn, x)) == tiled | {"batch_norm": 1}


def test_a_residual_of_another_type_meets_in_the_wider():
    x, w, r = tf.rand(2, 16, 4, 4), tf.rand(16, 16, 1, 1), tf.rand(2, 16, 4, 4)
    with tf.autocast(dtype=tf.float16):
        y = F.conv2d_batch_norm(x, w, None, None, residual=r)
        want = F.batch_norm(F.conv2d(x, w), None, None, training=True, residual=r)
    assert y.dtype == want.dtype == tf.float32 and y.equal(want)
    with pytest.raises(TypeError, match="residual must have the input's dtype float32; got float16"):
        F.conv2d_batch_norm(x, w, None, None, residual=r.half())


@pytest.mark.parametrize(
    "call, error, text",
    [
        (
            lambda x, w: F.conv2d_batch_norm(x[:1, :, :1, :1], w, None, None),
            ValueError,
            "more than 1 value per channel",
        ),
        (lambda x, w: F.conv2d_batch_norm(x, w[:, :3], None, None), ValueError, "conv2d"),
        (
            lambda x, w: F.conv2d_batch_norm(x, w, None, None, tf.ones(3)),
            ValueError,
            r"weight must be \(C,\) = \(16,\)",
        ),
        (lambda x, w: F.conv2d_batch_norm(x, w, None, None, tf.ones(16).double()), TypeError, "batch_norm: weight"),
        (lambda x, w: F.conv2d_batch_norm(x, w, None, None, residual=x[:1]), ValueError, "residual must have"),
    ],
)
def test_misuse(call, error, text):
    with pytest.raises(error, match=text):
        call(tf.rand(2, 16, 4, 4), tf.rand(16, 16, 1, 1))


@pytest.mark.parametrize("make", [resnet8, resnet18])
def test_every_convolution_of_a_resnet_finds_its_moments(device, make):
    """In training no batch norm reads its input for the statistics; for inference they are still folded away."""
    model = make(num_classes=3).to(device).train()
    norms = sum(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    counts = launched(device, lambda: model(tf.rand(2, 3, 32, 32).to(device)).sum().backward())
    tiled = counts["conv2d_moments_tiles"]
    assert (
        tiled == counts["batch_norm_statistics"] == counts["batch_norm"] == norms and "batch_norm_moments" not in counts
    )
    folded = fold_batch_norm(model, tf.rand(2, 3, 32, 32).to(device))
    counts = launched(device, lambda: folded(tf.rand(2, 3, 32, 32).to(device)))
    assert counts["conv2d_tiles"] == norms and not [name for name in counts if "norm" in name]


# Faults

FAULTS = [  # file, what stands there, what is put in its place
    ("conv2d_moments.cu", "m < M ?", "m <= M ?"),
    ("conv2d_moments.cu", "  __syncthreads();  // nobody hands out any more\n", ""),
    ("conv2d_moments.cu", "  __syncthreads();\n  for (int i", "  for (int i"),
    ("conv2d_moments.cu", "if (n >= N) continue;", ""),
    ("conv2d_moments.cu", "if (met.n == 0) met.first[e] = v;", "met.first[e] = v;"),
    ("conv2d_moments.cu", "lane / ACROSS) * BN", "lane % DOWN) * BN"),
    ("conv2d_moments.cu", "int r = 1; r < ROWS", "int r = 2; r < ROWS"),
    ("conv2d_moments.cu", "i % ACROSS * E + i % WN / ACROSS", "i % WN"),
    ("conv2d_moments.cu", "(at.m / BM) * O", "(at.m / BM) * N"),
    ("conv2d_moments.cu", "* O + group * N, at.n", "* O, at.n"),
    ("moments.cuh", "b.about.mean += b.origin - a.origin;", ""),
    ("moments.cuh", "if (a.about.n == 0) return b;", ""),
    ("batch_norm.cu", "if (f < end) more", "more"),
    ("batch_norm.cu", "if (at.lane || !end) return;\n  mean", "if (at.lane) return;\n  mean"),
]


@pytest.mark.parametrize("file, old, new", FAULTS)
def test_planted_faults_are_found(tmp_path, file, old, new, tally):
    with_a_fault(tmp_path, {"conv2d_moments.cu", "batch_norm.cu", file}, file, old, new)
    machine = Emulated(check=True)
    machine.convolves, machine.launch.place = "tiles", tmp_path
    with pytest.raises((KernelError, AssertionError)):
        two_convolutions(machine)
    tally(faults=1)


def two_convolutions(machine):
    """Rests of every division, several tiles and groups; a mean that is large."""
    for groups in (1, 2):
        geometry = ((1, 1), (1, 1), (1, 1), groups)
        x, w, gamma, beta, res = drawn(np.float32, 3, 6, 10, (7, 8), (3, 3), geometry)
        check(machine, x, w, gamma, beta, res, True, geometry)
    test_large_means_cost_no_digits(machine)


def test_where_no_fault_is_planted_none_is_found(machine, monkeypatch):
    monkeypatch.setattr(machine, "convolves", "tiles")
    two_convolutions(machine)
