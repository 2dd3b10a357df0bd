"""`tf.`: each op is the method of its name, later parts load when they are named, and only what there is has a name."""

import inspect
import subprocess
import sys

import pytest

import tinygrad_fast as tf

DTYPES = {"bfloat16", "bool", "double", "float", "half", "int", "long"}  # tf.float is the dtype, x.float() the method
CONVERSIONS = {"contiguous", "cpu", "cuda", "dim", "item", "numpy", "size", "to", "tolist", "type_as"}
GRADIENTS = {"backward", "register_hook", "retain_grad"}
SHAPES = {"expand", "expand_as", "repeat", "view", "view_as"}
OTHERS = {"where"}  # tf.where(condition, x, y), x.where(condition, y)


def test_every_function_is_a_method():
    methods = {
        name: f
        for name, f in inspect.getmembers(tf.Tensor, inspect.isfunction)
        if not name.startswith("_") and not name.endswith("_")
    }
    only = DTYPES | CONVERSIONS | GRADIENTS | SHAPES | OTHERS
    assert only <= set(methods)
    for name in set(methods) - only:
        assert inspect.unwrap(getattr(tf, name)) is methods[name], name


def test_comparisons():
    inf, nan = float("inf"), float("nan")
    x = tf.tensor([1.0, inf, nan, 2.0])
    assert tf.isclose(x, tf.tensor([1 + 1e-6, inf, nan, inf])).tolist() == [True, True, False, False]
    assert tf.allclose(x, x, equal_nan=True) and not tf.allclose(x, x)
    assert tf.equal(tf.ones(2), tf.ones(2)) and not tf.equal(tf.ones(2), tf.ones(3))
    assert tf.is_tensor(x) and not tf.is_tensor(1.0)


def test_later_parts_load_when_named():
    code = """
import sys
import tinygrad_fast as tf
loaded = lambda name: f"tinygrad_fast.{name}" in sys.modules
assert not any(loaded(n) for n in ("nn", "optim", "models", "data", "learner", "vision", "testing")), sys.modules
assert "ml_dtypes" not in sys.modules
assert tf.nn.Linear(2, 1) and loaded("nn") and not loaded("models")
assert tf.bfloat16.name == "bfloat16"
assert {"nn", "bfloat16", "save"} <= set(dir(tf))
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_is_not_there():
    with pytest.raises(AttributeError, match="module 'tinygrad_fast' has no attribute 'sinn'"):
        tf.sinn
