"""Tensor: an array, the machine it lies on, and its place in the tape. `apply` is the only door between the two.

The methods are PyTorch's, one line each where the rule fits a line: promote, turn `dim` into a sorted tuple of axes,
`apply` an op. What an op computes stands in `ops/`; how it is walked back, in `tape.py`. `tf.exp` is `Tensor.exp`.
Next on the way: `ops/elementwise.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from . import backend, dtypes, ops, shapes, tape
from .backend.composed import Composed
from .shapes import Slot
from .tape import Leaf, Node, mode


class Extreme(NamedTuple):
    """What `max(dim)`, `min(dim)`, `sort` and `topk` return."""

    values: Tensor
    indices: Tensor


def apply(op: Callable, *inputs: Any, **static: Any) -> Any:
    """Run `op` on the arrays of `inputs`, and record it if a gradient is wanted.

    Tensors and arrays go by position, Python numbers and None may stand among them; all else by keyword. Users' own ops
    come through the same door: a function `(xp, *arrays, **static) -> (y, pullbacks[, aux])` (see `ops/common.py`).
    Returns a Tensor; a tuple of them if y is a tuple; (y, *aux) if the op has aux arrays, which carry no gradient.
    Raises RuntimeError when the tensors lie on different devices.
    """
    arrays, nodes, cells = [], [], []
    xp, wanted = None, False
    for t in inputs:
        if isinstance(t, Tensor):
            if xp is None:
                xp = t.xp
            elif xp is not t.xp:
                raise RuntimeError(
                    f"{op.__name__}: all tensors must be on one device; got {xp.name} and {t.xp.name}. "
                    "Move one with .to(device)"
                )
            arrays.append(t.data)
            nodes.append(node := t.node)
            cells.append(t.version)
            if node is not None:
                wanted = True
        else:
            arrays.append(t)
            nodes.append(None)
    if xp is None:
        kinds = ", ".join(type(t).__name__ for t in inputs)
        raise TypeError(f"{op.__name__}: needs a Tensor; got {kinds}. Make one with tf.tensor(...)")
    y, pulls, *aux = op(xp, *arrays, **static)
    if type(y) is tuple:
        outs: Any = tuple(wrap(v, xp, cells[0] if xp.is_view(v, arrays[0]) else [0]) for v in y)
    else:
        outs = wrap(y, xp, cells[0] if xp.is_view(y, arrays[0]) else [0])
    if wanted and mode.record:
        edges = [(n, p) for n, p in zip(nodes, pulls) if n is not None and p is not None]
        if edges:
            redo = _redo(op, xp, inputs, static, nodes) if mode.keep else None
            parents, kept = [n for n, _ in edges], [p for _, p in edges]
            if type(y) is tuple:
                whole = Node(op.__name__, parents, kept, cells + [t.version for t in outs], None, None, redo)
                for i, t in enumerate(outs):
                    t.node = tape.part(whole, i, len(outs), t.data.shape, t.data.dtype)
            else:
                cells.append(outs.version)
                outs.node = Node(op.__name__, parents, kept, cells, outs.data.shape, outs.data.dtype, redo)
    if not aux:
        return outs
    return (outs, *(wrap(a, xp, [0]) for a in aux[0]))


def _redo(op: Callable, xp: Any, inputs: tuple, static: dict, nodes: list) -> Callable[[], list]:
    """The same op once more, on Tensors: its pullbacks are then differentiable themselves."""
    on_tensors = OnTensors(xp)

    def run() -> list:
        pulls = op(on_tensors, *inputs, **static)[1]
        return [p for n, p in zip(nodes, pulls) if n is not None and p is not None]

    return run


class OnTensors(Composed):
    """A backend whose arrays are Tensors: definitions are inherited, primitives are the ops of the same name."""

    def __init__(self, base: Any):
        self.base, self.name = base, base.name

    def full(self, shape: shapes.Shape, value: float, dtype: np.dtype) -> Tensor:
        return wrap(self.base.full(shape, value, dtype), self.base, [0])

    def own(self, d: Tensor, g: Tensor) -> Tensor:
        return d

    def __getattr__(self, name: str) -> Callable:
        op = getattr(ops, name)
        return lambda *arrays, **static: apply(op, *arrays, **static)


def wrap(data: Any, xp: Any, version: list[int]) -> Tensor:
    """A Tensor around an array of `xp`, without a copy."""
    t = Tensor.__new__(Tensor)
    t.data = data if type(data) is xp.array else xp.asarray(data)  # NumPy gives scalars for 0-d results
    t.xp, t.node, t.version = xp, None, version
    return t


def _array(value: Any, dtype: Any) -> np.ndarray:
    """A fresh NumPy array; Python floats become float32, everything else keeps its type."""
    if isinstance(value, Tensor):
        value = value.detach().numpy()
    first = value
    while isinstance(first, (list, tuple)) and first:
        first = first[0]
    try:
        a = np.array(value, None if dtype is None else dtypes.dtype_of(dtype))
    except ValueError as e:
        raise ValueError(f"tensor: nested lists must be rectangular, all of one length at each level; {e}") from None
    if dtype is None and a.dtype == np.float64 and (isinstance(value, (list, tuple)) or type(value) is float):
        if not hasattr(first, "dtype"):
            a = a.astype(np.float32)
    dtypes.dtype_of(a.dtype)
    return a


def _operand(value: Any, like: Tensor) -> Any:
    """The other side of a two-operand method: a Tensor, a Python number, or None if it is neither."""
    if isinstance(value, Tensor) or type(value) in (float, int, bool):
        return value
    if isinstance(value, np.ndarray):
        return wrap(like.xp.asarray(value), like.xp, [0])
    return value.item() if isinstance(value, (np.generic, int, float)) else None


def _pair(op: Callable, a: Any, b: Any, floating: bool = False) -> Any:
    """A two-operand op in the type where both meet (`floating`: at least float32)."""
    if not isinstance(a, Tensor) and not isinstance(b, Tensor):
        raise TypeError(f"{op.__name__}: needs a Tensor; got {type(a).__name__} and {type(b).__name__}")
    like = a if isinstance(a, Tensor) else b
    a, b = _operand(a, like), _operand(b, like)
    if a is None or b is None:
        return NotImplemented
    dtype = dtypes.result_type(a, b)
    if floating and not dtypes.is_float(dtype):
        dtype = dtypes.float32
    if isinstance(a, Tensor) and isinstance(b, Tensor) and a.data.shape != b.data.shape:
        shapes.broadcast(op.__name__, a.data.shape, b.data.shape)
    return apply(op, _in(a, dtype), _in(b, dtype))


def _in(a: Any, dtype: np.dtype) -> Any:
    """A Tensor cast to `dtype` if it must be; a number as the kind of number that `dtype` holds."""
    if isinstance(a, Tensor):
        return a if a.data.dtype == dtype else apply(ops.cast, a, dtype=dtype)
    return float(a) if dtypes.is_float(dtype) else a


def _float(x: Tensor) -> Tensor:
    """Integers and bools as float32: what exp, sqrt and the like compute in."""
    if not isinstance(x, Tensor):
        raise TypeError(f"needs a Tensor; got {type(x).__name__}. Make one with tf.tensor(...)")
    return x if dtypes.is_float(x.data.dtype) else apply(ops.cast, x, dtype=dtypes.float32)


def _must_float(name: str, x: Tensor) -> Tensor:
    if not dtypes.is_float(x.data.dtype):
        raise RuntimeError(f"{name}: must be of a floating dtype; got {x.data.dtype}. Write x.float().{name}(...)")
    return x


def _sizes(sizes: tuple) -> tuple:
    """f(2, 3) and f((2, 3)) mean the same."""
    return tuple(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes


class Tensor:
    """A multi-dimensional array that remembers how it was made.

    array_like: numbers, nested lists, an ndarray or a Tensor; copied. Python floats become float32, a float64 array
    stays float64. `requires_grad=True` makes a leaf: after `loss.backward()` its `.grad` is dloss/dself.
    Raises TypeError for what is not a number, and RuntimeError for integers that ask for a gradient.
    """

    __slots__ = ("data", "xp", "node", "version", "__weakref__")
    __array_ufunc__ = None  # ndarray * Tensor asks Tensor.__rmul__
    data: Any
    xp: Any
    node: Node | Leaf | None
    version: list[int]  # how often the memory was written in place; shared by all views of it

    def __init__(self, array_like: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False):
        if device is None and isinstance(array_like, Tensor):
            device = array_like.device
        self.xp, self.node, self.version = backend.get(device), None, [0]
        self.data = self.xp.asarray(_array(array_like, dtype))
        if requires_grad:
            self.requires_grad_()

    # What it is

    @property
    def shape(self) -> shapes.Shape:
        return self.data.shape

    @property
    def ndim(self) -> int:
        return self.data.ndim

    @property
    def dtype(self) -> np.dtype:
        return self.data.dtype

    @property
    def device(self) -> backend.Device:
        return backend.Device(self.xp.name)

    def size(self, dim: int | None = None) -> Any:
        return self.data.shape if dim is None else self.data.shape[shapes.axis(dim, self.ndim)]

    def dim(self) -> int:
        return self.data.ndim

    def numel(self) -> int:
        """The number of elements."""
        return prod(self.data.shape)

    def is_floating_point(self) -> bool:
        return dtypes.is_float(self.dtype)

    def __len__(self) -> int:
        if not self.data.shape:
            raise TypeError("len: a 0-d tensor has no length")
        return self.data.shape[0]

    def __repr__(self) -> str:
        from .display import represent

        return represent(self)

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec and self.numel() == 1 else repr(self)

    # Out to Python and NumPy

    def item(self) -> Any:
        """The Python number of a tensor with one element."""
        if self.numel() != 1:
            raise RuntimeError(f"item: needs exactly one element; got shape {self.shape}. Use .tolist() or an index")
        return self.xp.to_numpy(self.data).reshape(()).item()

    def tolist(self) -> Any:
        return self.xp.to_numpy(self.data).tolist()

    def numpy(self) -> np.ndarray:
        """The NumPy array; on the CPU it shares memory with the tensor."""
        if self.node is not None:
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

    def _one(self, kind: str) -> Any:
        if self.numel() != 1:
            raise RuntimeError(f"{kind}: needs exactly one element; got shape {self.shape}. Use .any(), .all() or an index")
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

    def __iter__(self) -> Iterator[Tensor]:
        if not self.data.shape:
            raise TypeError("iter: a 0-d tensor has nothing to iterate over; use .item()")
        return iter(self.unbind(0))

    __hash__ = object.__hash__

    # Gradients

    @property
    def requires_grad(self) -> bool:
        return self.node is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    @property
    def is_leaf(self) -> bool:
        return not isinstance(self.node, Node)

    @property
    def grad_fn(self) -> Node | None:
        """The recorded op that made this tensor."""
        return self.node if isinstance(self.node, Node) else None

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Start, or stop, wanting the gradient of this leaf."""
        if isinstance(self.node, Node):
            if not requires_grad:
                raise RuntimeError("requires_grad_: this tensor is the result of an op; use .detach() to leave its graph")
        elif not requires_grad:
            self.node = None
        elif not dtypes.is_float(self.data.dtype):
            raise RuntimeError(f"requires_grad: only floating tensors can; got {self.data.dtype}. Convert with .float()")
        elif self.node is None:
            self.node = Leaf(self.data.shape, self.data.dtype)
        return self

    @property
    def grad(self) -> Tensor | None:
        """dL/dself, summed over the backward passes since it was last None. Leaves, and where retain_grad() was called."""
        g = None if self.node is None else self.node.grad
        return None if g is None else wrap(g, self.xp, [0])

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if self.node is None:
            if value is None:
                return
            raise RuntimeError("grad: only a tensor that requires grad has one; call requires_grad_() first")
        if value is not None and (value.shape != self.shape or value.dtype != self.dtype):
            raise RuntimeError(
                f"grad: must have the tensor's shape and dtype, {self.shape} {self.dtype}; got {value.shape} {value.dtype}"
            )
        self.node.grad = None if value is None else value.data

    def retain_grad(self) -> None:
        """Keep `.grad` of this intermediate result too."""
        if self.node is None:
            raise RuntimeError("retain_grad: this tensor does not require grad")
        if isinstance(self.node, Node):
            self.node.retains = True

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> Handle:
        """`hook(g)` runs when the gradient of this tensor is complete; what it returns, if not None, replaces g.

        The hook should use `g` only: one that closes over its own tensor keeps it alive.
        """
        if self.node is None:
            raise RuntimeError("register_hook: this tensor does not require grad, so no gradient ever arrives")
        xp = self.xp

        def on_array(g: Any) -> Any:
            given = g if isinstance(g, Tensor) else wrap(g, xp, [0])
            new = hook(given)
            return g if new is None else new if isinstance(g, Tensor) else new.data

        if self.node.hooks is None:
            self.node.hooks = {}
        self.node.hooks[id(on_array)] = on_array
        return Handle(self.node.hooks, id(on_array))

    def backward(self, gradient: Tensor | None = None, retain_graph: bool = False) -> None:
        """Add dself/dleaf, times `gradient`, to the `.grad` of every leaf that this tensor was made from.

        gradient: dL/dself, of this shape and dtype; 1 for a tensor with one element. The graph is released on the way unless
        `retain_graph`. Raises RuntimeError where there is no graph, no gradient for a non-scalar, or it was released.
        """
        if self.node is None:
            raise RuntimeError(
                "backward: this tensor does not require grad: nothing it was made from has requires_grad=True, "
                "or it was made under no_grad()"
            )
        g = self.xp.copy(self._seed(gradient, "backward").data)  # it may become a leaf's .grad
        tape.walk([(self.node, g)], self.xp, retain_graph)

    def _seed(self, gradient: Tensor | None, name: str) -> Tensor:
        """dself/dself, or the gradient given."""
        if gradient is None:
            if self.numel() != 1:
                raise RuntimeError(
                    f"{name}: without a gradient the tensor must have one element; got shape {self.shape}. "
                    "Reduce it (.sum(), .mean()), or pass the gradient of your loss with respect to it"
                )
            return wrap(self.xp.full(self.shape, 1, self.dtype), self.xp, [0])
        if not isinstance(gradient, Tensor) or gradient.shape != self.shape or gradient.dtype != self.dtype:
            got = f"{gradient.shape} {gradient.dtype}" if isinstance(gradient, Tensor) else repr(gradient)
            raise RuntimeError(f"{name}: the gradient must be a Tensor {self.shape} {self.dtype}; got {got}")
        return gradient

    def detach(self) -> Tensor:
        """The same memory, outside the graph."""
        return wrap(self.data, self.xp, self.version)

    def clone(self) -> Tensor:
        """A copy, inside the graph."""
        return apply(ops.copy, self)

    def __deepcopy__(self, memo: dict) -> Tensor:
        if isinstance(self.node, Node):
            raise RuntimeError("deepcopy: only leaves can be copied with their gradient; write x.detach().clone()")
        t = type(self).__new__(type(self))
        t.data, t.xp, t.version, t.node = self.xp.copy(self.data), self.xp, [0], None
        if self.node is not None:
            t.requires_grad_()
            t.node.grad = None if self.node.grad is None else self.xp.copy(self.node.grad)
        memo[id(self)] = t
        return t

    # Type and place

    def to(self, *args: Any, dtype: Any = None, device: Any = None) -> Tensor:
        """In another dtype, on another device, or like another tensor: to("cuda"), to(tf.float16), to(other)."""
        for a in args:
            if isinstance(a, Tensor):
                dtype, device = a.dtype, a.device
            elif isinstance(a, str) and a.partition(":")[0] in ("cpu", "cuda", "emulated") or isinstance(a, backend.Device):
                device = a
            else:
                dtype = a
        t = self if dtype is None else _in(self, dtypes.dtype_of(dtype))
        xp = t.xp if device is None else backend.get(device)
        return t if xp is t.xp else apply(_to_device, t, xp_to=xp)

    def float(self) -> Tensor:
        return _in(self, dtypes.float32)

    def double(self) -> Tensor:
        return _in(self, dtypes.float64)

    def half(self) -> Tensor:
        return _in(self, dtypes.float16)

    def bfloat16(self) -> Tensor:
        return _in(self, dtypes.bfloat16())

    def int(self) -> Tensor:
        return _in(self, dtypes.int32)

    def long(self) -> Tensor:
        return _in(self, dtypes.int64)

    def bool(self) -> Tensor:
        return _in(self, dtypes.bool_)

    def type_as(self, other: Tensor) -> Tensor:
        return self.to(other)

    def cpu(self) -> Tensor:
        return self.to(device="cpu")

    def cuda(self) -> Tensor:
        return self.to(device="cuda")

    def contiguous(self) -> Tensor:
        """Itself: memory order is never part of the meaning here."""
        return self

    # In place: leaves under no_grad, and tensors outside every graph

    def _write(self, name: str, value: Any, key: Any = ...) -> Tensor:
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
        if isinstance(value, Tensor):
            if value.node is not None and mode.record:
                raise RuntimeError(f"{name}: the value written requires grad, which a write in place would lose; use no_grad()")
            if value.xp is not self.xp:
                value = value.to(device=self.device)
            if dtypes.rank(value.dtype) > dtypes.rank(self.dtype):
                raise RuntimeError(f"{name}: a {value.dtype} result does not fit into a {self.dtype} tensor in place")
            if key is ... and shapes.broadcast(name, self.shape, value.shape) != self.shape:
                raise ValueError(f"{name}: {value.shape} does not fit into {self.shape} in place")
            value = value.data
        self.version[0] += 1
        self.xp.write_(self.data, value, key)
        return self

    def copy_(self, src: Tensor) -> Tensor:
        return self._write("copy_", src)

    def fill_(self, value: Any) -> Tensor:
        return self._write("fill_", value)

    def zero_(self) -> Tensor:
        return self._write("zero_", 0)

    def add_(self, other: Any, *, alpha: Any = 1) -> Tensor:
        return self._write("add_", self.detach() + (other if alpha == 1 else other * alpha))

    def sub_(self, other: Any, *, alpha: Any = 1) -> Tensor:
        return self._write("sub_", self.detach() - (other if alpha == 1 else other * alpha))

    def mul_(self, other: Any) -> Tensor:
        return self._write("mul_", self.detach() * other)

    def div_(self, other: Any) -> Tensor:
        return self._write("div_", self.detach() / other)

    def clamp_(self, min: Any = None, max: Any = None) -> Tensor:
        return self._write("clamp_", self.detach().clamp(min, max))

    def __iadd__(self, other: Any) -> Tensor:
        return self._write("+=", self.detach() + other)

    def __isub__(self, other: Any) -> Tensor:
        return self._write("-=", self.detach() - other)

    def __imul__(self, other: Any) -> Tensor:
        return self._write("*=", self.detach() * other)

    def __itruediv__(self, other: Any) -> Tensor:
        return self._write("/=", self.detach() / other)

    def __setitem__(self, key: Any, value: Any) -> None:
        static, indices = _index(self, key)
        arrays = [t.data for t in indices]
        place = tuple(arrays[k.i] if isinstance(k, Slot) else k for k in static)
        self._write("x[...] = value", value, place)

    # Two operands

    def add(self, other: Any, *, alpha: Any = 1) -> Tensor:
        return _pair(ops.add, self, other if alpha == 1 else other * alpha)

    def sub(self, other: Any, *, alpha: Any = 1) -> Tensor:
        return _pair(ops.sub, self, other if alpha == 1 else other * alpha)

    def mul(self, other: Any) -> Tensor:
        return _pair(ops.mul, self, other)

    def div(self, other: Any) -> Tensor:
        return _pair(ops.div, self, other, floating=True)

    def pow(self, exponent: Any) -> Tensor:
        return _pair(ops.pow, self, exponent)

    def maximum(self, other: Any) -> Tensor:
        return _pair(ops.maximum, self, other)

    def minimum(self, other: Any) -> Tensor:
        return _pair(ops.minimum, self, other)

    def remainder(self, other: Any) -> Tensor:
        return _pair(ops.remainder, self, other)

    def floor_divide(self, other: Any) -> Tensor:
        return _pair(ops.floor_divide, self, other)

    def __add__(self, other: Any) -> Tensor:
        return _pair(ops.add, self, other)

    def __radd__(self, other: Any) -> Tensor:
        return _pair(ops.add, other, self)

    def __sub__(self, other: Any) -> Tensor:
        return _pair(ops.sub, self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return _pair(ops.sub, other, self)

    def __mul__(self, other: Any) -> Tensor:
        return _pair(ops.mul, self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return _pair(ops.mul, other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return _pair(ops.div, self, other, floating=True)

    def __rtruediv__(self, other: Any) -> Tensor:
        return _pair(ops.div, other, self, floating=True)

    def __pow__(self, other: Any) -> Tensor:
        return _pair(ops.pow, self, other)

    def __rpow__(self, other: Any) -> Tensor:
        return _pair(ops.pow, other, self)

    def __floordiv__(self, other: Any) -> Tensor:
        return _pair(ops.floor_divide, self, other)

    def __mod__(self, other: Any) -> Tensor:
        return _pair(ops.remainder, self, other)

    def __matmul__(self, other: Any) -> Tensor:
        return self.matmul(other) if isinstance(other, (Tensor, np.ndarray)) else NotImplemented

    def __rmatmul__(self, other: Any) -> Tensor:
        return _operand(other, self).matmul(self) if isinstance(other, np.ndarray) else NotImplemented

    def __neg__(self) -> Tensor:
        return apply(ops.neg, self)

    def __abs__(self) -> Tensor:
        return apply(ops.abs, self)

    def eq(self, other: Any) -> Tensor:
        return _pair(ops.eq, self, other)

    def ne(self, other: Any) -> Tensor:
        return _pair(ops.ne, self, other)

    def lt(self, other: Any) -> Tensor:
        return _pair(ops.lt, self, other)

    def le(self, other: Any) -> Tensor:
        return _pair(ops.le, self, other)

    def gt(self, other: Any) -> Tensor:
        return _pair(ops.gt, self, other)

    def ge(self, other: Any) -> Tensor:
        return _pair(ops.ge, self, other)

    def __eq__(self, other: Any) -> Tensor:  # type: ignore[override]
        return _pair(ops.eq, self, other)

    def __ne__(self, other: Any) -> Tensor:  # type: ignore[override]
        return _pair(ops.ne, self, other)

    def __lt__(self, other: Any) -> Tensor:
        return _pair(ops.lt, self, other)

    def __le__(self, other: Any) -> Tensor:
        return _pair(ops.le, self, other)

    def __gt__(self, other: Any) -> Tensor:
        return _pair(ops.gt, self, other)

    def __ge__(self, other: Any) -> Tensor:
        return _pair(ops.ge, self, other)

    def logical_and(self, other: Any) -> Tensor:
        return _pair(ops.logical_and, self, other)

    def logical_or(self, other: Any) -> Tensor:
        return _pair(ops.logical_or, self, other)

    def logical_xor(self, other: Any) -> Tensor:
        return _pair(ops.logical_xor, self, other)

    def logical_not(self) -> Tensor:
        return apply(ops.logical_not, self)

    def __and__(self, other: Any) -> Tensor:
        return _pair(ops.bitwise_and, self, other)

    def __or__(self, other: Any) -> Tensor:
        return _pair(ops.bitwise_or, self, other)

    def __xor__(self, other: Any) -> Tensor:
        return _pair(ops.bitwise_xor, self, other)

    def __invert__(self) -> Tensor:
        return apply(ops.logical_not, self) if self.dtype == dtypes.bool_ else -self - 1

    # One operand

    def neg(self) -> Tensor:
        return apply(ops.neg, self)

    def abs(self) -> Tensor:
        return apply(ops.abs, self)

    def exp(self) -> Tensor:
        return apply(ops.exp, _float(self))

    def expm1(self) -> Tensor:
        return apply(ops.expm1, _float(self))

    def log(self) -> Tensor:
        return apply(ops.log, _float(self))

    def log1p(self) -> Tensor:
        return apply(ops.log1p, _float(self))

    def sqrt(self) -> Tensor:
        return apply(ops.sqrt, _float(self))

    def rsqrt(self) -> Tensor:
        return apply(ops.rsqrt, _float(self))

    def reciprocal(self) -> Tensor:
        return apply(ops.reciprocal, _float(self))

    def square(self) -> Tensor:
        return apply(ops.square, self)

    def sin(self) -> Tensor:
        return apply(ops.sin, _float(self))

    def cos(self) -> Tensor:
        return apply(ops.cos, _float(self))

    def tan(self) -> Tensor:
        return apply(ops.tan, _float(self))

    def tanh(self) -> Tensor:
        return apply(ops.tanh, _float(self))

    def sigmoid(self) -> Tensor:
        return apply(ops.sigmoid, _float(self))

    def erf(self) -> Tensor:
        return apply(ops.erf, _float(self))

    def relu(self) -> Tensor:
        return apply(ops.relu, self)

    def sign(self) -> Tensor:
        return apply(ops.sign, self)

    def floor(self) -> Tensor:
        return apply(ops.floor, self)

    def ceil(self) -> Tensor:
        return apply(ops.ceil, self)

    def round(self) -> Tensor:
        return apply(ops.round, self)

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
        if isinstance(min, Tensor) or isinstance(max, Tensor):
            x = self if min is None else self.maximum(min)
            return x if max is None else x.minimum(max)
        numbers = [v for v in (min, max) if v is not None]
        return apply(ops.clip, _in(self, dtypes.result_type(self, *numbers)), low=min, high=max)

    clip = clamp

    def where(self, condition: Tensor, other: Any) -> Tensor:
        """self where the condition holds, else other."""
        dtype = dtypes.result_type(self, other)
        shapes.broadcast("where", condition.shape, self.shape, shapes.of(other))
        return apply(ops.where, condition, _in(self, dtype), _in(other, dtype))

    def masked_fill(self, mask: Tensor, value: Any) -> Tensor:
        """`value` where the mask is True, else self."""
        if mask.dtype != dtypes.bool_:
            raise RuntimeError(f"masked_fill: the mask must be bool; got {mask.dtype}. Write mask.bool()")
        shapes.broadcast("masked_fill", mask.shape, self.shape)
        return apply(ops.where, mask, _in(value, self.dtype), self)

    # Reductions

    def sum(self, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
        if dtype is None and not dtypes.is_float(self.dtype):
            dtype = dtypes.int64
        return apply(ops.sum, self.to(dtype=dtype), axis=shapes.axes(dim, self.ndim), keepdims=keepdim)

    def mean(self, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
        x = _must_float("mean", self.to(dtype=dtype))
        return apply(ops.mean, x, axis=shapes.axes(dim, self.ndim), keepdims=keepdim)

    def var(self, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: float = 1) -> Tensor:
        """sum (x - mean)^2 / (n - correction); `unbiased` is the older way to say correction 1 or 0."""
        correction = correction if unbiased is None else int(unbiased)
        axis = shapes.axes(dim, self.ndim)
        return apply(ops.var, _must_float("var", self), axis=axis, correction=correction, keepdims=keepdim)

    def std(self, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: float = 1) -> Tensor:
        """The square root of `var`."""
        correction = correction if unbiased is None else int(unbiased)
        axis = shapes.axes(dim, self.ndim)
        return apply(ops.std, _must_float("std", self), axis=axis, correction=correction, keepdims=keepdim)

    def amax(self, dim: Any = None, keepdim: bool = False) -> Tensor:
        return apply(ops.amax, self, axis=self._some(dim, "amax"), keepdims=keepdim)

    def amin(self, dim: Any = None, keepdim: bool = False) -> Tensor:
        return apply(ops.amin, self, axis=self._some(dim, "amin"), keepdims=keepdim)

    def _some(self, dim: Any, name: str) -> shapes.Shape:
        """The axes of a reduction that has no value for no elements."""
        axis = shapes.axes(dim, self.ndim)
        if any(self.shape[i] == 0 for i in axis):
            raise IndexError(f"{name}: has no value over no elements; got shape {self.shape} and dim {dim}")
        return axis

    def max(self, dim: Any = None, keepdim: bool = False) -> Any:
        """The maximum; with an int `dim`, (values, indices) of the first along it; with a Tensor, the larger of the two."""
        return self._extreme(ops.amax, ops.max, ops.maximum, dim, keepdim)

    def min(self, dim: Any = None, keepdim: bool = False) -> Any:
        """The minimum; with an int `dim`, (values, indices) of the first along it; with a Tensor, the smaller of the two."""
        return self._extreme(ops.amin, ops.min, ops.minimum, dim, keepdim)

    def _extreme(self, over_all: Callable, along: Callable, of_two: Callable, dim: Any, keepdim: bool) -> Any:
        if isinstance(dim, Tensor):
            return _pair(of_two, self, dim)
        axis = self._some(dim, along.__name__)
        if dim is None:
            return apply(over_all, self, axis=axis)
        if not self.ndim:
            return Extreme(self, wrap(self.xp.full((), 0, dtypes.int64), self.xp, [0]))
        return Extreme(*apply(along, self, axis=axis[0], keepdims=keepdim))

    def argmax(self, dim: int | None = None, keepdim: bool = False) -> Tensor:
        return self._arg(ops.argmax, dim, keepdim)

    def argmin(self, dim: int | None = None, keepdim: bool = False) -> Tensor:
        return self._arg(ops.argmin, dim, keepdim)

    def _arg(self, op: Callable, dim: int | None, keepdim: bool) -> Tensor:
        self._some(dim, op.__name__)
        if dim is None or not self.ndim:
            return apply(op, self.reshape(-1), axis=0)
        return apply(op, self, axis=shapes.axis(dim, self.ndim), keepdims=keepdim)

    def prod(self, dim: Any = None, keepdim: bool = False) -> Tensor:
        x = self if dtypes.is_float(self.dtype) else self.long()
        return apply(ops.prod, x, axis=shapes.axes(dim, self.ndim), keepdims=keepdim)

    def logsumexp(self, dim: Any, keepdim: bool = False) -> Tensor:
        return apply(ops.logsumexp, _float(self), axis=shapes.axes(dim, self.ndim), keepdims=keepdim)

    def softmax(self, dim: int) -> Tensor:
        return self._along(ops.softmax, dim)

    def log_softmax(self, dim: int) -> Tensor:
        return self._along(ops.log_softmax, dim)

    def _along(self, op: Callable, dim: int) -> Tensor:
        x = _float(self)
        if not self.ndim:
            return apply(op, x.reshape(1), axis=0).reshape(())
        return apply(op, x, axis=shapes.axis(dim, self.ndim))

    def cumsum(self, dim: int) -> Tensor:
        x = self if dtypes.is_float(self.dtype) else self.long()
        return apply(ops.cumsum, x, axis=shapes.axis(dim, self.ndim)) if self.ndim else x

    def any(self, dim: Any = None, keepdim: bool = False) -> Tensor:
        return apply(ops.any, self, axis=shapes.axes(dim, self.ndim), keepdims=keepdim)

    def all(self, dim: Any = None, keepdim: bool = False) -> Tensor:
        return apply(ops.all, self, axis=shapes.axes(dim, self.ndim), keepdims=keepdim)

    def norm(self, p: float = 2, dim: Any = None, keepdim: bool = False) -> Tensor:
        """(sum |x|^p)^(1/p); the largest |x| for p = inf."""
        x = _must_float("norm", self)
        if p == float("inf"):
            return x.abs().amax(dim, keepdim)
        if p == 1:
            return x.abs().sum(dim, keepdim)
        return x.square().sum(dim, keepdim).sqrt() if p == 2 else (x.abs() ** p).sum(dim, keepdim) ** (1 / p)

    def argsort(self, dim: int = -1, descending: bool = False) -> Tensor:
        return apply(ops.argsort, self, axis=shapes.axis(dim, self.ndim), descending=descending)

    def sort(self, dim: int = -1, descending: bool = False) -> Extreme:
        indices = self.argsort(dim, descending)
        return Extreme(self.gather(dim, indices), indices)

    def topk(self, k: int, dim: int = -1, largest: bool = True) -> Extreme:
        """The k largest (or smallest) along an axis, in order."""
        if not 0 <= k <= self.size(dim):
            raise RuntimeError(f"topk: k must be in 0..{self.size(dim)}, the size of dim {dim}; got {k}")
        indices = self.argsort(dim, descending=largest).narrow(dim, 0, k)
        return Extreme(self.gather(dim, indices), indices)

    # Movement

    def reshape(self, *shape: Any) -> Tensor:
        return apply(ops.reshape, self, shape=shapes.reshape(self.shape, _sizes(shape)))

    def view(self, *shape: Any) -> Tensor:
        """As `reshape`: memory order is not part of the meaning here, so it copies where it must."""
        return self.reshape(*shape)

    def view_as(self, other: Tensor) -> Tensor:
        return self.reshape(other.shape)

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        first, last = shapes.axis(start_dim, self.ndim), shapes.axis(end_dim, self.ndim)
        if first > last:
            raise RuntimeError(f"flatten: start_dim must not come after end_dim; got {start_dim} and {end_dim}")
        middle = prod(self.shape[first : last + 1])
        return self.reshape(*self.shape[:first], middle, *self.shape[last + 1 :])

    def permute(self, *dims: Any) -> Tensor:
        return apply(ops.permute, self, axes=shapes.permute(_sizes(dims), self.ndim))

    def transpose(self, dim0: int, dim1: int) -> Tensor:
        a, b = shapes.axis(dim0, self.ndim), shapes.axis(dim1, self.ndim)
        order = list(range(self.ndim))
        if order:
            order[a], order[b] = b, a
        return apply(ops.permute, self, axes=tuple(order))

    def t(self) -> Tensor:
        if self.ndim > 2:
            raise RuntimeError(f"t: needs at most 2 axes; got {self.shape}. Use .transpose(dim0, dim1) or .mT")
        return self.T

    @property
    def T(self) -> Tensor:
        return self.permute(*range(self.ndim)[::-1])

    @property
    def mT(self) -> Tensor:
        return self.transpose(-1, -2)

    def movedim(self, source: int, destination: int) -> Tensor:
        a, b = shapes.axis(source, self.ndim), shapes.axis(destination, self.ndim)
        order = [i for i in range(self.ndim) if i != a]
        order.insert(b, a)
        return self.permute(*order)

    def squeeze(self, dim: Any = None) -> Tensor:
        axis = shapes.axes(dim, self.ndim)
        return self.reshape(tuple(n for i, n in enumerate(self.shape) if not (i in axis and n == 1)))

    def unsqueeze(self, dim: int) -> Tensor:
        i = shapes.axis(dim, self.ndim + 1)
        return self.reshape(self.shape[:i] + (1,) + self.shape[i:])

    def expand(self, *sizes: Any) -> Tensor:
        return apply(ops.expand, self, shape=shapes.expand(self.shape, _sizes(sizes)))

    def expand_as(self, other: Tensor) -> Tensor:
        return self.expand(other.shape)

    def broadcast_to(self, shape: Sequence[int]) -> Tensor:
        return self.expand(tuple(shape))

    def repeat(self, *sizes: Any) -> Tensor:
        """Tiled: sizes[i] copies along axis i."""
        sizes = _sizes(sizes)
        if len(sizes) < self.ndim:
            raise RuntimeError(f"repeat: needs a count for each of the {self.ndim} axes; got {sizes}")
        shape = (1,) * (len(sizes) - self.ndim) + self.shape
        paired = self.reshape(tuple(n for m in shape for n in (1, m)))
        wide = paired.expand(tuple(n for k, m in zip(sizes, shape) for n in (k, m)))
        return wide.reshape(tuple(k * m for k, m in zip(sizes, shape)))

    def flip(self, *dims: Any) -> Tensor:
        return apply(ops.flip, self, axis=shapes.axes(_sizes(dims), self.ndim))

    def roll(self, shifts: int, dims: int) -> Tensor:
        n = self.size(dims)
        k = shifts % n if n else 0
        return cat([self.narrow(dims, n - k, k), self.narrow(dims, 0, n - k)], dims)

    def narrow(self, dim: int, start: int, length: int) -> Tensor:
        i = shapes.axis(dim, self.ndim)
        if not (0 <= start and 0 <= length and start + length <= self.shape[i]):
            raise RuntimeError(f"narrow: start + length must lie within {self.shape[i]}; got {start} + {length}")
        return apply(ops.getitem, self, key=(slice(None),) * i + (slice(start, start + length),))

    def split(self, split_size: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
        """Consecutive parts: of one size (the last may be smaller), or of each of the sizes given."""
        i, n = shapes.axis(dim, self.ndim), self.size(dim)
        if isinstance(split_size, int):
            if split_size < 1:
                raise RuntimeError(f"split: the size must be at least 1; got {split_size}")
            sizes = tuple(min(split_size, n - s) for s in range(0, n, split_size)) or (0,)
        else:
            sizes = tuple(split_size)
            if sum(sizes) != n:
                raise RuntimeError(f"split: sizes must sum to {n}, the size of dim {dim}; got {sizes}")
        return apply(ops.split, self, sizes=sizes, axis=i)

    def chunk(self, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
        """At most `chunks` parts of equal size (the last may be smaller)."""
        if chunks < 1:
            raise RuntimeError(f"chunk: needs at least 1 chunk; got {chunks}")
        return self.split(max(-(-self.size(dim) // chunks), 1), dim)

    def unbind(self, dim: int = 0) -> tuple[Tensor, ...]:
        """The slices along an axis, which goes away."""
        i = shapes.axis(dim, self.ndim)
        return tuple(p.squeeze(i) for p in self.split(1, i)) if self.shape[i] else ()

    def tril(self, diagonal: int = 0) -> Tensor:
        """Zeros above the diagonal."""
        return self._triangle(lambda i, j: j - i <= diagonal)

    def triu(self, diagonal: int = 0) -> Tensor:
        """Zeros below the diagonal."""
        return self._triangle(lambda i, j: j - i >= diagonal)

    def _triangle(self, keep: Callable) -> Tensor:
        if self.ndim < 2:
            raise RuntimeError(f"tril, triu: need at least 2 axes; got {self.shape}")
        mask = keep(*np.ogrid[: self.shape[-2], : self.shape[-1]])
        return apply(ops.where, wrap(self.xp.asarray(mask), self.xp, [0]), self, _in(0, self.dtype))

    # Indexing

    def __getitem__(self, key: Any) -> Tensor:
        static, indices = _index(self, key)
        return apply(ops.getitem, self, *indices, key=static)

    def gather(self, dim: int, index: Tensor) -> Tensor:
        """y[i][j] = x[index[i][j]][j] for dim 0, and so on."""
        axis = shapes.axis(dim, self.ndim)
        if index.ndim != self.ndim or any(a > b for i, (a, b) in enumerate(zip(index.shape, self.shape)) if i != axis):
            raise RuntimeError(
                f"gather: the index needs x's number of axes and no size above x's but along dim; got {index.shape}, x {self.shape}"
            )
        return apply(ops.gather, self, _checked_index("gather", index, self.shape[axis]), axis=axis)

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        """The slices along an axis at the given positions."""
        axis = shapes.axis(dim, self.ndim)
        if index.ndim > 1:
            raise IndexError(f"index_select: the index has one axis; got {index.shape}")
        checked = _checked_index("index_select", index.reshape(-1), self.shape[axis])
        return apply(ops.getitem, self, checked, key=(slice(None),) * axis + (Slot(0),))

    def nonzero(self) -> Tensor:
        """The indices (count, ndim) of the elements that are not 0. Reads values: no op inside a graph may."""
        found = np.nonzero(self.xp.to_numpy(self.data))
        return wrap(self.xp.asarray(np.stack(found, 1)), self.xp, [0])

    # Products

    def matmul(self, other: Any) -> Tensor:
        """Vectors, matrices and batches of them, as `torch.matmul`."""
        a, b = self, _operand(other, self)
        if not isinstance(b, Tensor):
            raise TypeError(f"matmul: needs a Tensor; got {type(other).__name__}")
        if not a.ndim or not b.ndim:
            raise RuntimeError(f"matmul: both need at least 1 axis; got {a.shape} and {b.shape}. Use * for numbers")
        dtype = dtypes.result_type(a, b)
        row, column = a.ndim == 1, b.ndim == 1
        y = apply(
            ops.matmul,
            _in(a.unsqueeze(0) if row else a, dtype),
            _in(b.unsqueeze(1) if column else b, dtype),
        )
        if column:
            y = y.squeeze(-1)
        return y.squeeze(-1 if column else -2) if row else y

    def mm(self, mat2: Tensor) -> Tensor:
        return self._ranked("mm", mat2, 2, 2)

    def bmm(self, mat2: Tensor) -> Tensor:
        return self._ranked("bmm", mat2, 3, 3)

    def mv(self, vec: Tensor) -> Tensor:
        return self._ranked("mv", vec, 2, 1)

    def dot(self, other: Tensor) -> Tensor:
        return self._ranked("dot", other, 1, 1)

    def _ranked(self, name: str, other: Tensor, m: int, n: int) -> Tensor:
        if self.ndim != m or other.ndim != n or (m == 3 and self.shape[0] != other.shape[0]):
            raise RuntimeError(
                f"{name}: needs tensors of {m} and {n} axes{' and equal batch' if m == 3 else ''}; got {self.shape} and {other.shape}"
            )
        return self.matmul(other)

    def outer(self, vec2: Tensor) -> Tensor:
        if self.ndim != 1 or vec2.ndim != 1:
            raise RuntimeError(f"outer: needs two vectors; got {self.shape} and {vec2.shape}")
        return self.unsqueeze(1) * vec2.unsqueeze(0)


class Handle:
    """What `register_hook` returns: `remove()` takes the hook off again."""

    __slots__ = ("hooks", "key")

    def __init__(self, hooks: dict, key: int):
        self.hooks, self.key = hooks, key

    def remove(self) -> None:
        self.hooks.pop(self.key, None)


def _to_device(xp: Any, x: Any, *, xp_to: Any) -> tuple:
    """x on another machine.     dx = g, sent back"""
    return xp_to.asarray(xp.to_numpy(x)), (lambda g: xp.asarray(xp_to.to_numpy(g)),)


def _checked_index(name: str, index: Tensor, n: int) -> Tensor:
    """An integer index with every element in 0..n-1; negative ones count from the end. Read on the CPU only."""
    if index.dtype.kind not in "iu":
        raise IndexError(f"{name}: the index must hold integers; got {index.dtype}. Write index.long()")
    if index.xp.name == "cpu" and index.numel():
        low, high = int(index.data.min()), int(index.data.max())
        if low < -n or high >= n:
            raise IndexError(f"{name}: index must be in {-n}..{n - 1} for an axis of {n}; got {low if low < -n else high}")
    return index


def _index(x: Tensor, key: Any) -> tuple[tuple, list[Tensor]]:
    """A person's index as a static key with slots, and the integer tensors that fill them."""
    parts = key if isinstance(key, tuple) else (key,)
    used = sum(_consumed(k) for k in parts)
    if used > x.ndim:
        raise IndexError(f"index: at most {x.ndim} indices for a tensor of shape {x.shape}; got {used}")
    static, indices, axis = [], [], 0
    for k in parts:
        if k is None or k is Ellipsis or isinstance(k, slice):
            static.append(_plain_slice(k) if isinstance(k, slice) else k)
        elif isinstance(k, (int, np.integer)) and not isinstance(k, (bool, np.bool_)):
            n = x.shape[axis]
            if not -n <= k < n:
                raise IndexError(f"index: must be in {-n}..{n - 1} for axis {axis} of shape {x.shape}; got {k}")
            static.append(int(k))
        else:
            for t in _advanced(x, k, axis):
                static.append(Slot(len(indices)))
                indices.append(t)
        axis = axis + x.ndim - used if k is Ellipsis else axis + _consumed(k)
    return tuple(static), indices


def _consumed(k: Any) -> int:
    """How many axes of x one part of an index takes."""
    if k is None or k is Ellipsis or isinstance(k, (bool, np.bool_)):
        return 0
    mask = isinstance(k, (Tensor, np.ndarray)) and k.dtype == np.bool_
    if isinstance(k, list):
        mask = np.asarray(k).dtype == np.bool_
        return np.asarray(k).ndim if mask else 1
    return k.ndim if mask else 1


def _plain_slice(k: slice) -> slice:
    """A slice of ints: 0-d integer tensors are allowed as bounds."""
    return slice(*(None if v is None else int(v.__index__()) for v in (k.start, k.stop, k.step)))


def _advanced(x: Tensor, k: Any, axis: int) -> list[Tensor]:
    """Integer tensors from a list, an array, an integer tensor or a mask."""
    a = k.xp.to_numpy(k.data) if isinstance(k, Tensor) and k.dtype == np.bool_ else k
    if not isinstance(a, Tensor):
        a = np.asarray(a, np.int64) if isinstance(a, list) and not a else np.asarray(a)
    if isinstance(a, np.ndarray) and a.dtype == np.bool_:
        if not a.ndim:
            raise IndexError("index: a single bool is not an index; use x[None] or x[:0]")
        if a.shape != x.shape[axis : axis + a.ndim]:
            raise IndexError(f"index: a mask needs the shape of the axes it covers, {x.shape[axis : axis + a.ndim]}; got {a.shape}")
        arrays: Any = a.nonzero()
    else:
        arrays = (a,)
    found = [t if isinstance(t, Tensor) else wrap(x.xp.asarray(t), x.xp, [0]) for t in arrays]
    return [_checked_index("index", t, x.shape[axis + i]) for i, t in enumerate(found)]


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Joined along an axis; all other axes must agree."""
    if not tensors:
        raise RuntimeError("cat: needs at least one tensor")
    axis = shapes.axis(dim, tensors[0].ndim)
    shapes.same_but("cat", [t.shape for t in tensors], axis)
    dtype = dtypes.result_type(*tensors)
    return apply(ops.cat, *(_in(t, dtype) for t in tensors), axis=axis)
