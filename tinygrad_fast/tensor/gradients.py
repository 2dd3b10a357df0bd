"""What a tensor has to do with gradients: `requires_grad`, `.grad`, `backward`, hooks, `detach`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

from .. import dtypes, ops, tape
from ..tape import Leaf, Node
from .core import Core, apply, wrap
from .interop import Interop

if TYPE_CHECKING:
    from . import Tensor


class Gradients(Interop):
    """Leaves, gradients, and leaving the graph."""

    __slots__ = ()

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

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Start, or stop, wanting the gradient of this leaf."""
        if isinstance(self.node, Node):
            if not requires_grad:
                raise RuntimeError("requires_grad_: this tensor is the result of an op; .detach() leaves its graph")
        elif not requires_grad:
            self.node = None
        elif not dtypes.is_float(self.data.dtype):
            raise RuntimeError(f"requires_grad: only floating tensors can; got {self.data.dtype}. Write x.float()")
        elif self.node is None:
            self.node = Leaf(self.xp, self.data.shape, self.data.dtype)
        return self

    @property
    def grad(self) -> Tensor | None:
        """dL/dself, summed over the backward passes since it was last None. For leaves, and after retain_grad()."""
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
                f"grad: must have the tensor's shape and dtype, {self.shape} {self.dtype}; "
                f"got {value.shape} {value.dtype}"
            )
        if value is not None:
            self._must_lie_here("grad", value)
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
        if not callable(hook):
            raise TypeError(f"register_hook: the hook must be a function of the gradient; got {type(hook).__name__}")
        xp = self.xp

        def on_array(g: Any) -> Any:
            given: Any = g if isinstance(g, Core) else wrap(g, xp, [0])
            new = hook(given)
            if new is None:
                return g
            if not isinstance(new, Core) or new.shape != given.shape or new.dtype != given.dtype:
                got = f"{new.shape} {new.dtype}" if isinstance(new, Core) else repr(new)
                raise RuntimeError(
                    f"register_hook: a hook returns None or a gradient {given.shape} {given.dtype}; got {got}"
                )
            return new if isinstance(g, Core) else xp.copy(new.data)  # a leaf may keep it: memory of its own

        if self.node.hooks is None:
            self.node.hooks = {}
        handle = Handle(self.node.hooks, object())
        self.node.hooks[handle.key] = on_array
        return handle

    def backward(self, gradient: Tensor | None = None, retain_graph: bool = False) -> None:
        """Add dself/dleaf, times `gradient`, to the `.grad` of every leaf that this tensor was made from.

        gradient: dL/dself, of this shape and dtype; 1 for a tensor with one element. The graph is released on the way
        unless `retain_graph`. Raises RuntimeError where there is no graph, where it was released already, and where a
        tensor of several elements is given no gradient.
        """
        if self.node is None:
            raise RuntimeError(
                "backward: this tensor does not require grad: nothing it was made from has requires_grad=True, "
                "or it was made under no_grad()"
            )
        g = self._seed(gradient, "backward").data
        if gradient is not None:  # a leaf keeps it; else an array of its own, for ops tell gradients apart by identity
            g = self.xp.copy(g) if type(self.node) is Leaf else self.xp.reshape(g, shape=g.shape)
        tape.walk([(self.node, g)], retain_graph)

    def _seed(self, gradient: Tensor | None, name: str) -> Tensor:
        """dself/dself, or the gradient given."""
        if gradient is None:
            if self.numel() != 1:
                raise RuntimeError(
                    f"{name}: without a gradient the tensor must have one element; got shape {self.shape}. "
                    "Reduce it (.sum(), .mean()), or pass the gradient of your loss with respect to it"
                )
            return wrap(self.xp.full(self.shape, 1, self.dtype), self.xp, [0])
        if not isinstance(gradient, Core) or gradient.shape != self.shape or gradient.dtype != self.dtype:
            got = f"{gradient.shape} {gradient.dtype}" if isinstance(gradient, Core) else repr(gradient)
            raise RuntimeError(f"{name}: the gradient must be a Tensor {self.shape} {self.dtype}; got {got}")
        self._must_lie_here(name, gradient)
        return gradient

    def _must_lie_here(self, name: str, gradient: Core) -> None:
        if gradient.xp is not self.xp:
            raise RuntimeError(
                f"{name}: the gradient must be on the tensor's device, {self.xp.name}; got one on {gradient.xp.name}. "
                "Move it with .to(device)"
            )

    def detach(self) -> Tensor:
        """The same memory, outside the graph."""
        return wrap(self.data, self.xp, self.version)

    def clone(self) -> Tensor:
        """A copy, inside the graph."""
        return apply(ops.copy, self)

    def __copy__(self) -> Self:
        t = type(self).__new__(type(self))
        t.data, t.xp, t.node, t.version = self.data, self.xp, self.node, self.version
        return t

    def __deepcopy__(self, memo: dict) -> Self:
        if isinstance(self.node, Node):
            raise RuntimeError("deepcopy: only leaves can be copied with their gradient; write x.detach().clone()")
        t = type(self).__new__(type(self))
        t.data, t.xp, t.version, t.node = self.xp.copy(self.data), self.xp, [0], None
        if isinstance(self.node, Leaf):
            t.node = Leaf(t.xp, t.data.shape, t.data.dtype)
            t.node.grad = None if self.node.grad is None else self.xp.copy(self.node.grad)
        memo[id(self)] = t
        return t


class Handle:
    """What `register_hook` returns: `remove()` takes the hook off again, and so does leaving a `with` block."""

    __slots__ = ("hooks", "key")

    def __init__(self, hooks: dict, key: object):
        self.hooks, self.key = hooks, key

    def remove(self) -> None:
        self.hooks.pop(self.key, None)

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()
