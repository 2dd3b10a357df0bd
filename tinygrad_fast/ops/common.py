"""What several ops share: work done once for several pullbacks, and broadcasting in reverse.

An op is `def op(xp, *arrays, **static) -> (y, pullbacks[, aux])`: a function of arrays that returns its value and, for
each input, a function from dL/dy (`g`) to dL/dinput, or None where there is no gradient. It computes through `xp` only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import shapes

Array = Any
Pull = Callable[[Array], Array]


def same(g: Array) -> Array:
    """The pullback of an input that was passed through."""
    return g


def once(work: Callable[[Array], Any]) -> Callable[[Array], Any]:
    """Work that several pullbacks of one op share: runs once for each incoming g."""
    memo = [None, None]

    def run(g):
        if memo[0] is not g:
            memo[:] = g, work(g)
        return memo[1]

    return run


def sum_to(xp, g, shape):
    """g summed over the axes that were broadcast from `shape`."""
    if g.shape == shape:
        return g
    return xp.reshape(xp.sum(g, axis=shapes.unexpand(g.shape, shape)), shape=shape)
