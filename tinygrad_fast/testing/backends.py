"""Laws that look at an op through the backend it is given.

A `Through` is a backend that stands in front of another: definitions are inherited from `Composed`, and every primitive
passes by. `Opaque` lets nothing of an array be seen, `Noisy` adds the rounding of a smaller float; the machines proper
come from the registry.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from .. import backend, dtypes
from ..backend import Composed
from .row import Case
from .run import LawError, Run, close, like, numpy, require

EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
MOST = {"float64": 2.0**1023, "float32": 2.0**127, "float16": 65504.0, "bfloat16": 2.0**127}  # beyond it inf is right
LEAST = {"float64": 2.0**-1022, "float32": 2.0**-126, "float16": 2.0**-24, "bfloat16": 2.0**-126}  # flushed or not


class Through(Composed):
    """A backend in front of `base`: primitives go there by way of `primitive`, definitions are inherited."""

    def __init__(self, base: Any):
        self.base = base

    def __getattr__(self, name: str) -> Any:
        f = getattr(self.base, name)
        return self.primitive(name, f) if callable(f) and name != "array" else f

    def primitive(self, name: str, f: Callable) -> Callable:
        raise NotImplementedError


class Shut:
    """An array that has a shape, a dtype and a number of axes: no operators, no methods, no elements."""

    __slots__ = ("_held",)

    def __init__(self, held: Any):
        self._held = held
        if isinstance(held, np.ndarray):  # shut for the backend too: it may write to what it allocates only
            self._held = held.view()
            self._held.flags.writeable = False

    @property
    def shape(self) -> tuple[int, ...]:
        return self._held.shape

    @property
    def dtype(self) -> np.dtype:
        return self._held.dtype

    @property
    def ndim(self) -> int:
        return self._held.ndim


def _open(a: Any) -> Any:
    return a._held if isinstance(a, Shut) else tuple(map(_open, a)) if type(a) is tuple else a


class Opaque(Through):
    """A machine whose arrays show only shape, dtype and ndim, as those of a GPU might: ops must compute through xp."""

    array = Shut

    def primitive(self, name: str, f: Callable) -> Callable:
        def call(*arrays: Any, **static: Any) -> Any:
            return self._shut(f(*map(_open, arrays), **{k: _open(v) for k, v in static.items()}))

        return call

    def _shut(self, a: Any) -> Any:
        if type(a) is tuple:
            return tuple(map(self._shut, a))
        return Shut(a if isinstance(a, self.base.array) else self.base.asarray(a))

    def to_numpy(self, a: Shut) -> np.ndarray:
        return self.base.to_numpy(_open(a))

    def is_view(self, y: Any, x: Any) -> bool:
        return y is x


class Noisy(Through):
    """float64 arithmetic in which every result is off by a random part of `eps`: what rounding to fewer bits does.

    Monte Carlo arithmetic: Parker, "Monte Carlo Arithmetic: exploiting randomness in floating-point arithmetic" (1997).
    """

    array = np.ndarray
    exact: ClassVar[set[str]] = {  # what moves or chooses numbers rounds nothing
        *("asarray", "to_numpy", "full", "copy", "own", "cast", "where", "one_hot", "getitem", "gather"),
        *("reshape", "permute", "swap", "expand", "flip", "pad", "cat"),
        *("neg", "abs", "sign", "floor", "ceil", "round", "clip", "maximum", "minimum", "amax", "amin"),
    }

    def __init__(self, base: Any):
        super().__init__(base)
        self.rng, self.eps = np.random.default_rng(0), 0.0
        self.called: set[str] = set()

    def primitive(self, name: str, f: Callable) -> Callable:
        def call(*arrays: Any, **static: Any) -> Any:
            self.called.add(name)
            return self.disturbed(f(*arrays, **static))

        return f if name in self.exact else call

    def disturbed(self, a: Any) -> Any:
        if type(a) is tuple:
            return tuple(map(self.disturbed, a))
        if not hasattr(a, "dtype") or not dtypes.is_float(a.dtype):
            return a
        return np.asarray(a * (1 + self.eps * self.rng.uniform(-1, 1, a.shape)))

    def is_view(self, y: Any, x: Any) -> bool:
        return y is x


backend.register("noisy", lambda: Noisy(backend.CPU()))
HELPERS = {"plain", "noisy"}


def shut(device: str) -> str:
    """The name of the machine that is `device` behind an `Opaque`."""
    name = f"opaque {device}"
    if name not in HELPERS:
        HELPERS.add(name)
        backend.register(name, lambda: Opaque(backend.get("plain" if device == "cpu" else device)))
    return name


def opaque(case: Case) -> None:
    """The function runs on arrays that show nothing but shape, dtype and ndim, are read-only, and gives the same."""
    want = Run(case)
    gs = like(case, want.values)
    try:
        run = Run(case, device=shut(case.device))
        pulled = run.pull(gs)
    except (AttributeError, TypeError, ValueError) as e:
        raise LawError(
            f"opaque: an op may read .shape, .dtype and .ndim of an array and nothing else, write to none that it was "
            f"given, and must compute through xp; got {type(e).__name__}: {e}\n  in {case!r}"
        ) from e
    for i, (a, b) in enumerate(zip(run.values, want.values, strict=True)):
        close("opaque", case, f"output {i}", a, b, 1e-10 * np.abs(b).max(initial=1))
    for i, a, b in zip(case.wanted, pulled, want.pull(gs), strict=True):
        close("opaque", case, f"gradient {i}", a, b, 1e-10 * np.abs(b).max(initial=1))


def machines() -> list[str]:
    """The devices that run here, without those made for tests."""
    return [name for name in backend.names() if name not in HELPERS and backend.why_not(name) == ""]


def backends(case: Case, devices: Sequence[str] = ()) -> None:
    """Value and gradients on a machine, in four floats, agree with float64 on the plain one.

    devices: several at once (`machines()` names all that run here) in place of that of the case.

    Inputs are rounded to the float first, so both sides start from the same numbers. Then each element may differ by

        k sqrt(L) (D + eps |y|),   k = 4, L = elements of the largest input (no sum is longer), eps = 2^(1 - bits)

    where D is how far the element moves when every intermediate result of a float64 run is disturbed by eps, the
    largest of `RUNS` such runs. D knows what cancels and what saturates, so no scale has to be guessed. In float32 a
    machine may claim a multiple of it for a name, with its reason (`Composed.rounding`). Such a name computes several
    elements together, and rounds a small one as its neighbours are: the mean over all elements is added.
    """
    for name in EPS:
        dtype = dtypes.dtype_of(name)
        arrays = [a.astype(dtype).astype(np.float64) if dtypes.is_float(a.dtype) else a for a in case.arrays]
        exact = Run(case, arrays, "plain")
        gs = [g.astype(dtype).astype(np.float64) for g in like(case, exact.values)]
        want = exact.values + exact.pull(gs)
        allowed, called = tolerance(case, arrays, gs, want, name)
        for device in devices or [case.device]:
            claims = backend.get(device).rounding if name == "float32" else {}
            claim = max((claims.get(n, 1.0) for n in called), default=1.0)
            run = Run(case, arrays, device, dtype)
            got = [numpy(y) for y in run.outs] + run.pull(gs)
            for i, (a, b, t) in enumerate(zip(got, want, allowed, strict=True)):
                require("backends", case, a.dtype == dtype, f"in {name}, result {i} on {device} is {a.dtype}")
                n = len(exact.outs)
                what = f"output {i}" if i < n else f"gradient {case.wanted[i - n]}"
                a = a.astype(np.float64)
                a = np.where((a == np.copysign(np.inf, b)) & (np.abs(b) + t >= MOST[name]), b, a)  # rightly overflown
                limit = t if claim == 1 else claim * t + t.mean()
                close("backends", case, f"{what} on {device} in {name}", a, b, limit)


RUNS, K = 4, 4.0


def tolerance(case: Case, arrays: list, gs: list, want: list, name: str) -> tuple[list[np.ndarray], set[str]]:
    """The error model of `backends`, element by element; and the names that were called."""
    noisy = backend.get("noisy")
    noisy.rng, noisy.eps, noisy.called = np.random.default_rng(case.seed), EPS[name], set()
    moved = [np.zeros(w.shape) for w in want]
    for _ in range(RUNS):
        run = Run(case, [noisy.disturbed(a) for a in arrays], "noisy")
        now = run.values + run.pull([noisy.disturbed(g) for g in gs])
        moved = [np.maximum(m, np.abs(a - w)) for m, a, w in zip(moved, now, want, strict=True)]
    length = max(max((a.size for a in arrays), default=1), 1)
    factor = K * float(np.sqrt(length))
    return [factor * (m + EPS[name] * np.abs(w) + LEAST[name]) for m, w in zip(moved, want, strict=True)], noisy.called
