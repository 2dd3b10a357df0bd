"""Activations, `linear`, `dropout`, and tables: `embedding`, `one_hot`. PyTorch's names, arguments and defaults.

Activations of integers and bools are computed in float32. `inplace=True` is refused: a graph may still need the input.
"""

from __future__ import annotations

from typing import Any

from ... import dtypes, ops, rng
from ...shapes import Places, ints
from ...tensor import Tensor, apply, wrap
from ...tensor.indexing import checked
from ...tensor.promote import as_float, must_tensors, together


def _fresh(name: str, x: Any, inplace: bool = False) -> None:
    if not isinstance(x, Tensor):
        must_tensors(name, (x,))
    if inplace:
        raise ValueError(f"{name}: inplace=True is not offered, a graph may still need the input; write x = {name}(x)")


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0)"""
    _fresh("relu", input, inplace)
    return input.relu()


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(x, 0), 6); the slope is 0 at both bounds."""
    return hardtanh(input, 0.0, 6.0, inplace)


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """min(max(x, min_val), max_val); the slope is 0 at both bounds, where `clamp` has 1."""
    _fresh("hardtanh", input, inplace)
    if not min_val < max_val:
        raise ValueError(f"hardtanh: needs min_val < max_val; got {min_val} and {max_val}")
    return apply(ops.hardtanh, as_float(input), low=float(min_val), high=float(max_val))


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where x > 0, else negative_slope x"""
    _fresh("leaky_relu", input, inplace)
    return apply(ops.leaky_relu, as_float(input), slope=float(negative_slope))


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else alpha (exp(x) - 1)"""
    _fresh("elu", input, inplace)
    return apply(ops.elu, as_float(input), alpha=float(alpha))


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x Phi(x), Phi the normal distribution: by erf ("none"), or by tanh ("tanh")."""
    if approximate not in ("none", "tanh"):
        raise ValueError(f"gelu: approximate must be 'none' or 'tanh'; got {approximate!r}")
    _fresh("gelu", input)
    return apply(ops.gelu, as_float(input), approximate=approximate)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x sigmoid(x)"""
    _fresh("silu", input, inplace)
    return apply(ops.silu, as_float(input))


def softplus(input: Tensor, beta: float = 1, threshold: float = 20) -> Tensor:
    """log(1 + exp(beta x)) / beta, without overflow; x itself where beta x > threshold."""
    _fresh("softplus", input)
    if not beta:
        raise ValueError("softplus: beta must not be 0")
    return apply(ops.softplus, as_float(input), beta=float(beta), threshold=float(threshold))


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-x))"""
    _fresh("sigmoid", input)
    return input.sigmoid()


def tanh(input: Tensor) -> Tensor:
    """(exp(x) - exp(-x)) / (exp(x) + exp(-x))"""
    _fresh("tanh", input)
    return input.tanh()


def logsigmoid(input: Tensor) -> Tensor:
    """log(sigmoid(x)) = -softplus(-x), finite for every finite x."""
    _fresh("logsigmoid", input)
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
    _fresh(name, x)
    if dim is None:
        raise TypeError(f"{name}: needs dim, the axis that sums to 1; x is {x.shape}. Classes last: {name}(x, dim=-1)")
    return dim


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None, *, relu: bool = False) -> Tensor:
    """x w^T + b, with max(., 0) after it if `relu`: x (..., K), weight (O, K), bias (O) -> (..., O).

    A weight (K), with a bias of one number, gives (...).
    """
    _fresh("linear", weight)
    if weight.ndim == 1:
        b = None if bias is None else bias.reshape(1)
        return linear(input, weight.unsqueeze(0), b, relu=relu).squeeze(-1)
    x, w, b = together("linear", input, weight, bias)
    row = x.ndim == 1
    y = apply(ops.linear, x.unsqueeze(0) if row else x, w, b, relu=relu)
    return y.squeeze(0) if row else y


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """In training: 0 with probability p, else x / (1 - p), so that the mean stays. Otherwise x itself.

    The mask is a function of the seed and of each element's place (`tf.manual_seed`): the same on every device and in
    every memory order. Each call takes the next stream of random numbers. Source: Srivastava et al. 2014.
    """
    _fresh("dropout", input, inplace)
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p is a probability, 0 <= p <= 1; got {p}")
    x = as_float(input)
    if not training or p == 0:
        return x
    return apply(ops.dropout, x, wrap(x.xp.told(rng.default.key), x.xp, [0]), p=float(p))


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """weight[input]: rows of weight (rows, D) at integers of any shape -> (*input.shape, D).

    Row `padding_idx` receives no gradient. Raises IndexError for an index outside 0..rows - 1 (on a GPU when a value is
    next read: see docs/devices.md). `max_norm`, `scale_grad_by_freq` and `sparse` are not offered.
    """
    if max_norm is not None or scale_grad_by_freq or sparse:
        raise ValueError("embedding: max_norm, scale_grad_by_freq and sparse are not offered; leave them out")
    must_tensors("embedding", (input, weight))
    if weight.ndim != 2:
        raise ValueError(f"embedding: weight must be (rows, D); got {weight.shape}")
    rows = weight.shape[0]
    if padding_idx is not None and not -rows <= padding_idx < rows:
        raise ValueError(f"embedding: padding_idx must be in {-rows}..{rows - 1}; got {padding_idx}")
    pad = None if padding_idx is None else padding_idx % rows
    return apply(ops.embedding, whole("embedding", "index", input, rows, "rows of weight"), weight, padding_idx=pad)


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """int64 (..., num_classes): 1 at the class, else 0. -1: as many classes as the largest index asks for."""
    must_tensors("one_hot", (tensor,))
    (num_classes,) = ints("one_hot: num_classes", (num_classes,))
    if num_classes == -1:
        if not tensor.numel():
            raise ValueError("one_hot: with no element, num_classes cannot be found; pass it")
        num_classes = int(tensor.max().item()) + 1
    if num_classes < 1:
        raise ValueError(f"one_hot: num_classes must be at least 1, or -1 to find it; got {num_classes}")
    index = whole("one_hot", "class index", tensor, num_classes, "classes")
    return apply(ops.one_hot, index, n=num_classes, dtype=dtypes.int64)


def whole(name: str, what: str, t: Tensor, n: int, of: str, ignored: int | None = None) -> Tensor:
    """t as int64, with every element in 0..n-1, or `ignored`."""
    if t.dtype.kind not in "iu":
        raise TypeError(f"{name}: the {what} must be of an integer dtype; got {t.dtype}. Write .long()")
    return checked(t, Places(name, what, n, of, ignored))
