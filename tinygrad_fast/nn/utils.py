"""Gradients clipped, parameters as one vector; and, from `fusion.py`, batch norms folded into convolutions."""

from __future__ import annotations

from collections.abc import Iterable

from ..functions import cat, stack
from ..tape import setting
from ..tensor import Tensor
from .fusion import fold_batch_norm as fold_batch_norm, fuse_conv_bn_eval as fuse_conv_bn_eval


def _grads(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    ps = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    return [g for p in ps if (g := p.grad) is not None]


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """g <- g min(1, max_norm / (|all g| + 1e-6)), in place; returns the norm before, of all gradients as one vector.

    Raises RuntimeError for a norm that is not finite if error_if_nonfinite. Source: Pascanu et al. 2013, as PyTorch.
    """
    grads = _grads(parameters)
    if not grads:
        return Tensor(0.0)
    total = stack([g.norm(norm_type) for g in grads]).norm(norm_type)
    if error_if_nonfinite and not bool(total.isfinite()):
        raise RuntimeError(
            f"clip_grad_norm_: the gradients' norm must be finite; got {total.item()}. Look for a loss that is not"
        )
    scale = (max_norm / (total + 1e-6)).clamp(max=1.0)  # stays on the device: nothing is read back
    for g in grads:
        g.mul_(scale)
    return total


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """g <- min(max(g, -clip_value), clip_value), in place."""
    for g in _grads(parameters):
        g.clamp_(-clip_value, clip_value)


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All parameters, flattened, one behind the other."""
    return cat([p.flatten() if p.ndim else p.reshape(1) for p in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """The adjoint of `parameters_to_vector`: copies the parts of vec into the parameters."""
    ps = list(parameters)
    wanted = sum(p.numel() for p in ps)
    if vec.shape != (wanted,):
        raise RuntimeError(f"vector_to_parameters: the vector must have shape ({wanted},); got {vec.shape}")
    with setting(record=False):
        for p, part in zip(ps, vec.split([p.numel() for p in ps])):
            p.copy_(part.reshape(p.shape))
