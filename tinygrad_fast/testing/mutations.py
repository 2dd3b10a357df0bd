"""Pullbacks broken on purpose, each in one way. A law that lets one of them pass proves nothing.

A mutation takes one run of a right op, seen from one of its inputs (a `Site`), and gives a pullback that is wrong.
`mutants.py` puts it into a function and asks the laws.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..dtypes import is_float
from .backends import Shut, Through

Op = Callable[..., Any]
Pull = Callable[[Any], Any]


@dataclass
class Site:
    """One run of an op, seen from one of its inputs: `pull` is the right pullback of input `i`."""

    xp: Any
    op: Op
    i: int
    arrays: tuple
    static: dict[str, Any]
    y: Any
    pull: Pull
    touched: bool = False  # has the mutation made a difference?

    def under(self, xp: Any) -> Pull:
        """The pullback of the same run on another backend."""
        return self.op(xp, *self.arrays, **self.static)[1][self.i]


# The mutations


def sign(site: Site) -> Pull:
    """-d"""
    return lambda g: site.xp.neg(site.pull(g))


def factor(site: Site) -> Pull:
    """1.01 d"""
    return lambda g: site.xp.mul(site.pull(g), 1.01)


def zero(site: Site) -> Pull:
    """0"""
    return lambda g: site.xp.mul(site.pull(g), 0.0)


def wrong_axis(site: Site) -> Pull:
    """The numbers of d, counted along its axes in reverse."""

    def pull(g: Any) -> Any:
        d = site.pull(g)
        return site.xp.reshape(site.xp.permute(d, axes=tuple(range(d.ndim))[::-1]), shape=d.shape)

    return pull


def forgotten_sum(site: Site) -> Pull:
    """Where a sum is due, of what was broadcast or shared, the first slice is taken."""

    def first(x: Any, axis: tuple, keepdims: bool = False) -> Any:
        one = slice(0, 1) if keepdims else 0
        empty = any(x.shape[i] == 0 for i in axis)
        return site.xp.getitem(x, key=tuple(one if i in axis and not empty else slice(None) for i in range(x.ndim)))

    wrong = Wrong(site.xp, {"sum": first})
    return wrong.during(site.under(wrong))


def first_term_dropped(site: Site) -> Pull:
    """The first a + b (or a - b) that the pullback computes is a alone."""
    return dropped(site, first=True)


def last_term_dropped(site: Site) -> Pull:
    """The last a + b (or a - b) that the pullback computes is a alone."""
    return dropped(site, first=False)


def dropped(site: Site, first: bool) -> Pull:
    calls, target = 0, -1

    def instead_of(f: Callable) -> Callable:
        def left(a: Any, b: Any) -> Any:
            nonlocal calls
            y, calls = f(a, b), calls + 1
            if calls - 1 != target:
                return y
            return a if getattr(a, "shape", None) == y.shape else b

        return left

    wrong = Wrong(site.xp, {"add": instead_of(site.xp.add), "sub": instead_of(site.xp.sub)})
    bad = wrong.during(site.under(wrong))

    def pull(g: Any) -> Any:
        nonlocal calls, target
        calls, target = 0, -1
        right = bad(g)
        if not calls:
            return right
        calls, target = 0, 0 if first else calls - 1
        return wrong.during(site.under(wrong))(g)  # afresh: what pullbacks share is remembered

    return pull


def writes_to_g(site: Site) -> Pull:
    """The right answer, but g is scaled in place."""
    return writing(site, lambda g: g)


def writes_to_input(site: Site) -> Pull:
    """The right answer, but the op's first floating input is scaled in place."""
    return writing(site, lambda g: next((a for a in site.arrays if hasattr(a, "dtype") and is_float(a.dtype)), None))


def writes_to_output(site: Site) -> Pull:
    """The right answer, but what the op returned, and perhaps saved, is scaled in place."""
    return writing(site, lambda g: site.y)


def writing(site: Site, target: Callable[[Any], Any]) -> Pull:
    def pull(g: Any) -> Any:
        d = site.pull(g)
        many = target(g)
        for a in many if type(many) is tuple else (many,):
            if a is not None and scale_in_place(a):
                site.touched = True
        return d

    return pull


def scale_in_place(a: Any) -> bool:
    """Multiply by 1.01 where the memory lies; False where NumPy itself forbids it, or nothing would change."""
    held = a._held if isinstance(a, Shut) else a
    if not isinstance(a, Shut) and not held.flags.writeable:
        return False
    changed = bool(np.any(held != 0))
    held *= np.asarray(1.01, held.dtype)
    return changed


def stale_gradient(site: Site) -> Pull:
    """The answer to the first g is given for every later one."""
    memo: list[Any] = []

    def pull(g: Any) -> Any:
        if not memo:
            memo.append(site.pull(g))
        return memo[0]

    return pull


def stale_input(site: Site) -> Pull:
    """The pullback of a run on inputs a little different: what it saved is not of this run."""

    def nudged(a: Any) -> Any:
        floating = hasattr(a, "dtype") and is_float(a.dtype)
        return site.xp.mul(a, 1.03) if floating else a

    return site.op(site.xp, *map(nudged, site.arrays), **site.static)[1][site.i]


MUTATIONS: dict[Callable[[Site], Pull], str] = {  # and why one can be impossible
    sign: "the gradient is zero, or lost on the way to the inputs",
    factor: "the gradient is zero, or lost on the way to the inputs",
    zero: "the gradient is zero, or lost on the way to the inputs",
    wrong_axis: "the gradient has fewer than two axes, or is the same along them",
    forgotten_sum: "the pullback sums nothing",
    first_term_dropped: "the pullback adds nothing",
    last_term_dropped: "the pullback adds nothing",
    writes_to_g: "g is read-only",
    writes_to_input: "the input is read-only, or zero",
    writes_to_output: "the output is a read-only view, or zero",
    stale_gradient: "the gradient is zero, or lost on the way to the inputs",
    stale_input: "the pullback does not depend on the values of the inputs",
}


class Wrong(Through):
    """A backend on which some primitives are wrong, but only while a pullback runs."""

    def __init__(self, base: Any, faults: dict[str, Callable]):
        super().__init__(base)
        self.faults, self.active = faults, False

    def primitive(self, name: str, f: Callable) -> Callable:
        return self.faults.get(name, f) if self.active else f

    def during(self, pull: Pull) -> Pull:
        def run(g: Any) -> Any:
            self.active = True
            try:
                return pull(g)
            finally:
                self.active = False

        return run
