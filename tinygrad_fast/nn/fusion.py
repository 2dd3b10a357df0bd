"""A convolution and the batch norm behind it, together: in training, and for inference.

In training the statistics are those of the convolution's result, and a GPU finds them while it makes it: `conv_bn`.
For inference batch norms are folded into the convolutions before them. With fixed statistics a batch norm multiplies
each channel by a number and adds one, and so does a convolution:

    (x * w + b - mean) / sqrt(var + eps) weight + bias = x * (w s) + (b - mean) s + bias,   s = weight / sqrt(var + eps)

so one convolution does both, and what came with the batch norm (residual, ReLU) comes with it.
"""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from typing import Any

from ..dtypes import is_half
from ..tape import mode, setting
from ..tensor import Tensor
from . import functional as F
from .containers import Identity
from .conv import Conv2d
from .module import Module
from .norm import BatchNorm2d


def conv_bn(conv: Any, bn: Any, x: Tensor, residual: Tensor | None = None, relu: bool = False) -> Tensor:
    """bn(conv(x), residual, relu), for the `forward` of a block.

    One function, F.conv2d_batch_norm, where bn takes the batch's statistics, conv is a Conv2d without bias, bn a
    BatchNorm2d, and neither has forward hooks. Else one is called after the other.
    """
    plain = _as_written(conv, Conv2d) and _as_written(bn, BatchNorm2d) and x.ndim == 4
    if not plain or conv.bias is not None or not bn.by_batch:
        return bn(conv(x), residual, relu)
    if mode.capture is not None:
        mode.capture.modules += [(conv, conv.training), (bn, bn.training)]  # as a call of them would
    statistics, window = (bn.running_mean, bn.running_var), (conv.stride, conv.padding, conv.dilation, conv.groups)
    given = *statistics, bn.weight, bn.bias, *window, bn.count_batch(), bn.eps
    return F.conv2d_batch_norm(x, conv.weight, *given, residual=residual, relu=relu)


def _as_written(module: Module, kind: type[Module]) -> bool:
    """True if calling the module runs the `forward` of that class and nothing else."""
    return type(module).forward is kind.forward and not module._hooks and not module._pre_hooks


def fuse_conv_bn_eval(conv: Conv2d, bn: BatchNorm2d) -> Conv2d:
    """One convolution that computes bn(conv(x)), both in eval mode; they stay as they are.

    Raises RuntimeError in training mode, and where bn keeps no running statistics.
    """
    if conv.training or bn.training:
        raise RuntimeError("fuse_conv_bn_eval: needs both in eval mode; call .eval() before")
    if bn.running_mean is None or bn.running_var is None:
        raise RuntimeError("fuse_conv_bn_eval: needs running statistics; got track_running_stats=False")
    if bn.num_features != conv.out_channels:
        raise RuntimeError(
            f"fuse_conv_bn_eval: bn must take what conv makes; got {conv.out_channels} channels out of conv and "
            f"{bn.num_features} into bn"
        )
    shape = (conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, conv.dilation)
    fused = Conv2d(*shape, conv.groups, device=conv.weight.device, dtype=conv.weight.dtype).eval()
    bias: Any = fused.bias
    with setting(record=False):
        scale = (bn.running_var + bn.eps).rsqrt()
        if bn.weight is not None:
            scale = scale * bn.weight
        shift = -bn.running_mean if conv.bias is None else conv.bias - bn.running_mean
        shift = shift * scale if bn.bias is None else shift * scale + bn.bias
        fused.weight.copy_(conv.weight * scale.reshape(-1, 1, 1, 1))
        bias.copy_(shift)
    return fused


def fold_batch_norm(model: Module, example: Tensor) -> Module:
    """A copy of `model` for inference, in eval mode, each batch norm folded into the convolution before it.

    `example`, a batch as the model takes it, is sent through once: a BatchNorm2d whose input is what a Conv2d has just
    returned becomes that convolution, with the batch norm's `residual` and `relu`; where the convolution stood an
    Identity stays. Batch norms behind anything else remain. Raises RuntimeError if the copy does not compute the same,
    as where a convolution's output is used elsewhere as well.
    """
    model = deepcopy(model).eval()
    made: list[tuple[Tensor, Conv2d]] = []  # what each convolution returned; kept, so that no two share an identity
    pairs: list[tuple[Conv2d, BatchNorm2d]] = []
    calls: Counter[int] = Counter()
    handles = []

    def after_conv(conv: Any, args: tuple, y: Any) -> None:
        made.append((y, conv))
        calls[id(conv)] += 1

    def before_norm(bn: Any, args: tuple) -> None:
        calls[id(bn)] += 1
        pairs.extend((conv, bn) for y, conv in made if y is args[0])

    for module in model.modules():
        if isinstance(module, Conv2d):
            handles.append(module.register_forward_hook(after_conv))
        elif isinstance(module, BatchNorm2d) and module.running_mean is not None:
            handles.append(module.register_forward_pre_hook(before_norm))
    with setting(record=False):
        before = model(example)
        for handle in handles:
            handle.remove()
        made.clear()
        for conv, bn in pairs:
            if calls[id(conv)] == calls[id(bn)] == 1:
                _put(model, bn, fuse_conv_bn_eval(conv, bn))
                _put(model, conv, Identity())
        after = model(example)
    tolerance = 5e-2 if is_half(before.dtype) else 1e-3
    if not bool((after - before).abs().max() <= tolerance * before.abs().max()):
        raise RuntimeError(
            "fold_batch_norm: the folded model must compute the same; it does not. Is the output of a convolution used "
            "by more than its batch norm? Fold the others one by one with fuse_conv_bn_eval"
        )
    return model


def _put(model: Module, old: Module, new: Module) -> None:
    """`new` in the place of `old`, wherever below `model` it stands."""
    for parent in model.modules():
        owners = [vars(parent), *(v for v in vars(parent).values() if isinstance(v, (dict, list)))]
        for owner in owners:
            for key, value in list(owner.items() if isinstance(owner, dict) else enumerate(owner)):
                if value is old:
                    owner[key] = new
