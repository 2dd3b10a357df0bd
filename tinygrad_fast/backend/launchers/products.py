"""Launchers of kernels/matmul.cu, matmul_registers.cu, matmul_tensor.cu and matmul_hopper.cu."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ...dtypes import is_float
from ..launch import Boxed, Strided
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
HOPPER = "matmul_hopper"


class Operand(NamedTuple):
    """x or w, as the rungs from the third on see it: extent and stride of m (or n), and of k; the strides of the batch;
    whether neighbours lie along k, and how many may be copied at once (`tiles.order`)."""

    array: Any
    side: tuple[int, int]
    depth: tuple[int, int]
    batch: tuple[int, ...]
    along_k: int
    width: int


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
        xs, ws = Strided(x), Strided(w)
        (xm, xk), (wk, wn) = xs.strides[-2:], ws.strides[-2:]
        left, right = self._operand(x, (m, xm), (k, xk), xb), self._operand(w, (n, wn), (k, wk), wb)
        known = dict(bias=self.contiguous(bias), y=y, M=m, N=n, K=k, batches=batches, relu=relu)
        if self.rung in ("", HOPPER) and len(axes) < 2:
            if found := _hopper(left, right, batches, self.hardware, asked=bool(self.rung)):
                self.launch(HOPPER, **found, **known)
                return y
        kernel = self.rung if self.rung not in ("", HOPPER) else self._rung(m, n, x.dtype.name)
        if kernel in ENGINES:
            shape = _tiled(kernel, left, right, batches, self.hardware)
        else:
            rung = RUNGS[kernel]
            shape = dict(grid=(-(-m // rung.rows), -(-n // rung.columns)), block=rung.block, defines={"TILE": TILE})
        shape["grid"] += (min(batches, 65535),)
        shape["defines"] |= {"DTYPE": x.dtype.name}
        strides = dict(xm=xm, xk=xk, wk=wk, wn=wn, batch=dict(size=size, x=xb, w=wb))
        self.launch(kernel, **shape, x=xs, w=ws, **strides, **known)
        return y

    def _operand(self, a, side, depth, batch):
        place = self.address(a) // a.dtype.itemsize if isinstance(a, self.np.ndarray) else 0  # `launch` says no
        return Operand(a, side, depth, batch, *tiles.order(a.dtype.itemsize, side, depth, (*batch, place)))

    def _rung(self, m, n, dtype):
        """The highest that pays. Guesses, not yet measured."""
        if min(m, n) >= 16 and tiles.engine(dtype, self.hardware) is tiles.TENSOR_CORES:
            return "matmul_tensor"
        return "matmul_registers" if min(m, n) >= 64 else "matmul_tiles"


def _tiled(kernel, x, w, batches, hardware):
    """How the tile loop is launched: its shape by the sizes, its loaders by where neighbours lie."""
    itemsize, m, n = x.array.dtype.itemsize, x.side[0], w.side[0]
    engine, pieces = ENGINES[kernel], min(x.width, w.width) * itemsize < 16
    tile = engine.choose(itemsize, m, n, batches, pieces, hardware, kernel)
    return dict(
        grid=(tile.blocks(m, n), 1),
        block=(tile.threads,),
        shared=engine.shared(tile, itemsize),
        defines=tile.defines() | {"XK": x.along_k, "XV": x.width, "WK": w.along_k, "WV": w.width},
    )


def _hopper(x, w, batches, hardware, asked):
    """How the last rung is launched; None where it is not: the rung below takes what one of these does not let through.

    asked: whether somebody wants to see it, and does not mind that most of the GPU would be idle.
    """
    dtype, m, n = x.array.dtype.name, x.side[0], w.side[0]
    if hardware.capability != 90 or dtype not in ("float16", "bfloat16"):
        return None  # no other GPU has its instructions; of other dtypes, they read less than there is
    if not (tile := tiles.hopper_tile(m, n, batches, hardware) or (asked and tiles.HOPPER[-1])):
        return None  # too small
    if not (x.depth[0] and (xs := _boxed(x, batches)) and (ws := _boxed(w, batches))):
        return None  # lies where no tensor map can say
    return dict(
        grid=(min(tile.blocks(m, n) * batches, hardware.processors),),
        block=(tile.threads,),
        shared=tile.shared(),
        defines=tile.defines() | {"DTYPE": dtype, "XK": x.along_k, "WK": w.along_k},
        **dict(x=xs, w=ws, x_step=int(xs.sizes[2] > 1), w_step=int(ws.sizes[2] > 1)),
    )


def _boxed(a, batches):
    """An operand of one batch axis by boxes of 64 rows of 64 neighbours; None if 16 bytes are not aligned, or its rows
    do not follow one another."""
    itemsize = a.array.dtype.itemsize
    (near, _), (rows, stride) = (a.depth, a.side) if a.along_k else (a.side, a.depth)
    step = a.batch[-1]
    stride = stride if rows > 1 else -(-near // a.width) * a.width
    if a.width * itemsize < 16 or stride < near or step < 0:
        return None
    return Boxed(a.array, (near, rows, batches if step else 1), (stride * itemsize, step * itemsize or 16), (64, 64, 1))


def _batch(shape: tuple[int, ...], x: Any, w: Any) -> list[tuple[int, ...]]:
    """Batch axes as (size, stride in x, stride in w)"""
    return merged(zip(shape, Strided(x).strides, Strided(w).strides))
