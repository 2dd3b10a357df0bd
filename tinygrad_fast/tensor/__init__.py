"""Tensor: an array, the machine it lies on, and its place in the tape. The methods are PyTorch's.

Each family of methods stands in a file of its own and is short: promote, turn `dim` into a sorted tuple of axes,
`apply` an op. What an op computes stands in `ops/`; how it is walked back, in `tape.py`. `tf.exp(x)` is `x.exp()`.
Read `core.py` first, then `ops/elementwise.py`.
"""

from __future__ import annotations

from typing import Any

from .. import backend as backend
from .core import Core as Core, OnTensors as OnTensors, apply as apply, wrap as wrap
from .inplace import InPlace as InPlace
from .movement import cat as cat
from .promote import fresh_array as fresh_array
from .reduction import Extreme as Extreme


class Tensor(InPlace):
    """A multi-dimensional array that remembers how it was made.

    array_like: numbers, nested lists, an ndarray or a Tensor; copied. Python floats become float32, a float64 array
    stays float64. `requires_grad=True` makes a leaf: after `loss.backward()` its `.grad` is dloss/dself.
    Raises TypeError for what is not a number, and RuntimeError for integers that ask for a gradient.
    """

    __slots__ = ()

    def __init__(self, array_like: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False):
        if device is None and isinstance(array_like, Core):
            device = array_like.device
        self.xp, self.node, self.version = backend.get(device), None, [0]
        self.data = self.xp.asarray(fresh_array(array_like, dtype))
        if requires_grad:
            self.requires_grad_()


Core.tensor_class = Tensor
