"""Convolution and its gradients against NumPy in float64, with every access to memory watched.

|y - want| <= (L + 2) eps_A sum |x| |w| + eps_T |want|, L the number of products in the sum.
"""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from tinygrad_fast.backend import windows

from .test_matmul import DTYPES, EPS, laid_out


def close(got, want, size, length, dtype):
    eps = EPS[np.dtype(dtype).name]
    allowed = (length + 2) * min(eps, EPS["float32"]) * size + eps * abs(want) + 2.0**-24
    assert got.dtype == dtype and got.shape == want.shape
    assert not (~(abs(got.astype(np.float64) - want) <= allowed)).any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_forward_and_both_gradients(machine, dtype, tally):
    before = machine.launch.counts.copy()

    @given(st.data())
    def any_convolution(data):
        one_to = lambda n: data.draw(st.integers(1, n))  # noqa: E731
        groups, n, k = one_to(3), one_to(2), (one_to(3), one_to(3))
        c, o, stride, dilation = groups * one_to(3), groups * one_to(3), (one_to(3), one_to(2)), (one_to(2), one_to(2))
        padding, hw = (one_to(3) - 1, one_to(2) - 1), (4 + one_to(6), 4 + one_to(5))
        geometry = (stride, padding, dilation, groups)
        rng = np.random.default_rng(data.draw(st.integers(0, 99)))
        x = rng.standard_normal((n, c, *hw)).astype(dtype)
        w = rng.standard_normal((o, c // groups, *k)).astype(dtype)
        g = rng.standard_normal((n, o, *windows.fits(hw, k, stride, padding, dilation))).astype(dtype)
        x, w, g = (laid_out(a, data.draw(st.sampled_from(["in order", "transposed", "reversed"]))) for a in (x, w, g))
        xw, ww, gw = (a.astype(np.float64) for a in (x, w, g))
        for name, a, b, more in (
            ("conv2d", (x, xw), (w, ww), ()),
            ("conv2d_dx", (g, gw), (w, ww), (hw,)),
            ("conv2d_dw", (g, gw), (x, xw), (k,)),
        ):
            plain = getattr(windows, name)
            want, size = plain(a[1], b[1], *geometry, *more), plain(abs(a[1]), abs(b[1]), *geometry, *more)
            close(getattr(machine, name)(a[0], b[0], *geometry, *more), want, size, x.size + w.size + g.size, dtype)

    any_convolution()
    for kernel, n in (machine.launch.counts - before).items():
        tally(kernel=kernel, launches=n)


@pytest.mark.parametrize("relu", [False, True])
def test_bias_residual_and_relu(machine, relu):
    rng = np.random.default_rng(0)
    x, w, b, res = (rng.standard_normal(s).astype(np.float32) for s in ((2, 3, 5, 6), (4, 3, 3, 3), (4,), (2, 4, 5, 6)))
    y = machine.conv2d_epilogue(x, w, b, laid_out(res, "transposed"), relu, (1, 1), (1, 1), (1, 1), 1)
    want = windows.conv2d(x, w, (1, 1), (1, 1), (1, 1), 1) + b[:, None, None] + res
    np.testing.assert_allclose(y, np.maximum(want, 0) if relu else want, rtol=1e-5, atol=1e-5)
    assert windows.memory_order(y) == [0, 2, 3, 1]  # channels-last
