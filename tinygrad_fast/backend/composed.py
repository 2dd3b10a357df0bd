"""The first tier of a backend: names defined over other names. What stands here is the specification.

A fused op (`linear`, `batch_norm`, `cross_entropy`, each `NAME_back`) is written once, over the primitives, and any
backend may replace it by one kernel of the same name. Nothing here touches an array but through `self`, so the same
text runs on NumPy, on CuPy, on opaque arrays (a law), and on Tensors (which is how second derivatives are made).

`NAME` returns the value and then whatever `NAME_back` wants. Next on the way: `cpu.py`, the primitives.
"""

from __future__ import annotations

from math import prod
from typing import ClassVar

from ..shapes import Slot
from .activations import Activations
from .gradients import Gradients
from .images import Images
from .losses import Losses
from .norms import Norms
from .sampling import Sampling
from .updates import Updates
from .wide import wide


class Composed(Activations, Norms, Losses, Sampling, Images, Gradients, Updates):
    """Definitions over the names of the same backend. `g` is the gradient of what the forward name returned."""

    name: str
    rounding: ClassVar[dict[str, float]] = {}  # names that round so many times as much as their definition in float32

    # Reductions

    @wide
    def mean(self, x, axis, keepdims=False):
        """sum / count; NaN over nothing"""
        return self.div(self.sum(x, axis=axis, keepdims=keepdims), prod(x.shape[i] for i in axis))

    @wide
    def var(self, x, axis, correction, keepdims=False):
        """mean((x - mean)^2), the count less `correction`: two passes, so a large mean costs no digits"""
        n = prod(x.shape[i] for i in axis)
        d = self.sub(x, self.mean(x, axis=axis, keepdims=True))
        return self.div(self.sum(self.mul(d, d), axis=axis, keepdims=keepdims), float(max(n - correction, 0)))

    @wide
    def logsumexp(self, x, axis, keepdims=False):
        """log(sum(exp(x))), shifted by the maximum so that nothing overflows"""
        top = self.amax(x, axis=axis, keepdims=True)
        top = self.where(self.isfinite(top), top, 0.0)  # all -inf: inf - inf would be NaN
        y = self.add(self.log(self.sum(self.exp(self.sub(x, top)), axis=axis, keepdims=True)), top)
        return y if keepdims else self.reshape(y, shape=tuple(n for i, n in enumerate(x.shape) if i not in axis))

    @wide
    def logsumexp_back(self, g, x, y, axis):
        """g exp(x - y), y with `axis` kept as 1; divided by its sum over g, which is 1 but for the rounding of y"""
        p = self.exp(self.sub(x, y))
        return self.mul(p, self.div(g, self.sum(p, axis=axis, keepdims=True)))

    @wide
    def softmax(self, x, axis):
        """exp(x) / sum(exp(x)) along one axis"""
        e = self.exp(self.sub(x, self.amax(x, axis=(axis,), keepdims=True)))
        return self.div(e, self.sum(e, axis=(axis,), keepdims=True))

    @wide
    def softmax_back(self, g, y, axis):
        """y (g - sum(g y))"""
        return self.mul(y, self.sub(g, self.sum(self.mul(g, y), axis=(axis,), keepdims=True)))

    @wide
    def log_softmax(self, x, axis):
        """x - log(sum(exp(x))) along one axis, x less its maximum: small results keep their digits at any height"""
        d = self.sub(x, self.amax(x, axis=(axis,), keepdims=True))
        return self.sub(d, self.log(self.sum(self.exp(d), axis=(axis,), keepdims=True)))

    @wide
    def log_softmax_back(self, g, y, axis):
        """g - exp(y) sum(g)"""
        return self.sub(g, self.mul(self.exp(y), self.sum(g, axis=(axis,), keepdims=True)))

    # Order, masks and tables

    def topk(self, x, k, axis, descending):
        """The first k of argsort"""
        order = self.argsort(x, axis=axis, descending=descending)
        return self.getitem(order, key=(slice(None),) * axis + (slice(0, k),))

    def dropout(self, x, key, p):
        """x / (1 - p) where a random number in [0, 1) is at least p, else 0 -> y, where"""
        kept = self.ge(self.uniform_like(x, key), p)
        return self.dropout_back(x, kept, p=p), kept

    def dropout_back(self, g, kept, p):
        """g / (1 - p) where x was kept, else 0"""
        return self.mul(self.where(kept, g, 0.0), 1 / (1 - p) if p < 1 else 0.0)

    def embedding(self, index, w, padding_idx):
        """w[index]: row `padding_idx` is read as any other"""
        return self.getitem(w, index, key=(Slot(0),))

    def embedding_back(self, index, g, rows, padding_idx):
        """g added at the rows of `rows` zeros that were read, but not at row `padding_idx`"""
        if padding_idx is not None:
            g = self.where(self.reshape(self.ne(index, padding_idx), shape=(*index.shape, 1)), g, 0.0)
        return self.getitem_back(g, index, key=(Slot(0),), shape=(rows, g.shape[-1]))

    # Linear algebra

    def linear(self, x, w, b, relu):
        """relu?(x w^T + b): x (..., K), w (O, K), b (O) or None"""
        y = self.matmul(x, self.swap(w))
        if b is not None:
            y = self.add(y, b)
        return self.relu(y) if relu else y

    def linear_dw(self, g, x):
        """g^T x over all rows: g (..., O), x (..., K) -> (O, K). Rows that do not lie in order are copied."""
        g, x = (self.reshape(a, shape=(prod(a.shape[:-1]), a.shape[-1])) for a in (g, x))
        return self.matmul(self.swap(g), x)

    @wide
    def conv2d_epilogue(self, x, w, b, res, relu, **geometry):
        """relu?(conv2d(x, w) + b + res)"""
        y = self.conv2d(x, w, **geometry)
        if b is not None:
            y = self.add(y, self.reshape(b, shape=(1, b.shape[0], 1, 1)))
        y = y if res is None else self.add(y, res)
        return self.relu(y) if relu else y

    def conv2d_moments(self, x, w, **geometry):
        """conv2d(x, w), and mean and biased variance of its channels where the machine finds them on the way"""
        return (self.conv2d(x, w, **geometry),)
