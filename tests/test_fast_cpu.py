"""The fast CPU: what the laws do not see. Who answers for what, the two sets of loops, layouts, threads, memory."""

import inspect
import os
import subprocess
import sys
import threading
from math import erf

import numpy as np
import pytest
from hypothesis import given, strategies as st

import tinygrad_fast as tf
import tinygrad_fast.nn.functional as F
from tinygrad_fast import backend, models, nn, optim
from tinygrad_fast.backend import CPU, Composed, FastCPU, fast_cpu, windows
from tinygrad_fast.backend.fast_cpu import Sizes, direct, layout, linear, loops, threads, winograd, winograd_lines
from tinygrad_fast.backend.fast_cpu.loops import plain
from tinygrad_fast.tensor.core import wrap

NUMBA = pytest.param("compiled", marks=pytest.mark.skipif(not loops.installed(), reason="Numba is not installed"))
BOTH = pytest.mark.parametrize("which", ["plain", NUMBA])


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def images(n, c, h, w, seed=0):
    """(N, C, H, W) that lies channels-last."""
    return normal(n, h, w, c, seed=seed).transpose(0, 3, 1, 2)


# ---------------------------------------------------------------------------------------------------- who does what


def test_it_answers_to_cpu():
    assert type(backend.get("cpu")) is FastCPU and tf.zeros(2).xp is backend.get("cpu")


WAYS = [  # C; output; filter, stride, padding, dilation, groups; the way, by plain loops and by compiled ones
    (64, (8, 64, 32, 32), (3, 3), (1, 1), (1, 1), (1, 1), 1, "winograd", "winograd"),
    (32, (8, 32, 32, 32), (3, 3), (1, 1), (1, 1), (1, 1), 1, "lines", "winograd"),
    (48, (8, 48, 32, 32), (3, 3), (1, 1), (1, 1), (1, 1), 1, "lines", "winograd"),
    (49, (8, 48, 32, 32), (3, 3), (1, 1), (1, 1), (1, 1), 1, "winograd", "winograd"),
    (3, (8, 16, 32, 32), (3, 3), (1, 1), (1, 1), (1, 1), 1, "lines", "direct"),
    (16, (8, 20, 32, 32), (3, 3), (1, 1), (1, 1), (1, 1), 1, "lines", "winograd"),
    (64, (48, 64, 4, 4), (3, 3), (1, 1), (2, 0), (1, 1), 1, "winograd", "winograd"),
    (256, (47, 256, 4, 4), (3, 3), (1, 1), (2, 0), (1, 1), 1, "patches", "winograd"),
    (256, (11, 256, 4, 4), (3, 3), (1, 1), (2, 0), (1, 1), 1, "patches", "patches"),
    (64, (8, 64, 3, 9), (3, 3), (1, 1), (1, 1), (1, 1), 1, "patches", "direct"),
    (128, (8, 256, 16, 16), (3, 3), (2, 2), (1, 1), (1, 1), 1, "patches", "direct"),
    (256, (8, 256, 16, 16), (3, 3), (2, 2), (1, 1), (1, 1), 1, "patches", "patches"),
    (64, (8, 64, 16, 16), (3, 3), (1, 1), (3, 3), (1, 1), 1, "patches", "direct"),
    (64, (8, 64, 16, 16), (1, 1), (1, 1), (0, 0), (1, 1), 1, "patches", "patches"),
    (3, (8, 64, 112, 112), (7, 7), (2, 2), (3, 3), (1, 1), 1, "patches", "direct"),
    (16, (8, 16, 16, 16), (3, 3), (1, 1), (2, 2), (2, 2), 1, "by image", "by image"),
    (16, (8, 16, 16, 16), (3, 3), (1, 1), (1, 1), (1, 1), 16, "by image", "depthwise"),
    (48, (8, 48, 16, 16), (5, 3), (2, 2), (1, 2), (1, 1), 48, "by image", "depthwise"),
    (48, (8, 48, 16, 16), (3, 3), (2, 1), (1, 1), (1, 1), 48, "by image", "by image"),
    (48, (8, 48, 16, 16), (3, 3), (1, 1), (1, 1), (2, 2), 48, "by image", "by image"),
    (20, (8, 20, 16, 16), (3, 3), (1, 1), (1, 1), (1, 1), 20, "by image", "by image"),
    (16, (8, 32, 16, 16), (3, 3), (1, 1), (1, 1), (1, 1), 16, "by image", "by image"),
]


@pytest.mark.parametrize("c, out, k, stride, padding, dilation, groups, plainly, compiled", WAYS)
def test_the_way_of_each_convolution(c, out, k, stride, padding, dilation, groups, plainly, compiled):
    given = c, out, k, stride, padding, dilation, groups
    assert FastCPU("plain").way(*given) == plainly
    if loops.installed():
        assert FastCPU("compiled").way(*given) == compiled


@pytest.mark.parametrize("dtype", ["float64", "int64"])
def test_what_is_not_float32_takes_the_plain_path(dtype):
    x, w = (normal(*s).astype(dtype) for s in ((4, 8, 20, 20), (8, 8, 3, 3)))
    geometry = dict(stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=1)
    np.testing.assert_array_equal(FastCPU().conv2d(x, w, **geometry), CPU().conv2d(x, w, **geometry))


# -------------------------------------------------------------------------------------------------------------- loops


def public(module):
    return {n: f for n, f in vars(module).items() if callable(f) and getattr(f, "__module__", "") == module.__name__}


@pytest.mark.skipif(not loops.installed(), reason="Numba is not installed")
def test_both_languages_say_the_same_things():
    """Every compiled loop but one stands in plain.py under its name, with its arguments and its meaning."""
    from tinygrad_fast.backend.fast_cpu.loops import compiled
    from tinygrad_fast.backend.fast_cpu.loops.loop import CompiledLoop

    mine = {n: f for n, f in vars(compiled).items() if isinstance(f, CompiledLoop)}
    assert len(mine) >= 18
    assert plain.resample is None and mine.pop("resample")
    for name, loop in mine.items():
        twin = getattr(plain, name)
        assert list(inspect.signature(loop.f).parameters) == list(inspect.signature(twin).parameters), name
        assert loop.__doc__.split("\n")[0] == twin.__doc__.split("\n")[0], name


@pytest.mark.skipif(not loops.installed(), reason="Numba is not installed")
def test_compiled_loops_take_read_only_arrays():
    y = np.empty(5000, np.float32)
    g = np.broadcast_to(np.float32(2), 5000)
    loops.choose("compiled").relu_back(np.ascontiguousarray(g), np.broadcast_to(np.float32(1), (5000,)).copy(), y)
    frozen = normal(5000)
    frozen.flags.writeable = False
    loops.choose("compiled").relu_back(frozen, np.ones(5000, np.float32), y)
    np.testing.assert_array_equal(y, frozen)
    with pytest.raises(TypeError):
        loops.choose("compiled").relu_back(normal(4).astype(np.float64), normal(4), y)


@BOTH
def test_erf_within_two_units_in_the_last_place(which):
    """On both sides of 0 and of 1, where the polynomials meet; where it is 1; of what is no number."""
    x = np.concatenate([np.linspace(-6, 6, 200001), np.logspace(-40, 0, 20001), [0, np.inf]]).astype(np.float32)
    y, want = FastCPU(which).erf(x), np.array([erf(v) for v in x.tolist()])
    assert (abs(y - want) <= 2 * np.spacing(abs(want).astype(np.float32))).all()
    np.testing.assert_array_equal(FastCPU(which).erf(-x), -y)
    for some in (slice(0, 0), slice(7, 8), slice(20_000, 20_100)):  # few numbers are computed as many are
        np.testing.assert_array_equal(FastCPU(which).erf(x[some]), y[some])
    assert np.isnan(FastCPU(which).erf(np.full(40000, np.nan, np.float32))).all()


@BOTH
@pytest.mark.parametrize(
    ("name", "static"),
    [("gelu", {"approximate": "none"}), ("gelu", {"approximate": "tanh"}), ("silu", {}), ("elu", {"alpha": 0.7}),
     ("softplus", {"beta": 2.0, "threshold": 3.0}), ("leaky_relu", {"slope": 0.1}), ("erf", {}),
     ("hardtanh", {"low": -0.5, "high": 1.0})],
)  # fmt: skip
def test_definitions_by_blocks(which, name, static):
    """Whatever the memory order, and where g lies in another one."""
    xp, plain = FastCPU(which, Sizes(least=0, divided=0, passes=4096)), CPU()
    x, g = images(4, 3, 20, 21), images(4, 3, 20, 21, seed=1)
    for a, b in ((x, g), (np.ascontiguousarray(x), g), (x[:, ::2], g[:, ::2])):
        y, d = getattr(xp, name)(a, **static), getattr(xp, name + "_back")(b, a, **static)
        wide = [v.astype(np.float64) for v in (b, a)]
        np.testing.assert_allclose(y, getattr(plain, name)(wide[1], **static), rtol=2e-5, atol=2e-7)
        np.testing.assert_allclose(d, getattr(plain, name + "_back")(*wide, **static), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_binary_cross_entropy_by_blocks(reduction):
    """A mean is over all numbers, not over those of a block."""
    xp, plain = FastCPU(sizes=Sizes(least=0, divided=0, passes=1024)), CPU()
    x, t = normal(3, 70, 31) * 4, np.random.default_rng(1).random((3, 70, 31), np.float32)
    g = normal(*x.shape) if reduction == "none" else np.float32(0.7)
    end = (None, None, reduction)
    y, want = (m.binary_cross_entropy_with_logits(x.astype(kind), t.astype(kind), *end)
               for m, kind in ((xp, "f4"), (plain, "f8")))  # fmt: skip
    np.testing.assert_allclose(y, want, rtol=1e-5, atol=1e-6)
    d, want = (m.binary_cross_entropy_with_logits_back(*(a.astype(kind) for a in (g, x, t)), *end)
               for m, kind in ((xp, "f4"), (plain, "f8")))  # fmt: skip
    np.testing.assert_allclose(d, want, rtol=1e-5, atol=1e-6 * np.abs(want).max())


@BOTH
@pytest.mark.parametrize("large", [1e4, -1e4])
def test_moments_far_from_zero(which, large):
    """A mean ten thousand times the deviation costs no digits of the variance."""
    xp = FastCPU(which)
    x = np.float32(large) + images(64, 16, 8, 8)
    *_, mean, _, var = xp.batch_norm(x, None, None, None, None, None, eps=1e-5, relu=False)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(mean, wide.mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(var, wide.var((0, 2, 3)), rtol=2e-3)


@BOTH
def test_nan_and_infinity_are_kept(which):
    """A loss that diverges must show, whatever the loops do with it."""
    xp, x = FastCPU(which, Sizes(least=0)), images(2, 3, 8, 8)
    x[0, 1, 2, 3], x[1, 0, 0, 0] = np.nan, np.inf
    geometry = dict(kernel=(2, 2), stride=(2, 2), padding=(0, 0), dilation=(1, 1))
    y, _ = xp.max_pool2d(x, out=(4, 4), **geometry)
    assert np.isnan(y[0, 1, 1, 1]) and np.isinf(y[1, 0, 0, 0]) and np.isfinite(y).sum() == y.size - 2
    with np.errstate(all="ignore"):
        y = xp.batch_norm(x, None, None, None, None, None, eps=1e-5, relu=True)[0]
        logits = x.transpose(0, 2, 3, 1).reshape(-1, 3)
        loss, *_ = xp.cross_entropy(logits, np.zeros(128, np.int64), None, -100, 0.0, "none")
    assert np.isnan(y[:, 1]).all() and np.isfinite(y[:, 2]).all()
    assert np.isnan(loss).any() and np.isfinite(loss).sum() >= 126


@BOTH
@pytest.mark.parametrize("n, c, o", [(2, 0, 3), (2, 3, 0), (0, 2, 3), (0, 0, 0)])
@pytest.mark.parametrize("k", [1, 3])
def test_convolutions_of_nothing(which, n, c, o, k):
    """No images, no channels in or out: zeros, or nothing, of the right shape; however large the other operand is."""
    xp, geometry = FastCPU(which, Sizes(least=16)), ((1, 1), (k // 2, k // 2), (1, 1), 1)
    x, w, g = images(n, c, 9, 9), normal(o, c, k, k), images(n, o, 9, 9)
    found = xp.conv2d(x, w, *geometry), xp.conv2d_dx(g, w, *geometry, (9, 9)), xp.conv2d_dw(g, x, *geometry, (k, k))
    assert [a.shape for a in found] == [g.shape, x.shape, w.shape] and not any(a.any() for a in found)


@BOTH
def test_dropout_draws_the_numbers_of_the_plain_cpu(which):
    key, x = np.array([7, 0, 3], np.uint32), normal(100_003)
    y, kept = FastCPU(which, Sizes(line=4096)).dropout(x, key, p=0.3)
    want, where = CPU().dropout(x, key, p=0.3)
    np.testing.assert_array_equal(kept, where)
    np.testing.assert_array_equal(y, want)


@BOTH
@given(st.integers(4, 13), st.integers(4, 13), st.integers(0, 2), st.integers(1, 20), st.integers(1, 20))
def test_winograd_is_a_convolution(which, h, w, p, c, o):
    """Any height and width, any padding, any number of channels, both schedules: 1e-5 of the largest output."""
    x, k = images(2, c, h + 2 * max(0, 1 - p), w + 2 * max(0, 1 - p)), normal(3, 3, c, o, seed=1)
    want = CPU().conv2d(x, k.transpose(3, 2, 0, 1), (1, 1), (p, p), (1, 1), 1).transpose(0, 2, 3, 1)
    for sizes in (Sizes(shallow=0, chunk=8, shared=8), Sizes(shallow=1 << 20)):
        xp, y = FastCPU(which, sizes), np.full(want.shape, np.nan, np.float32)
        winograd.conv(xp, layout.nhwc(x), k, y, (p, p), None, None, False)
        assert np.abs(y - want).max() <= 3e-5 * np.abs(want).max() + 1e-6


@given(
    st.integers(1, 4), st.tuples(*[st.integers(1, 13)] * 2), st.tuples(*[st.integers(0, 2)] * 2),
    st.tuples(*[st.integers(1, 24)] * 2), st.booleans(), st.booleans(), st.booleans(),
    st.sampled_from([1, 4000, 1 << 18]),
)  # fmt: skip
def test_winograd_down_the_columns(n, hw, p, channels, bias, add, relu, lines):
    """Any size and padding, parts of images or many at a time: the value with its epilogue, and both gradients."""
    hw, (c, o) = tuple(max(3 - 2 * q, m) for m, q in zip(hw, p)), channels
    x, w, plainly, geometry = images(n, c, *hw), normal(3, 3, c, o, seed=1), CPU(), ((1, 1), p, (1, 1), 1)
    wide = x.astype(np.float64), w.transpose(3, 2, 0, 1).astype(np.float64)
    out = plainly.conv2d(*wide, *geometry)
    b, res, g = normal(o, seed=2), images(*out.shape, seed=3), images(*out.shape, seed=4)
    want = out + (b[:, None, None] if bias else 0) + (res if add else 0)
    xp, wide_g = FastCPU("plain", Sizes(lines=lines)), g.astype(np.float64)
    y, d = (np.full(layout.nhwc(a).shape, np.nan, np.float32) for a in (g, x))
    winograd_lines.conv(xp, layout.nhwc(x), w, y, p, b if bias else None, layout.nhwc(res) if add else None, relu)
    winograd_lines.input_gradient(xp, layout.nhwc(g), w, d, tuple(2 - q for q in p))
    dw = winograd_lines.filter_gradient(xp, layout.nhwc(g), layout.nhwc(x), p).transpose(3, 2, 0, 1)
    for got, right in [
        (layout.nchw(y), np.maximum(want, 0) if relu else want),
        (layout.nchw(d), plainly.conv2d_dx(wide_g, wide[1], *geometry, hw)),
        (dw, plainly.conv2d_dw(wide_g, wide[0], *geometry, (3, 3))),
    ]:
        assert np.abs(got - right).max() <= 1e-5 * np.abs(right).max() + 1e-6


@pytest.mark.skipif(not loops.installed(), reason="Numba is not installed")
@given(
    st.integers(1, 3), st.tuples(*[st.integers(4, 13)] * 2), st.integers(0, 2), st.integers(1, 40),
    st.sampled_from([16, 48, 64]), st.booleans(), st.booleans(), st.booleans(), st.sampled_from([1, 1 << 12]),
)  # fmt: skip
def test_winograd_by_columns(n, hw, p, c, o, bias, add, relu, shared):
    """Value with its epilogue, and both gradients, whole images or many at a time, and the same from end to end."""
    hw = tuple(max(4 + 2 - 2 * p, m) for m in hw)
    x, w, plainly = images(n, c, *hw), normal(3, 3, c, o, seed=1), CPU()
    geometry = (1, 1), (p, p), (1, 1), 1
    wide = x.astype(np.float64), w.transpose(3, 2, 0, 1).astype(np.float64)
    out = plainly.conv2d(*wide, *geometry)
    b, res, g = normal(o, seed=2), images(*out.shape, seed=3), images(*out.shape, seed=4)
    want = out + (b[:, None, None] if bias else 0) + (res if add else 0)
    want = np.maximum(want, 0) if relu else want
    wide_g = g.astype(np.float64)
    for sizes in (Sizes(shallow=0, shared=shared), Sizes(shallow=1 << 20, tiles=5)):
        xp = FastCPU("compiled", sizes)
        y = np.full(out.transpose(0, 2, 3, 1).shape, np.nan, np.float32)
        winograd.conv(xp, layout.nhwc(x), w, y, (p, p), b if bias else None, layout.nhwc(res) if add else None, relu)
        dw = winograd.filter_gradient(xp, layout.nhwc(g), layout.nhwc(x), (p, p)).transpose(3, 2, 0, 1)
        pairs = [(layout.nchw(y), want), (dw, plainly.conv2d_dw(wide_g, wide[0], *geometry, (3, 3)))]
        if c % 16 == 0:
            d = np.full(layout.nhwc(x).shape, np.nan, np.float32)
            winograd.input_gradient(xp, layout.nhwc(g), w, d, (2 - p, 2 - p))
            pairs += [(layout.nchw(d), plainly.conv2d_dx(wide_g, wide[1], *geometry, hw))]
        for got, right in pairs:
            assert np.abs(got - right).max() <= 3e-5 * np.abs(right).max() + 1e-5


@pytest.mark.skipif(not loops.installed(), reason="Numba is not installed")
def test_transforms_are_their_matrices():
    """The sums that are written out, on exact numbers, against the matrices of winograd.py; NaN where NaN was."""
    from tinygrad_fast.backend.fast_cpu.loops import transforms as t

    exact = winograd.G.astype(np.float64)
    exact = np.round(exact * 24) / 24
    written = {t.by_bt: winograd.BT, t.by_at: winograd.AT, t.by_a: winograd.AT.T, t.by_g: exact, t.by_gt: exact.T}
    for f, matrix in written.items():
        columns = np.eye(matrix.shape[1])
        np.testing.assert_allclose(np.array(f(*columns)), matrix, atol=1e-15)


@pytest.mark.skipif(not loops.installed(), reason="Numba is not installed")
@given(
    st.sampled_from([(3, 16), (8, 32), (16, 48), (20, 64), (16, None), (48, None)]),
    st.tuples(*[st.integers(1, 12)] * 2),
    st.tuples(*[st.integers(1, 4)] * 2), st.integers(1, 3), st.integers(0, 3), st.sampled_from([1, 1 << 12, 1 << 20]),
)  # fmt: skip
def test_direct_convolution_is_a_convolution(channels, hw, k, s, p, line):
    """Any size, filter, stride and padding, rows of images or many images in a block: value and both gradients.

    channels: C and O; O None: depthwise.
    """
    (c, o), hw = channels, tuple(max(n, m - 2 * p) for n, m in zip(hw, k))
    x, plainly, groups = images(3, c, *hw), CPU(), 1 if o else c
    w = normal(*k, c, o, seed=1) if o else normal(*k, c, seed=1)

    def oihw(a):
        return a.transpose(3, 2, 0, 1) if o else a.transpose(2, 0, 1)[:, None]

    wide, geometry = (x.astype(np.float64), oihw(w).astype(np.float64)), ((s, s), (p, p), (1, 1), groups)
    want = plainly.conv2d(*wide, *geometry)
    xp, y = FastCPU("compiled", Sizes(line=line)), np.full(want.transpose(0, 2, 3, 1).shape, np.nan, np.float32)
    g = images(*want.shape, seed=2)
    direct.conv(xp, layout.nhwc(x), w, y, (s, s), (p, p))
    dw = direct.filter_gradient(xp, layout.nhwc(g), layout.nhwc(x), w.shape, (s, s), (p, p))
    g64 = g.astype(np.float64)
    pairs = [(y, want.transpose(0, 2, 3, 1)), (oihw(dw), plainly.conv2d_dw(g64, wide[0], *geometry, k))]
    if c % 16 == 0:
        d = np.full(layout.nhwc(x).shape, np.nan, np.float32)
        direct.input_gradient(xp, layout.nhwc(g), w, d, s, (p, p))
        pairs += [(layout.nchw(d), plainly.conv2d_dx(g64, wide[1], *geometry, hw))]
    for got, right in pairs:
        assert np.abs(got - right).max() <= 3e-6 * np.abs(right).max() + 1e-6


@pytest.mark.skipif(not loops.installed(), reason="Numba is not installed")
@BOTH
@pytest.mark.parametrize(
    "w, geometry",
    [
        ((32, 32, 1, 1), {}), ((32, 32, 3, 3), {"padding": 1}), ((32, 32, 3, 3), {"padding": 1, "stride": 2}),
        ((32, 1, 3, 3), {"padding": 1, "groups": 32}), ((32, 32, 7, 7), {"padding": 3}),
        ((64, 32, 3, 3), {"padding": 1}), ((32, 32, 3), {"padding": 1}),
    ],
    ids=["1x1", "3x3", "stride 2", "depthwise", "7x7", "3x3 wide", "conv1d"],
)  # fmt: skip
def test_a_bias_may_lie_in_any_order(which, w, geometry):
    xp = FastCPU(which)
    conv, size = (F.conv1d, (512,)) if len(w) == 3 else (F.conv2d, (24, 24))
    x, weight, bias = (wrap(normal(*s), xp, [0]) for s in ((8, 32, *size), w, (2 * w[0],)))
    strided, turned = wrap(bias.data[::2], xp, [0]), wrap(bias.data[::2][::-1], xp, [0])
    for b in (strided, turned):
        want = conv(x, weight, wrap(b.data.copy(), xp, [0]), **geometry)
        assert conv(x, weight, b, **geometry).tolist() == want.tolist()


def test_a_depthwise_layer_takes_its_way(monkeypatch):
    """Forward and both gradients, with bias and ReLU, as the plain CPU; no other path is asked."""
    x, w, b = images(4, 32, 24, 24), normal(32, 1, 3, 3, seed=1), normal(32, seed=2)
    geometry = dict(stride=(2, 2), padding=(1, 1), dilation=(1, 1), groups=32)
    want = CPU().conv2d_epilogue(x, w, b, None, True, **geometry)
    g = images(*want.shape, seed=3)
    dx, dw = CPU().conv2d_dx(g, w, **geometry, hw=(24, 24)), CPU().conv2d_dw(g, x, **geometry, k=(3, 3))
    for name in ("conv2d", "conv2d_dx", "conv2d_dw"):
        monkeypatch.setattr(windows, name, None)
    xp = FastCPU("compiled", Sizes(least=0))
    np.testing.assert_allclose(xp.conv2d_epilogue(x, w, b, None, True, **geometry), want, atol=1e-5)
    np.testing.assert_allclose(xp.conv2d_dx(g, w, **geometry, hw=(24, 24)), dx, atol=1e-5)
    np.testing.assert_allclose(xp.conv2d_dw(g, x, **geometry, k=(3, 3)), dw, atol=1e-4)


@pytest.mark.parametrize("t, c", [(21, 48), (63, 16), (255, 16), (64, 64), (1, 1), (7, 112)])
def test_no_two_planes_compete_for_a_cache(t, c):
    whole = winograd.planes(t, c, np.float32)
    inner = winograd.matrices(whole, t, c)
    assert whole.strides[0] % 512 and inner.shape == (36, t, c) and np.shares_memory(whole, inner)


def test_the_matrices_of_winograd():
    """In exact arithmetic the scheme is a convolution: A^T [(G w) * (B^T d)] for every tap and every pixel."""
    bt, g, at = (m.astype(np.float64) for m in (winograd.BT, winograd.G, winograd.AT))
    g = np.round(g * 24) / 24  # float32 holds no thirds
    for i in range(6):
        for j in range(3):
            d, w = np.eye(6)[i], np.eye(3)[j]
            y = at @ ((g @ w) * (bt @ d))
            np.testing.assert_allclose(y, [np.dot(d[k : k + 3], w) for k in range(4)], atol=1e-12)


# -------------------------------------------------------------------------------------------- layouts, threads, memory


def small_steps(model, x, y, n=2):
    opt = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(n):
        loss = F.cross_entropy(model(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
    return loss.item(), [p.detach().numpy().copy() for p in model.parameters()]


NETS = {
    "resnet20": models.resnet20,
    "resnet9": models.resnet9,
    "resnet18": lambda: models.resnet18(num_classes=10),
    "resnet50": lambda: models.resnet50(num_classes=10),
}


@pytest.mark.parametrize("net", NETS)
def test_channels_last_from_end_to_end(net, monkeypatch):
    """A batch that comes channels-last is never copied into that order again, nor is any gradient."""
    copied = []

    def nhwc(x):
        y = layout.nhwc(x)
        if not np.shares_memory(x, y) and min(x.strides[2:]) > 0:  # an expanded gradient has strides of 0
            copied.append(x.shape)
        return y

    for module in (fast_cpu.conv, fast_cpu.pool, fast_cpu.images):
        monkeypatch.setattr(module, "nhwc", nhwc)
    tf.manual_seed(0)
    model, x = NETS[net](), tf.from_numpy(images(4, 3, 64, 64))
    small_steps(model, x, tf.tensor([1, 2, 3, 4]))
    assert copied == []
    model(tf.from_numpy(normal(4, 3, 64, 64)))  # in another order: once, by the first convolution
    assert copied == [(4, 3, 64, 64)]


@BOTH
def test_the_same_numbers_whatever_the_machine_does_meanwhile(which):
    """Two threads twice: every sum is added up in the same order."""
    found = []
    for _ in range(3):
        tf.manual_seed(1)
        backend.register("trial", lambda: FastCPU(which))
        backend._made.pop("trial", None)
        model = models.resnet20().to("trial")
        x, y = tf.tensor(images(16, 3, 32, 32), device="trial"), tf.tensor(np.arange(16) % 10, device="trial")
        found.append(small_steps(model, x, y))
    backend._makers.pop("trial"), backend._made.pop("trial")
    for loss, weights in found[1:]:
        assert loss == found[0][0]
        assert all(np.array_equal(a, b) for a, b in zip(weights, found[0][1], strict=True))


@pytest.mark.skipif(threads._core is None, reason="this system does not say which core runs a thread")
@pytest.mark.skipif(threads.get_num_threads() < 2, reason="one thread")
def test_the_pool_keeps_off_the_core_that_calls():
    """Wherever the caller is: a thread woken beside it would take turns with it."""
    cores = os.sched_getaffinity(0)
    try:
        for core in sorted(cores)[:2] * 2:
            os.sched_setaffinity(0, {core})  # the caller is moved there
            os.sched_setaffinity(0, cores)
            met, both = {}, threading.Barrier(2)

            def meet(lo, hi, met=met, both=both):
                both.wait(30)
                met[threading.get_ident()] = os.sched_getaffinity(0)

            before = threads._core()
            threads.parallel(meet, 2)
            threads.parallel(meet, 2)  # a new thread's number is known from its first region on
            mine = met.pop(threading.get_ident())
            assert mine == cores
            if threads._core() == before:  # not moved by others in the meantime
                assert all(before not in others for others in met.values())
    finally:
        os.sched_setaffinity(0, cores)


@pytest.mark.parametrize("n", [1, 3])
def test_any_number_of_threads_gives_the_same_but_for_rounding(n):
    x, w = images(8, 16, 16, 16), normal(3, 3, 16, 16).transpose(3, 2, 0, 1)
    geometry, before = dict(stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=1), threads.get_num_threads()
    xp = FastCPU()
    want = [xp.conv2d(x, w, **geometry), xp.conv2d_dw(x, x, k=(3, 3), **geometry)]
    try:
        threads.set_num_threads(n)
        got = [xp.conv2d(x, w, **geometry), xp.conv2d_dw(x, x, k=(3, 3), **geometry)]
    finally:
        threads.set_num_threads(before)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4 * np.abs(b).max())


@pytest.mark.parametrize("make, name", [(optim.SGD, "sgd_"), (optim.AdamW, "adam_")])
def test_weights_of_convolutions_are_lines_of_memory(monkeypatch, make, name):
    """They lie KH KW C O; the fused step runs along them, and leaves nothing to the definition."""
    ps = list(models.resnet8(10).parameters())
    for p in ps:
        p.grad = p.detach() * 0.5
    assert all(np.shares_memory(layout.flat(p.data), p.data) for p in ps)
    monkeypatch.setattr(Composed, name, lambda *_, **__: pytest.fail("the definition"))
    make(ps, lr=0.1).step()


def test_a_step_gives_its_memory_back():
    tf.cpu.empty_cache()
    before = tf.cpu.memory_allocated()
    tf.manual_seed(0)
    model, x, y = models.resnet20(), tf.from_numpy(images(32, 3, 32, 32)), tf.tensor(np.arange(32) % 10)
    loss = F.cross_entropy(model(x), y)
    held = tf.cpu.memory_allocated()
    loss.backward()
    assert held > before + (8 << 20), "activations are lent"
    model.zero_grad()
    assert tf.cpu.memory_allocated() == before and tf.cpu.max_memory_allocated() >= held
    assert tf.cpu.memory_stats()["cached"] > 0
    tf.cpu.empty_cache()
    assert tf.cpu.memory_stats()["cached"] == 0


def test_nothing_is_recorded_where_nothing_is_wanted():
    model, x = models.resnet20(), tf.from_numpy(images(2, 3, 32, 32))
    with tf.no_grad():
        y = model(x)
    assert y.node is None and y.grad_fn is None


# --------------------------------------------------------------------------------------------------------------- Numba


def loaded(code, **env):
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print('numba' in sys.modules)"],
        capture_output=True,
        text=True,
        env=os.environ | env,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip() == "True"


STEP = """
import tinygrad_fast as tf, tinygrad_fast.nn.functional as F
w = tf.randn(16, 16, 3, 3).requires_grad_()
F.conv2d(tf.randn(8, 16, 16, 16), w, padding=1).sum().backward()
"""


def test_numba_is_loaded_late_and_only_where_it_is_wanted():
    assert not loaded("import tinygrad_fast as tf; tf.ones(3) + 1")
    assert not loaded(STEP, TINYGRAD_FAST_NUMBA="0")
    assert loaded(STEP, TINYGRAD_FAST_NUMBA="") == loops.installed()


@pytest.mark.parametrize("told", ["0", "off", "False", "NO"])
def test_numbas_variable_says_no(told, monkeypatch):
    monkeypatch.setenv("TINYGRAD_FAST_NUMBA", told)
    assert loops.choose().__name__.endswith(".plain")


@pytest.mark.parametrize("told", ["1", "on", "True", "YES"])
def test_numbas_variable_says_yes(told, monkeypatch):
    monkeypatch.setenv("TINYGRAD_FAST_NUMBA", told)
    if loops.installed():
        assert loops.choose().__name__.endswith(".compiled")
    monkeypatch.setattr(loops, "installed", lambda: False)
    with pytest.raises(ImportError, match="TINYGRAD_FAST_NUMBA is .*, and Numba is not installed"):
        loops.choose()


def test_numbas_variable_says_neither(monkeypatch):
    monkeypatch.setenv("TINYGRAD_FAST_NUMBA", "maybe")
    with pytest.raises(ValueError, match=r"must be 1, on, true, yes \(compiled loops\) or 0, off, .*; got 'maybe'"):
        loops.choose()
    assert loops.choose("plain")


# ------------------------------------------------------------------------------------------------------------- folding


@pytest.mark.parametrize("net", NETS)
def test_folded_batch_norm_computes_the_same(net):
    tf.manual_seed(0)
    model, x = NETS[net](), tf.from_numpy(images(2, 3, 64, 64))
    with tf.no_grad():
        model(x)  # statistics of its own
        folded = nn.utils.fold_batch_norm(model, x)
        want = model.eval()(x)
        got = folded(x)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    assert any(isinstance(m, nn.BatchNorm2d) for m in model.modules()), "the model itself stays as it is"
    np.testing.assert_allclose(got.numpy(), want.numpy(), atol=1e-4 * float(want.abs().max()))


def test_fusing_one_pair():
    tf.manual_seed(0)
    conv, bn = nn.Conv2d(3, 6, 3, stride=2, groups=3), nn.BatchNorm2d(6)
    x = tf.randn(4, 3, 9, 9)
    bn(conv(x))
    with pytest.raises(RuntimeError, match="fuse_conv_bn_eval: needs both in eval mode"):
        nn.utils.fuse_conv_bn_eval(conv, bn)
    conv.eval(), bn.eval()
    fused = nn.utils.fuse_conv_bn_eval(conv, bn)
    with tf.no_grad():
        np.testing.assert_allclose(fused(x).numpy(), bn(conv(x)).numpy(), rtol=1e-4, atol=1e-5)
    with pytest.raises(RuntimeError, match="6 channels out of conv and 5 into bn"):
        nn.utils.fuse_conv_bn_eval(conv, nn.BatchNorm2d(5).eval())
    with pytest.raises(RuntimeError, match="needs running statistics"):
        nn.utils.fuse_conv_bn_eval(conv, nn.BatchNorm2d(6, track_running_stats=False).eval())


def test_folding_what_is_used_twice_is_refused():
    class Both(nn.Module):
        def __init__(self):
            self.conv, self.bn = nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2)
            self.bn.running_mean.fill_(3.0)

        def forward(self, x):
            y = self.conv(x)
            return self.bn(y) + y

    with pytest.raises(RuntimeError, match="fold_batch_norm: the folded model must compute the same"):
        nn.utils.fold_batch_norm(Both(), tf.randn(2, 2, 5, 5))


@pytest.mark.parametrize(
    "m, k, n", [(49, 4608, 512), (600, 300, 50), (3, 5000, 700), (64, 512, 10), (5, 3, 2), (0, 4, 3)]
)
@pytest.mark.parametrize("turned", [False, True])
def test_products_are_the_same_however_they_are_divided(m, k, n, turned):
    a = normal(k, m).T if turned else normal(m, k)
    b = normal(k, n)
    want = a.astype(np.float64) @ b
    out = np.full((m, n), np.nan, np.float32)
    assert linear.product(a, b, out=out) is out
    for got in (linear.matmul(a, b), linear.product(a, b), out):
        np.testing.assert_allclose(got, want, atol=1e-5 * k**0.5 * 4)


@pytest.mark.parametrize("lead", [(), (3,), (2, 3), (2, 0), (4, 2, 3)])
@pytest.mark.parametrize("k", [0, 5])
def test_a_linear_layer_of_any_number_of_axes(lead, k):
    """All rows are one product, also none of them, or rows of nothing."""
    x, w, b = normal(*lead, 2, k), normal(4, k, seed=1), normal(4, seed=2)
    got = FastCPU().linear(x, w, b, relu=False)
    np.testing.assert_allclose(got, x @ w.T + b, atol=1e-5)
    assert got.shape == (*lead, 2, 4) and got.dtype == np.float32


@pytest.mark.parametrize(
    "a, b", [((9, 40, 50), (9, 50, 60)), ((5, 1, 40, 50), (3, 50, 60)), ((1, 3, 40, 90), (7, 3, 90, 60)),
             ((40, 300), (4, 300, 60)), ((2, 3, 40, 90), (90, 60)), ((1, 3, 64, 90), (3, 90, 64))],
)  # fmt: skip
def test_a_batch_of_products_is_divided(monkeypatch, a, b):
    """Batches alike, expanded, or missing: the products of each matrix, and two threads make them."""
    x, w, blocks = normal(*a), normal(*b, seed=1), []
    whole = linear.parallel
    monkeypatch.setattr(linear, "parallel", lambda f, n, block: (blocks.append(-(-n // block)), whole(f, n, block)))
    got = FastCPU().matmul(x, w)
    np.testing.assert_allclose(got, x.astype(np.float64) @ w, atol=1e-3)
    assert got.dtype == np.float32 and blocks == ([] if len(got) == 1 else [min(len(got), tf.get_num_threads())])


@BOTH
@pytest.mark.parametrize(
    "hw, kernel, stride, padding, dilation",
    [
        ((40, 30), (3, 3), (2, 2), (1, 1), (1, 1)),
        ((33, 41), (2, 3), (1, 2), (1, 0), (2, 1)),
        ((64, 64), (5, 5), (3, 1), (2, 2), (1, 1)),
        ((9, 200), (3, 3), (2, 2), (0, 0), (1, 1)),
    ],
)
def test_a_single_image_is_pooled_by_rows(which, hw, kernel, stride, padding, dilation):
    x = np.random.default_rng(0).integers(0, 9, (1, *hw, 16)).astype(np.float32).transpose(0, 3, 1, 2)
    out = windows.fits(hw, kernel, stride, padding, dilation)
    geometry = dict(kernel=kernel, stride=stride, padding=padding, dilation=dilation, out=out)
    for mine, definition in zip(FastCPU(which).max_pool2d(x, **geometry), CPU().max_pool2d(x, **geometry), strict=True):
        np.testing.assert_array_equal(mine, definition)
