"""tinygrad_fast: a deep-learning framework to read, that trains real networks.

`import tinygrad_fast as tf` speaks PyTorch's language and loads NumPy only; `tf.nn`, `tf.optim`, `tf.models`,
`tf.data`, `tf.learner`, `tf.vision`, `tf.testing` load when they are first named.
"""

from __future__ import annotations

from . import autograd, rng
from .autograd import enable_grad, is_grad_enabled, no_grad
from .backend import Device as device
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
from .functions import broadcast_tensors, cat, einsum, stack, where
from .rng import Generator, manual_seed
from .tensor import Tensor, apply

__version__ = "0.1.0"

half, float, double, int, long = float16, float32, float64, int32, int64

add, sub, mul, div, pow = Tensor.add, Tensor.sub, Tensor.mul, Tensor.div, Tensor.pow
