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
from .metrics import name_of, same_length


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


class OfKind(Loss):
    """For a loss without `activation` or `decodes`: outputs as they are, the answer that targets of `kind` ask for.

    Category: the argmax along axis 1. Several labels: none is given, as nothing tells whether the outputs are
    probabilities, and from where on a label holds; a wrong guess would look like an answer. Else: the outputs.
    """

    def __init__(self, kind: str | None):
        self.kind = kind

    def decodes(self, x: Tensor) -> Tensor:
        classes = x.shape[1] if x.ndim > 1 else 1
        if self.kind == "multicategory" or (self.kind == "category" and classes == 1):
            raise ValueError(
                "predict, get_preds(with_decoded=True): a loss must say what its outputs mean, unless they are one for "
                f"each class of a category; got outputs {x.shape} for a target of kind {self.kind!r}. Give the loss "
                "activation(outputs) and decodes(predictions); BCEWithLogitsLossFlat has both, so a subclass has"
            )
        return x.argmax(1) if self.kind == "category" or (self.kind == "integer" and classes > 1) else x


class LogProbabilities(CrossEntropyLossFlat):
    """The task of nll_loss."""

    def activation(self, x: Tensor) -> Tensor:
        return x.exp()


class Probabilities(BCEWithLogitsLossFlat):
    """The task of binary_cross_entropy."""

    def activation(self, x: Tensor) -> Tensor:
        return x


TASKS: tuple[tuple[Callable, type, Callable[[], Loss]], ...] = (
    (F.cross_entropy, nn.CrossEntropyLoss, partial(CrossEntropyLossFlat, axis=1)),
    (F.nll_loss, nn.NLLLoss, partial(LogProbabilities, axis=1)),
    (F.binary_cross_entropy_with_logits, nn.BCEWithLogitsLoss, BCEWithLogitsLossFlat),
    (F.binary_cross_entropy, nn.BCELoss, Probabilities),
)


def task_of(loss_func: Any, kind: str | None = None) -> Any:
    """What has the `activation` and `decodes` of a loss: the loss itself, ours of the same formula, or an OfKind."""
    task: Loss = OfKind(kind)
    own = {name: getattr(loss_func, name) for name in ("activation", "decodes") if hasattr(loss_func, name)}
    if len(own) == 2:
        return loss_func
    while isinstance(loss_func, partial):
        loss_func = loss_func.func
    for function, module, known in TASKS:
        if loss_func is function or isinstance(loss_func, module):
            task = known()
    vars(task).update(own)
    return task


def target_kind(dls: Any) -> str | None:
    """The kind of the last target; "integer" for the whole numbers, one an item, of a TensorDataset."""
    kinds = getattr(dls, "kinds", None)
    if kinds and kinds[-1]:
        return kinds[-1]
    target = getattr(getattr(getattr(dls, "train", None), "dataset", None), "tensors", [None])[-1]
    return "integer" if target is not None and target.ndim == 1 and not target.is_floating_point() else None


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
        learn.loss_func = partial(_unreduced, given)
        try:
            yield
        finally:
            learn.loss_func = given


def _unreduced(loss_func: Callable, *batch: Any) -> Any:
    try:
        return loss_func(*batch, reduction="none")
    except TypeError as e:
        if "'reduction'" not in str(e):
            raise
        raise TypeError(
            'get_preds(with_loss=True): the loss must take reduction="none", or have an attribute reduction, to give '
            f'a value for each item; {name_of(loss_func)} does not. Write def loss(pred, targ, reduction="mean")'
        ) from None
