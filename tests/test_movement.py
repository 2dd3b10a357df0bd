"""The same numbers in other places, against NumPy; the laws prove the gradients."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

import tinygrad_fast as tf

SHAPES = st.lists(st.integers(0, 4), max_size=4).map(tuple)


def counting(shape):
    return np.arange(np.prod(shape, dtype=int)).reshape(shape)


def same(t, a):
    assert t.shape == a.shape and t.tolist() == a.tolist()


@given(SHAPES, st.data())
def test_permute_transpose_movedim_flip(shape, data):
    a, n = counting(shape), len(shape)
    x = tf.tensor(a)
    order = data.draw(st.permutations(range(n)))
    signed = [d - n if data.draw(st.booleans()) else d for d in order]
    same(x.permute(signed), a.transpose(order))
    same(x.permute(*signed), a.transpose(order))
    some = signed[: data.draw(st.integers(0, n))]
    same(x.flip(some), np.flip(a, tuple(some)))
    same(tf.flip(x, tuple(some)), np.flip(a, tuple(some)))
    places = data.draw(st.permutations(range(n)))[: len(some)]
    same(x.movedim(some, places), np.moveaxis(a, some, places))
    if n:
        i, j = signed[0], signed[-1]
        same(x.transpose(i, j), a.swapaxes(i, j))
        same(x.movedim(i, j), np.moveaxis(a, i, j))
    same(x.T, a.T)
    if n >= 2:
        same(x.mT, a.swapaxes(-1, -2))


@given(SHAPES, st.data())
def test_reshape_flatten_squeeze_unsqueeze_expand(shape, data):
    a, n = counting(shape), len(shape)
    x = tf.tensor(a)
    same(x.reshape(-1) if a.size else x.reshape(0), a.reshape(-1))
    same(x.flatten(), a.reshape(-1))
    target = tuple(data.draw(st.permutations(shape)))
    same(x.reshape(target), a.reshape(target))
    same(x.view(*target) if target else x.view(()), a.reshape(target))
    same(x.view_as(tf.zeros(target)), a.reshape(target))
    if n and 0 not in shape:
        hidden = data.draw(st.integers(0, n - 1))
        same(x.reshape(*target[:hidden], -1, *target[hidden + 1 :]), a.reshape(target))
        first = data.draw(st.integers(0, n - 1))
        last = data.draw(st.integers(first, n - 1))
        same(x.flatten(first, last - n), a.reshape(*shape[:first], -1, *shape[last + 1 :]))
    dim = data.draw(st.integers(-n - 1, n))
    same(x.unsqueeze(dim), np.expand_dims(a, dim))
    same(x.unsqueeze(dim).squeeze(dim), a)
    same(x.squeeze(), a.squeeze())
    wide = tuple(data.draw(st.integers(0, 3)) if m == 1 else m for m in shape)
    same(x.expand(2, *wide), np.broadcast_to(a, (2, *wide)))
    same(x.broadcast_to((2, *wide)), np.broadcast_to(a, (2, *wide)))
    same(tf.broadcast_to(x, size=(2, *wide)), x.broadcast_to(2, *wide).numpy())
    as_it_is = tuple(-1 if m == n else n for m, n in zip(shape, wide, strict=True))
    same(x.expand(2, *as_it_is), np.broadcast_to(a, (2, *wide)))


@given(SHAPES.filter(len), st.data())
def test_split_chunk_unbind_cat_stack(shape, data):
    a, n = counting(shape), len(shape)
    x = tf.tensor(a)
    dim = data.draw(st.integers(-n, n - 1))
    m = shape[dim]
    size = data.draw(st.integers(1, 5))
    parts = x.split(size, dim)
    assert isinstance(parts, tuple) and [p.shape[dim] for p in parts[:-1]] == [size] * (len(parts) - 1)
    same(tf.cat(parts, dim), a)
    cut = data.draw(st.integers(0, m))
    two = tf.split(x, [cut, m - cut], dim)
    same(two[0], np.take(a, range(cut), dim))
    same(two[1], np.take(a, range(cut, m), dim))
    chunks = x.chunk(size, dim)
    assert len(chunks) <= size and len({c.shape for c in chunks[:-1]}) <= 1
    same(tf.cat(chunks, dim), a)
    rows = x.unbind(dim)
    assert len(rows) == m
    if m:
        same(rows[-1], np.take(a, m - 1, dim))
        same(tf.stack(rows, dim), a)
        start = data.draw(st.integers(0, m - 1))
        same(x.narrow(dim, start, m - start), np.take(a, range(start, m), dim))
    same(tf.cat([x, x, x], dim), np.concatenate([a, a, a], dim))
    new = data.draw(st.integers(-n - 1, n))
    same(tf.stack([x, x], new), np.stack([a, a], new))


@given(SHAPES, st.data())
def test_repeat_and_roll(shape, data):
    a, n = counting(shape), len(shape)
    x = tf.tensor(a)
    times = data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n + 1))
    same(x.repeat(*times), np.tile(a, times) if times else a)
    same(x.roll(5) if a.size else x, np.roll(a, 5))
    if n:
        dim, shift = data.draw(st.integers(-n, n - 1)), data.draw(st.integers(-6, 6))
        same(x.roll(shift, dim), np.roll(a, shift, dim))
        same(tf.roll(x, (shift, 1), (dim, 0)), np.roll(a, (shift, 1), (dim, 0)))


@given(st.lists(st.integers(1, 4), min_size=2, max_size=4).map(tuple), st.integers(-4, 4))
def test_triangles(shape, diagonal):
    a = counting(shape) + 1
    same(tf.tensor(a).tril(diagonal), np.tril(a, diagonal))
    same(tf.triu(tf.tensor(a), diagonal), np.triu(a, diagonal))


def test_cat_of_several_types_and_empty_ones():
    y = tf.cat([tf.tensor([1]), tf.tensor([0.5]), tf.zeros(0)])
    assert y.tolist() == [1, 0.5] and y.dtype == "float32"
    assert tf.cat([tf.zeros(0), tf.ones(2, 3)]).shape == (2, 3), "as PyTorch: a tensor of shape (0,) fits everywhere"
    assert tf.cat([tf.zeros(0)]).shape == (0,)


def test_gradients_of_unused_parts_are_zero():
    x = tf.arange(6.0).requires_grad_()
    _, b, _ = x.split(2)
    b.sum().backward()
    assert x.grad.tolist() == [0, 0, 1, 1, 0, 0]


def test_broadcast_tensors():
    x, y = tf.broadcast_tensors(tf.ones(3, 1), tf.ones(4))
    assert x.shape == y.shape == (3, 4)


REFUSALS = [
    (lambda x: x.reshape(4), r"reshape: the number of elements must stay 6 \(shape \(2, 3\)\); \(4,\) has 4. Put -1"),
    (lambda x: x.reshape(-1, 4), r"6 elements of shape \(2, 3\) do not divide into \(-1, 4\)"),
    (lambda x: x.reshape(-1, -1), r"at most one of them -1; got \(-1, -1\)"),
    (lambda x: x.permute(0), r"permute: must name each of the 2 axes once; got \(0,\)"),
    (lambda x: x.permute(0, 0), r"must name each of the 2 axes once"),
    (lambda x: x.transpose(0, 2), r"dim: must be in -2\.\.1 for a tensor of 2 axes; got 2"),
    (lambda x: x.expand(2, 4), r"expand: only axes of size 1 can grow; got input \(2, 3\) and target \(2, 4\)"),
    (lambda x: x.expand(3), r"expand: needs at least the input's 2 axes \(2, 3\); got \(3,\)"),
    (lambda x: x.expand(-1, 2, 3), r"-1 is not allowed for a new leading axis"),
    (lambda x: x.flatten(1, 0), r"flatten: start_dim must not come after end_dim; got 1 and 0"),
    (lambda x: x.unsqueeze(3), r"must be in -3\.\.2"),
    (lambda x: x.repeat(2), r"repeat: needs a count for each of the 2 axes; got \(2,\)"),
    (lambda x: x.narrow(1, 2, 2), r"narrow: start \+ length must lie within 3; got 2 \+ 2"),
    (lambda x: x.split(0), r"split: the size must be at least 1; got 0"),
    (lambda x: x.split([1, 2]), r"split: sizes must be >= 0 and sum to 2, the size of dim 0; got \(1, 2\)"),
    (lambda x: x.chunk(0), r"chunk: needs at least 1 chunk; got 0"),
    (lambda x: x[0].tril(), r"tril, triu: need at least 2 axes; got \(3,\)"),
    (lambda x: x.unsqueeze(0).t(), r"t: needs at most 2 axes; got \(1, 2, 3\)"),
    (lambda x: x.movedim((0, 0), (0, 1)), r"movedim: one destination for each source, no axis twice"),
    (lambda x: tf.cat([x, x[0]]), r"cat: shapes must agree on every axis but dim=0; got \(2, 3\), \(3,\)"),
    (lambda x: tf.cat([]), r"cat: needs at least one tensor"),
    (lambda x: tf.cat([tf.tensor(1), tf.tensor(2)]), r"0-d tensors have no axis to be joined along; use tf.stack"),
    (lambda x: tf.stack([x, x[0]]), r"stack: all shapes must be equal; got \(2, 3\), \(3,\)"),
    (
        lambda x: tf.broadcast_tensors(x, tf.ones(2)),
        r"match axis by axis from the right, or be 1; got \(2, 3\) and \(2,\)",
    ),
]


@pytest.mark.parametrize(("wrong", "text"), REFUSALS, ids=[str(i) for i in range(len(REFUSALS))])
def test_refusals(wrong, text):
    with pytest.raises((RuntimeError, IndexError), match=text):
        wrong(tf.ones(2, 3))
