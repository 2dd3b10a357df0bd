"""The tester, tested: a function with one broken pullback in it, and the law that rejects it.

The wrong op goes into the `ops` namespace for a while, where Tensor methods look ops up, and is wrong at one of its
uses (two signs turned would be right again). A mutation that changes nothing on any drawn case is no mutation: it is
counted apart, with the reason (a sum that does not exist cannot be forgotten).
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

from .. import ops
from .backends import opaque
from .laws import layout, linearity, purity, slope
from .mutations import MUTATIONS, Op, Pull, Site
from .row import Case
from .run import LawError, Run, like

LAWS = (slope, linearity, purity, opaque, layout)


class Spot(NamedTuple):
    """A pullback in a function: that of input `i` at the `use`-th use of the op `name`."""

    name: str
    use: int
    i: int

    def __str__(self) -> str:
        return f"{self.name} (use {self.use}), input {self.i}"


class Mutant(NamedTuple):
    """A mutation at a spot, and what became of it: the law that rejected it; "" if none did; None if it cannot be."""

    spot: Spot
    mutation: Callable[[Site], Pull]
    killer: str | None


def mutants(cases: list[Case]) -> Iterator[Mutant]:
    """Every mutation of every pullback that runs in the gradient of one of `cases`."""
    for spot in dict.fromkeys(spot for case in cases for spot in spots(case)):
        for mutation in MUTATIONS:
            yield Mutant(spot, mutation, killer(cases, spot, mutation))


def killer(cases: list[Case], spot: Spot, mutation: Callable[[Site], Pull]) -> str | None:
    """The first law that rejects the mutant on one of the cases where it makes a difference."""
    found = None
    for case in cases:
        if applies(case, spot, mutation):
            found = next((law.__name__ for law in LAWS if rejects(law, case, spot, mutation)), "")
            if found:
                break
    return found


def applies(case: Case, spot: Spot, mutation: Callable[[Site], Pull]) -> bool:
    """Does the mutation make a difference to the function, or write anywhere? Asked with two different g."""
    right = Run(case)
    gs = [like(case, right.values, stream) for stream in (0, 1)]
    with planted(case, spot, mutation) as (broken, found):
        try:
            wrong = Run(broken)
            return any(differs(a, b) for g in gs for a, b in zip(wrong.pull(g), right.pull(g))) or any(
                site.touched for site in found
            )
        except RuntimeError as e:
            if "pullback of" in str(e):  # of another shape or dtype: the tape itself objects
                return True
            raise


def rejects(law: Callable[[Case], None], case: Case, spot: Spot, mutation: Callable[[Site], Pull]) -> bool:
    """Does the law find the mutant? By its own words, or by what it sets up: shapes on the tape, memory shut."""
    with planted(case, spot, mutation) as (broken, _):
        try:
            law(broken)
        except LawError:
            return True
        except (RuntimeError, ValueError) as e:
            if "pullback of" in str(e) or "read-only" in str(e):
                return True
            raise
    return False


# How to get in


def all_ops() -> dict[str, Op]:
    """The ops by name: the functions of the namespace whose first argument is a backend."""
    found = {n: f for n, f in vars(ops).items() if inspect.isfunction(f) and n != "sum_to"}
    return {n: f for n, f in found.items() if next(iter(inspect.signature(f).parameters), "") == "xp"}


@contextmanager
def watched(case: Case, names: Iterable[str], see: Callable[[Spot, Site], Pull]) -> Iterator[Case]:
    """The case on copies of its arrays, with every pullback of the ops `names` replaced by what `see` makes of it."""
    uses: Counter[str] = Counter()

    def call(*tensors: Any, **static: Any) -> Any:
        uses.clear()  # a use is counted from the start of each call
        return case.row.call(*tensors, **static)

    def watch(name: str, op: Op) -> Op:
        def run(xp: Any, *arrays: Any, **static: Any) -> Any:
            y, pulls, *aux = op(xp, *arrays, **static)
            use, uses[name] = uses[name], uses[name] + 1
            seen = [p and see(Spot(name, use, i), Site(xp, op, i, arrays, static, y, p)) for i, p in enumerate(pulls)]
            return (y, tuple(seen), *aux)

        run.__name__ = op.__name__
        return run

    copies = tuple(np.copy(a, order="K") for a in case.arrays)  # a mutation may write to them
    wrapped: dict[str, Any] = {name: watch(name, getattr(ops, name)) for name in names}
    with mock.patch.multiple(ops, **wrapped):
        yield replace(case, row=replace(case.row, call=call), arrays=copies)


def spots(case: Case) -> list[Spot]:
    """Every pullback that runs in the gradient of a case."""
    found: list[Spot] = []

    def hear(spot: Spot, site: Site) -> Pull:
        def pull(g: Any) -> Any:
            found.append(spot)
            return site.pull(g)

        return pull

    with watched(case, all_ops(), hear) as heard:
        run = Run(heard)
        run.pull(like(case, run.values))
    return found


@contextmanager
def planted(case: Case, spot: Spot, mutation: Callable[[Site], Pull]) -> Iterator[tuple[Case, list[Site]]]:
    """The case with a mutant in it, and the runs of the op at that spot, as they come."""
    found: list[Site] = []

    def see(here: Spot, site: Site) -> Pull:
        if here != spot:
            return site.pull
        found.append(site)
        return mutation(site)

    with watched(case, [spot.name], see) as broken:
        yield broken, found


def differs(d: np.ndarray, right: np.ndarray) -> bool:
    """By more than rounding."""
    return bool(np.abs(d - right).max(initial=0) > 1e-6 * np.abs(right).max(initial=0) + 1e-12)
