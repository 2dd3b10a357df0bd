"""Images at another resolution, and read at computed places. PyTorch's names, arguments and defaults."""

from __future__ import annotations

from collections.abc import Sequence

from ... import creation, geometry, ops, shapes, tables
from ...functions import stack
from ...tensor import Tensor, apply
from ...tensor.promote import autocast_inputs, must_float, must_tensor, must_tensors


def interpolate(
    input: Tensor,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
) -> Tensor:
    """(N, C, H, W) -> (N, C, OH, OW), OH and OW given as `size`, or as floor(scale_factor H).

    mode "nearest": y_i = x[floor(i / scale)]. mode "bilinear": a straight line between two neighbours on each axis;
    align_corners lays the centres of the outer pixels on each other, else their edges.
    A given scale_factor is used as it is, also where OH / H differs, unless recompute_scale_factor.
    """
    if mode not in ("nearest", "bilinear"):
        raise ValueError(f'interpolate: mode must be "nearest" or "bilinear"; got {mode!r}')
    if mode == "nearest" and align_corners is not None:
        raise ValueError('interpolate: align_corners is an option of mode "bilinear"; got mode "nearest". Leave it out')
    must_tensor("interpolate", input)
    size, scales = geometry.resized(input.shape, size, scale_factor)
    if recompute_scale_factor:
        if scale_factor is None:
            raise ValueError("interpolate: recompute_scale_factor needs a scale_factor; got size alone")
        scales = (None, None)
    axes = tuple(zip(input.shape[2:], size, scales, strict=True))
    if mode == "nearest":
        rows, columns = (tables.nearest(n, m, s) for n, m, s in axes)
    else:
        must_float("interpolate", input)
        rows, columns = (tables.linear(n, m, bool(align_corners), s) for n, m, s in axes)
    return apply(ops.resample2d, input, rows=rows, columns=columns)


def grid_sample(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """y[n, c, i, j] = x[n, c] read at the place grid[n, i, j] = (gx, gy).

    input (N, C, H, W); grid (N, OH, OW, 2), x before y, from -1 to 1 over the image: from centre to centre of the outer
    pixels (align_corners) or from edge to edge. mode "bilinear" mixes four pixels, "nearest" takes one.
    padding_mode: places outside read "zeros", the "border", or come back by "reflection".
    Gradients for input and grid (0 for the grid of mode "nearest"). Source: Jaderberg et al. 2015.
    """
    for name, given, known in (
        ("mode", mode, ("bilinear", "nearest")),
        ("padding_mode", padding_mode, ("zeros", "border", "reflection")),
    ):
        if given not in known:
            raise ValueError(f"grid_sample: {name} must be one of {', '.join(known)}; got {given!r}")
    must_tensors("grid_sample", (input, grid))
    geometry.grid(input.shape, grid.shape)
    input, grid = autocast_inputs("grid_sample", input, grid)
    geometry.one_type("grid_sample", input=input, grid=grid)
    options = {"mode": mode, "padding_mode": padding_mode, "align_corners": bool(align_corners)}
    return apply(ops.grid_sample, must_float("grid_sample", input), grid, **options)


def affine_grid(theta: Tensor, size: Sequence[int], align_corners: bool | None = None) -> Tensor:
    """grid[n, i, j] = theta[n] (gx, gy, 1), (gx, gy) the place of pixel (i, j), -1 to 1: what grid_sample reads.

    theta (N, 2, 3); size (N, C, H, W) of the images wanted. Result (N, H, W, 2).
    """
    must_tensor("affine_grid", theta)
    size = shapes.ints("affine_grid: size", size)
    geometry.theta(theta.shape, size)
    n, _, h, w = size
    ys, xs = (_places(must_float("affine_grid", theta), k, bool(align_corners)) for k in (h, w))
    ones = creation.ones(h, w, dtype=theta.dtype, device=theta.device)
    base = stack([xs.expand(h, w), ys.unsqueeze(1).expand(h, w), ones], dim=-1).reshape(1, h * w, 3)
    return base.matmul(theta.transpose(1, 2)).reshape(n, h, w, 2)


def _places(like: Tensor, n: int, align_corners: bool) -> Tensor:
    """The places of n pixels between -1 and 1."""
    end = (1.0 if align_corners else (n - 1) / n) if n > 1 else 0.0
    return creation.linspace(-end, end, n, dtype=like.dtype, device=like.device)


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """(..., C r^2, H, W) -> (..., C, H r, W r): r^2 channels become an r x r square of pixels. Shi et al. 2016."""
    must_tensor("pixel_shuffle", input)
    geometry.shuffle("pixel_shuffle", input.shape, upscale_factor)
    r, (n, c, h, w) = upscale_factor, _batched(input)
    x = input.reshape(n, c, h, w).permute(0, 2, 3, 1).reshape(n, h, w, c // r**2, r, r)  # pixels first: C stays last
    x = x.permute(0, 1, 4, 2, 5, 3).reshape(n, h * r, w * r, c // r**2).permute(0, 3, 1, 2)
    return x if input.ndim == 4 else x.squeeze(0)


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """(..., C, H r, W r) -> (..., C r^2, H, W): pixel_shuffle in reverse."""
    must_tensor("pixel_unshuffle", input)
    geometry.shuffle("pixel_unshuffle", input.shape, downscale_factor, back=True)
    r, (n, c, h, w) = downscale_factor, _batched(input)
    x = input.reshape(n, c, h, w).permute(0, 2, 3, 1).reshape(n, h // r, r, w // r, r, c)
    x = x.permute(0, 1, 3, 5, 2, 4).reshape(n, h // r, w // r, c * r**2).permute(0, 3, 1, 2)
    return x if input.ndim == 4 else x.squeeze(0)


def _batched(x: Tensor) -> tuple[int, ...]:
    return x.shape if x.ndim == 4 else (1, *x.shape)
