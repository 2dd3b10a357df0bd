"""Binary cross-entropy of logits against its definition in float64, with every access to memory watched."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from tinygrad_fast import backend

from .test_matmul import DTYPES, EPS, laid_out

WEIGHTS = [None, (), (1,), (5,), (1, 5), (3, 1), (3, 5), (2, 1, 5), (2, 3, 5)]


@pytest.mark.parametrize("dtype", DTYPES)
def test_values_and_gradients(machine, dtype, tally):
    name = "binary_cross_entropy_with_logits"
    before = machine.launch.counts.copy()
    eps = EPS[np.dtype(dtype).name]
    least = 8 * min(eps, EPS["float32"])

    @given(st.data())
    def any_loss(data):
        rng = np.random.default_rng(data.draw(st.integers(0, 99)))
        high = data.draw(st.sampled_from([1, 30, 1e4]))
        x, t, g = (rng.uniform(low, top, (2, 3, 5)).astype(dtype) for low, top in ((-high, high), (0, 1), (-1, 1)))
        if data.draw(st.booleans()):
            t = t.round()
        x, t = (laid_out(a, data.draw(st.sampled_from(["in order", "transposed", "reversed"]))) for a in (x, t))
        shape = data.draw(st.sampled_from(WEIGHTS))
        p = None if shape is None else np.asarray(rng.uniform(0.5, 2, shape)).astype(dtype)
        plain, wide = backend.CPU(), [None if a is None else a.astype(np.float64) for a in (g, x, t, p)]
        y, dx = getattr(machine, name)(x, t, p), getattr(machine, f"{name}_back")(g, x, t, p)
        want, want_dx = getattr(plain, name)(*wide[1:]), getattr(plain, f"{name}_back")(*wide)
        assert y.dtype == dx.dtype == x.dtype
        assert not (~(abs(y - want) <= eps * abs(want) * 4 + least)).any()
        assert not (~(abs(dx - want_dx) <= eps * abs(want_dx) * 4 + least)).any()

    any_loss()
    for kernel, n in (machine.launch.counts - before).items():
        tally(kernel=kernel, launches=n)


def test_small_losses_keep_their_digits(machine):
    x = np.array([40, -40, 88], np.float32)
    y = machine.binary_cross_entropy_with_logits(x, np.array([1, 0, 1], np.float32), None)
    np.testing.assert_allclose(y, np.exp([-40.0, -40.0, -88.0]), rtol=1e-6)
