"""Launchers of kernels/matmul.cu and the other rungs of its ladder, matmul_registers.cu to matmul_cluster.cu."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ...dtypes import is_float
from ..launch import Boxed, Strided
from . import tiles
from .convolutions import LEAST
from .machine import Machine, merged, named
from .split_k import RATES, split

AXES = 4  # of `struct Batch`


@dataclass(frozen=True)
class Rung:
    """A kernel of the ladder in matmul.cu: the threads of a block, and the rows and columns of y that it owns."""

    block: tuple[int, int]
    rows: int
    columns: int


TILE, ALONG_Y = 16, 65535  # blocks that a grid may have along y, and along z
RUNGS = {
    "matmul_naive": Rung((32, 8), 8, 32),
    "matmul_tiles": Rung((TILE, TILE), TILE, TILE),
}
ENGINES = {"matmul_registers": tiles.MULTIPLY_ADDS, "matmul_tensor": tiles.TENSOR_CORES}  # of kernels/tile_loop.cuh
HOPPER = tuple(tiles.CLUSTERS)
LADDER = *RUNGS, *ENGINES, *HOPPER

# Multiplications from which on an operand of odd float16 is first copied to wider rows: before, the two launches of the
# copy (5 us) take longer than what loads of 2 bytes add (kernels/README.md: 6 instructions for each mma of 2,048
# multiplications, of which an H100 issues 9e11 a second). A guess, not yet measured.
SMALL = 1 << 30

# Which rung, from above: the first that takes the dtype on this GPU, where M and N are at least so many. Guesses, not
# yet measured. Hopper's ask for more: operands that a tensor map can describe, and a tile (`tiles.on_clusters`).
CHOICE = {
    "matmul_cluster": (tiles.on_hopper, 1),
    "matmul_hopper": (tiles.on_hopper, 1),
    "matmul_tensor": (tiles.on_tensor_cores, 16),
    "matmul_registers": (tiles.anywhere, 64),
    "matmul_tiles": (tiles.anywhere, 0),
}


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
        rows = x.reshape(prod(x.shape[:-1]), x.shape[-1])  # one matrix, whatever axes x has
        return self._product(rows, self.swap(w), b, relu).reshape(*x.shape[:-1], w.shape[0])

    def linear_dw(self, g, x):
        """Few tiles with a long sum leave most of a GPU idle. The weight gradient of a convolution of one pixel is the
        same product, and knows how to divide it."""
        g, x = (a.reshape(prod(a.shape[:-1]), a.shape[-1]) for a in (g, x))
        if not is_float(x.dtype) or not _divided(g.shape[1], *x.shape, x.dtype, self.hardware):
            return self.matmul(self.swap(g), x)
        dw = self.conv2d_dw(x[..., None, None], g[..., None, None], (1, 1), (0, 0), (1, 1), 1, (1, 1))
        return self.swap(dw[..., 0, 0])  # in order C

    def _product(self, x, w, bias=None, relu=False):
        """relu?(x w + bias), x (..., M, K), w (..., K, N), bias (N)"""
        (m, k), n = x.shape[-2:], w.shape[-1]
        shape = np.broadcast_shapes(x.shape[:-2], w.shape[:-2])
        y, batches = self.empty((*shape, m, n), x.dtype), prod(shape)
        known = dict(bias=self.contiguous(bias), y=y, M=m, N=n, K=k, batches=batches, relu=relu)
        size, left, right = self._operands(x, w)
        asked = self._asked(x.dtype.name)
        if asked in ("", *HOPPER) and size[:-1] == (1,) * (AXES - 1):
            if found := _hopper(left, right, batches, self.hardware, asked):
                self.launch(**found, **known)
                return y
        kernel = asked if asked not in ("", *HOPPER) else self._rung(m, n, x.dtype.name)
        kernel = kernel if k else "matmul_naive"  # sums of nothing: what is empty has no strides to copy by
        if kernel in ENGINES:
            least = 2 if batches * m * n * k < SMALL else 4
            if not (_copyable(left, least) and _copyable(right, least)):
                both = (a.array if _copyable(a, least) else self._widened(a.array) for a in (left, right))
                size, left, right = self._operands(*both)
            how = _tiled(kernel, left, right, m, n, batches, self.hardware)
        else:
            rung = RUNGS[kernel]
            grid = -(-m // rung.rows), min(-(-n // rung.columns), ALONG_Y)
            how = dict(grid=grid, block=rung.block, defines={"TILE": TILE})
        how["grid"] += (min(batches, ALONG_Y),)
        how["defines"] |= {"DTYPE": x.dtype.name}
        strides = dict(xm=left.side[1], xk=left.depth[1], wk=right.depth[1], wn=right.side[1])
        batch = dict(size=size, x=left.batch, w=right.batch)
        self.launch(kernel, **how, x=Strided(left.array), w=Strided(right.array), **strides, batch=batch, **known)
        return y

    def _operands(self, x, w):
        """The sizes of AXES axes of the batch, and the operands: copies where a batch has more axes."""
        shape = np.broadcast_shapes(x.shape[:-2], w.shape[:-2])
        batched = [self.expand(a, (*shape, *a.shape[-2:])) for a in (x, w)]
        axes = merged(zip(shape, *(Strided(a).strides for a in batched)))
        if len(axes) > AXES:
            return self._operands(*(a.reshape(prod(shape), *a.shape[-2:]) for a in batched))
        size, xb, wb = zip(*[(1, 0, 0)] * (AXES - len(axes)), *axes)
        (xm, xk), (wk, wn) = (Strided(a).strides[-2:] for a in (x, w))
        left = self._operand(x, (x.shape[-2], xm), (x.shape[-1], xk), xb)
        return size, left, self._operand(w, (w.shape[-1], wn), (w.shape[-2], wk), wb)

    def _operand(self, a, side, depth, batch):
        place = self.address(a) // a.dtype.itemsize if isinstance(a, self.np.ndarray) else 0  # `launch` says no
        return Operand(a, side, depth, batch, *tiles.order(a.dtype.itemsize, side, depth, (*batch, place)))

    def _widened(self, a):
        """A copy, with zeros behind each row, or behind each column where columns lie in order."""
        down, right = Strided(a).strides[-2:]
        if down == 1 and right != 1:
            return self.swap(self._widened(self.swap(a)))
        return self.longer(a, tiles.room(a.dtype.itemsize, a.shape[-1]))

    def _asked(self, dtype):
        """The rung that somebody wants to see, or "". Only tensor cores are choosy."""
        asked = named("rung", self.rung, LADDER)
        if asked == "matmul_tensor" and not tiles.tensor_cores_take(dtype, self.hardware):
            takes = ", ".join(t for t in tiles.ON_TENSOR_CORES if tiles.tensor_cores_take(t, self.hardware))
            raise ValueError(
                f"machine.rung: on sm_{self.hardware.capability} matmul_tensor multiplies {takes}; got {dtype}. Cast x "
                'and w, or set it to "matmul_registers"'
            )
        return asked

    def _rung(self, m, n, dtype):
        """The highest that pays, below Hopper's."""
        return next(rung for rung in CHOICE if rung not in HOPPER and _pays(rung, m, n, dtype, self.hardware))


def _divided(m, depth, n, dtype, hardware):
    """Whether the sums of an (m, n) weight gradient, over `depth` rows, are divided: as a convolution divides them."""
    engine = tiles.best_engine(dtype.name, hardware)
    tile, rate = engine.tiles[dtype.itemsize][-1], RATES[engine.name][dtype.itemsize]
    return depth > 0 and min(m, n) >= LEAST and split(tile, rate, m, n, depth, 1)[1] > 1


def _pays(rung, m, n, dtype, hardware):
    takes, least = CHOICE[rung]
    return min(m, n) >= least and takes(dtype, hardware)


def _copyable(a, least):
    """Whether the tile loop may copy from an operand: so many bytes at once (float16 of odd sizes: 2), strides below
    2^31."""
    size = a.array.dtype.itemsize
    return a.width * size >= least and max(abs(a.side[1]), abs(a.depth[1])) * size < 1 << 31


def _tiled(kernel, x, w, m, n, batches, hardware):
    """How the tile loop is launched: its shape by the sizes, its loaders by where neighbours lie."""
    itemsize = x.array.dtype.itemsize
    engine, piece = ENGINES[kernel], min(x.width, w.width) * itemsize
    tile = engine.choose(itemsize, m, n, batches, piece, hardware, kernel)
    return dict(
        grid=(tile.blocks(m, n), 1),
        block=(tile.threads,),
        shared=engine.shared(tile, itemsize),
        defines=tile.defines() | {"XK": x.along_k, "XV": x.width, "WK": w.along_k, "WV": w.width},
    )


def _hopper(x, w, batches, hardware, asked):
    """How one of Hopper's rungs is launched; None where none is: the rung below takes what is not let through here.

    asked: the one that somebody wants to see, and does not mind that most of the GPU would be idle; or "".
    """
    dtype, m, n = x.array.dtype.name, x.side[0], w.side[0]
    rungs = [rung for rung in HOPPER if asked in ("", rung) and _pays(rung, m, n, dtype, hardware)]
    if not (rungs and x.depth[0] and (xs := _boxed(x, batches)) and (ws := _boxed(w, batches))):
        return None  # not of this GPU, or lies where no tensor map can say
    found = tiles.on_clusters(rungs, m, n, batches, hardware) or (asked and (asked, tiles.HOPPER[-1]))
    if not found:
        return None  # too small, or measured to be slower than the rung below
    kernel, tile = found
    blocks = tile.blocks(m, n, tiles.CLUSTERS[kernel]) * batches
    return dict(
        kernel=kernel,
        grid=(min(blocks, tiles.resident(kernel, hardware)),),
        block=(tile.threads,),
        shared=tile.shared(),
        defines=tile.defines() | {"DTYPE": dtype, "XK": x.along_k, "WK": w.along_k},
        **dict(x=xs, w=ws, x_step=int(xs.sizes[2] > 1), w_step=int(ws.sizes[2] > 1)),
    )


def _boxed(a, batches):
    """An operand of one batch axis by boxes of 64 rows of 64 neighbours; None if 16 bytes are not aligned, or its rows,
    or its matrices, do not follow one another: each stride of a tensor map holds the axes before it a whole number of
    times, as CUDA's manual has it."""
    itemsize = a.array.dtype.itemsize
    (near, _), (rows, stride) = (a.depth, a.side) if a.along_k else (a.side, a.depth)
    step = a.batch[-1]
    stride = stride if rows > 1 else step or -(-near // a.width) * a.width
    step = step or rows * stride
    if a.width * itemsize < 16 or stride < near or step < rows * stride or step % stride:
        return None
    sizes = near, rows, batches if a.batch[-1] else 1
    return Boxed(a.array, sizes, (stride * itemsize, step * itemsize), (64, 64, 1))
