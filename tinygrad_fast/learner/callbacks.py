"""The callbacks that fits are made of, and those that people add. Their events: events.py."""

from __future__ import annotations

import csv
from collections.abc import Callable
from operator import gt, lt
from pathlib import Path
from typing import Any

from ..backend import chosen_device
from ..nn.utils import clip_grads_with_norm_, get_total_norm
from ..schedule import Schedule
from .events import Callback, CancelBatchException, CancelFitException
from .metrics import batch_size


class TrainEvalCallback(Callback):
    """Puts the model into the mode of each phase, on the device of the data, and keeps the progress of the fit."""

    order = -10
    run_valid = False

    def before_fit(self) -> None:
        self.learn.epoch, self.learn.train_iter, self.learn.pct_train = 0, 0, 0.0
        self._to_device()

    def _to_device(self) -> None:
        device = getattr(self.learn.dls, "device", None) or chosen_device()
        if device is not None:
            self.learn.model.to(device)

    def before_train(self) -> None:
        self.learn.model.train()
        self.learn.training = True
        self.learn.pct_train = self.learn.epoch / self.learn.n_epoch

    def after_batch(self) -> None:
        learn = self.learn
        learn.train_iter += 1
        learn.pct_train = (learn.epoch + (learn.iter + 1) / learn.n_iter) / learn.n_epoch

    def before_validate(self) -> None:
        self._to_device()
        self.learn.model.eval()
        self.learn.training = False


class ParamScheduler(Callback):
    """Sets numbers of the optimiser before each batch: {"lr": schedule, "mom": schedule}, functions of `pct_train`.

    At batch i of N that is i / N: 0 for the first, and never 1. `mom` is beta1 of Adam and the momentum of SGD.
    """

    order = 60
    run_valid = False

    def __init__(self, scheds: dict[str, Schedule]):
        self.scheds = scheds

    def before_fit(self) -> None:
        self.hps: dict[str, list[float]] = {name: [] for name in self.scheds}
        self.learn.recorder.hps = self.hps

    def before_batch(self) -> None:
        for name, schedule in self.scheds.items():
            self.learn.set_hyper(name, schedule(self.learn.pct_train))

    def after_batch(self) -> None:
        for name, values in self.hps.items():
            values.append(self.learn.get_hyper(name)[-1])


class GradientClip(Callback):
    """Scales all gradients together so that their norm is at most `max_norm`, before each step.

    fused: leaves it to the step, which scales each gradient as it reads it: one pass over memory less, and `p.grad`
    stays as it is for the callbacks that come after. An optimiser that cannot (`Optimizer.supports`) finds it done.
    """

    order = 11
    capturable = True

    def __init__(self, max_norm: float = 1.0, norm_type: float = 2.0, fused: bool = False):
        self.max_norm, self.norm_type, self.fused = max_norm, norm_type, fused

    def before_step(self) -> None:
        ps = [p for p in self.learn.model.parameters() if p.grad is not None]
        total = get_total_norm([p.grad for p in ps], self.norm_type)
        if self.fused and "clip" in self.learn.opt.supports:
            self.learn.opt.clip = total, self.max_norm
        else:
            clip_grads_with_norm_(ps, self.max_norm, total)


class GradientAccumulation(Callback):
    """Steps once `n_acc` items have been seen, on the mean of their gradients: a large batch in small memory."""

    order = 6
    run_valid = False

    def __init__(self, n_acc: int = 32):
        self.n_acc = n_acc

    def before_fit(self) -> None:
        self.count = 0

    def after_loss(self) -> None:
        self.learn.loss_grad = self.learn.loss_grad * (batch_size(self.learn) / self.n_acc)

    def before_step(self) -> None:
        self.count += batch_size(self.learn)
        if self.count < self.n_acc:
            raise CancelBatchException  # neither step nor zero_grad
        self.count = 0


class TrackerCallback(Callback):
    """Keeps the best value of a column of the table in `best`; `new_best` says if this epoch's is.

    comp(new, best): which is better; default: smaller for names with "loss" or "error", else larger. `min_delta`: by
    how much it has to be. `reset_on_fit`: whether a new fit forgets the best. NaN is never the best: `best` is None
    until there is a number.
    """

    order = 60
    required = True  # that there is a value in each epoch

    def __init__(
        self,
        monitor: str = "valid_loss",
        comp: Callable[[Any, Any], bool] | None = None,
        min_delta: float = 0.0,
        reset_on_fit: bool = True,
    ):
        self.comp = comp or (lt if "loss" in monitor or "error" in monitor else gt)
        self.monitor, self.min_delta, self.reset_on_fit = monitor, abs(min_delta), reset_on_fit
        self.best: float | None = None
        self.new_best = False

    def before_fit(self) -> None:
        columns = self.learn.recorder.metric_names[1:-1]
        if self.monitor not in columns:
            raise ValueError(f"{type(self).__name__}: monitor is one of {columns}; got {self.monitor!r}")
        self.column = columns.index(self.monitor)
        if self.required and self.column > len(self.learn.recorder._train) and self.learn._valid_dl is None:
            raise ValueError(
                f"{type(self).__name__}: {self.monitor!r} is a value of the validation set, and that is none or "
                "empty; give dls.valid, or monitor 'train_loss'"
            )
        if self.reset_on_fit:
            self.best = None

    def after_epoch(self) -> None:
        value = self.learn.recorder.final_record[self.column]
        delta = -self.min_delta if self.comp is lt else self.min_delta
        number = value is not None and value == value  # NaN differs from itself
        self.new_best = number and (self.best is None or self.comp(value, self.best + delta))
        if self.new_best:
            self.best = value


class EarlyStoppingCallback(TrackerCallback):
    """Ends the fit after `patience` epochs in a row that were no better than the best."""

    order = 63  # after SaveModelCallback

    def __init__(
        self,
        monitor: str = "valid_loss",
        comp: Callable[[Any, Any], bool] | None = None,
        min_delta: float = 0.0,
        patience: int = 1,
        reset_on_fit: bool = True,
    ):
        super().__init__(monitor, comp, min_delta, reset_on_fit)
        self.patience = patience

    def before_fit(self) -> None:
        super().before_fit()
        self.wait = 0

    def after_epoch(self) -> None:
        super().after_epoch()
        self.wait = 0 if self.new_best else self.wait + 1
        if self.wait >= self.patience:
            said = "was NaN" if self.best is None else f"no better than {self.best:.6f}"
            print(f"{self.monitor} {said} for {self.wait} epochs: stopped after {self.epoch}")
            raise CancelFitException


class SaveModelCallback(TrackerCallback):
    """Saves the model each time `monitor` is the best so far, as `fname`; the best is loaded when the fit ends.

    `every_epoch`: saves fname_0, fname_1, ... instead; `at_end`: the last too, and loads nothing.
    """

    order = 61

    def __init__(
        self,
        monitor: str = "valid_loss",
        comp: Callable[[Any, Any], bool] | None = None,
        min_delta: float = 0.0,
        fname: str = "model",
        every_epoch: bool = False,
        at_end: bool = False,
        with_opt: bool = False,
        reset_on_fit: bool = True,
    ):
        super().__init__(monitor, comp, min_delta, reset_on_fit)
        self.fname, self.every_epoch, self.at_end, self.with_opt = fname, every_epoch, at_end, with_opt
        self.required = not (every_epoch or at_end)
        self.last_saved_path: Path | None = None

    def _save(self, name: str) -> None:
        self.last_saved_path = self.learn.save(name, with_opt=self.with_opt)

    def after_epoch(self) -> None:
        if self.every_epoch:
            return self._save(f"{self.fname}_{self.learn.epoch}")
        super().after_epoch()
        if self.new_best:
            self._save(self.fname)

    def after_fit(self) -> None:
        if self.at_end:
            self._save(self.fname)
        elif not self.every_epoch and self.best is not None:
            self.learn.load(self.fname, with_opt=self.with_opt)


class CSVLogger(Callback):
    """Writes the table to `fname` in the learner's folder, row by row."""

    order = 60

    def __init__(self, fname: str = "history.csv", append: bool = False):
        self.fname, self.append = Path(fname), append

    def before_fit(self) -> None:
        path = self.learn.path / self.fname
        path.parent.mkdir(parents=True, exist_ok=True)
        if not (self.append and path.exists()):
            self._write(self.learn.recorder.metric_names, "w")

    def after_epoch(self) -> None:
        self._write(self.learn.recorder.log, "a")

    def _write(self, row: list, mode: str) -> None:
        with open(self.learn.path / self.fname, mode, newline="", encoding="utf-8") as f:
            csv.writer(f).writerow(row)
