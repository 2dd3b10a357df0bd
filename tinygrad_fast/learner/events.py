"""What happens during a fit, in order, and who is told: the events, the exceptions that skip, and Callback.

    after_create, once, when the Learner is made
    before_fit
      before_epoch
        before_train
          before_batch  after_pred  after_loss
            before_backward  after_backward  before_step  after_step
          after_batch
        after_train
        before_validate
          before_batch  after_pred  after_loss  after_batch
        after_validate
      after_epoch
    after_fit

A callback that raises CancelBatchException (Step, Backward, Train, Valid, Epoch, Fit) ends that part early:
`after_cancel_batch` comes next, then `after_batch`, as always. loop.py is the loop that tells.
"""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .learner import Learner

IN_BATCH = {
    "before_batch",
    "after_pred",
    "after_loss",
    "before_backward",
    "after_cancel_backward",
    "after_backward",
    "before_step",
    "after_cancel_step",
    "after_step",
    "after_cancel_batch",
    "after_batch",
}


class CancelException(Exception):
    """Not an error: the rest of something is skipped."""


class CancelBackwardException(CancelException):
    """Skip the backward pass."""


class CancelStepException(CancelException):
    """Skip the step of the optimiser."""


class CancelBatchException(CancelException):
    """Skip the rest of this batch."""


class CancelTrainException(CancelException):
    """Skip the rest of this epoch's training; validation follows."""


class CancelValidException(CancelException):
    """Skip the rest of this validation."""


class CancelEpochException(CancelException):
    """Skip the rest of this epoch."""


class CancelFitException(CancelException):
    """End the fit."""


class Callback:
    """Something that acts at events: a subclass has a method for each event that it wants to hear of.

    `self.learn` is the Learner, and `self.loss` finds `learn.loss` where the callback has no `loss` of its own; to
    change it write `self.learn.loss = ...`. Callbacks hear of an event in their `order`, smallest first. `run_train`,
    `run_valid`: whether they hear of what happens within batches of training and of validation; `run`: of anything.
    `capturable`: what it does between `before_batch` and `after_batch` it does to tensors alone, so that GraphStep may
    replay it; and never raises a CancelException there on a GPU.
    """

    order: float = 0
    run = run_train = run_valid = True
    capturable = False
    learn: Learner

    def __call__(self, event: str) -> None:
        act = getattr(type(self), event, None)
        if act is not None and self.run and (event not in IN_BATCH or self._in_batch()):
            act(self)
        if event == "after_fit":
            self.run = True

    def _in_batch(self) -> bool:
        return self.run_train if self.learn.training else self.run_valid

    def cleanup(self) -> None:
        """Runs when a fit ends, however it ends: by its last epoch, an error, or Ctrl-C."""

    @property
    def name(self) -> str:
        """ParamScheduler -> param_scheduler, EarlyStoppingCallback -> early_stopping"""
        stem = type(self).__name__.removesuffix("Callback") or "callback"
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", stem).lower()

    def __getattr__(self, name: str) -> Any:
        learn = self.__dict__.get("learn")
        if learn is None or not hasattr(learn, name):
            raise AttributeError(
                f"{type(self).__name__} has no {name!r}" + ("" if learn is None else ", nor has its learner")
            )
        return getattr(learn, name)

    def __setattr__(self, name: str, value: Any) -> None:
        learn = self.__dict__.get("learn")
        if learn is not None and name not in self.__dict__ and name in vars(learn) and not hasattr(type(self), name):
            warnings.warn(
                f"{type(self).__name__} sets its own {name!r}, which hides the learner's; "
                f"to change that one write self.learn.{name} = ...",
                stacklevel=2,
            )
        object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        return type(self).__name__
