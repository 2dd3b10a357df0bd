"""Normalisation layers: batch, layer, group."""

from __future__ import annotations

from typing import Any

from .. import creation
from ..shapes import ints
from ..tensor import Tensor
from ..tensor.promote import must_tensor
from . import functional as F, init
from .module import Module
from .parameter import Parameter


class _BatchNorm(Module):
    ranks: tuple[int, ...]
    shape: str
    weight: Any  # Parameter, or None without affine
    bias: Any
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        device: Any = None,
        dtype: Any = None,
    ):
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self.weight = Parameter.zeros(num_features, device=device, dtype=dtype) if affine else None
        self.bias = Parameter.zeros(num_features, device=device, dtype=dtype) if affine else None
        for name, make in (("running_mean", creation.zeros), ("running_var", creation.ones)):
            self.register_buffer(name, make(num_features, device=device, dtype=dtype) if track_running_stats else None)
        count = creation.zeros((), device=device, dtype="int64") if track_running_stats else None
        self.register_buffer("num_batches_tracked", count)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1, bias 0, and the running statistics of nothing seen yet."""
        self.reset_running_stats()
        _ones_and_zeros(self.weight, self.bias)

    def reset_running_stats(self) -> None:
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def forward(self, x: Tensor, residual: Tensor | None = None, relu: bool = False) -> Tensor:
        must_tensor(type(self).__name__, x)
        if x.ndim not in self.ranks:
            raise RuntimeError(f"{type(self).__name__}: x must be {self.shape}; got shape {x.shape}")
        given = self.running_mean, self.running_var, self.weight, self.bias, self.by_batch, self.count_batch(), self.eps
        return F.batch_norm(x, *given, residual=residual, relu=relu)

    @property
    def by_batch(self) -> bool:
        """True where mean and variance are those of the batch."""
        return self.training or self.running_mean is None

    def count_batch(self) -> float:
        """In training, one batch more. The momentum for its statistics."""
        momentum = self.momentum
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if momentum is None:  # a plain mean over all batches
                momentum = 1 / self.num_batches_tracked.item()
        return 0.0 if momentum is None else momentum

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
        )


class BatchNorm1d(_BatchNorm):
    """y = (x - mean) / sqrt(var + eps) * weight + bias, for each channel of (N, C) or (N, C, L).

    In training, mean and var (biased) are those of the batch, and the running ones move towards them (unbiased) by
    `momentum`, or become the mean over all batches where it is None; in eval the running ones are used.
    `residual`, an x-shaped Tensor, is added before `relu=True` takes max(y, 0): one fused pass.
    Raises RuntimeError for another number of axes, and ValueError in training for one value a channel.
    Source: Ioffe and Szegedy 2015, as PyTorch has it.
    """

    ranks, shape = (2, 3), "(N, C) or (N, C, L)"


class BatchNorm2d(_BatchNorm):
    """y = (x - mean) / sqrt(var + eps) * weight + bias, for each channel of (N, C, H, W); see BatchNorm1d."""

    ranks, shape = (4,), "(N, C, H, W)"


class LayerNorm(Module):
    """y = (x - mean) / sqrt(var + eps) * weight + bias over the last axes, whose sizes are `normalized_shape`.

    Source: Ba, Kiros and Hinton 2016.
    """

    def __init__(
        self,
        normalized_shape: int | tuple[int, ...],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        device: Any = None,
        dtype: Any = None,
    ):
        self.normalized_shape = ints("LayerNorm: normalized_shape", normalized_shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        shape = self.normalized_shape
        self.weight = Parameter.zeros(*shape, device=device, dtype=dtype) if elementwise_affine else None
        self.bias = Parameter.zeros(*shape, device=device, dtype=dtype) if elementwise_affine and bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        _ones_and_zeros(self.weight, self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class GroupNorm(Module):
    """y = (x - mean) / sqrt(var + eps) * weight + bias, over each of `num_groups` groups of channels of (N, C, ...).

    Source: Wu and He 2018.
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        device: Any = None,
        dtype: Any = None,
    ):
        if num_groups < 1 or num_channels % num_groups:
            raise ValueError(f"GroupNorm: num_groups must divide num_channels; got {num_groups} and {num_channels}")
        self.num_groups, self.num_channels, self.eps, self.affine = num_groups, num_channels, eps, affine
        self.weight = Parameter.zeros(num_channels, device=device, dtype=dtype) if affine else None
        self.bias = Parameter.zeros(num_channels, device=device, dtype=dtype) if affine else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        _ones_and_zeros(self.weight, self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}"


def _ones_and_zeros(weight: Parameter | None, bias: Parameter | None) -> None:
    if weight is not None:
        init.ones_(weight)
    if bias is not None:
        init.zeros_(bias)
