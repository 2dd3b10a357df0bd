"""RMSprop: the gradient over its recent size."""

from __future__ import annotations

from typing import Any

from .optimizer import Optimizer, Params


class RMSprop(Optimizer):
    """d = g + weight_decay w;  s = alpha s + (1 - alpha) d^2;  w = w - lr d / (sqrt(s) + eps)

    `centered`: sqrt(s - m^2) with m = alpha m + (1 - alpha) d, an estimate of the variance. With momentum,
    v = momentum v + d / (sqrt(s) + eps) and w = w - lr v. Raises ValueError for negative numbers.
    Source: Tieleman and Hinton 2012, lecture 6.5 of "Neural Networks for Machine Learning", as PyTorch has it.
    """

    supports = ("skip", "clip")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
    ):
        numbers = dict(lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum, centered=centered)
        super().__init__(params, numbers)

    def check(self, group: dict[str, Any]) -> None:
        self._from_0(group, "alpha", "eps", "momentum")

    def buffers(self, group: dict[str, Any]) -> list[str]:
        return ["square_avg"] + ["grad_avg"] * group["centered"] + ["momentum_buffer"] * bool(group["momentum"])

    def hyper(self, group: dict[str, Any], step: int) -> list[float]:
        return [group[name] for name in ("lr", "alpha", "eps", "weight_decay", "momentum")]

    def update(
        self, xp: Any, ws: list, gs: list, buffers: list[list], hyper: Any, group: dict[str, Any], **given: Any
    ) -> None:
        found = dict(zip(self.buffers(group), buffers))
        centered, momentum = found.get("grad_avg", []), found.get("momentum_buffer", [])
        xp.rmsprop_(ws, gs, found["square_avg"], centered, momentum, hyper, **given)
