"""The learning rate range test: train with rates that grow from tiny to huge, and see where the loss falls best.

Source: Smith 2017, "Cyclical Learning Rates for Training Neural Networks", section 3.3; the suggestions are fastai's.
A suggestion is a function of (learning rates, smoothed losses, number of batches asked for) that gives a rate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite

import numpy as np

from ..schedule import SchedExp
from .callbacks import ParamScheduler
from .events import CancelFitException, CancelValidException

Suggestion = Callable[[Sequence[float], Sequence[float], int], float]


class LRFinder(ParamScheduler):
    """Raises the learning rate from start_lr by equal ratios; the fit ends after `num_it` batches, when the smoothed
    loss passes four times its best (unless not `stop_div`), or when it is no longer finite."""

    def __init__(self, start_lr: float = 1e-7, end_lr: float = 10, num_it: int = 100, stop_div: bool = True):
        self.num_it, self.stop_div, self.best = max(num_it, 7), stop_div, float("inf")
        super().__init__({"lr": SchedExp(start_lr, end_lr)})

    def before_fit(self) -> None:
        super().before_fit()
        self.best = float("inf")
        self.learn.recorder.stop_non_finite = False

    def before_batch(self) -> None:
        self.learn.set_hyper("lr", self.scheds["lr"](self.learn.train_iter / self.num_it))

    def after_batch(self) -> None:
        super().after_batch()
        loss = self.learn.recorder.smooth_loss
        self.best = min(self.best, loss)
        if (loss > 4 * self.best and self.stop_div) or not isfinite(loss) or self.learn.train_iter >= self.num_it:
            raise CancelFitException

    def before_validate(self) -> None:
        raise CancelValidException


def valley(lrs: Sequence[float], losses: Sequence[float], num_it: int) -> float:
    """About the middle of the longest (not necessarily unbroken) descent of the loss."""
    n = len(losses)
    length, end = [1] * n, 0
    for i in range(1, n):
        for j in range(i):
            if losses[i] < losses[j] and length[i] < length[j] + 1:
                length[i] = length[j] + 1
        if length[end] < length[i]:
            end = i
    third = length[end] / 3
    return float(lrs[end - length[end] + int(third) + int(third / 2)])


def slide(
    lrs: Sequence[float], losses: Sequence[float], num_it: int, lr_diff: int = 15, thresh: float = 0.005
) -> float:
    """The last place, from the right, where the slope has been much the same over `lr_diff` batches."""
    slope = np.gradient(np.asarray(losses, dtype=float))
    right = -1
    left = right - lr_diff
    chosen = lrs[left] if len(lrs) >= lr_diff + 1 else lrs[0]
    while left >= -len(lrs) and abs(slope[right] - slope[left]) > thresh:
        chosen = lrs[left]
        left, right = left - 1, right - 1
    return float(chosen)


def minimum(lrs: Sequence[float], losses: Sequence[float], num_it: int) -> float:
    """A tenth of the rate at the smallest loss."""
    return float(lrs[int(np.argmin(losses))]) / 10


def steep(lrs: Sequence[float], losses: Sequence[float], num_it: int) -> float:
    """Where the loss falls fastest against log(rate)."""
    slope = np.diff(np.asarray(losses, dtype=float)) / np.diff(np.log(np.asarray(lrs, dtype=float)))
    return float(lrs[int(np.argmin(slope))])


def suggest(func: Suggestion, lrs: Sequence[float], losses: Sequence[float], num_it: int) -> float:
    """A suggestion from the middle of the test: without its first tenth, its last 5 batches, and what is not finite."""
    finite = next((i for i, v in enumerate(losses) if not isfinite(v)), len(losses))
    lrs, losses = lrs[:finite][num_it // 10 : -5], losses[:finite][num_it // 10 : -5]
    if len(losses) < 2:
        raise ValueError(
            f"lr_find: a suggestion needs {num_it // 10 + 7} batches with a finite loss; got {finite}. Start lower "
            f"(start_lr), or go in smaller steps (num_it={2 * num_it})"
        )
    return func(lrs, losses, num_it)
