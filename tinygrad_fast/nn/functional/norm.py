"""Normalisation. PyTorch's names, arguments and defaults; the formulas stand in `backend/norms.py`."""

from __future__ import annotations

from collections.abc import Sequence

from ... import dtypes, ops
from ...creation import ones
from ...shapes import Ints, ints
from ...tape import written
from ...tensor import Tensor, apply
from ...tensor.promote import as_float, autocast_inputs, must_float, must_tensor, must_tensors
from .conv import check_conv, padded


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    residual: Tensor | None = None,
    relu: bool = False,
) -> Tensor:
    """relu?((x - mean) / sqrt(var + eps) weight + bias + residual): one op, all that a block of a ResNet ends with.

    input (N, C, ...), 16-bit with the others float32, or all of one type; residual as the input; the others (C,).
    In training mean and biased variance are the batch's, and running statistics, if given, move towards them in place:
    running <- (1 - momentum) running + momentum new, the variance unbiased. Else they are the running statistics.
    Nothing is learned of an empty batch: running statistics stay, and gradients are 0.
    Raises ValueError for one value a channel in training: its variance says nothing. Source: Ioffe and Szegedy 2015.
    """
    x = must_float("batch_norm", input)
    if training:
        return _by_batch(x, (), running_mean, running_var, weight, bias, momentum, eps, residual, relu)
    if running_mean is None or running_var is None:
        raise ValueError("batch_norm: outside training it needs running_mean and running_var; got None")
    x, residual = _alike(x, residual, weight=weight, bias=bias, running_mean=running_mean, running_var=running_var)
    statistics = running_mean.detach(), running_var.detach()
    return apply(ops.batch_norm_eval, x, *statistics, weight, bias, residual, eps=eps, relu=relu)


def conv2d_batch_norm(
    input: Tensor,
    weight: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints | str = 0,
    dilation: Ints = 1,
    groups: int = 1,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    residual: Tensor | None = None,
    relu: bool = False,
) -> Tensor:
    """batch_norm(conv2d(input, weight), ..., gamma, beta, training=True), with the statistics found on the way.

    input (N, C, H, W); gamma, beta and the running statistics (O,). Arguments and errors are those of both.
    A GPU finds mean and variance while it writes the convolution's result, which is then read once, not twice.
    """
    x, w = autocast_inputs("conv2d", input, weight)
    check_conv("conv2d", x, w, None, 2, groups)
    x, window = padded(x, w, stride, padding, dilation, groups)
    h, *moments = apply(ops.conv2d_moments, x, w, **window)
    return _by_batch(h, moments, running_mean, running_var, gamma, beta, momentum, eps, residual, relu)


def _by_batch(
    x: Tensor,
    moments: Sequence[Tensor],
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    momentum: float,
    eps: float,
    residual: Tensor | None,
    relu: bool,
) -> Tensor:
    """Batch norm in training. moments: mean and biased variance of x where they are known already, else empty."""
    x, residual = _alike(x, residual, weight=weight, bias=bias, running_mean=running_mean, running_var=running_var)
    n = x.numel() // max(x.shape[1], 1) if x.ndim > 1 else 0
    if n == 1:
        raise ValueError(
            f"batch_norm: training needs more than 1 value per channel; got input {x.shape}. "
            "Use a larger batch (drop_last=True for a rest of 1), or .eval()"
        )
    if n == 0 and x.ndim > 1:  # its mean would be NaN
        one = ones(x.shape[1], device=x.device)
        return apply(ops.batch_norm_eval, x, one, one, weight, bias, residual, eps=eps, relu=relu)
    y, mean, var = apply(ops.batch_norm, x, weight, bias, residual, *moments, eps=eps, relu=relu)
    if running_mean is not None and running_var is not None:
        written(running_mean.version)
        written(running_var.version)
        arrays = running_mean.data, running_var.data, mean.data, var.data  # outside every graph
        running_mean.xp.batch_norm_remember_(*arrays, momentum=momentum, n=n)
    elif running_mean is not running_var:
        raise ValueError("batch_norm: needs both running_mean and running_var, or neither; got one of them")
    return y


def _alike(x: Tensor, residual: Tensor | None, **of_channels: Tensor | None) -> tuple:
    """x and the residual, cast as autocast says; raises TypeError where dtypes differ (see `_types`)."""
    x, residual = autocast_inputs("batch_norm_residual", x, residual)
    _types("batch_norm", x, **of_channels)
    channels = x.shape[1:2]
    for what, t in of_channels.items():
        if t is not None and t.shape != channels and channels:
            raise ValueError(
                f"batch_norm: {what} must be (C,) = {channels}, one for each channel of {x.shape}; got {t.shape}"
            )
    if residual is not None and residual.dtype != x.dtype:
        raise TypeError(f"batch_norm: residual must have the input's dtype {x.dtype}; got {residual.dtype}")
    return x, residual


def layer_norm(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(var + eps) weight + bias, statistics over the last axes, whose sizes are `normalized_shape`.

    weight, bias: of shape `normalized_shape`. Source: Ba, Kiros and Hinton, "Layer Normalization", 2016.
    """
    x = must_float("layer_norm", input)
    tail = ints("layer_norm: normalized_shape", normalized_shape)
    if not tail or x.shape[-len(tail) :] != tail:
        raise ValueError(f"layer_norm: the input's last axes must be normalized_shape {tail}; got input {x.shape}")
    _types("layer_norm", x, weight=weight, bias=bias)
    return apply(ops.layer_norm, x, weight, bias, axis=tuple(range(x.ndim - len(tail), x.ndim)), eps=eps)


def group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """(x - mean) / sqrt(var + eps) weight + bias, statistics over C / num_groups channels and all axes after them.

    input (N, C, ...); weight, bias (C,). Source: Wu and He, "Group Normalization", 2018.
    """
    x = must_float("group_norm", input)
    _types("group_norm", x, weight=weight, bias=bias)
    return apply(ops.group_norm, x, weight, bias, groups=num_groups, eps=eps)


def _types(name: str, x: Tensor, **given: Tensor | None) -> None:
    """Weight, bias and statistics must have x's dtype, or float32 beside a 16-bit x."""
    must_tensors(name, [t for t in given.values() if t is not None])
    for what, t in given.items():
        if t is not None and t.dtype != x.dtype and not (dtypes.is_half(x.dtype) and t.dtype == dtypes.float32):
            raise TypeError(
                f"{name}: {what} must have the input's dtype {x.dtype} (float32 beside 16-bit inputs); got {t.dtype}. "
                "Convert one of them with .to(dtype)"
            )


def normalize(input: Tensor, p: float = 2.0, dim: int | Sequence[int] = 1, eps: float = 1e-12) -> Tensor:
    """x / max(|x|_p, eps) along `dim`, |x|_p = (sum |x|^p)^(1/p), or the largest |x| for p = inf."""
    must_tensor("normalize", input)
    if not p > 0:
        raise ValueError(f"normalize: p must be above 0; got {p}")
    (narrow,) = autocast_inputs("normalize", as_float(input))
    x = narrow.float() if dtypes.is_half(narrow.dtype) else narrow
    if p == float("inf"):
        size = x.abs().amax(dim, keepdim=True)
    else:
        powers = x * x if p == 2 else _power(x.abs(), p)
        size = _power(powers.sum(dim, keepdim=True), 1 / p)
    return (x / size.clamp(min=eps)).to(dtype=narrow.dtype)


def _power(a: Tensor, q: float) -> Tensor:
    """a^q for a >= 0, its slope at 0 taken as 0 (it may be infinite)."""
    if q == 1:
        return a
    zero = a == 0
    safe = a.masked_fill(zero, 1)
    return (safe.sqrt() if q == 0.5 else safe**q).masked_fill(zero, 0)
