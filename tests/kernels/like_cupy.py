"""A stand-in for CuPy where there is no GPU: as strict as CuPy, with NumPy inside, and kernels run by the emulator.

An array here is no NumPy array, and becomes none by accident: as with CuPy, `np.asarray` of it is an error, and so is
any function that meets one array of either kind. What it can do is what CuPy does: the methods listed below, operators,
and NumPy's functions by way of `__array_ufunc__` and `__array_function__`. Where the real CuPy is installed (its
import needs no GPU), every function that is called must be one of its own, and take the same keywords. Devices, streams
and memory stand in like_cuda.py, NVRTC and the driver's library in like_driver.py.
"""

import functools
import inspect
import operator
import os
import re
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import ml_dtypes
import numpy as np

from tinygrad_fast.backend import cuda as backend_cuda, driver, special
from tinygrad_fast.backend.emulator import Emulator

from . import like_cuda, like_driver, like_graph

try:
    import cupy as real
except ImportError:
    real = None


@functools.cache
def _in_the_real_one(name, keywords):
    f = functools.reduce(getattr, name.split("."), real)  # "add", "add.reduce", "ndarray.take"
    try:
        says = str(inspect.signature(f))
    except (TypeError, ValueError):
        says = f.__doc__.partition("\n")[0]  # compiled: `take(self, indices, axis=None, out=None)`
    assert keywords <= set(re.findall(r"\w+", says)), f"cupy.{name}{says} does not take {sorted(keywords)}"


def _shut(a):
    return ndarray(a) if isinstance(a, np.ndarray | np.generic) else tuple(map(_shut, a)) if type(a) is tuple else a


def _open(a):
    if isinstance(a, np.ndarray) and a.ndim:
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    if isinstance(a, ndarray):
        if a.device != like_cuda.Device():
            here = like_cuda.device_now()
            raise ValueError(f"Array device must be same as the current device: {a.device.id} != {here}")
        return a.held
    return type(a)(map(_open, a)) if type(a) in (tuple, list) else a


def _call(name, f, arguments, keywords):
    if real:
        _in_the_real_one(name, frozenset(keywords))
    like_cuda.tick()
    arguments, keywords = [_open(a) for a in arguments], {k: _open(v) for k, v in keywords.items()}
    if recorded := like_cuda.recorded():
        return _shut(recorded.call(f, arguments, keywords))
    with np.errstate(all="ignore"):  # a GPU has no warnings
        return _shut(f(*arguments, **keywords))


def _floor_divide(a, b):
    return np.floor(np.divide(a, b)) if np.result_type(a, b).kind == "f" else np.floor_divide(a, b)


def _remainder(a, b):
    return a - _floor_divide(a, b) * b if np.result_type(a, b).kind == "f" else np.remainder(a, b)


ITS_OWN = {np.floor_divide: _floor_divide, np.remainder: _remainder}  # of floats: not what NumPy computes


def _in_order_c(f):
    """CuPy's elementwise results lie in order C, whatever they are made of."""
    return lambda *arguments, **keywords: np.asarray(f(*arguments, **keywords), order="C")


class ndarray(np.lib.mixins.NDArrayOperatorsMixin):
    """CuPy's array, as far as the framework goes."""

    __array_priority__ = 100

    def __init__(self, held):
        self.held, self.device, self.free_since = np.asarray(held), like_cuda.Device(), 0
        like_graph.looks(self)
        if self.held.base is None and not like_cuda.recorded():
            self.free_since = like_cuda.pool.holds(self.held)

    def __array__(self, *args, **keywords):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **keywords):
        f = ITS_OWN.get(ufunc, ufunc) if method == "__call__" else getattr(ufunc, method)
        if method == "reduce" and ufunc.__name__ not in ("add", "multiply"):
            raise NotImplementedError(f"`cupy_{ufunc.__name__}.reduce` is not supported yet")
        if out is not None:
            keywords["out"] = out[0]
        name = ufunc.__name__ + ("" if method == "__call__" else f".{method}")
        result = _call(name, f if out is not None else _in_order_c(f), inputs, keywords)
        return out[0] if out is not None else result

    def __array_function__(self, f, types, arguments, keywords):
        if not all(issubclass(t, ndarray) for t in types):
            return NotImplemented
        if f in (np.sort, np.argsort) and arguments[0].dtype == ml_dtypes.bfloat16:
            raise NotImplementedError("Unsupported dtype (bfloat16)")  # Thrust's
        if f is np.concatenate and len(arguments[0]) > 8:
            like_cuda.forbidden_in_capture("a copy of many addresses to the GPU")
        result = _call(f.__name__, _in_order_c(f) if f is np.where else f, arguments, keywords)
        if f is np.broadcast_to:  # NumPy's can only be read, CuPy's cannot tell
            result = lib.stride_tricks.as_strided(arguments[0], result.shape, result.strides)
        return result

    def __getitem__(self, key):
        key = _open(key)
        if recorded := like_cuda.recorded():
            return _shut(recorded.call(lambda a, key: a[key], [self.held, key], {}))
        return _shut(self.held[key])

    def __setitem__(self, key, value):
        key, value = _open(key), _open(value)
        if recorded := like_cuda.recorded():
            recorded.launch(lambda: self.held.__setitem__(key, value), [self.held, key, value])
        else:
            self.held[key] = value

    def __len__(self):
        return len(self.held)

    def __bool__(self):
        like_cuda.forbidden_in_capture("a copy from the GPU")
        like_cuda.waits["bool"] += 1
        return bool(self.held)

    def __index__(self):
        like_cuda.forbidden_in_capture("a copy from the GPU")
        like_cuda.waits["index"] += 1
        return operator.index(self.held)

    def tolist(self):
        like_cuda.forbidden_in_capture("a copy from the GPU")
        like_cuda.waits["tolist"] += 1
        return _open(self).tolist()

    def copy(self, order="C"):
        """To the current device, wherever the array lies."""
        if self.device == like_cuda.Device():
            return _call("ndarray.copy", np.ndarray.copy, (self, order), {})
        if not (self.held.flags.c_contiguous or self.held.flags.f_contiguous):
            raise NotImplementedError("CuPy cannot copy non-contiguous array between devices.")
        like_cuda.read_from(self.device.id)
        return ndarray(self.held.copy(order))

    def set(self, arr, stream=None):
        if real:
            _in_the_real_one("ndarray.set", frozenset(["stream"]))
        if not (self.held.flags.c_contiguous and arr.flags.c_contiguous):
            raise RuntimeError("Cannot set to non-contiguous array")
        assert type(arr) is np.ndarray and (arr.shape, arr.dtype) == (self.shape, self.dtype)
        stream, held = stream or like_cuda.get_current_stream(), _open(self)
        assert stream.kernels_ended >= self.free_since, "a copy into memory that kernels may still be reading"
        if stream is not like_cuda.Stream.null:
            arr = like_cuda.pinned.under(arr)
        stream.ask(lambda: held.__setitem__(..., arr))

    @property
    def flags(self):  # there is no `writeable`
        return SimpleNamespace(c_contiguous=self.held.flags.c_contiguous, f_contiguous=self.held.flags.f_contiguous)

    @property
    def data(self):  # a MemoryPointer
        if recorded := like_cuda.recorded():
            recorded.launch(lambda: None, self.held)  # who asks for an address wants the memory to stay
        return SimpleNamespace(ptr=self.held.ctypes.data)

    @property
    def base(self):
        return None if self.held.base is None else _shut(self.held.base)


def _method(name):
    def run(self, *arguments, **keywords):
        return _call(f"ndarray.{name}", getattr(np.ndarray, name), (self, *arguments), keywords)

    return run


METHODS = "astype reshape transpose swapaxes take argsort sum prod max min any all argmax argmin cumsum view"
for _name in METHODS.split():
    setattr(ndarray, _name, _method(_name))
for _name in "shape dtype ndim size itemsize nbytes strides T".split():
    setattr(ndarray, _name, property(lambda self, name=_name: _shut(getattr(self.held, name))))


def asarray(a, dtype=None):
    if isinstance(a, ndarray):
        return _call("asarray", np.asarray, (a, dtype), {})
    like_cuda.forbidden_in_capture("a copy to the GPU")
    fortran = isinstance(a, np.ndarray) and a.flags.f_contiguous  # no other order is kept
    return ndarray(np.array(a, dtype, order="F" if fortran else "C"))


def asnumpy(a):
    like_cuda.forbidden_in_capture("a copy from the GPU")
    like_cuda.waits["asnumpy"] += 1
    return _open(a).copy(order="C")


def _made(name):
    return lambda *arguments, **keywords: _call(name, getattr(np, name), arguments, keywords)


full, arange, where = map(_made, ("full", "arange", "where"))


def empty(shape, dtype):
    held = np.empty(shape, dtype)
    like_graph.spoil(held)  # what nobody has written
    if (recorded := like_cuda.recorded()) and like_cuda.allocator().__self__ is recorded.pool():
        recorded.made(held)
    return ndarray(held)


may_share_memory, ascontiguousarray = map(_made, ("may_share_memory", "ascontiguousarray"))


class CompileException(Exception):
    pass


class RawModule:
    """A module that the emulator compiles, with the arguments that CuPy would hand to the driver."""

    def __init__(self, code=None, *, path=None, options=()):
        assert (code is None) != (path is None)
        self.path, self.machine, self.source = path, Emulator(), like_driver.known(code)
        self.options = options

    def compile(self):
        if self.path:
            if not (found := like_driver.opened(Path(self.path).read_bytes())):
                raise CUDADriverError("CUDA_ERROR_NO_BINARY_FOR_GPU: no kernel image is available for execution")
            self.source, self.options = found
        self.defines = like_driver.defined(self.options)
        if self.source:
            if not self.path and self.source.architecture(self.defines):
                raise CompileException(f"error: not supported on .target '{like_driver.GPU}'")  # which CuPy appends
            self.compiled = self.machine.compile(self.source, self.defines)

    def get_function(self, name):
        return RawKernel(self, name)


class CUDADriverError(RuntimeError):
    pass


class RawKernel:
    max_dynamic_shared_size_bytes = 48 << 10  # unless it is set

    def __init__(self, module, name):
        self.module, self.name = module, name

    def __call__(self, grid, block, args, *, shared_mem=0):
        if shared_mem > self.max_dynamic_shared_size_bytes or not 0 < block[0] * block[1] * block[2] <= 1024:
            raise CUDADriverError("CUDA_ERROR_INVALID_VALUE: invalid argument")
        given = [_open(a) for a in args]
        like_cuda.tick()
        work = (self.module.compiled, self.name, grid, block, shared_mem, given)
        if recorded := like_cuda.recorded():
            return recorded.launch(lambda: self.module.machine.run(*work), given)
        self.module.machine.run(*work)


NVRTC = ("NVRTCError", "createProgram", "compileProgram", "getCUBIN", "getProgramLog", "destroyProgram")
lib = SimpleNamespace(
    stride_tricks=SimpleNamespace(
        as_strided=lambda x, shape, strides: ndarray(np.lib.stride_tricks.as_strided(x.held, shape, strides))
    )
)
cuda = SimpleNamespace(
    is_available=lambda: True,
    set_allocator=lambda allocator: None,
    using_allocator=like_cuda.using_allocator,
    compiler=SimpleNamespace(CompileException=CompileException),
    driver=SimpleNamespace(CUDADriverError=CUDADriverError),
    nvrtc=SimpleNamespace(
        getVersion=lambda: (13, 0),
        getSupportedArchs=lambda: (75, 80, 90, 100, 120),
        **{name: getattr(like_driver, name) for name in NVRTC},
    ),
    runtime=like_cuda.runtime,
    **{
        name: getattr(like_cuda, name)
        for name in ("Device", "Stream", "Event", "MemoryHook", "MemoryPool", "get_current_stream")
    },
)
get_default_memory_pool, get_default_pinned_memory_pool = lambda: like_cuda.pool, lambda: like_cuda.pinned
empty_pinned = like_cuda.pinned.empty  # of cupyx
__version__ = "14.2"


def erf(x):  # of cupyx.scipy.special
    recorded = like_cuda.recorded()
    return ndarray(recorded.call(special.erf, [x.held], {}) if recorded else special.erf(x.held))


NAMES = ("cupy", "cupyx", "cupyx.scipy", "cupyx.scipy.special")


@contextmanager
def installed():
    """As long as this is open, `import cupy` gives the stand-in, and like_driver.py is the driver's library. What is
    kept on disk lies apart: no GPU must ever load it."""
    instead = dict.fromkeys(NAMES, sys.modules[__name__])
    backend_cuda.why_not.cache_clear()
    try:
        with (
            tempfile.TemporaryDirectory() as kept,
            mock.patch.dict(os.environ, CUPY_CACHE_DIR=kept),
            mock.patch.dict(sys.modules, instead),
            mock.patch.object(driver, "cuda_driver", lambda: like_driver),
        ):
            yield
    finally:
        backend_cuda.why_not.cache_clear()
