"""`gradcheck` and `gradgradcheck`: they pass what is right, and name what is wrong."""

import numpy as np
import pytest

import tinygrad_fast as tf
import tinygrad_fast.nn.functional as F
from tinygrad_fast import nn
from tinygrad_fast.testing import GradcheckError, LawError, gradcheck, gradgradcheck, prove

rng = np.random.default_rng(3)


def leaf(*shape, scale=1.0):
    return tf.tensor(rng.standard_normal(shape) * scale, requires_grad=True)


def slow_exp(xp, x):
    """e^x with a pullback 1 % too large for the element [0, 1]."""
    y = xp.exp(x)
    wrong = np.ones(x.shape)
    wrong[0, 1] = 1.01
    return y, (lambda g: xp.mul(xp.mul(g, y), wrong),)


def test_right_gradients_pass():
    assert gradcheck(lambda a, b: (a @ b).tanh(), (leaf(2, 3), leaf(3, 4)))
    assert gradcheck(lambda a: a.max(1), leaf(2, 3))
    assert gradcheck(lambda a: a.chunk(2), leaf(4))
    assert gradgradcheck(lambda a, b: (a * b).sigmoid(), (leaf(2, 1), leaf(3)))
    assert gradgradcheck(lambda a: a**3, leaf(2), grad_outputs=leaf(2))


def test_a_wrong_one_is_named():
    x = leaf(2, 2)
    with pytest.raises(
        GradcheckError, match=r"d output 0 / d input 0: 1 of 16 elements differ; .*element 1 of the out"
    ):
        gradcheck(lambda a: tf.apply(slow_exp, a), x)
    assert not gradcheck(lambda a: tf.apply(slow_exp, a), x, raise_exception=False)


def test_nan_never_passes():
    def nan(xp, x):
        return xp.exp(x), (lambda g: xp.mul(g, float("nan")),)

    assert not gradcheck(lambda a: tf.apply(nan, a), leaf(2), raise_exception=False)


def test_a_gradient_without_a_second_one_is_named():
    def constant(xp, x):
        y = xp.exp(x)
        kept = tf.Tensor(y.detach()) if isinstance(y, tf.Tensor) else y
        return y, (lambda g: xp.mul(g, kept),)

    assert gradcheck(lambda a: tf.apply(constant, a), leaf(2))
    with pytest.raises(GradcheckError, match="d output 0 / d input 0"):
        gradgradcheck(lambda a: tf.apply(constant, a), leaf(2))


def test_what_cannot_be_checked_is_refused():
    with pytest.raises(ValueError, match=r"inputs must be float64; input 0 is float32. Write x.double\(\)"):
        gradcheck(tf.exp, tf.ones(2, requires_grad=True))
    with pytest.raises(ValueError, match="no input requires grad"):
        gradcheck(tf.exp, tf.ones(2, dtype=tf.float64))
    with pytest.raises(ValueError, match="no output of fn requires grad"):
        gradcheck(lambda a: a.detach(), leaf(2))


def test_the_block_of_a_resnet_twice():
    """conv + bias + ReLU, then batch norm + residual + ReLU: second derivatives in every argument at once."""
    x, w, b = leaf(2, 2, 3, 3), leaf(2, 2, 3, 3, scale=0.4), leaf(2)
    gamma, beta = leaf(2), leaf(2)

    def block(x, w, b, gamma, beta):
        h = F.conv2d(x, w, b, padding=1).relu()
        return F.batch_norm(h, None, None, gamma, beta, training=True, residual=h, relu=True)

    conv = F.conv2d(x, w, b, padding=1)
    assert float(conv.abs().min()) > 1e-3  # no unit near its kink, which a step of 1e-5 could cross
    assert gradcheck(block, (x, w, b, gamma, beta), eps=1e-5, atol=1e-7, rtol=1e-6)
    assert gradgradcheck(block, (x, w, b, gamma, beta), eps=1e-5, atol=2e-7, rtol=1e-6)


def test_the_tester_needs_no_hypothesis():
    """Only `strategies` does."""
    import subprocess
    import sys

    code = (
        "import sys; sys.modules['hypothesis'] = None; import tinygrad_fast.testing as t; assert t.gradcheck and t.LAWS"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("call", [lambda t: t * tf.ones(2, 3, dtype="float64"), nn.Linear(3, 2, dtype="float64")])
def test_prove_wants_all_tensors_as_arguments(call):
    with pytest.raises(LawError, match=r"all its tensors must be arguments, .* Write prove\(F.linear, x, w"):
        prove(call, np.ones((2, 3)))


def test_prove_wants_float64():
    with pytest.raises(ValueError, match="prove: differences need arrays of float64; got float32 at place 1"):
        tf.testing.prove(lambda a, b: a * b, np.ones(3), np.ones(3, "float32"))
