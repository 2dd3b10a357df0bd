"""Matrix products in all their forms; the op is `ops/linalg.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import ops
from .core import Core, apply
from .promote import must_tensor, operand, promote
from .reduction import Reduction

if TYPE_CHECKING:
    from . import Tensor


class Products(Reduction):
    """Products of vectors, matrices and batches of them."""

    __slots__ = ()

    def matmul(self, other: Any) -> Tensor:
        """Vectors, matrices and batches of them, as `torch.matmul`."""
        a, b = self, operand(other, self)
        if not hasattr(b, "ndim"):
            raise TypeError(f"matmul: needs a Tensor; got {type(other).__name__}")
        if not a.ndim or not b.ndim:
            raise RuntimeError(f"matmul: both need at least 1 axis; got {a.shape} and {b.shape}. Use * for numbers")
        a, b = promote("matmul", a, b)
        row, column = a.ndim == 1, b.ndim == 1
        y = apply(ops.matmul, a.unsqueeze(0) if row else a, b.unsqueeze(1) if column else b)
        if column:
            y = y.squeeze(-1)
        return y.squeeze(-1 if column else -2) if row else y

    def __matmul__(self, other: Any) -> Tensor:
        return self.matmul(other) if isinstance(other, (Core, np.ndarray)) else NotImplemented

    def __rmatmul__(self, other: Any) -> Tensor:
        return operand(other, self).matmul(self) if isinstance(other, np.ndarray) else NotImplemented

    def mm(self, mat2: Tensor) -> Tensor:
        return self._ranked("mm", mat2, 2, 2)

    def bmm(self, mat2: Tensor) -> Tensor:
        return self._ranked("bmm", mat2, 3, 3)

    def mv(self, vec: Tensor) -> Tensor:
        return self._ranked("mv", vec, 2, 1)

    def dot(self, other: Tensor) -> Tensor:
        return self._ranked("dot", other, 1, 1)

    def _ranked(self, name: str, other: Tensor, m: int, n: int) -> Tensor:
        must_tensor(name, other)
        if self.ndim != m or other.ndim != n or (m == 3 and self.shape[0] != other.shape[0]):
            batch = " and equal batch" if m == 3 else ""
            raise RuntimeError(f"{name}: needs tensors of {m} and {n} axes{batch}; got {self.shape} and {other.shape}")
        return self.matmul(other)

    def outer(self, vec2: Tensor) -> Tensor:
        must_tensor("outer", vec2)
        if self.ndim != 1 or vec2.ndim != 1:
            raise RuntimeError(f"outer: needs two vectors; got {self.shape} and {vec2.shape}")
        return self.unsqueeze(1) * vec2.unsqueeze(0)
