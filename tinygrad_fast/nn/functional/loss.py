"""Losses. PyTorch's names, arguments and defaults; those of classification are ops (`ops/loss.py`), the rest is here.

`reduction` is "mean", "sum" or "none". `size_average` and `reduce`, PyTorch's older way to say it, keep their places in
the argument lists and are refused. Input and target have one shape: nothing is broadcast. 16-bit floats are computed in
float32 and rounded at the end.
"""

from __future__ import annotations

from typing import Any

from ... import dtypes, ops, shapes
from ...tensor import Tensor, apply
from ...tensor.promote import autocast_inputs, cast_to, must_float, must_tensor, must_tensors
from .embedding import index_below


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: Any = None,
    ignore_index: int = -100,
    reduce: Any = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """-weight[target] log softmax(input)[target], softmax over the classes.

    input: logits (N, C, ...), or (C,) for a single one. target: class indices (N, ...), or probabilities of the input's
    shape. weight: (C,). A position whose target is `ignore_index` counts nothing. label_smoothing e: the target becomes
    (1 - e) target + e / C. "mean" divides by the sum of weight[target], with probabilities by the number of positions.
    Raises IndexError for a class outside the logits (on a GPU when a value is next read: see docs/devices.md).
    """
    _check("cross_entropy", reduction, size_average, reduce)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing must be in [0, 1]; got {label_smoothing}")
    x, w = _logits("cross_entropy", input, target, weight)
    if dtypes.is_float(target.dtype):
        if target.shape == (*x.shape[:1], *x.shape[2:]) != x.shape:
            raise TypeError(
                f"cross_entropy: class indices are integers, and probabilities have the input's shape {x.shape}; got "
                f"{target.dtype.name} of shape {target.shape}. For classes write target.long()"
            )
        return _soft_cross_entropy(x, target, w, reduction, float(label_smoothing), ignore_index)
    return _classes(
        "cross_entropy", x, target, w, ignore_index, reduction, op=ops.cross_entropy, label_smoothing=label_smoothing
    )


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: Any = None,
    ignore_index: int = -100,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """-weight[target] input[target] for log-probabilities (N, C, ...) or (C,); otherwise as `cross_entropy`."""
    _check("nll_loss", reduction, size_average, reduce)
    x, w = _logits("nll_loss", input, target, weight)
    return _classes("nll_loss", x, target, w, ignore_index, reduction, op=ops.nll_loss)


def _logits(name: str, x: Tensor, target: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """x and weight, checked. The weight in the dtype of x, unless that is a 16-bit float: then it stays as it is."""
    must_tensors(name, (x, target) if weight is None else (x, target, weight))
    if not x.ndim:
        raise ValueError(f"{name}: input must be (N, C, ...), or (C,); got a tensor without axes")
    if weight is not None and weight.requires_grad:
        raise RuntimeError(f"{name}: weight gets no gradient; pass weight.detach()")
    must_float(name, x)
    return x, weight if weight is None or dtypes.is_half(x.dtype) else cast_to(weight, x.dtype)


def _classes(
    name: str, x: Tensor, target: Tensor, w: Tensor | None, ignore_index: int, reduction: str, *, op: Any, **static: Any
) -> Tensor:
    single = x.ndim == 1 and not target.ndim
    if single:
        x, target = x.unsqueeze(0), target.unsqueeze(0)
    shapes.classes(name, x.shape, target.shape, shapes.of(w))
    t = index_below(name, "target", target, x.shape[1], "classes", ignore_index)
    y = apply(op, x, t, w, ignore_index=ignore_index, reduction=reduction, **static)
    return y.squeeze(0) if single and reduction == "none" else y


def _soft_cross_entropy(
    x: Tensor, target: Tensor, w: Tensor | None, reduction: str, label_smoothing: float, ignore_index: int
) -> Tensor:
    """With probabilities; target may want a gradient too."""
    shapes.equal("cross_entropy with probabilities", x.shape, target.shape)
    if ignore_index >= 0:
        raise ValueError(f"cross_entropy: probabilities have no index to ignore; got ignore_index={ignore_index}")
    single, dtype = x.ndim == 1, dtypes.result_type(x, target)
    x, p = (a.unsqueeze(0) if single else a for a in (x.to(dtype), target.to(dtype)))
    if w is not None and w.shape != x.shape[1:2]:
        raise ValueError(f"cross_entropy: weight must have one element for each of the classes; got {w.shape}")
    y = apply(ops.soft_cross_entropy, x, p, w, label_smoothing=label_smoothing, reduction=reduction)
    return y.squeeze(0) if single and reduction == "none" else y


def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """-weight (target log(input) + (1 - target) log(1 - input)) for probabilities; no logarithm goes below -100.

    Raises RuntimeError for an input outside [0, 1] (read on the CPU only); for logits there is the next function.
    """
    _check("binary_cross_entropy", reduction, size_average, reduce)
    x, t, narrow = _widened("binary_cross_entropy", input, target)
    if x.xp.on_host and not ((x >= 0) & (x <= 1)).all():
        raise RuntimeError(
            f"binary_cross_entropy: input must be in [0, 1]; got {x.min().item():.6g} to {x.max().item():.6g}. "
            "For logits write binary_cross_entropy_with_logits"
        )
    return _reduced(_weighted(apply(ops.binary_cross_entropy, x, t), weight), reduction, narrow)


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """-weight (pos_weight target log(s) + (1 - target) log(1 - s)), s = sigmoid(input); finite for every finite input.

    weight and pos_weight broadcast to the input, and are taken in its dtype.
    """
    name, given = "binary_cross_entropy_with_logits", {"weight": weight, "pos_weight": pos_weight}
    _check(name, reduction, size_average, reduce)
    x, t = _promoted(name, input, target)
    ws = (None if w is None else cast_to(_fits(what, w, x), x.dtype) for what, w in given.items())
    return apply(ops.binary_cross_entropy_with_logits, x, t, *ws, reduction=reduction)


def mse_loss(
    input: Tensor,
    target: Tensor,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """weight (input - target)^2; with a weight, "mean" divides by the sum of the weights."""
    _check("mse_loss", reduction, size_average, reduce)
    x, t, narrow = _widened("mse_loss", input, target)
    d = x - t
    return _mean_by_weight(d * d, weight, reduction, narrow)


def l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """weight |input - target|; with a weight, "mean" divides by the sum of the weights."""
    _check("l1_loss", reduction, size_average, reduce)
    x, t, narrow = _widened("l1_loss", input, target)
    return _mean_by_weight((x - t).abs(), weight, reduction, narrow)


def smooth_l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """d^2 / (2 beta) where |d| < beta, else |d| - beta / 2; d = input - target. beta = 0: `l1_loss`."""
    _check("smooth_l1_loss", reduction, size_average, reduce)
    if beta < 0:
        raise ValueError(f"smooth_l1_loss: beta must be at least 0; got {beta}")
    x, t, narrow = _widened("smooth_l1_loss", input, target)
    return _reduced(_huber(x - t, beta) / beta if beta else (x - t).abs(), reduction, narrow)


def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0, weight: Tensor | None = None
) -> Tensor:
    """d^2 / 2 where |d| < delta, else delta (|d| - delta / 2); d = input - target. Source: Huber 1964.

    With a weight, "mean" divides by the number of elements, unlike `mse_loss`: so PyTorch has it.
    """
    _check("huber_loss", reduction, None, None)
    if not delta > 0:
        raise ValueError(f"huber_loss: delta must be above 0; got {delta}")
    x, t, narrow = _widened("huber_loss", input, target)
    loss = _huber(x - t, delta)
    if weight is not None:
        must_tensor("weight of a loss", weight)
        shapes.equal("weight of a loss", loss.shape, weight.shape)
    return _reduced(_weighted(loss, weight), reduction, narrow)


def _huber(d: Tensor, delta: float) -> Tensor:
    """m (d - m / 2), m = d cut to [-delta, delta]: no square of a large number."""
    m = d.clamp(-delta, delta)
    return m * (d - m * 0.5)


# What they share


def _check(name: str, reduction: str, size_average: Any, reduce: Any) -> None:
    if size_average is not None or reduce is not None:
        raise ValueError(f"{name}: size_average and reduce are not offered; write reduction='mean', 'sum' or 'none'")
    check_reduction(name, reduction)


def check_reduction(name: str, reduction: str) -> None:
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{name}: reduction must be 'none', 'mean' or 'sum'; got {reduction!r}")


def _wide(x: Tensor) -> Tensor:
    return x.float() if dtypes.is_half(x.dtype) or not dtypes.is_float(x.dtype) else x


def _promoted(name: str, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Input and target in their `result_type`."""
    must_tensors(name, (x, t))
    shapes.equal(name, x.shape, t.shape)
    x, t = autocast_inputs(name, x, t)
    dtype = dtypes.result_type(x, t)
    if not dtypes.is_float(dtype):
        raise RuntimeError(f"{name}: input must be of a floating dtype; got {x.dtype}. Write input.float()")
    return cast_to(x, dtype), cast_to(t, dtype)


def _widened(name: str, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Any]:
    """The same, 16-bit floats as float32; and the dtype that the result shall have."""
    x, t = _promoted(name, x, t)
    return _wide(x), _wide(t), x.dtype


def _fits(what: str, w: Tensor, x: Tensor) -> Tensor:
    must_tensor(f"{what} of a loss", w)
    if shapes.broadcast(what, w.shape, x.shape) != x.shape:
        raise ValueError(f"{what}: must broadcast to the input's shape {x.shape}; got {w.shape}")
    return w


def _weighted(loss: Tensor, weight: Tensor | None) -> Tensor:
    return loss if weight is None else loss * cast_to(_fits("weight", weight, loss), loss.dtype)


def _mean_by_weight(loss: Tensor, weight: Tensor | None, reduction: str, dtype: Any) -> Tensor:
    if weight is None:
        return _reduced(loss, reduction, dtype)
    must_tensor("weight of a loss", weight)
    shapes.equal("weight of a loss", loss.shape, weight.shape)
    weighted = _weighted(loss, weight)
    if reduction == "mean":
        return (weighted.sum() / cast_to(weight, loss.dtype).sum()).to(dtype=dtype)
    return _reduced(weighted, reduction, dtype)


def _reduced(loss: Tensor, reduction: str, dtype: Any) -> Tensor:
    loss = loss.mean() if reduction == "mean" else loss.sum() if reduction == "sum" else loss
    return loss.to(dtype=dtype)
