"""grid_sample and its two gradients against the definition in float64, with every access to memory watched."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

import tinygrad_fast as tf
import tinygrad_fast.nn.functional as F
from tinygrad_fast import backend

from .conftest import unwatched
from .test_matmul import DTYPES, EPS

PLAIN = backend.CPU()


def lying(x, order):
    """x with its channels first or last in memory, or with gaps."""
    if order == "last":
        return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    return np.repeat(x, 2, axis=3)[..., ::2] if order == "gaps" else x


@pytest.mark.parametrize("order", ["first", "last", "gaps"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_values_and_gradients(machine, dtype, order, tally):
    before, eps = machine.launch.counts.copy(), EPS[np.dtype(dtype).name]

    def close(got, want, terms, size):
        assert got.dtype == dtype and got.shape == want.shape
        allowed = eps * abs(want) + 32 * terms * min(eps, EPS["float32"]) * size
        assert not (~(abs(got.astype(np.float64) - want) <= allowed)).any()

    @given(st.data())
    def sampled(data):
        n, h, w, oh, ow = (data.draw(st.integers(1, 5)) for _ in range(5))
        c, align = data.draw(st.sampled_from([3, 33, 1, 2, 70])), data.draw(st.booleans())
        mode = data.draw(st.sampled_from(["bilinear", "bilinear", "nearest"]))
        padding = data.draw(st.sampled_from(["zeros", "border", "reflection"]))
        rng, static = np.random.default_rng(data.draw(st.integers(0, 99))), (mode, padding, align)
        x = lying(rng.standard_normal((n, c, h, w)).astype(dtype), order)
        g = lying(rng.standard_normal((n, c, oh, ow)).astype(dtype), data.draw(st.sampled_from([order, "first"])))
        grid = rng.uniform(-2.5, 2.5, (n, oh, ow, 2)).astype(dtype)
        xd, gd, at = (a.astype(np.float64) for a in (x, g, grid))
        y = machine.grid_sample(x, grid, *static)
        close(y, PLAIN.grid_sample(xd, at, *static), 4, 10)
        if order == "last":
            assert y.transpose(0, 2, 3, 1).flags.c_contiguous
        dx = machine.grid_sample_dx(g, grid, *static, hw=(h, w))
        close(dx, PLAIN.grid_sample_dx(gd, at, *static, hw=(h, w)), oh * ow, 10)
        close(machine.grid_sample_dgrid(g, x, grid, *static), PLAIN.grid_sample_dgrid(gd, xd, at, *static), c, 50)

    sampled()
    for kernel, n in (machine.launch.counts - before).items():
        tally(kernel=kernel, launches=n)


def test_places_far_away_or_nowhere(machine):
    x = np.ones((1, 2, 3, 3), np.float32)
    grid = np.array([[np.nan, 0], [3e38, -3e38], [np.inf, 0], [0, 0]], np.float32)[None, None]
    y = machine.grid_sample(x, grid, "bilinear", "zeros", False)
    assert y.tolist() == [[[[0, 0, 0, 1]], [[0, 0, 0, 1]]]]
    g = np.ones_like(y)
    assert machine.grid_sample_dx(g, grid, "bilinear", "zeros", False, hw=(3, 3)).sum() == 2
    assert not machine.grid_sample_dgrid(g, x, grid, "bilinear", "zeros", False).any()


@unwatched
def test_a_thousand_places_at_one_pixel(machine):
    """Every place of a large grid may read the same pixel: its sum is a tree, and no atomic operation."""
    before, grid = machine.launch.counts.copy(), np.zeros((1, 30, 40, 2), np.float32)
    dx = machine.grid_sample_dx(np.ones((1, 2, 30, 40), np.float32), grid, "nearest", "zeros", True, hw=(3, 3))
    assert dx[0, :, 1, 1].tolist() == [1200, 1200] and dx.sum() == 2400
    assert machine.launch.counts - before == {"grid_sample_corners": 1, "scatter": 1, "scatter_parts": 2}


@pytest.mark.parametrize("deterministic", [True, False])
def test_what_users_call_runs_the_kernels(device, deterministic):
    counts, found = backend.get(device).launch.counts, []
    tf.use_deterministic_algorithms(deterministic)
    try:
        for where in ("cpu", device):
            tf.manual_seed(0)
            x, theta = tf.rand(2, 3, 5, 4, dtype=tf.float64), tf.rand(2, 2, 3, dtype=tf.float64)
            x, theta = (a.to(where).requires_grad_() for a in (x, theta))
            counts.clear()
            y = F.grid_sample(x, F.affine_grid(theta, x.shape, align_corners=False), align_corners=False)
            (y * y).sum().backward()
            found.append([y.tolist(), x.grad.tolist(), theta.grad.tolist()])
    finally:
        tf.use_deterministic_algorithms(True)
    for a, b in zip(*found):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
    ran = {kernel: n for kernel, n in counts.items() if kernel[:6] != "matmul" and kernel != "sum"}
    sums = {"scatter": 1, "scatter_parts": 1} if deterministic else {"scatter_atomic": 1}
    assert ran == {"grid_sample": 1, "grid_sample_dgrid": 1, "grid_sample_corners": 1, **sums}
