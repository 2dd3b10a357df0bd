"""Launchers of kernels/matmul.cu, matmul_registers.cu and matmul_tensor.cu."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from ...dtypes import is_float
from ..launch import Strided
from . import tiles
from .machine import Machine, merged

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
}
ENGINES = {"matmul_registers": tiles.MULTIPLY_ADDS, "matmul_tensor": tiles.TENSOR_CORES}  # of kernels/tile_loop.cuh


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
        axes = _batch(shape, self.expand(x, (*shape, m, k)), self.expand(w, (*shape, k, n)))
        if len(axes) > AXES:
            x, w = (self.expand(a, (*shape, *a.shape[-2:])).reshape(batches, *a.shape[-2:]) for a in (x, w))
            axes = _batch((batches,), x, w)
        size, xb, wb = zip(*[(1, 0, 0)] * (AXES - len(axes)), *axes)
        kernel = self.rung or self._rung(m, n, x.dtype.name)
        xs, ws = Strided(x), Strided(w)
        (xm, xk), (wk, wn) = xs.strides[-2:], ws.strides[-2:]
        if kernel in ENGINES:
            x_order = self._order(x, (m, xm), (k, xk), xb)
            w_order = self._order(w, (n, wn), (k, wk), wb)
            shape = _tiled(kernel, x.dtype, m, n, batches, x_order, w_order, self.hardware)
        else:
            rung = RUNGS[kernel]
            shape = dict(grid=(-(-m // rung.rows), -(-n // rung.columns)), block=rung.block, defines={"TILE": TILE})
        shape["grid"] += (min(batches, 65535),)
        shape["defines"] |= {"DTYPE": x.dtype.name}
        self.launch(
            kernel,
            **shape,
            **dict(x=xs, xm=xm, xk=xk, w=ws, wk=wk, wn=wn, bias=self.contiguous(bias), y=y),
            **dict(M=m, N=n, K=k, relu=relu, batches=batches, batch=dict(size=size, x=xb, w=wb)),
        )
        return y

    def _order(self, a, side, depth, batch_strides):
        return tiles.order(a.dtype.itemsize, side, depth, (*batch_strides, self.address(a) // a.dtype.itemsize))

    def _rung(self, m, n, dtype):
        """The highest that pays. Guesses, not yet measured."""
        if min(m, n) >= 16 and tiles.engine(dtype, self.hardware) is tiles.TENSOR_CORES:
            return "matmul_tensor"
        return "matmul_registers" if min(m, n) >= 64 else "matmul_tiles"


def _tiled(kernel, dtype, m, n, batches, x_order, w_order, hardware):
    """How the tile loop is launched: its shape by the sizes, its loaders by where neighbours lie."""
    engine, pieces = ENGINES[kernel], min(x_order[1], w_order[1]) * dtype.itemsize < 16
    tile = engine.choose(dtype.itemsize, m, n, batches, pieces, hardware, kernel)
    return dict(
        grid=(tile.blocks(m, n), 1),
        block=(tile.threads,),
        shared=engine.shared(tile, dtype.itemsize),
        defines=tile.defines() | dict(zip(("XK", "XV", "WK", "WV"), x_order + w_order)),
    )


def _batch(shape: tuple[int, ...], x: Any, w: Any) -> list[tuple[int, ...]]:
    """Batch axes as (size, stride in x, stride in w)"""
    return merged(zip(shape, Strided(x).strides, Strided(w).strides))
