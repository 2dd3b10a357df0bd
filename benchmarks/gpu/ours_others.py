"""The cases of others.py in tinygrad_fast. `peer_others.py` is the same file in PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_fast as tf
from tinygrad_fast.backend import windows
from tinygrad_fast.dtypes import float16, int32
from tinygrad_fast.shapes import Places

from .case import parted

Run = Callable[[], Any]
SOFT = {"label_smoothing": 0.0, "reduction": "mean"}
SAMPLED = {"mode": "bilinear", "padding_mode": "zeros", "align_corners": False}


def over_rows(name):
    return lambda xp, x, *, axis: lambda: getattr(xp, name)(x, axis=(axis,))


def best_of_rows(name):
    return lambda xp, x, *, axis: lambda: getattr(xp, name)(x, axis=axis)


def var(xp, x, *, axis):
    return lambda: xp.var(x, axis=(axis,), correction=1)


def logsumexp_back(xp, g, x, *, axis):
    y = xp.logsumexp(x, axis=(axis,), keepdims=True)
    return lambda: xp.logsumexp_back(g, x, y, axis=(axis,))


def soft_cross_entropy(xp, x, t):
    return lambda: xp.soft_cross_entropy(x, t, None, **SOFT)[0]


def soft_cross_entropy_back(xp, x, t):
    y, logp = xp.soft_cross_entropy(x, t, None, **SOFT)
    g = xp.full((), 1.0, y.dtype)
    return lambda: xp.soft_cross_entropy_back(g, logp, t, None, **SOFT)


def grid_sample(xp, x, grid):
    return lambda: xp.grid_sample(x, grid, **SAMPLED)


def grid_sample_dx(xp, g, grid):
    return lambda: xp.grid_sample_dx(g, grid, hw=g.shape[2:], **SAMPLED)


def grid_sample_dgrid(xp, g, x, grid):
    return lambda: xp.grid_sample_dgrid(g, x, grid, **SAMPLED)


def augment(xp, x, place, light, mean, std, size):
    """Where images are shrunk by more than 2 they are averaged to twice what is wanted, as data/plan.py has it."""
    given = {"size": (size, size), "mode": "bilinear", "padding_mode": "border", "dtype": float16}
    if x.shape[2] > 2 * size:
        given["averaged"], twice = (2 * size, 2 * size), np.diag([2, 2, 1]).astype("float32")
        place = xp.matmul(xp.asarray(twice), place)
    return lambda: xp.augment(x, place, light, None, mean, std, **given)


def pairs(kernel, stride, padding):
    found = {"kernel": kernel, "stride": stride, "padding": padding, "dilation": 1}
    return {name: (n, n) for name, n in found.items()}


def unfold(xp, x, **geometry):
    return lambda: xp.unfold(x, **pairs(**geometry))


def fold(xp, y, *, hw, **geometry):
    return lambda: xp.fold(y, hw=hw, **pairs(**geometry))


def max_pool2d_at(xp, x, **geometry):
    found = pairs(**geometry)
    _, tap = xp.max_pool2d(x, out=windows.fits(x.shape[2:], *found.values()), **found)
    return lambda: xp.max_pool2d_at(x, tap, **found)


def adaptive_max_index(xp, x, *, size):
    return lambda: xp.adaptive_max_index(x, size)


def embedding_back_atomic(xp, index, g, *, rows):
    def run():
        tf.use_deterministic_algorithms(False)
        try:
            return xp.embedding_back(index, g, rows=rows, padding_idx=None)
        finally:
            tf.use_deterministic_algorithms(True)

    return run


def gather_back(xp, index, g, *, size):
    return lambda: xp.gather_back(g, index, axis=1, shape=(len(g), size))


def check_indices(xp, index, *, n):
    places = Places("benchmark", "index", n)
    return lambda: xp.check_indices(index, places)


def uniform(xp, x):
    key = xp.asarray(np.array([1, 2, 3], np.uint32))
    return lambda: xp.uniform_like(x, key)


def rmsprop(xp, *arrays, lists):
    ws, gs, ss = parted(arrays, lists)
    numbers = xp.asarray(np.array([1e-3, 0.99, 1e-8, 0.0, 0.0]))
    return lambda: xp.rmsprop_(ws, gs, ss, [], [], numbers) or tuple(ws)


def clip_grad_value(xp, *gs, lists):
    return lambda: xp.clip_value_(list(gs), 0.5) or tuple(gs)


def unscale(xp, *gs, lists):
    """What loss scaling does to a step: gradients unscaled and looked at, then the scale."""
    inverse, found = xp.full((), 0.5, np.dtype("float64")), xp.full((), 0, int32)
    state = xp.asarray(np.array([2.0, 0.5, 0.0, 0.0]))

    def run():
        xp.unscale_(list(gs), inverse, found)
        xp.update_scale_(state, [found], 2.0, 0.5, 2000)
        return tuple(gs)

    return run


def batch_norm_remember(xp, running_mean, running_var, mean, var):
    def run():
        xp.batch_norm_remember_(running_mean, running_var, mean, var, momentum=0.1, n=4096)
        return running_mean, running_var

    return run


FUNCTIONS: dict[str, Callable[..., Run]] = {
    "amax": over_rows("amax"),
    "amin": over_rows("amin"),
    "argmax": best_of_rows("argmax"),
    "argmin": best_of_rows("argmin"),
    "var": var,
    "logsumexp": over_rows("logsumexp"),
    "logsumexp_back": logsumexp_back,
    "prod": over_rows("prod"),
    "soft_cross_entropy": soft_cross_entropy,
    "soft_cross_entropy_back": soft_cross_entropy_back,
    "grid_sample": grid_sample,
    "grid_sample_dx": grid_sample_dx,
    "grid_sample_dgrid": grid_sample_dgrid,
    "augment": augment,
    "unfold": unfold,
    "fold": fold,
    "max_pool2d_at": max_pool2d_at,
    "adaptive_max_index": adaptive_max_index,
    "embedding_back_atomic": embedding_back_atomic,
    "gather_back": gather_back,
    "check_indices": check_indices,
    "uniform": uniform,
    "rmsprop": rmsprop,
    "clip_grad_value": clip_grad_value,
    "unscale": unscale,
    "batch_norm_remember": batch_norm_remember,
}
