"""tinygrad_fast: a deep-learning framework to read, that trains real networks.

`import tinygrad_fast as tf` speaks PyTorch's language and loads NumPy only; `tf.nn`, `tf.optim`, `tf.models`,
`tf.data`, `tf.learner`, `tf.vision`, `tf.testing` load when they are first named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import amp as amp, autograd as autograd, cpu as cpu, cuda as cuda, dtypes as dtypes, rng as rng
from .amp import autocast as autocast, is_autocast_enabled as is_autocast_enabled
from .autograd import enable_grad as enable_grad, is_grad_enabled as is_grad_enabled, no_grad as no_grad
from .backend import (
    Device as device,
    get_default_device as get_default_device,
    set_default_device as set_default_device,
)
from .backend.fast_cpu.threads import get_num_threads as get_num_threads, set_num_threads as set_num_threads
from .backend.precision import (
    get_float32_matmul_precision as get_float32_matmul_precision,
    set_float32_matmul_precision as set_float32_matmul_precision,
)
from .checkpoint import load as load, save as save
from .creation import (
    arange as arange,
    as_tensor as as_tensor,
    eye as eye,
    from_dlpack as from_dlpack,
    from_numpy as from_numpy,
    full as full,
    full_like as full_like,
    linspace as linspace,
    ones as ones,
    ones_like as ones_like,
    rand as rand,
    rand_like as rand_like,
    randint as randint,
    randint_like as randint_like,
    randn as randn,
    randn_like as randn_like,
    randperm as randperm,
    tensor as tensor,
    zeros as zeros,
    zeros_like as zeros_like,
)
from .determinism import (
    are_deterministic_algorithms_enabled as are_deterministic_algorithms_enabled,
    use_deterministic_algorithms as use_deterministic_algorithms,
)
from .dtypes import (
    bool_ as bool,
    float16 as float16,
    float32 as float32,
    float64 as float64,
    int8 as int8,
    int16 as int16,
    int32 as int32,
    int64 as int64,
    result_type as result_type,
    uint8 as uint8,
)
from .functions import (
    broadcast_tensors as broadcast_tensors,
    cat as cat,
    einsum as einsum,
    free as free,
    is_tensor as is_tensor,
    stack as stack,
    where as where,
)
from .rng import Generator as Generator, manual_seed as manual_seed
from .tensor import Tensor as Tensor, apply as apply

__version__ = "0.1.0"

half, float, double, int, long = float16, float32, float64, int32, int64

# `tf.NAME` is the method, written as a function. With two operands, one may be a number; else the first is a Tensor
add, sub, mul, div, pow = Tensor.add, Tensor.sub, Tensor.mul, Tensor.div, Tensor.pow
maximum, minimum, remainder, floor_divide = Tensor.maximum, Tensor.minimum, Tensor.remainder, Tensor.floor_divide
eq, ne, lt, le, gt, ge = Tensor.eq, Tensor.ne, Tensor.lt, Tensor.le, Tensor.gt, Tensor.ge
isclose, allclose, equal = free(Tensor.isclose), free(Tensor.allclose), free(Tensor.equal)
logical_and, logical_or, logical_xor = Tensor.logical_and, Tensor.logical_or, Tensor.logical_xor

logical_not, isnan, isinf = free(Tensor.logical_not), free(Tensor.isnan), free(Tensor.isinf)
isfinite, neg, abs, sign = free(Tensor.isfinite), free(Tensor.neg), free(Tensor.abs), free(Tensor.sign)
square, reciprocal, exp, expm1 = free(Tensor.square), free(Tensor.reciprocal), free(Tensor.exp), free(Tensor.expm1)
log, log1p, sqrt, rsqrt = free(Tensor.log), free(Tensor.log1p), free(Tensor.sqrt), free(Tensor.rsqrt)
sin, cos, tan, tanh = free(Tensor.sin), free(Tensor.cos), free(Tensor.tan), free(Tensor.tanh)
sigmoid, erf, floor, ceil = free(Tensor.sigmoid), free(Tensor.erf), free(Tensor.floor), free(Tensor.ceil)
round, clamp, clip, relu = free(Tensor.round), free(Tensor.clamp), free(Tensor.clip), free(Tensor.relu)

sum, mean, var, std, prod = free(Tensor.sum), free(Tensor.mean), free(Tensor.var), free(Tensor.std), free(Tensor.prod)
norm, amax, amin, max, min = free(Tensor.norm), free(Tensor.amax), free(Tensor.amin), free(Tensor.max), free(Tensor.min)
argmax, argmin, any, all = free(Tensor.argmax), free(Tensor.argmin), free(Tensor.any), free(Tensor.all)
cumsum, logsumexp, softmax = free(Tensor.cumsum), free(Tensor.logsumexp), free(Tensor.softmax)
log_softmax, sort, argsort, topk = free(Tensor.log_softmax), free(Tensor.sort), free(Tensor.argsort), free(Tensor.topk)

reshape, flatten, squeeze = free(Tensor.reshape), free(Tensor.flatten), free(Tensor.squeeze)
unsqueeze, permute, transpose = free(Tensor.unsqueeze), free(Tensor.permute), free(Tensor.transpose)
movedim, t, broadcast_to, flip = free(Tensor.movedim), free(Tensor.t), free(Tensor.broadcast_to), free(Tensor.flip)
roll, narrow, split, chunk = free(Tensor.roll), free(Tensor.narrow), free(Tensor.split), free(Tensor.chunk)
unbind, tril, triu, gather = free(Tensor.unbind), free(Tensor.tril), free(Tensor.triu), free(Tensor.gather)
index_select, nonzero, masked_fill = free(Tensor.index_select), free(Tensor.nonzero), free(Tensor.masked_fill)

matmul, mm, bmm, mv, dot = free(Tensor.matmul), free(Tensor.mm), free(Tensor.bmm), free(Tensor.mv), free(Tensor.dot)
outer, clone, detach, numel = free(Tensor.outer), free(Tensor.clone), free(Tensor.detach), free(Tensor.numel)
is_floating_point = free(Tensor.is_floating_point)

if TYPE_CHECKING:
    from . import data, emulator, learner, models, nn, optim, testing, vision

# What PyTorch, too, offers in both places: here it is `nn.functional`'s function
FUNCTIONAL = (
    *("conv1d", "conv2d", "conv_transpose2d", "max_pool2d", "pixel_shuffle", "pixel_unshuffle"),
    *("batch_norm", "layer_norm", "group_norm", "dropout", "embedding", "binary_cross_entropy_with_logits"),
)
LATE = ("data", "emulator", "learner", "models", "nn", "optim", "testing", "vision")  # loaded when they are first named


def __getattr__(name: str) -> Any:
    if name in LATE:
        from importlib import import_module

        return import_module(f"{__name__}.{name}")
    if name in FUNCTIONAL:
        from .nn import functional

        return getattr(functional, name)
    if name == "bfloat16":  # loads ml_dtypes
        return dtypes.bfloat16()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *LATE, *FUNCTIONAL, "bfloat16"})
