"""The first tier of a backend: names defined over other names. What stands here is the specification.

A fused op (`linear`, `batch_norm`, `cross_entropy`, each `NAME_back`) is written once, over the primitives, and any
backend may replace it by one kernel of the same name. Nothing here touches an array but through `self`, so the same
text runs on NumPy, on CuPy, on opaque arrays (a law), and on Tensors (which is how second derivatives are made).

`NAME` returns the value and then whatever `NAME_back` wants. Next on the way: `cpu.py`, the primitives.
"""

from __future__ import annotations

from math import pi, prod, sqrt
from typing import Any

from .updates import Updates

Array = Any


class Composed(Updates):
    """Definitions over the names of the same backend. `g` is the gradient of what the forward name returned."""

    name: str

    # Activations. Each pullback needs the output y, or the input x where y is not enough.

    def relu(self, x):
        """max(x, 0)"""
        return self.maximum(x, 0)

    def relu_back(self, g, y):
        """g where y > 0, else 0"""
        return self.mul(g, self.cast(self.gt(y, 0), dtype=g.dtype))

    def sigmoid_back(self, g, y):
        """g y (1 - y)"""
        return self.mul(g, self.mul(y, self.sub(1, y)))

    def tanh_back(self, g, y):
        """g (1 - y^2)"""
        return self.mul(g, self.sub(1, self.mul(y, y)))

    def leaky_relu(self, x, slope):
        """x where x > 0, else slope x"""
        return self.where(self.gt(x, 0), x, self.mul(x, slope))

    def leaky_relu_back(self, g, x, slope):
        return self.where(self.gt(x, 0), g, self.mul(g, slope))

    def elu(self, x, alpha):
        """x where x > 0, else alpha (exp(x) - 1)"""
        return self.where(self.gt(x, 0), x, self.mul(self.expm1(self.minimum(x, 0)), alpha))

    def elu_back(self, g, x, alpha):
        """g where x > 0, else g alpha exp(x)"""
        return self.mul(g, self.where(self.gt(x, 0), 1.0, self.mul(self.exp(self.minimum(x, 0)), alpha)))

    def softplus(self, x, beta):
        """log(1 + exp(beta x)) / beta, without overflow: max(x, 0) + log1p(exp(-|beta x|)) / beta"""
        small = self.log1p(self.exp(self.neg(self.abs(self.mul(x, beta)))))
        return self.add(self.maximum(x, 0), self.div(small, beta))

    def softplus_back(self, g, x, beta):
        """g sigmoid(beta x)"""
        return self.mul(g, self.sigmoid(self.mul(x, beta)))

    def silu(self, x):
        """x sigmoid(x)"""
        return self.mul(x, self.sigmoid(x))

    def silu_back(self, g, x):
        """g s (1 + x (1 - s)), s = sigmoid(x)"""
        s = self.sigmoid(x)
        return self.mul(g, self.mul(s, self.add(1, self.mul(x, self.sub(1, s)))))

    def gelu(self, x, approximate):
        """x Phi(x), Phi the normal distribution: by erf, or by tanh (Hendrycks and Gimpel 2016)"""
        return self.mul(x, self._phi(x, approximate))

    def gelu_back(self, g, x, approximate):
        """g (Phi(x) + x Phi'(x))"""
        if approximate == "none":
            density = self.mul(self.exp(self.mul(self.mul(x, x), -0.5)), 1 / sqrt(2 * pi))
            return self.mul(g, self.add(self._phi(x, approximate), self.mul(x, density)))
        phi = self._phi(x, approximate)  # (1 + tanh u) / 2, so its slope is 2 phi (1 - phi) u'
        inner = self.mul(self.add(1, self.mul(self.mul(x, x), 3 * 0.044715)), sqrt(2 / pi))
        slope = self.mul(self.mul(phi, self.sub(1, phi)), self.mul(inner, 2))
        return self.mul(g, self.add(phi, self.mul(x, slope)))

    def _phi(self, x, approximate):
        if approximate == "none":
            return self.mul(self.add(1, self.erf(self.mul(x, sqrt(0.5)))), 0.5)
        cubic = self.add(x, self.mul(self.mul(x, self.mul(x, x)), 0.044715))
        return self.mul(self.add(1, self.tanh(self.mul(cubic, sqrt(2 / pi)))), 0.5)

    # Reductions

    def mean(self, x, axis, keepdims=False):
        """sum / count"""
        return self.div(self.sum(x, axis=axis, keepdims=keepdims), max(prod(x.shape[i] for i in axis), 1))

    def var(self, x, axis, correction, keepdims=False):
        """mean((x - mean)^2), the count less `correction`: two passes, so a large mean costs no digits"""
        n = prod(x.shape[i] for i in axis)
        d = self.sub(x, self.mean(x, axis=axis, keepdims=True))
        return self.div(self.sum(self.mul(d, d), axis=axis, keepdims=keepdims), float(max(n - correction, 0)))

    def logsumexp(self, x, axis, keepdims=False):
        """log(sum(exp(x))), shifted by the maximum so that nothing overflows"""
        top = self.amax(x, axis=axis, keepdims=True)
        top = self.where(self.isfinite(top), top, 0.0)  # all -inf: inf - inf would be NaN
        y = self.add(self.log(self.sum(self.exp(self.sub(x, top)), axis=axis, keepdims=True)), top)
        return y if keepdims else self.reshape(y, shape=tuple(n for i, n in enumerate(x.shape) if i not in axis))

    def softmax(self, x, axis):
        """exp(x) / sum(exp(x)) along one axis"""
        e = self.exp(self.sub(x, self.amax(x, axis=(axis,), keepdims=True)))
        return self.div(e, self.sum(e, axis=(axis,), keepdims=True))

    def softmax_back(self, g, y, axis):
        """y (g - sum(g y))"""
        return self.mul(y, self.sub(g, self.sum(self.mul(g, y), axis=(axis,), keepdims=True)))

    def log_softmax(self, x, axis):
        """x - logsumexp(x) along one axis"""
        return self.sub(x, self.logsumexp(x, axis=(axis,), keepdims=True))

    def log_softmax_back(self, g, y, axis):
        """g - exp(y) sum(g)"""
        return self.sub(g, self.mul(self.exp(y), self.sum(g, axis=(axis,), keepdims=True)))

    # Linear algebra

    def linear(self, x, w, b, relu):
        """relu?(x w^T + b): x (..., K), w (O, K), b (O) or None"""
        y = self.matmul(x, self.swap(w))
        if b is not None:
            y = self.add(y, b)
        return self.relu(y) if relu else y

    def conv2d_epilogue(self, x, w, b, relu, **geometry):
        """relu?(conv2d(x, w) + b)"""
        y = self.conv2d(x, w, **geometry)
        if b is not None:
            y = self.add(y, self.reshape(b, shape=(1, b.shape[0], 1, 1)))
        return self.relu(y) if relu else y
