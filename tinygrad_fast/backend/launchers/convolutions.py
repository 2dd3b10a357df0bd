"""Launchers of kernels/conv2d.cu and of the rungs above it.

    conv2d_tiles, conv2d_dx_tiles, conv2d_dw_tiles   groups that are wide and deep enough to fill a tile
    conv2d_narrow, conv2d_dw_narrow                  the others: depthwise, a handful of outputs
    conv2d, conv2d_dx, conv2d_dw                     what has 2^31 elements, or none

On the tile loop: the engine by dtype and GPU (`tiles.best_engine`), the tile by sizes (`Engine.choose`),
the width of a copy by channels and addresses (`tiles.width`), the parts of a long sum by `split`. The upper rungs read
images N H W C and weights KH KW C O; what lies otherwise is copied, and so are odd channels of float16 (`_copyable`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import gcd, prod
from typing import Any

from .. import windows
from ..launch import Strided
from . import tiles
from .machine import Machine, named
from .split_k import PROCESSORS, RATES, split

KKCO = (2, 3, 1, 0)  # a weight (O, C, KH, KW) as it lies in memory
RUNGS = "naive", "narrow", "tiles"
LEAST, DEEP = 16, 64  # columns and summands that fill a tile; summands that pay without columns. Not yet measured


class Convolutions(Machine):
    """Convolution and its two gradients; results lie channels-last, gradients of weights KH KW C O."""

    convolves = ""  # one of RUNGS; "": chosen by sizes

    def conv2d(self, x, w, stride, padding, dilation, groups):
        return self.conv2d_epilogue(x, w, None, None, False, stride, padding, dilation, groups)

    def conv2d_epilogue(self, x, w, b, res, relu, stride, padding, dilation, groups):
        c, k, b = w.shape[1], w.shape[2:], self.contiguous(b)
        out = windows.fits(x.shape[2:], k, stride, padding, dilation)
        y = self.empty((len(x), *out, len(w)), x.dtype)
        n = len(w) // groups
        rung = self._conv_rung(n, c, prod(k), groups, groups, x, w, y)
        if rung == "naive":
            given = dict(x=x, w=w, bias=b, res=res, y=y, OH=out[0], OW=out[1], relu=relu)
            self._window("conv2d", -(-y.size // 128), stride, padding, dilation, groups, **given)
            return y.transpose(windows.NCHW)
        x, w = self._lying(x, windows.NHWC), self._lying(w, KKCO)
        res = None if res is None else self._lying(res, windows.NHWC)
        if rung == "narrow":
            walk = _walk(x, stride, [-p for p in padding], dilation)
            self._conv_narrow(x, w, b, res, relu, y, c, groups, walk, (1, 1))
        else:
            _, given = self._conv_tiles(x, w, out, stride, padding, dilation, groups)
            given |= dict(bias=b, res=res, y=y, relu=relu, whole=self._whole_chunks(n, y, res))
            self.launch("conv2d_tiles", **given)
        return y.transpose(windows.NCHW)

    def _conv_tiles(self, x, w, out, stride, padding, dilation, groups):
        """The tile of a forward convolution, x N H W C and w KH KW C O, and what its launch says of all but results."""
        m, k, n = len(x) * prod(out), w.shape[:2], w.shape[3] // groups
        c, x = self._copyable(groups, x)
        if c > w.shape[2]:  # x has channels of zeros: rows of zeros for them
            w = self.longer(w.reshape(*k, -1), c * w.shape[3]).reshape(*k, c, -1)
        columns, w = self._copyable(groups, w)
        loop = self._conv_loop("conv2d_tiles", x.dtype, m, n, groups, XV=(x, c), WV=(w, columns))
        walk = _walk(x, stride, [-p for p in padding], dilation)
        operands = dict(x=x, w=w, M=m, N=n, K=prod(k) * c, columns=columns, walk=walk)
        return loop.tile, loop.over(m, n, groups) | operands | _divisions(out, c, k)

    def conv2d_dx(self, g, w, stride, padding, dilation, groups, hw):
        o, n, k, out = len(w) // groups, w.shape[1], w.shape[2:], g.shape[2:]
        dx = self.empty((len(g), *hw, n * groups), g.dtype)
        each = [-(-size // s) for size, s in zip(hw, stride)]  # pixels of a residue
        m, batches = len(g) * prod(each), prod(stride) * groups
        rung = self._conv_rung(n, o, prod(k), groups, batches, g, w, dx)
        if rung == "naive":
            given = dict(g=g, w=w, dx=dx, C=dx.shape[3], H=hw[0], W=hw[1])
            self._window("conv2d_dx", -(-dx.size // 128), stride, padding, dilation, groups, **given)
        elif rung == "narrow":  # a convolution of g that walks backwards, with o and c of each group exchanged
            w = w.reshape(groups, o, n, *k).transpose(3, 4, 1, 0, 2)
            g, w = self._lying(g, windows.NHWC), self.contiguous(w).reshape(*k, o, groups * n)
            walk = _walk(g, (1, 1), padding, [-d for d in dilation])
            self._conv_narrow(g, w, None, None, False, dx, o, groups, walk, stride)
        else:
            g, w = self._lying(g, windows.NHWC), self._lying(w, KKCO)
            o, g, w = self._copyable(groups, g, w)
            loop = self._conv_loop("conv2d_dx_tiles", g.dtype, m, n, batches, GV=(g, o), WV=(w, o))
            common = [gcd(s, d) for s, d in zip(stride, dilation)]
            less = k[1] // (stride[1] // common[1])  # taps of a row that meet the same residue: so many, or one more
            by = _divisions(each, o, k) | dict(by_taps=_division(less + 1), by_taps_less=_division(max(less, 1)))
            self.launch(
                "conv2d_dx_tiles",
                **loop.over(m, n, batches),
                **dict(g=g, w=w, dx=dx, M=m, N=n, groups=groups, whole=self._whole_chunks(n, dx)),
                **dict(H=hw[0], W=hw[1], OH=out[0], OW=out[1], KH=k[0], KW=k[1]),
                **dict(win=_pairs(stride=stride, padding=padding, dilation=dilation, gcd=common), **by),
            )
        return dx.transpose(windows.NCHW)

    def conv2d_dw(self, g, x, stride, padding, dilation, groups, k):
        c, n, out = x.shape[1] // groups, g.shape[1] // groups, g.shape[2:]
        dw, depth = self.empty((*k, c, n * groups), g.dtype), len(g) * prod(out)
        rung = self._conv_rung(n, c, prod(k), groups, groups, g, x, dw)
        if rung == "naive":
            threads = 32 if g.size <= 512 * g.shape[1] else 128
            given = dict(g=g, x=x, dw=dw, C=dw.shape[2], KW=k[1])
            self._window("conv2d_dw", dw.size, stride, padding, dilation, groups, threads, **given)
            return dw.transpose(3, 2, 0, 1)
        g, x, first = self._lying(g, windows.NHWC), self._lying(x, windows.NHWC), [-p for p in padding]
        if rung == "narrow":
            walk, by = _walk(x, stride, first, dilation), _divisions(out, c, k)
            sums = self._dw_narrow(g, x, dw, groups, depth, walk, by)
        else:
            (channels, x), (columns, g) = self._copyable(groups, x), self._copyable(groups, g)
            if channels > c:
                dw = self.empty((*k, channels, n * groups), g.dtype)
            m = prod(k) * channels
            loop = self._conv_loop("conv2d_dw_tiles", g.dtype, m, n, None, GV=(g, columns), XV=(x, channels))
            each, parts = split(loop.tile, RATES[loop.engine.name][g.dtype.itemsize], m, n, depth, groups)
            sums = self._dw_sums(parts, dw) if parts > 1 else None
            self.launch(
                "conv2d_dw_tiles",
                **loop.over(m, n, parts * groups),
                **dict(g=g, x=x, dw=dw if parts == 1 else None, parts=sums, M=m, N=n, K=depth, columns=columns),
                **dict(each=each, groups=groups, whole=self._whole_chunks(n, dw, sums)),
                **dict(_divisions(out, channels, k), walk=_walk(x, stride, first, dilation)),
            )
        if sums is not None:
            self.launch(
                "conv2d_dw_sum",
                **dict(grid=(min(-(-dw.size // 256), 1024),), block=(256,), defines={"DTYPE": dw.dtype.name}),
                **dict(parts=sums, dw=dw, count=dw.size, n=len(sums)),
            )
        return self.contiguous(dw[:, :, :c]).transpose(3, 2, 0, 1)

    def _conv_rung(self, columns, channels, taps, groups, batches, *arrays):
        """The highest rung that pays; taps of so many channels are summed (of dw: rows). Guesses, not yet measured."""
        wanted = named("convolves", self.convolves, RUNGS)
        sizes, deep = [a.size for a in arrays], channels * taps
        grows = (columns | channels) % 2 and arrays[0].dtype.itemsize < 4  # `_copyable` may make four channels of one
        if not min(sizes) or max(sizes) >= 1 << (29 if grows else 31) or batches >= 1 << 16:
            return "naive"  # the others divide by sizes, and have offsets of 32 bits
        fills = min(columns, deep) >= LEAST or (groups == 1 and deep >= DEEP)
        return wanted or ("tiles" if fills else "narrow")

    def _conv_narrow(self, x, w, b, res, relu, y, c, groups, walk, up):
        """conv2d_narrow: c channels of x in a group; x may be g, and y dx."""
        n, oh, ow, o = y.shape
        strips = -(-ow // R)
        flags, width = self._conv_vectors(c, o, groups, x, w, y, res)
        count = n * oh * strips * o // width
        self.launch(
            "conv2d_narrow",
            **dict(grid=(-(-count // 128),), block=(128,), defines={"DTYPE": y.dtype.name} | flags),
            **dict(x=x, w=w, bias=b, res=res, y=y, relu=relu, count=count, O=o, OW=ow, KH=len(w), KW=w.shape[1], C=c),
            **dict(walk=walk, up_h=up[0], up_w=up[1], by_vectors=_division(o // width), by_strips=_division(strips)),
            **dict(by_rows=_division(oh), by_outputs=_division(o // groups)),
        )

    def _dw_narrow(self, g, x, dw, groups, pixels, walk, by):
        """The parts of the sums of dw."""
        kh, kw, c, o = dw.shape
        flags, width = self._conv_vectors(c, o, groups, x, g)
        across = min(32, 1 << (o // width - 1).bit_length())
        blocks = -(-o // (width * across)) * kh * -(-kw // TAPS) * c
        each = max(-(-pixels * blocks // (8 * PROCESSORS)), 1024)  # for some 8 blocks on each processor
        sums = self._dw_sums(-(-pixels // each), dw)
        self.launch(
            "conv2d_dw_narrow",
            **dict(grid=(blocks, len(sums)), block=(256,), defines={"DTYPE": dw.dtype.name} | flags),
            **dict(g=g, x=x, parts=sums, across=across, O=o, KH=kh, KW=kw, C=c, pixels=pixels, each=each, walk=walk),
            **dict(by_image=by["by_image"], by_row=by["by_row"], by_outputs=_division(o // groups)),
        )
        return sums

    def _conv_vectors(self, c, o, groups, *arrays):
        """The flags of conv2d_narrow.cu for groups of c channels, and how many outputs a thread owns."""
        each = c == 1 and o == groups
        size = arrays[0].dtype.itemsize
        addresses = (self.address(a) // size for a in arrays if a is not None)
        width = tiles.width(size, o if each else o // groups, *addresses)
        return {"WIDTH": width, "EACH": int(each)}, width

    def _dw_sums(self, parts, dw):
        return self.empty((parts, *dw.shape), "float64" if dw.dtype == "float64" else "float32")

    def _lying(self, a, order):
        """a with its axes in `order`, and so in memory: a copy where it lies otherwise."""
        return self.contiguous(a.transpose(order))

    def _copyable(self, groups, *arrays):
        """(c, *arrays): channels of a group, and what the tile loop reads along them, at least 4 bytes at once. An odd
        number of float16 is copied beside channels of zeros; what begins at an odd address, as it is.
        """
        size, c = arrays[0].dtype.itemsize, arrays[0].shape[-1] // groups
        if all(tiles.width(size, c, self.address(a) // size) * size >= 4 for a in arrays):
            return c, *arrays
        more = c if c * size % 4 == 0 else tiles.room(size, c)
        apart = [a.reshape(*a.shape[:-1], groups, c) for a in arrays]
        return more, *(self.longer(a, more).reshape(*a.shape[:-2], groups * more) for a in apart)

    def _conv_loop(self, kernel, dtype, m, n, batches, **operands):
        """operands: what is read, with its channels in a group; batches: None where the sum may be split."""
        size = dtype.itemsize
        widths = {flag: tiles.width(size, c, self.address(a) // size) for flag, (a, c) in operands.items()}
        piece = min(widths.values()) * size
        hardware = self.hardware
        if batches is None:  # never too few blocks; and on every GPU with this engine the same tiles
            hardware, batches = tiles.Hardware(hardware.capability, PROCESSORS), PROCESSORS
        asked = size, m, n, batches, piece, hardware, kernel
        engine = tiles.best_engine(dtype.name, hardware)
        engine = tiles.engine(dtype.name, hardware) if engine.beaten(*asked) else engine
        return Loop(engine, engine.choose(*asked), dtype, widths)

    def _whole_chunks(self, n, *results):
        """True if n elements of each, a row of a group, are whole chunks of 16 bytes that lie aligned."""
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


# Structures of kernels/conv2d.cuh

R, TAPS = 4, 4  # of conv2d_narrow.cu: pixels of a thread, taps of a thread


def _pairs(**pairs):
    """stride=(2, 1) -> stride_h=2, stride_w=1"""
    return {f"{name}_{axis}": n for name, pair in pairs.items() for axis, n in zip("hw", pair)}


def _walk(x, stride, first, dilation):
    _, h, w, c = x.shape
    return dict(H=h, W=w, pixel=c, **_pairs(stride=stride, first=first, dilation=dilation))


def _divisions(places, channels, taps):
    by = dict(by_image=prod(places), by_row=places[1], by_channels=channels, by_taps=taps[1])
    return {name: _division(n) for name, n in by.items()}


@cache
def _division(by: int) -> dict[str, int]:
    """n / by = (2 n times) / 2^(32 + shift), rounded down, for 0 <= n < 2^31.

    times = 2^(31 + shift) / by, rounded up: less than 1 too large, so that the quotient is less than 1 / by too large.
    Source: T. Granlund, P. Montgomery, "Division by Invariant Integers using Multiplication", 1994.
    """
    shift = (by - 1).bit_length()
    return dict(by=by, minus=-by, times=-(-(1 << 31 + shift) // by), shift=shift)
