"""Hypothesis strategies: shapes, pairs that broadcast, axes, geometry of windows, memory orders; and `cases(row)`.

The only file of the library that imports hypothesis, a dependency of tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings, strategies as st

from ..shapes import Shape
from .memory import ORDERS, lay
from .row import Case, Row
from .values import Fill

# So that a file of rows imports one name
integers, booleans, sampled_from, permutations = st.integers, st.booleans, st.sampled_from, st.permutations


@st.composite
def shapes(
    draw: Any, min_dims: int = 0, max_dims: int = 4, min_side: int = 1, max_side: int = 4, limit: int = 100
) -> Shape:
    """A shape of at most `limit` elements."""
    sides: list[int] = []
    for _ in range(draw(st.integers(min_dims, max_dims))):
        room = max(limit // max(prod(sides), 1), min_side)
        sides.append(draw(st.integers(min_side, min(max_side, room))))
    return tuple(sides)


@st.composite
def broadcastable(draw: Any, n: int = 2, max_dims: int = 4, max_side: int = 4) -> tuple[Shape, ...]:
    """n shapes that broadcast together: some axes are 1, some leading ones missing."""
    whole = draw(shapes(max_dims=max_dims, max_side=max_side))
    found = []
    for _ in range(n):
        kept = tuple(side if draw(st.booleans()) else 1 for side in whole)
        found.append(kept[draw(st.integers(0, len(whole))) :] if draw(st.booleans()) else kept)
    if draw(st.booleans()):
        found[draw(st.integers(0, n - 1))] = whole  # often one of them is as large as the result
    return tuple(found)


def axis(ndim: int) -> st.SearchStrategy[int]:
    """One axis of `ndim`, counted from either end."""
    return st.integers(-ndim, ndim - 1) if ndim else st.sampled_from([0, -1])


@st.composite
def axes(draw: Any, ndim: int) -> int | Shape | None:
    """What a reduction takes for `dim`: None, an int, or several axes in any order and sign."""
    kind = draw(st.sampled_from(["all", "one", "some"])) if ndim else "all"
    if kind == "all":
        return None
    if kind == "one":
        return draw(axis(ndim))
    some = draw(st.lists(st.integers(0, ndim - 1), min_size=1, max_size=ndim, unique=True))
    return tuple(i - ndim * draw(st.integers(0, 1)) for i in some)


def orders(ndim: int) -> st.SearchStrategy[str]:
    """A memory order for an array of `ndim` axes."""
    return st.sampled_from([o for o in ORDERS if ndim >= {"swapped": 2, "channels_last": 3}.get(o, 0)])


@dataclass(frozen=True)
class Windows:
    """The geometry of a convolution or a pool that fits: shapes, and options as tuples, one number an axis."""

    x: Shape  # (N, C, *sizes)
    w: Shape  # (O, C / groups, *kernel)
    y: Shape  # (N, O, *outputs)
    kernel: Shape
    stride: Shape
    padding: Shape
    dilation: Shape
    groups: int

    @property
    def options(self) -> dict[str, Any]:
        """stride, padding, dilation and groups, as keywords."""
        return {"stride": self.stride, "padding": self.padding, "dilation": self.dilation, "groups": self.groups}


@st.composite
def windows(
    draw: Any,
    axes: int = 2,
    max_kernel: int = 3,
    max_stride: int = 2,
    max_padding: int = 2,
    max_dilation: int = 2,
    grouped: bool = True,
    half: bool = False,
) -> Windows:
    """Windows over images of 1 to 3 outputs an axis, made from the output back, so that nothing is thrown away.

    half: padding at most half of the kernel, as pools want it.
    """
    groups = draw(st.sampled_from([1, 1, 2])) if grouped else 1
    c, o, n = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2)), draw(st.integers(1, 2))
    found = []
    for _ in range(axes):
        k, s, d = draw(st.integers(1, max_kernel)), draw(st.integers(1, max_stride)), draw(st.integers(1, max_dilation))
        p = draw(st.integers(0, min(max_padding, k // 2 if half else max_padding)))
        span, many = d * (k - 1) + 1, draw(st.integers(1, 3))
        left = draw(st.integers(0, s - 1))  # pixels at the end that no window reaches
        size = max((many - 1) * s + span + left - 2 * p, 1)
        found.append((k, s, p, d, size, (size + 2 * p - span) // s + 1))
    kernel, stride, padding, dilation, sizes, outs = zip(*found, strict=True)
    x, w, y = (n, c, *sizes), (o, c // groups, *kernel), (n, o, *outs)
    return Windows(x, w, y, kernel, stride, padding, dilation, groups)


@st.composite
def cases(draw: Any, row: Row, device: str = "cpu") -> Case:
    """One call of a row's function on a device: its own arguments, each array in a memory order of its own."""
    seed = draw(st.integers(0, 2**16 - 1))
    args = row.draw(draw, Fill(seed))
    arrays = tuple(lay(a, draw(orders(a.ndim))) for a in args.arrays)
    return Case(row, arrays, args.static, seed, device)


def examples(row: Row, n: int) -> list[Case]:
    """n cases of a row, the same every time, the largest first: for who wants a list and no search."""
    found: list[Case] = []

    @settings(
        max_examples=n,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases(row))
    def collect(case: Case) -> None:
        found.append(case)

    collect()
    return sorted(found, key=lambda case: -sum(a.size for a in case.arrays))
