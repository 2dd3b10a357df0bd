"""Gradients as a function: `grad`, and the modes that decide what is recorded.

`backward()` writes into `.grad`; `grad` returns, and with `create_graph=True` returns something that can be
differentiated again. The engine is `tape.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from . import tape
from .tensor import OnTensors, Tensor, wrap
from .tensor.promote import tensor_list


def no_grad(function: Callable | None = None) -> Any:
    """Record nothing in this thread: `with tf.no_grad():`, or a decorator, `@tf.no_grad()` or `@tf.no_grad`."""
    off = tape.setting(record=False)
    return off if function is None else off(function)


def enable_grad() -> tape.setting:
    """Record again, inside a `no_grad` block."""
    return tape.setting(record=True)


def is_grad_enabled() -> bool:
    """True where ops are recorded."""
    return tape.mode.record


def higher() -> tape.setting:
    """Record what second derivatives need: nodes then keep all their inputs.

    Run the forward pass inside it, then `grad(..., create_graph=True)`. Costs memory (inputs that a pullback alone
    would not have kept) and, for each op that is differentiated twice, one more run of its forward.
    """
    return tape.setting(higher=True)


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Tensor | None, ...]:
    """The sum over outputs of grad_output^T doutput/dinput, for each of `inputs`; `.grad` is not touched.

    outputs, inputs: a Tensor or several; grad_outputs: dL/doutput for each, 1 for those with a single element.
    create_graph: the results can be differentiated themselves (the forward pass ran inside `higher()`).
    Raises RuntimeError for an input that the outputs do not depend on; with `allow_unused` its gradient is None.
    """
    ys, xs = tensor_list("grad", outputs), tensor_list("grad", inputs)
    gs = [grad_outputs] * len(ys) if grad_outputs is None or isinstance(grad_outputs, Tensor) else list(grad_outputs)
    if len(gs) != len(ys):
        raise RuntimeError(f"grad: needs one grad_output for each output; got {len(gs)} for {len(ys)}")
    for x in xs:
        if x.node is None:
            raise RuntimeError("grad: every input must require grad; call requires_grad_() before the forward pass")
    wanted = {x.node for x in xs}
    roots = [(y, y._seed(g, "grad")) for y, g in zip(ys, gs) if y.node is not None]
    if not roots:
        raise RuntimeError("grad: none of the outputs requires grad: they were not made from the inputs")
    retain = create_graph if retain_graph is None else retain_graph
    if create_graph:
        with tape.setting(record=True, higher=True, autocast=None):
            found = tape.walk([(y.node, g) for y, g in roots], retain, OnTensors(ys[0].xp), wanted)
    else:
        arrays = tape.walk([(y.node, g.data) for y, g in roots], retain, only=wanted)
        found = {n: wrap(n.xp.copy(a), n.xp, [0]) for n, a in arrays.items()}  # memory of their own
    results = tuple(found.get(x.node) for x in xs)
    if not allow_unused and any(r is None for r in results):
        missing = [i for i, r in enumerate(results) if r is None]
        raise RuntimeError(
            f"grad: the outputs do not depend on inputs {missing}; pass allow_unused=True to get None there"
        )
    return results
