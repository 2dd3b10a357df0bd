"""Modules made of modules: Sequential, ModuleList, ModuleDict; and two small ones, Identity and Flatten."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..tensor import Tensor
from ..tensor.promote import must_tensor
from .module import Module


def _position(name: str, i: int, n: int) -> int:
    if not -n <= i < n:
        raise IndexError(f"{name}: index must be in {-n}..{n - 1} for {n} modules; got {i}")
    return i % n


def _a_name(owner: str, name: Any) -> str:
    if not isinstance(name, str) or not name or "." in name or hasattr(Module, name):
        raise KeyError(f"{owner}: a name is a string without dots, and none of Module's own; got {name!r}")
    return name


def _a_module(owner: str, module: Any) -> Module:
    if not isinstance(module, Module):
        raise TypeError(f"{owner}: holds Modules; got {module if isinstance(module, type) else type(module).__name__}")
    return module


class _Ordered(Module):
    """Modules in a row, each an attribute under its name: "0", "1", ... where no other was given."""

    def _fill(self, named: Iterable[tuple[str, Module]]) -> None:
        for name in [name for name, v in vars(self).items() if isinstance(v, Module)]:
            del vars(self)[name]
        for name, module in named:
            vars(self)[_a_name(type(self).__name__, name)] = _a_module(type(self).__name__, module)

    def _named(self) -> list[tuple[str, Module]]:
        return [(name, v) for name, v in vars(self).items() if isinstance(v, Module)]

    def __iter__(self) -> Iterator[Module]:
        return iter([v for v in vars(self).values() if isinstance(v, Module)])

    def __len__(self) -> int:
        return sum(isinstance(v, Module) for v in vars(self).values())

    def __getitem__(self, i: int | slice) -> Any:
        """One module; for a slice, a new container with the same modules under the same names."""
        named = self._named()
        if isinstance(i, slice):
            part = type(self)() if type(self) in (Sequential, ModuleList) else Sequential()
            part._fill(self._numbered(named[i]))
            part.training = self.training
            return part
        return named[_position(type(self).__name__, i, len(named))][1]

    def __setitem__(self, i: int, module: Module) -> None:
        named = self._named()
        vars(self)[named[_position(type(self).__name__, i, len(named))][0]] = _a_module(type(self).__name__, module)

    def __delitem__(self, i: int | slice) -> None:
        named = self._named()
        if not isinstance(i, slice):
            i = _position(type(self).__name__, i, len(named))
        del named[i]
        self._fill(self._numbered(named))

    def _numbered(self, named: list[tuple[str, Module]]) -> list[tuple[str, Module]]:
        """Names that are numbers are counted anew; others stay."""
        return [(str(i) if name.isdigit() else name, module) for i, (name, module) in enumerate(named)]

    def append(self, module: Module) -> Any:
        n = len(self)
        while str(n) in vars(self):  # a name given by hand
            n += 1
        vars(self)[str(n)] = _a_module(type(self).__name__, module)
        return self

    def extend(self, modules: Iterable[Module]) -> Any:
        for module in list(modules):
            self.append(module)
        return self

    def insert(self, i: int, module: Module) -> Any:
        """`module` before position i; the numbers of those behind it grow by one."""
        named = self._named()
        named.insert(i, ("0", _a_module(type(self).__name__, module)))
        self._fill(self._numbered(named))
        return self


class Sequential(_Ordered):
    """y = m_n(...m_2(m_1(x))): Sequential(m_1, m_2, ...) or Sequential({"name": m_1, ...}), indexed and sliced."""

    def __init__(self, *modules: Any):
        given = modules[0] if len(modules) == 1 and isinstance(modules[0], Mapping) else None
        self._fill(given.items() if given is not None else ((str(i), m) for i, m in enumerate(modules)))

    def forward(self, x: Any) -> Any:
        for module in self:
            x = module(x)
        return x


class ModuleList(_Ordered):
    """A list of modules whose parameters are found under "0.", "1.", ...; it has no forward of its own."""

    def __init__(self, modules: Iterable[Module] = ()):
        self._fill((str(i), m) for i, m in enumerate(modules))


class ModuleDict(Module):
    """A dict of modules whose parameters are found under its keys; it has no forward of its own."""

    def __init__(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] = ()):
        self.update(modules)

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        for name, module in dict(modules).items():
            self[name] = module

    def keys(self) -> list[str]:
        return [name for name, _ in self.items()]

    def values(self) -> list[Module]:
        return [module for _, module in self.items()]

    def items(self) -> list[tuple[str, Module]]:
        return [(name, v) for name, v in vars(self).items() if isinstance(v, Module)]

    def __getitem__(self, name: str) -> Module:
        found = vars(self).get(name)
        if not isinstance(found, Module):
            raise KeyError(f"ModuleDict: must be one of {', '.join(self.keys()) or 'none'}; got {name!r}")
        return found

    def __setitem__(self, name: str, module: Module) -> None:
        vars(self)[_a_name("ModuleDict", name)] = _a_module("ModuleDict", module)

    def __delitem__(self, name: str) -> None:
        self[name]  # raises for what is not there
        del vars(self)[name]

    def __contains__(self, name: object) -> bool:
        return name in self.keys()

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.items())


class Identity(Module):
    """y = x, whatever arguments it was made with."""

    def __init__(self, *args: Any, **kwargs: Any):
        pass

    def forward(self, x: Any) -> Any:
        return x


class Flatten(Module):
    """(N, C, H, W) -> (N, C H W): the axes from start_dim to end_dim as one."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1):
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Tensor) -> Tensor:
        must_tensor("Flatten", x)
        return x.flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"
