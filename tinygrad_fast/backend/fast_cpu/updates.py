"""Optimiser steps over lists of parameters: each piece of a weight is read once, and written while in the cache."""

from __future__ import annotations

from math import sqrt

import numpy as np

from ...dtypes import float32
from ..cpu import quiet
from .base import FastBase
from .layout import empty_like, flat
from .threads import parallel

NOTHING = np.empty(0, np.float32)  # in the place of momentum


class Updates(FastBase):
    """sgd_ and adam_ on float32 parameters; others take the definition."""

    def sgd_(self, ws, gs, vs, hyper, nesterov, skip=None, clip=None):
        lines = _lines(ws, gs, *([vs] if vs else []))
        if lines is None or skip is not None:
            return super().sgd_(ws, gs, vs, hyper, nesterov, skip, clip)
        if not vs:
            lines = [[*line, NOTHING] for line in lines]
        lr, m, dampening, decay, step = self.numbers(hyper)
        fresh = 1 - dampening if step > 1 else 1.0
        self._by_pieces(self.loops.sgd, lines, self._scale(clip), lr, m, fresh, decay, nesterov)

    def adam_(self, ws, gs, ms, vs, hyper, decoupled, skip=None, clip=None):
        lines = _lines(ws, gs, ms, vs)
        if lines is None or skip is not None:
            return super().adam_(ws, gs, ms, vs, hyper, decoupled, skip, clip)
        lr, beta1, beta2, eps, decay, step = self.numbers(hyper)
        rate, root = lr / (1 - beta1**step), sqrt(1 - beta2**step)
        decay, shrink = (0.0, 1 - lr * decay) if decoupled else (decay, 1.0)
        self._by_pieces(self.loops.adam, lines, self._scale(clip), rate, beta1, beta2, root, eps, decay, shrink)

    def _scale(self, clip):
        """What the gradients are read times."""
        return 1.0 if clip is None else float(self.clip_scale(*clip))

    @quiet
    def _by_pieces(self, f, lines, *numbers):
        """f(w, g, ..., *numbers) over pieces of at most `sizes.passes` bytes, by all threads if there are many."""
        step, total, whole = self.sizes.passes // 4, 0, True
        for arrays in lines:
            n = len(arrays[0])
            total, whole = total + n, whole and n <= step
        pieces = lines if whole else [piece for arrays in lines for piece in _cut(arrays, step)]
        if total >= self.sizes.together:
            return parallel(lambda i, _: f(*pieces[i], *numbers), len(pieces))
        for arrays in pieces:
            f(*arrays, *numbers)


def _cut(arrays, step):
    """Lines alike, so many numbers at a time; an empty one stays as it is."""
    return ([a[lo : lo + step] for a in arrays] for lo in range(0, len(arrays[0]), step))


def _lines(ws, gs, *memory):
    """[w, g, ...] of each parameter as lines in the order of w's memory; None where that cannot be."""
    found = []
    for arrays in zip(ws, gs, *memory, strict=True):
        lines = [a.ravel() for a in arrays if a.dtype == float32 and a.flags.c_contiguous]
        if len(lines) < len(arrays):
            lines = _in_order_of(*arrays)
        if lines is None or not lines[0].flags.writeable:
            return None
        found.append(lines)
    return found


def _in_order_of(w, g, *memory):
    """The same where w does not lie in order C, or g lies unlike it: g is copied then."""
    if any(a.dtype != float32 for a in (w, g, *memory)) or (line := flat(w)) is None:
        return None
    if not _alike(g, w):
        np.copyto(copy := empty_like(w), g)
        g = copy
    return [line, flat(g), *map(flat, memory)] if all(_alike(a, w) for a in memory) else None


def _alike(a, w):
    """True if a lies in memory as w does."""
    return a.strides == w.strides or (a.flags.c_contiguous and w.flags.c_contiguous)  # an axis of one has any stride
