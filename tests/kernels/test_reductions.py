"""Reductions and the softmax family against their definitions in float64, with every access to memory watched.

A result may differ by the roundings of A along a sum, at most one for each number, and by one of T.
"""

from math import prod

import numpy as np
import pytest
from hypothesis import given, strategies as st

import tinygrad_fast as tf
import tinygrad_fast.nn.functional as F
from tinygrad_fast import backend, nn
from tinygrad_fast.backend.cuda import Emulated
from tinygrad_fast.backend.launchers import reductions

from .test_matmul import DTYPES, EPS

PLAIN = backend.CPU()
SHAPES = [(), (1,), (7,), (0, 3), (5, 33), (40, 3), (3, 700), (2, 3, 4, 5), (2, 40, 1, 6), (2, 1, 3, 2, 3, 2, 3, 2, 2)]
REDUCTIONS = ["sum", "mean", "prod", "amax", "amin", "var", "logsumexp"]


def laid_out(draw, x):
    """x, or a part or an expansion of it, in some memory order."""
    if not x.ndim:
        return x
    order = draw(st.permutations(range(x.ndim)))
    x = np.ascontiguousarray(x.transpose(order)).transpose(np.argsort(order).tolist())
    how = draw(st.sampled_from(["whole", "reversed", "every other", "expanded"]))
    if how == "whole":
        return x
    axis = draw(st.integers(0, x.ndim - 1))
    part = {"reversed": slice(None, None, -1), "every other": slice(None, None, 2), "expanded": slice(0, 1)}[how]
    y = x[(slice(None),) * axis + (part,)]
    return np.broadcast_to(y, x.shape) if how == "expanded" else y


def close(y, want, dtype, roundings, size):
    """Not further from `want` than so many roundings of A, on numbers of that size, and one of T."""
    assert y.shape == want.shape and y.dtype == dtype
    name = np.dtype(dtype).name
    wide = EPS[name] if name == "float64" else EPS["float32"]
    allowed = roundings * wide * size + EPS[name] * abs(want) + 2.0**-24 * (name == "float16")
    assert (~(abs(y.astype(np.float64) - want) <= 1.01 * allowed)).sum() == np.isnan(want).sum() == np.isnan(y).sum()


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_axes_of_any_memory(machine, dtype, tally):
    before = machine.launch.counts.copy()

    @given(st.data())
    def every(data):
        draw, name = data.draw, data.draw(st.sampled_from(REDUCTIONS))
        shape = draw(st.sampled_from(SHAPES))
        axis = tuple(i for i in range(len(shape)) if draw(st.booleans()))
        rng = np.random.default_rng(draw(st.integers(0, 99)))
        x = laid_out(draw, rng.uniform(0.9, 1.1, shape).astype(dtype))
        count = prod(x.shape[i] for i in axis)
        if not count and name in ("amax", "amin", "logsumexp"):
            with pytest.raises(ValueError, match="zero-size"):
                getattr(machine, name)(x, axis=axis)
            return
        static = dict(axis=axis, keepdims=draw(st.booleans())) | ({"correction": 1} if name == "var" else {})
        y, want = getattr(machine, name)(x, **static), getattr(PLAIN, name)(x.astype(np.float64), **static)
        exact = name in ("amax", "amin")
        size = 0 if exact else 0.05 if name == "var" else abs(want) + (4 if name == "logsumexp" else 0)
        close(y, want, dtype, 2 * count + 4, size)

    every()
    for kernel, n in (machine.launch.counts - before).items():
        tally(kernel=kernel, launches=n)


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_and_its_gradients(machine, dtype, tally):
    before = machine.launch.counts.copy()

    @given(st.data())
    def every(data):
        draw, name = data.draw, data.draw(st.sampled_from(["softmax", "log_softmax", "logsumexp"]))
        shape = draw(st.sampled_from([s for s in SHAPES if s]))
        axis = draw(st.integers(0, len(shape) - 1))
        rng = np.random.default_rng(draw(st.integers(0, 99)))
        x, g = (laid_out(draw, rng.uniform(-2, 2, shape).astype(dtype)) for _ in "xg")
        if not (c := x.shape[axis]):
            return
        g = rng.standard_normal(x.shape).astype(dtype) if g.shape != x.shape else g
        near = np.float64(x)
        if name == "logsumexp":
            axes = tuple(sorted({axis, draw(st.integers(0, len(shape) - 1))}))
            if not all(x.shape[i] for i in axes):
                return
            y = PLAIN.logsumexp(near, axis=axes, keepdims=True).astype(dtype)
            h = rng.standard_normal(y.shape).astype(dtype)
            got, want = (
                xp.logsumexp_back(h.astype(t), x.astype(t), y.astype(t), axis=axes)
                for xp, t in ((machine, dtype), (PLAIN, np.float64))
            )
            return close(got, want, dtype, 10 + 3 * c, abs(want) * (1 + EPS[np.dtype(dtype).name]))
        y, want = getattr(machine, name)(x, axis=axis), getattr(PLAIN, name)(near, axis=axis)
        close(y, want, dtype, c + 10, 8 if name == "log_softmax" else want)
        back = name + "_back"
        dx, want = (
            getattr(machine, back)(g, y, axis=axis),
            getattr(PLAIN, back)(np.float64(g), np.float64(y), axis=axis),
        )
        close(dx, want, dtype, 2 * c + 10, 1 + c * abs(np.float64(g)).max(initial=0))

    every()
    for kernel, n in (machine.launch.counts - before).items():
        tally(kernel=kernel, launches=n)


def test_sums_of_every_tiling(machine, tally):
    """Few and many results, short and long rows, in one launch or cut into pieces: R, K, launches."""
    rng = np.random.default_rng(0)
    sizes = [(3, 5000), (40, 600), (600, 2), (3000, 2), (9000, 1), (70_000, 1), (30_000, 3), (5000, 40)]
    for (r, k), launches in zip(sizes, [1, 1, 1, 1, 1, 2, 2, 2], strict=True):
        x = (1e4 + rng.standard_normal((r, k))).astype(np.float32)
        for near in (x, np.ascontiguousarray(x.T).T):  # columns, then rows
            for name, static in (("sum", {}), ("var", {"correction": 0}), ("logsumexp", {})):
                machine.launch.counts.clear()
                y = getattr(machine, name)(near, axis=(0,), **static)
                assert machine.launch.counts[name] <= launches, (r, k)
                tally(kernel=name, launches=machine.launch.counts[name])
                want = getattr(PLAIN, name)(np.float64(x), axis=(0,), **static)
                np.testing.assert_allclose(y, want, rtol=1e-6)
    machine.launch.counts.clear()
    machine.sum(np.zeros(70_000, np.float32), axis=(0,))
    assert machine.launch.counts["sum"] == 2


@pytest.mark.parametrize("name", [*REDUCTIONS, "argmax", "argmin"])
def test_counted_in_64_bits(monkeypatch, name):
    """What 2^31 numbers need, with fewer: the same bits. Rows and columns, cut and whole, several axes of each kind."""
    machine, rng = Emulated(), np.random.default_rng(0)
    static, seen, launched = ({"correction": 1} if name == "var" else {}), [], []
    given = [((3, 700), (0,)), ((3, 700), (1,)), ((20_000, 3), (0,)), ((2, 40, 3, 6), (1, 3)), ((5, 4, 3), (0, 1, 2))]
    given = [(1 + rng.random(shape, np.float32), axis) for shape, axis in given]
    run = machine.launch.machine.run
    monkeypatch.setattr(machine.launch.machine, "run", lambda lib, *a: (launched.append(lib.defines), run(lib, *a))[1])
    for large in (1 << 31, 0):
        monkeypatch.setattr(reductions, "LARGE", large)
        axes = (lambda axis: axis[0]) if name.startswith("arg") else tuple
        seen.append([getattr(machine, name)(x, axis=axes(axis), **static) for x, axis in given])
    half = len(launched) // 2
    assert [d.get("INDEX") for d in launched] == [None] * half + ["i64"] * half
    for a, b in zip(*seen, strict=True):
        np.testing.assert_array_equal(a, b)


def test_more_than_32_bits_count():
    """What is launched for 5 numbers, each 2^30 + 1 times, and as many results of 5: none of it runs here."""
    machine, launched = Emulated(), []
    machine.launch.machine.run = lambda library, *given: launched.append((library.defines, *given))
    x = np.broadcast_to(np.zeros((5, 1), np.float32), (5, 2**30 + 1))
    machine.sum(x, axis=(0, 1))
    machine.argmax(np.broadcast_to(x[0, :1], (2**33,)), axis=0)
    (first, _, grid, *_, given), (last, *_, after), (best, *_, found) = launched
    plan, reduced = given[-1], given[-2]
    assert first["INDEX"] == best["INDEX"] == "i64" and "INDEX" not in last and found[-1]["R"] == 2**33
    assert (plan["K"], plan["R"], reduced["n"].tolist()) == (1, 5 * (2**30 + 1), [1, 1, 2**30 + 1, 5])
    assert plan["length"] * (grid[1] - 1) < plan["R"] <= plan["length"] * grid[1] and after[-1]["R"] == grid[1]


@pytest.mark.gpu
def test_more_than_2_32_numbers(cuda):
    """5.4 billion, where 32 bits would begin again. (The emulator takes minutes.)"""
    x = cuda.expand(cuda.asarray(np.array([[1.0], [2], [3], [4], [-7]])), (5, 2**30 + 1))
    assert float(cuda.to_numpy(cuda.sum(x, axis=(0, 1)))) == 3 * (2**30 + 1)


def test_the_same_bits_every_time(machine):
    x = np.random.default_rng(0).standard_normal((20_000, 3)).astype(np.float32)
    assert len({machine.sum(x, axis=(0,)).tobytes() for _ in range(3)}) == 1


def test_a_large_mean_costs_no_digits(machine):
    x = (1e7 + np.random.default_rng(0).integers(-3, 3, 9000)).astype(np.float32)
    for n in (5, 9000):
        want = np.var(np.float64(x[:n]))
        np.testing.assert_allclose(machine.var(x[:n], axis=(0,), correction=0), want, rtol=1e-6)


@pytest.mark.parametrize("axis", [0, 1])
def test_nan_and_infinities(machine, axis):
    inf, nan = np.inf, np.nan
    x = np.array(
        [[1, nan, 3], [nan, nan, 1], [-inf, -inf, -inf], [inf, 1, inf], [-inf, 0, 1], [inf, -inf, 2], [5, 5, 5]]
    )
    x = x if axis else np.ascontiguousarray(x.T)
    for name, static in [
        *((name, {"axis": (axis,)}) for name in REDUCTIONS if name != "var"),
        ("var", {"axis": (axis,), "correction": 1}),
        *((name, {"axis": axis}) for name in ("softmax", "log_softmax", "argmax", "argmin")),
    ]:
        with np.errstate(all="ignore"):
            want = getattr(PLAIN, name)(x, **static)
        np.testing.assert_allclose(getattr(machine, name)(x, **static), want, rtol=1e-12, err_msg=name)
    long = np.zeros(20_000)
    long[17_000] = nan
    assert np.isnan(machine.amax(long, axis=(0,))) and machine.argmax(long, axis=0) == 17_000


def test_of_nothing(machine):
    x = np.zeros((0, 2), np.float32)
    assert machine.sum(x, axis=(0,)).tolist() == [0, 0] and machine.prod(x, axis=(0,)).tolist() == [1, 1]
    assert np.isnan(machine.mean(x, axis=(0,))).all() and np.isnan(machine.var(x, axis=(0,), correction=1)).all()
    assert machine.amax(x, axis=(1,)).shape == (0,)
    with pytest.raises(ValueError, match="empty sequence"):
        machine.argmax(x, axis=0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_first_of_equals(machine, dtype):
    x = np.random.default_rng(0).integers(0, 4, (3, 50, 70)).astype(dtype)
    for axis in (0, 1, 2):
        for near in (x, np.asfortranarray(x)):
            for name in ("argmax", "argmin"):
                y = getattr(machine, name)(near, axis=axis, keepdims=True)
                assert y.dtype == np.int64 and (y == getattr(PLAIN, name)(x, axis=axis, keepdims=True)).all()


def test_results_lie_in_memory_as_the_input_does(machine):
    x = np.zeros((2, 3, 4, 5), np.float32).transpose(0, 3, 1, 2)  # channels last
    assert machine.sum(x, axis=(0,)).transpose(1, 2, 0).flags.c_contiguous
    assert machine.softmax(x, axis=1).transpose(0, 2, 3, 1).flags.c_contiguous


@pytest.mark.parametrize("machine", ["plain", pytest.param("cuda", marks=pytest.mark.gpu)], indirect=True)
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("high", [1, 1e4])
def test_a_hundred_thousand_classes(machine, high, name):
    rng = np.random.default_rng(0)
    x, g = (rng.standard_normal((2, 100_000)).astype(np.float32) for _ in "xg")
    x *= high
    y, back = getattr(machine, name)(x, axis=1), f"{name}_back"
    np.testing.assert_allclose(y, getattr(PLAIN, name)(np.float64(x), axis=1), rtol=2e-6, atol=1e-37)
    want = getattr(PLAIN, back)(np.float64(g), np.float64(y), axis=1)
    np.testing.assert_allclose(getattr(machine, back)(g, y, axis=1), want, rtol=1e-5, atol=1e-6)


def test_what_users_call_runs_the_kernels():
    counts = backend.get("emulated").launch.counts
    x = tf.rand(4, 6).to("emulated").requires_grad_()
    for kernel, f in [
        *(
            ("sum", lambda: x.sum()),
            ("mean", lambda: x.mean(0)),
            ("var", lambda: x.var(1)),
            ("argmax", lambda: x.max(1)),
        ),
        *(("amax", lambda: x.amax((0, 1))), ("amin", lambda: x.amin(0)), ("prod", lambda: x.prod(1))),
        *(("argmin", lambda: x.argmin(1)), ("logsumexp", lambda: x.logsumexp(0))),
        *(("softmax", lambda: F.softmax(x, 1)), ("log_softmax", lambda: F.log_softmax(x, 1))),
    ]:
        counts.clear()
        f()
        assert counts == {kernel: 1}, kernel
    for kernel in ("softmax", "log_softmax", "logsumexp"):
        y = getattr(x, kernel)(1)
        g = tf.ones_like(y)
        counts.clear()
        y.backward(g)
        assert counts == {f"{kernel}_back": 1}


def test_the_gradient_of_a_bias_is_one_sum():
    counts = backend.get("emulated").launch.counts
    layer = nn.Linear(6, 3).to("emulated")
    y = layer(tf.rand(4, 5, 6).to("emulated"))
    counts.clear()
    y.backward(tf.ones_like(y))
    assert counts == {"sum": 1, "matmul_tiles": 1} and layer.bias.grad.tolist() == [20, 20, 20]


def test_integers_stay_with_the_library(machine):
    machine.launch.counts.clear()
    x = np.array([[1, 5], [3, 2]])
    assert machine.sum(x, axis=(0,)).tolist() == [4, 7] and machine.argmax(x, axis=1).tolist() == [1, 0]
    assert machine.amax(x, axis=(0, 1)) == 5 and not machine.launch.counts
