"""The cases in tinygrad_fast: a function is given a machine and a case's arrays there, and returns what is to be run.

What a backward pass is given of its forward pass is made before, untimed. `peer.py` is the same file in PyTorch, to be
read beside it; CUPY, below, are the cases that CuPy has a function for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_fast as tf
from tinygrad_fast import dtypes, ops, tables
from tinygrad_fast.backend import windows

from .. import cases as cpu_cases, ours as cpu
from .case import Case, parted
from .ours_others import FUNCTIONS as OTHERS

Run = Callable[[], Any]


def placed(xp: Any, case: Case, arrays: list[np.ndarray]) -> list[Any]:
    """A case's inputs on a machine. A filter (O, C, KH, KW) lies KH KW C O, as our layers make it."""
    found = []
    for a, about in zip(arrays, case.arrays, strict=True):
        if about.kind == "weight" and a.ndim == 4:
            a = np.ascontiguousarray(a.transpose(2, 3, 1, 0)).transpose(3, 2, 0, 1)
        found.append(xp.asarray(a))
    return found


def blank(xp: Any, case: Case) -> list[Any]:
    """Arrays of the same shapes in the same order, for who wants to know which kernels a case launches."""
    found = []
    for a in case.arrays:
        order = (2, 3, 1, 0) if a.kind == "weight" else (0, 2, 3, 1)
        axes = order if len(a.shape) == 4 and a.kind != "grid" else tuple(range(len(a.shape)))
        dtype = {"index": "int64", "byte": "uint8"}.get(a.kind, "float32" if a.wide else case.storage)
        y = xp.full([a.shape[i] for i in axes], 0, dtypes.dtype_of(dtype))
        found.append(y.transpose(np.argsort(axes).tolist()))
    return found


def copies(xp: Any, arrays: list[Any]) -> list[Any]:
    """The same in other memory, in the same order."""
    return [xp.copy(a) for a in arrays]


def pairs(stride: int, padding: int) -> dict[str, Any]:
    return {"stride": (stride, stride), "padding": (padding, padding), "dilation": (1, 1)}


def conv2d(xp, x, w, *, stride, padding, groups=1):
    return lambda: xp.conv2d(x, w, groups=groups, **pairs(stride, padding))


def conv2d_dx(xp, g, w, *, stride, padding, hw, groups=1):
    return lambda: xp.conv2d_dx(g, w, groups=groups, hw=hw, **pairs(stride, padding))


def conv2d_dw(xp, g, x, *, stride, padding, k, groups=1):
    return lambda: xp.conv2d_dw(g, x, groups=groups, k=k, **pairs(stride, padding))


def conv2d_batch_norm(xp, x, w, gamma, beta, *, padding):
    def run():
        h, *moments = xp.conv2d_moments(x, w, groups=1, **pairs(1, padding))
        mean, var = moments or (None, None)
        return xp.batch_norm(h, gamma, beta, None, mean, var, eps=1e-5, relu=True)[0]

    return run


def matmul(xp, x, w):
    return lambda: xp.matmul(x, w)


LOSS = {"ignore_index": -100, "label_smoothing": 0.0, "reduction": "mean"}


def cross_entropy(xp, x, t):
    return lambda: xp.cross_entropy(x, t, None, **LOSS)[0]


def cross_entropy_back(xp, x, t):
    y, logp, weight = xp.cross_entropy(x, t, None, **LOSS)
    g = xp.full((), 1.0, y.dtype)
    return lambda: xp.cross_entropy_back(g, logp, t, None, weight, **LOSS)


def binary_cross_entropy_with_logits(xp, x, t):
    return lambda: xp.binary_cross_entropy_with_logits(x, t, None, None, reduction="mean")


def binary_cross_entropy_with_logits_back(xp, x, t):
    g = xp.full((), 1.0, x.dtype)
    return lambda: xp.binary_cross_entropy_with_logits_back(g, x, t, None, None, reduction="mean")


def batch_norm(xp, x, w, b, res=None, *, relu, residual):
    return lambda: xp.batch_norm(x, w, b, res, None, None, eps=1e-5, relu=relu)[0]


def batch_norm_back(xp, g, x, w, b, res=None, *, relu, residual):
    _, kept, mean, rstd, _ = xp.batch_norm(x, w, b, res, None, None, eps=1e-5, relu=relu)
    return lambda: tuple(
        a for a in xp.batch_norm_back(g, x, w, b, mean, rstd, kept, relu=relu, residual=residual) if a is not None
    )


def layer_norm(xp, x, w, b):
    return lambda: xp.layer_norm(x, w, b, axis=(1,), eps=1e-5)[0]


def layer_norm_back(xp, g, x, w, b):
    _, mean, rstd = xp.layer_norm(x, w, b, axis=(1,), eps=1e-5)
    return lambda: xp.layer_norm_back(g, x, w, mean, rstd, axis=(1,))


def pooling(x, kernel, stride, padding):
    found = {"kernel": (kernel, kernel), **pairs(stride, padding)}
    return found, windows.fits(x.shape[2:], *found.values())


def max_pool2d(xp, x, *, kernel, stride, padding):
    found, out = pooling(x, kernel, stride, padding)
    return lambda: xp.max_pool2d(x, out=out, **found)[0]


def max_pool2d_back(xp, g, x, *, kernel, stride, padding):
    found, out = pooling(x, kernel, stride, padding)
    _, tap = xp.max_pool2d(x, out=out, **found)
    return lambda: xp.max_pool2d_back(g, tap, hw=x.shape[2:], **found)


def averages(x, kernel, stride, padding):
    n = x.shape[2]
    table = tables.windows(n, kernel, stride, padding, (n + 2 * padding - kernel) // stride + 1, "padded")
    return {"rows": table, "columns": table}


def avg_pool2d(xp, x, **geometry):
    found = averages(x, **geometry)
    return lambda: xp.resample2d(x, **found)


def avg_pool2d_back(xp, g, x, **geometry):
    _, (dx,) = ops.resample2d(xp, x, **averages(x, **geometry))
    return lambda: dx(g)


def total(xp, x, *, axis):
    return lambda: xp.sum(x, axis=axis)


def softmax(xp, x):
    return lambda: xp.softmax(x, axis=1)


def softmax_back(xp, g, x):
    y = xp.softmax(x, axis=1)
    return lambda: xp.softmax_back(g, y, axis=1)


def log_softmax(xp, x):
    return lambda: xp.log_softmax(x, axis=1)


def log_softmax_back(xp, g, x):
    y = xp.log_softmax(x, axis=1)
    return lambda: xp.log_softmax_back(g, y, axis=1)


def embedding(xp, index, w, *, rows):
    return lambda: xp.embedding(index, w, padding_idx=None)


def embedding_back(xp, index, g, *, rows):
    return lambda: xp.embedding_back(index, g, rows=rows, padding_idx=None)


def key(xp):
    return xp.asarray(np.array([1, 2, 3], np.uint32))


def dropout(xp, x, *, p):
    k = key(xp)
    return lambda: xp.dropout(x, k, p=p)[0]


def dropout_back(xp, g, *, p):
    _, kept = xp.dropout(g, key(xp), p=p)
    return lambda: xp.dropout_back(g, kept, p=p)


def hyper(xp, *numbers):
    return xp.asarray(np.array(numbers, np.float64))


def sgd(xp, *arrays, lists):
    ws, gs, vs = parted(arrays, lists)
    numbers = hyper(xp, cpu_cases.LR, cpu_cases.MOMENTUM, 0.0, 0.0, 2.0)
    return lambda: xp.sgd_(ws, gs, vs, numbers, nesterov=False) or tuple(ws)


def adamw(xp, *arrays, lists):
    ws, gs, ms, vs = parted(arrays, lists)
    numbers = hyper(xp, 1e-3, 0.9, 0.999, 1e-8, 1e-2, 1.0)
    return lambda: xp.adam_(ws, gs, ms, vs, numbers, decoupled=True) or tuple(ws)


def clipped_sgd(xp, *arrays, lists):
    """The step reads the gradients clipped, and leaves them as they are."""
    ws, gs, vs = parted(arrays, lists)
    numbers = hyper(xp, cpu_cases.LR, cpu_cases.MOMENTUM, 0.0, 0.0, 2.0)
    return lambda: xp.sgd_(ws, gs, vs, numbers, nesterov=False, clip=(xp.total_norm(gs, 2.0), 1.0)) or tuple(ws)


def clip_grad_norm(xp, *gs, lists):
    return lambda: xp.clip_norm_(list(gs), xp.total_norm(list(gs), 2.0), 1.0) or tuple(gs)


FUNCTIONS: dict[str, Callable[..., Run]] = {
    "matmul": matmul,
    "conv2d": conv2d,
    "conv2d_dx": conv2d_dx,
    "conv2d_dw": conv2d_dw,
    "conv2d_batch_norm": conv2d_batch_norm,
    "cross_entropy": cross_entropy,
    "cross_entropy_back": cross_entropy_back,
    "binary_cross_entropy_with_logits": binary_cross_entropy_with_logits,
    "binary_cross_entropy_with_logits_back": binary_cross_entropy_with_logits_back,
    "batch_norm": batch_norm,
    "batch_norm_back": batch_norm_back,
    "layer_norm": layer_norm,
    "layer_norm_back": layer_norm_back,
    "max_pool2d": max_pool2d,
    "max_pool2d_back": max_pool2d_back,
    "avg_pool2d": avg_pool2d,
    "avg_pool2d_back": avg_pool2d_back,
    "sum": total,
    "softmax": softmax,
    "softmax_back": softmax_back,
    "log_softmax": log_softmax,
    "log_softmax_back": log_softmax_back,
    "embedding": embedding,
    "embedding_back": embedding_back,
    "dropout": dropout,
    "dropout_back": dropout_back,
    "sgd": sgd,
    "adamw": adamw,
    "clip_grad_norm": clip_grad_norm,
    "clipped_sgd": clipped_sgd,
    **OTHERS,
}


def ready(xp: Any, case: Case, arrays: list[Any]) -> Run:
    """What is timed. Of a tuple of results, each is compared."""
    static = {name: value for name, value in case.static.items() if name != "pass"}
    return FUNCTIONS[case.function](xp, *arrays, **static)


# Training steps


def step(xp: Any, case: Case) -> Run:
    """One step of SGD with momentum; returns the loss. Weights, activations and gradients all have the case's dtype.

    Captured: the third call and all later ones are a CUDA graph, so a few must be made before any is timed or counted.
    """
    [x] = cpu_cases.numbers([case.arrays[0].shape])
    dtype = getattr(tf, case.dtype)
    xb = cpu.tensor(x).to(dtype).to(xp.name)
    yb = cpu.tensor(cpu_cases.classes(len(x), cpu_cases.CLASSES)).to(xp.name)
    model = cpu.built(case.static["model"]).to(dtype).to(xp.name)
    once = cpu.training(model, xb, yb)
    if case.static["pass"] == "captured":
        return tf.cuda.capture(once, device=xp.name)
    return lambda: once().detach()


# CuPy's own: cuBLAS, and its reductions

CUPY: dict[str, Callable[..., Run]] = {
    "matmul": lambda np, x, w: lambda: np.matmul(x, w),
    "sum": lambda np, x, axis: lambda: x.sum(axis=axis),
}
