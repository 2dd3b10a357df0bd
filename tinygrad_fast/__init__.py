"""tinygrad_fast: a deep-learning framework to read, that trains real networks.

`import tinygrad_fast as tf` speaks PyTorch's language and loads NumPy only; `tf.nn`, `tf.optim`, `tf.models`, `tf.data`,
`tf.learner`, `tf.vision`, `tf.testing` load when they are first named.
"""

from __future__ import annotations

import importlib
from typing import Any

from . import autograd as autograd
from . import rng as rng
from .autograd import enable_grad as enable_grad
from .autograd import is_grad_enabled as is_grad_enabled
from .autograd import no_grad as no_grad
from .backend import Device as device
from .creation import arange as arange
from .creation import as_tensor as as_tensor
from .creation import eye as eye
from .creation import from_dlpack as from_dlpack
from .creation import from_numpy as from_numpy
from .creation import full as full
from .creation import full_like as full_like
from .creation import linspace as linspace
from .creation import ones as ones
from .creation import ones_like as ones_like
from .creation import rand as rand
from .creation import rand_like as rand_like
from .creation import randint as randint
from .creation import randint_like as randint_like
from .creation import randn as randn
from .creation import randn_like as randn_like
from .creation import randperm as randperm
from .creation import tensor as tensor
from .creation import zeros as zeros
from .creation import zeros_like as zeros_like
from .dtypes import bool_ as bool
from .dtypes import float16 as float16
from .dtypes import float32 as float32
from .dtypes import float64 as float64
from .dtypes import int8 as int8
from .dtypes import int16 as int16
from .dtypes import int32 as int32
from .dtypes import int64 as int64
from .dtypes import result_type as result_type
from .dtypes import uint8 as uint8
from .functions import broadcast_tensors as broadcast_tensors
from .functions import cat as cat
from .functions import einsum as einsum
from .functions import stack as stack
from .functions import where as where
from .rng import Generator as Generator
from .rng import manual_seed as manual_seed
from .tensor import Tensor as Tensor
from .tensor import apply as apply

half, float, double, int, long = float16, float32, float64, int32, int64

add, sub, mul, div, pow = Tensor.add, Tensor.sub, Tensor.mul, Tensor.div, Tensor.pow
