"""Out to Python and NumPy: numbers, lists, arrays, DLPack."""

from __future__ import annotations

from typing import Any

import numpy as np

from .core import Core


class Interop(Core):
    """A tensor as a number, a list, an array."""

    __slots__ = ()

    def item(self) -> Any:
        """The Python number of a tensor with one element."""
        if self.numel() != 1:
            raise RuntimeError(f"item: needs exactly one element; got shape {self.shape}. Use .tolist() or an index")
        return self.xp.to_numpy(self.data).reshape(()).item()

    def tolist(self) -> Any:
        return self.xp.to_numpy(self.data).tolist()

    def __format__(self, spec: str) -> str:
        if not self.ndim:
            return format(self.item(), spec)
        if spec:
            raise TypeError(f"format: {spec!r} fits one number; got shape {self.shape}. Index it, or print it whole")
        return repr(self)

    def numpy(self, *, force: bool = False) -> np.ndarray:
        """The NumPy array; on the CPU it shares memory with the tensor. `force`: also of one that requires grad."""
        if self.node is not None and not force:
            raise RuntimeError("numpy: this tensor requires grad, and an array cannot. Write x.detach().numpy()")
        return self.xp.to_numpy(self.data)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.numpy(), dtype, copy=copy)

    def __dlpack__(self, **kwargs: Any) -> Any:
        if self.node is not None:
            raise RuntimeError("DLPack: this tensor requires grad, which does not travel. Write x.detach()")
        return self.data.__dlpack__(**kwargs)

    def __dlpack_device__(self) -> Any:
        return self.data.__dlpack_device__()

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("pickle: tensors are not pickled. tf.save writes them as safetensors; or send x.numpy()")

    def _one(self, kind: str) -> Any:
        if self.numel() != 1:
            raise RuntimeError(f"{kind}: needs exactly one element; got shape {self.shape}. Use .any() or .all()")
        return self.item()

    def __bool__(self) -> bool:
        return bool(self._one("bool"))

    def __float__(self) -> float:
        return float(self._one("float"))

    def __int__(self) -> int:
        return int(self._one("int"))

    def __index__(self) -> int:
        if self.is_floating_point():
            raise TypeError(f"index: only an integer tensor can be an index; got {self.dtype}")
        return int(self._one("index"))
