"""Gradients clipped, parameters as one vector; and, from `fusion.py`, batch norms as part of convolutions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..dtypes import is_float
from ..functions import cat, stack
from ..tape import setting
from ..tensor import Tensor, wrap
from ..tensor.promote import tensor_list
from .fusion import conv_bn as conv_bn, fold_batch_norm as fold_batch_norm, fuse_conv_bn_eval as fuse_conv_bn_eval


def get_total_norm(
    tensors: Tensor | Iterable[Tensor], norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Tensor:
    """The norm of all tensors as one vector: (sum |t|^p)^(1/p), the largest |t| for norm_type inf. Not differentiated.

    0-d on the first one's device, float64 if one of them is, else float32. Raises ValueError for norm_type <= 0,
    TypeError for integers, RuntimeError for a norm that is not finite if error_if_nonfinite (a GPU is waited for then).
    """
    p, found = float(norm_type), _by_machine(tensors)
    if not p > 0:
        raise ValueError(f"get_total_norm: norm_type must be > 0; got {norm_type}")
    if whole := [t.dtype for ts in found.values() for t in ts if not is_float(t.dtype)]:
        raise TypeError(f"get_total_norm: tensors must be of a floating dtype; got {whole[0]}. Write x.float()")
    norms = [wrap(xp.total_norm([t.data for t in ts], p), xp, [0]) for xp, ts in found.items()]
    if not norms:
        return Tensor(0.0)
    total = norms[0] if len(norms) == 1 else stack([n.to(norms[0].device) for n in norms]).norm(p)
    if error_if_nonfinite and not bool(total.isfinite()):
        raise RuntimeError(
            f"get_total_norm: the gradients' norm must be finite; got {total.item()}. Look for a loss that is not"
        )
    return total


def clip_grads_with_norm_(parameters: Tensor | Iterable[Tensor], max_norm: float, total_norm: Tensor) -> None:
    """g <- g min(1, max_norm / (total_norm + 1e-6)), in place, with `get_total_norm` of the gradients."""
    _clip_norm(_grads("clip_grads_with_norm_", parameters), max_norm, total_norm)


def _clip_norm(grads: list[Tensor], max_norm: float, total_norm: Tensor) -> None:
    for xp, gs in _by_machine(grads).items():
        xp.clip_norm_([g.data for g in gs], total_norm.to(xp.name).data, float(max_norm))


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """g <- g min(1, max_norm / (|all g| + 1e-6)), in place; returns the norm before, of all gradients as one vector.

    Nothing is read back. Raises as `get_total_norm`. Source: Pascanu et al. 2013, as PyTorch.
    """
    grads = _grads("clip_grad_norm_", parameters)
    total = get_total_norm(grads, norm_type, error_if_nonfinite)
    _clip_norm(grads, max_norm, total)
    return total


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """g <- min(max(g, -clip_value), clip_value), in place."""
    for xp, gs in _by_machine(_grads("clip_grad_value_", parameters)).items():
        xp.clip_value_([g.data for g in gs], float(clip_value))


def _grads(name: str, parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    return [g for p in tensor_list(name, parameters) if (g := p.grad) is not None]


def _by_machine(tensors: Tensor | Iterable[Tensor]) -> dict[Any, list[Tensor]]:
    found: dict[Any, list[Tensor]] = {}
    for t in [tensors] if isinstance(tensors, Tensor) else tensors:
        found.setdefault(t.xp, []).append(t)
    return found


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
