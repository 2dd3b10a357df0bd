"""Pools: the largest or the mean of each window. PyTorch's names, arguments and defaults; also of (C, H, W)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ... import geometry, ops, tables
from ...shapes import Ints, ints
from ...tensor import Tensor, apply
from ...tensor.promote import must_float

Size = int | Sequence[int | None] | None


def max_pool2d(
    input: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest of each window; the gradient goes to it alone, the first of equals.

    stride: kernel_size unless given. padding: with -inf, at most half of the kernel. ceil_mode: windows may hang over
    the end. return_indices: (y, where in the image each maximum stands, as i W + j, int64).
    """
    x = must_float("max_pool2d", input)
    windows, out = _windows("max_pool2d", x, kernel_size, stride, padding, dilation, ceil_mode)
    y, tap = apply(ops.max_pool2d, _batch(x), out=out, **windows)
    if not return_indices:
        return y if x.ndim == 4 else y.squeeze(0)
    index = apply(ops.max_pool2d_index, tap, hw=x.shape[-2:], **windows)
    return (y, index) if x.ndim == 4 else (y.squeeze(0), index.squeeze(0))


def avg_pool2d(
    input: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The sum of each window, divided by its number of elements.

    stride: kernel_size unless given. count_include_pad: zeros of the padding count as elements. divisor_override:
    divide by this instead.
    """
    x = must_float("avg_pool2d", input)
    if divisor_override == 0:
        raise ValueError("avg_pool2d: divisor_override must not be 0")
    windows, out = _windows("avg_pool2d", x, kernel_size, stride, padding, 1, ceil_mode)
    count: str | float = "padded" if count_include_pad else "inside"
    each = (count, count) if divisor_override is None else (float(divisor_override), 1.0)
    shape = (x.shape[-2:], windows["kernel"], windows["stride"], windows["padding"], out, each)
    return _resampled(x, *(tables.windows(*axis) for axis in zip(*shape, strict=True)))


def adaptive_avg_pool2d(input: Tensor, output_size: Size) -> Tensor:
    """The mean of each of OH x OW bins, bin i from floor(i H / OH) to ceil((i + 1) H / OH). 1: the global mean.

    output_size: an int or (OH, OW), where None keeps the input's size.
    """
    x = must_float("adaptive_avg_pool2d", input)
    size = geometry.adaptive("adaptive_avg_pool2d", x.shape, output_size)
    return _resampled(x, tables.bins(x.shape[-2], size[0]), tables.bins(x.shape[-1], size[1]))


def adaptive_max_pool2d(input: Tensor, output_size: Size, return_indices: bool = False) -> Any:
    """The largest of each of OH x OW bins, as in adaptive_avg_pool2d; with return_indices also where, as i W + j."""
    x = must_float("adaptive_max_pool2d", input)
    size = geometry.adaptive("adaptive_max_pool2d", x.shape, output_size)
    both = apply(ops.adaptive_max_pool2d, _batch(x), size=size)
    y, index = both if x.ndim == 4 else (t.squeeze(0) for t in both)
    return (y, index) if return_indices else y


def _windows(name: str, x: Tensor, kernel: Ints, stride: Any, padding: Ints, dilation: Ints, ceil: bool) -> Any:
    """The geometry as pairs, checked, and how many windows there are down and across."""
    k = ints(f"{name}: kernel_size", kernel, 2)
    s = k if stride is None or stride == [] else ints(f"{name}: stride", stride, 2)
    p, d = ints(f"{name}: padding", padding, 2), ints(f"{name}: dilation", dilation, 2)
    out = geometry.pool(name, x.shape, k, s, p, d, ceil)
    return {"kernel": k, "stride": s, "padding": p, "dilation": d}, out


def _batch(x: Tensor) -> Tensor:
    return x if x.ndim == 4 else x.unsqueeze(0)


def _resampled(x: Tensor, rows: tables.Table, columns: tables.Table) -> Tensor:
    y = apply(ops.resample2d, _batch(x), rows=rows, columns=columns)
    return y if x.ndim == 4 else y.squeeze(0)
