"""Rows: one number in, one number out; or two, with broadcasting."""

import tinygrad_fast as tf
from tinygrad_fast import Tensor
from tinygrad_fast.testing import Args, Table
from tinygrad_fast.testing import strategies as some

rows = Table()


def one(values, **static):
    """A row of one array of any shape, filled by the method of `Fill` named."""

    def draw(draw, fill):
        return Args(getattr(fill, values)(draw(some.shapes())), **static)

    return draw


def two(first, second, **static):
    """A row of two arrays that broadcast together."""

    def draw(draw, fill):
        a, b = draw(some.broadcastable(2))
        return Args(getattr(fill, first)(a), getattr(fill, second)(b), **static)

    return draw


rows.row("add", tf.add, linear=True)(two("normal", "normal"))
rows.row("mul", tf.mul, linear=True)(two("normal", "normal"))
rows.row("exp", Tensor.exp)(one("normal"))


@rows.row("clamp", Tensor.clamp)
def clamp(draw, fill):
    return Args(fill.away(draw(some.shapes()), -0.7, 0.9), min=-0.7, max=0.9)
