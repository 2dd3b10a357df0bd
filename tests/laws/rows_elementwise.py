"""Rows: one number in, one number out; or two, with broadcasting."""

import operator

import numpy as np

import tinygrad_fast as tf
from tinygrad_fast import Tensor
from tinygrad_fast.testing import Args, Table, strategies as some

rows = Table()


def one(values, *bounds, **static):
    """One array of any shape, filled by the method of `Fill` named."""

    def draw(draw, fill):
        return Args(getattr(fill, values)(draw(some.shapes()), *bounds), **static)

    return draw


def two(first, second, **static):
    """Two arrays that broadcast together."""

    def draw(draw, fill):
        a, b = draw(some.broadcastable(2))
        return Args(getattr(fill, first)(a), getattr(fill, second)(b), **static)

    return draw


# Two operands
rows.row("add", Tensor.add, linear=True)(two("normal", "normal"))
rows.row("add / alpha", Tensor.add, linear=True)(two("normal", "normal", alpha=-1.5))
rows.row("sub", Tensor.sub, linear=True)(two("normal", "normal"))
rows.row("sub / alpha", Tensor.sub, linear=True)(two("normal", "normal", alpha=2))
rows.row("mul", Tensor.mul, linear=True)(two("normal", "normal"))
rows.row("div", Tensor.div, linear=(0,))(two("normal", "nonzero"))
rows.row("pow", Tensor.pow)(two("positive", "normal"))


@rows.row("remainder", lambda a, b: (a * b).remainder(b))
def remainder(draw, fill):
    """a b is some whole number of b, and between 0.2 b and 0.8 b more: away from where the remainder jumps."""
    return Args(fill.beside(draw(some.shapes()), 0.2, 0.8), fill.positive(()))


def apart(draw, fill):
    """Two arrays that broadcast, with no element of one equal to one of the other: odd tenths, and even ones."""
    a, b = draw(some.broadcastable(2))
    return Args(fill.integers(a, -9, 9) * 0.2 + 0.1, fill.integers(b, -9, 9) * 0.2)


rows.row("maximum", Tensor.maximum)(apart)
rows.row("minimum", Tensor.minimum)(apart)


@rows.row("where", tf.where, linear=True)
def where(draw, fill):
    c, a, b = draw(some.broadcastable(3))
    return Args(fill.mask(c), fill.normal(a), fill.normal(b))


@rows.row("where / method", lambda a, c, b: a.where(c, b), linear=True)
def where_method(draw, fill):
    a, c, b = draw(some.broadcastable(3))
    return Args(fill.normal(a), fill.mask(c), fill.normal(b))


@rows.row("masked_fill", Tensor.masked_fill, linear=True)
def masked_fill(draw, fill):
    x, mask = draw(some.broadcastable(2))
    return Args(fill.normal(x), fill.mask(mask), value=0.5)


# Operators, and an operand that is a number
rows.row("__add__", operator.add, linear=True)(two("normal", "normal"))
rows.row("__sub__", operator.sub, linear=True)(two("normal", "normal"))
rows.row("__mul__", operator.mul, linear=True)(two("normal", "normal"))
rows.row("__truediv__", operator.truediv, linear=(0,))(two("normal", "nonzero"))
rows.row("__pow__", operator.pow)(two("positive", "normal"))
rows.row("__neg__", operator.neg, linear=True)(one("normal"))
rows.row("__pos__", operator.pos, linear=True)(one("normal"))
rows.row("__abs__", operator.abs)(one("away", 0.0))
rows.row("__rmod__", lambda x: 7 % x)(one("between", 2.4, 3.4))
rows.row("__radd__", lambda x: 2.5 + x, linear=True)(one("normal"))
rows.row("__rsub__", lambda x: 2 - x, linear=True)(one("normal"))
rows.row("__rmul__", lambda x: -1.5 * x, linear=True)(one("normal"))
rows.row("__rtruediv__", lambda x: 2 / x)(one("nonzero"))
rows.row("__rpow__", lambda x: 2.0**x)(one("normal"))
rows.row("__mod__", lambda x: x % 1)(one("beside", 0.2, 0.8))


@rows.row("pow / number", lambda x, b: x**b)
def power(draw, fill):
    return Args(fill.positive(draw(some.shapes())), b=draw(some.sampled_from([0.5, -1.3, -2, 1.5])))


@rows.row("pow / whole number", lambda x, b: x**b)
def whole_power(draw, fill):
    """Negative bases and zeros are fine where the exponent is whole."""
    x = fill.normal(draw(some.shapes()))
    return Args(np.where(fill.mask(x.shape), x, 0.0), b=draw(some.sampled_from([0, 1, 2, 3, 2.0])))


# One operand
rows.row("neg", Tensor.neg, linear=True)(one("normal"))
rows.row("abs", Tensor.abs)(one("away", 0.0))
rows.row("exp", Tensor.exp)(one("normal"))
rows.row("expm1", Tensor.expm1)(one("normal"))
rows.row("log", Tensor.log)(one("positive"))
rows.row("log1p", Tensor.log1p)(one("between", -0.5, 2.0))
rows.row("sqrt", Tensor.sqrt)(one("positive"))
rows.row("rsqrt", Tensor.rsqrt)(one("positive"))
rows.row("reciprocal", Tensor.reciprocal)(one("nonzero"))
rows.row("square", Tensor.square)(one("normal"))
rows.row("sin", Tensor.sin)(one("normal"))
rows.row("cos", Tensor.cos)(one("normal"))
rows.row("tan", Tensor.tan)(one("between", -1.2, 1.2))
rows.row("tanh", Tensor.tanh)(one("normal"))
rows.row("sigmoid", Tensor.sigmoid)(one("normal"))
rows.row("erf", Tensor.erf)(one("normal", 2.0))
rows.row("relu", Tensor.relu)(one("away", 0.0))
rows.row("sign", Tensor.sign)(one("away", 0.0))
rows.row("floor", Tensor.floor)(one("beside", 0.2, 0.8))
rows.row("ceil", Tensor.ceil)(one("beside", 0.2, 0.8))
rows.row("round", Tensor.round)(one("beside", -0.3, 0.3))
rows.row("clone", Tensor.clone, linear=True)(one("normal"))


@rows.row("clamp", Tensor.clamp)
def clamp(draw, fill):
    low, high = draw(some.sampled_from([(-0.7, 0.9), (None, 0.9), (-0.7, None)]))
    return Args(fill.away(draw(some.shapes()), -0.7, 0.9), min=low, max=high)


@rows.row("clamp / tensors", lambda x, low, high: x.clamp(low, high))
def clamp_tensors(draw, fill):
    """Bounds that are tensors get gradients too; x, low and high differ by 0.1 at least."""
    x, low, high = draw(some.broadcastable(3))
    return Args(
        fill.integers(x, -9, 9) * 0.3, fill.integers(low, -9, 0) * 0.3 + 0.1, fill.integers(high, 0, 9) * 0.3 + 0.2
    )
