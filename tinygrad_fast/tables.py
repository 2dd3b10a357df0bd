"""Linear maps along one axis of an image, as tables: which inputs an output reads, and with what weights.

Average pooling, adaptive average pooling, nearest and bilinear interpolation are all y = A x B^T on the two axes of
an image, and differ in their A and B alone. `ops.resample2d` applies two of these tables, its pullback the same turned.
Knows numbers only: how a backend keeps a table (a matrix in bands, an index) is its own affair.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np


class Table(NamedTuple):
    """`rows[i]` is (start, weights): output i is the sum of weights[t] x[start + t]. Hashable, so it can be a key.

    n: how many inputs there are. turned: the adjoint, which takes gradients of outputs to gradients of inputs.
    """

    n: int
    rows: tuple[tuple[int, tuple[float, ...]], ...]
    turned: bool = False

    @property
    def size(self) -> int:
        """How many numbers come out."""
        return self.n if self.turned else len(self.rows)

    @property
    def picks(self) -> bool:
        """True if every output is one of the inputs: an index then serves instead of weights."""
        return not self.turned and all(weights == (1.0,) for _, weights in self.rows)

    def turn(self) -> Table:
        """The adjoint."""
        return self._replace(turned=not self.turned)


@cache
def spans(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """A table as arrays, also a turned one: (size, 2) int32, the first input of each output and how many it reads; and
    (size, K) float64, their weights, zeros after the last."""
    read: list[dict[int, float]] = [{} for _ in range(table.size)]
    for i, (start, weights) in enumerate(table.rows):
        for j, weight in enumerate(weights, start):
            if table.turned:
                read[j][i] = weight
            else:
                read[i][j] = weight
    where = np.array([(min(r), max(r) + 1 - min(r)) if r else (0, 0) for r in read], np.int32).reshape(-1, 2)
    by = np.zeros((len(read), max(int(where[:, 1].max(initial=0)), 1)))
    for i, r in enumerate(read):
        for j, weight in r.items():
            by[i, j - where[i, 0]] = weight
    return where, by


@cache
def nearest(n: int, size: int, scale: float | None = None) -> Table:
    """y_i = x[floor(i / scale)], scale being size / n unless given; exact where size is n or 2 n, whatever the scale.

    In float32, as PyTorch: where i / scale is nearly whole, its rounding decides which pixel is taken.
    """
    if size in (n, 2 * n):
        places = [i * n // size for i in range(size)]
    else:
        step = np.float32(1 / scale if scale else n / size)
        places = [min(int(np.float32(i) * step), n - 1) for i in range(size)]
    return Table(n, tuple((i, (1.0,)) for i in places))


@cache
def linear(n: int, size: int, align_corners: bool, scale: float | None = None) -> Table:
    """y_i = (1 - t) x_j + t x_(j+1), j + t the place of output i among the inputs, not left of the first.

    align_corners: the centres of first and last lie on each other, i (n - 1) / (size - 1); else the edges do,
    (i + 1/2) / scale - 1/2, where scale is size / n unless given. As it is where size is n.
    """
    if size == n:
        places = [float(i) for i in range(size)]
    elif align_corners:
        places = [i * (n - 1) / (size - 1) if size > 1 else 0.0 for i in range(size)]
    else:
        step = 1 / scale if scale else n / size
        places = [max((i + 0.5) * step - 0.5, 0.0) for i in range(size)]
    rows = []
    for place in places:
        j = min(int(place), n - 1)
        t = place - j
        rows.append((j, (1 - t, t) if t and j + 1 < n else (1.0,)))
    return Table(n, tuple(rows))


@cache
def bins(n: int, size: int) -> Table:
    """y_i = the mean of x over the i-th of `size` bins."""
    return Table(n, tuple((a, (1 / (b - a),) * (b - a)) for a, b in edges(n, size)))


@cache
def edges(n: int, size: int) -> tuple[tuple[int, int], ...]:
    """Bins of an adaptive pool, floor(i n / size) to ceil((i + 1) n / size): they overlap if size does not divide n."""
    return tuple((i * n // size, -(-(i + 1) * n // size)) for i in range(size))


@cache
def windows(n: int, kernel: int, stride: int, padding: int, size: int, count: str | float) -> Table:
    """y_i = the sum over the i-th window, divided by a count.

    count: "padded" counts what lies in the input or its padding, "inside" what lies in the input; or a number.
    """
    rows = []
    for i in range(size):
        start = i * stride - padding
        a, b, end = max(start, 0), min(start + kernel, n), min(start + kernel, n + padding)
        divisor = end - start if count == "padded" else b - a if count == "inside" else float(count)
        rows.append((a, (1 / divisor,) * (b - a)))
    return Table(n, tuple(rows))
