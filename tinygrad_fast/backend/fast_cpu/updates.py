"""Optimiser steps over lists of parameters: each piece of a weight is read once, and written while in the cache."""

from __future__ import annotations

from math import sqrt

import numpy as np

from .layout import empty_like, flat
from .machine import Machine
from .threads import parallel


class Updates(Machine):
    """sgd_ and adam_ on float32 parameters; others take the definition."""

    def _pieces(self, ws, gs, *memory):
        """(w, g, ...) as lines of one piece each; None if one is not float32, or memory lies unlike its weight."""
        found = []
        for w, g, *rest in zip(ws, gs, *memory, strict=True):
            line = flat(w)
            if line is None or not w.flags.writeable or any(a.dtype != np.float32 for a in (w, g, *rest)):
                return None
            rest = [_alike(a, w) for a in rest]
            if any(a is None for a in rest):
                return None
            gs_line = _alike(g, w)
            if gs_line is None:
                np.copyto(copy := empty_like(w), g)
                gs_line = flat(copy)
            rows, step = [line, gs_line, *rest], self.sizes.line // 4
            found += [[a[lo : lo + step] for a in rows] for lo in range(0, len(line), step)]
        return found

    def _all(self, pieces, f):
        total = sum(len(p[0]) for p in pieces)
        if total < self.sizes.together:
            with np.errstate(all="ignore"):
                for p in pieces:
                    f(p)
            return
        parallel(lambda i, _: f(pieces[i]), len(pieces))

    def sgd_(self, ws, gs, vs, hyper, nesterov):
        pieces = self._pieces(ws, gs, *([vs] if vs else []))
        if pieces is None:
            return super().sgd_(ws, gs, vs, hyper, nesterov)
        numbers, sgd = self.numbers(hyper), self.loops.sgd
        self._all(pieces, lambda p: sgd(p[0], p[1], p[2] if vs else None, *numbers, nesterov))

    def adam_(self, ws, gs, ms, vs, hyper, decoupled):
        pieces = self._pieces(ws, gs, ms, vs)
        if pieces is None:
            return super().adam_(ws, gs, ms, vs, hyper, decoupled)
        lr, beta1, beta2, eps, decay, step = self.numbers(hyper)
        rate, root = lr / (1 - beta1**step), sqrt(1 - beta2**step)
        decay, shrink = (0.0, 1 - lr * decay) if decoupled else (decay, 1.0)
        adam = self.loops.adam
        self._all(pieces, lambda p: adam(*p, rate, beta1, beta2, root, eps, decay, shrink))


def _alike(a, w):
    """a as a line in the order of w's memory, if it lies so."""
    if a.strides == w.strides or (a.flags.c_contiguous and w.flags.c_contiguous):  # an axis of one has any stride
        return flat(a)
    return None
