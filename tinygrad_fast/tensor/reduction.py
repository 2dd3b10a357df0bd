"""Many numbers to one: `dim` becomes a sorted tuple of axes, then the op in `ops/reduce.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import dtypes, ops, shapes
from .core import Core, apply, wrap
from .indexing import Indexing
from .promote import as_float, autocast_inputs, binary, must_float, must_tensor

if TYPE_CHECKING:
    from . import Tensor


class Extreme(NamedTuple):
    """What `max(dim)`, `min(dim)`, `sort` and `topk` return."""

    values: Tensor
    indices: Tensor


class Reduction(Indexing):
    """Reductions, running sums, sorting."""

    __slots__ = ()

    def sum(self, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
        if dtype is None and not dtypes.is_float(self.dtype):
            dtype = dtypes.int64
        return apply(ops.sum, self.to(dtype=dtype), axis=shapes.axes(dim, self.ndim), keepdims=keepdim)

    def mean(self, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
        x = must_float("mean", self.to(dtype=dtype))
        return apply(ops.mean, x, axis=shapes.axes(dim, self.ndim), keepdims=keepdim)

    def var(
        self, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: float = 1
    ) -> Tensor:
        """sum (x - mean)^2 / (n - correction); `unbiased` is the older way to say correction 1 or 0."""
        if isinstance(dim, bool):  # x.var(False)
            dim, unbiased = None, dim
        correction = correction if unbiased is None else int(unbiased)
        axis = shapes.axes(dim, self.ndim)
        return apply(ops.var, must_float("var", self), axis=axis, correction=correction, keepdims=keepdim)

    def std(
        self, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: float = 1
    ) -> Tensor:
        """The square root of `var`."""
        if isinstance(dim, bool):
            dim, unbiased = None, dim
        correction = correction if unbiased is None else int(unbiased)
        axis = shapes.axes(dim, self.ndim)
        return apply(ops.std, must_float("std", self), axis=axis, correction=correction, keepdims=keepdim)

    def amax(self, dim: Any = None, keepdim: bool = False) -> Tensor:
        return apply(ops.amax, self, axis=self._nonempty(dim, "amax"), keepdims=keepdim)

    def amin(self, dim: Any = None, keepdim: bool = False) -> Tensor:
        return apply(ops.amin, self, axis=self._nonempty(dim, "amin"), keepdims=keepdim)

    def _nonempty(self, dim: Any, name: str) -> shapes.Shape:
        """The axes of a reduction that has no value over no elements (a maximum)."""
        axis = shapes.axes(dim, self.ndim)
        if any(self.shape[i] == 0 for i in axis):
            raise IndexError(f"{name}: has no value over no elements; got shape {self.shape} and dim {dim}")
        return axis

    def max(self, dim: Any = None, keepdim: bool = False) -> Any:
        """The maximum; with an int `dim`, (values, indices) of the first; with a Tensor, the larger of both."""
        return self._extreme(ops.amax, ops.max, ops.maximum, dim, keepdim)

    def min(self, dim: Any = None, keepdim: bool = False) -> Any:
        """The minimum; with an int `dim`, (values, indices) of the first; with a Tensor, the smaller of both."""
        return self._extreme(ops.amin, ops.min, ops.minimum, dim, keepdim)

    def _extreme(self, over_all: Callable, along: Callable, of_two: Callable, dim: Any, keepdim: bool) -> Any:
        if isinstance(dim, Core):
            return binary(of_two, self, dim)
        axis = self._nonempty(dim, along.__name__)
        if dim is None:
            return apply(over_all, self, axis=axis)
        if not self.ndim:
            return Extreme(self.clone(), wrap(self.xp.full((), 0, dtypes.int64), self.xp, [0]))
        return Extreme(*apply(along, self, axis=axis[0], keepdims=keepdim))

    def argmax(self, dim: int | None = None, keepdim: bool = False) -> Tensor:
        return self._arg(ops.argmax, dim, keepdim)

    def argmin(self, dim: int | None = None, keepdim: bool = False) -> Tensor:
        return self._arg(ops.argmin, dim, keepdim)

    def _arg(self, op: Callable, dim: int | None, keepdim: bool) -> Tensor:
        self._nonempty(dim, op.__name__)
        if dim is None or not self.ndim:
            index = apply(op, self.reshape(-1), axis=0)
            return index.reshape((1,) * self.ndim) if keepdim else index
        return apply(op, self, axis=shapes.axis(dim, self.ndim), keepdims=keepdim)

    def prod(self, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
        x: Any = self.to(dtype=dtype) if dtype is not None or dtypes.is_float(self.dtype) else self.long()
        return apply(ops.prod, x, axis=shapes.axes(dim, self.ndim), keepdims=keepdim)

    def logsumexp(self, dim: Any, keepdim: bool = False) -> Tensor:
        axis = shapes.axes(dim, self.ndim)
        if any(self.shape[i] == 0 for i in axis):
            return self.exp().sum(dim, keepdim).log()  # log(0): there is no maximum to be shifted by
        return apply(ops.logsumexp, as_float(self), axis=axis, keepdims=keepdim)

    def softmax(self, dim: int, dtype: Any = None) -> Tensor:
        return self._along(ops.softmax, dim, dtype)

    def log_softmax(self, dim: int, dtype: Any = None) -> Tensor:
        return self._along(ops.log_softmax, dim, dtype)

    def _along(self, op: Callable, dim: int, dtype: Any) -> Tensor:
        x = as_float(self.to(dtype=dtype))
        axis = shapes.axis(dim, self.ndim)
        if not self.ndim:
            return apply(op, x.reshape(1), axis=0).reshape(())
        return apply(op, x, axis=axis) if self.shape[axis] else x.clone()

    def cumsum(self, dim: int, *, dtype: Any = None) -> Tensor:
        x: Any = self.to(dtype=dtype) if dtype is not None or dtypes.is_float(self.dtype) else self.long()
        axis = shapes.axis(dim, self.ndim)
        return apply(ops.cumsum, x, axis=axis) if self.ndim else x.clone()

    def __contains__(self, element: Any) -> bool:
        return bool(self.eq(element).any())

    def any(self, dim: Any = None, keepdim: bool = False) -> Tensor:
        return apply(ops.any, self, axis=shapes.axes(dim, self.ndim), keepdims=keepdim)

    def all(self, dim: Any = None, keepdim: bool = False) -> Tensor:
        return apply(ops.all, self, axis=shapes.axes(dim, self.ndim), keepdims=keepdim)

    def equal(self, other: Tensor) -> bool:
        """True if shapes and all elements are equal."""
        must_tensor("equal", other)
        return self.shape == other.shape and bool(self.eq(other).all())

    def isclose(self, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Tensor:
        """|self - other| <= atol + rtol |other|, for each element; infinities are close to themselves."""
        must_tensor("isclose", other)
        a, b = self.detach(), other.detach()
        finite = a.isfinite() & b.isfinite()
        near = (a.where(finite, 0) - b.where(finite, 0)).abs() <= b.abs() * rtol + atol
        close = a.eq(b) | (near & finite)
        return close | (a.isnan() & b.isnan()) if equal_nan else close

    def allclose(self, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
        """True if all elements are close in the sense of `isclose`."""
        return bool(self.isclose(other, rtol, atol, equal_nan).all())

    def norm(self, p: float | str = 2, dim: Any = None, keepdim: bool = False) -> Tensor:
        """(sum |x|^p)^(1/p); the largest |x| for p = inf, the count of x != 0 for p = 0. The gradient at x = 0 is 0."""
        (x,) = autocast_inputs("norm", must_float("norm", self))
        if p == float("inf"):
            return x.abs().amax(dim, keepdim)
        if p == 1:
            return x.abs().sum(dim, keepdim)
        if p == 0:
            return x.ne(0).sum(dim, keepdim).to(x.dtype)
        power = 2.0 if p == "fro" else float(p)
        total = (x.square() if power == 2 else x.abs() ** power).sum(dim, keepdim)
        some = total.masked_fill(total == 0, 1)  # the root has no slope at 0
        return (some.sqrt() if power == 2 else some ** (1 / power)).masked_fill(total == 0, 0)

    def argsort(self, dim: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
        """The indices that sort along an axis; equal elements always keep their order, also with stable=False."""
        axis = shapes.axis(dim, self.ndim)
        if not self.ndim:
            return apply(ops.argsort, self.reshape(1), axis=0, descending=False).reshape(())
        return apply(ops.argsort, self, axis=axis, descending=descending)

    def sort(self, dim: int = -1, descending: bool = False, *, stable: bool = True) -> Extreme:
        """In order along an axis, equal elements as they stood; NaN counts as the largest."""
        indices = self.argsort(dim, descending)
        return Extreme(self.gather(dim, indices), indices)

    def topk(self, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Extreme:
        """The k largest (or smallest) along an axis, always in order, equal elements as they stood."""
        n = self.size(dim) if self.ndim else 1
        (k,) = shapes.ints("topk", (k,))
        if not 0 <= k <= n:
            raise RuntimeError(f"topk: k must be in 0..{n}, the size of dim {dim}; got {k}")
        if not self.ndim:
            return self.sort(dim)
        indices = apply(ops.topk, self, k=k, axis=shapes.axis(dim, self.ndim), descending=largest)
        return Extreme(self.gather(dim, indices), indices)
