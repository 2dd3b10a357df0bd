"""Parameter: a Tensor that a Module counts as its own."""

from __future__ import annotations

from typing import Any

from .. import creation
from ..tensor import Tensor


class Parameter(Tensor):
    """A tensor to be learned. It stays a parameter when frozen by `requires_grad_(False)`.

    data: a Tensor, whose memory is shared, or an array or numbers, which are copied. Raises RuntimeError for integers
    with `requires_grad=True`. What is computed from a Parameter is a plain Tensor.
    """

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True):
        t = data if isinstance(data, Tensor) else Tensor(data)
        self.data, self.xp, self.node, self.version = t.data, t.xp, None, t.version
        if requires_grad:
            self.requires_grad_()

    @classmethod
    def zeros(cls, *shape: int, device: Any = None, dtype: Any = None) -> Parameter:
        """A parameter of zeros, to be initialised."""
        return cls(creation.zeros(shape, dtype=dtype, device=device))

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"
