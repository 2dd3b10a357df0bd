"""Many numbers to one, against NumPy in float64; ties, empties, infinities, refusals. The laws prove the gradients."""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

import tinygrad_fast as tf

inf, nan = float("inf"), float("nan")


@st.composite
def reductions(draw):
    """An array, a `dim` of any form, and what NumPy calls it."""
    shape = tuple(draw(st.lists(st.integers(1, 4), max_size=4)))
    n = len(shape)
    a = np.random.default_rng(draw(st.integers(0, 99))).standard_normal(shape)
    kind = draw(st.sampled_from(["all", "one", "some"])) if n else "all"
    if kind == "all":
        return a, None, None
    axes = draw(st.permutations(range(n)))[: 1 if kind == "one" else draw(st.integers(1, n))]
    dim = [d - n if draw(st.booleans()) else d for d in axes]
    return a, dim[0] if kind == "one" else draw(st.sampled_from([list, tuple]))(dim), tuple(axes)


def close(t, a):
    assert t.shape == np.shape(a)
    np.testing.assert_allclose(t.numpy(), a, rtol=1e-12, atol=1e-12)  # float64, at most 256 terms of size 1


@given(reductions(), st.booleans())
def test_reductions(drawn, keep):
    a, dim, axis = drawn
    x, count = tf.tensor(a), a.size if axis is None else math.prod(a.shape[i] for i in axis)
    for name in ("sum", "mean", "amax", "amin"):
        want = getattr(np, name)(a, axis=axis, keepdims=keep)
        close(getattr(x, name)(dim, keep), want)
        close(getattr(tf, name)(x, dim=dim, keepdim=keep), want)
    close(x.prod(dim, keepdim=keep), a.prod(axis, keepdims=keep))
    close(x.logsumexp(dim, keepdim=keep), np.log(np.exp(a).sum(axis, keepdims=keep)))
    if count > 1:
        close(x.var(dim, keepdim=keep), a.var(axis, ddof=1, keepdims=keep))
        close(x.std(dim, keepdim=keep, correction=0), a.std(axis, keepdims=keep))
        close(x.var(dim, unbiased=False, keepdim=keep), a.var(axis, keepdims=keep))
    close(x.norm(dim=dim, keepdim=keep), np.sqrt((a * a).sum(axis, keepdims=keep)))
    close(x.norm(3, dim, keep), (np.abs(a) ** 3).sum(axis, keepdims=keep) ** (1 / 3))
    close(x.norm(inf, dim, keep), np.abs(a).max(axis, keepdims=keep))
    close(x.norm(1, dim, keep), np.abs(a).sum(axis, keepdims=keep))
    assert (x > 0).any(dim, keep).tolist() == (a > 0).any(axis, keepdims=keep).tolist()
    assert (x > 0).all(dim, keep).tolist() == (a > 0).all(axis, keepdims=keep).tolist()


@given(reductions(), st.booleans(), st.booleans())
def test_along_one_axis(drawn, keep, descending):
    a, dim, _ = drawn
    if not isinstance(dim, int):
        dim = -1 if a.ndim else None
    x = tf.tensor(np.round(a, 1))  # so that some elements tie
    a = x.numpy()
    if dim is None:
        assert x.argmax().item() == 0 and x.max(0).values.item() == a and x.softmax(0).item() == 1
        assert x.cumsum(0).item() == a and x.sort().indices.item() == 0
        return
    values, indices = x.max(dim, keep)
    close(values, a.max(dim, keepdims=keep))
    assert indices.tolist() == a.argmax(dim, keepdims=keep).tolist() == x.argmax(dim, keep).tolist()
    least = x.min(dim, keepdim=keep)
    close(least.values, a.min(dim, keepdims=keep))
    assert least.indices.tolist() == a.argmin(dim, keepdims=keep).tolist() == x.argmin(dim, keep).tolist()
    close(x.cumsum(dim), a.cumsum(dim))
    e = np.exp(a) / np.exp(a).sum(dim, keepdims=True)
    close(x.softmax(dim), e)
    close(tf.log_softmax(x, dim), np.log(e))
    ordered, order = x.sort(dim, descending)
    want = np.flip(np.sort(a, dim), dim) if descending else np.sort(a, dim)
    close(ordered, want)
    assert np.take_along_axis(a, order.numpy(), dim).tolist() == want.tolist()
    k = a.shape[dim] - 1
    close(x.topk(k, dim, largest=descending).values, np.take(want, range(k), dim))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_nan_is_the_largest_of_every_float(dtype):
    nan = float("nan")
    x = tf.tensor([[3, nan, 1, 2], [nan, nan, 5, 1]]).to(dtype)
    assert x.argsort().tolist() == [[2, 3, 0, 1], [3, 2, 0, 1]]
    assert x.argsort(descending=True).tolist() == [[1, 0, 3, 2], [0, 1, 2, 3]]
    assert x.amax(1).isnan().all() and x.amin(1).isnan().all() and x.amax(1).dtype == x.amin(1).dtype == x.dtype
    assert x.max(1).indices.tolist() == [1, 0] and x.amax(0)[2:].tolist() == [5, 2]


@given(st.integers(0, 2**32 - 1), st.sampled_from([(40, 600), (600, 40), (16, 80, 70)]), st.sampled_from([1, 5, 10]),
       st.booleans(), st.sampled_from(["float32", "float64", "float16", "bfloat16", "int64", "uint8"]),
       st.sampled_from([0.0, 0.01, 1.0]), st.sampled_from([0.0, 0.0003, 0.01]))  # fmt: skip
def test_topk_is_the_beginning_of_sort(seed, shape, k, largest, dtype, ties, nan):
    """The same indices, whatever is equal or NaN: of large arrays the k are found without sorting all."""
    rng = np.random.default_rng(seed)
    a = rng.standard_normal(shape) * 50 + 100
    a = np.where(rng.random(shape) < ties, np.round(a / 40) * 40, a)
    if "float" in dtype:
        a[rng.random(shape) < nan] = np.nan
    x = tf.tensor(a).to(dtype)
    for dim in range(len(shape)):
        values, indices = x.topk(k, dim, largest)
        want = x.sort(dim, largest)
        assert indices.tolist() == want.indices.narrow(dim, 0, k).tolist() and indices.dtype == tf.int64
        np.testing.assert_array_equal(values.double().numpy(), want.values.narrow(dim, 0, k).double().numpy())


def test_over_everything():
    one = tf.tensor(2.0)
    assert one.topk(1).values.item() == 2 and one.argsort().shape == () and one.norm().item() == 2
    x = tf.tensor([[3.0, 1.0], [2.0, 9.0]])
    assert (x - 1).norm(0).item() == 3 and x.norm("fro").item() == pytest.approx(95**0.5)
    assert x.max().item() == 9 and x.min().item() == 1 and x.argmax().item() == 3 and x.argmin().item() == 1
    assert x.argmax(keepdim=True).shape == (1, 1)
    assert x.max(tf.tensor(2.5)).tolist() == [[3, 2.5], [2.5, 9]] and tf.min(x, tf.zeros(2)).sum().item() == 0
    assert x.var(False).item() == pytest.approx(x.var(unbiased=False).item())
    assert x.sum(()).item() == 15, "as PyTorch: no axes named means all"


def test_equal_elements_keep_their_order():
    x = tf.tensor([1, 0, 1, 0], dtype=tf.uint8)
    assert x.argsort().tolist() == [1, 3, 0, 2] and x.argsort(descending=True).tolist() == [0, 2, 1, 3]
    assert x.bool().argsort(descending=True).tolist() == [0, 2, 1, 3]
    least = np.iinfo(np.int64).min
    assert tf.tensor([0, least, 5]).argsort(descending=True).tolist() == [2, 0, 1], "which -x would get wrong"
    assert tf.tensor([1.0, nan, 2.0]).argsort(descending=True).tolist() == [1, 2, 0], "NaN counts as the largest"


def test_ties_share_the_gradient():
    x = tf.tensor([2.0, 5.0, 5.0], requires_grad=True)
    for f, want in [
        (lambda: x.amax(), [0, 0.5, 0.5]), (lambda: x.max(), [0, 0.5, 0.5]), (lambda: x.max(0).values, [0, 1, 0]),
        (lambda: x.norm(inf), [0, 0.5, 0.5]), (lambda: tf.maximum(x, tf.tensor(5.0)).sum(), [0, 0.5, 0.5]),
        (lambda: x.clamp(max=5).sum(), [1, 1, 1]),
        (lambda: x.clamp(max=tf.tensor(5.0)).sum(), [1, 1, 1]), (lambda: x.relu().sum(), [1, 1, 1]),
    ]:  # fmt: skip
        assert tf.autograd.grad(f(), x)[0].tolist() == want


def test_gradients_where_a_formula_has_none():
    zero = tf.zeros(3, requires_grad=True)
    assert tf.autograd.grad(zero.norm(), zero)[0].tolist() == [0, 0, 0]
    assert tf.autograd.grad(zero.std(), zero)[0].tolist() == [0, 0, 0]
    assert tf.autograd.grad(zero.norm(3), zero)[0].tolist() == [0, 0, 0]
    assert tf.autograd.grad((0.0 ** tf.tanh(zero + 1)).sum(), zero)[0].tolist() == [0, 0, 0]
    assert tf.autograd.grad((zero ** zero.detach()).sum(), zero)[0].tolist() == [0, 0, 0]
    some = tf.tensor([2.0, 0.0, 3.0], requires_grad=True)
    assert tf.autograd.grad(some.prod(), some)[0].tolist() == [0, 6, 0]
    assert tf.autograd.grad(zero.prod(), zero)[0].tolist() == [0, 0, 0]
    assert tf.autograd.grad(zero.abs().sum(), zero)[0].tolist() == [0, 0, 0]


def test_infinities_and_nan():
    x = tf.tensor([[1e4, -1e4], [-inf, -inf], [inf, 0.0]])
    assert x.logsumexp(1).tolist() == [1e4, -inf, inf]
    assert x.softmax(1)[0].tolist() == [1, 0] and x.log_softmax(1)[0].tolist() == [0, -2e4]
    assert x.softmax(1)[1].isnan().all(), "as PyTorch: 0 / 0"
    y = tf.tensor([1.0, nan, 2.0])
    assert y.max().isnan() and y.amin().isnan() and y.argmax().item() == 1 and y.sum().isnan()


def test_nothing_to_reduce():
    x = tf.zeros(0, 3)
    assert x.sum().item() == 0 and x.sum(0).tolist() == [0, 0, 0] and x.sum(1).shape == (0,)
    assert x.prod(0).tolist() == [1, 1, 1] and x.amax(1).shape == (0,) and x.any().item() is False
    assert x.all().item() is True and x.mean().isnan() and tf.ones(1).var().isnan()
    assert x.cumsum(0).shape == x.softmax(1).shape == x.softmax(0).shape == x.argsort(0).shape == (0, 3)
    assert x.logsumexp(0).tolist() == [-inf] * 3 and x.std(0).isnan().all() and (x.T @ x).tolist() == [[0] * 3] * 3
    for name in ("amax", "amin", "max", "min", "argmax", "argmin"):
        with pytest.raises(IndexError, match=rf"{name}: has no value over no elements; got shape \(0, 3\) and dim 0"):
            getattr(x, name)(0)


REFUSALS = [
    (lambda x: x.sum(2), IndexError, r"dim: must be in -2\.\.1 for a tensor of 2 axes; got 2"),
    (lambda x: x.sum((0, 0)), ValueError, r"dim: each axis at most once; got \(0, 0\)"),
    (lambda x: x.sum(0.5), TypeError, r"dim: must be an int; got 0.5"),
    (lambda x: x.sum("a"), TypeError, r"dim: must be an int; got 'a'"),
    (lambda x: x.long().mean(), RuntimeError, r"mean: must be of a floating dtype; got int64. Write x.float\(\).mean"),
    (lambda x: x.long().var(), RuntimeError, r"var: must be of a floating dtype"),
    (lambda x: x.long().std(), RuntimeError, r"std: must be of a floating dtype"),
    (lambda x: x.argmax(5), IndexError, r"dim: must be in"),
    (lambda x: x.topk(4), RuntimeError, r"topk: k must be in 0\.\.3, the size of dim -1; got 4"),
]


@pytest.mark.parametrize(("wrong", "error", "text"), REFUSALS, ids=[str(i) for i in range(len(REFUSALS))])
def test_refusals(wrong, error, text):
    with pytest.raises(error, match=text):
        wrong(tf.ones(2, 3))
