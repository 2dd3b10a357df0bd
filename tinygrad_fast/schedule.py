"""Schedules: functions of progress in [0, 1], 0 at the first batch of a fit and 1 after the last.

`sched_cos(start, end, pos)` is the value at pos; `SchedCos(start, end)` is the schedule, pos still open. start and end
may be NumPy arrays, one element for each group of parameters. Knows nothing of optimisers: `learner/callbacks.py` asks
a schedule for its value before each batch and hands it over.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from math import cos, pi
from typing import Any

Schedule = Callable[[float], Any]


def sched_no(start: Any, end: Any, pos: float) -> Any:
    """start, all along"""
    return start


def sched_lin(start: Any, end: Any, pos: float) -> Any:
    """start + pos (end - start)"""
    return start + pos * (end - start)


def sched_cos(start: Any, end: Any, pos: float) -> Any:
    """start + (1 - cos(pi pos)) / 2 (end - start): flat at both ends"""
    return start + (1 + cos(pi * (1 - pos))) * (end - start) / 2


def sched_exp(start: Any, end: Any, pos: float) -> Any:
    """start (end / start)^pos: equal ratios"""
    return start * (end / start) ** pos


def sched_poly(start: Any, end: Any, power: float, pos: float) -> Any:
    """start + pos^power (end - start)"""
    return start + pos**power * (end - start)


def SchedNo(start: Any, end: Any) -> Schedule:
    return partial(sched_no, start, end)


def SchedLin(start: Any, end: Any) -> Schedule:
    return partial(sched_lin, start, end)


def SchedCos(start: Any, end: Any) -> Schedule:
    return partial(sched_cos, start, end)


def SchedExp(start: Any, end: Any) -> Schedule:
    return partial(sched_exp, start, end)


def SchedPoly(start: Any, end: Any, power: float) -> Schedule:
    return partial(sched_poly, start, end, power)


def combine(pcts: Sequence[float], scheds: Sequence[Schedule]) -> Schedule:
    """One schedule after another: `scheds[i]` runs from 0 to 1 during the share `pcts[i]` of the whole.

    Raises ValueError unless there is one share for each schedule, none is negative, and they sum to 1.

    >>> combine([0.3, 0.7], [SchedLin(0, 1), SchedCos(1, 0)])
    """
    if len(pcts) != len(scheds) or min(pcts, default=-1) < 0 or not abs(sum(pcts) - 1) <= 1e-6:
        raise ValueError(
            f"combine: one share >= 0 for each schedule, with sum 1; got {list(pcts)} for {len(scheds)} schedules"
        )
    starts = [0.0, *accumulate(pcts)][:-1]

    def schedule(pos: float) -> Any:
        i = bisect_right(starts, pos) - 1  # at a border, the part that begins there
        return scheds[i](min((pos - starts[i]) / pcts[i], 1.0) if pcts[i] else 1.0)

    return schedule


def combined_cos(pct: float, start: Any, middle: Any, end: Any) -> Schedule:
    """A cosine from start to middle during the share `pct`, then one from middle to end."""
    return combine([pct, 1 - pct], [SchedCos(start, middle), SchedCos(middle, end)])


def one_cycle(
    lr_max: Any,
    div: float = 25.0,
    div_final: float = 1e5,
    pct_start: float = 0.25,
    moms: Sequence[float] = (0.95, 0.85, 0.95),
) -> dict[str, Schedule]:
    """{"lr": lr_max / div -> lr_max -> lr_max / div_final, "mom": its mirror}, both by cosines that meet at pct_start.

    Source: Smith 2018, "A disciplined approach to neural network hyper-parameters"; the form is fastai's.
    """
    return {
        "lr": combined_cos(pct_start, lr_max / div, lr_max, lr_max / div_final),
        "mom": combined_cos(pct_start, *moms),
    }


def flat_cos(lr: Any, div_final: float = 1e5, pct_start: float = 0.75) -> dict[str, Schedule]:
    """{"lr": lr, flat, during the share pct_start, then a cosine down to lr / div_final}"""
    return {"lr": combined_cos(pct_start, lr, lr, lr / div_final)}


def sgdr(lr_max: Any, n_cycles: int, cycle_mult: int = 2) -> dict[str, Schedule]:
    """{"lr": n_cycles cosines from lr_max to 0, each cycle_mult times as long as the one before}

    Source: Loshchilov and Hutter 2017, "SGDR: Stochastic Gradient Descent with Warm Restarts".
    """
    lengths = [cycle_mult**i for i in range(n_cycles)]
    return {"lr": combine([n / sum(lengths) for n in lengths], [SchedCos(lr_max, 0.0)] * n_cycles)}
