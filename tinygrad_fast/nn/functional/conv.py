"""Convolutions, and the patches they are made of. PyTorch's names, arguments and defaults.

One axis is two with a height of 1; a transposed convolution is the input gradient of a convolution.
"""

from __future__ import annotations

from typing import Any

from ... import geometry, ops
from ...shapes import Ints, ints
from ...tensor import Tensor, apply
from ...tensor.promote import autocast_inputs, must_float, must_tensor, must_tensors


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints | str = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    residual: Tensor | None = None,
    relu: bool = False,
) -> Tensor:
    """relu?(sum over c, p, q of x[n, c, i s + p d - pad, j s + q d - pad] w[o, c, p, q] + b[o] + residual[n, o, i, j])

    input (N, C, H, W) or (C, H, W); weight (O, C/groups, KH, KW); bias (O,). Result (N, O, OH, OW),
    OH = (H + 2 pad - d (KH - 1) - 1) // s + 1; padding "same" keeps H and W at stride 1, "valid" is 0.
    residual, of the result's shape, and relu, max(., 0), are part of the same pass. Cross-correlation: the kernel is
    not flipped. Raises ValueError for shapes that do not fit, TypeError for different dtypes.
    """
    x, weight, bias, residual = autocast_inputs("conv2d", input, weight, bias, residual)
    check_conv("conv2d", x, weight, bias, 2, groups)
    x, options = padded(x, weight, stride, padding, dilation, groups)
    if residual is not None:
        geometry.one_type("conv2d", input=x, residual=residual)
        residual = residual.unsqueeze(0) if x.ndim == 3 else residual
    if x.ndim == 3:
        return apply(ops.conv2d, x.unsqueeze(0), weight, bias, residual, relu=relu, **options).squeeze(0)
    return apply(ops.conv2d, x, weight, bias, residual, relu=relu, **options)


def padded(
    x: Tensor, weight: Tensor, stride: Ints, padding: Ints | str, dilation: Ints, groups: int
) -> tuple[Tensor, dict[str, Any]]:
    """x, padded here if the sides of an axis want different padding, and the arguments of ops.conv2d for the rest."""
    stride, dilation = ints("conv2d: stride", stride, 2), ints("conv2d: dilation", dilation, 2)
    pads = geometry.axis_pads("conv2d", padding, weight.shape[2:], stride, dilation)
    if any(a != b for a, b in pads):  # "same" with an even kernel: one more zero at the end
        x = apply(ops.pad, x, widths=((0, 0),) * (x.ndim - 2) + tuple((0, b - a) for a, b in pads), value=0.0)
    return x, {"stride": stride, "padding": (pads[0][0], pads[1][0]), "dilation": dilation, "groups": groups}


def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints | str = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Tensor:
    """conv2d on images of height 1: input (N, C, L) or (C, L), weight (O, C/groups, K), bias (O,)."""
    x, weight, bias = autocast_inputs("conv1d", input, weight, bias)
    check_conv("conv1d", x, weight, bias, 1, groups)
    (s,), (d,) = ints("conv1d: stride", stride, 1), ints("conv1d: dilation", dilation, 1)
    if not isinstance(padding, str):
        padding = (0, *ints("conv1d: padding", padding, 1))
    return conv2d(x.unsqueeze(-2), weight.unsqueeze(-2), bias, (1, s), padding, (1, d), groups).squeeze(-2)


def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
) -> Tensor:
    """The input gradient of conv2d as a layer: each input pixel adds its multiple of the kernel to the output.

    input (N, C, H, W) or (C, H, W); weight (C, O/groups, KH, KW); bias (O,).
    Result (N, O, OH, OW), OH = (H - 1) s - 2 pad + d (KH - 1) + output_padding + 1.
    """
    x, weight, bias = autocast_inputs("conv_transpose2d", input, weight, bias)
    check_conv("conv_transpose2d", x, weight, bias, 2, groups)
    if x.ndim == 3:
        return conv_transpose2d(
            x.unsqueeze(0), weight, bias, stride, padding, output_padding, groups, dilation
        ).squeeze(0)
    s, p = ints("conv_transpose2d: stride", stride, 2), ints("conv_transpose2d: padding", padding, 2)
    e, d = ints("conv_transpose2d: output_padding", output_padding, 2), ints("conv_transpose2d: dilation", dilation, 2)
    hw = geometry.conv_transpose2d(x.shape, weight.shape, s, p, e, groups, d)
    if any(a >= b for a, b in zip(e, s, strict=True)):  # as much as another input row of zeros would give
        widths = ((0, 0), (0, 0), (0, e[0] // s[0]), (0, e[1] // s[1]))
        x = apply(ops.pad, x, widths=widths, value=0.0)
    y = apply(ops.conv2d_dx, x, weight, stride=s, padding=p, dilation=d, groups=groups, hw=hw)
    return y if bias is None else y + bias.reshape(1, -1, 1, 1)


def unfold(input: Tensor, kernel_size: Ints, dilation: Ints = 1, padding: Ints = 0, stride: Ints = 1) -> Tensor:
    """Every patch a column: (N, C, H, W) -> (N, C KH KW, L), L = OH OW patches; without N, without N."""
    must_tensor("unfold", input)
    geometry.images("unfold", input.shape)
    if input.ndim == 3:
        return unfold(input.unsqueeze(0), kernel_size, dilation, padding, stride).squeeze(0)
    windows = _windows("unfold", kernel_size, dilation, padding, stride)
    geometry.columns("unfold", hw=(input.shape[2], input.shape[3]), **windows)
    return apply(ops.unfold, input, **windows)


def fold(
    input: Tensor, output_size: Ints, kernel_size: Ints, dilation: Ints = 1, padding: Ints = 0, stride: Ints = 1
) -> Tensor:
    """Columns (N, C KH KW, L) added up where their patches lie in (N, C, H, W): the adjoint of unfold."""
    must_tensor("fold", input)
    hw, windows = ints("fold: output_size", output_size, 2), _windows("fold", kernel_size, dilation, padding, stride)
    geometry.fold(input.shape, windows["kernel"], hw, geometry.columns("fold", hw=hw, **windows))
    if input.ndim == 2:
        return fold(input.unsqueeze(0), output_size, kernel_size, dilation, padding, stride).squeeze(0)
    return apply(ops.fold, input, hw=hw, **windows)


def _windows(name: str, kernel: Ints, dilation: Ints, padding: Ints, stride: Ints) -> dict[str, tuple[int, int]]:
    given = {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}
    return {key: ints(f"{name}: {key}", value, 2) for key, value in given.items()}


def check_conv(name: str, x: Tensor, weight: Tensor, bias: Tensor | None, axes: int, groups: int) -> None:
    """What all convolutions ask of their tensors: that they are some, their shapes and dtypes."""
    must_tensors(name, (x, weight) if bias is None else (x, weight, bias))
    geometry.conv(name, x.shape, weight.shape, axes, groups)
    geometry.one_type(name, input=x, weight=weight, bias=bias)
    o = weight.shape[1] * groups if name.startswith("conv_transpose") else weight.shape[0]
    if bias is not None and bias.shape != (o,):
        raise ValueError(f"{name}: bias must be ({o},), one for each output channel; got {bias.shape}")
    must_float(name, x)
