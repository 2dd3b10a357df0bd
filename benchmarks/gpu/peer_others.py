"""The cases of others.py in PyTorch. To be read beside `ours_others.py`."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from .case import parted
from .runs import Run, back, forward, parameters


def sampled(x, grid):
    return F.grid_sample(x, grid, align_corners=False)


def grid_sample_dx(g, grid):
    return back(sampled)(g, torch.zeros_like(g), grid)


def grid_sample_dgrid(g, x, grid):
    return back(lambda grid, x: sampled(x, grid))(g, grid, x)


def augment(x, place, light, mean, std, size):
    """Four steps of PyTorch's, or five, for one kernel of ours."""
    n, shrinks, x = len(x), x.shape[2] > 2 * size, x.to(place.dtype) / 255
    x, by = (F.adaptive_avg_pool2d(x, 2 * size), 2) if shrinks else (x, 1)
    at, last = torch.arange(size, device=x.device, dtype=place.dtype), by * size - 1
    i, j = torch.meshgrid(at, at, indexing="ij")
    a, b, d = torch.einsum("nkl,lij->knij", place, torch.stack([j, i, torch.ones_like(i)]))
    grid = torch.stack([2 * by * (a / d) / last - 1, 2 * by * (b / d) / last - 1], -1)
    y = F.grid_sample(x, grid, padding_mode="border", align_corners=True)
    brightness, contrast = light.reshape(n, 2, 1, 1, 1).unbind(1)
    y = ((y.clamp(1e-7, 1 - 1e-7).logit() + brightness) * contrast).sigmoid()
    y = (y - mean.reshape(1, 3, 1, 1)) / std.reshape(1, 3, 1, 1)
    return y.half()


def unfold(x, *, kernel, stride, padding):
    return F.unfold(x, kernel, padding=padding, stride=stride)


def fold(y, *, hw, kernel, stride, padding):
    return F.fold(y, hw, kernel, padding=padding, stride=stride)


def max_pool2d_at(x, *, kernel, stride, padding):
    _, at = F.max_pool2d(x, kernel, stride, padding, return_indices=True)
    flat, index = x.flatten(2), at.flatten(2)
    return forward(lambda: flat.gather(2, index).reshape(at.shape))()


def adaptive_max_index(x, *, size):
    return F.adaptive_max_pool2d(x, size, return_indices=True)[1].flatten(2).transpose(1, 2)


def embedding_back(index, g, *, rows):
    table = torch.zeros((rows, g.shape[1]), dtype=g.dtype, device=g.device, requires_grad=True)
    y = F.embedding(index, table)
    return lambda: torch.autograd.grad(y, table, g, retain_graph=True)


def gather_back(index, g, *, size):
    return torch.zeros((len(g), size), dtype=g.dtype, device=g.device).scatter_add_(1, index, g)


def check_indices(index, *, n):
    """Counted from 0, and whether one is outside, which nobody reads."""
    at = torch.where(index < 0, index + n, index)
    ((at < 0) | (at >= n)).any()
    return at


def rmsprop(*arrays, lists):
    ws, gs, ss = parted(arrays, lists)
    opt = torch.optim.RMSprop(parameters(ws, gs), lr=1e-3, alpha=0.99, eps=1e-8, foreach=True)
    for w, s in zip(ws, ss, strict=True):
        opt.state[w] |= {"step": torch.zeros(()), "square_avg": s}
    return lambda: opt.step() or tuple(ws)


def clip_grad_value(*gs, lists):
    ws = parameters([torch.empty_like(g) for g in gs], gs)
    return lambda: torch.nn.utils.clip_grad_value_(ws, 0.5) or tuple(w.grad for w in ws)


def unscale(*gs, lists):
    device = gs[0].device
    scale, inverse, found = (torch.full((), n, device=device) for n in (2.0, 0.5, 0.0))
    good = torch.zeros((), dtype=torch.int32, device=device)
    wide = gs[0].dtype == torch.float64  # which PyTorch's own has no kernel for

    def run():
        if wide:
            return tuple(g.mul_(0.5) for g in gs)
        torch._amp_foreach_non_finite_check_and_unscale_(list(gs), found, inverse)
        torch._amp_update_scale_(scale, good, found, 2.0, 0.5, 2000)
        return tuple(gs)

    return run


def batch_norm_remember(running_mean, running_var, mean, var):
    return running_mean.lerp_(mean, 0.1), running_var.lerp_(var * (4096 / 4095), 0.1)


FUNCTIONS: dict[str, Callable[..., Run]] = {
    "amax": forward(lambda x, axis: x.amax(axis)),
    "amin": forward(lambda x, axis: x.amin(axis)),
    "argmax": forward(lambda x, axis: x.argmax(axis)),
    "argmin": forward(lambda x, axis: x.argmin(axis)),
    "var": forward(lambda x, axis: x.var(axis)),
    "logsumexp": forward(lambda x, axis: x.logsumexp(axis)),
    "logsumexp_back": back(lambda x, axis: x.logsumexp(axis, keepdim=True)),
    "prod": forward(lambda x, axis: x.prod(axis)),
    "soft_cross_entropy": forward(F.cross_entropy),
    "soft_cross_entropy_back": lambda x, t: back(F.cross_entropy)(torch.ones((), device=x.device), x, t),
    "grid_sample": forward(sampled),
    "grid_sample_dx": grid_sample_dx,
    "grid_sample_dgrid": grid_sample_dgrid,
    "augment": forward(augment),
    "unfold": forward(unfold),
    "fold": forward(fold),
    "max_pool2d_at": max_pool2d_at,
    "adaptive_max_index": forward(adaptive_max_index),
    "embedding_back_atomic": embedding_back,
    "gather_back": forward(gather_back),
    "check_indices": forward(check_indices),
    "uniform": forward(torch.rand_like),
    "rmsprop": rmsprop,
    "clip_grad_value": clip_grad_value,
    "unscale": unscale,
    "batch_norm_remember": forward(batch_norm_remember),
}
