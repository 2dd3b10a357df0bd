"""Another type, another device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import backend, dtypes
from .core import Core, apply
from .gradients import Gradients
from .promote import within

if TYPE_CHECKING:
    from . import Tensor


class Convert(Gradients):
    """Conversions; each gives back the tensor itself where nothing changes."""

    __slots__ = ()

    def to(self, *args: Any, dtype: Any = None, device: Any = None) -> Tensor:
        """In another dtype, on another device, or like another tensor: to("cuda"), to(tf.float16), to(other)."""
        for a in args:
            if isinstance(a, Core):
                dtype, device = a.dtype, a.device
            elif isinstance(a, str) and backend.is_device(a):
                device = a
            else:
                dtype = a
        t = self if dtype is None else within(self, dtypes.dtype_of(dtype))
        xp = t.xp if device is None else backend.get(device)
        return t if xp is t.xp else apply(_to_device, t, xp_to=xp)

    def float(self) -> Tensor:
        return within(self, dtypes.float32)

    def double(self) -> Tensor:
        return within(self, dtypes.float64)

    def half(self) -> Tensor:
        return within(self, dtypes.float16)

    def bfloat16(self) -> Tensor:
        return within(self, dtypes.bfloat16())

    def int(self) -> Tensor:
        return within(self, dtypes.int32)

    def long(self) -> Tensor:
        return within(self, dtypes.int64)

    def bool(self) -> Tensor:
        return within(self, dtypes.bool_)

    def type_as(self, other: Tensor) -> Tensor:
        return self.to(other)

    def cpu(self) -> Tensor:
        return self.to(device="cpu")

    def cuda(self) -> Tensor:
        return self.to(device="cuda")

    def contiguous(self) -> Tensor:
        """Itself: memory order is never part of the meaning here."""
        return self


def _to_device(xp: Any, x: Any, *, xp_to: Any) -> tuple:
    """x on another machine.     dx = g, sent back"""
    return xp_to.asarray(xp.to_numpy(x)), (lambda g: xp.asarray(xp_to.to_numpy(g)),)
