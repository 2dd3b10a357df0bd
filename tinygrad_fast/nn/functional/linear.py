"""A matrix product with a bias. PyTorch's name and arguments."""

from __future__ import annotations

from ... import ops
from ...tensor import Tensor, apply
from ...tensor.promote import must_tensor, promote


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None, *, relu: bool = False) -> Tensor:
    """x w^T + b, with max(., 0) after it if `relu`: x (..., K), weight (O, K), bias (O) -> (..., O).

    A weight (K), with a bias of one number, gives (...).
    """
    must_tensor("linear", weight)
    if weight.ndim == 1:
        b = None if bias is None else bias.reshape(1)
        return linear(input, weight.unsqueeze(0), b, relu=relu).squeeze(-1)
    x, w, b = promote("linear", input, weight, bias)
    row = x.ndim == 1
    y = apply(ops.linear, x.unsqueeze(0) if row else x, w, b, relu=relu)
    return y.squeeze(0) if row else y
