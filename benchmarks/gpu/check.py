"""Is it right? A case's results beside those of PyTorch (where it is not installed: of the plain definitions, for what
is small) in a wider float, from the same inputs.

With eps half an ulp of the dtype, K products in a sum, and r the root mean square of what is wanted:

    root mean square of the errors  <=  bound r,  bound = 2 eps + (8 + K / 8) 2^-24      (+ 2^-10: TF32)
    every error                     <=  bound (4 |want| + 8 r)

Sums are float32: at random signs its errors grow as sqrt(K), K / 8 leaves room for tensor cores, which truncate. Where
rounding may put a number across a jump (`kinks`), one result in 10,000 may be off.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_fast.backend.cpu import CPU

from . import ours
from .case import Case

EPS = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float32": 2.0**-24}
MOST = 1 << 22  # elements that the plain definitions are asked about
BY_THEIR_LAW = ("dropout", "dropout_back", "uniform")  # no two libraries draw the same numbers


class Wrong(ValueError):
    """A result that no rounding explains."""


def bound(case: Case) -> float:
    return 2 * EPS[case.storage] + (8 + case.depth / 8) * 2.0**-24 + (2.0**-10 if case.dtype == "TF32" else 0)


def check(xp: Any, peer: Any, case: Case, arrays: list[np.ndarray], got: Any) -> str:
    """Raise Wrong for results that are; returns how close they are. peer: the module, or None."""
    got = list(got) if isinstance(got, (tuple, list)) else [got]
    if case.function in BY_THEIR_LAW:
        law = law_of_uniform if case.function == "uniform" else law_of_dropout
        return law(case, arrays[0], xp.to_numpy(got[0]))
    if peer is not None:
        found, wanted = [peer.seen(xp, a) for a in got], exactly(peer, case, arrays)
        exact = wanted[0].is_floating_point() and wanted[0].itemsize >= 4
        wide = wanted[0].dtype if exact else peer.torch.float64  # of places, too
        found, wanted = ([a.to(wide) for a in those] for those in (found, wanted))
    elif sum(a.size for a in arrays) <= MOST and case.flop <= 1e9:
        plain = [a.astype(np.float64) if a.dtype.kind not in "iu" else a for a in arrays]
        run = ours.ready(CPU(), case, ours.placed(CPU(), case, plain))
        wanted = run()
        wanted = [a.astype(np.float64) for a in (wanted if isinstance(wanted, tuple) else [wanted])]
        found = [xp.to_numpy(a).astype(np.float64) for a in got]
    else:
        return "unchecked: PyTorch is not installed"
    if len(found) != len(wanted):
        raise Wrong(f"{len(found)} results, {len(wanted)} wanted")
    return f"{max(close(case, i, a, b) for i, (a, b) in enumerate(zip(found, wanted, strict=True))):.2f} of the bound"


def exactly(peer: Any, case: Case, arrays: list[np.ndarray]) -> list[Any]:
    """PyTorch's results: in float64 for float32, in float32 for 16 bits, which is exact to 13 bits more."""
    kind = peer.torch.float64 if case.storage == "float32" else peer.torch.float32
    given = [t.to(kind) if t.is_floating_point() else t for t in peer.placed(case, arrays)]
    with peer.exactly(tf32=False, search=False):
        results = peer.ready(case, given)()
    results = list(results) if isinstance(results, (tuple, list)) else [results]
    return [t.detach() for t in results]


def close(case: Case, i: int, got: Any, want: Any) -> float:
    """How much of its bound an error takes. Arrays of NumPy or tensors."""
    if tuple(got.shape) != tuple(want.shape):
        raise Wrong(f"result {i}: shape {tuple(got.shape)}, wanted {tuple(want.shape)}")
    error, allowed, r = abs(got - want), bound(case), float((want * want).mean()) ** 0.5
    most = float((error / (4 * abs(want) + 8 * r + 1e-30)).max())
    off = float((~(error <= allowed * (4 * abs(want) + 8 * r))).sum())  # counts NaN
    if off > 1e-4 * math.prod(error.shape) * case.kinks:
        raise Wrong(
            f"result {i}: {off:.0f} numbers are off, the worst by {most / allowed:.3g} times what rounding allows"
        )
    if case.kinks:
        return min(most / allowed, 1.0)
    share = float((error * error).mean()) ** 0.5 / (allowed * r + 1e-30)
    if not share <= 1:
        raise Wrong(f"result {i}: errors are {share:.3g} times what rounding allows (root mean square)")
    return max(share, most / allowed)


def law_of_dropout(case: Case, x: np.ndarray, y: np.ndarray) -> str:
    """0, or x / (1 - p); the first with probability p, to five standard deviations."""
    x, y, p = x.astype(np.float32), y.astype(np.float32), case.static["p"]
    kept = y != 0
    if not (abs(np.where(kept, y - x / (1 - p), 0)) <= bound(case) * abs(x) / (1 - p)).all():
        raise Wrong("a number is neither 0 nor x / (1 - p)")
    share, spread = float(kept[x != 0].mean()), (p * (1 - p) / x.size) ** 0.5
    if not abs(share - (1 - p)) <= 5 * spread:
        raise Wrong(f"{share:.6f} of the numbers were kept; {1 - p} +- {5 * spread:.6f} should be")
    return f"{share:.4f} kept"


def law_of_uniform(case: Case, x: np.ndarray, y: np.ndarray) -> str:
    """From 0 on and below 1, with the mean of such numbers, to five standard deviations."""
    mean, spread = float(y.mean(dtype=np.float64)), (12 * y.size) ** -0.5
    if not (y.shape == x.shape and 0 <= y.min() and y.max() < 1 and abs(mean - 0.5) <= 5 * spread):
        raise Wrong(f"numbers from {y.min()} to {y.max()} with the mean {mean:.6f}; 0.5 +- {5 * spread:.6f} should be")
    return f"mean {mean:.4f}, as its law has it"


def check_captured(captured: list[float], plain: list[float]) -> None:
    """A step as a CUDA graph is the step, to the last bit."""
    if captured != plain:
        shown = ", ".join(f"{a:.9g}" for a in captured), ", ".join(f"{b:.9g}" for b in plain)
        raise Wrong(f"losses {shown[0]} captured, {shown[1]} as it is: they must be equal")


def check_step(case: Case, ours: list[float], theirs: list[float]) -> str:
    """The first losses of a training step, which nothing but rounding may move."""
    far = max(abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=True))
    allowed = 0.02 if case.dtype == "float16" else 1e-3
    if not far <= allowed:
        shown = ", ".join(f"{a:.5g}" for a in ours), ", ".join(f"{b:.5g}" for b in theirs)
        raise Wrong(f"losses {shown[0]}; PyTorch has {shown[1]}: more than {allowed} apart")
    return f"losses {far:.1e} apart"
