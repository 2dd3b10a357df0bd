"""Parameters in groups, and numbers for each group: rates that grow towards the head, no decay on biases."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import nn
from ..optim import Optimizer
from ..tensor import Tensor

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)
KEYS = {"wd": "weight_decay", "mom": "momentum", "sqr_mom": "alpha"}  # fastai's names for PyTorch's

Splitter = Callable[[nn.Module], Sequence[Sequence[Tensor]]]


def trainable_params(model: nn.Module) -> list[list[Tensor]]:
    """All parameters that are not frozen, as one group."""
    return [[p for p in model.parameters() if p.requires_grad]]


def norm_params(model: nn.Module) -> list[Tensor]:
    """The parameters of batch norms and their like."""
    return [p for m in model.modules() if isinstance(m, NORMS) for p in m.parameters()]


def biases(model: nn.Module) -> list[Tensor]:
    return [p for name, p in model.named_parameters() if name.rpartition(".")[2] == "bias"]


def optimizer_groups(model: nn.Module, layers: Sequence[Sequence[Tensor]], wd_bn_bias: bool) -> list[dict[str, Any]]:
    """Groups for an optimiser: those of `layers`, each split into what decays and norms and biases, which do not.

    "layer" tells which of `layers` a group belongs to.
    """
    spared = set() if wd_bn_bias else {id(p) for p in [*norm_params(model), *biases(model)]}
    groups: list[dict[str, Any]] = []
    for i, layer in enumerate(layers):
        decay, none = [p for p in layer if id(p) not in spared], [p for p in layer if id(p) in spared]
        if decay or not none:
            groups.append({"params": decay, "layer": i})
        if none:
            groups.append({"params": none, "layer": i, "weight_decay": 0.0, "no_decay": True})
    return groups


def even_mults(start: float, stop: float, n: int) -> list[float]:
    """n numbers from start to stop in equal ratios; [stop] for n = 1.

    >>> even_mults(1e-5, 1e-3, 3)
    [1e-05, 0.0001, 0.001]
    """
    if n == 1:
        return [stop]
    return [float(v) for v in np.geomspace(start, stop, n)]


def spread(value: Any, n: int) -> list[float]:
    """One number for each of n groups. A number is for all; slice(lo, hi) goes from lo to hi in equal ratios; slice(hi)
    is hi for the last and hi / 10 for the others; n numbers are as they are."""
    if isinstance(value, slice):
        if value.stop is None:
            raise ValueError(f"learning rates: slice(hi) or slice(lo, hi); got {value}")
        if value.start is None:
            return [value.stop / 10] * (n - 1) + [value.stop]
        if value.start > value.stop:
            warnings.warn(
                f"learning rates: {value} gives the first layers, which need to change least, the largest rate; "
                f"slice({value.stop}, {value.start}) gives it to the head",
                stacklevel=2,
            )
        return even_mults(value.start, value.stop, n)
    if isinstance(value, (list, tuple, np.ndarray)) and np.ndim(value):
        if len(value) != n:
            raise ValueError(f"learning rates: one for each of the {n} groups of parameters; got {len(value)}")
        return [float(v) for v in value]
    return [float(value)] * n


def _layer(i: int, group: dict[str, Any]) -> int:
    return group.get("layer", i)


def n_layers(opt: Optimizer) -> int:
    return 1 + max(_layer(i, g) for i, g in enumerate(opt.param_groups))


def set_hyper(opt: Optimizer, name: str, value: Any) -> None:
    """Set lr, mom, wd, ... of an optimiser, spread over its layers.

    mom is beta1, or the momentum of an optimiser that was made with one. wd passes over groups that are not to decay.
    """
    values = spread(value, n_layers(opt))
    for i, group in enumerate(opt.param_groups):
        v = values[_layer(i, group)]
        if name in ("mom", "sqr_mom") and "betas" in group:
            beta1, beta2 = group["betas"]
            group["betas"] = (v, beta2) if name == "mom" else (beta1, v)
        elif name == "mom":
            if group.get("momentum"):
                group["momentum"] = v
        elif name != "wd" or not group.get("no_decay"):
            key = KEYS.get(name, name)
            if key not in group:
                raise ValueError(f"set_hyper: {type(opt).__name__} has no {name!r}; it has {sorted(group)}")
            group[key] = v


def get_hyper(opt: Optimizer, name: str) -> list[float]:
    """lr, mom, wd, ... of an optimiser, one for each layer."""
    found: dict[int, float] = {}
    for i, group in enumerate(opt.param_groups):
        if name in ("mom", "sqr_mom") and "betas" in group:
            v = group["betas"][name == "sqr_mom"]
        else:
            v = group.get(KEYS.get(name, name), 0.0)
        if name != "wd" or not group.get("no_decay"):
            found.setdefault(_layer(i, group), v)
    return [found[i] for i in sorted(found)]
