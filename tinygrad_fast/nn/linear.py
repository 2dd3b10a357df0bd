"""The linear layer."""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor
from . import functional as F, init
from .module import Module
from .parameter import Parameter


class Linear(Module):
    """y = x W^T + b: x (..., in_features) -> y (..., out_features).

    weight (out_features, in_features), bias (out_features) or None; initial values U(-k, k), k = 1 / sqrt(in_features).
    `relu=True` in the call gives max(y, 0) in one go.
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, device: Any = None, dtype: Any = None
    ):
        self.in_features, self.out_features = in_features, out_features
        self.weight = Parameter.zeros(out_features, in_features, device=device, dtype=dtype)
        self.bias = Parameter.zeros(out_features, device=device, dtype=dtype) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        init.by_fan_in(self.in_features, self.weight, self.bias)

    def forward(self, x: Tensor, relu: bool = False) -> Tensor:
        return F.linear(x, self.weight, self.bias, relu=relu)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
