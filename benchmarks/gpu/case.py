"""What a case is: a function of `ours.py` and `peer.py`, and the arrays that both get. Knows no library.

`moved` counts the bytes that must go between the GPU and its memory if nothing is kept but by registers and shared
memory (a batch norm reads its input twice), `flop` multiplications and additions. `share` of the hardware's limit
follows from these.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

Shape = tuple[int, ...]
SIZES = {"float16": 2, "bfloat16": 2, "TF32": 4, "float32": 4}  # bytes of an element; TF32: how float32 is multiplied
FUSED = (1.0, 0.80)  # the floor of what only moves bytes


@dataclass(frozen=True)
class Array:
    """An input. kind: "normal", "weight" (a filter or matrix, normal / sqrt(fan in)), "share" (between 0 and 1),
    "index" (0 .. of - 1, int64), "byte" (uint8), "grid" (N, H, W, 2): where grid_sample reads, each near its own
    pixel, or "place" (N, 3, 3): slight rotations of an image of `of` pixels a side. wide: float32, whatever the case's
    dtype."""

    shape: Shape
    kind: str = "normal"
    of: int = 0
    wide: bool = False


@dataclass(frozen=True)
class Case:
    """aims: at least so much of PyTorch's speed, and of the hardware's limit. depth: products in a sum.

    rung: the kernel that multiplies our matrices, or the rung that convolves; "": the one that we choose.
    kinks: where rounding may put a number on the other side of a jump, so that some results differ, and rightly.
    """

    name: str
    family: str
    function: str
    dtype: str
    arrays: tuple[Array, ...] = ()
    static: dict[str, Any] = field(default_factory=dict)
    moved: float = 0
    flop: float = 0
    depth: int = 1
    kinks: bool = False
    aims: tuple[float, float] | None = None
    rung: str = ""

    @property
    def storage(self) -> str:
        return "float32" if self.dtype == "TF32" else self.dtype

    @property
    def group(self) -> str:
        """Whose geometric mean is taken."""
        return f"{self.family} {self.rung or self.static.get('pass', '')} {self.dtype}".replace("  ", " ")


def moving(
    title: str,
    family: str,
    name: str,
    dtype: str,
    forward: tuple,
    back: tuple | None,
    kinks: bool = False,
    **static: Any,
) -> Iterator[Case]:
    """What moves bytes, there and back. forward, back: (arrays, bytes)."""
    for what, given in (("forward", forward), ("back", back)):
        if given is not None:
            arrays, moved = given
            yield Case(
                f"{title}, {what}, {dtype}", family, name if what == "forward" else f"{name}_back", dtype, arrays,
                static | {"pass": what}, moved, kinks=kinks and what == "back", aims=FUSED,
            )  # fmt: skip


def parted(arrays: Sequence[Any], lists: int) -> list[list[Any]]:
    """w, w, g, g, ... -> [[w, w], [g, g], ...]"""
    n = len(arrays) // lists
    return [list(arrays[i * n : i * n + n]) for i in range(lists)]
