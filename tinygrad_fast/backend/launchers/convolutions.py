"""Launchers of kernels/conv2d.cu, and of the rung above it: conv2d_tiles.cu, conv2d_dx_tiles.cu, conv2d_dw_tiles.cu.

Which kernel: the tile loop where a group is wide and deep enough to fill a tile (`_fills`), the first rung for what is
left. On the tile loop: tensor cores or multiply-adds by dtype and GPU (`tiles.engine`), the tile by sizes
(`Engine.choose`), the width of a copy by channels and addresses (`tiles.width`), the parts of a long sum by `split`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import gcd, prod
from typing import Any

from .. import windows
from ..launch import Strided
from . import tiles
from .machine import Machine

KKCO = (2, 3, 1, 0)  # a weight (O, C, KH, KW) as it lies in memory
LEAST = 16  # columns, and summands, of a group that goes to the tile loop. A guess, not yet measured


@dataclass(frozen=True)
class Loop:
    """The tile loop as a convolution runs it."""

    engine: tiles.Engine
    tile: tiles.Tile
    dtype: Any
    widths: dict[str, int]  # of the copies, by the names of the kernel's flags

    def over(self, m: int, n: int, batches: int) -> dict[str, Any]:
        """What its launch says."""
        return dict(
            grid=(self.tile.blocks(m, n), 1, batches),
            block=(self.tile.threads,),
            shared=self.engine.shared(self.tile, self.dtype.itemsize),
            defines={"DTYPE": self.dtype.name, "ENGINE": self.engine.name, **self.tile.defines(), **self.widths},
        )


class Convolutions(Machine):
    """Convolution and its two gradients; results lie channels-last, gradients of weights KH KW C O."""

    def conv2d(self, x, w, stride, padding, dilation, groups):
        return self.conv2d_epilogue(x, w, None, None, False, stride, padding, dilation, groups)

    def conv2d_epilogue(self, x, w, b, res, relu, stride, padding, dilation, groups):
        c, k = w.shape[1], w.shape[2:]
        out = windows.fits(x.shape[2:], k, stride, padding, dilation)
        y = self.empty((len(x), *out, len(w)), x.dtype)
        m, n, depth = len(x) * prod(out), len(w) // groups, prod(k) * c
        if _fills(m, n, depth, groups, x, w, y):
            x, w = self._lying(x, windows.NHWC), self._lying(w, KKCO)
            res = None if res is None else self._lying(res, windows.NHWC)
            loop = self._loop(x.dtype, m, n, groups, XV=(x, c), WV=(w, n))
            self.launch(
                "conv2d_tiles",
                **loop.over(m, n, groups),
                **dict(x=x, w=w, bias=b, res=res, y=y, M=m, N=n, K=depth, relu=relu, whole=self._whole(n, y, res)),
                **dict(walk=_walk(x, stride, padding, dilation), **_divisions(out, c, k)),
            )
        else:
            given = dict(x=x, w=w, bias=b, res=res, y=y, OH=out[0], OW=out[1], relu=relu)
            self._window("conv2d", -(-y.size // 128), stride, padding, dilation, groups, **given)
        return y.transpose(windows.NCHW)

    def conv2d_dx(self, g, w, stride, padding, dilation, groups, hw):
        o, n, k, out = len(w) // groups, w.shape[1], w.shape[2:], g.shape[2:]
        dx = self.empty((len(g), *hw, n * groups), g.dtype)
        each = [-(-size // s) for size, s in zip(hw, stride)]  # pixels of a residue
        m, batches = len(g) * prod(each), prod(stride) * groups
        if _fills(m, n, prod(k) * o, batches, g, w, dx):
            g, w = self._lying(g, windows.NHWC), self._lying(w, KKCO)
            loop = self._loop(g.dtype, m, n, batches, GV=(g, o), WV=(w, o))
            common = [gcd(s, d) for s, d in zip(stride, dilation)]
            most = k[1] // (stride[1] // common[1])  # taps of a row that meet the same residue: so many, or one more
            by = _divisions(each, o, k) | dict(by_taps=_division(most + 1), by_taps_less=_division(max(most, 1)))
            self.launch(
                "conv2d_dx_tiles",
                **loop.over(m, n, batches),
                **dict(g=g, w=w, dx=dx, M=m, N=n, groups=groups, whole=self._whole(n, dx)),
                **dict(H=hw[0], W=hw[1], OH=out[0], OW=out[1], KH=k[0], KW=k[1]),
                **dict(win=_pairs(stride=stride, padding=padding, dilation=dilation, gcd=common), **by),
            )
        else:
            given = dict(g=g, w=w, dx=dx, C=dx.shape[3], H=hw[0], W=hw[1])
            self._window("conv2d_dx", -(-dx.size // 128), stride, padding, dilation, groups, **given)
        return dx.transpose(windows.NCHW)

    def conv2d_dw(self, g, x, stride, padding, dilation, groups, k):
        c, n, out = x.shape[1] // groups, g.shape[1] // groups, g.shape[2:]
        dw = self.empty((*k, c, n * groups), g.dtype)
        m, depth = prod(k) * c, len(g) * prod(out)
        if m >= LEAST and _fills(m, n, depth, groups, g, x, dw):
            g, x = self._lying(g, windows.NHWC), self._lying(x, windows.NHWC)
            loop = self._loop(g.dtype, m, n, None, GV=(g, n), XV=(x, c))
            each, parts = split(loop.tile, RATES[loop.engine.name][g.dtype.itemsize], m, n, depth, groups)
            sums = self.empty((parts, *dw.shape), "float64" if g.dtype == "float64" else "float32")
            launched = loop.over(m, n, parts * groups)
            self.launch(
                "conv2d_dw_tiles",
                **launched,
                **dict(g=g, x=x, dw=None if parts > 1 else dw, parts=sums if parts > 1 else None),
                **dict(M=m, N=n, K=depth, each=each, groups=groups, whole=self._whole(n, dw, sums)),
                **dict(walk=_walk(x, stride, padding, dilation), **_divisions(out, c, k)),
            )
            if parts > 1:
                blocks = min(-(-dw.size // 256), 1024)
                self.launch(
                    "conv2d_dw_sum",
                    **dict(grid=(blocks,), block=(256,), defines=launched["defines"]),  # of the same file
                    **dict(parts=sums, dw=dw, count=dw.size, n=parts),
                )
        else:
            threads = 32 if g.size <= 512 * g.shape[1] else 128
            given = dict(g=g, x=x, dw=dw, C=dw.shape[2], KW=k[1])
            self._window("conv2d_dw", dw.size, stride, padding, dilation, groups, threads, **given)
        return dw.transpose(3, 2, 0, 1)

    def _lying(self, a, order):
        """a with its axes in `order`, and so in memory: a copy where it lies otherwise."""
        return self.np.ascontiguousarray(a.transpose(order))

    def _loop(self, dtype, m, n, batches, **operands):
        """operands: what is read, with its channels in a group; batches: None where the sum may be split."""
        engine, size = tiles.engine(dtype.name, self.hardware), dtype.itemsize
        widths = {flag: tiles.width(size, c, self.address(a) // size) for flag, (a, c) in operands.items()}
        pieces = min(widths.values()) * size < 16
        hardware = self.hardware
        if batches is None:  # never too few blocks; and on every GPU the same tiles
            hardware, batches = tiles.Hardware(hardware.capability, PROCESSORS), PROCESSORS
        return Loop(engine, engine.choose(size, m, n, batches, pieces, hardware), dtype, widths)

    def _whole(self, n, *results):
        """True if rows of n elements of each, and what lies between them, are whole chunks of 16 bytes."""
        aligned = all(a is None or self.address(a) % 16 == 0 for a in results)
        return aligned and n * results[0].dtype.itemsize % 16 == 0

    def _window(self, kernel, blocks, stride, padding, dilation, groups, threads=128, **given):
        """A launch of the first rung; x, w, g and res go with their shapes and strides as xs, ws, gs and rs."""
        dtype = next(iter(given.values())).dtype.name
        for name in given.keys() & {"x", "w", "g", "res"}:
            a, shape = given[name], (0,) * 8
            if a is not None:
                given[name] = Strided(a)
                shape = (*a.shape, *given[name].strides)
            given[name[0] + "s"] = dict(zip(("n", "c", "h", "w", "sn", "sc", "sh", "sw"), shape))
        sides = zip(("s", "p", "d"), (stride, padding, dilation), strict=True)
        win = {name + axis: n for name, pair in sides for axis, n in zip("hw", pair)} | {"groups": groups}
        self.launch(kernel, grid=(blocks,), block=(threads,), defines={"DTYPE": dtype}, win=win, **given)


def _fills(m, n, depth, batches, *arrays):
    """True if (m, n) sums of that depth, for each group, are for the tile loop; its offsets are 32-bit numbers."""
    reach = max(prod(a.shape[1:]) for a in arrays)
    return min(n, depth) >= LEAST and m > 0 and m < 1 << 30 and reach < 1 << 30 and batches < 1 << 16


# Structures of kernels/conv2d_loop.cuh


def _pairs(**pairs):
    """stride=(2, 1) -> stride_h=2, stride_w=1"""
    return {f"{name}_{axis}": n for name, pair in pairs.items() for axis, n in zip("hw", pair)}


def _walk(x, stride, padding, dilation):
    _, h, w, c = x.shape
    return dict(H=h, W=w, pixel=c, **_pairs(stride=stride, first=[-p for p in padding], dilation=dilation))


def _divisions(places, channels, taps):
    by = dict(by_image=prod(places), by_row=places[1], by_channels=channels, by_taps=taps[1])
    return {name: _division(n) for name, n in by.items()}


@cache
def _division(by: int) -> dict[str, int]:
    """n / by = (2 n times) / 2^(32 + shift), rounded down, for 0 <= n < 2^31.

    times = 2^(31 + shift) / by, rounded up: too large by less than 1, and so the quotient by less than n / 2^(31 + shift).
    Source: T. Granlund, P. Montgomery, "Division by Invariant Integers using Multiplication", 1994.
    """
    shift = (by - 1).bit_length()
    return dict(by=by, minus=-by, times=-(-(1 << 31 + shift) // by), shift=shift)


# The parts of a long sum

PROCESSORS = 132  # of an H100: numbers, not the GPU that is found, so that the same sums are rounded the same everywhere
RATES = {  # flop a second that the engines are expected to reach, by bytes of an element
    "TensorCores": {2: 620e12, 4: 310e12},
    "MultiplyAdds": {2: 50e12, 4: 50e12, 8: 25e12},
}


@cache
def split(tile: tiles.Tile, rate: float, m: int, n: int, depth: int, groups: int) -> tuple[int, int]:
    """(summands of a part, parts) of the sums of a weight gradient, with the least time to be expected:

    waves of blocks, each summing its part, and STAGES steps to begin; and for several parts, writing and reading them.
    """
    blocks, steps, slots = tile.blocks(m, n) * groups, -(-depth // tile.BK), PROCESSORS * 256 // tile.threads
    step = 2 * tile.BM * tile.BN * tile.BK * slots / rate  # seconds

    def seconds(parts):
        waves, more = -(-blocks * parts // slots), (8 * parts * m * n * groups / 4e12 + 3e-6 if parts > 1 else 0)
        return waves * (-(-steps // parts) + tile.STAGES) * step + more

    most = max(1, min(steps // 8, 65535 // groups, 512))  # a part has 8 steps or more
    each = -(-steps // min(range(1, most + 1), key=seconds)) * tile.BK
    return each, -(-depth // each)
