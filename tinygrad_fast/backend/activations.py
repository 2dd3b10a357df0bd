"""Activations, defined: what `Composed` says of them. Each pullback needs the output y, or x where y is not enough.

Those that cancel or saturate are computed wide and rounded once in 16-bit floats.
"""

from __future__ import annotations

from math import pi, sqrt

from .wide import wide


class Activations:
    """Functions of one number. `g` is the gradient of what the forward name returned."""

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

    @wide
    def erf_back(self, g, x):
        """g 2/sqrt(pi) exp(-x^2)"""
        return self.mul(g, self.mul(self.exp(self.neg(self.mul(x, x))), 2 / sqrt(pi)))

    def leaky_relu(self, x, slope):
        """x where x > 0, else slope x"""
        return self.where(self.gt(x, 0), x, self.mul(x, slope))

    def leaky_relu_back(self, g, x, slope):
        """g where x > 0, else slope g"""
        return self.where(self.gt(x, 0), g, self.mul(g, slope))

    def hardtanh(self, x, low, high):
        """min(max(x, low), high)"""
        return self.clip(x, low=low, high=high)

    def hardtanh_back(self, g, x, low, high):
        """g where low < x < high, else 0: at the bounds 0, where `clip` has g"""
        return self.where(self.logical_and(self.gt(x, low), self.lt(x, high)), g, 0.0)

    @wide
    def elu(self, x, alpha):
        """x where x > 0, else alpha (exp(x) - 1)"""
        return self.where(self.gt(x, 0), x, self.mul(self.expm1(self.clip(x, low=None, high=0.0)), alpha))

    @wide
    def elu_back(self, g, x, alpha):
        """g where x > 0, else g alpha exp(x)"""
        return self.mul(g, self.where(self.gt(x, 0), 1.0, self.mul(self.exp(self.clip(x, low=None, high=0.0)), alpha)))

    @wide
    def softplus(self, x, beta, threshold):
        """log(1 + exp(beta x)) / beta = max(x, 0) + log1p(exp(-|beta x|)) / beta; x itself where beta x > threshold"""
        z = self.mul(x, beta)
        soft = self.add(self.maximum(x, 0), self.div(self.log1p(self.exp(self.neg(self.abs(z)))), beta))
        return self.where(self.gt(z, threshold), x, soft)

    @wide
    def softplus_back(self, g, x, beta, threshold):
        """g sigmoid(beta x); g itself where beta x > threshold"""
        z = self.mul(x, beta)
        return self.where(self.gt(z, threshold), g, self.mul(g, self.sigmoid(z)))

    @wide
    def silu(self, x):
        """x sigmoid(x)"""
        return self.mul(x, self.sigmoid(x))

    @wide
    def silu_back(self, g, x):
        """g s (1 + x (1 - s)), s = sigmoid(x)"""
        s = self.sigmoid(x)
        return self.mul(g, self.mul(s, self.add(1, self.mul(x, self.sub(1, s)))))

    @wide
    def gelu(self, x, approximate):
        """x Phi(x), Phi the normal distribution: by erf, or by tanh (Hendrycks and Gimpel 2016)"""
        return self.mul(x, self._phi(x, approximate))

    @wide
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
