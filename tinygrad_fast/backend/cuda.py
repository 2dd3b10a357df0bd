"""The GPU: `CPU`'s primitives on CuPy's arrays, and a launcher for every kernel of our own.

`CPU` is a list of NumPy names, and NumPy's functions hand themselves over when they are given another library's array:
`np.add(a, b)` of CuPy arrays is `cupy.add(a, b)`, by the protocols of NEP 13 and NEP 18. So the list is written once,
and serves here as it stands. What remains is what has no array to look at (making one), what the two libraries do not
share, and what has a kernel. `Emulated` is the same machine with NumPy for CuPy and the emulator for the driver: each
launcher below runs on both. Next on the way: `kernels/README.md`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any

import numpy as np

from ..dtypes import is_float
from . import special, windows
from .cpu import CPU
from .emulator import Emulator
from .launch import CuPy, Launcher, Strided
from .wide import wide, wide_type

AXES = 4  # of `struct Batch` in matmul.cu


@cache
def why_not() -> str:
    """Why there is no GPU to use; "" where there is one. A broken CuPy is as good as none, whatever it raises."""
    try:
        import cupy

        return "" if cupy.cuda.is_available() else "CuPy finds no GPU or no driver"
    except ImportError as e:
        return f"CuPy is not installed ({e})"
    except Exception as e:
        return f"CuPy does not work ({type(e).__name__}: {e})"


def is_available() -> bool:
    """True where a GPU can be used: `device="cuda"`."""
    return not why_not()


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


def _by_cpu(name: str) -> Callable:
    """CPU's function of that name, on copies in the computer's memory."""
    f = getattr(CPU, name)

    def run(self: CUDA, *arguments: Any, **static: Any) -> Any:
        near = [self.to_numpy(a) if isinstance(a, self.array) else a for a in arguments]
        y = f(self, *near, **static)
        return tuple(map(self.asarray, y)) if type(y) is tuple else self.asarray(y)

    return run


class CUDA(CPU):
    """Elementwise work by CuPy, everything hard by kernels."""

    name = "cuda"
    rung = ""  # the kernel that multiplies matrices; "": chosen by their size

    def __init__(self) -> None:
        if reason := why_not():
            raise RuntimeError(
                f'device "cuda": {reason}. Run "python -m tinygrad_fast doctor", which says what to do; '
                'device="emulated" runs the same kernels without a GPU'
            )
        import cupy
        from cupyx.scipy.special import erf

        self.np, self.array, self.launch = cupy, cupy.ndarray, Launcher(CuPy(cupy))
        self._erf = erf

    # In and out

    def asarray(self, a, dtype=None):
        return self.np.asarray(a, dtype)

    def to_numpy(self, a):
        return self.np.asnumpy(a)

    def empty(self, shape, dtype):
        return self.np.empty(shape, dtype)

    def full(self, shape, value, dtype):
        return self.np.full(shape, value, dtype)

    def own(self, d, g):
        """As CPU's. CuPy writes to an expanded array without complaint, so strides must tell."""
        gs = g if type(g) is tuple else (g,)
        if _expanded(d) or any(v is not None and self.np.may_share_memory(d, v) for v in gs):
            return self.copy(d)
        return d

    def write_(self, x, value, key=...):
        if _expanded(x):
            raise RuntimeError("in-place write: this memory is expanded; write to a copy, x.clone()")
        x[key] = value

    # Where CuPy lacks what CPU's line uses

    def one_hot(self, index, n, dtype):
        return (index[..., None] == self.np.arange(n)).astype(dtype)

    @wide
    def erf(self, x):
        return self._erf(x)

    # Not yet kernels: computed by the CPU, there and back

    unfold, fold, resample2d = map(_by_cpu, ("unfold", "fold", "resample2d"))
    max_pool2d, max_pool2d_back = map(_by_cpu, ("max_pool2d", "max_pool2d_back"))
    max_pool2d_at, max_pool2d_index = map(_by_cpu, ("max_pool2d_at", "max_pool2d_index"))
    adaptive_max_index, pixels, pixels_back = map(_by_cpu, ("adaptive_max_index", "pixels", "pixels_back"))
    gather_back, uniform = map(_by_cpu, ("gather_back", "uniform"))

    # Matrix products: kernels/matmul.cu

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

    # Convolution: kernels/conv2d.cu

    def conv2d(self, x, w, stride, padding, dilation, groups):
        return self.conv2d_epilogue(x, w, None, None, False, stride, padding, dilation, groups)

    def conv2d_epilogue(self, x, w, b, res, relu, stride, padding, dilation, groups):
        oh, ow = windows.fits(x.shape[2:], w.shape[2:], stride, padding, dilation)
        y = self.empty((len(x), oh, ow, len(w)), x.dtype)
        given = dict(x=x, w=w, bias=b, res=res, y=y, OH=oh, OW=ow, relu=relu)
        self._window("conv2d", -(-y.size // 128), stride, padding, dilation, groups, **given)
        return y.transpose(windows.NCHW)

    def conv2d_dx(self, g, w, stride, padding, dilation, groups, hw):
        dx = self.empty((len(g), *hw, w.shape[1] * groups), g.dtype)
        given = dict(g=g, w=w, dx=dx, C=dx.shape[3], H=hw[0], W=hw[1])
        self._window("conv2d_dx", -(-dx.size // 128), stride, padding, dilation, groups, **given)
        return dx.transpose(windows.NCHW)

    def conv2d_dw(self, g, x, stride, padding, dilation, groups, k):
        dw = self.empty((*k, x.shape[1] // groups, g.shape[1]), g.dtype)
        given = dict(g=g, x=x, dw=dw, C=dw.shape[2], KW=k[1])
        threads = 32 if g.size <= 512 * g.shape[1] else 128
        self._window("conv2d_dw", dw.size, stride, padding, dilation, groups, threads, **given)
        return dw.transpose(3, 2, 0, 1)

    def _window(self, kernel, blocks, stride, padding, dilation, groups, threads=128, **given):
        """A launch; x, w, g and res go with their shapes and strides as xs, ws, gs and rs."""
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

    # Cross-entropy: kernels/cross_entropy.cu

    def cross_entropy(self, x, t, w, ignore_index, label_smoothing, reduction):
        """As defined; kept for the way back are x, and of each position the maximum and log(sum of exp)."""
        kind = wide_type(x.dtype)
        w = None if w is None else self.cast(w, dtype=kind)
        loss, weight, kept = (self.empty(shape, kind) for shape in (t.shape, t.shape, (*t.shape, 2)))
        given = dict(t=self._indices(t), w=w, loss=loss, weight=weight, kept=kept, ignored=ignore_index)
        self._by_rows("cross_entropy", {"x": _rows(x)}, smoothing=label_smoothing, **given)
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
        dx = windows.empty_like(rows, list(rows.shape))
        given = {
            name: None if v is None else self.np.ascontiguousarray(v) for name, v in dict(a=a, s=s, total=total).items()
        }
        self._by_rows("cross_entropy_back", {"x": rows, "dx": dx}, kept=kept, t=self._indices(t), w=w, **given)
        return dx.reshape(x.shape)

    # Binary cross-entropy: kernels/binary_cross_entropy.cu

    def binary_cross_entropy_with_logits(self, x, t, pos_weight):
        return self._each("binary_cross_entropy_with_logits", pos_weight, "y", x=x, t=t)

    def binary_cross_entropy_with_logits_back(self, g, x, t, pos_weight):
        return self._each("binary_cross_entropy_with_logits_back", pos_weight, "dx", x=x, t=t, g=g)

    def _each(self, kernel, p, result, **arrays):
        """One element of the result for each of the arrays', all of one shape; p broadcasts over the leading axes."""
        x = arrays["x"]
        if p is not None:  # from its first axis on that is not 1, as long as x
            along = next((i for i, n in enumerate(p.shape) if n != 1), p.ndim)
            p = self.np.ascontiguousarray(self.expand(p, (*p.shape[:along], *x.shape[x.ndim - p.ndim + along :])))
        near = {name: self.np.ascontiguousarray(self.expand(a, x.shape)) for name, a in arrays.items()}
        y = self.empty(x.shape, x.dtype)
        size = dict(n=x.size, P=1 if p is None else p.size)
        blocks = min(-(-x.size // 256), 1 << 16)
        defines = {"DTYPE": x.dtype.name}
        self.launch(kernel, grid=(blocks,), block=(256,), defines=defines, p=p, **near, **{result: y}, **size)
        return y

    def _indices(self, t):
        return self.np.ascontiguousarray(t, np.int64)

    def _by_rows(self, kernel, arrays, **given):
        """A block for each row of arrays (N, C, P): N P of them. The kernel knows the strides of x as xn, xc, xp."""
        for name, a in arrays.items():
            given[name] = Strided(a)
            given |= {name[0] + axis: stride for axis, stride in zip("ncp", given[name].strides)}
        n, c, p = arrays["x"].shape
        threads = next((size for size in (32, 128) if c <= 4 * size), 256)
        defines = {"DTYPE": arrays["x"].dtype.name}
        self.launch(kernel, grid=(n * p,), block=(threads,), defines=defines, C=c, P=p, **given)


def _rows(x: Any) -> Any:
    """x (N, C, ...) as (N, C, P)"""
    return x.reshape(*x.shape[:2], prod(x.shape[2:]))


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


def _expanded(x: Any) -> bool:
    """True if several elements of x share a place in memory."""
    return any(n > 1 and s == 0 for n, s in zip(x.shape, x.strides))


class Emulated(CUDA):
    """The same machine without a GPU: NumPy for CuPy, the emulator for the driver. `launch.counts` tells what ran.

    check: watch every access of every kernel to memory (see `emulator/`).
    """

    name = "emulated"

    def __init__(self, check: bool = False) -> None:
        self.np, self.array, self.launch = np, np.ndarray, Launcher(Emulator(check))
        self._erf = special.erf

    # Copied, as between a computer and its GPU: no tensor here shares its memory with one on "cpu"
    def asarray(self, a, dtype=None):
        return np.array(a, dtype)

    def to_numpy(self, a):
        return np.array(a)
