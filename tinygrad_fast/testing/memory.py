"""Memory orders. The same numbers can lie in many ways; no op may care, and channels-last must survive."""

from __future__ import annotations

from typing import Any

import numpy as np

ORDERS = ("C", "F", "strided", "negative", "swapped", "channels_last")


def lay(a: np.ndarray, order: str) -> np.ndarray:
    """A copy of `a`, equal in value, whose memory lies in `order`.

    C: last axis fastest. F: first axis fastest. swapped: last two axes exchanged. channels_last: axis 1 fastest.
    strided: every second element of something larger. negative: back to front, so that strides are below 0.
    """
    if order == "F":
        return np.array(a, order="F")
    if order == "strided":
        wide = np.zeros([2 * n for n in a.shape], a.dtype)
        wide[(slice(None, None, 2),) * a.ndim] = a
        return wide[(slice(None, None, 2),) * a.ndim]
    if order == "negative":
        back = (slice(None, None, -1),) * a.ndim
        return np.array(a[back], order="C")[back]
    if order == "swapped" and a.ndim >= 2:
        return np.array(a.swapaxes(-1, -2), order="C").swapaxes(-1, -2)
    if order == "channels_last" and a.ndim >= 3:
        return np.moveaxis(np.array(np.moveaxis(a, 1, -1), order="C"), -1, 1)
    return np.array(a, order="C")


def spread(a: np.ndarray, axis: int) -> np.ndarray:
    """A read-only view: the first slice of `a` along `axis`, repeated with stride 0. As gradients of a sum arrive."""
    return np.broadcast_to(a.take([0], axis), a.shape) if a.size else a


def on(xp: Any, a: np.ndarray) -> Any:
    """The array on a machine, in memory that lies as here: what moves an array there may make it contiguous."""
    y = xp.asarray(a)
    if not a.size or getattr(y, "strides", a.strides) == a.strides:
        return y
    lowest = tuple(slice(n - 1, n) if s < 0 else slice(1) for n, s in zip(a.shape, a.strides))
    ahead = [(n - 1) * s // a.itemsize for n, s in zip(a.shape, a.strides)]  # of the first element, in elements
    before, after = -sum(k for k in ahead if k < 0), sum(k for k in ahead if k > 0)
    flat = np.lib.stride_tricks.as_strided(a[lowest], (before + 1 + after,), (a.itemsize,))
    return xp.np.lib.stride_tricks.as_strided(xp.asarray(flat)[before:], a.shape, a.strides)


def is_channels_last(a: np.ndarray) -> bool:
    """N, H, W, C from the slowest to the fastest, over the axes where that can be told (longer than 1, not spread)."""
    strides = [abs(a.strides[i]) for i in (0, 2, 3, 1) if a.shape[i] > 1 and a.strides[i] != 0]
    return strides == sorted(strides, reverse=True)


def has_order(a: np.ndarray) -> bool:
    """True for (N, C, H, W) where channels-last differs from C: more than one channel and more than one pixel."""
    return a.ndim == 4 and a.size > 0 and a.shape[1] > 1 and max(a.shape[2:]) > 1
