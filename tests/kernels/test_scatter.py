"""Reading by index, in reverse: against the definition in float64, with every access to memory watched."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

import tinygrad_fast as tf
import tinygrad_fast.nn.functional as F
from tinygrad_fast import backend
from tinygrad_fast.backend.cuda import Emulated
from tinygrad_fast.shapes import Slot

from .test_matmul import DTYPES, EPS

PLAIN = backend.CPU()


@pytest.fixture(params=[True, False], ids=["sorted", "atomic"])
def deterministic(request):
    tf.use_deterministic_algorithms(request.param)
    yield request.param
    tf.use_deterministic_algorithms(True)


def close(got, want, terms, eps):
    """Rounded once at the end, and each sum of that many terms in float32 (float64)."""
    assert got.shape == want.shape
    allowed = eps * abs(want) + terms * min(eps, EPS["float32"]) * abs(want).max(initial=1)
    assert not (~(abs(got.astype(np.float64) - want) <= allowed)).any()


def places(rng, kind, n, rows):
    """Indices: all different rows likely, few rows, one row, or long and short runs side by side."""
    most = {"many": rows, "few": min(rows, 3), "one": 1, "runs": rows}[kind]
    return np.sort(rng.integers(0, most, n) // 3 * 3 % rows) if kind == "runs" else rng.integers(0, most, n)


@pytest.mark.parametrize("dtype", DTYPES)
def test_tables(machine, dtype, deterministic, tally):
    before, eps = machine.launch.counts.copy(), EPS[np.dtype(dtype).name]

    @given(st.data())
    def added(data):
        n, rows = data.draw(st.sampled_from([0, 1, 31, 32, 33, 64, 200, 1100])), data.draw(st.integers(1, 40))
        width = data.draw(st.sampled_from([1, 3, 32, 130] if n < 1000 else [1, 2]))
        rng = np.random.default_rng(data.draw(st.integers(0, 99)))
        index = places(rng, data.draw(st.sampled_from(["many", "few", "one", "runs"])), n, rows)
        g = rng.standard_normal((width, n)).astype(dtype).T if data.draw(st.booleans()) else None
        g = rng.standard_normal((n, width)).astype(dtype) if g is None else g
        padding = data.draw(st.sampled_from([None, 0, rows - 1]))
        got = machine.embedding_back(index.astype(np.int32), g, rows, padding)
        want = PLAIN.embedding_back(index, g.astype(np.float64), rows, padding)
        assert got.dtype == dtype
        close(got, want, max(n, 1), eps)

    added()
    ran = machine.launch.counts - before
    assert set(ran) == ({"scatter", "scatter_parts"} if deterministic else {"scatter_atomic"})
    for kernel, n in ran.items():
        tally(kernel=kernel, launches=n)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_are_read_in_packs_where_they_can_be(dtype, monkeypatch):
    """16 bytes at a time, or a number: the same sums in the same order, so the same bits."""
    flat = np.random.default_rng(0).standard_normal(200 * 24 + 1).astype(dtype)
    rows = {"whole": flat[:-1].reshape(200, 24).copy(), "shifted": flat[1:].reshape(200, 24)}
    rows["shifted"][...] = rows["whole"]
    rows["odd"] = rows["whole"][:, :23]
    machine, index, packed, found = Emulated(check=True), np.repeat(np.arange(8), 25), [], {}
    launch = machine.launch
    monkeypatch.setattr(machine, "launch", lambda *a, **k: packed.append(k["defines"]["PACKED"]) or launch(*a, **k))
    for name, g in rows.items():
        packed.clear()
        found[name] = machine.embedding_back(index, g, 8, None)
        assert packed == [name == "whole"] * 2
    assert found["whole"].tobytes() == found["shifted"].tobytes()
    assert found["whole"][:, :23].tobytes() == found["odd"].tobytes()


def test_a_hundred_thousand_equal_indices_are_a_tree():
    """No thread adds more than 32 numbers, at any of four levels."""
    machine, n = Emulated(), 100_000
    d = machine.embedding_back(np.full(n, 2), np.ones((n, 1), np.float32), 4, None)
    assert d.tolist() == [[0], [0], [n], [0]]
    assert machine.launch.counts == {"scatter": 1, "scatter_parts": 3}


def test_what_lies_outside_is_left_out(machine, deterministic):
    d = machine.embedding_back(np.array([0, 7, 1, -9]), np.ones((4, 2), np.float32), 3, None)
    assert d.tolist() == [[1, 1], [1, 1], [0, 0]]


def test_sums_of_16_bits_are_rounded_once(machine, deterministic):
    n = 1000  # in float16, 0.1 stops counting at 256
    d = machine.embedding_back(np.zeros(n, int), np.full((n, 1), 0.1, np.float16), 1, None)
    assert d.dtype == np.float16 and abs(d.item() - n * np.float16(0.1)) < 0.05


def any_key(draw):
    """A shape, a key with one index array or two, and the arrays."""
    shape = draw(st.sampled_from([(5,), (4, 3), (3, 5, 4), (2, 3, 4, 3)]))
    arrays = draw(st.integers(1, min(2, len(shape))))
    among = draw(st.sampled_from([(3,), (2, 3), (1,), ()]))
    rng, indices, key = np.random.default_rng(draw(st.integers(0, 99))), [], []
    for axis in sorted(draw(st.permutations(range(len(shape))))[:arrays]):
        while len(key) < axis:
            n = shape[len(key)]
            key.append(draw(st.sampled_from([slice(None), slice(1, None), slice(0, n, 2), slice(0, 0)])))
        index = rng.integers(-shape[axis], shape[axis], among if not indices else among[-1:])
        key.append(Slot(len(indices)))
        indices.append(index)
    if draw(st.booleans()) and len(key) < len(shape):
        key.append(draw(st.sampled_from([Ellipsis, slice(1, None), 1, -1])))
    if draw(st.booleans()):
        key.insert(draw(st.sampled_from([0, len(key)])), None)
    return shape, tuple(key), indices


@given(st.data())
def test_every_key(machine, data):
    shape, key, indices = any_key(data.draw)
    g = PLAIN.getitem(np.zeros(shape), *indices, key=key)
    g = np.random.default_rng(0).standard_normal(g.shape)
    if g.ndim and data.draw(st.booleans()):
        g = np.asfortranarray(g)
    got = machine.getitem_back(g, *indices, key=key, shape=shape)
    np.testing.assert_allclose(got, PLAIN.getitem_back(g, *indices, key=key, shape=shape), rtol=1e-12, atol=1e-14)


@given(st.data())
def test_gather(machine, data):
    """Few entries in a column, each of which looks for its equals; many, which are sorted; fewer columns than x has."""
    sides = [data.draw(st.integers(1, 3)) for _ in range(data.draw(st.integers(1, 4)))]
    axis, smaller = data.draw(st.integers(0, len(sides) - 1)), data.draw(st.booleans())
    m, k = data.draw(st.sampled_from([0, 1, 5, 64, 65, 150])), data.draw(st.integers(1, 6))
    shape = tuple(k if i == axis else n + smaller for i, n in enumerate(sides))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    index = rng.integers(-k, k, [m if i == axis else n for i, n in enumerate(sides)])
    g = rng.standard_normal(index.shape)
    if len(sides) == 4 and data.draw(st.booleans()):
        g = np.ascontiguousarray(g.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    before = machine.launch.counts.copy()
    got = machine.gather_back(g, index, axis, shape)
    np.testing.assert_allclose(got, PLAIN.gather_back(g, index, axis, shape), rtol=1e-12, atol=1e-13)
    assert not m or ("gather_back" if m <= 64 else "scatter") in machine.launch.counts - before


@pytest.mark.parametrize("dtype", DTYPES)
def test_gather_rounds_once(machine, dtype):
    rng, eps = np.random.default_rng(0), EPS[np.dtype(dtype).name]
    g, index = rng.standard_normal((2, 40, 3)).astype(dtype), rng.integers(0, 2, (2, 40, 3))
    got = machine.gather_back(g, index, 1, (2, 4, 3))
    assert got.dtype == dtype
    close(got, PLAIN.gather_back(g.astype(np.float64), index, 1, (2, 4, 3)), 40, eps)


def test_images_keep_their_memory_order(machine):
    last = np.ones((2, 3, 3, 4)).transpose(0, 3, 1, 2)
    for d in (
        machine.getitem_back(last, np.array([1, 1]), key=(Slot(0),), shape=(5, 4, 3, 3)),
        machine.gather_back(last, np.zeros((2, 4, 3, 3), int), 2, (2, 4, 9, 3)),
        machine.pixels_back(last, np.zeros((2, 3, 3), int), (4, 4)),
    ):
        assert d.transpose(0, 2, 3, 1).flags.c_contiguous


def test_what_users_call_runs_the_kernels():
    machine = backend.get("emulated")
    x = tf.rand(6, 5).to("emulated").requires_grad_()
    index = tf.tensor([[0, 1], [1, 4]]).to("emulated")
    calls = {
        "embedding": (lambda: F.embedding(index, x), {"scatter": 1}),
        "getitem": (lambda: x[index], {"scatter": 1}),
        "columns": (lambda: x[:, [0, 0, 1]], {"scatter": 1}),
        "gather": (lambda: x.gather(1, index), {"gather_back": 1}),
        "max": (lambda: x.max(dim=1).values, {"gather_back": 1}),
        "slice": (lambda: x[1:3], {}),
    }
    for name, (f, want) in calls.items():
        machine.launch.counts.clear()
        f().sum().backward()
        assert {k: n for k, n in machine.launch.counts.items() if k in ("scatter", "gather_back")} == want, name


def test_the_choice_is_a_bool():
    assert tf.are_deterministic_algorithms_enabled()
    with pytest.raises(TypeError, match="mode is True or False; got 'no'"):
        tf.use_deterministic_algorithms("no")
