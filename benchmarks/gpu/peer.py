"""The cases in PyTorch: cuBLAS, cuDNN and PyTorch's own kernels, each by its best setting. Read beside `ours.py`.

On a GPU if there is one, else on the CPU, where tests compare both files' results. A backward pass is `autograd.grad`
over a graph that is made before, untimed. Images and filters lie channels-last.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from .. import cases as cpu_cases, peer as cpu
from .case import Case, parted
from .peer_others import FUNCTIONS as OTHERS
from .runs import Run, back, forward, parameters

VERSION = torch.__version__
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32, "TF32": torch.float32}


@contextmanager
def exactly(tf32: bool, search: bool = True):
    """float32 multiplied as TF32, or in float32, which cuDNN does not by itself. search: cuDNN tries its ways."""
    cudnn = torch.backends.cudnn
    before = torch.get_float32_matmul_precision(), cudnn.allow_tf32, cudnn.benchmark
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    cudnn.allow_tf32, cudnn.benchmark = tf32, search
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        cudnn.allow_tf32, cudnn.benchmark = before[1:]


def tensor(a: np.ndarray) -> torch.Tensor:
    """A copy on the device, in the same memory order; ml_dtypes' bfloat16 as PyTorch's."""
    order = np.argsort([-s for s in a.strides], kind="stable").tolist()
    row = np.ascontiguousarray(a.transpose(order))
    there = torch.tensor(row.view(np.int16)).view(torch.bfloat16) if a.dtype.name == "bfloat16" else torch.tensor(row)
    return there.to(DEVICE).permute(np.argsort(order).tolist())


def placed(case: Case, arrays: list[np.ndarray]) -> list[torch.Tensor]:
    last = {"memory_format": torch.channels_last}
    images = [len(a.shape) == 4 and a.kind != "grid" for a in case.arrays]
    return [t.contiguous(**last) if image else t for t, image in zip(map(tensor, arrays), images, strict=True)]


def copies(arrays: list[torch.Tensor]) -> list[torch.Tensor]:
    return [t.clone() for t in arrays]


def seen(xp: Any, a: Any) -> torch.Tensor:
    """An array of ours as a tensor: its own memory where that is possible, else a copy."""
    brain = a.dtype.name == "bfloat16"
    a = a.view("int16") if brain else a
    t = torch.as_tensor(a if hasattr(a, "__cuda_array_interface__") else xp.to_numpy(a), device=DEVICE)
    return t.view(torch.bfloat16) if brain else t


def free() -> None:
    if DEVICE == "cuda":
        torch.cuda.empty_cache()


def normalised(x, w, b, res=None, *, relu, residual):
    y = F.batch_norm(x, None, None, w.to(wide(x)), b.to(wide(x)), training=True, eps=1e-5)
    y = y if res is None else y + res
    return F.relu(y) if relu else y


def normalised_back(g, x, w, b, res=None, *, relu, residual):
    given = [t.detach().requires_grad_() for t in (x, w, b, *([res] if residual else []))]
    y = normalised(*given, relu=relu, residual=residual)
    return lambda: torch.autograd.grad(y, given, g, retain_graph=True)


def wide(x: torch.Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def rows(x, w, b):
    return F.layer_norm(x, x.shape[1:], w, b, 1e-5)


def ones(f):
    """A loss: its gradient begins with 1."""
    return lambda x, t, **static: back(f)(torch.ones((), device=x.device), x, t, **static)


def conv2d_dx(g, w, *, stride, padding, hw, groups=1):
    x = g.new_empty((len(g), groups * w.shape[1], *hw)).contiguous(memory_format=torch.channels_last)
    return convolved(g, x, w, stride, padding, groups, (True, False, False))


def conv2d_dw(g, x, *, stride, padding, k, groups=1):
    w = g.new_empty((g.shape[1], x.shape[1] // groups, *k)).contiguous(memory_format=torch.channels_last)
    return convolved(g, x, w, stride, padding, groups, (False, True, False))


def convolved(g, x, w, stride, padding, groups, mask):
    pair = [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], groups

    def run():
        return next(d for d in torch.ops.aten.convolution_backward(g, x, w, None, *pair, mask) if d is not None)

    return run


def convolved_and_normalised(x, w, gamma, beta, *, padding):
    return normalised(F.conv2d(x, w, padding=padding), gamma, beta, relu=True, residual=False)


def pooled(f):
    return lambda x, *, kernel, stride, padding: f(x, kernel, stride, padding)


def sgd(*arrays, lists: int):
    ws, gs, vs = parted(arrays, lists)
    opt = torch.optim.SGD(parameters(ws, gs), lr=cpu_cases.LR, momentum=cpu_cases.MOMENTUM, fused=True)
    for w, v in zip(ws, vs, strict=True):
        opt.state[w]["momentum_buffer"] = v
    return lambda: opt.step() or tuple(ws)


def adamw(*arrays, lists: int):
    ws, gs, ms, vs = parted(arrays, lists)
    opt = torch.optim.AdamW(parameters(ws, gs), lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2, fused=True)
    for w, m, v in zip(ws, ms, vs, strict=True):
        step = torch.zeros((), dtype=torch.float32, device=w.device)
        opt.state[w] |= {"step": step, "exp_avg": m, "exp_avg_sq": v}
    return lambda: opt.step() or tuple(ws)


def clipped_sgd(*arrays, lists: int):
    ws, step = parted(arrays, lists)[0], sgd(*arrays, lists=lists)
    return lambda: torch.nn.utils.clip_grad_norm_(ws, 1.0) is None or step()


def clip_grad_norm(*gs, lists: int):
    ws = parameters([torch.empty_like(g) for g in gs], gs)
    return lambda: torch.nn.utils.clip_grad_norm_(ws, 1.0) is None or tuple(w.grad for w in ws)


FUNCTIONS: dict[str, Callable[..., Run]] = {
    "matmul": forward(torch.matmul),
    "conv2d": forward(F.conv2d),
    "conv2d_dx": conv2d_dx,
    "conv2d_dw": conv2d_dw,
    "conv2d_batch_norm": forward(convolved_and_normalised),
    "cross_entropy": forward(F.cross_entropy),
    "cross_entropy_back": ones(F.cross_entropy),
    "binary_cross_entropy_with_logits": forward(F.binary_cross_entropy_with_logits),
    "binary_cross_entropy_with_logits_back": ones(F.binary_cross_entropy_with_logits),
    "batch_norm": forward(normalised),
    "batch_norm_back": normalised_back,
    "layer_norm": forward(rows),
    "layer_norm_back": back(rows, wrt=3),
    "max_pool2d": forward(pooled(F.max_pool2d)),
    "max_pool2d_back": back(pooled(F.max_pool2d)),
    "avg_pool2d": forward(pooled(F.avg_pool2d)),
    "avg_pool2d_back": back(pooled(F.avg_pool2d)),
    "sum": forward(lambda x, axis: x.sum(axis)),
    "softmax": forward(lambda x: x.softmax(1)),
    "softmax_back": back(lambda x: x.softmax(1)),
    "log_softmax": forward(lambda x: x.log_softmax(1)),
    "log_softmax_back": back(lambda x: x.log_softmax(1)),
    "embedding": forward(lambda index, w, rows: F.embedding(index, w)),
    "embedding_back": lambda index, g, rows: back(F.embedding)(
        g, index, torch.empty((rows, g.shape[1]), dtype=g.dtype, device=g.device)
    ),
    "dropout": forward(lambda x, p: F.dropout(x, p)),
    "dropout_back": lambda g, p: back(lambda x: F.dropout(x, p))(g, g),
    "sgd": sgd,
    "adamw": adamw,
    "clip_grad_norm": clip_grad_norm,
    "clipped_sgd": clipped_sgd,
    **OTHERS,
}


def ready(case: Case, arrays: list[torch.Tensor]) -> Run:
    """What is timed."""
    static = {name: value for name, value in case.static.items() if name != "pass"}
    return FUNCTIONS[case.function](*arrays, **static)


# Training steps


def step(case: Case, compiled: bool = False) -> Run:
    """As `ours.step`. Batch norms keep float32 weights and statistics, because cuDNN's are made for that."""
    [x] = cpu_cases.numbers([case.arrays[0].shape])
    dtype = DTYPES[case.dtype]
    xb = torch.tensor(x).to(DEVICE, dtype)
    xb = xb.to(memory_format=torch.channels_last) if xb.ndim == 4 else xb
    yb = torch.tensor(cpu_cases.classes(len(x), cpu_cases.CLASSES)).to(DEVICE)
    model = cpu.built(case.static["model"]).to(DEVICE, dtype, memory_format=torch.channels_last)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.float()
    opt = torch.optim.SGD(model.parameters(), lr=cpu_cases.LR, momentum=cpu_cases.MOMENTUM, fused=True)
    run = torch.compile(model) if compiled else model

    def once():
        opt.zero_grad()
        loss = F.cross_entropy(run(xb), yb)
        loss.backward()
        opt.step()
        return loss.detach()

    return once
