"""A function at one point, as NumPy sees it: its values, and its pullback. What every law is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import backend
from ..autograd import grad
from ..dtypes import is_float
from ..tensor import Tensor, wrap
from . import memory
from .row import Case

Arrays = Sequence[np.ndarray]
backend.register("plain", backend.CPU)  # the specification, whatever machine answers to "cpu"


class LawError(AssertionError):
    """A gradient that breaks a law: which law, of what, by how much."""


def tensor(a: np.ndarray, device: str, dtype: Any = None, wanted: bool = False) -> Tensor:
    """A Tensor on the array's own memory where the device allows it, and else on memory in the same order."""
    xp = backend.get(device)
    if dtype is not None and is_float(a.dtype):
        a = a.astype(dtype, copy=False)  # order K
    t = wrap(memory.on(xp, a), xp, [0])
    return t.requires_grad_() if wanted else t


def outputs(y: Any) -> list[Tensor]:
    """The Tensors among the results that carry a gradient."""
    many = y if isinstance(y, (tuple, list)) else (y,)
    return [t for t in many if isinstance(t, Tensor) and t.requires_grad]


def numpy(t: Tensor) -> np.ndarray:
    """The values of a Tensor, in whatever memory order they lie."""
    return np.asarray(t.xp.to_numpy(t.data))


class Run:
    """f(x) for the arrays x of a case (or `arrays` in their place): `values`, and `pull(gs)`, one gradient an input.

    device: where, if not on that of the case.
    """

    def __init__(self, case: Case, arrays: Arrays | None = None, device: str = "", dtype: Any = None):
        given = case.arrays if arrays is None else arrays
        self.device = device or case.device
        self.inputs = [tensor(a, self.device, dtype, i in case.wanted) for i, a in enumerate(given)]
        try:
            self.result = case.row.call(*self.inputs, **case.static)
        except RuntimeError as e:
            if "on one device" not in str(e):
                raise
            raise LawError(
                f"{case!r}: a law runs the function on several machines, so all its tensors must be arguments, a "
                f"layer's parameters too. Write prove(F.linear, x, weight, bias), not prove(layer, x). {e}"
            ) from None
        self.outs = outputs(self.result)
        if not self.outs:
            raise LawError(f"{case!r}: no output carries a gradient, so there is nothing to check")
        self.wanted = [self.inputs[i] for i in case.wanted]
        self.seeds: list[Tensor] = []  # g, as the last `pull` handed it over

    @property
    def values(self) -> list[np.ndarray]:
        return [numpy(y) for y in self.outs]

    def pull(self, gs: Arrays, only: int | None = None) -> list[np.ndarray]:
        """dL/dx for each differentiable x (or the `only` one asked for), from dL/dy for each y: 0 if not reached."""
        self.seeds = [tensor(g, self.device, y.dtype) for g, y in zip(gs, self.outs, strict=True)]
        xs = self.wanted if only is None else [self.wanted[only]]
        found = grad(self.outs, xs, self.seeds, retain_graph=True, allow_unused=True)
        return [np.zeros(x.shape, x.dtype) if d is None else numpy(d) for d, x in zip(found, xs)]


def values(case: Case, arrays: Arrays) -> list[np.ndarray]:
    """f(x) alone."""
    return Run(case, arrays).values


def moved(case: Case, which: int, by: np.ndarray) -> list[np.ndarray]:
    """The arrays of a case with `by` added to input `which`."""
    return [a + by if i == which else a for i, a in enumerate(case.arrays)]


def like(case: Case, arrays: Arrays, stream: int = 0) -> list[np.ndarray]:
    """Normal arrays of the same shapes: directions and gradients, the same for the same case."""
    rng = np.random.default_rng((case.seed, stream))
    return [np.asarray(rng.standard_normal(a.shape)) for a in arrays]


def require(law: str, case: Case, holds: bool, text: str) -> None:
    """Raise LawError with `text` where a law does not hold."""
    if not holds:
        raise LawError(f"{law}: {text}\n  in {case!r}")


def close(law: str, case: Case, what: str, got: np.ndarray, want: np.ndarray, tolerance: Any) -> None:
    """|got - want| <= tolerance everywhere. Written `not (error <= tolerance)`: NaN never passes."""
    require(law, case, got.shape == want.shape, f"{what} must have shape {want.shape}; got {got.shape}")
    if not want.size:
        return
    wrong = ~(np.abs(got - want) <= tolerance)
    if wrong.any():
        error = np.where(wrong, np.nan_to_num(np.abs(got - want) / np.maximum(tolerance, 1e-300), nan=np.inf), 0)
        at = np.unravel_index(int(np.argmax(error)), want.shape)
        allowed = np.broadcast_to(tolerance, want.shape)[at]
        raise LawError(
            f"{law}: {what} must be {want[at]:.9g} to {allowed:.1e}; got {got[at]:.9g}"
            + (f" at {tuple(map(int, at))} of {want.shape}" if want.ndim else "")
            + f" ({int(wrong.sum())} of {want.size} wrong)\n  in {case!r}"
        )
