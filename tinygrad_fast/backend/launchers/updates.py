"""Launchers of kernels/updates.cu and kernels/gradients.cu: one launch for all arrays of one dtype."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate
from typing import Any

from ...dtypes import float32, float64
from .. import windows
from ..gradients import norm_type
from ..wide import wide_type
from .machine import Machine

CHUNK = 4096  # elements of a block


class Updates(Machine):
    """Optimiser steps, clipping, loss scaling: along memory as it lies. Arrays with gaps are copied, and back."""

    def sgd_(self, ws, gs, vs, hyper, nesterov, skip=None, clip=None):
        given = dict(hyper=hyper, nesterov=nesterov, **_told(skip, clip))
        self._over_lists("sgd_", dict(ws=ws, gs=gs, vs=vs), "gs", **given)

    def adam_(self, ws, gs, ms, vs, hyper, decoupled, skip=None, clip=None):
        given = dict(hyper=hyper, decoupled=decoupled, **_told(skip, clip))
        self._over_lists("adam_", dict(ws=ws, gs=gs, ms=ms, vs=vs), "gs", **given)

    def rmsprop_(self, ws, gs, ss, ms, vs, hyper, skip=None, clip=None):
        given = dict(hyper=hyper, **_told(skip, clip))
        del given["skipped"]  # none of its numbers depends on the step
        self._over_lists("rmsprop_", dict(ws=ws, gs=gs, ss=ss, ms=ms, vs=vs), "gs", **given)

    def total_norm(self, gs, p):
        parts, start = self.empty((sum(map(_blocks, gs)),), float64), 0
        for rows in _alike([gs]):
            some = [g for (g,) in rows]
            end = start + sum(map(_blocks, some))
            self._over_lists("total_norm_parts", dict(gs=some), "gs", part=parts[start:end], p=p)
            start = end
        norm = self.empty((), norm_type(gs))
        given = dict(part=parts, norm=norm, n=parts.size, p=p)
        self.launch("total_norm", grid=(1,), block=(256,), defines=_defines(norm.dtype), **given)
        return norm

    def clip_norm_(self, gs, norm, most):
        self._over_lists("clip_norm_", dict(gs=gs), norm=norm, most=most)

    def clip_value_(self, gs, most):
        self._over_lists("clip_value_", dict(gs=gs), most=most)

    def unscale_(self, gs, inverse, found):
        self._over_lists("unscale_", dict(gs=gs), inverse=inverse, found=found)

    def update_scale_(self, state, flags, growth, backoff, interval):
        given = dict(state_=state, flags=flags, growth=growth, backoff=backoff, interval=interval)
        self.launch("update_scale_", grid=(1,), block=(1,), defines=_defines(float32), **given)

    def _over_lists(self, kernel, lists, only_read="", **given):
        """A kernel over lists of arrays, element by element; an empty list stands for arrays that are not there."""
        n = len(next(iter(lists.values())))
        for rows in _alike([v or [None] * n for v in lists.values()]):
            lines = [_lines(row) for row in rows]
            near = [[self.contiguous(a) for a in line] for line in lines]
            first = [0, *accumulate(_blocks(row[0]) for row in rows)]
            parts = dict(sizes=[row[0].size for row in rows], first=first[:-1])
            columns = {name: [a for a in column if a is not None] for name, column in zip(lists, zip(*near))}
            dtype, norm = rows[0][0].dtype, given.get("norm")  # the norm is of arrays of all dtypes
            told = given if norm is None else {**given, "norm": self.cast(norm, dtype=wide_type(dtype))}
            self.launch(kernel, grid=(first[-1],), block=(256,), defines=_defines(dtype), **parts, **columns, **told)
            for line, copies in zip(lines, near):
                for name, a, copy in zip(lists, line, copies):
                    if a is not None and name != only_read and not a.flags.c_contiguous:
                        self.write_(a, copy)


def _told(skip: tuple | None, clip: tuple | None) -> dict[str, Any]:
    """What a step is told besides its numbers, if it is told."""
    (flag, before), (norm, most) = skip or (None, None), clip or (None, 0)
    return dict(skip=flag, skipped=before, norm=norm, most=most)


def _alike(lists: list[list]) -> Iterable[list[tuple]]:
    """What goes into a launch: rows (w, g, ...) of one dtype. Empty arrays go nowhere."""
    alike: dict[Any, list[tuple]] = {}
    for row in zip(*lists, strict=True):
        if row[0].size:
            alike.setdefault(row[0].dtype, []).append(row)
    return alike.values()


def _lines(row: tuple) -> tuple:
    """The arrays of a parameter, seen in the order in which the first lies in memory."""
    if all(a is None or a.flags.c_contiguous for a in row):
        return row
    order = windows.memory_order(row[0])
    return tuple(None if a is None else a.transpose(order) for a in row)


def _blocks(a: Any) -> int:
    return -(-a.size // CHUNK)


def _defines(dtype: Any) -> dict[str, Any]:
    return {"DTYPE": dtype.name, "CHUNK": CHUNK}
