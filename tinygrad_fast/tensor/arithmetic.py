"""Elementwise methods: promote, then the op of the same name in `ops/elementwise.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from .. import dtypes, ops, shapes
from .convert import Convert
from .core import Core, apply
from .promote import as_float, autocast_inputs, binary, binary_operator, cast_to, must_fit, must_integer, operand

if TYPE_CHECKING:
    from . import Tensor


class Arithmetic(Convert):
    """Operators and functions of one number, or of two with broadcasting."""

    __slots__ = ()

    # Two operands

    def add(self, other: Any, *, alpha: Any = 1) -> Tensor:
        return binary(ops.add, self, other if alpha == 1 else other * alpha)

    def sub(self, other: Any, *, alpha: Any = 1) -> Tensor:
        return binary(ops.sub, self, other if alpha == 1 else other * alpha)

    def mul(self, other: Any) -> Tensor:
        return binary(ops.mul, self, other)

    def div(self, other: Any, *, rounding_mode: str | None = None) -> Tensor:
        """self / other; rounded down with "floor", towards 0 with "trunc" (then integers stay integers)."""
        if rounding_mode is None:
            return binary(ops.div, self, other, floating=True)
        if rounding_mode not in ("floor", "trunc"):
            raise ValueError(f'div: rounding_mode must be None, "floor" or "trunc"; got {rounding_mode!r}')
        down = binary(ops.floor_divide, self, other)
        if rounding_mode == "floor":
            return down
        return down + ((down < 0) & (down * other != self))

    def pow(self, exponent: Any) -> Tensor:
        return binary(ops.pow, self, exponent)

    def maximum(self, other: Any) -> Tensor:
        return binary(ops.maximum, self, other)

    def minimum(self, other: Any) -> Tensor:
        return binary(ops.minimum, self, other)

    def remainder(self, other: Any) -> Tensor:
        return binary(ops.remainder, self, other)

    def floor_divide(self, other: Any) -> Tensor:
        return binary(ops.floor_divide, self, other)

    def __add__(self, other: Any) -> Tensor:
        return binary_operator(ops.add, self, other)

    def __radd__(self, other: Any) -> Tensor:
        return binary_operator(ops.add, other, self)

    def __sub__(self, other: Any) -> Tensor:
        return binary_operator(ops.sub, self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return binary_operator(ops.sub, other, self)

    def __mul__(self, other: Any) -> Tensor:
        return binary_operator(ops.mul, self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return binary_operator(ops.mul, other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return binary_operator(ops.div, self, other, floating=True)

    def __rtruediv__(self, other: Any) -> Tensor:
        (x,) = autocast_inputs("__rtruediv__", self)
        return binary_operator(ops.div, other, x, floating=True)

    def __floordiv__(self, other: Any) -> Tensor:
        return binary_operator(ops.floor_divide, self, other)

    def __rfloordiv__(self, other: Any) -> Tensor:
        return binary_operator(ops.floor_divide, other, self)

    def __mod__(self, other: Any) -> Tensor:
        return binary_operator(ops.remainder, self, other)

    def __rmod__(self, other: Any) -> Tensor:
        return binary_operator(ops.remainder, other, self)

    def __pow__(self, other: Any) -> Tensor:
        return binary_operator(ops.pow, self, other)

    def __rpow__(self, other: Any) -> Tensor:
        return binary_operator(ops.pow, other, self)

    def __neg__(self) -> Tensor:
        return apply(ops.neg, self)

    def __pos__(self) -> Self:
        return self

    def __abs__(self) -> Tensor:
        return apply(ops.abs, self)

    def eq(self, other: Any) -> Tensor:
        return binary(ops.eq, self, other)

    def ne(self, other: Any) -> Tensor:
        return binary(ops.ne, self, other)

    def lt(self, other: Any) -> Tensor:
        return binary(ops.lt, self, other)

    def le(self, other: Any) -> Tensor:
        return binary(ops.le, self, other)

    def gt(self, other: Any) -> Tensor:
        return binary(ops.gt, self, other)

    def ge(self, other: Any) -> Tensor:
        return binary(ops.ge, self, other)

    def __eq__(self, other: Any) -> Tensor:  # type: ignore[override]
        return binary_operator(ops.eq, self, other)

    __hash__ = object.__hash__  # by identity; a class that defines __eq__ loses it otherwise

    def __ne__(self, other: Any) -> Tensor:  # type: ignore[override]
        return binary_operator(ops.ne, self, other)

    def __lt__(self, other: Any) -> Tensor:
        return binary_operator(ops.lt, self, other)

    def __le__(self, other: Any) -> Tensor:
        return binary_operator(ops.le, self, other)

    def __gt__(self, other: Any) -> Tensor:
        return binary_operator(ops.gt, self, other)

    def __ge__(self, other: Any) -> Tensor:
        return binary_operator(ops.ge, self, other)

    def logical_and(self, other: Any) -> Tensor:
        return binary(ops.logical_and, self, other)

    def logical_or(self, other: Any) -> Tensor:
        return binary(ops.logical_or, self, other)

    def logical_xor(self, other: Any) -> Tensor:
        return binary(ops.logical_xor, self, other)

    def logical_not(self) -> Tensor:
        return apply(ops.logical_not, self)

    def __and__(self, other: Any) -> Tensor:
        must_integer("&", self, other)
        return binary_operator(ops.bitwise_and, self, other)

    def __or__(self, other: Any) -> Tensor:
        must_integer("|", self, other)
        return binary_operator(ops.bitwise_or, self, other)

    def __xor__(self, other: Any) -> Tensor:
        must_integer("^", self, other)
        return binary_operator(ops.bitwise_xor, self, other)

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __invert__(self) -> Tensor:
        must_integer("~", self)
        return apply(ops.logical_not, self) if self.dtype == dtypes.bool_ else -self - 1

    # One operand

    def neg(self) -> Tensor:
        return apply(ops.neg, self)

    def abs(self) -> Tensor:
        return apply(ops.abs, self)

    def exp(self) -> Tensor:
        return apply(ops.exp, as_float(self))

    def expm1(self) -> Tensor:
        return apply(ops.expm1, as_float(self))

    def log(self) -> Tensor:
        return apply(ops.log, as_float(self))

    def log1p(self) -> Tensor:
        return apply(ops.log1p, as_float(self))

    def sqrt(self) -> Tensor:
        return apply(ops.sqrt, as_float(self))

    def rsqrt(self) -> Tensor:
        return apply(ops.rsqrt, as_float(self))

    def reciprocal(self) -> Tensor:
        return apply(ops.reciprocal, as_float(self))

    def square(self) -> Tensor:
        return apply(ops.square, cast_to(self, dtypes.result_type(self, 2)))

    def sin(self) -> Tensor:
        return apply(ops.sin, as_float(self))

    def cos(self) -> Tensor:
        return apply(ops.cos, as_float(self))

    def tan(self) -> Tensor:
        return apply(ops.tan, as_float(self))

    def tanh(self) -> Tensor:
        return apply(ops.tanh, as_float(self))

    def sigmoid(self) -> Tensor:
        return apply(ops.sigmoid, as_float(self))

    def erf(self) -> Tensor:
        return apply(ops.erf, as_float(self))

    def relu(self) -> Tensor:
        return apply(ops.relu, self)

    def sign(self) -> Tensor:
        return self.clone() if self.dtype == dtypes.bool_ else apply(ops.sign, self)

    def floor(self) -> Tensor:
        return apply(ops.floor, self)

    def ceil(self) -> Tensor:
        return apply(ops.ceil, self)

    def round(self, *, decimals: int = 0) -> Tensor:
        """The nearest integer, or multiple of 10^-decimals; halves go to the even one."""
        scale = 10.0**decimals
        return apply(ops.round, self) if decimals == 0 else apply(ops.round, self * scale) / scale

    def isnan(self) -> Tensor:
        return apply(ops.isnan, self)

    def isinf(self) -> Tensor:
        return apply(ops.isinf, self)

    def isfinite(self) -> Tensor:
        return apply(ops.isfinite, self)

    def clamp(self, min: Any = None, max: Any = None) -> Tensor:
        """min(max(x, min), max); either bound may be a number, a Tensor, or missing."""
        if min is None and max is None:
            raise RuntimeError("clamp: at least one of min and max must be given")
        low, high = (None if v is None else operand(v, self) for v in (min, max))
        for given, v in ((min, low), (max, high)):
            if given is not None and v is None:
                raise TypeError(f"clamp: bounds are numbers or Tensors; got {type(given).__name__}")
        if isinstance(low, Core) or isinstance(high, Core):
            x: Any = self  # `where` and not `maximum`: on a bound all of the gradient goes to self
            if low is not None:
                x = choose("clamp", x < low, low, x, dtypes.result_type(x, low))
            return x if high is None else choose("clamp", x > high, high, x, dtypes.result_type(x, high))
        numbers = [v for v in (low, high) if v is not None]
        dtype = dtypes.result_type(self, *numbers)
        must_fit("clamp", dtype, *numbers)
        return apply(ops.clip, cast_to(self, dtype), low=low, high=high)

    clip = clamp

    def where(self, condition: Tensor, other: Any) -> Tensor:
        """self where the condition holds, else other."""
        return choose("where", condition, self, other, dtypes.result_type(self, other))

    def masked_fill(self, mask: Tensor, value: Any) -> Tensor:
        """`value`, one number, where the mask is True, else self."""
        if shapes.of(value):
            raise RuntimeError(f"masked_fill: the value must be one number; got shape {value.shape}. Use tf.where")
        if dtypes.rank(dtypes.result_type(value)) > dtypes.rank(self.dtype):
            raise RuntimeError(f"masked_fill: {value} does not fit into {self.dtype}. Write x.float() before")
        return choose("masked_fill", mask, value, self, self.dtype)


def choose(name: str, condition: Any, a: Any, b: Any, dtype: Any) -> Tensor:
    """a where the condition holds, else b, each a Tensor or a number."""
    if getattr(condition, "dtype", None) != dtypes.bool_:
        got = getattr(condition, "dtype", type(condition).__name__)
        raise RuntimeError(f"{name}: the mask must be a bool tensor; got {got}. Write mask.bool(), or a comparison")
    shapes.broadcast(name, condition.shape, shapes.of(a), shapes.of(b))
    must_fit(name, dtype, a, b)
    return apply(ops.where, condition, cast_to(a, dtype), cast_to(b, dtype))
