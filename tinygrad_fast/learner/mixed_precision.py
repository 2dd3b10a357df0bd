"""Mixed precision in a fit: autocast around prediction and loss, loss scaling around backward and step."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from ..amp import GradScaler, autocast
from ..dtypes import float16, float32, is_half
from ..tensor import Tensor
from ..tensor.promote import cast_to
from .events import Callback, CancelStepException
from .progress import ProgressCallback


class MixedPrecision(Callback):
    """What `learn.to_fp16()` and `learn.to_bf16()` add. The weights stay float32 and are what the optimiser steps.

    dtype: "float16" or "bfloat16"; scaler: options of `amp.GradScaler`, which float16 alone needs. Predictions reach
    the loss, metrics and callbacks as float32. Each fit starts with a new `scaler`. Where a gradient is inf or NaN, the
    step is skipped: `scaler.skipped_steps` counts them, and the fit prints their number when it ends. On a GPU the
    device skips it, and to callbacks it looks like any other; elsewhere it is cancelled. Gradients are divided by the
    scale before GradientClip sees them, and those that GradientAccumulation adds up all have one scale. Nothing waits
    for a GPU. Source: fastai.
    """

    order = 10
    capturable = True

    def __init__(self, dtype: Any = "float16", **scaler: Any):
        self.autocast, self.options = autocast(dtype=dtype), scaler
        self.scaler = self._new_scaler()

    def _new_scaler(self) -> GradScaler:
        return GradScaler(enabled=self.autocast.dtype == float16, **self.options)

    def before_fit(self) -> None:
        self.scaler = self._new_scaler()

    def before_train(self) -> None:
        self.learn.precision = self.autocast

    def before_validate(self) -> None:
        self.learn.precision = self.autocast

    def after_train(self) -> None:
        self.cleanup()

    def after_validate(self) -> None:
        self.learn.precision = nullcontext()  # and no more: it may have been within a step

    def after_pred(self) -> None:
        self.learn.pred = _wide(self.learn.pred)

    def before_backward(self) -> None:
        self.learn.loss_grad = self.scaler.scale(self.learn.loss_grad)

    def before_step(self) -> None:
        if self.scaler.is_enabled() and any(p.grad is not None for p in self.learn.model.parameters()):
            ready = self.scaler.ready(self.learn.opt)
            self.scaler.update()
            if not ready:
                raise CancelStepException

    def after_fit(self) -> None:
        skipped, learn = self.scaler.skipped_steps, self.learn
        if skipped and any(isinstance(cb, ProgressCallback) for cb in learn.cbs):
            print(
                f"steps skipped in {learn.train_iter} batches, because float16 gradients overflowed: {skipped}; "
                f"the loss scale is now {self.scaler.get_scale():g}"
            )

    def cleanup(self) -> None:
        self.learn.precision = nullcontext()
        if self.learn.opt is not None:
            self.learn.opt.skip = {}  # of a step that was broken off


def _wide(pred: Any) -> Any:
    """16-bit predictions as float32, also within tuples and lists."""
    if type(pred) in (tuple, list):
        return type(pred)(map(_wide, pred))
    narrow = isinstance(pred, Tensor) and is_half(pred.dtype)
    return cast_to(pred, float32) if narrow else pred
