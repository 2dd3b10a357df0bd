"""Launchers of kernels/conv2d.cu."""

from __future__ import annotations

from .. import windows
from ..launch import Strided
from .machine import Machine


class Convolutions(Machine):
    """Convolution and its two gradients; all results lie channels-last."""

    def conv2d(self, x, w, stride, padding, dilation, groups):
        return self.conv2d_epilogue(x, w, None, None, False, stride, padding, dilation, groups)

    def conv2d_epilogue(self, x, w, b, res, relu, stride, padding, dilation, groups):
        oh, ow = windows.fits(x.shape[2:], w.shape[2:], stride, padding, dilation)
        y = self.empty((len(x), oh, ow, len(w)), x.dtype)
        given = dict(x=x, w=w, bias=self.contiguous(b), res=res, y=y, OH=oh, OW=ow, relu=relu)
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
