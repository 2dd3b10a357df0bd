"""Adam, and Adam with weight decay apart from the gradient."""

from __future__ import annotations

from typing import Any, ClassVar

from .optimizer import Optimizer, Params


class Adam(Optimizer):
    """m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2, at step t (1, 2, ...)
    w = w - lr m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)

    with g + weight_decay w in place of g. Raises ValueError for negative numbers and betas outside [0, 1).
    Source: Kingma and Ba 2015, algorithm 1, as PyTorch has it.
    """

    supports = ("skip", "clip")
    decoupled: ClassVar[bool] = False

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
    ):
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay))

    def check(self, group: dict[str, Any]) -> None:
        self._from_0(group, "eps")
        betas = group["betas"]
        valid = isinstance(betas, (tuple, list)) and len(betas) == 2
        valid = valid and all(hasattr(b, "__float__") and 0 <= b < 1 for b in betas)
        self._require("betas", group, valid, "two in [0, 1)")

    def buffers(self, group: dict[str, Any]) -> list[str]:
        return ["exp_avg", "exp_avg_sq"]

    def hyper(self, group: dict[str, Any], step: int) -> list[float]:
        return [group["lr"], *group["betas"], group["eps"], group["weight_decay"], step]

    def update(
        self, xp: Any, ws: list, gs: list, buffers: list[list], hyper: Any, group: dict[str, Any], **given: Any
    ) -> None:
        xp.adam_(ws, gs, *buffers, hyper, decoupled=self.decoupled, **given)


class AdamW(Adam):
    """Adam, with w = (1 - lr weight_decay) w before each step instead of weight_decay w in the gradient.

    Source: Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization", as PyTorch has it.
    """

    decoupled: ClassVar[bool] = True

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ):
        super().__init__(params, lr, betas, eps, weight_decay)
