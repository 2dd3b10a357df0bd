"""Initial values: functions ending in an underscore write into the tensor they are given, and return it.

All draws come from the counter-based streams of `rng.py`, on the host: one seed gives the same weights on every device
and in every dtype. Each call takes one stream (`trunc_normal_`: one more for each redraw).
"""

from __future__ import annotations

from math import erf, prod, sqrt
from typing import Any

import numpy as np

from .. import rng
from ..creation import from_numpy
from ..tape import setting
from ..tensor import Tensor


def _write(t: Tensor, values: np.ndarray) -> Tensor:
    with setting(record=False):
        return t.copy_(from_numpy(values.reshape(t.shape)))


def _normal(n: int, mean: float, std: float, generator: rng.Generator | None) -> np.ndarray:
    return rng.normal((generator or rng.default).key(), n) * np.float32(std) + np.float32(mean)


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: rng.Generator | None = None) -> Tensor:
    """U(a, b)"""
    values = rng.uniform((generator or rng.default).key(), tensor.numel())
    return _write(tensor, values * np.float32(b - a) + np.float32(a))


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: rng.Generator | None = None) -> Tensor:
    """N(mean, std^2)"""
    return _write(tensor, _normal(tensor.numel(), mean, std, generator))


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: rng.Generator | None = None,
) -> Tensor:
    """N(mean, std^2) where it lies in [a, b]: what falls outside is drawn again.

    Raises ValueError when less than 1 % of the distribution lies in [a, b].
    """
    inside = (erf((b - mean) / (std * sqrt(2))) - erf((a - mean) / (std * sqrt(2)))) / 2
    if not inside > 0.01:
        raise ValueError(
            f"trunc_normal_: [a, b] must hold 1 % of N(mean, std^2) or more; "
            f"got {100 * inside:.2g} % for [{a}, {b}], mean {mean}, std {std}"
        )
    values = _normal(tensor.numel(), mean, std, generator)
    while (outside := np.flatnonzero((values < a) | (values > b))).size:
        values[outside] = _normal(outside.size, mean, std, generator)
    return _write(tensor, values)


def constant_(tensor: Tensor, val: float) -> Tensor:
    """val everywhere"""
    with setting(record=False):
        return tensor.fill_(val)


def zeros_(tensor: Tensor) -> Tensor:
    return constant_(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    return constant_(tensor, 1.0)


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight (out, in, ...): how many numbers one output sums, how many outputs one input has.

    For a convolution (O, C, KH, KW): C KH KW and O KH KW. Raises ValueError below 2 axes.
    """
    if len(shape) < 2:
        raise ValueError(f"init: fan_in and fan_out need a weight of 2 axes or more (out, in, ...); got shape {shape}")
    window = prod(shape[2:])
    return shape[1] * window, shape[0] * window


GAINS = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": sqrt(2), "selu": 3 / 4}
GAINS |= {f"conv{transpose}{n}d": 1.0 for n in (1, 2, 3) for transpose in ("", "_transpose")}


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """What a layer must be scaled by, so that its variance survives the nonlinearity behind it.

    relu: sqrt(2), for it halves the mean square. leaky_relu: sqrt(2 / (1 + slope^2)), slope = param (0.01).
    """
    if nonlinearity == "leaky_relu":
        return sqrt(2 / (1 + (0.01 if param is None else param) ** 2))
    if nonlinearity not in GAINS:
        known = ", ".join([*GAINS, "leaky_relu"])
        raise ValueError(f"calculate_gain: nonlinearity must be one of {known}; got {nonlinearity!r}")
    return GAINS[nonlinearity]


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: rng.Generator | None = None) -> Tensor:
    """U(-a, a), a = gain sqrt(6 / (fan_in + fan_out)). Source: Glorot and Bengio 2010."""
    a = gain * sqrt(6 / sum(fans(tensor.shape)))
    return uniform_(tensor, -a, a, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: rng.Generator | None = None) -> Tensor:
    """N(0, s^2), s = gain sqrt(2 / (fan_in + fan_out)). Source: Glorot and Bengio 2010."""
    return normal_(tensor, 0.0, gain * sqrt(2 / sum(fans(tensor.shape))), generator)


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"kaiming: mode must be fan_in or fan_out; got {mode!r}")
    fan = fans(tensor.shape)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / sqrt(max(fan, 1))


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: rng.Generator | None = None,
) -> Tensor:
    """U(-s sqrt(3), s sqrt(3)), s = gain / sqrt(fan); a is the slope of a leaky ReLU. Source: He et al. 2015."""
    bound = sqrt(3) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: rng.Generator | None = None,
) -> Tensor:
    """N(0, s^2), s = gain / sqrt(fan); a is the slope of a leaky ReLU. Source: He et al. 2015."""
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


def by_fan_in(fan_in: int, *tensors: Any) -> None:
    """PyTorch's default for linear and convolution layers, weight and bias: U(-1/sqrt(fan_in), 1/sqrt(fan_in))."""
    bound = 1 / sqrt(max(fan_in, 1))
    for t in tensors:
        if t is not None:
            uniform_(t, -bound, bound)
