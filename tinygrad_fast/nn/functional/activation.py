"""Activations. PyTorch's names, arguments and defaults.

Those of integers and bools are computed in float32. `inplace=True` is accepted, and nothing is written: use the result.
"""

from __future__ import annotations

from typing import Any

from ... import ops
from ...tensor import Tensor, apply
from ...tensor.promote import as_float, must_tensor


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0)"""
    must_tensor("relu", input)
    return input.relu()


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(x, 0), 6); the slope is 0 at both bounds."""
    return hardtanh(input, 0.0, 6.0)


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """min(max(x, min_val), max_val); the slope is 0 at both bounds, where `clamp` has 1."""
    must_tensor("hardtanh", input)
    if not min_val < max_val:
        raise ValueError(f"hardtanh: needs min_val < max_val; got {min_val} and {max_val}")
    return apply(ops.hardtanh, as_float(input), low=float(min_val), high=float(max_val))


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where x > 0, else negative_slope x"""
    must_tensor("leaky_relu", input)
    return apply(ops.leaky_relu, as_float(input), slope=float(negative_slope))


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else alpha (exp(x) - 1)"""
    must_tensor("elu", input)
    return apply(ops.elu, as_float(input), alpha=float(alpha))


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x Phi(x), Phi the normal distribution: by erf ("none"), or by tanh ("tanh")."""
    if approximate not in ("none", "tanh"):
        raise ValueError(f"gelu: approximate must be 'none' or 'tanh'; got {approximate!r}")
    must_tensor("gelu", input)
    return apply(ops.gelu, as_float(input), approximate=approximate)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x sigmoid(x)"""
    must_tensor("silu", input)
    return apply(ops.silu, as_float(input))


def softplus(input: Tensor, beta: float = 1, threshold: float = 20) -> Tensor:
    """log(1 + exp(beta x)) / beta, without overflow; x itself where beta x > threshold."""
    must_tensor("softplus", input)
    if not beta:
        raise ValueError("softplus: beta must not be 0")
    return apply(ops.softplus, as_float(input), beta=float(beta), threshold=float(threshold))


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-x))"""
    must_tensor("sigmoid", input)
    return input.sigmoid()


def tanh(input: Tensor) -> Tensor:
    """(exp(x) - exp(-x)) / (exp(x) + exp(-x))"""
    must_tensor("tanh", input)
    return input.tanh()


def logsigmoid(input: Tensor) -> Tensor:
    """log(sigmoid(x)) = -softplus(-x), finite for every finite x."""
    must_tensor("logsigmoid", input)
    return -softplus(-as_float(input), threshold=float("inf"))


def softmax(input: Tensor, dim: int | None = None, *, dtype: Any = None) -> Tensor:
    """exp(x) / sum(exp(x)) along `dim`; computed in `dtype` if given."""
    dim = _needed("softmax", dim, input)
    return input.to(dtype=dtype).softmax(dim)


def log_softmax(input: Tensor, dim: int | None = None, *, dtype: Any = None) -> Tensor:
    """x - log(sum(exp(x))) along `dim`; computed in `dtype` if given."""
    dim = _needed("log_softmax", dim, input)
    return input.to(dtype=dtype).log_softmax(dim)


def _needed(name: str, dim: int | None, x: Tensor) -> int:
    must_tensor(name, x)
    if dim is None:
        raise TypeError(f"{name}: needs dim, the axis that sums to 1; x is {x.shape}. Classes last: {name}(x, dim=-1)")
    return dim
