"""Stochastic gradient descent."""

from __future__ import annotations

from typing import Any

from .optimizer import Optimizer, Params


class SGD(Optimizer):
    """d = g + weight_decay w;  v = momentum v + (1 - dampening) d;  w = w - lr v

    At the first step v = d. With `nesterov`, w = w - lr (d + momentum v); without momentum, w = w - lr d.
    Raises ValueError for negative numbers, and for nesterov without momentum or with dampening.
    Source: Sutskever et al. 2013, "On the importance of initialization and momentum in deep
    learning", as PyTorch has it.
    """

    supports = ("skip", "clip")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
    ):
        numbers = dict(lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay, nesterov=nesterov)
        super().__init__(params, numbers)

    def check(self, group: dict[str, Any]) -> None:
        self._from_0(group, "momentum")
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError(
                "SGD: nesterov needs momentum > 0 and dampening 0; "
                f"got momentum {group['momentum']}, dampening {group['dampening']}"
            )

    def buffers(self, group: dict[str, Any]) -> list[str]:
        return ["momentum_buffer"] if group["momentum"] else []

    def hyper(self, group: dict[str, Any], step: int) -> list[float]:
        return [*(group[name] for name in ("lr", "momentum", "dampening", "weight_decay")), step]

    def update(
        self, xp: Any, ws: list, gs: list, buffers: list[list], hyper: Any, group: dict[str, Any], **given: Any
    ) -> None:
        xp.sgd_(ws, gs, buffers[0] if buffers else [], hyper, nesterov=group["nesterov"], **given)
