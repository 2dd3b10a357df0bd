"""Normalisation, defined: what `Composed` says of it.

Statistics and everything between are wide (float32 for 16-bit x), whatever x is; the result is rounded once, to x's
type. Two passes: the mean, then the mean of squared differences, so that a large mean costs no digits.
In each: xhat = (x - mean) rstd, rstd = 1 / sqrt(var + eps), var the biased variance, y = xhat w + b.
"""

from __future__ import annotations

from math import prod

from .wide import wide_type


def others(x, kept):
    """All axes of x but those in `kept`."""
    return tuple(i for i in range(x.ndim) if i not in kept)


def along(x):
    """The shape that lines a (C,) array up with axis 1 of x."""
    return (1, x.shape[1]) + (1,) * (x.ndim - 2)


class Norms:
    """Definitions. w, b, res may be None; `NAME_back` returns dw and db wide, the op casts them."""

    def batch_norm(self, x, w, b, res, mean, var, eps, relu):
        """relu?(xhat w + b + res), statistics over all axes but 1 -> y, kept, mean, rstd, var (the last three (C,))

        mean, var: those that conv2d_moments found of x, if it did, else None: a machine may take them as they are.
        kept tells the way back where ReLU let through: y, or None without `relu`. A machine that finds it out from x,
        w and b may keep less.
        """
        d, mean, var, rstd = self._centred(x, others(x, (1,)), eps)
        y = self._finished(d, rstd, w, b, res, relu, x)
        mean, rstd, var = (self.reshape(v, shape=(x.shape[1],)) for v in (mean, rstd, var))
        return y, y if relu else None, mean, rstd, var

    def batch_norm_back(self, g, x, w, b, mean, rstd, kept, relu, residual):
        """dx = w rstd (g - mean(g) - xhat mean(g xhat)), dw = sum g xhat, db = sum g, dres = g -> dx, dw, db, dres

        g where ReLU let through. dres is None unless `residual`.
        """
        axis = others(x, (1,))
        n = prod(x.shape[i] for i in axis)
        g = self.relu_back(g, kept) if relu else g
        gw, d, rstd, scale = self._parts(g, x, w, mean, rstd)
        db, dot = self.sum(gw, axis=axis, keepdims=True), self.sum(self.mul(gw, d), axis=axis, keepdims=True)
        tilt = self.div(self.mul(dot, self.mul(rstd, rstd)), n)
        dx = self.mul(self.sub(self.sub(gw, self.div(db, n)), self.mul(d, tilt)), scale)
        c = (x.shape[1],)
        dw, db = self.reshape(self.mul(dot, rstd), shape=c), self.reshape(db, shape=c)
        return self.cast(dx, dtype=x.dtype), dw, db, g if residual else None

    def batch_norm_remember_(self, running_mean, running_var, mean, var, momentum, n):
        """running <- (1 - momentum) running + momentum new, in place; the variance of n numbers n / (n - 1) larger"""
        self.lerp_(running_mean, mean, momentum)
        self.lerp_(running_var, self.mul(var, n / (n - 1)) if n > 1 else var, momentum)

    def batch_norm_eval(self, x, mean, var, w, b, res, eps, relu):
        """relu?((x - mean) / sqrt(var + eps) w + b + res) with statistics that are given -> y, kept, rstd"""
        wide, one = wide_type(x.dtype), along(x)
        rstd = self.rsqrt(self.add(self.cast(var, dtype=wide), eps))
        d = self.sub(self.cast(x, dtype=wide), self.reshape(self.cast(mean, dtype=wide), shape=one))
        y = self._finished(d, self.reshape(rstd, shape=one), w, b, res, relu, x)
        return y, y if relu else None, rstd

    def batch_norm_eval_back(self, g, x, w, b, mean, rstd, kept, relu, residual):
        """dx = g w rstd, dw = sum g xhat, db = sum g, dres = g -> dx, dw, db, dres"""
        axis, c = others(x, (1,)), (x.shape[1],)
        g = self.relu_back(g, kept) if relu else g
        gw, d, rstd, scale = self._parts(g, x, w, mean, rstd)
        dw = self.mul(self.sum(self.mul(gw, d), axis=axis, keepdims=True), rstd)
        db = self.sum(gw, axis=axis)
        return self.cast(self.mul(gw, scale), dtype=x.dtype), self.reshape(dw, shape=c), db, g if residual else None

    def layer_norm(self, x, w, b, axis, eps):
        """xhat w + b, statistics over `axis`, the last axes, which w and b have too -> y, mean, rstd"""
        d, mean, _, rstd = self._centred(x, axis, eps)
        y = self.mul(d, rstd)
        y = y if w is None else self.mul(y, self.cast(w, dtype=y.dtype))
        y = y if b is None else self.add(y, self.cast(b, dtype=y.dtype))
        return self.cast(y, dtype=x.dtype), mean, rstd

    def layer_norm_back(self, g, x, w, mean, rstd, axis):
        """dx = rstd (h - mean(h) - xhat mean(h xhat)), h = g w; dw = sum g xhat; db = sum g -> dx, dw, db"""
        wide, lead = wide_type(x.dtype), others(x, axis)
        g, xhat = self.cast(g, dtype=wide), self.mul(self.sub(self.cast(x, dtype=wide), mean), rstd)
        h = g if w is None else self.mul(g, self.cast(w, dtype=wide))
        dx = self._standard_back(h, xhat, rstd, axis)
        return self.cast(dx, dtype=x.dtype), self.sum(self.mul(g, xhat), axis=lead), self.sum(g, axis=lead)

    def group_norm(self, x, w, b, groups, eps):
        """xhat w + b, statistics over the channels of a group and all axes after -> y, mean, rstd"""
        split = (x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])
        axis = tuple(range(2, len(split)))
        d, mean, _, rstd = self._centred(self.reshape(x, shape=split), axis, eps)
        y = self.reshape(self.mul(d, rstd), shape=x.shape)
        return self._finished(y, None, w, b, None, False, x), mean, rstd

    def group_norm_back(self, g, x, w, mean, rstd, groups):
        """As layer_norm_back, over groups -> dx, dw, db"""
        split = (x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])
        axis, rest, wide = tuple(range(2, len(split))), others(x, (1,)), wide_type(x.dtype)
        g, xs = self.cast(g, dtype=wide), self.reshape(self.cast(x, dtype=wide), shape=split)
        xhat = self.mul(self.sub(xs, mean), rstd)
        h = g if w is None else self.mul(g, self.reshape(self.cast(w, dtype=wide), shape=along(x)))
        dx = self._standard_back(self.reshape(h, shape=split), xhat, rstd, axis)
        dw = self.sum(self.mul(g, self.reshape(xhat, shape=x.shape)), axis=rest)
        return self.cast(self.reshape(dx, shape=x.shape), dtype=x.dtype), dw, self.sum(g, axis=rest)

    def _centred(self, x, axis, eps):
        """x - mean, mean, var, rstd: wide, with `axis` kept as 1."""
        x = self.cast(x, dtype=wide_type(x.dtype))
        mean = self.mean(x, axis=axis, keepdims=True)
        d = self.sub(x, mean)
        var = self.mean(self.mul(d, d), axis=axis, keepdims=True)
        return d, mean, var, self.rsqrt(self.add(var, eps))

    def _finished(self, d, rstd, w, b, res, relu, x):
        """relu?(d rstd w + b + res) in x's type: rstd and w meet first, being small."""
        one, wide = along(x), d.dtype
        scale = rstd
        if w is not None:
            w = self.reshape(self.cast(w, dtype=wide), shape=one)
            scale = w if rstd is None else self.mul(rstd, w)
        y = d if scale is None else self.mul(d, scale)
        y = y if b is None else self.add(y, self.reshape(self.cast(b, dtype=wide), shape=one))
        y = y if res is None else self.add(y, self.cast(res, dtype=wide))
        return self.cast(self.relu(y) if relu else y, dtype=x.dtype)

    def _parts(self, g, x, w, mean, rstd):
        """For a backward pass, wide: g, x - mean, and, lined up with axis 1, rstd and rstd w."""
        one, wide = along(x), wide_type(x.dtype)
        d = self.sub(self.cast(x, dtype=wide), self.reshape(self.cast(mean, dtype=wide), shape=one))
        rstd = self.reshape(rstd, shape=one)
        scale = rstd if w is None else self.mul(rstd, self.reshape(self.cast(w, dtype=wide), shape=one))
        return self.cast(g, dtype=wide), d, rstd, scale

    def _standard_back(self, h, xhat, rstd, axis):
        """rstd (h - mean(h) - xhat mean(h xhat)): the pullback of (x - mean) rstd"""
        tilt = self.mean(self.mul(h, xhat), axis=axis, keepdims=True)
        flat = self.sub(h, self.mean(h, axis=axis, keepdims=True))
        return self.mul(self.sub(flat, self.mul(xhat, tilt)), rstd)
