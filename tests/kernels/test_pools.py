"""Pools, resampling, unfold and fold against their definitions, with every access to memory watched.

What picks or moves numbers must be equal. Sums: |y - want| <= (L + 6) eps_A sum |w| |x| + eps_T |want|, L numbers each.
"""

import numpy as np
import pytest
from hypothesis import given, strategies as st

import tinygrad_fast as tf
import tinygrad_fast.nn.functional as F
from tinygrad_fast import backend, tables
from tinygrad_fast.backend import CPU, pooling, windows
from tinygrad_fast.backend.cuda import Emulated
from tinygrad_fast.backend.launchers import pools
from tinygrad_fast.backend.source import KernelError
from tinygrad_fast.tables import Table

from .test_matmul import DTYPES, EPS

plain = CPU()
DTYPE = pytest.mark.parametrize("dtype", DTYPES)
CHANNELS = st.sampled_from([1, 3, 8, 8, 16])  # 8 are packed in every dtype
ORDERS = st.sampled_from(["channels-last", "channels-last", "planes", "every other", "reversed", "off by one"])


def test_an_image_that_cannot_be_counted(machine):
    x = np.broadcast_to(np.float32(0), (1, 1, 2**16, 2**15))
    for call in (
        lambda: machine.max_pool2d(x, (2, 2), (2, 2), (0, 0), (1, 1), (2**15, 2**14)),
        lambda: machine.resample2d(x, tables.bins(2**16, 1), tables.bins(2**15, 1)),
        lambda: machine.resample2d(x[..., :1], tables.nearest(2**16, 2**16), tables.nearest(1, 2**15)),
        lambda: machine.adaptive_max_index(x[..., :1, :1], (2**16, 2**15)),
        lambda: machine.unfold(x, (1, 1), (1, 1), (0, 0), (1, 1)),
        lambda: machine.fold(x.reshape(1, 1, -1), (2**16, 2**15), (1, 1), (1, 1), (0, 0), (1, 1)),
    ):
        with pytest.raises(KernelError, match="fewer than 2.31 numbers.*got 65536 x 32768 pixels of 1. Cut it"):
            call()


@pytest.fixture
def sized(monkeypatch):
    """A GPU of the size drawn: a small one takes image after image, and shares no windows."""
    return lambda data: monkeypatch.setattr(pools, "MANY", data.draw(st.sampled_from([1 << 18, 1 << 10, 1])))


@pytest.fixture
def ran(machine, tally):
    """How often each kernel ran since the test began."""
    before = machine.launch.counts.copy()
    yield lambda: machine.launch.counts - before
    for kernel, n in (machine.launch.counts - before).items():
        tally(kernel=kernel, launches=n)


def laid(a, order):
    """The values of a (N, C, H, W), or what is left of them, in another order in memory."""
    if order == "planes":
        return np.ascontiguousarray(a)
    y = np.ascontiguousarray(a.transpose(windows.NHWC))
    if order == "off by one":  # in order, but it begins at no multiple of 16 bytes
        line = np.empty(y.size + 1, y.dtype)
        line[1:] = y.ravel()
        y = line[1:].reshape(y.shape)
    elif order == "every other":
        wide = np.zeros((*y.shape[:-1], 2 * y.shape[-1]), y.dtype)
        wide[..., ::2] = y
        y = wide[..., ::2]
    elif order == "reversed":
        y = np.ascontiguousarray(y[:, ::-1])[:, ::-1]
    return y.transpose(windows.NCHW)


def drawn(data, shape, dtype, ties=False):
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    a = rng.integers(-2, 3, shape) if ties else rng.standard_normal(shape)
    return laid(a.astype(dtype), data.draw(ORDERS))


def some_windows(data):
    """An image's shape and windows over it: (N, C, H, W), geometry, out."""
    one_to = lambda n: data.draw(st.integers(1, n))  # noqa: E731
    k, stride, dilation = (one_to(3), one_to(3)), (one_to(3), one_to(2)), (one_to(2), one_to(3))
    padding, hw = (k[0] // 2, k[1] // 2), (4 + one_to(5), 6 + one_to(4))
    geometry = dict(kernel=k, stride=stride, padding=padding, dilation=dilation)
    return (one_to(2), data.draw(CHANNELS), *hw), geometry, windows.fits(hw, *geometry.values())


def same(got, want, like=None):
    """Equal, NaN for NaN, of one dtype; and in the memory order of `like`."""
    assert got.dtype == want.dtype and got.shape == want.shape
    np.testing.assert_array_equal(got.astype(np.float64), want.astype(np.float64))
    if like is not None and windows.memory_order(like) == [0, 2, 3, 1]:
        assert windows.memory_order(got) == [0, 2, 3, 1]


def close(got, want, size, length, dtype):
    eps = EPS[np.dtype(dtype).name]
    allowed = (length + 6) * min(eps, EPS["float32"]) * size + eps * abs(want) + 2.0**-24
    assert got.dtype == dtype and got.shape == want.shape
    assert not (~(abs(got.astype(np.float64) - want) <= allowed)).any()


# Maximum


@DTYPE
def test_max_pool2d_and_its_gradients(machine, dtype, ran, sized):
    @given(st.data())
    def any_pool(data):
        sized(data)
        shape, geometry, out = some_windows(data)
        x = drawn(data, shape, dtype, ties=data.draw(st.booleans()))
        y, tap = machine.max_pool2d(x, out=out, **geometry)
        want, wanted_tap = plain.max_pool2d(x, out=out, **geometry)
        same(y, want, like=x)
        same(tap, wanted_tap, like=x)
        index = machine.max_pool2d_index(tap, hw=shape[2:], **geometry)
        same(index, plain.max_pool2d_index(tap, hw=shape[2:], **geometry))
        same(machine.max_pool2d_at(x, tap, **geometry), plain.max_pool2d_at(x, tap, **geometry), like=x)
        g = drawn(data, y.shape, dtype)
        d = machine.max_pool2d_back(g, tap, hw=shape[2:], **geometry)
        wide = g.astype(np.float64)
        sums = [pooling.max_pool2d_back(a, tap, hw=shape[2:], **geometry) for a in (wide, abs(wide))]
        close(d, *sums, 9, dtype)
        same(d, d, like=g)
        same(d, d, like=x)

    any_pool()
    assert {"max_pool2d", "max_pool2d_back", "max_pool2d_at"} == ran().keys()


@DTYPE
def test_nan_is_above_all_and_lowest_is_kept(machine, dtype):
    x = np.random.default_rng(0).standard_normal((2, 8, 6, 6)).astype(dtype)
    x[0, :, 2, 3], x[0, :, 2, 4], x[1, :, :4, :4], x[1, :, 5, 5] = np.nan, np.nan, -np.inf, np.inf
    geometry = dict(kernel=(3, 3), stride=(2, 2), padding=(1, 1), dilation=(1, 1))
    y, tap = machine.max_pool2d(x, out=(3, 3), **geometry)
    want, wanted_tap = plain.max_pool2d(x, out=(3, 3), **geometry)
    assert np.isnan(want.astype(float)).any() and np.isinf(want.astype(float)).any()
    same(y, want)
    same(tap, wanted_tap)


def test_windows_of_more_than_256_places(machine):
    x = laid(np.random.default_rng(0).standard_normal((1, 4, 30, 19)).astype(np.float32), "channels-last")
    geometry = dict(kernel=(20, 17), stride=(3, 1), padding=(0, 0), dilation=(1, 1))
    y, tap = machine.max_pool2d(x, out=(4, 3), **geometry)
    want, wanted_tap = plain.max_pool2d(x, out=(4, 3), **geometry)
    assert tap.max() > 255
    same(y, want)
    np.testing.assert_array_equal(tap, wanted_tap)
    d = machine.max_pool2d_back(y, tap, hw=(30, 19), **geometry)
    np.testing.assert_allclose(d, pooling.max_pool2d_back(y, tap, hw=(30, 19), **geometry), rtol=1e-6)


@DTYPE
def test_adaptive_max_index(machine, dtype, ran, sized):
    @given(st.data())
    def any_bins(data):
        sized(data)
        shape = (data.draw(st.integers(1, 2)), data.draw(CHANNELS), *(data.draw(st.integers(1, 9)) for _ in "hw"))
        x = drawn(data, shape, dtype, ties=data.draw(st.booleans())).copy(order="K")
        for value in data.draw(st.sampled_from([(), (-np.inf,), (np.nan, np.nan)])):
            x[:, :, data.draw(st.integers(0, shape[2] - 1)), data.draw(st.integers(0, shape[3] - 1))] = value
        size = data.draw(st.sampled_from([(1, 1), (1, 1), (2, 3), (4, 1), (10, 2)]))
        same(machine.adaptive_max_index(x, size), plain.adaptive_max_index(x, size))

    any_bins()
    assert ran().keys() == {"adaptive_max_index"}


# Weights


def some_table(data):
    n = data.draw(st.integers(1, 9))
    kind, size = data.draw(st.sampled_from(["mean", "bins", "nearest", "linear"])), data.draw(st.integers(1, 9))
    if kind == "mean":
        kernel, stride = data.draw(st.integers(1, n)), data.draw(st.integers(1, 4))
        padding = data.draw(st.integers(0, kernel // 2))
        out = (n + 2 * padding - kernel) // stride + 1
        table = tables.windows(n, kernel, stride, padding, out, data.draw(st.sampled_from(["padded", "inside", 2.0])))
    elif kind == "linear":
        table = tables.linear(n, size, data.draw(st.booleans()))
    else:
        table = (tables.bins if kind == "bins" else tables.nearest)(n, size)
    return table.turn() if data.draw(st.booleans()) else table


def takes(table):
    return len(table.rows) if table.turned else table.n


@DTYPE
def test_resample2d(machine, dtype, ran, sized):
    @given(st.data())
    def any_tables(data):
        sized(data)
        rows, columns = some_table(data), some_table(data)
        x = drawn(data, (data.draw(st.integers(1, 2)), data.draw(CHANNELS), takes(rows), takes(columns)), dtype)
        y = machine.resample2d(x, rows=rows, columns=columns)
        wide = x.astype(np.float64)
        close(y, *(pooling.resample2d(a, rows, columns) for a in (wide, abs(wide))), 81, dtype)
        same(y, y, like=x)

    any_tables()
    assert ran().keys() == {"resample2d"}


@DTYPE
@pytest.mark.parametrize("c", [1, 8])
def test_a_global_mean(machine, dtype, c, ran):
    """One output for many numbers: threads share the window. Of a large one, columns are summed before rows."""
    for n, launches in ((13, 1), (50, 3)):
        x = np.random.default_rng(0).standard_normal((2, c, n, n)).astype(dtype)
        y = machine.resample2d(laid(x, "channels-last"), tables.bins(n, 1), tables.bins(n, 1))
        wide = x.astype(np.float64)
        close(y, *(a.mean((2, 3), keepdims=True) for a in (wide, abs(wide))), n * n, dtype)
        assert ran() == {"resample2d": launches}


def test_much_overlap_is_summed_axis_by_axis(machine, ran):
    x = laid(np.random.default_rng(0).standard_normal((1, 4, 24, 24)).astype(np.float32), "channels-last")
    table = tables.windows(24, 16, 1, 0, 9, "padded")
    y = machine.resample2d(x, table, table)
    np.testing.assert_allclose(y, pooling.resample2d(x, table, table), rtol=1e-4, atol=1e-6)
    assert ran() == {"resample2d": 2}
    machine.resample2d(x, table, tables.nearest(24, 24))
    assert ran() == {"resample2d": 3}


def test_what_a_window_does_not_read_does_not_reach_it(machine):
    x = np.ones((1, 4, 4, 4), np.float32)
    x[:, :, 0, 0], x[:, :, 3, 3] = np.nan, np.inf
    table = tables.windows(4, 2, 2, 0, 2, "padded")
    y = machine.resample2d(x, table, table)
    assert np.isnan(y[:, :, 0, 0]).all() and np.isinf(y[:, :, 1, 1]).all()
    assert (y[:, :, 0, 1] == 1).all() and (y[:, :, 1, 0] == 1).all()


@pytest.mark.parametrize("dtype", ["uint8", "int64", "bool"])
def test_what_is_not_a_float_is_moved_as_it_is(machine, dtype):
    rng = np.random.default_rng(0)
    x = laid(rng.integers(0, 2 if dtype == "bool" else 200, (2, 9, 4, 5)).astype(dtype), "channels-last")
    rows, columns = tables.nearest(4, 7), tables.nearest(5, 3)
    same(machine.resample2d(x, rows, columns), plain.resample2d(x, rows, columns), like=x)
    geometry = dict(kernel=(2, 3), stride=(1, 2), padding=(1, 1), dilation=(1, 1))
    y = machine.unfold(x, **geometry)
    same(y, plain.unfold(x, **geometry))
    if dtype == "int64":
        same(machine.fold(y, (4, 5), **geometry), plain.fold(y, (4, 5), **geometry))


def test_spans_are_the_matrix():
    """Of a table and of its adjoint, also where a window reads nothing."""
    empty = Table(3, ((0, ()), (1, (2.0,))))
    for table in (tables.windows(7, 3, 2, 1, 4, "inside"), tables.linear(3, 8, False), empty):
        matrices = []
        for t in (table, table.turn()):
            where, weights = tables.spans(t)
            matrices.append(np.zeros((t.size, takes(t))))
            for i, (start, count) in enumerate(where):
                matrices[-1][i, start : start + count] = weights[i, :count]
        np.testing.assert_array_equal(matrices[0], matrices[1].T)
        x = np.eye(takes(table))[None, None]
        same(matrices[0], pooling.resample2d(x, table, tables.nearest(takes(table), takes(table)))[0, 0])


# Columns


@DTYPE
def test_unfold_and_fold(machine, dtype, ran, sized):
    @given(st.data())
    def any_patches(data):
        sized(data)
        shape, geometry, _ = some_windows(data)
        shape = (*shape[:1], data.draw(st.sampled_from([1, 3, 9, 34])), *shape[2:])
        x = drawn(data, shape, dtype)
        y = machine.unfold(x, **geometry)
        same(y, plain.unfold(x, **geometry))
        g = np.random.default_rng(1).standard_normal(y.shape).astype(dtype)
        g = g.swapaxes(1, 2).copy().swapaxes(1, 2) if data.draw(st.booleans()) else g
        wide = g.astype(np.float64)
        d = machine.fold(g, shape[2:], **geometry)
        close(d, *(windows.fold(a, shape[2:], **geometry) for a in (wide, abs(wide))), 9, dtype)
        assert windows.memory_order(d) == [0, 2, 3, 1]

    any_patches()
    assert ran().keys() == {"unfold", "fold"}


def test_a_block_goes_on_to_further_images(machine, monkeypatch, ran):
    """On a GPU so small that one block is enough, images share its memory one after another."""
    monkeypatch.setattr(pools, "MANY", 1)
    x = laid(np.random.default_rng(0).standard_normal((3, 9, 6, 6)).astype(np.float32), "channels-last")
    geometry = dict(kernel=(2, 2), stride=(1, 2), padding=(0, 1), dilation=(1, 1))
    y = machine.unfold(x, **geometry)
    same(y, plain.unfold(x, **geometry))
    np.testing.assert_allclose(machine.fold(y, (6, 6), **geometry), plain.fold(y, (6, 6), **geometry), rtol=1e-6)
    planes, half = x.reshape(27, 1, 6, 6), tables.bins(6, 1)
    np.testing.assert_allclose(machine.resample2d(planes, half, half), planes.mean((2, 3), keepdims=True), atol=1e-6)
    same(machine.adaptive_max_index(planes, (1, 1)), plain.adaptive_max_index(planes, (1, 1)))
    assert set(ran().values()) == {1}


# What users call


POOL = {"max_pool2d": 1, "max_pool2d_back": 1}
CALLS = {
    "max_pool2d": (lambda x: F.max_pool2d(x, 3, 2, 1), POOL),
    "max_pool2d, indices": (lambda x: F.max_pool2d(x, 2, return_indices=True)[0], POOL),
    "avg_pool2d": (lambda x: F.avg_pool2d(x, 2, padding=1), {"resample2d": 2}),
    "adaptive_avg_pool2d": (lambda x: F.adaptive_avg_pool2d(x, 1), {"resample2d": 2}),
    "interpolate": (lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"), {"resample2d": 2}),
    "unfold": (lambda x: F.unfold(x, 3), {"unfold": 1, "fold": 1}),
    "fold": (lambda x: F.fold(x.reshape(2, 32, 12)[:, :, :9], 4, 2), {"fold": 1, "unfold": 1}),
    "adaptive_max_pool2d": (lambda x: F.adaptive_max_pool2d(x, 2), {"adaptive_max_index": 1, "gather_back": 1}),
}


@pytest.mark.parametrize("name", CALLS)
def test_what_users_call_runs_its_kernels(name, device, monkeypatch):
    """Forward and backward; nothing of the plain module is called."""
    f, kernels = CALLS[name]
    x = np.random.default_rng(0).standard_normal((2, 8, 6, 8)).astype(np.float32)
    there, here = (tf.tensor(x).to(d).requires_grad_() for d in (device, "cpu"))
    y = f(here)
    y.backward(y.detach())

    def forbidden(*_, **__):
        raise AssertionError("computed by the CPU")

    for module in (pooling, windows):
        for plain_one in ("max_pool2d", "max_pool2d_back", "adaptive_max_index", "resample2d", "unfold", "fold"):
            monkeypatch.setattr(module, plain_one, forbidden, raising=False)
    counts = backend.get(device).launch.counts
    counts.clear()
    y = f(there)
    y.backward(y.detach())
    assert counts == kernels
    np.testing.assert_allclose(there.grad.numpy(), here.grad.numpy(), rtol=1e-4, atol=1e-5)


def test_packs_begin_where_a_gpu_can_read_them():
    machine = Emulated()
    x = laid(np.ones((1, 8, 2, 2), np.float32), "off by one")
    assert machine.address(x) % 16 and machine.address(machine._pixels(x, True)) % 16 == 0


def test_no_elements(machine):
    geometry = dict(kernel=(2, 2), stride=(2, 2), padding=(0, 0), dilation=(1, 1))
    for shape in ((0, 3, 4, 4), (2, 0, 4, 4)):
        x, half = np.zeros(shape, np.float32), (*shape[:2], 2, 2)
        y, tap = machine.max_pool2d(x, out=(2, 2), **geometry)
        assert y.shape == tap.shape == half
        assert machine.max_pool2d_back(y, tap, hw=(4, 4), **geometry).shape == shape
        assert machine.resample2d(x, tables.bins(4, 2), tables.bins(4, 2)).shape == half
        assert machine.adaptive_max_index(x, (2, 2)).shape == (shape[0], 4, shape[1])
        assert machine.fold(machine.unfold(x, **geometry), (4, 4), **geometry).shape == shape
