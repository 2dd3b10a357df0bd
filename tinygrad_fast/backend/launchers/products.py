"""Launchers of kernels/matmul.cu."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from ...dtypes import is_float
from ..launch import Strided
from .machine import Machine

AXES = 4  # of `struct Batch`


@dataclass(frozen=True)
class Rung:
    """A kernel of the ladder in matmul.cu: the threads of a block, and the rows and columns of y that it owns."""

    block: tuple[int, int]
    rows: int
    columns: int


TILE = 16
RUNGS = {
    "matmul_naive": Rung((32, 8), 8, 32),
    "matmul_tiles": Rung((TILE, TILE), TILE, TILE),
    "matmul_registers": Rung((16, 16), 128, 128),
}


class Products(Machine):
    """Matrix products."""

    rung = ""  # the kernel that multiplies matrices; "": chosen by their size

    def matmul(self, x, w):
        return self._product(x, w) if is_float(x.dtype) else super().matmul(x, w)

    def linear(self, x, w, b, relu):
        rows = self._product(x.reshape(-1, x.shape[-1]), self.swap(w), b, relu)  # one matrix, whatever axes x has
        return rows.reshape(*x.shape[:-1], w.shape[0])

    def _product(self, x, w, bias=None, relu=False):
        """relu?(x w + bias), x (..., M, K), w (..., K, N), bias (N)"""
        (m, k), n = x.shape[-2:], w.shape[-1]
        shape = np.broadcast_shapes(x.shape[:-2], w.shape[:-2])
        y = self.empty((*shape, m, n), x.dtype)
        batches = prod(shape)
        axes = _merged(shape, Strided(self.expand(x, (*shape, m, k))), Strided(self.expand(w, (*shape, k, n))))
        if len(axes) > AXES:
            x, w = (self.expand(a, (*shape, *a.shape[-2:])).reshape(batches, *a.shape[-2:]) for a in (x, w))
            axes = _merged((batches,), Strided(x), Strided(w))
        size, xb, wb = zip(*[(1, 0, 0)] * (AXES - len(axes)), *axes)
        kernel = self.rung or ("matmul_registers" if min(m, n) >= 64 else "matmul_tiles")  # a guess, not yet measured
        xs, ws, rung = Strided(x), Strided(w), RUNGS[kernel]
        self.launch(
            kernel,
            grid=(-(-m // rung.rows), -(-n // rung.columns), min(batches, 65535)),
            block=rung.block,
            defines={"DTYPE": x.dtype.name, "TILE": TILE},
            **dict(x=xs, xm=xs.strides[-2], xk=xs.strides[-1], w=ws, wk=ws.strides[-2], wn=ws.strides[-1]),
            **dict(bias=bias, y=y, M=m, N=n, K=k, batches=batches, batch=dict(size=size, x=xb, w=wb), relu=relu),
        )
        return y


def _merged(shape: tuple[int, ...], x: Strided, w: Strided) -> list[tuple[int, int, int]]:
    """Batch axes as (size, stride in x, stride in w); those of size 1 left out, those that lie in a row made one."""
    axes: list[tuple[int, int, int]] = []
    for n, a, b in zip(shape, x.strides, w.strides):
        if n == 1:
            continue
        if axes and axes[-1][1:] == (n * a, n * b):
            axes[-1] = (axes[-1][0] * n, a, b)
        else:
            axes.append((n, a, b))
    return axes
