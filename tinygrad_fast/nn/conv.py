"""Convolution layers."""

from __future__ import annotations

from math import prod
from typing import Any

from ..creation import zeros
from ..geometry import axis_pads
from ..shapes import Ints, ints
from ..tensor import Tensor
from . import functional as F, init
from .module import Module
from .parameter import Parameter


class _Conv(Module):
    """What convolutions share: weight (O, C / groups, *kernel), bias (O), U(-k, k) with k = 1 / sqrt(fan_in)."""

    ndim: int
    output_padding: tuple[int, ...]
    transposed = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Ints,
        stride: Ints = 1,
        padding: Ints | str = 0,
        dilation: Ints = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        device: Any = None,
        dtype: Any = None,
    ):
        name = type(self).__name__
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(
                f"{name}: groups must divide both channel counts; got {in_channels} in, {out_channels} out, {groups}"
            )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride = self._ints("kernel_size", kernel_size, 1), self._ints("stride", stride, 1)
        self.dilation = self._ints("dilation", dilation, 1)
        numeric = self.transposed or not isinstance(padding, str)  # else "same" or "valid"
        self.padding: Any = self._ints("padding", padding, 0) if numeric else padding
        axis_pads(name, self.padding, self.kernel_size, self.stride, self.dilation)
        first, second = (in_channels, out_channels) if self.transposed else (out_channels, in_channels)
        self.weight = _kernel((first, second // groups, *self.kernel_size), groups, device, dtype)
        self.bias = Parameter.zeros(out_channels, device=device, dtype=dtype) if bias else None
        self.reset_parameters()

    def _ints(self, what: str, value: Any, least: int) -> tuple[int, ...]:
        """One for each axis of the window: 3 -> (3, 3)."""
        given = ints(f"{type(self).__name__}: {what}", value, self.ndim)
        if min(given) < least:
            raise ValueError(f"{type(self).__name__}: {what} must be at least {least}; got {given}")
        return given

    def reset_parameters(self) -> None:
        init.by_fan_in(prod(self.weight.shape[1:]), self.weight, self.bias)

    def extra_repr(self) -> str:
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"]
        for name, usual in (("padding", 0), ("dilation", 1), ("output_padding", 0)):
            value = getattr(self, name)
            if value != (usual,) * self.ndim:
                parts.append(f"{name}={value}")
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        if self.bias is None:
            parts.append("bias=False")
        return ", ".join(parts)


def _kernel(shape: tuple[int, ...], groups: int, device: Any, dtype: Any) -> Parameter:
    """A weight (O, C, KH, KW) that lies KH KW C O in memory: the matrix a convolution multiplies by, and its gradient.

    Grouped convolutions multiply by one matrix a group, and their weights lie as they read.
    """
    if groups > 1:
        return Parameter.zeros(*shape, device=device, dtype=dtype)
    return Parameter(
        zeros(*shape[2:], shape[1], shape[0], device=device, dtype=dtype).permute(
            len(shape) - 1, len(shape) - 2, *range(len(shape) - 2)
        )
    )


class Conv1d(_Conv):
    """y = x * w + b, as F.conv1d: x (N, C, L) -> y (N, O, OL), OL = (L + 2 p - d (K - 1) - 1) // s + 1."""

    ndim, output_padding = 1, (0,)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv1d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class Conv2d(_Conv):
    """y = x * w + b, as F.conv2d: x (N, C, H, W) -> y (N, O, OH, OW), OH = (H + 2 p - d (KH - 1) - 1) // s + 1.

    `residual`, a y-shaped Tensor, is added before `relu=True` takes max(y, 0): one fused pass.
    """

    ndim, output_padding = 2, (0, 0)

    def forward(self, x: Tensor, residual: Tensor | None = None, relu: bool = False) -> Tensor:
        geometry = self.stride, self.padding, self.dilation, self.groups
        return F.conv2d(x, self.weight, self.bias, *geometry, residual=residual, relu=relu)


class ConvTranspose2d(_Conv):
    """The adjoint of Conv2d in x, plus b: x (N, C, H, W) -> y (N, O, OH, OW); weight (C, O / groups, KH, KW).

    OH = (H - 1) s - 2 p + d (KH - 1) + output_padding + 1.
    """

    ndim, transposed = 2, True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Ints,
        stride: Ints = 1,
        padding: Ints = 0,
        output_padding: Ints = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Ints = 1,
        *,
        device: Any = None,
        dtype: Any = None,
    ):
        self.output_padding = self._ints("output_padding", output_padding, 0)
        geometry = (kernel_size, stride, padding, dilation, groups)
        super().__init__(in_channels, out_channels, *geometry, bias, device=device, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv_transpose2d(
            x, self.weight, self.bias, self.stride, self.padding, self.output_padding, self.groups, self.dilation
        )
