"""How arrays lie in memory: images with channels last, and views that the loops can run over.

A convolutional network stays channels-last from its first layer to its last: `nhwc` copies a batch that comes in
another order, and nothing after that (a test counts it).
"""

from __future__ import annotations

import numpy as np

from ..windows import NCHW, NHWC, inverse, memory_order
from .memory import Memory, half_of_the_machine
from .threads import parallel

memory = Memory(half_of_the_machine())
empty = memory.empty


def nhwc(x: np.ndarray) -> np.ndarray:
    """x (N, C, H, W) as (N, H, W, C) in order C: a view, or a copy where x lies otherwise."""
    xl = x.transpose(NHWC)
    if xl.flags.c_contiguous:
        return xl
    y = empty(xl.shape, x.dtype)
    parallel(lambda lo, hi: np.copyto(y[lo:hi], xl[lo:hi]), len(y))
    return y


def nchw(xl: np.ndarray) -> np.ndarray:
    """(N, H, W, C) -> (N, C, H, W), a view."""
    return xl.transpose(NCHW)


def kkco(w: np.ndarray) -> np.ndarray:
    """A weight (O, C, KH, KW) as (KH, KW, C, O) in order C: a view where it was made by a layer, else a copy."""
    return np.ascontiguousarray(w.transpose(2, 3, 1, 0))


def rows(x: np.ndarray) -> np.ndarray | None:
    """x (N, C) or channels-last (N, C, H, W) as (pixels, C) in order C, a view; None where x lies otherwise."""
    xl = x if x.ndim == 2 else x.transpose(NHWC) if x.ndim == 4 else None
    return None if xl is None or not xl.flags.c_contiguous else xl.reshape(-1, xl.shape[-1])


def flat(x: np.ndarray) -> np.ndarray | None:
    """x as one line in the order of its memory, a view; None where it has gaps or repeats."""
    if x.flags.c_contiguous:
        return x.reshape(-1)
    xo = x.transpose(memory_order(x))
    return xo.reshape(-1) if xo.flags.c_contiguous else None


def empty_like(x: np.ndarray) -> np.ndarray:
    """Uninitialised, of x's shape and memory order. x is `flat`."""
    if x.flags.c_contiguous:
        return empty(x.shape, x.dtype)
    if x.ndim == 4 and (xl := x.transpose(NHWC)).flags.c_contiguous:
        return nchw(empty(xl.shape, x.dtype))
    order = memory_order(x)
    return empty(tuple(x.shape[i] for i in order), x.dtype).transpose(inverse(order))
