"""Reading by position: everything PyTorch accepts, compared with NumPy; gradients; refusals."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import tinygrad_fast as tf


def reference(a, key):
    """NumPy's answer, ints taken before arrays: PyTorch reads x[0, :, [1, 2]] as x[0][:, [1, 2]]."""
    parts = key if isinstance(key, tuple) else (key,)
    ints = [isinstance(k, (int, np.integer)) and not isinstance(k, bool) for k in parts]
    arrays = [isinstance(k, (list, np.ndarray, tf.Tensor)) for k in parts]
    plain = tuple(k.numpy() if isinstance(k, tf.Tensor) else k for k in parts)
    if not any(ints) or not any(arrays):
        return a[plain]
    first, then = [], []
    for k, whole, array in zip(plain, ints, arrays, strict=True):
        wide = np.ndim(k) if array and np.asarray(k).dtype == bool else 1
        first += [slice(None)] * wide if array else [k]
        then += [] if whole else [k] if array or k is Ellipsis else [slice(None)]
    return a[tuple(first)][tuple(then)]


@st.composite
def indexed(draw):
    """A shape and an index of it: ints, slices, None, ..., lists, arrays and tensors of ints, masks."""
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    length = draw(st.integers(1, 3))  # of all integer arrays, so that they broadcast
    parts, axis, ellipsis = [], 0, False
    stop = draw(st.integers(0, len(shape)))
    while axis < stop:
        n = shape[axis]
        kind = draw(
            st.sampled_from(["int", "slice", "slice", "none", "...", "list", "array", "tensor", "mask", "mask 2"])
        )
        if kind == "int":
            k = draw(st.integers(-n, n - 1))
            parts.append(np.int64(k) if draw(st.booleans()) else k)
        elif kind == "slice":
            ends = st.none() | st.integers(-n - 1, n + 1)
            parts.append(slice(draw(ends), draw(ends), draw(st.sampled_from([None, 1, 2]))))
        elif kind in ("list", "array", "tensor"):
            one = draw(st.sampled_from([1, length]))
            k = draw(st.lists(st.integers(-n, n - 1), min_size=one, max_size=one))
            if kind != "list":
                k = np.array(k).reshape(draw(st.sampled_from([(-1,), (-1, 1), (1, -1)])))
            parts.append(tf.tensor(k) if kind == "tensor" else k)
        elif kind == "mask":
            hit = draw(st.integers(0, n - 1))
            mask = np.arange(n) == hit  # one hit broadcasts with every length
            parts.append(mask if draw(st.booleans()) else mask.tolist())
        elif kind == "mask 2" and axis + 1 < stop:
            mask = np.zeros(shape[axis : axis + 2], bool)
            mask[draw(st.integers(0, n - 1)), draw(st.integers(0, shape[axis + 1] - 1))] = True
            parts.append(tf.tensor(mask) if draw(st.booleans()) else mask)
            axis += 1
        else:
            if kind == "..." and not ellipsis:
                ellipsis = True
                parts.append(...)
                stop = len(shape)  # what follows counts from the end: let it be all axes from here
                axis = draw(st.integers(axis, stop))
            else:
                parts.append(None)
            continue
        axis += 1
    if ellipsis:
        return shape, tuple(parts)
    return shape, (parts[0] if len(parts) == 1 and draw(st.booleans()) else tuple(parts))


@settings(max_examples=100)
@given(indexed())
def test_reading_and_its_gradient(drawn):
    """The gradient of x at p is the number of times that p was read, times g."""
    shape, key = drawn
    n = int(np.prod(shape))
    x = tf.arange(n, dtype=tf.float64).reshape(shape).clone().requires_grad_()
    y = x[key]
    want = reference(np.arange(n).reshape(shape), key)
    assert y.shape == want.shape and y.detach().numpy().astype(int).tolist() == want.tolist()
    g = tf.rand(y.shape, dtype=tf.float64)
    y.backward(g)
    grad = np.bincount(want.reshape(-1), g.numpy().reshape(-1), n).reshape(shape)
    np.testing.assert_allclose(x.grad.numpy(), grad, rtol=1e-12)


@settings(max_examples=100)
@given(indexed())
def test_writing_writes_where_reading_reads(drawn):
    shape, key = drawn
    x = tf.zeros(shape)
    place = reference(np.arange(int(np.prod(shape))).reshape(shape), key)
    values = tf.tensor((place + 1).astype("float32"))  # the same value for a place that is hit twice
    x[key] = values
    want = np.zeros(shape, "float32").reshape(-1)
    want[place.reshape(-1)] = place.reshape(-1) + 1
    assert x.tolist() == want.reshape(shape).tolist()


X = np.arange(24.0, dtype="float32").reshape(2, 3, 4)


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ((0, slice(None), [1, 2]), (3, 2)), ((slice(None), 0, [1, 2]), (2, 2)), (([0], slice(None), [1, 2]), (2, 3)),
        ((slice(None), [0, 1], [1, 2]), (2, 2)), ([], (0, 3, 4)), (True, (1, 2, 3, 4)), (False, (0, 2, 3, 4)),
        ((True, 0), (1, 3, 4)), ((..., None), (2, 3, 4, 1)), (None, (1, 2, 3, 4)), ((None, ..., None), (1, 2, 3, 4, 1)),
        (range(2), (2, 3, 4)), ([[0, 1], [1, 0]], (2, 2, 3, 4)), ([True, False], (1, 3, 4)), ((0, 1, 2), ()),
        (tf.tensor(1), (3, 4)), (slice(tf.tensor(1), None), (1, 3, 4)), (X > 20, (3,)), ((), (2, 3, 4)),
        (tf.tensor(True), (1, 2, 3, 4)), ((slice(None), np.array([True, False, True])), (2, 2, 4)),
    ],
    ids=str,
)  # fmt: skip
def test_shapes_as_pytorch_gives_them(key, shape):
    assert tf.tensor(X)[key].shape == shape


def test_slices_are_views_and_arrays_are_copies():
    x = tf.tensor(X)
    assert np.shares_memory(x[0, :, 1:].numpy(), x.numpy()) and np.shares_memory(x[0, 0, 0].numpy(), x.numpy())
    assert not np.shares_memory(x[[0, 1]].numpy(), x.numpy())


@pytest.mark.parametrize(
    ("key", "error", "text"),
    [
        (2, IndexError, r"index: must be in -2\.\.1 for axis 0 of shape \(2, 3, 4\); got 2"),
        ((0, -4), IndexError, r"must be in -3\.\.2 for axis 1"),
        ((0, 0, 0, 0), IndexError, r"at most 3 indices for a tensor of shape \(2, 3, 4\); got 4"),
        ([0, 2], IndexError, r"index: every index must be in -2\.\.1 for an axis of 2; got 2"),
        ((slice(None), [-4, 0]), IndexError, r"index must be in -3\.\.2 for an axis of 3; got -4"),
        (
            1.5,
            IndexError,
            r"made of ints, slices, None, \.\.\., and lists or tensors of integers or bools; got float64",
        ),
        ("a", IndexError, "made of ints"),
        (tf.ones(2), IndexError, r"got float32. Write index.long\(\) if the numbers are whole"),
        (slice(0.5, None), TypeError, r"a slice is made of ints; got slice\(0\.5"),
        (slice(None, None, -1), ValueError, r"step of a slice must be at least 1; got -1. Reverse with x\.flip\(dim\)"),
        ((..., ...), IndexError, "only one"),
        (np.ones(3, bool), IndexError, r"a mask needs the shape of the axes it covers, \(2,\); got \(3,\)"),
    ],
    ids=str,
)
def test_refusals(key, error, text):
    with pytest.raises(error, match=text):
        tf.tensor(X)[key]


@settings(max_examples=40)
@given(st.data())
def test_gather(data):
    shape = tuple(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    small = [data.draw(st.integers(1, n)) for n in shape]
    small[axis] = data.draw(st.integers(1, 5))
    index = np.random.default_rng(0).integers(0, shape[axis], small)
    a = np.arange(np.prod(shape)).reshape(shape)
    cut = tuple(slice(None) if i == axis % len(shape) else slice(n) for i, n in enumerate(small))
    want = np.take_along_axis(a[cut], index, axis)
    x = tf.tensor(a, dtype=tf.float64, requires_grad=True)
    y = x.gather(axis, tf.tensor(index))
    assert y.tolist() == want.tolist()
    y.sum().backward()
    assert x.grad.tolist() == np.bincount(want.reshape(-1), minlength=a.size).reshape(shape).tolist()


def test_index_select_and_nonzero():
    x = tf.tensor(X, requires_grad=True)
    y = x.index_select(-1, tf.tensor([3, 0, 3]))
    assert y.tolist() == X[..., [3, 0, 3]].tolist()
    y.sum().backward()
    assert x.grad[0, 0].tolist() == [1, 0, 0, 2]
    assert (tf.tensor(X) > 21).nonzero().tolist() == [[1, 2, 2], [1, 2, 3]]
    assert tf.tensor([0, 5]).nonzero().tolist() == [[1]]


def test_refusals_of_gather_and_index_select():
    x = tf.tensor(X)
    with pytest.raises(IndexError, match=r"gather: every index must be in .*for an axis of 4; got 4"):
        x.gather(2, tf.full((2, 3, 1), 4))
    with pytest.raises(
        RuntimeError, match=r"gather: the index needs x's number of axes.* got index \(2,\), x \(2, 3, 4\)"
    ):
        x.gather(0, tf.tensor([0, 1]))
    with pytest.raises(TypeError, match="gather: the index must be a Tensor; got list"):
        x.gather(0, [0])
    with pytest.raises(IndexError, match=r"index_select: the index has one axis; got \(1, 1\)"):
        x.index_select(0, tf.tensor([[0]]))
    with pytest.raises(IndexError, match="index_select: an index is made of ints"):
        x.index_select(0, tf.tensor([0.0]))
