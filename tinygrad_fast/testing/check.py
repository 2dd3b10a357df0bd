"""`gradcheck` and `gradgradcheck`: is this gradient right? Every element of the Jacobian, against differences.

For one's own functions, with PyTorch's names and defaults. The laws (`laws.py`) are sharper and faster; this says
which element is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..autograd import grad, higher
from ..dtypes import float64
from ..tensor import Tensor
from .run import numpy, outputs, tensor


class GradcheckError(RuntimeError):
    """The analytic and the numeric gradient differ: where, and by how much."""


def gradcheck(
    fn: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
) -> bool:
    """True if each dy/dx of `fn(*inputs)` is within atol + rtol |numeric| of (y(x + eps) - y(x - eps)) / 2 eps.

    fn: a function of Tensors that returns a Tensor or several. inputs: its arguments; the Tensors that require grad
    are checked, and must be float64: differences in float32 have no digits left. eps: the step, for every element.
    Raises GradcheckError with the input, the element, and both numbers (or returns False without `raise_exception`).
    Away from kinks and ties only: at x = 0 relu has no slope to compare with. As `torch.autograd.gradcheck`.
    """
    args = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    checked = [i for i, t in enumerate(args) if isinstance(t, Tensor) and t.requires_grad]
    if not checked:
        raise ValueError("gradcheck: no input requires grad; write x.requires_grad_() for those to be checked")
    for i in checked:
        if args[i].dtype != float64:
            raise ValueError(f"gradcheck: inputs must be float64; input {i} is {args[i].dtype}. Write x.double()")
    outs = outputs(fn(*args))
    if not outs:
        raise ValueError("gradcheck: no output of fn requires grad: nothing of it was made from the inputs")
    try:
        for i in checked:
            _compare(i, _analytic(outs, args[i]), _numeric(fn, args, i, eps, len(outs)), atol, rtol)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def gradgradcheck(
    fn: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    grad_outputs: Tensor | Sequence[Tensor] | None = None,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
) -> bool:
    """`gradcheck` of the gradient itself: second derivatives, in the inputs and in grad_outputs.

    grad_outputs: dL/dy for each output, random by default. The arguments are otherwise those of `gradcheck`.
    """
    args = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    checked = [i for i, t in enumerate(args) if isinstance(t, Tensor) and t.requires_grad]
    if grad_outputs is None:
        rng = np.random.default_rng(0)
        ys = outputs(fn(*args))
        seeds = [tensor(np.asarray(rng.standard_normal(y.shape)), str(y.device), wanted=True) for y in ys]
    else:
        given = [grad_outputs] if isinstance(grad_outputs, Tensor) else list(grad_outputs)
        seeds = [g.detach().clone().requires_grad_() for g in given]

    def first(*both: Any) -> tuple[Tensor, ...]:
        given, gs = both[: len(args)], both[len(args) :]
        with higher():
            found = grad(
                outputs(fn(*given)), [given[i] for i in checked], list(gs), create_graph=True, allow_unused=True
            )
        return tuple(d for d in found if d is not None and d.requires_grad)

    return gradcheck(first, [*args, *seeds], eps, atol, rtol, raise_exception)


def _analytic(outs: list[Tensor], x: Tensor) -> list[np.ndarray]:
    """dy/dx for each y, (elements of y, elements of x): a row is one walk with a single 1 for gradient."""
    found = []
    for y in outs:
        rows = np.zeros((y.numel(), x.numel()))
        for k in range(y.numel()):
            one = np.zeros(y.numel())
            one[k] = 1
            seed = tensor(one.reshape(y.shape), str(y.device), y.dtype)
            (d,) = grad(y, x, seed, retain_graph=True, allow_unused=True)
            rows[k] = 0 if d is None else numpy(d).reshape(-1)
        found.append(rows)
    return found


def _numeric(fn: Callable, args: list, which: int, eps: float, n: int) -> list[np.ndarray]:
    """The same table from two runs of `fn` for each element of x."""
    x = numpy(args[which])
    columns = []
    for k in range(x.size):
        ends = []
        for step in (eps, -eps):
            near = np.array(x, order="C")
            near.reshape(-1)[k] += step
            t = tensor(near, str(args[which].device), wanted=True)
            ends.append([numpy(y).reshape(-1) for y in outputs(fn(*args[:which], t, *args[which + 1 :]))])
        if len(ends[0]) != n:
            raise ValueError(f"gradcheck: fn must return as many outputs each time; got {n}, then {len(ends[0])}")
        columns.append([(a - b) / (2 * eps) for a, b in zip(*ends, strict=True)])
    return [np.stack([c[i] for c in columns], 1) if columns else np.zeros((0, 0)) for i in range(n)]


def _compare(which: int, analytic: list[np.ndarray], numeric: list[np.ndarray], atol: float, rtol: float) -> None:
    for output, (a, b) in enumerate(zip(analytic, numeric, strict=True)):
        if not a.size:
            continue
        wrong = ~(np.abs(a - b) <= atol + rtol * np.abs(b))  # NaN is wrong
        if wrong.any():
            error = np.where(wrong, np.nan_to_num(np.abs(a - b), nan=np.inf), -1)
            row, column = (int(k) for k in np.unravel_index(int(np.argmax(error)), a.shape))
            raise GradcheckError(
                f"gradcheck: d output {output} / d input {which}: {int(wrong.sum())} of {wrong.size} elements differ; "
                f"most of all element {row} of the output by element {column} of the input (flat indices): "
                f"analytic {a[row, column]:.9g}, numeric {b[row, column]:.9g}, "
                f"allowed {atol:g} + {rtol:g} |numeric|. Check the formula of the pullback, a forgotten factor, "
                "and that the input is away from kinks"
            )
