"""Tensors from nothing: `zeros`, `arange`, `randn` and the like, with PyTorch's arguments.

Random ones draw from the counter-based streams of `rng.py`: one seed gives the same numbers on every device.
"""

from __future__ import annotations

from math import isfinite
from typing import Any

import numpy as np

from . import backend, dtypes, rng, shapes
from .functions import free
from .tensor import Tensor, wrap
from .tensor.promote import must_fit


def _made(array: np.ndarray, dtype: Any, device: Any, requires_grad: bool) -> Tensor:
    xp = backend.get(device)
    t = wrap(xp.asarray(array if dtype is None else array.astype(dtypes.dtype_of(dtype), copy=False)), xp, [0])
    return t.requires_grad_() if requires_grad else t


def _shape(size: tuple) -> tuple:
    size = tuple(size[0]) if len(size) == 1 and isinstance(size[0], (tuple, list)) else size
    size = shapes.ints("size", size)
    if any(n < 0 for n in size):
        raise RuntimeError(f"size: no axis can be negative; got {size}")
    return size


def tensor(data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A Tensor with a copy of `data`: numbers, nested lists, an array or a Tensor."""
    return Tensor(data, dtype=dtype, device=device, requires_grad=requires_grad)


def from_numpy(array: np.ndarray) -> Tensor:
    """A CPU tensor that shares the array's memory: a write to one shows in the other."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"from_numpy: needs a numpy.ndarray; got {type(array).__name__}. Use tf.tensor(...) to copy")
    if dtypes.dtype_of(array.dtype) != array.dtype:
        raise ValueError(f"from_numpy: needs the machine's byte order; got {array.dtype}. Use tf.tensor(...) to copy")
    cpu = backend.get("cpu")
    return wrap(np.asarray(array), cpu, [0])


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """`data` as a Tensor, without a copy where that is possible."""
    if isinstance(data, Tensor):
        return data.to(dtype=dtype, device=device)
    t = from_numpy(data) if isinstance(data, np.ndarray) else Tensor(data, device="cpu")
    return t.to(dtype=dtype, device=backend.get_default_device() if device is None else device)


def from_dlpack(ext: Any) -> Tensor:
    """A tensor that shares the memory of any object with `__dlpack__` (on the CPU)."""
    if not hasattr(ext, "__dlpack__"):
        raise TypeError(f"from_dlpack: needs an object with __dlpack__; got {type(ext).__name__}. Use tf.tensor(...)")
    return from_numpy(np.from_dlpack(ext))


def full(size: Any, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """`fill_value` everywhere; its kind (bool, int, float) chooses the dtype."""
    if np.ndim(fill_value):
        raise TypeError(f"full: the value must be one number; got shape {np.shape(fill_value)}. Use tf.tensor(...)")
    own = dtypes.result_type(fill_value)
    dtype = own if dtype is None else dtypes.dtype_of(dtype)
    must_fit("full", dtype, fill_value)
    return _made(np.full(_shape((size,)), fill_value, dtype), None, device, requires_grad)


def zeros(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros of shape `size`, float32 unless said otherwise."""
    return full(_shape(size), 0.0, dtype=dtype, device=device, requires_grad=requires_grad)


def ones(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones of shape `size`, float32 unless said otherwise."""
    return full(_shape(size), 1.0, dtype=dtype, device=device, requires_grad=requires_grad)


def eye(n: int, m: int | None = None, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """(n, m) with ones on the diagonal."""
    n, m = _shape((n, n if m is None else m))
    return _made(np.eye(n, m, dtype=np.float32), dtype, device, requires_grad)


def _finite(what: str, *given: Any) -> None:
    if not all(hasattr(v, "__float__") and isfinite(v) for v in given):
        raise TypeError(f"{what} are finite numbers; got {', '.join(map(repr, given))}")


def arange(
    start: Any = 0,
    end: Any = None,
    step: Any = 1,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """start, start + step, ... below end; integers give int64, any float gives float32."""
    if end is None:
        start, end = 0, start
    start, end, step = (v.item() if isinstance(v, Tensor) else v for v in (start, end, step))
    _finite("arange: start, end and step", start, end, step)
    if step == 0 or (end - start) * step < 0:
        raise RuntimeError(f"arange: step must lead from start to end and not be 0; got {start}, {end}, step {step}")
    whole = all(isinstance(v, (int, np.integer)) for v in (start, end, step))
    values = np.arange(start, end, step, dtype=np.int64 if whole else np.float64)
    return _made(values, dtype or (dtypes.int64 if whole else dtypes.float32), device, requires_grad)


def linspace(
    start: float, end: float, steps: int, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """`steps` numbers at equal distances, both ends included."""
    _finite("linspace: start and end", start, end)
    (steps,) = shapes.ints("linspace: steps", (steps,))
    if steps < 0:
        raise ValueError(f"linspace: steps must be at least 0; got {steps}")
    return _made(np.linspace(start, end, steps), dtype or dtypes.float32, device, requires_grad)


def _drawn(draw: Any, size: tuple, generator: Any) -> np.ndarray:
    shape = _shape(size)
    return draw((generator or rng.default).key(), int(np.prod(shape, dtype=np.int64))).reshape(shape)


def rand(
    *size: Any, generator: Any = None, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Uniform in [0, 1)."""
    values = _drawn(rng.uniform, size, generator)
    if dtype is not None and dtypes.is_half(dtypes.dtype_of(dtype)):  # rounding up would give 1
        steps = 2.0 ** (11 if dtypes.dtype_of(dtype) == dtypes.float16 else 8)
        values = np.floor(values * steps) / steps
    return _made(values, dtype, device, requires_grad)


def randn(
    *size: Any, generator: Any = None, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Normal, mean 0, variance 1."""
    return _made(_drawn(rng.normal, size, generator), dtype, device, requires_grad)


def randint(
    low: int = 0, high: Any = None, size: Any = None, *, generator: Any = None, dtype: Any = None, device: Any = None
) -> Tensor:
    """Integers from low to high - 1: randint(low, high, size), randint(high, size), randint(high, size=size)."""
    if size is None and isinstance(high, (tuple, list)):
        low, high, size = 0, low, high
    elif high is None:
        low, high = 0, low
    low, high = shapes.ints("randint", (low, high))
    if size is None or not 0 < high - low < 2**63:
        raise RuntimeError(f"randint: needs low < high and a size; got low {low}, high {high}, size {size}")
    size, n = _shape((size,)), high - low
    if n <= 2**32:
        words = _drawn(rng.bits, size, generator).astype(np.uint64)
        drawn = (words * np.uint64(n)) >> np.uint64(32)  # no division; the bias is below n / 2^32
    else:
        pairs = _drawn(rng.bits, (*size, 2), generator).astype(np.uint64)
        drawn = ((pairs[..., 0] << np.uint64(32)) | pairs[..., 1]) % np.uint64(n)
    return _made(drawn.astype(np.int64) + low, dtype, device, False)


def randperm(n: int, *, generator: Any = None, device: Any = None) -> Tensor:
    """0..n-1 in random order."""
    words = _drawn(rng.bits, shapes.ints("randperm", (n,)), generator)
    return _made(np.argsort(words, kind="stable"), None, device, False)


def _like(make: Any, t: Tensor, dtype: Any, device: Any, requires_grad: bool) -> Tensor:
    dtype, device = t.dtype if dtype is None else dtype, t.device if device is None else device
    return make(t.shape, dtype=dtype, device=device, requires_grad=requires_grad)


@free
def zeros_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    return _like(zeros, input, dtype, device, requires_grad)


@free
def ones_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    return _like(ones, input, dtype, device, requires_grad)


@free
def full_like(
    input: Tensor, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    return _like(lambda size, **kw: full(size, fill_value, **kw), input, dtype, device, requires_grad)


@free
def rand_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    return _like(rand, input, dtype, device, requires_grad)


@free
def randn_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    return _like(randn, input, dtype, device, requires_grad)


@free
def randint_like(input: Tensor, low: int, high: Any = None, *, dtype: Any = None, device: Any = None) -> Tensor:
    low, high = (0, low) if high is None else (low, high)
    return randint(low, high, input.shape, dtype=dtype or input.dtype, device=device or input.device)
