"""Writing in place: leaves under `no_grad`, and tensors outside every graph. Anything else is refused."""

from __future__ import annotations

from typing import Any, Self

from .. import dtypes, shapes
from ..shapes import Slot
from ..tape import Node, mode, written
from .convert import moved
from .core import Core
from .indexing import ints_first, static_index
from .products import Products
from .promote import fresh_array, must_fit


class InPlace(Products):
    """Methods that write to the tensor's own memory, and count it."""

    __slots__ = ()

    def _write(self, name: str, value: Any, key: Any = ..., view: Any = None) -> Self:
        if isinstance(self.node, Node):
            raise RuntimeError(
                f"{name}: this tensor is the result of {self.node.name}, and its graph may still need the value; "
                "make a new tensor (y = y + x), or write to y.detach().clone()"
            )
        if self.node is not None and mode.record:
            raise RuntimeError(
                f"{name}: a leaf that requires grad is written in place only under `with tf.no_grad():`, "
                "where the write is not part of the function that is differentiated"
            )
        if isinstance(value, Core):
            if value.node is not None and mode.record:
                raise RuntimeError(f"{name}: the value requires grad, which a write in place would lose; use no_grad()")
            if value.xp is not self.xp:
                value = moved(value, self.xp)
            if dtypes.rank(value.dtype) > dtypes.rank(self.dtype):
                raise RuntimeError(f"{name}: a {value.dtype} result does not fit into a {self.dtype} tensor in place")
            value = value.data
        elif not isinstance(value, (int, float)) and not hasattr(value, "dtype"):
            value = fresh_array(value, None)  # a list; what holds no numbers is refused
        written(self.version)
        data = self.data if view is None else view
        try:
            self.xp.write_(data, value, key)
        except OverflowError:
            must_fit(name, self.dtype, value)
            raise
        except ValueError:
            place = data.shape if key is ... else data[key].shape
            raise shapes.ShapeError(
                f"{name}: the value must broadcast to {place}, the place it is written to; got {shapes.of(value)}"
            ) from None
        return self

    def copy_(self, src: Core, non_blocking: bool = False) -> Self:
        return self._write("copy_", src)

    def fill_(self, value: Any) -> Self:
        return self._write("fill_", value)

    def zero_(self) -> Self:
        return self._write("zero_", 0)

    def add_(self, other: Any, *, alpha: Any = 1) -> Self:
        return self._write("add_", self.detach() + (other if alpha == 1 else other * alpha))

    def sub_(self, other: Any, *, alpha: Any = 1) -> Self:
        return self._write("sub_", self.detach() - (other if alpha == 1 else other * alpha))

    def mul_(self, other: Any) -> Self:
        return self._write("mul_", self.detach() * other)

    def div_(self, other: Any) -> Self:
        return self._write("div_", self.detach() / other)

    def clamp_(self, min: Any = None, max: Any = None) -> Self:
        return self._write("clamp_", self.detach().clamp(min, max))

    def __iadd__(self, other: Any) -> Any:
        return self._write("+=", self.detach() + other)

    def __isub__(self, other: Any) -> Any:
        return self._write("-=", self.detach() - other)

    def __imul__(self, other: Any) -> Any:
        return self._write("*=", self.detach() * other)

    def __itruediv__(self, other: Any) -> Any:
        return self._write("/=", self.detach() / other)

    def __setitem__(self, key: Any, value: Any) -> None:
        static, indices = static_index(self, key)
        first, then = ints_first(static) if indices else ((), static)
        place = tuple(indices[k.i].data if isinstance(k, Slot) else k for k in then)
        self._write("x[...] = value", value, place, self.data[first] if first else None)
