"""What is timed of a function of PyTorch's: itself, without a tape; or its gradients, over a tape made before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

Run = Callable[[], Any]


def forward(f: Callable[..., Any]) -> Callable[..., Run]:
    def ready(*inputs: Any, **static: Any) -> Run:
        def run():
            with torch.no_grad():
                return f(*inputs, **static)

        return run

    return ready


def back(f: Callable[..., Any], wrt: int = 1) -> Callable[..., Run]:
    """(g, *inputs) -> the gradients of the first `wrt` floating inputs."""

    def ready(g: torch.Tensor, *inputs: Any, **static: Any) -> Run:
        given = [t.detach().requires_grad_(t.is_floating_point()) for t in inputs]
        of = [t for t in given if t.requires_grad][:wrt]
        y = f(*given, **static)
        g = g.to(y.dtype)
        return lambda: torch.autograd.grad(y, of, g, retain_graph=True)

    return ready


def parameters(ws, gs):
    for w, g in zip(ws, gs, strict=True):
        w.requires_grad_().grad = g
    return ws
