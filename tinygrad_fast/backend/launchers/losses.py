"""Launchers of kernels/cross_entropy.cu and kernels/binary_cross_entropy.cu."""

from __future__ import annotations

from math import prod
from typing import Any

from ...dtypes import int64
from .. import windows
from ..launch import Strided
from ..wide import wide_type
from .machine import Machine
from .reductions import BLOCKS, Tiling

THREADS = 256
FULL = 512  # blocks of long rows that fill a large GPU, of 512 threads each
FOUND = 4  # numbers that a piece of a row finds


class Losses(Machine):
    """Losses of classification."""

    def cross_entropy(self, x, t, w, ignore_index, label_smoothing, reduction):
        """As defined; kept for the way back are x, and of each position the maximum and log(sum of exp)."""
        kind = wide_type(x.dtype)
        w = None if w is None else self.cast(w, dtype=kind)
        loss, weight, kept = (self.empty(shape, kind) for shape in (t.shape, t.shape, (*t.shape, 2)))
        given = dict(t=self._indices(t), w=w, loss=loss, weight=weight, kept=kept, ignored=ignore_index)
        self._over_rows("cross_entropy", {"x": _rows(x)}, **_smoothed(x, label_smoothing), **given)
        loss = self._reduced(loss, t, weight, ignore_index, reduction)
        return self.cast(loss, dtype=x.dtype), (x, kept), weight

    def cross_entropy_back(self, g, logp, t, w, weight, ignore_index, label_smoothing, reduction):
        (x, kept), e = logp, label_smoothing
        shared = self._shared(g, t, weight, ignore_index, reduction)
        a, s = self.mul(self.mul(shared, weight), 1 - e), None
        w = None if w is None else self.cast(w, dtype=a.dtype)
        total = a
        if e:
            s = self.mul(shared, e / x.shape[1])
            total = self.add(a, self.mul(s, float(x.shape[1]) if w is None else self.sum(w, axis=(0,))))
        rows = _rows(x)
        dx = self.empty_like(rows, rows.shape)
        given = {name: self.contiguous(v) for name, v in dict(a=a, s=s, total=total).items()}
        given |= dict(kept=kept, t=self._indices(t), w=w)
        tiling, given = _by_rows({"x": rows, "dx": dx}, given)
        self._walk("cross_entropy_back", tiling, **given)
        return dx.reshape(x.shape)

    def soft_cross_entropy(self, x, t, w, label_smoothing, reduction):
        """As defined; kept for the way back are x, and of each position the maximum, log(sum of exp), and sum of q."""
        positions = (*x.shape[:1], *x.shape[2:])
        loss, kept = (self.empty(shape, wide_type(x.dtype)) for shape in (positions, (*positions, 3)))
        given = self._target(w, x, label_smoothing)
        self._over_rows("soft_cross_entropy", {"x": _rows(x), "t": _rows(t)}, loss=loss, kept=kept, **given)
        return self.cast(self._gathered(loss, reduction), dtype=x.dtype), (x, kept)

    def soft_cross_entropy_back(self, g, logp, t, w, label_smoothing, reduction):
        x, kept = logp
        part, positions = self.cast(g, dtype=kept.dtype), kept.shape[:-1]
        if reduction == "mean":
            part = self.div(part, float(prod(positions)))
        part = self.contiguous(self.expand(part, positions))
        rows = _rows(x)
        dx = self.empty_like(rows, rows.shape)
        given = self._target(w, x, label_smoothing) | dict(kept=kept, a=part)
        tiling, given = _by_rows({"x": rows, "t": _rows(t), "dx": dx}, given)
        self._walk("soft_cross_entropy_back", tiling, **given)
        return dx.reshape(x.shape)

    def soft_cross_entropy_dt(self, g, logp, w, label_smoothing, reduction):
        x, kept = logp
        top, log_sum = (self._column(kept[..., i]) for i in range(2))
        logp = self.sub(self.sub(self.cast(x, dtype=kept.dtype), top), log_sum)
        return super().soft_cross_entropy_dt(g, logp, w, label_smoothing, reduction)

    def _target(self, w, x, e):
        """How probabilities become what is wanted: w ((1 - e) t + e / C)"""
        return dict(w=None if w is None else self.cast(w, dtype=wide_type(x.dtype)), **_smoothed(x, e))

    def _indices(self, t):
        return self.contiguous(t, int64)

    def _over_rows(self, kernel, arrays, **given):
        """A launch that finds something of each row; where rows are cut into pieces, of each piece, and a second launch
        puts that together, in one order."""
        tiling, given = _by_rows(arrays, given)
        if tiling.pieces == 1:
            return self._walk(kernel, tiling, **given, pieces=None, piece=None, count=0)
        piece = self.empty((tiling.pieces, tiling.K, FOUND), wide_type(arrays["x"].dtype))
        self._walk(kernel, tiling, **given, pieces=None, piece=piece, count=0)
        last = Tiling(tiling.K, tiling.pieces, columns=True)
        self._walk(kernel, last, **given, pieces=piece, piece=None, count=tiling.pieces)

    def _walk(self, kernel, tiling, **given):
        """A launch along rows, or pieces of them."""
        given |= dict(lanes=tiling.lanes, columns=tiling.plan["columns"])
        defines = {"DTYPE": given["x"].array.dtype.name}
        self.launch(kernel, grid=tiling.grid, block=(tiling.threads,), defines=defines, **given)

    # Binary cross-entropy: kernels/binary_cross_entropy.cu

    def binary_cross_entropy_with_logits(self, x, t, w, pos_weight, reduction):
        name, near, order = "binary_cross_entropy_with_logits", {"x": x, "t": t}, windows.memory_order(x)
        given = self._repeated(x, order, w=w, p=pos_weight)
        if reduction == "none":
            y = self.empty_like(x, x.shape)
            self._by_packs(name, x, order, near, y=y.transpose(order), sums=None, **given)
            return y
        sums = self.empty((self._blocks(x),), wide_type(x.dtype))
        self._by_packs(name, x, order, near, y=None, sums=sums, **given)
        by = {"by": x.size} if reduction == "mean" else {}
        return self.cast(self._reduction(reduction, sums, (0,), False, **by), dtype=x.dtype)

    def binary_cross_entropy_with_logits_back(self, g, x, t, w, pos_weight, reduction):
        name, order, dx = "binary_cross_entropy_with_logits_back", windows.memory_order(x), self.empty_like(x, x.shape)
        given = self._repeated(x, order, g=g, w=w, p=pos_weight)
        share = 1 / max(x.size, 1) if reduction == "mean" else 1
        self._by_packs(name, x, order, {"x": x, "t": t}, dx=dx.transpose(order), share=share, **given)
        return dx

    def _by_packs(self, kernel, x, order, near, **given):
        """A thread for each 16 bytes of arrays of x's shape, in x's order of memory."""
        given |= {name: self.contiguous(a.transpose(order)) for name, a in near.items()}
        defines = {"DTYPE": x.dtype.name}
        self.launch(kernel, grid=(self._blocks(x),), block=(THREADS,), defines=defines, n=x.size, **given)

    def _blocks(self, x):
        return min(-(-x.nbytes // (16 * THREADS)), BLOCKS)

    def _repeated(self, x, order, **arrays):
        """Arrays that broadcast to x, as the kernel takes them: numbers, and how they repeat in x's memory. Axes of 1
        at either end are not written out."""
        given = {}
        for name, a in arrays.items():
            repeats = {"each": 1, "count": 1}
            if a is not None:
                a = a.reshape((1,) * (x.ndim - a.ndim) + a.shape).transpose(order)
                shape = [x.shape[i] for i in order]
                own = [i for i, n in enumerate(a.shape) if n != 1] or [0]
                first, last = own[0], own[-1] + 1
                whole = (*a.shape[:first], *shape[first:last], *a.shape[last:]) if a.size > 1 else a.shape
                a = self.contiguous(self.expand(a, whole))
                repeats = {"each": prod(shape[last:]), "count": a.size}
            given |= {name: a, f"{name}s": repeats}
        return given


def _smoothed(x: Any, e: float) -> dict[str, float]:
    """What remains of a target, and what every class of x gets."""
    return dict(keep=1 - e, smooth=e / max(x.shape[1], 1))


def _rows(x: Any) -> Any:
    """x (N, C, ...) as (N, C, P)"""
    return x.reshape(*x.shape[:2], prod(x.shape[2:]))


def _by_rows(arrays: dict[str, Any], given: dict[str, Any]) -> tuple[Tiling, dict[str, Any]]:
    """Arrays (N, C, P) by their N P rows of C classes. Neighbouring threads take neighbours in x's memory: classes of a
    row, or one class of several rows. Few long rows are cut. The kernel knows the strides of x as xs."""
    for name, a in arrays.items():
        given |= {name: (array := Strided(a)), f"{name[0]}s": dict(zip("ncp", array.strides, strict=True))}
    (n, c, p), strides = arrays["x"].shape, given["xs"]
    columns = 0 < abs(strides["p" if p > 1 else "n"]) < abs(strides["c"])
    tiling = Tiling(n * p, c, columns, cut=FULL)
    return tiling, given | dict(positions=n * p, C=c, P=p, length=tiling.plan["length"])
