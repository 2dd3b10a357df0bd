"""Values for arrays: seeded, float64, and kept away from the points where a slope does not exist.

Hypothesis draws shapes and a seed; `Fill` turns the seed into numbers. It shrinks no values: a counterexample is
smallest in shape, and one integer brings its numbers back. Margins are far wider than the step of a difference
quotient (1e-5), and wide enough that rounding to bfloat16 (2^-8) makes no tie and crosses no kink.
"""

from __future__ import annotations

from math import prod

import numpy as np

from ..shapes import Shape


class Fill:
    """Arrays of float64 from one seed. Each method takes a shape first and draws anew at each call."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)

    def normal(self, shape: Shape, scale: float = 1.0) -> np.ndarray:
        """N(0, scale^2), cut at 3 scale: nothing that overflows float16 after an exponential."""
        return np.clip(self.rng.standard_normal(shape), -3, 3) * scale

    def between(self, shape: Shape, low: float, high: float) -> np.ndarray:
        """Uniform in [low, high)."""
        return np.asarray(self.rng.uniform(low, high, shape))

    def positive(self, shape: Shape) -> np.ndarray:
        """In [0.3, 3): for log, sqrt, powers, denominators."""
        return self.between(shape, 0.3, 3.0)

    def nonzero(self, shape: Shape) -> np.ndarray:
        """In (-3, -0.3] or [0.3, 3): for denominators, and for kinks at 0."""
        return self.positive(shape) * self.sign(shape)

    def away(self, shape: Shape, *points: float, by: float = 0.1) -> np.ndarray:
        """Normal, at least `by` from each of `points` (which lie more than 4 `by` apart)."""
        x = self.normal(shape)
        for p in points:
            d = x - p
            x = np.where(np.abs(d) < by, p + np.where(d < 0, -1, 1) * (by + np.abs(d)), x)
        return x

    def beside(self, shape: Shape, low: float, high: float) -> np.ndarray:
        """An integer from -2 to 2 plus something in [low, high): for floor, ceil, round."""
        return self.integers(shape, -2, 3) + self.between(shape, low, high)

    def distinct(self, shape: Shape, gap: float = 0.1) -> np.ndarray:
        """No two elements closer than 0.6 `gap`: for maxima and sorting, where a tie has no slope."""
        n = prod(shape)
        steps = self.rng.permutation(n) - (n - 1) / 2
        return ((steps + self.rng.uniform(-0.2, 0.2, n)) * gap).reshape(shape)

    def sign(self, shape: Shape) -> np.ndarray:
        """-1.0 or 1.0."""
        return self.rng.integers(0, 2, shape) * 2.0 - 1.0

    def mask(self, shape: Shape) -> np.ndarray:
        """Booleans."""
        return np.asarray(self.rng.integers(0, 2, shape) == 1)

    def integers(self, shape: Shape, low: int, high: int) -> np.ndarray:
        """int64 in low..high-1."""
        return np.asarray(self.rng.integers(low, high, shape))

    def probabilities(self, shape: Shape, axis: int) -> np.ndarray:
        """Positive, summing to 1 along `axis`."""
        p = self.between(shape, 0.1, 1.0)
        return p / p.sum(axis=axis, keepdims=True)
