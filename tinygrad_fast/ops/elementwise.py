"""One number in, one number out; or two, with broadcasting.

Inputs of a two-operand op are arrays of one dtype, or an array and a Python number. Formulas give the pullbacks:
`dx` is what g = dL/dy becomes on the way to x. Next on the way: `reduce.py`.
"""

from __future__ import annotations

from .. import shapes
from ..dtypes import is_float
from .common import same, sum_to

# Two operands


def add(xp, a, b):
    """a + b.     da = g     db = g"""
    y = xp.add(a, b)
    sa, sb = shapes.of(a), shapes.of(b)
    if sa == sb:
        return y, (same, same)
    return y, (lambda g: sum_to(xp, g, sa), lambda g: sum_to(xp, g, sb))


def sub(xp, a, b):
    """a - b.     da = g     db = -g"""
    sa, sb = shapes.of(a), shapes.of(b)
    return xp.sub(a, b), (lambda g: sum_to(xp, g, sa), lambda g: sum_to(xp, xp.neg(g), sb))


def mul(xp, a, b):
    """a b.     da = g b     db = g a"""
    sa, sb = shapes.of(a), shapes.of(b)
    return xp.mul(a, b), (lambda g: sum_to(xp, xp.mul(g, b), sa), lambda g: sum_to(xp, xp.mul(g, a), sb))


def div(xp, a, b):
    """a / b.     da = g / b     db = -g y / b"""
    sa, sb = shapes.of(a), shapes.of(b)
    y = xp.div(a, b)
    return y, (
        lambda g: sum_to(xp, xp.div(g, b), sa),
        lambda g: sum_to(xp, xp.neg(xp.div(xp.mul(g, y), b)), sb),
    )


def pow(xp, a, b):
    """a^b.     da = g b a^(b-1), 0 where b = 0     db = g y log(a), 0 where a = 0 and b >= 0"""
    sa, sb = shapes.of(a), shapes.of(b)
    y = xp.pow(a, b)

    def da(g):
        if not sb and not hasattr(b, "dtype"):
            return xp.mul(g, xp.mul(xp.pow(a, b - 1), b)) if b else xp.mul(g, 0)
        slope = xp.where(xp.eq(b, 0), 0.0, xp.mul(b, xp.pow(a, xp.sub(b, 1))))
        return sum_to(xp, xp.mul(g, slope), sa)

    def db(g):
        if not hasattr(a, "dtype"):
            slope = xp.mul(y, xp.log(xp.full((), a, b.dtype)))
            return xp.mul(g, slope if a else xp.where(xp.ge(b, 0), 0.0, slope))
        zero = xp.logical_and(xp.eq(a, 0), xp.ge(b, 0))
        log = xp.log(xp.where(zero, 1.0, a))
        return sum_to(xp, xp.mul(g, xp.mul(y, log)), sb)

    return y, (da, db)


def maximum(xp, a, b):
    """max(a, b).     g goes to the larger; half to each where they tie"""
    return _extreme(xp, xp.maximum(a, b), xp.gt, a, b)


def minimum(xp, a, b):
    """min(a, b).     g goes to the smaller; half to each where they tie"""
    return _extreme(xp, xp.minimum(a, b), xp.lt, a, b)


def _extreme(xp, y, wins, a, b):
    sa, sb = shapes.of(a), shapes.of(b)

    def share(g, mine, other):
        won = xp.cast(wins(mine, other), dtype=g.dtype)
        tie = xp.mul(xp.cast(xp.eq(mine, other), dtype=g.dtype), 0.5)
        return xp.mul(g, xp.add(won, tie))

    return y, (lambda g: sum_to(xp, share(g, a, b), sa), lambda g: sum_to(xp, share(g, b, a), sb))


def where(xp, c, a, b):
    """a where c, else b.     da = g where c, else 0     db = 0 where c, else g"""
    sa, sb = shapes.of(a), shapes.of(b)
    return xp.where(c, a, b), (
        None,
        lambda g: sum_to(xp, xp.where(c, g, 0.0), sa),
        lambda g: sum_to(xp, xp.where(c, 0.0, g), sb),
    )


# One operand, the pullback made from the output


def exp(xp, x):
    """e^x.     dx = g y"""
    y = xp.exp(x)
    return y, (lambda g: xp.mul(g, y),)


def expm1(xp, x):
    """e^x - 1, exact near 0.     dx = g (y + 1)"""
    y = xp.expm1(x)
    return y, (lambda g: xp.mul(g, xp.add(y, 1)),)


def sqrt(xp, x):
    """sqrt(x).     dx = g / (2 y)"""
    y = xp.sqrt(x)
    return y, (lambda g: xp.div(g, xp.mul(y, 2)),)


def rsqrt(xp, x):
    """1 / sqrt(x).     dx = -g y^3 / 2"""
    y = xp.rsqrt(x)
    return y, (lambda g: xp.mul(g, xp.mul(xp.mul(y, xp.mul(y, y)), -0.5)),)


def reciprocal(xp, x):
    """1 / x.     dx = -g y^2"""
    y = xp.reciprocal(x)
    return y, (lambda g: xp.neg(xp.mul(g, xp.mul(y, y))),)


def tan(xp, x):
    """tan(x).     dx = g (1 + y^2)"""
    y = xp.tan(x)
    return y, (lambda g: xp.mul(g, xp.add(xp.mul(y, y), 1)),)


def tanh(xp, x):
    """tanh(x).     dx = g (1 - y^2)"""
    y = xp.tanh(x)
    return y, (lambda g: xp.tanh_back(g, y),)


def sigmoid(xp, x):
    """1 / (1 + exp(-x)).     dx = g y (1 - y)"""
    y = xp.sigmoid(x)
    return y, (lambda g: xp.sigmoid_back(g, y),)


def relu(xp, x):
    """max(x, 0).     dx = g where y > 0, else 0"""
    y = xp.relu(x)
    return y, (lambda g: xp.relu_back(g, y),)


# One operand, the pullback made from the input


def neg(xp, x):
    """-x.     dx = -g"""
    return xp.neg(x), (lambda g: xp.neg(g),)


def abs(xp, x):
    """|x|.     dx = g sign(x)"""
    return xp.abs(x), (lambda g: xp.mul(g, xp.sign(x)),)


def square(xp, x):
    """x^2.     dx = 2 g x"""
    return xp.square(x), (lambda g: xp.mul(g, xp.mul(x, 2)),)


def log(xp, x):
    """log(x).     dx = g / x"""
    return xp.log(x), (lambda g: xp.div(g, x),)


def log1p(xp, x):
    """log(1 + x), exact near 0.     dx = g / (1 + x)"""
    return xp.log1p(x), (lambda g: xp.div(g, xp.add(x, 1)),)


def sin(xp, x):
    """sin(x).     dx = g cos(x)"""
    return xp.sin(x), (lambda g: xp.mul(g, xp.cos(x)),)


def cos(xp, x):
    """cos(x).     dx = -g sin(x)"""
    return xp.cos(x), (lambda g: xp.neg(xp.mul(g, xp.sin(x))),)


def erf(xp, x):
    """2/sqrt(pi) * integral of exp(-t^2) from 0 to x.     dx = g 2/sqrt(pi) exp(-x^2)"""
    return xp.erf(x), (lambda g: xp.erf_back(g, x),)


def clip(xp, x, *, low, high):
    """min(max(x, low), high).     dx = g where low <= x <= high, else 0"""

    def dx(g):
        if low is not None:
            g = xp.where(xp.ge(x, low), g, 0.0)
        return g if high is None else xp.where(xp.le(x, high), g, 0.0)

    return xp.clip(x, low=low, high=high), (dx,)


def leaky_relu(xp, x, *, slope):
    """x where x > 0, else slope x.     dx = g, or slope g"""
    return xp.leaky_relu(x, slope=slope), (lambda g: xp.leaky_relu_back(g, x, slope=slope),)


def elu(xp, x, *, alpha):
    """x where x > 0, else alpha (e^x - 1).     dx = g, or g alpha e^x.     Clevert et al. 2016"""
    return xp.elu(x, alpha=alpha), (lambda g: xp.elu_back(g, x, alpha=alpha),)


def hardtanh(xp, x, *, low, high):
    """min(max(x, low), high).     dx = g where low < x < high, else 0 (`clip` has g at the bounds)"""
    return xp.hardtanh(x, low=low, high=high), (lambda g: xp.hardtanh_back(g, x, low=low, high=high),)


def softplus(xp, x, *, beta, threshold):
    """log(1 + exp(beta x)) / beta; x where beta x > threshold.     dx = g sigmoid(beta x), or g"""
    static = {"beta": beta, "threshold": threshold}
    return xp.softplus(x, **static), (lambda g: xp.softplus_back(g, x, **static),)


def silu(xp, x):
    """x s, s = sigmoid(x).     dx = g s (1 + x (1 - s))"""
    return xp.silu(x), (lambda g: xp.silu_back(g, x),)


def gelu(xp, x, *, approximate):
    """x Phi(x).     dx = g (Phi(x) + x Phi'(x)).     Hendrycks and Gimpel 2016"""
    return xp.gelu(x, approximate=approximate), (lambda g: xp.gelu_back(g, x, approximate=approximate),)


def cast(xp, x, *, dtype):
    """x in another type.     dx = g cast back, None from or to integers"""
    old = x.dtype
    return xp.cast(x, dtype=dtype), ((lambda g: xp.cast(g, dtype=old)) if is_float(old) and is_float(dtype) else None,)


def copy(xp, x):
    """x in memory of its own.     dx = g"""
    return xp.copy(x), (same,)


# Steps and questions: their slope is 0, or does not exist


def sign(xp, x):
    """-1, 0 or 1.     dx = 0"""
    return xp.sign(x), (lambda g: xp.mul(g, 0),)


def floor(xp, x):
    """The integer below.     dx = 0"""
    return xp.floor(x), (lambda g: xp.mul(g, 0),)


def ceil(xp, x):
    """The integer above.     dx = 0"""
    return xp.ceil(x), (lambda g: xp.mul(g, 0),)


def round(xp, x):
    """The nearest integer; halves go to the even one.     dx = 0"""
    return xp.round(x), (lambda g: xp.mul(g, 0),)


def eq(xp, a, b):
    return xp.eq(a, b), (None, None)


def ne(xp, a, b):
    return xp.ne(a, b), (None, None)


def lt(xp, a, b):
    return xp.lt(a, b), (None, None)


def le(xp, a, b):
    return xp.le(a, b), (None, None)


def gt(xp, a, b):
    return xp.gt(a, b), (None, None)


def ge(xp, a, b):
    return xp.ge(a, b), (None, None)


def logical_and(xp, a, b):
    return xp.logical_and(a, b), (None, None)


def logical_or(xp, a, b):
    return xp.logical_or(a, b), (None, None)


def logical_xor(xp, a, b):
    return xp.logical_xor(a, b), (None, None)


def logical_not(xp, x):
    return xp.logical_not(x), (None,)


def bitwise_and(xp, a, b):
    return xp.bitwise_and(a, b), (None, None)


def bitwise_or(xp, a, b):
    return xp.bitwise_or(a, b), (None, None)


def bitwise_xor(xp, a, b):
    return xp.bitwise_xor(a, b), (None, None)


def floor_divide(xp, a, b):
    """floor(a / b), no gradient"""
    return xp.floor_divide(a, b), (None, None)


def remainder(xp, a, b):
    """a - b floor(a / b), the sign of b.     da = g     db = -g floor(a / b)"""
    sa, sb = shapes.of(a), shapes.of(b)

    def db(g):
        return sum_to(xp, xp.neg(xp.mul(g, xp.floor(xp.div(a, b)))), sb)

    return xp.remainder(a, b), (lambda g: sum_to(xp, g, sa), db)


def isnan(xp, x):
    return xp.isnan(x), (None,)


def isinf(xp, x):
    return xp.isinf(x), (None,)


def isfinite(xp, x):
    return xp.isfinite(x), (None,)
