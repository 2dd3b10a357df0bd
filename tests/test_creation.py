"""Factories: shapes, types, devices, and the arguments as PyTorch takes them."""

import numpy as np
import pytest

import tinygrad_fast as tf


@pytest.mark.parametrize("make", [tf.zeros, tf.ones, tf.rand, tf.randn])
def test_sizes_are_separate_or_one_tuple(make):
    for t in (make(2, 3), make((2, 3)), make([2, 3]), make(np.int64(2), 3)):
        assert t.shape == (2, 3) and t.dtype == "float32" and t.device == "cpu" and not t.requires_grad
    assert make(0, 3).shape == (0, 3) and make(()).shape == ()
    t = make(2, dtype=tf.float64, requires_grad=True)
    assert t.dtype == "float64" and t.is_leaf and t.requires_grad
    with pytest.raises(RuntimeError, match=r"size: no axis can be negative; got \(2, -1\)"):
        make(2, -1)
    with pytest.raises(TypeError, match=r"size: needs ints; got \(2\.5,\)"):
        make(2.5)


def test_values():
    assert tf.zeros(2).tolist() == [0, 0] and tf.ones(2, dtype="int64").tolist() == [1, 1]
    assert tf.eye(2, 3).tolist() == [[1, 0, 0], [0, 1, 0]] and tf.eye(2).dtype == "float32"
    assert tf.full((2, 1), 7).tolist() == [[7], [7]]
    assert tf.linspace(0, 1, 5).tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert tf.linspace(3, 3, 1).tolist() == [3] and tf.linspace(0, 1, 0).shape == (0,)


@pytest.mark.parametrize(("value", "dtype"), [(7, "int64"), (7.0, "float32"), (True, "bool")])
def test_full_takes_its_type_from_the_value(value, dtype):
    assert tf.full((2,), value).dtype == dtype
    assert tf.full((2,), value, dtype=tf.float16).dtype == "float16"


@pytest.mark.parametrize(
    ("arguments", "values", "dtype"),
    [
        ((3,), [0, 1, 2], "int64"), ((1, 4), [1, 2, 3], "int64"), ((1, 8, 3), [1, 4, 7], "int64"),
        ((3, 0, -1), [3, 2, 1], "int64"), ((0,), [], "int64"), ((2.5,), [0, 1, 2], "float32"),
        ((0, 1, 0.25), [0, 0.25, 0.5, 0.75], "float32"), ((np.int64(2),), [0, 1], "int64"),
        ((tf.tensor(2),), [0, 1], "int64"),
    ],
)  # fmt: skip
def test_arange(arguments, values, dtype):
    t = tf.arange(*arguments)
    assert t.tolist() == values and t.dtype == dtype
    assert tf.arange(*arguments, dtype=tf.float64).dtype == "float64"


def test_arange_by_name_and_refusals():
    assert tf.arange(end=3).tolist() == [0, 1, 2] and tf.arange(2, end=4).tolist() == [2, 3]
    with pytest.raises(RuntimeError, match="arange: step must lead from start to end and not be 0; got 3, 0, step 1"):
        tf.arange(3, 0)
    with pytest.raises(RuntimeError, match="step must lead"):
        tf.arange(0, 3, 0)
    assert tf.arange(0, 1, 0.1).shape == (10,), "computed in float64, as 0.1 + ... in float32 would run over"


def test_like_forms_keep_shape_type_and_device():
    x = tf.ones(2, 3, dtype="float16")
    for y in (tf.zeros_like(x), tf.ones_like(x), tf.full_like(x, 4), tf.rand_like(x), tf.randn_like(x)):
        assert y.shape == (2, 3) and y.dtype == "float16" and y.device == "cpu"
    assert tf.full_like(x, 4).tolist() == [[4] * 3] * 2
    assert tf.randint_like(x, 5).dtype == "float16" and tf.randint_like(x, 3, 5).amin().item() >= 3
    assert tf.zeros_like(x, dtype=tf.int64).dtype == "int64"
    assert tf.ones_like(x, requires_grad=True).requires_grad


def test_tensor_copies_from_numpy_shares():
    a = np.zeros(3, "float32")
    shared, copied = tf.from_numpy(a), tf.tensor(a)
    a[0] = 1
    assert shared.tolist() == [1, 0, 0] and copied.tolist() == [0, 0, 0]
    shared[1] = 2
    assert a.tolist() == [1, 2, 0] and shared.numpy() is a
    assert tf.as_tensor(a).numpy() is a and tf.as_tensor(shared) is shared
    assert tf.as_tensor(a, tf.float64).dtype == "float64" and tf.as_tensor([1, 2]).dtype == "int64"


def test_from_numpy_refuses_what_it_cannot_share():
    with pytest.raises(TypeError, match=r"from_numpy: needs a numpy.ndarray; got list. Use tf.tensor"):
        tf.from_numpy([1, 2])
    with pytest.raises(ValueError, match=r"the machine's byte order; got >f4. Use tf.tensor"):
        tf.from_numpy(np.ones(2, ">f4"))
    with pytest.raises(TypeError, match="floats, integers or bools; got dtype complex128"):
        tf.from_numpy(np.ones(2, complex))
    fixed = np.ones(2)
    fixed.flags.writeable = False
    with pytest.raises(RuntimeError, match=r"expanded or read-only; write to a copy, x.clone\(\)"):
        tf.from_numpy(fixed).zero_()


def test_tensors_inside_lists():
    assert tf.tensor([tf.tensor(1.0), tf.tensor(2.0)]).tolist() == [1, 2]
    assert tf.tensor(tf.tensor([1, 2])).tolist() == [1, 2]


def test_what_is_too_large_for_the_type_is_inf():
    assert tf.tensor(1e40).isinf().item() and tf.tensor([1e40, 1.0]).tolist() == [float("inf"), 1]
    assert tf.tensor([1e6], dtype=tf.float16).isinf().all() and tf.tensor(1e40, dtype=tf.float64).isfinite().item()


def test_leaves_come_from_factories_under_no_grad_too():
    with tf.no_grad():
        w = tf.zeros(2, requires_grad=True)
    (w * 2).sum().backward()
    assert w.grad.tolist() == [2, 2]


def test_an_integer_leaf_is_refused():
    with pytest.raises(RuntimeError, match=r"requires_grad: only floating tensors can; got int64. Write x.float\(\)"):
        tf.zeros(2, dtype=tf.int64, requires_grad=True)
    with pytest.raises(RuntimeError, match="only floating tensors can; got bool"):
        tf.tensor([True], requires_grad=True)


def test_dlpack_both_ways():
    a = np.arange(4, dtype="float32")
    t = tf.from_dlpack(a)
    a[0] = 9
    assert t.tolist() == [9, 1, 2, 3], "the same memory"
    back = np.from_dlpack(t)
    assert back.tolist() == [9, 1, 2, 3] and np.shares_memory(back, a)
    assert tf.from_dlpack(tf.ones(2)).tolist() == [1, 1] and t.__dlpack_device__() == (1, 0)
    with pytest.raises(
        RuntimeError, match=r"DLPack: this tensor requires grad, which does not travel. Write x.detach\(\)"
    ):
        np.from_dlpack(tf.ones(2, requires_grad=True))
