"""The door between arrays and the tape: `apply` runs an op and records it, `Core` is what a tensor is made of.

A tensor is an array (`data`), the machine it lies on (`xp`), its place in the tape (`node`: a Leaf, a Node, or None),
and a count of the writes to its memory (`version`). The class is a chain of base classes, one family of methods a file,
each using those before it: core, interop, gradients, convert, arithmetic, movement, indexing, reduction, products,
inplace.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .. import backend, dtypes, ops, shapes, tape
from ..backend.composed import Composed
from ..tape import Leaf, Node, mode

if TYPE_CHECKING:
    from . import Tensor


def apply(op: Callable, *inputs: Any, **static: Any) -> Any:
    """Run `op` on the arrays of `inputs`, and record it if a gradient is wanted.

    Tensors and arrays go by position, Python numbers and None may stand among them; all else by keyword. Users' own ops
    come through the same door: a function `(xp, *arrays, **static) -> (y, pullbacks[, aux])` (see `ops/common.py`).
    Returns a Tensor; a tuple of them if y is a tuple; (y, *aux) if the op has aux arrays, which carry no gradient.
    Raises RuntimeError when the tensors lie on different devices.
    """
    if mode.autocast is not None:
        inputs = mode.autocast(op.__name__, inputs)
    xp, arrays, nodes, versions = None, [], [], []
    for t in inputs:
        if isinstance(t, Core):
            if t.xp is not xp:
                if xp is not None:
                    raise RuntimeError(
                        f"{op.__name__}: all tensors must be on one device; got {xp.name} and {t.xp.name}. "
                        "Move one with .to(device)"
                    )
                xp = t.xp
            arrays.append(t.data)
            nodes.append(t.node)
            versions.append(t.version)
        else:
            arrays.append(t)
            nodes.append(None)
    if xp is None:
        kinds = ", ".join(type(t).__name__ for t in inputs)
        raise TypeError(f"{op.__name__}: needs a Tensor; got {kinds}. Make one with tf.tensor(...)")
    made = op(xp, *arrays, **static)
    if type(made) is not tuple or len(made) < 2:
        raise TypeError(f"{op.__name__}: an op must return (value, pullbacks); got {type(made).__name__}")
    y, pulls, *aux = made
    if type(y) is tuple:
        outs: Any = tuple(wrap(v, xp, versions[0] if xp.is_view(v, arrays[0]) else [0]) for v in y)
    else:
        outs = wrap(y, xp, versions[0] if xp.is_view(y, arrays[0]) else [0])
    if mode.record and any(nodes):
        if type(pulls) is not tuple or len(pulls) != len(nodes):
            _must_match(op, pulls, len(nodes))
        edges = [(n, p) for n, p in zip(nodes, pulls) if n is not None and p is not None]
        if edges:
            redo = _redo(op, xp, inputs, static, nodes) if mode.higher else None
            if type(y) is tuple:
                whole = Node(op.__name__, xp, edges, versions + [t.version for t in outs], None, None, redo)
                for i, t in enumerate(outs):
                    t.node = tape.part(whole, i, len(outs), t.data.shape, t.data.dtype)
            else:
                versions.append(outs.version)
                outs.node = Node(op.__name__, xp, edges, versions, outs.data.shape, outs.data.dtype, redo)
    return (outs, *(wrap(a, xp, [0]) for a in aux[0])) if aux else outs


def _must_match(op: Callable, pulls: Any, n: int) -> None:
    """One pullback for each of n inputs; there may be more, for optional inputs that were not given."""
    if not isinstance(pulls, (tuple, list)):
        got = type(pulls).__name__
    elif len(pulls) < n or (len(pulls) > n and hasattr(op, "__code__") and op.__code__.co_argcount == n + 1):
        got = f"{len(pulls)} for {n} inputs"
    else:
        return
    raise TypeError(
        f"{op.__name__}: an op must return (value, pullbacks), a tuple of one pullback for each input, None where "
        f"there is no gradient; got {got}"
    )


def _redo(op: Callable, xp: Any, inputs: tuple, static: dict, nodes: list) -> Callable[[], list]:
    """The same op once more, on Tensors: its pullbacks are then differentiable themselves."""
    on_tensors = OnTensors(xp)

    def run() -> list:
        pulls = op(on_tensors, *inputs, **static)[1]
        return [(n, p) for n, p in zip(nodes, pulls) if n is not None and p is not None]

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


new = object.__new__


def wrap(data: Any, xp: Any, version: list[int]) -> Tensor:
    """A Tensor around an array of `xp`, without a copy."""
    t: Any = new(Core.tensor_class)
    t.data = data if type(data) is xp.array else xp.asarray(data)  # NumPy gives scalars for 0-d results
    t.xp, t.node, t.version = xp, None, version
    return t


class Core:
    """What a tensor is made of, and what it says of itself."""

    __slots__ = ("data", "xp", "node", "version", "__weakref__")
    __array_ufunc__ = None  # ndarray * Tensor asks Tensor.__rmul__
    tensor_class: ClassVar[type[Tensor]]  # the finished class, set where it is defined: what `wrap` makes
    data: Any
    xp: Any
    node: Node | Leaf | None
    version: list[int]  # how often the memory was written in place; shared by all views of it

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
        if dim is None:
            return self.data.shape
        i = shapes.axis(dim, self.ndim)
        if not self.data.shape:
            raise IndexError(f"dim: a 0-d tensor has no axes; got {dim}. Write x.reshape(1)")
        return self.data.shape[i]

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
        from ..display import represent

        return represent(self)
