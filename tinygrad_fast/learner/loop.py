"""The training loop. Everything that is not predict, loss, backward, step is a callback's (events.py, callbacks.py).

What the loop knows stands in attributes of the Learner, for callbacks to read and to change: `epoch, n_epoch`, `dl`,
`iter, n_iter`, `xb, yb`, `pred, loss, loss_grad`, `training`. Next on the way: learner.py, which starts fits.
"""

from __future__ import annotations

import gc
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from ..autograd import no_grad
from ..data.transforms import as_list
from ..tensor import Tensor
from .events import (
    Callback,
    CancelBackwardException,
    CancelBatchException,
    CancelEpochException,
    CancelException,
    CancelStepException,
    CancelTrainException,
    CancelValidException,
)
from .recorder import NonFiniteLoss


class TrainingLoop:
    """fit > epoch > train, validate > batch > backward, step: each with its events before, after, and if cancelled."""

    dls: Any
    model: Any
    opt: Any
    loss_func: Any
    cbs: list[Callback]
    dl: Any = None
    epoch = iter = n_iter = train_iter = 0
    n_epoch = 1
    training = False
    pct_train = 0.0
    xb: tuple = ()
    yb: tuple = ()
    pred: Any = None
    loss: Any = None  # of this batch, on its device: what to show
    loss_grad: Any = None  # the same with its graph: what to differentiate
    precision: AbstractContextManager = nullcontext()  # around prediction and loss
    whole_step: Callable[[], None] | None = None  # in place of `_do_batch` in training: what GraphStep captured

    def __call__(self, event: str) -> None:
        """Tell every callback of an event."""
        for cb in self.cbs:
            cb(event)

    def _part(self, name: str, body: Callable[[], None], cancel: type[CancelException]) -> None:
        """A part of the fit between its events. Cancelled or not, `after_NAME` comes last."""
        try:
            self(f"before_{name}")
            body()
        except cancel:
            self(f"after_cancel_{name}")
        self(f"after_{name}")

    def _do_fit(self, start_epoch: int = 0) -> None:
        if start_epoch and hasattr(self.dls.train, "epoch"):
            self.dls.train.epoch = start_epoch  # which its order and what it draws depend on
        for self.epoch in range(start_epoch, self.n_epoch):
            self._part("epoch", self._do_epoch, CancelEpochException)

    def _do_epoch(self) -> None:
        self._do_train()
        if self._valid_dl is not None:
            self._do_validate(self._valid_dl)

    def _do_train(self) -> None:
        self.dl = self.dls.train
        self._part("train", self._all_batches, CancelTrainException)

    @no_grad()
    def _do_validate(self, dl: Any) -> None:
        self.dl = dl
        self._part("validate", self._all_batches, CancelValidException)

    def _all_batches(self) -> None:
        self.iter, self.n_iter = 0, length(self.dl)
        with self._naming_the_batch():
            for batch in self.dl:
                self._split(batch)
                body = self.whole_step if self.training and self.whole_step else self._do_batch
                self._part("batch", body, CancelBatchException)
                self.iter += 1

    def _do_batch(self) -> None:
        with self.precision:
            self.pred = self.model(*self.xb)
            self("after_pred")
            if self.yb:
                self.loss_grad = self._loss()
                self.loss = self.loss_grad.detach()
        self("after_loss")
        if self.training and self.yb:
            self._part("backward", self._backward, CancelBackwardException)
            self._part("step", self._step, CancelStepException)
            self.opt.zero_grad()

    def _loss(self) -> Tensor:
        try:
            loss = self.loss_func(self.pred, *self.yb)
        except Exception as e:
            if isinstance(self.pred, Tensor):
                raise
            what = "None; does it end with `return`?" if self.pred is None else f"a {type(self.pred).__name__}"
            raise TypeError(
                "Learner: forward of the model must return a Tensor, or what loss_func takes as its first argument; it "
                f"returned {what}"
            ) from e
        if not isinstance(loss, Tensor):
            raise TypeError(
                f"Learner: loss_func must return a Tensor, whose graph is differentiated; got a {type(loss).__name__}. "
                "Leave out .item(), float() and .numpy() in it"
            )
        return loss

    def _backward(self) -> None:
        self.loss_grad.backward()

    def _step(self) -> None:
        self.opt.step()

    # ------------------------------------------------------------------------------------------- what the loop needs

    def _split(self, batch: Any) -> None:
        """A batch -> inputs and targets. Data say by `n_inp` how many inputs they have; else all but the last are."""
        if isinstance(batch, Tensor):
            batch = (batch,)
        n = getattr(getattr(self.dl, "dataset", self.dl), "n_inp", None)  # a list of batches does not say it
        n = n or getattr(getattr(self.dls.train, "dataset", None), "n_inp", None) or max(1, len(batch) - 1)
        self.xb, self.yb = tuple(batch[:n]), tuple(batch[n:])

    @property
    def _valid_dl(self) -> Any:
        """The validation loader, or None where there is none, or nothing in it."""
        valid = getattr(self.dls, "valid", None)
        return valid if valid is not None and length(valid) else None

    @contextmanager
    def _naming_the_batch(self) -> Iterator[None]:
        """Whatever goes wrong, say where. What ran out of memory must not be kept alive by its traceback."""
        try:
            yield
        except (CancelException, NonFiniteLoss):
            raise
        except Exception as e:
            phase = "training" if self.training else "validation"
            e.add_note(f"in epoch {self.epoch}, {phase} batch {self.iter} of {self.n_iter}, both counted from 0")
            if isinstance(e, MemoryError):
                traceback.clear_frames(e.__traceback__)
            raise

    @contextmanager
    def _ending_well(self) -> Iterator[None]:
        """However a fit ends, its callbacks clean up and its last batch is let go.

        The tape makes no cycles, but so many objects that the collector would pass over everything again and again:
        what is there already is set aside for the time of the fit.
        """
        gc.collect()
        gc.freeze()
        try:
            yield
        finally:
            gc.unfreeze()
            if self.opt is not None:
                self.opt.zero_grad()  # of a batch that was broken off
            for cb in self.cbs:
                cb.cleanup()
            self.xb, self.yb, self.pred, self.loss, self.loss_grad = (), (), None, None, None

    # ------------------------------------------------------------------------------------------------------ callbacks

    def add_cbs(self, cbs: Callback | Iterable[Callback] | None) -> TrainingLoop:
        """Add callbacks for all fits to come."""
        for cb in as_list(cbs):
            if isinstance(cb, type) and issubclass(cb, Callback):
                cb = cb()
            if not isinstance(cb, Callback):
                raise TypeError(f"Learner: a callback is a Callback; got {cb!r}")
            cb.learn = self  # type: ignore[assignment]
            self.cbs = sorted([*self.cbs, cb], key=lambda c: c.order)  # those of one order as they came
        return self

    def remove_cbs(self, cbs: Callback | type[Callback] | Iterable[Callback] | None) -> TrainingLoop:
        """Take callbacks away: these, or all of a class."""
        for cb in as_list(cbs):
            self.cbs = [c for c in self.cbs if not (type(c) is cb if isinstance(cb, type) else c is cb)]
        return self

    @contextmanager
    def added_cbs(self, cbs: Callback | Iterable[Callback] | None) -> Iterator[None]:
        """With these callbacks, for the time of the block."""
        before = self.cbs
        self.add_cbs(cbs)
        try:
            yield
        finally:
            self.cbs = before

    @contextmanager
    def removed_cbs(self, cbs: Callback | type[Callback] | Iterable[Callback] | None) -> Iterator[None]:
        """Without these callbacks, for the time of the block."""
        before = self.cbs
        self.remove_cbs(cbs)
        try:
            yield
        finally:
            self.cbs = before

    def callback(self, kind: type[Callback]) -> Any:
        """The callback of a class."""
        for cb in self.cbs:
            if isinstance(cb, kind):
                return cb
        raise AttributeError(f"Learner: has no {kind.__name__}; its callbacks are {self.cbs}")


def length(dl: Any) -> int:
    try:
        return len(dl)
    except TypeError:
        raise TypeError(
            f"Learner: a loader has a length, the number of its batches; a {type(dl).__name__} has none"
        ) from None
