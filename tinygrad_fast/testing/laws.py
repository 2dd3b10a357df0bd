"""The laws a gradient obeys, each a function of one `Case`: it returns, or raises LawError.

f is the function, x its inputs, y = f(x); g = dL/dy; pull(g) = dL/dx, what the pullbacks make of g. All in float64.

    slope       <g, (f(x + h v) - f(x - h v)) / 2h> = <pull(g), v>     for a random direction v of each input
    linearity   pull(a g1 + g2) = a pull(g1) + pull(g2)
    adjoint     <g, f(x + v) - f(x)> = <pull(g), v>                    where f is affine: exact, no h
    purity      inputs and g are not written to; asked twice, or for one input alone, it answers the same; and what
                it returns is its own
    layout      the memory order of x and of g does not matter; channels-last stays channels-last
    hessian     second derivatives agree with differences of first ones

`opaque` and `backends` stand in backends.py. Together they leave a wrong gradient nowhere to hide: slope sees its
value, linearity what it kept from the last call, purity what it wrote, layout what it assumed, hessian what it hid
from the tape. Next on the way: `backends.py`, then `mutations.py`, which tries to fool them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..autograd import grad, higher
from ..dtypes import float64
from ..tensor import Tensor
from . import memory
from .row import Case
from .run import Arrays, Run, close, like, moved, numpy, outputs, require, tensor, values

H = 1e-5  # truncation h^2 f'''/6 about 1e-10, rounding 1e-16/h = 1e-11, for values of order 1
TOLERANCE = 1e-6  # of the sizes that enter: four digits above those errors, four below an error of 1 %
EXACT = 1e-10  # where both sides are the same sums in another order
ROUNDING = 1e-11  # of g: what is left of a gradient in which everything cancels


def inner(us: Arrays, vs: Arrays) -> np.ndarray:
    """<u, v>, summed over all arrays."""
    return np.asarray(sum((u * v).sum() for u, v in zip(us, vs, strict=True)))


def size(us: Arrays, vs: Arrays) -> float:
    """<|u|, |v|>: how large the inner product could be, had nothing cancelled."""
    return float(inner([np.abs(u) for u in us], [np.abs(v) for v in vs]))


def slope(case: Case) -> None:
    """<g, (f(x + h v) - f(x - h v)) / 2h> = <pull(g), v>, for each input x by itself."""
    run = Run(case)
    gs = like(case, run.values)
    pulled = run.pull(gs)
    for i, d, v in zip(case.wanted, pulled, like(case, pulled, 1), strict=True):
        up, down = values(case, moved(case, i, H * v)), values(case, moved(case, i, -H * v))
        quotient = [(a - b) / (2 * H) for a, b in zip(up, down, strict=True)]
        allowed = TOLERANCE * (size(gs, quotient) + size([d], [v])) + 1e-9
        close("slope", case, f"<pull(g), v> of input {i}", inner([d], [v]), inner(gs, quotient), allowed)


def linearity(case: Case) -> None:
    """pull(a g1 + g2) = a pull(g1) + pull(g2), on one graph: nothing of g1 may be left when g2 comes."""
    run, a = Run(case), 1.7
    g1, g2 = like(case, run.values), like(case, run.values, 1)
    d1, d2 = run.pull(g1), run.pull(g2)
    both = run.pull([a * u + v for u, v in zip(g1, g2)])
    for i, d, u, v in zip(case.wanted, both, d1, d2, strict=True):
        scale = np.abs(u).max(initial=0) + np.abs(v).max(initial=0)
        allowed = EXACT * scale + ROUNDING * max(np.abs(g).max(initial=0) for g in g1 + g2)
        close("linearity", case, f"pull(a g1 + g2) of input {i}", d, a * u + v, allowed)


def adjoint(case: Case) -> None:
    """<g, f(x + v) - f(x)> = <pull(g), v>, for each input in which f is affine (`Row.linear`)."""
    run = Run(case)
    y = run.values
    gs = like(case, y)
    pulled = run.pull(gs)
    for i, d, v in zip(case.wanted, pulled, like(case, pulled, 1), strict=True):
        if case.row.linear is not True and i not in (case.row.linear or ()):
            continue
        step = [b - a for a, b in zip(y, values(case, moved(case, i, v)), strict=True)]
        allowed = EXACT * (size(gs, step) + size([d], [v]) + size(gs, y)) + 1e-300
        close("adjoint", case, f"<pull(g), v> of input {i}", inner([d], [v]), inner(gs, step), allowed)


def purity(case: Case) -> None:
    """Nothing that came in is written; the same question has the same answer; the answer belongs to who asked."""
    given = [a.copy() for a in case.arrays]
    run = Run(case)
    y = [v.copy() for v in run.values]
    gs = like(case, y)
    kept = [g.copy() for g in gs]
    first = [d.copy() for d in run.pull(gs)]
    again = run.pull(gs)
    for i, x, d in zip(case.wanted, run.wanted, first, strict=True):
        require("purity", case, d.shape == x.shape, f"gradient {i} must have shape {x.shape}; got {d.shape}")
        require("purity", case, d.dtype == x.dtype, f"gradient {i} must have dtype {x.dtype}; got {d.dtype}")

    def same(what: str, now: Arrays, before: Arrays) -> None:
        for i, (a, b) in enumerate(zip(now, before, strict=True)):
            require("purity", case, np.array_equal(a, b, equal_nan=a.dtype.kind == "f"), f"{what} {i} was changed")

    same("input", [numpy(x) for x in run.inputs], given)
    same("output", run.values, y)
    same("g", [numpy(seed) for seed in run.seeds], kept)
    same("the answer to the same question, for input", again, first)
    same("the value of a second run, output", Run(case).values, y)
    if len(first) > 1:
        alone = [Run(case).pull(gs, k)[0] for k in range(len(first))]
        same("the gradient asked for alone, of input", alone, first)
    _belongs(case, gs, first)


def _belongs(case: Case, gs: Arrays, want: Arrays) -> None:
    """`.grad` is the caller's: filled with NaN, it spoils no saved array, no other gradient and no second answer."""
    run = Run(case)
    total = _dot(case, run.outs, gs)
    for turn in ("first", "second"):
        for x in run.wanted:
            x.grad = None
        total.backward(retain_graph=True)
        for i, x, d in zip(case.wanted, run.wanted, want, strict=True):
            got = np.zeros(x.shape) if x.grad is None else x.grad.numpy()
            close("purity", case, f".grad of input {i} after the {turn} walk", got, d, EXACT * np.abs(d).max(initial=0))
            if x.grad is not None:
                x.grad.fill_(float("nan"))


def layout(case: Case) -> None:
    """x and g in every memory order give the same; channels-last in gives channels-last out, and back."""
    plain = [memory.lay(a, "C") for a in case.arrays]
    gs = like(case, Run(case, plain).values)
    for order in memory.ORDERS:
        _same_in(case, plain, gs, order)
    for axis in range(max((a.ndim for a in plain), default=0)):
        views = [memory.spread(a, axis) if axis < a.ndim and a.dtype.kind == "f" else a for a in plain]
        spread = [memory.spread(g, axis) if axis < g.ndim else g for g in gs]
        _compare(case, f"spread along axis {axis}", views, spread)


def _same_in(case: Case, plain: Arrays, gs: Arrays, order: str) -> None:
    run = _compare(case, f"in order {order}", [memory.lay(a, order) for a in plain], [memory.lay(g, order) for g in gs])
    images = [i for i in case.wanted if case.row.images is None or i in case.row.images]
    first = next((plain[i] for i in images if plain[i].ndim == 4), None)
    if order != "channels_last" or not _is_told(plain, first, run.values):
        return
    for i, y in enumerate(t.data for t in run.outs):  # where they are: what brings them here may change the order
        kept = y.ndim != 4 or memory.is_channels_last(y)
        require("layout", case, kept, f"output {i} of channels-last inputs has strides {y.strides}")
    if not all(memory.has_order(g) for g in gs):
        return  # a gradient without an order of its own: a pullback need not remember that of x
    arrived: list[Tensor] = []
    for i, x in zip(case.wanted, run.wanted):
        if i in images and x.ndim == 4:
            x.register_hook(arrived.append)  # as the pullback made it: what `grad` returns is a copy
    run.pull([memory.lay(g, order) for g in gs])
    for d in (t.data for t in arrived):
        kept = memory.is_channels_last(d)
        require("layout", case, kept, f"a gradient {d.shape} of channels-last inputs has strides {d.strides}")


def _is_told(arrays: Arrays, first: np.ndarray | None, outs: Arrays) -> bool:
    """Must channels-last survive? Where the first image has it, was not broadcast, and no matrix brings its own."""
    matrices = any(a.ndim != 4 and sum(n > 1 for n in a.shape) > 1 for a in arrays)
    if first is None or matrices or not memory.has_order(first):
        return False
    return not any(n == 1 < m for y in outs if y.ndim == 4 for n, m in zip(first.shape, y.shape))


def _compare(case: Case, how: str, arrays: Arrays, gs: Arrays) -> Run:
    """The run on arrays laid out in some way, held to the run on copies in order C."""
    want, run = Run(case, [memory.lay(a, "C") for a in arrays]), Run(case, arrays)
    pulled = run.pull(gs)
    for i, (a, b) in enumerate(zip(run.values, want.values, strict=True)):
        close("layout", case, f"output {i} of inputs {how}", a, b, EXACT * np.abs(b).max(initial=1))
    for i, a, b in zip(case.wanted, pulled, want.pull([memory.lay(g, "C") for g in gs]), strict=True):
        close("layout", case, f"gradient {i} of inputs {how}", a, b, EXACT * np.abs(b).max(initial=1))
    return run


def hessian(case: Case) -> None:
    """Second derivatives of L(x, g) = <g, f(x)> in x and g together, against differences of its first derivatives.

    g is a variable as well, so the pullback of every pullback is exercised, also where f is linear in x.
    """
    ys = Run(case).values
    gs = like(case, ys)
    points = [case.arrays[i] for i in case.wanted] + gs
    vs = like(case, points, 1)

    def first(step: float) -> list[np.ndarray]:
        at = [p + step * v for p, v in zip(points, vs, strict=True)]
        arrays = list(case.arrays)
        for i, a in zip(case.wanted, at):
            arrays[i] = a
        run = Run(case, arrays)
        return run.pull(at[len(case.wanted) :]) + run.values

    numeric = [(a - b) / (2 * H) for a, b in zip(first(H), first(-H), strict=True)]
    with higher():
        inputs = [tensor(a, case.device, wanted=i in case.wanted) for i, a in enumerate(case.arrays)]
        seeds = [tensor(g, case.device, wanted=True) for g in gs]
        total = _dot(case, outputs(case.row.call(*inputs, **case.static)), seeds)
        variables = [inputs[i] for i in case.wanted] + seeds
        ds = grad(total, variables, create_graph=True, allow_unused=True)
        along = _dot(case, [d for d in ds if d is not None], [v for v, d in zip(vs, ds) if d is not None])
        second = grad(along, variables, allow_unused=True) if along.requires_grad else (None,) * len(variables)
    for i, (found, want) in enumerate(zip(second, numeric, strict=True)):
        what = f"input {case.wanted[i]}" if i < len(case.wanted) else f"g {i - len(case.wanted)}"
        got = np.zeros(want.shape) if found is None else found.numpy()
        scale = max(float(np.abs(n).max(initial=0)) for n in numeric)
        close("hessian", case, f"the second derivative in {what}", got, want, TOLERANCE * scale + 1e-8)


def _dot(case: Case, us: list[Tensor], vs: Sequence[Tensor | np.ndarray]) -> Tensor:
    """<u, v> as a Tensor."""
    total = tensor(np.zeros((), float64), case.device)
    for u, v in zip(us, vs, strict=True):
        total = total + (u * (v if isinstance(v, Tensor) else tensor(v, case.device))).sum()
    return total
