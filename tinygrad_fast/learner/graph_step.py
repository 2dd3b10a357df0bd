"""Each training step of a fit as one CUDA graph."""

from __future__ import annotations

from typing import Any

from ..capture import Captured
from .events import IN_BATCH, Callback

OUTSIDE = {"before_batch", "after_batch", "after_cancel_batch"}  # run at every batch, captured or not


class GraphStep(Callback):
    """What `learn.capture()` adds: prediction, loss, backward and step are captured once a fit, then replayed.

    Not captured are the first `warmup` batches of a fit, validation, and a batch of another shape, as the last of an
    epoch may be: a warning says so once, and `drop_last=True` avoids it. Callbacks hear of `before_batch` and
    `after_batch` as ever (schedules, losses, metrics), but of nothing in between. Raises ValueError for a callback that
    acts there, unless it is `capturable`, as MixedPrecision and GradientClip are. On "cpu" the steps just run. See
    `tf.cuda.capture` for what a step may do, and docs/cuda_graphs.md.
    """

    def __init__(self, warmup: int = 2):
        self.warmup, self.warned = warmup, False
        self.captured: Captured | None = None

    def before_fit(self) -> None:
        for cb in self.learn.cbs:
            heard = [e for e in sorted(IN_BATCH - OUTSIDE) if getattr(type(cb), e, None)]
            if heard and cb.run and cb.run_train and not cb.capturable:
                raise ValueError(
                    f"GraphStep: {type(cb).__name__} acts within a step ({', '.join(heard)}), and its Python would not "
                    "run when the step is replayed. Take one of the two away; or, if it works on tensors alone, set "
                    "capturable = True in its class"
                )
        self.captured = Captured(self._step, self.warmup, getattr(self.learn.dls, "device", None))
        self.captured.warned = self.warned
        self.learn.whole_step = self._batch

    def _step(self, n: int, *batch: Any) -> tuple:
        learn = self.learn
        learn.xb, learn.yb = batch[:n], batch[n:]
        learn._do_batch()
        return learn.pred, learn.loss

    def _batch(self) -> None:
        learn, xb, yb = self.learn, self.learn.xb, self.learn.yb
        assert self.captured is not None
        learn.pred, learn.loss = self.captured(len(xb), *xb, *yb)
        learn.xb, learn.yb, learn.loss_grad = xb, yb, learn.loss

    def cleanup(self) -> None:
        """The graph goes, and its memory: between fits a model may be frozen, moved or loaded."""
        if self.captured is not None:
            self.warned = self.captured.warned
        self.captured, self.learn.whole_step = None, None
