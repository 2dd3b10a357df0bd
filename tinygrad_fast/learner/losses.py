"""Losses that know their task: beside the number, what turns a model's outputs into probabilities (`activation`) and
into an answer (`decodes`). And which loss goes with which kind of target.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from typing import Any

from .. import nn
from ..nn import functional as F
from ..tensor import Tensor
from .metrics import same_length


class Loss:
    """loss(pred, targ), with `reduction` "mean", "sum" or "none"."""

    reduction: str

    def activation(self, x: Tensor) -> Tensor:
        """What the model gives -> probabilities, or the prediction itself."""
        return x

    def decodes(self, x: Tensor) -> Tensor:
        """What `activation` or the model gives -> the answer."""
        return x

    def __repr__(self) -> str:
        shown = ", ".join(f"{k}={v!r}" for k, v in vars(self).items() if v is not None)
        return f"{type(self).__name__}({shown})"


class CrossEntropyLossFlat(Loss):
    """F.cross_entropy with the classes along `axis`, everything else flattened. Answer: the argmax."""

    def __init__(
        self,
        axis: int = -1,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ):
        self.axis, self.weight, self.ignore_index, self.reduction = axis, weight, ignore_index, reduction
        self.label_smoothing = label_smoothing

    def __call__(self, pred: Tensor, targ: Tensor) -> Tensor:
        if pred.ndim > 2 or self.axis not in (-1, 1):
            pred = pred.movedim(self.axis, -1)
        classes = pred.shape[-1]
        if pred.numel() != targ.numel() * classes:
            raise ValueError(
                f"CrossEntropyLossFlat: one class index for each row of {classes} outputs along axis {self.axis}; "
                f"got outputs {pred.shape} (classes last) and targets {targ.shape}"
            )
        return F.cross_entropy(
            pred.reshape(-1, classes),
            targ.reshape(-1),
            weight=None if self.weight is None else self.weight.to(device=pred.device),
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )

    def activation(self, x: Tensor) -> Tensor:
        return x.softmax(self.axis)

    def decodes(self, x: Tensor) -> Tensor:
        return x.argmax(self.axis)


class BCEWithLogitsLossFlat(Loss):
    """F.binary_cross_entropy_with_logits of both sides flattened. Answer: where the probability is above `thresh`."""

    def __init__(
        self,
        weight: Tensor | None = None,
        reduction: str = "mean",
        pos_weight: Tensor | None = None,
        thresh: float = 0.5,
    ):
        self.weight, self.reduction, self.pos_weight, self.thresh = weight, reduction, pos_weight, thresh

    def __call__(self, pred: Tensor, targ: Tensor) -> Tensor:
        if self.weight is not None or self.pos_weight is not None:  # one for each label: the last axis must stay
            same_length(pred, targ)
            weights = {
                name: w if w is None else w.to(device=pred.device)
                for name, w in (("weight", self.weight), ("pos_weight", self.pos_weight))
            }
            targ = targ.reshape(pred.shape).to(pred.dtype)
            return F.binary_cross_entropy_with_logits(pred, targ, reduction=self.reduction, **weights)
        pred, targ = same_length(pred, targ)
        return F.binary_cross_entropy_with_logits(pred, targ.to(pred.dtype), reduction=self.reduction)

    def activation(self, x: Tensor) -> Tensor:
        return x.sigmoid()

    def decodes(self, x: Tensor) -> Tensor:
        return x > self.thresh


class MSELossFlat(Loss):
    """F.mse_loss of both sides flattened. Shapes that differ in size are an error, never broadcast."""

    def __init__(self, reduction: str = "mean"):
        self.reduction = reduction

    def __call__(self, pred: Tensor, targ: Tensor) -> Tensor:
        pred, targ = same_length(pred, targ)
        return F.mse_loss(pred, targ.to(pred.dtype), reduction=self.reduction)


class L1LossFlat(MSELossFlat):
    """F.l1_loss of both sides flattened."""

    def __call__(self, pred: Tensor, targ: Tensor) -> Tensor:
        pred, targ = same_length(pred, targ)
        return F.l1_loss(pred, targ.to(pred.dtype), reduction=self.reduction)


BY_KIND: dict[Any, Callable[[], Loss]] = {
    "category": CrossEntropyLossFlat,
    "multicategory": BCEWithLogitsLossFlat,
    "number": MSELossFlat,
}


def infer_loss(dls: Any) -> Any:
    """The loss of these data: `dls.loss_func`, or by the kind of their last target."""
    loss = getattr(dls, "loss_func", None)
    if loss is not None:
        return loss
    kind = (getattr(dls, "kinds", None) or [None])[-1]
    if kind not in BY_KIND:
        raise ValueError(
            "Learner: the data do not say which loss they need; pass loss_func, for example "
            "loss_func=CrossEntropyLossFlat() for class indices, MSELossFlat() for numbers"
        )
    return BY_KIND[kind]()


def task_of(loss_func: Any) -> Any:
    """What has the `activation` and `decodes` of a loss: itself, or our loss of the same formula."""
    if hasattr(loss_func, "activation") and hasattr(loss_func, "decodes"):
        return loss_func
    while isinstance(loss_func, partial):
        loss_func = loss_func.func
    if loss_func is F.cross_entropy or isinstance(loss_func, nn.CrossEntropyLoss):
        return CrossEntropyLossFlat(axis=1)
    if loss_func is F.binary_cross_entropy_with_logits or isinstance(loss_func, nn.BCEWithLogitsLoss):
        return BCEWithLogitsLossFlat()
    return MSELossFlat()  # outputs are the answer


@contextmanager
def each_item(learn: Any):
    """Within the block, the learner's loss gives a value for each element instead of their mean."""
    given = learn.loss_func
    if hasattr(given, "reduction"):
        before, given.reduction = given.reduction, "none"
        try:
            yield
        finally:
            given.reduction = before
    else:
        learn.loss_func = partial(given, reduction="none")
        try:
            yield
        finally:
            learn.loss_func = given
