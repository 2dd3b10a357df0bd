"""What the table cannot ask by differences: ties, poles, and changes of type, with their answers written down."""

import numpy as np
import pytest

import tinygrad_fast as tf


def grad(f, *values, dtype=tf.float64):
    """df/dx for each x, of the sum of f."""
    xs = [tf.tensor(v, dtype=dtype, requires_grad=True) for v in values]
    f(*xs).sum().backward()
    return [x.grad.tolist() for x in xs]


def test_ties_share_the_gradient():
    """As PyTorch: half to each of two, equal shares to many; an index takes it all."""
    assert grad(tf.maximum, [1.0, 2.0], [1.0, 3.0]) == [[0.5, 0.0], [0.5, 1.0]]
    assert grad(tf.minimum, [1.0, 2.0], [1.0, 3.0]) == [[0.5, 1.0], [0.5, 0.0]]
    assert grad(lambda x: x.amax(), [3.0, 3.0, 1.0, 3.0]) == [[1 / 3, 1 / 3, 0.0, 1 / 3]]
    assert grad(lambda x: x.amin(), [1.0, 1.0, 2.0]) == [[0.5, 0.5, 0.0]]
    assert grad(lambda x: x.max(0).values, [3.0, 3.0, 1.0]) == [[1.0, 0.0, 0.0]]


def test_corners_of_pow():
    assert grad(lambda x: x**2, 0.0) == [0.0] and grad(lambda x: x**1, 0.0) == [1.0]
    assert grad(lambda x: x**0, 0.0) == [0.0] and grad(lambda x: x**0.5, 0.0) == [float("inf")]
    assert grad(lambda a, b: a**b, [0.0, 0.0, 2.0], [2.0, 0.0, 0.0]) == [[0.0, 0.0, 0.0], [0.0, 0.0, np.log(2.0)]]
    assert grad(lambda b: 0.0**b, [1.0, 0.0]) == [[0.0, 0.0]]


def test_spread_of_equal_elements():
    assert grad(lambda x: x.std(), [2.0, 2.0, 2.0]) == [[0.0, 0.0, 0.0]]
    assert grad(lambda x: x.var(), [2.0, 2.0, 2.0]) == [[0.0, 0.0, 0.0]]


def test_products_with_zeros_and_their_second_derivatives():
    assert grad(lambda x: x.prod(), [2.0, 0.0, 3.0]) == [[0.0, 6.0, 0.0]]
    assert grad(lambda x: x.prod(), [2.0, 0.0, 0.0]) == [[0.0, 0.0, 0.0]]
    x = tf.tensor([2.0, 0.0, 0.0], dtype=tf.float64, requires_grad=True)
    with tf.autograd.higher():
        (d,) = tf.autograd.grad(x.prod(), x, create_graph=True)
    rows = [tf.autograd.grad(d[i], x, retain_graph=True)[0].tolist() for i in range(3)]
    assert rows == [[0.0, 0.0, 0.0], [0.0, 0.0, 2.0], [0.0, 2.0, 0.0]]


@pytest.mark.parametrize("low", ["float32", "float16", "bfloat16"])
def test_a_change_of_type_is_changed_back(low):
    x = tf.tensor([1.0, 2.5], dtype=tf.float64, requires_grad=True)
    y = x.to(low)
    assert str(y.dtype) == low
    (y * tf.tensor([2.0, -0.5], dtype=low)).sum().backward()
    assert x.grad.dtype == tf.float64 and x.grad.tolist() == [2.0, -0.5]


def test_no_elements_no_trouble():
    """Empty tensors go through sums, products and matrix products, and get empty gradients."""
    x = tf.zeros(0, 3, dtype=tf.float64, requires_grad=True)
    w = tf.ones(3, 2, dtype=tf.float64, requires_grad=True)
    ((x @ w).sum() + x.prod() + x.exp().sum(0).sum()).backward()
    assert x.grad.shape == (0, 3) and w.grad.tolist() == [[0.0] * 2] * 3


def test_leaf_gradients_can_be_written():
    """Also where the pullback was an expanded view, which NumPy gives out read-only."""
    x = tf.ones(3, requires_grad=True)
    x.mean().backward()
    x.grad.mul_(2.0)
    assert x.grad.tolist() == pytest.approx([2 / 3] * 3)
