"""Metrics: numbers for people, computed over a whole validation set. They never touch a gradient.

A function of (predictions, targets) is enough; the Recorder makes an AvgMetric of it: the mean over batches, each
weighted with its size. What is no mean over items (rmse) is an AccumMetric: it sees all predictions at once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any

from .. import functions
from ..tensor import Tensor


class Metric:
    """`reset()`, then `accumulate(learn)` after each batch, then `value`; `name` heads its column."""

    def reset(self) -> None:
        raise NotImplementedError(f"{type(self).__name__} needs reset()")

    def accumulate(self, learn: Any) -> None:
        raise NotImplementedError(f"{type(self).__name__} needs accumulate(learn)")

    @property
    def value(self) -> float | None:
        raise NotImplementedError(f"{type(self).__name__} needs value")

    @property
    def name(self) -> str:
        return type(self).__name__.lower()


class AvgMetric(Metric):
    """The mean of func(pred, *targets) over items: batch values weighted with batch sizes. None before any batch.

    Values stay on their device until `value` is asked for.
    """

    def __init__(self, func: Callable):
        self.func = func
        self.reset()

    def reset(self) -> None:
        self.values: list[tuple[Any, int]] = []

    def accumulate(self, learn: Any) -> None:
        value = self.func(learn.pred, *learn.yb)
        self.values.append((value.detach() if isinstance(value, Tensor) else value, batch_size(learn)))

    @property
    def value(self) -> float | None:
        items = sum(n for _, n in self.values)
        numbers = _numbers(self.name, [v for v, _ in self.values])
        return sum(v * n for v, (_, n) in zip(numbers, self.values)) / items if items else None

    @property
    def name(self) -> str:
        return name_of(self.func)


def _numbers(name: str, values: list) -> list[float]:
    """Values of batches as numbers; those that lie on a device come in one copy."""
    if wrong := [v for v in values if prod(getattr(v, "shape", ())) != 1]:
        raise ValueError(
            f"Learner: a metric must give one number for a batch; {name} gave shape {tuple(wrong[0].shape)}. End it in "
            ".mean(), or make it an AccumMetric"
        )
    if values and all(isinstance(v, Tensor) and not v.ndim for v in values):
        return functions.stack([v.double() for v in values]).tolist()
    return [float(v) for v in values]


class AvgLoss(AvgMetric):
    """The mean of the learner's loss over items."""

    def __init__(self) -> None:
        self.reset()

    def accumulate(self, learn: Any) -> None:
        self.values.append((learn.loss.mean(), batch_size(learn)))

    @property
    def name(self) -> str:
        return "loss"


class AccumMetric(Metric):
    """func(all predictions, all targets), flattened: for what is no mean over items. None before any batch."""

    def __init__(self, func: Callable, flatten: bool = True):
        self.func, self.flatten = func, flatten
        self.reset()

    def reset(self) -> None:
        self.preds: list[Tensor] = []
        self.targs: list[Tensor] = []

    def accumulate(self, learn: Any) -> None:
        self.preds.append(learn.pred.detach())
        self.targs.append(learn.yb[0].detach())

    @property
    def value(self) -> float | None:
        if not self.preds:
            return None
        pred, targ = functions.cat(self.preds), functions.cat(self.targs)
        return float(self.func(*(same_length(pred, targ) if self.flatten else (pred, targ))))

    def __call__(self, inp: Tensor, targ: Tensor) -> Any:
        """The metric of one batch."""
        return self.func(*(same_length(inp, targ) if self.flatten else (inp, targ)))

    @property
    def name(self) -> str:
        return name_of(self.func).removeprefix("_")


def as_metric(metric: Any) -> Metric:
    """A Metric as it is; a function as AvgMetric."""
    if isinstance(metric, type) and issubclass(metric, Metric):
        metric = metric()
    if isinstance(metric, Metric):
        return metric
    if not callable(metric):
        raise TypeError(f"Learner: a metric is a function of predictions and targets, or a Metric; got {metric!r}")
    return AvgMetric(metric)


def name_of(func: Any) -> str:
    """The name of a function, also behind `partial`."""
    while isinstance(func, partial):
        func = func.func
    return getattr(func, "__name__", type(func).__name__)


def batch_size(learn: Any) -> int:
    return len((learn.yb or learn.xb)[0])


def same_length(inp: Tensor, targ: Tensor) -> tuple[Tensor, Tensor]:
    """Both flattened. Raises ValueError unless they have one size: broadcasting would hide a mistake."""
    if inp.numel() != targ.numel():
        raise ValueError(
            f"predictions and targets: as many of one as of the other; got {inp.shape} and {targ.shape}, "
            f"{inp.numel()} and {targ.numel()} elements"
        )
    return inp.reshape(-1), targ.reshape(-1)


# ------------------------------------------------------------------------------------------------------ classification


def accuracy(inp: Tensor, targ: Tensor, axis: int = -1) -> Tensor:
    """The share of targets that are the argmax of inp along `axis`."""
    pred, targ = same_length(inp.argmax(axis), targ)
    return (pred == targ).float().mean()


def error_rate(inp: Tensor, targ: Tensor, axis: int = -1) -> Tensor:
    """1 - accuracy"""
    return 1 - accuracy(inp, targ, axis=axis)


def top_k_accuracy(inp: Tensor, targ: Tensor, k: int = 5, axis: int = -1) -> Tensor:
    """The share of targets that are among the k largest of inp along `axis`."""
    best = inp.topk(k, axis).indices
    return (best == targ.unsqueeze(axis)).any(axis).float().mean()


def accuracy_multi(inp: Tensor, targ: Tensor, thresh: float = 0.5, sigmoid: bool = True) -> Tensor:
    """The share of all labels of all items that `sigmoid(inp) > thresh` gets right; inp as it is if not `sigmoid`."""
    inp, targ = same_length(inp, targ)
    if sigmoid:
        inp = inp.sigmoid()
    return ((inp > thresh) == targ.bool()).float().mean()


# ---------------------------------------------------------------------------------------------------------- regression


def mse(inp: Tensor, targ: Tensor) -> Tensor:
    """mean((inp - targ)^2)"""
    inp, targ = same_length(inp, targ)
    return (inp - targ).square().mean()


def mae(inp: Tensor, targ: Tensor) -> Tensor:
    """mean(|inp - targ|)"""
    inp, targ = same_length(inp, targ)
    return (inp - targ).abs().mean()


def _rmse(inp: Tensor, targ: Tensor) -> Tensor:
    return mse(inp, targ).sqrt()


rmse = AccumMetric(_rmse)  # sqrt of the mean over all items: the mean of the batches' roots is another number
