"""Another type, another device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from .. import backend, dtypes
from ..backend.transfer import carried
from ..tape import Node, mode
from .core import Core, wrap
from .gradients import Gradients
from .promote import cast_to

if TYPE_CHECKING:
    from . import Tensor


class Convert(Gradients):
    """Conversions; each gives back the tensor itself where nothing changes."""

    __slots__ = ()

    def to(
        self, *args: Any, dtype: Any = None, device: Any = None, non_blocking: Any = False, copy: Any = False
    ) -> Tensor:
        """In another dtype, on another device, or like another tensor: to("cuda"), to(tf.float16), to(other).

        The tensor itself where nothing changes, unless `copy`. `non_blocking` is taken and not needed: a copy to a GPU
        makes nobody wait, one to the CPU always does.
        """
        for a in args:
            if isinstance(a, Core):
                dtype, device = a.dtype, a.device
            elif isinstance(a, str) and backend.is_device(a):
                device = a
            else:
                dtype = a
        t: Any = self if dtype is None else cast_to(self, dtypes.dtype_of(dtype))
        xp = t.xp if device is None else backend.get(device)
        t = t if xp is t.xp else moved(t, xp)
        return t.clone() if copy and t is self else t

    def float(self) -> Tensor:
        return cast_to(self, dtypes.float32)

    def double(self) -> Tensor:
        return cast_to(self, dtypes.float64)

    def half(self) -> Tensor:
        return cast_to(self, dtypes.float16)

    def bfloat16(self) -> Tensor:
        return cast_to(self, dtypes.bfloat16())

    def int(self) -> Tensor:
        return cast_to(self, dtypes.int32)

    def long(self) -> Tensor:
        return cast_to(self, dtypes.int64)

    def bool(self) -> Tensor:
        return cast_to(self, dtypes.bool_)

    def type_as(self, other: Tensor) -> Tensor:
        return self.to(other)

    def cpu(self) -> Tensor:
        return self.to(device="cpu")

    def cuda(self, device: Any = None) -> Tensor:
        """On a GPU: the current one, or that of this number or name."""
        return self.to(device="cuda" if device is None else f"cuda:{device}" if type(device) is int else device)

    def contiguous(self) -> Self:
        """Itself: memory order is never part of the meaning here."""
        return self


def moved(x: Core, xp: Any) -> Tensor:
    """x on another machine; on the way back its gradient travels home."""
    home = x.xp
    t = wrap(carried(x.data, home, xp), xp, [0])
    if x.node is not None and mode.record:
        node = x.node
        edges = [(node, lambda g: carried(g, xp, home))]
        t.node = Node("to", xp, edges, [x.version], t.shape, t.dtype, lambda: [(node, lambda g: moved(g, home))])
    return t
