"""Random numbers and dropout: those of the CPU, bit for bit, with every access to memory watched."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

import tinygrad_fast as tf
import tinygrad_fast.nn.functional as F
from tinygrad_fast import backend, rng

from .test_matmul import DTYPES, EPS

KEY = tf.Generator(2**40 + 3).key()


def images(draw, dtype):
    """Some array: images in either memory order, with gaps, or of other axes; often not divisible by four."""
    n, c, h, w = (draw(st.integers(0 if i == 0 else 1, 7)) for i in range(4))
    x = np.random.default_rng(0).standard_normal((n, c, h, w + 1)).astype(dtype)[..., 1:]
    kind = draw(st.sampled_from(["gaps", "last", "transposed", "plain", "shifted"]))
    if kind == "last":
        return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    if kind == "transposed":
        return x[0].reshape(c, h * w).T if n else x
    return {"gaps": x, "plain": np.ascontiguousarray(x), "shifted": np.ascontiguousarray(x).reshape(-1)[1:]}[kind]


@given(st.data())
def test_numbers_are_those_of_the_cpu(machine, data):
    x = images(data.draw, np.float64)
    u, want = machine.uniform_like(x, KEY), backend.CPU().uniform_like(x, KEY)
    assert u.dtype == np.float32
    np.testing.assert_array_equal(u, want)
    np.testing.assert_array_equal(machine.uniform(KEY, x.shape), want)


def test_counters_have_64_bits(run):
    """Number 2^34 is the first whose counter has an upper word: asked for through a kernel of its own."""
    for at in (2**32 - 1, 2**32, 2**40 + 5):
        y = np.empty(4, np.uint32)
        run("random_numbers", (1,), (4,), key=KEY, y=y, at=at)
        np.testing.assert_array_equal(y, rng.bits(KEY, 4, 4 * at))


@pytest.mark.parametrize("dtype", DTYPES)
def test_dropout_and_its_gradient(machine, dtype, tally):
    before, eps = machine.launch.counts.copy(), EPS[np.dtype(dtype).name]

    @given(st.data())
    def dropped(data):
        x, p = images(data.draw, dtype), data.draw(st.sampled_from([0.1, 0.5, 0.75, 1.0]))
        y, kept = machine.dropout(x, KEY, p)
        want, mask = backend.CPU().dropout(x.astype(np.float64), KEY, p)
        assert y.dtype == dtype and kept.dtype == np.bool_
        np.testing.assert_array_equal(kept, mask)
        np.testing.assert_allclose(y.astype(np.float64), want, rtol=2 * eps)
        g = np.random.default_rng(1).standard_normal(x.shape).astype(dtype)
        want = backend.CPU().dropout_back(g.astype(np.float64), mask, p)
        np.testing.assert_allclose(machine.dropout_back(g, kept, p).astype(np.float64), want, rtol=2 * eps)

    dropped()
    for kernel, n in (machine.launch.counts - before).items():
        tally(kernel=kernel, launches=n)


def test_a_number_that_equals_p_is_kept(machine):
    u = rng.uniform(KEY, 8)
    _, kept = machine.dropout(np.ones(8, np.float32), KEY, float(u[3]))
    assert kept[3] and kept.tolist() == (u >= u[3]).tolist()


def test_the_mask_of_a_seed_is_the_same_on_every_machine(device):
    counts, found = backend.get(device).launch.counts, []
    counts.clear()
    for where in ("cpu", device):
        tf.manual_seed(7)
        x = tf.ones(2, 3, 4, 5).to(where).requires_grad_()
        y = F.dropout(x, 0.3)
        y.sum().backward()
        found += [y.tolist(), x.grad.tolist()]
    assert found[0] == found[2] and found[1] == found[3]
    assert counts == {"dropout": 1, "sum": 1, "dropout_back": 1}
