"""`pad`: constant, reflect, replicate, circular. All but the first are slices of the input, joined to it."""

from __future__ import annotations

from collections.abc import Sequence

from ... import ops, shapes
from ...tensor import Tensor, apply, cat
from ...tensor.promote import cast_to, must_tensor


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """More elements around the input.

    pad: (before, after) of the last axis, then of the one before it, and so on: (left, right, top, bottom) for images.
    mode: "constant" puts `value` (0); a negative number there cuts off. "reflect" mirrors at the border element, which
    is not repeated (at most size - 1); "replicate" repeats it; "circular" goes on at the other end (at most size).
    Raises ValueError where there are more pairs than axes, or not enough elements to mirror.
    """
    must_tensor("pad", input)
    pad = shapes.ints("pad", pad)
    pairs = list(zip(pad[::2], pad[1::2]))
    if len(pad) % 2 or len(pairs) > input.ndim:
        raise ValueError(
            f"pad: needs (before, after) for each of the last axes, at most {input.ndim} pairs for an input of shape "
            f"{input.shape}; got {tuple(pad)}"
        )
    if mode == "constant":
        return _constant(input, pairs, 0 if value is None else value)
    if mode not in ("reflect", "replicate", "circular"):
        raise ValueError(f"pad: mode must be 'constant', 'reflect', 'replicate' or 'circular'; got {mode!r}")
    if value is not None:
        raise ValueError(f"pad: value belongs to mode='constant'; got value={value} with mode={mode!r}")
    for i, (before, after) in enumerate(pairs):
        axis = input.ndim - 1 - i
        n = input.shape[axis]
        limit = {"reflect": n - 1, "circular": n}.get(mode, max(before, after) if n else 0)
        if not 0 <= min(before, after) <= max(before, after) <= limit:
            raise ValueError(f"pad: {mode} takes 0..{limit} on an axis of {n}; got {(before, after)} for dim={axis}")
        input = _joined(input, axis, before, after, mode)
    return input


def _constant(x: Tensor, pairs: list[tuple[int, int]], value: float) -> Tensor:
    widths, window = [(0, 0)] * x.ndim, [slice(0, n) for n in x.shape]
    for i, (before, after) in enumerate(pairs):
        axis = x.ndim - 1 - i
        n = x.shape[axis]
        if n + before + after < 0 or min(n + before, n + after) < 0:
            raise ValueError(f"pad: cannot cut {(before, after)} off an axis of {n} (dim={axis})")
        widths[axis] = max(before, 0), max(after, 0)
        window[axis] = slice(max(-before, 0), n + min(after, 0))  # what is left of x
    if any(w != slice(0, n) for w, n in zip(window, x.shape)):
        x = x[tuple(window)]
    return apply(ops.pad, x, widths=tuple(widths), value=cast_to(value, x.dtype))


def _joined(x: Tensor, axis: int, before: int, after: int, mode: str) -> Tensor:
    """What `mode` puts before and after, and x between them."""
    n = x.shape[axis]

    def part(start: int, length: int) -> Tensor:
        return x.narrow(axis, start, length)

    if mode == "replicate":
        return cat([part(0, 1)] * before + [x] + [part(n - 1, 1)] * after, axis)
    if mode == "reflect":
        sides = part(1, before).flip(axis), part(n - 1 - after, after).flip(axis)
    else:
        sides = part(n - before, before), part(0, after)
    return cat([t for t, wanted in ((sides[0], before), (x, True), (sides[1], after)) if wanted], axis)
