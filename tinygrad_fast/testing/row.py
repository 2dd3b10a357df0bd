"""A row of the table: one public function, and how to draw arguments for it. The laws do the rest.

How to write one, in a file of rows (`tests/laws/rows_*.py`):

    rows = Table()

    @rows.row("softmax", tf.softmax)
    def softmax(draw, fill):
        shape = draw(some.shapes(min_dims=1))
        return Args(fill.normal(shape), dim=draw(some.axis(len(shape))))

* The name is the public one: "softmax" stands for `Tensor.softmax`, `tf.softmax` and `F.softmax`. A second row of the
  same function (other inputs, other options) takes a suffix: "softmax / large".
* `draw` is hypothesis's: shapes, axes, options come from it (`tinygrad_fast.testing.strategies`, here `some`). `fill`
  makes the values, as float64 arrays away from kinks and ties (`values.Fill`). Keep arrays below about 100 elements.
* `Args(*arrays, **static)`: floating arrays are differentiated, all of them; integer and bool arrays are passed as
  they are. A float array without a gradient, a list of tensors, a function of the result: let `call` arrange it, as in
  `rows.row("cat", lambda *xs, dim: tf.cat(xs, dim))`.
* `call` must be a function: seed a generator inside it (dropout), make running statistics anew inside it.
* Outputs that carry a gradient are all checked; indices and the like are ignored.
* Memory orders are drawn for you; so are mutations of every op that the function turns out to use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np


class Args:
    """The arguments of one call: arrays by position, everything else by keyword."""

    def __init__(self, *arrays: np.ndarray, **static: Any):
        self.arrays, self.static = arrays, static


@dataclass(frozen=True)
class Row:
    """One function of the table.

    name, call: the public name and the function of Tensors. draw: `(draw, fill) -> Args`.
    linear: affine in each input while the others are held (True), or in the inputs named: the adjoint law holds.
    images: which 4-d inputs are (N, C, H, W), so that channels-last must survive; None means every 4-d input.
    skip: laws that cannot hold, each with its reason: {"layout": "reads memory order"}.
    """

    name: str
    call: Callable[..., Any]
    draw: Callable[[Callable, Any], Args]
    linear: bool | tuple[int, ...] = False
    images: tuple[int, ...] | None = None
    skip: dict[str, str] = field(default_factory=dict)

    @property
    def function(self) -> str:
        """The public name, without the suffix of a second row."""
        return self.name.partition(" / ")[0]

    def obeys(self, law: str) -> bool:
        """Is the row held to the law? adjoint where it is linear, and all others but those it excuses itself from."""
        return law not in self.skip and (law != "adjoint" or bool(self.linear))

    def __repr__(self) -> str:
        return f"Row({self.name!r})"


class Table(list):
    """Rows in the order they were written."""

    def row(self, name: str, call: Callable[..., Any], **flags: Any) -> Callable:
        """Decorator of a drawing function: adds the row `name`. `flags` are those of `Row`."""

        def keep(draw: Callable) -> Callable:
            self.append(Row(name, call, draw, **flags))
            return draw

        return keep


@dataclass(frozen=True)
class Case:
    """One drawn call of a function: what every law is asked about.

    Made by `strategies.cases(row)`, or by hand: `slope(Case.of(tf.tanh, np.ones((2, 3))))`.
    """

    row: Row
    arrays: tuple[np.ndarray, ...]
    static: dict[str, Any]
    seed: int = 0  # of directions and gradients
    device: str = "cpu"  # the machine that is held to the law

    @classmethod
    def of(
        cls,
        call: Callable[..., Any],
        *arrays: Any,
        seed: int = 0,
        static: Any = None,
        device: str = "cpu",
        **flags: Any,
    ) -> Case:
        """A case of any function of Tensors, without a table."""
        name = getattr(call, "__name__", "function")
        given = tuple(np.asarray(a) for a in arrays)
        return cls(Row(name, call, lambda draw, fill: Args(), **flags), given, dict(static or {}), seed, device)

    @property
    def wanted(self) -> tuple[int, ...]:
        """The inputs that are differentiated: the floating ones."""
        return tuple(i for i, a in enumerate(self.arrays) if a.dtype.kind == "f")

    def __repr__(self) -> str:
        given = ", ".join(f"{a.dtype}{list(a.shape)} strides {list(a.strides)}" for a in self.arrays)
        options = "".join(f", {k}={v!r}" for k, v in self.static.items())
        return f"{self.row.name}({given}{options}; seed {self.seed}, on {self.device})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """How hypothesis prints a counterexample."""
        printer.text(repr(self))
