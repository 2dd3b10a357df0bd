"""tinygrad_fast: a deep-learning framework to read, that trains real networks.

`import tinygrad_fast as tf` speaks PyTorch's language and loads NumPy only; `tf.nn`, `tf.optim`, `tf.models`,
`tf.data`, `tf.learner`, `tf.vision`, `tf.testing` load when they are first named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import autograd, dtypes, rng
from .autograd import enable_grad, is_grad_enabled, no_grad
from .backend import Device as device
from .checkpoint import load, save
from .creation import (
    arange,
    as_tensor,
    eye,
    from_dlpack,
    from_numpy,
    full,
    full_like,
    linspace,
    ones,
    ones_like,
    rand,
    rand_like,
    randint,
    randint_like,
    randn,
    randn_like,
    randperm,
    tensor,
    zeros,
    zeros_like,
)
from .dtypes import bool_ as bool
from .dtypes import float16, float32, float64, int8, int16, int32, int64, result_type, uint8
from .functions import broadcast_tensors, cat, einsum, is_tensor, stack, where
from .rng import Generator, manual_seed
from .tensor import Tensor, apply

__version__ = "0.1.0"

half, float, double, int, long = float16, float32, float64, int32, int64

# `tf.NAME` is the method, written as a function
add, sub, mul, div, pow = Tensor.add, Tensor.sub, Tensor.mul, Tensor.div, Tensor.pow
maximum, minimum, remainder, floor_divide = Tensor.maximum, Tensor.minimum, Tensor.remainder, Tensor.floor_divide
eq, ne, lt, le, gt, ge = Tensor.eq, Tensor.ne, Tensor.lt, Tensor.le, Tensor.gt, Tensor.ge
isclose, allclose, equal = Tensor.isclose, Tensor.allclose, Tensor.equal
logical_and, logical_or, logical_xor = Tensor.logical_and, Tensor.logical_or, Tensor.logical_xor
logical_not, isnan, isinf, isfinite = Tensor.logical_not, Tensor.isnan, Tensor.isinf, Tensor.isfinite

neg, abs, sign, square, reciprocal = Tensor.neg, Tensor.abs, Tensor.sign, Tensor.square, Tensor.reciprocal
exp, expm1, log, log1p, sqrt, rsqrt = Tensor.exp, Tensor.expm1, Tensor.log, Tensor.log1p, Tensor.sqrt, Tensor.rsqrt
sin, cos, tan, tanh, sigmoid, erf = Tensor.sin, Tensor.cos, Tensor.tan, Tensor.tanh, Tensor.sigmoid, Tensor.erf
floor, ceil, round, clamp, clip, relu = Tensor.floor, Tensor.ceil, Tensor.round, Tensor.clamp, Tensor.clip, Tensor.relu

sum, mean, var, std, prod, norm = Tensor.sum, Tensor.mean, Tensor.var, Tensor.std, Tensor.prod, Tensor.norm
amax, amin, max, min, argmax, argmin = Tensor.amax, Tensor.amin, Tensor.max, Tensor.min, Tensor.argmax, Tensor.argmin
any, all, cumsum, logsumexp = Tensor.any, Tensor.all, Tensor.cumsum, Tensor.logsumexp
softmax, log_softmax = Tensor.softmax, Tensor.log_softmax
sort, argsort, topk = Tensor.sort, Tensor.argsort, Tensor.topk

reshape, flatten, squeeze, unsqueeze = Tensor.reshape, Tensor.flatten, Tensor.squeeze, Tensor.unsqueeze
permute, transpose, movedim, t = Tensor.permute, Tensor.transpose, Tensor.movedim, Tensor.t
broadcast_to, flip, roll, narrow = Tensor.broadcast_to, Tensor.flip, Tensor.roll, Tensor.narrow
split, chunk, unbind, tril, triu = Tensor.split, Tensor.chunk, Tensor.unbind, Tensor.tril, Tensor.triu
gather, index_select, nonzero, masked_fill = Tensor.gather, Tensor.index_select, Tensor.nonzero, Tensor.masked_fill

matmul, mm, bmm, mv, dot, outer = Tensor.matmul, Tensor.mm, Tensor.bmm, Tensor.mv, Tensor.dot, Tensor.outer
clone, detach, numel, is_floating_point = Tensor.clone, Tensor.detach, Tensor.numel, Tensor.is_floating_point

if TYPE_CHECKING:
    from . import data, learner, models, nn, optim, testing, vision

LATE = ("data", "learner", "models", "nn", "optim", "testing", "vision")  # loaded when they are first named


def __getattr__(name: str) -> Any:
    if name in LATE:
        from importlib import import_module

        return import_module(f"{__name__}.{name}")
    if name == "bfloat16":  # loads ml_dtypes
        return dtypes.bfloat16()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *LATE, "bfloat16"})
