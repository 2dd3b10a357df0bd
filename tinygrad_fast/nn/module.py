"""Module: parameters, buffers and other modules under one name, with a `forward`.

Nothing is registered: what a module owns is found by looking at its attributes, in the order of their definition. A
Parameter or a Module is found as an attribute, or in an attribute that is a list, tuple or dict (`blocks.0.weight`);
a container whose name begins with an underscore is private and not searched. A Tensor is only a Tensor, unless
`register_buffer` says otherwise. So `__init__` may do what it likes, and need not call `super().__init__()`.

`state.py` holds how a state is loaded. Next on the way: `linear.py`, the simplest layer, and `containers.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import count
from types import MappingProxyType
from typing import Any, Self

from .. import backend, dtypes
from ..tape import Leaf, mode
from ..tensor import Tensor
from ..tensor.gradients import Handle
from .parameter import Parameter
from .state import Loaded, load

_key = count().__next__
_NONE: Mapping = MappingProxyType({})  # of a class whose instances have none yet


class Module:
    """What layers and models derive from: write `__init__` and `forward`, call it as a function."""

    training: bool = True
    _persistent: Mapping[str, bool] = _NONE  # the names of buffers; False for those outside of state_dict
    _pre_hooks: Mapping[int, Callable] = _NONE
    _hooks: Mapping[int, Callable] = _NONE

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__}: write `def forward(self, x): ...`")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """`forward`, between the forward hooks."""
        if mode.capture is not None:
            mode.capture.modules.append((self, self.training))
        if not self._hooks and not self._pre_hooks:
            return self.forward(*args, **kwargs)
        for hook in list(self._pre_hooks.values()):
            new = hook(self, args)
            if new is not None:
                args = new if isinstance(new, tuple) else (new,)
        y = self.forward(*args, **kwargs)
        for hook in list(self._hooks.values()):
            new = hook(self, args, y)
            if new is not None:
                y = new
        return y

    # Hooks

    def register_forward_pre_hook(self, hook: Callable[[Module, tuple], Any]) -> Handle:
        """`hook(module, args)` runs before forward; what it returns, if not None, replaces the arguments."""
        return self._hook("_pre_hooks", hook)

    def register_forward_hook(self, hook: Callable[[Module, tuple, Any], Any]) -> Handle:
        """`hook(module, args, y)` runs after forward; what it returns, if not None, replaces the result.

        For the gradient of a layer's output, call `y.register_hook` in it.
        """
        return self._hook("_hooks", hook)

    def _hook(self, kind: str, hook: Callable) -> Handle:
        hooks, key = vars(self).setdefault(kind, {}), _key()
        hooks[key] = hook
        return Handle(hooks, key)

    # What a module owns

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._persistent:
            if value is not None and not isinstance(value, Tensor):
                kind = type(value).__name__
                raise TypeError(
                    f"{type(self).__name__}.{name} is a buffer, a Tensor or None; got {kind}. Write tf.tensor(...)"
                )
        elif isinstance(vars(self).get(name), Parameter):
            if value is not None and not isinstance(value, (Parameter, Module)):
                kind = type(value).__name__
                raise TypeError(
                    f"{type(self).__name__}.{name} is a Parameter, and a {kind} in its place would not be trained; "
                    f"write nn.Parameter(...), or copy the values: with tf.no_grad(): {name}.copy_(...)"
                )
        super().__setattr__(name, value)

    def _owned(self) -> Iterator[tuple[str, Any]]:
        """(name, value) of every attribute, and of what lies in lists, tuples and dicts."""
        for name, value in list(vars(self).items()):
            if isinstance(value, (list, tuple, dict)):
                if not name.startswith("_"):
                    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
                        yield f"{name}.{key}", item
            else:
                yield name, value

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules right below this one, each once, with their names."""
        seen: set[int] = set()
        for name, value in self._owned():
            if isinstance(value, Module) and id(value) not in seen:
                seen.add(id(value))
                yield name, value

    def children(self) -> Iterator[Module]:
        for _, child in self.named_children():
            yield child

    def named_modules(self, prefix: str = "", remove_duplicate: bool = True) -> Iterator[tuple[str, Module]]:
        """This module and all below it, parents first, under dotted names; one that has several names only once."""
        yield from self._walk(prefix, set() if remove_duplicate else None)

    def _walk(self, prefix: str, seen: set[int] | None) -> Iterator[tuple[str, Module]]:
        if seen is not None:
            if id(self) in seen:
                return
            seen.add(id(self))
        yield prefix, self
        for name, value in self._owned():
            if isinstance(value, Module):
                yield from value._walk(f"{prefix}.{name}" if prefix else name, seen)

    def modules(self) -> Iterator[Module]:
        for _, module in self.named_modules():
            yield module

    def _own_parameters(self) -> Iterator[tuple[str, Parameter]]:
        for name, value in self._owned():
            if isinstance(value, Parameter) and name not in self._persistent:
                yield name, value

    def _own_buffers(self) -> Iterator[tuple[str, Tensor]]:
        for name in self._persistent:
            value = getattr(self, name)
            if value is not None:
                yield name, value

    def named_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Parameter]]:
        """Every parameter, frozen ones too, in definition order; one that has several names (tied) only once."""
        return self._collected(Module._own_parameters, prefix, recurse)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        for _, p in self.named_parameters(recurse=recurse):
            yield p

    def named_buffers(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Tensor]]:
        """Every buffer, those outside of state_dict too, each once."""
        return self._collected(Module._own_buffers, prefix, recurse)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        for _, b in self.named_buffers(recurse=recurse):
            yield b

    def _collected(self, own: Callable, prefix: str, recurse: bool) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        for path, module in self.named_modules(prefix) if recurse else [(prefix, self)]:
            for name, t in own(module):
                if id(t) not in seen:
                    seen.add(id(t))
                    yield f"{path}.{name}" if path else name, t

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """An attribute that is moved and saved with the module, but not learned; not saved unless `persistent`."""
        if not name.isidentifier() or (name not in self._persistent and hasattr(self, name)):
            raise KeyError(f"register_buffer: the name must be a new attribute; got {name!r}")
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(f"register_buffer: {name} must be a Tensor or None; got {type(tensor).__name__}")
        vars(self).setdefault("_persistent", {})[name] = persistent
        vars(self)[name] = tensor

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """The same as `self.name = param`."""
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(f"register_parameter: {name} must be a Parameter or None; got {type(param).__name__}")
        vars(self)[name] = param

    def add_module(self, name: str, module: Module | None) -> None:
        """The same as `self.name = module`, for a name that is made up while running."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"add_module: {name} must be a Module or None; got {type(module).__name__}")
        vars(self)[name] = module

    def get_submodule(self, target: str) -> Module:
        """The module of a dotted name, "layer1.0.conv1"; this one for "". Raises AttributeError."""
        found = dict(self.named_modules(remove_duplicate=False))
        if target not in found:
            parent = target.rpartition(".")[0]
            while parent not in found:
                parent = parent.rpartition(".")[0]
            below = ", ".join(name for name, _ in found[parent].named_children()) or "none"
            raise AttributeError(
                f"get_submodule: {type(self).__name__} has no module {target!r}; those of {parent or 'it'!r}: {below}"
            )
        return found[target]

    # What is done to all of them

    def train(self, mode: bool = True) -> Self:
        """Behave as in training: dropout drops, batch norm uses the statistics of its batch."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Behave as in inference: the same as `train(False)`."""
        return self.train(False)

    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """`fn(module)` for all modules, children before their parents."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Freeze (False) or thaw all parameters."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients; or set them to zero, in place."""
        for p in self.parameters():
            if set_to_none:
                p.grad = None
            elif p.grad is not None:
                p.grad.zero_()

    def to(self, *args: Any, dtype: Any = None, device: Any = None) -> Self:
        """Move all parameters and buffers, as `Tensor.to`; only floating ones change their dtype.

        The Tensors stay the same objects, so an optimiser that holds them goes on; gradients move along.
        """
        for a in args:
            if isinstance(a, Tensor):
                dtype, device = a.dtype, a.device
            elif isinstance(a, str) and backend.is_device(a):
                device = a
            else:
                dtype = a
        if dtype is not None and not dtypes.is_float(dtypes.dtype_of(dtype)):
            raise TypeError(f"to: parameters are floating, so must the dtype be; got {dtypes.dtype_of(dtype)}")
        for t in [*self.parameters(), *self.buffers()]:
            new = t.detach().to(dtype=dtype if t.is_floating_point() else None, device=device)
            if new.data is not t.data or new.xp is not t.xp:
                _become(t, new, None if t.grad is None else t.grad.to(new))
        return self

    def float(self) -> Self:
        return self.to(dtypes.float32)

    def double(self) -> Self:
        return self.to(dtypes.float64)

    def half(self) -> Self:
        return self.to(dtypes.float16)

    def bfloat16(self) -> Self:
        return self.to(dtypes.bfloat16())

    def cpu(self) -> Self:
        return self.to("cpu")

    def cuda(self) -> Self:
        return self.to("cuda")

    # State

    def _stateful(self) -> Iterator[tuple[str, Tensor]]:
        """Parameters and persistent buffers under all their names."""
        for path, module in self.named_modules(remove_duplicate=False):
            prefix = path + "." if path else ""
            for name, t in module._own_parameters():
                yield prefix + name, t
            for name, b in module._own_buffers():
                if module._persistent[name]:
                    yield prefix + name, b

    def state_dict(self) -> dict[str, Tensor]:
        """{dotted name: Tensor} of all parameters and persistent buffers. The Tensors share the module's memory.

        A tied parameter stands under each of its names, as in PyTorch.
        """
        return {name: t.detach() for name, t in self._stateful()}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Loaded:
        """Copy `state_dict` into the parameters and buffers of the same names, in place; all of it or nothing.

        Returns (missing_keys, unexpected_keys). Raises RuntimeError, and loads nothing, when shapes or kinds of dtype
        differ, and when names are missing or unexpected unless strict=False.
        """
        return load(type(self).__name__, dict(self._stateful()), state_dict, strict)

    # How it prints

    def extra_repr(self) -> str:
        """What stands between the parentheses of the repr: the arguments of a layer."""
        return ""

    def __repr__(self) -> str:
        children = [(name, v) for name, v in self._owned() if isinstance(v, Module)]
        lines = [f"({name}): {child!r}".replace("\n", "\n  ") for name, child in children]
        extra = self.extra_repr()
        if not lines:
            return f"{type(self).__name__}({extra})"
        return f"{type(self).__name__}({extra}\n  " + "\n  ".join(lines) + "\n)"


def _become(t: Tensor, new: Tensor, grad: Tensor | None) -> None:
    """`t` takes over the array of `new`: the same Tensor, in another dtype or on another device.

    Its Leaf is a new one, for a Leaf knows its dtype; a graph recorded before is stale, and the version says so.
    """
    t.data, t.xp = new.data, new.xp
    t.version[0] += 1
    if t.node is not None:
        leaf = Leaf(new.xp, new.data.shape, new.data.dtype)
        leaf.hooks, leaf.grad = t.node.hooks, None if grad is None else grad.data
        t.node = leaf
