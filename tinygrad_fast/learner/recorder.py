"""What a fit leaves behind: losses, learning rates, metrics. And the one place where a loss is read from its device.

Losses wait there, unread, until somebody looks (the progress bar, the end of an epoch): a GPU need not be waited for at
each step. When they are read, they are checked: a loss that is not finite ends the fit.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from math import isfinite
from typing import Any

from .. import functions
from ..tensor import Tensor
from .events import Callback
from .metrics import AvgLoss, Metric, as_metric


class NonFiniteLoss(ArithmeticError):
    """The loss became nan or inf; says when, and what often leads there."""


class Recorder(Callback):
    """Per training batch: `losses` (smoothed), `batch_losses` (as they came), `lrs` of the last group; up to date after
    each epoch, or after `read()`. Per epoch: `values` [train_loss, valid_loss, metrics], `iters` (batches so far).
    `log` is the row of the table, under `metric_names`.

    train_loss is the smoothed loss at the end of the epoch: m = beta m + (1 - beta) loss, over (1 - beta^n) after n
    batches, not started over between epochs. valid_loss is the mean over items. Metrics are of the validation set;
    `train_metrics` adds those of the training batches, as they were when each was trained on.
    """

    order = 50

    def __init__(self, train_metrics: bool = False, valid_metrics: bool = True, beta: float = 0.98):
        self.train_metrics, self.valid_metrics, self.beta = train_metrics, valid_metrics, beta
        self.stop_non_finite = True
        self._start()

    def _start(self) -> None:
        self.lrs: list[float] = []
        self.losses: list[float] = []
        self.batch_losses: list[float] = []
        self.iters: list[int] = []
        self.values: list[list] = []
        self.log: list = []
        self.hps: dict[str, list[float]] = {}
        self.final_record: list = []
        self._waiting: list[tuple[Tensor, float, int, int, int]] = []  # unread: loss, lr, epoch, batch, of how many
        self._mean = 0.0
        self._train: list[Metric] = []
        self._valid: list[Metric] = []

    def before_fit(self) -> None:
        self._start()
        self._make_metrics()
        self.stop_non_finite = True

    def _make_metrics(self) -> None:
        metrics = [as_metric(m) for m in self.learn.metrics]
        self._valid = [AvgLoss(), *(metrics if self.valid_metrics else [])]
        self._train = [as_metric(m) for m in self.learn.metrics] if self.train_metrics else []

    @property
    def metric_names(self) -> list[str]:
        """The head of the table."""
        if not self._valid:
            self._make_metrics()
        train, valid = ["loss", *(m.name for m in self._train)], [m.name for m in self._valid]
        if not self.train_metrics:
            return ["epoch", "train_loss", "valid_loss", *valid[1:], "time"]
        return ["epoch", *(f"train_{n}" for n in train), *(f"valid_{n}" for n in valid), "time"]

    # ---------------------------------------------------------------------------------------------------------- events

    def before_epoch(self) -> None:
        self._start_epoch = time.perf_counter()
        self.train_values: list = [None] * (1 + len(self._train))
        self.valid_values: list = [None] * len(self._valid)

    def before_train(self) -> None:
        for m in self._train:
            m.reset()

    def before_validate(self) -> None:
        if not self._valid:
            self._make_metrics()
        for m in self._valid:
            m.reset()

    def after_batch(self) -> None:
        learn = self.learn
        if not learn.yb or learn.loss is None:
            return
        for m in self._train if learn.training else self._valid:
            m.accumulate(learn)
        if learn.training:
            self._waiting.append((learn.loss, learn.get_hyper("lr")[-1], learn.epoch, learn.iter, learn.n_iter))

    def after_train(self) -> None:
        self.read()
        self.train_values = [self.smooth_loss if self.losses else None, *(m.value for m in self._train)]

    def after_validate(self) -> None:
        self.valid_values = [m.value for m in self._valid]

    def after_epoch(self) -> None:
        self.final_record = [*self.train_values, *self.valid_values]
        self.values.append(self.final_record)
        self.iters.append(len(self.losses))
        self.log = [self.learn.epoch, *self.final_record, format_time(time.perf_counter() - self._start_epoch)]

    def cleanup(self) -> None:
        self._read()  # as many losses as learning rates, also after an error

    # ---------------------------------------------------------------------------------------------------------- losses

    @property
    def smooth_loss(self) -> float:
        """The smoothed loss up to this batch. Reads what is waiting."""
        self.read()
        return self.losses[-1] if self.losses else float("nan")

    def read(self) -> None:
        """Take the waiting losses over from the device. Raises NonFiniteLoss for the first that is not finite."""
        first = len(self.batch_losses)
        waiting = self._read()
        for i, (loss, (_, lr, epoch, batch, n)) in enumerate(zip(self.batch_losses[first:], waiting)):
            if self.stop_non_finite and not isfinite(loss):
                before = ", ".join(f"{v:.3g}" for v in self.batch_losses[max(0, first + i - 4) : first + i])
                raise NonFiniteLoss(
                    f"the loss must be finite; got {loss} in epoch {epoch}, batch {batch} of {n} (both from 0), "
                    f"at learning rate {lr:.3g}" + (f", after losses of {before}" if before else "") + ". "
                    "Likely causes: a learning rate that is too high (try a tenth of it, or learn.lr_find()); inputs "
                    "or targets that are not finite (look at dls.one_batch()); log, sqrt or division at 0 in the "
                    "model or the loss; float16 beyond 65504. The weights may be lost: make the model anew, or "
                    "learn.load(...)"
                )

    def _read(self) -> list:
        waiting, self._waiting = self._waiting, []
        if waiting:
            losses = functions.stack([loss.reshape(()).double() for loss, *_ in waiting]).tolist()
            for loss, (_, lr, *_) in zip(losses, waiting):
                self.lrs.append(lr)
                self.batch_losses.append(loss)
                self._mean = self.beta * self._mean + (1 - self.beta) * loss
                self.losses.append(self._mean / (1 - self.beta ** len(self.batch_losses)))
        return waiting

    # ----------------------------------------------------------------------------------------------------------- plots

    def plot_loss(self, skip_start: int = 5, with_valid: bool = True, log: bool = False) -> Any:
        """Smoothed training loss by batch, validation loss by epoch: a matplotlib figure."""
        figure, axes = figure_and_axes()
        axes.plot(range(skip_start, len(self.losses)), self.losses[skip_start:], label="train")
        if with_valid:
            at = self.metric_names.index("valid_loss") - 1
            axes.plot([i - 1 for i in self.iters], [row[at] for row in self.values], "o-", label="valid")
        axes.set(xlabel="batch", ylabel="loss", yscale="log" if log else "linear")
        axes.legend()
        return figure

    def plot_sched(self, keys: Sequence[str] | None = None) -> Any:
        """What the schedule set, by batch: a matplotlib figure."""
        if not self.hps:
            raise ValueError(
                "plot_sched: no schedule was recorded; run fit_one_cycle, or fit(..., cbs=ParamScheduler(...))"
            )
        keys = list(self.hps) if keys is None else keys
        figure, grid = figure_and_axes(len(keys))
        for axes, key in zip([grid] if len(keys) == 1 else grid, keys):
            axes.plot(self.hps[key])
            axes.set(xlabel="batch", ylabel=key)
        return figure

    def plot_lr_find(self, skip_end: int = 5, suggestions: dict[str, float] | None = None) -> Any:
        """Loss against learning rate, with the suggestions marked: a matplotlib figure."""
        end = len(self.losses) - skip_end if len(self.losses) > 2 * skip_end else len(self.losses)
        figure, axes = figure_and_axes()
        axes.plot(self.lrs[:end], self.losses[:end])
        for name, lr in (suggestions or {}).items():
            at = min(range(len(self.lrs)), key=lambda i: abs(self.lrs[i] - lr))
            axes.plot(lr, self.losses[at], "o", label=f"{name} {lr:.2g}")
        axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
        if suggestions:
            axes.legend()
        return figure


def figure_and_axes(columns: int = 1) -> tuple[Any, Any]:
    """A figure that needs no window: it can be saved, and a notebook shows it."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("plots need matplotlib: pip install matplotlib") from None
    figure = Figure(figsize=(6 * columns, 4), layout="tight")
    return figure, figure.subplots(1, columns)


def format_time(seconds: float) -> str:
    """mm:ss, or h:mm:ss from an hour on"""
    s = round(seconds)
    return f"{s // 3600}:{s // 60 % 60:02d}:{s % 60:02d}" if s >= 3600 else f"{s // 60:02d}:{s % 60:02d}"
