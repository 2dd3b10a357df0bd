"""The tape: what happened, and how to walk it backwards.

A `Node` is one recorded op: its parents, and one pullback for each of them. A `Leaf` is where a walk ends: a tensor
that a person made and wants the gradient of. `walk` visits nodes newest first and hands each gradient to the parents.

Knows nothing of arrays but `.shape` and `.dtype`: adding two gradients is a backend's (`xp.add`), of the machine that
the node's tensor lies on, so that a graph may pass through several. Knows nothing of Tensor: `tensor/core.py` makes
the nodes, `autograd.py` is what users call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ContextDecorator
from heapq import heappop, heappush
from inspect import isgeneratorfunction
from itertools import count
from operator import itemgetter
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


class _Mode(threading.local):
    record = True  # False inside no_grad()
    keep = False  # True inside higher(): nodes keep what a differentiable second run of their op needs
    autocast: Any = None  # inside autocast(): a function of an op's name and inputs that gives them in another dtype
    capture: Any = None  # while a step is captured: what takes notes of it (backend/graph.py)


mode = _Mode()
_clock = count().__next__
_first = itemgetter(0)


def written(version: list[int]) -> None:
    """Count a write to a tensor's memory; a captured step counts it at each replay."""
    version[0] += 1
    if mode.capture is not None:
        mode.capture.writes.append(version)


class setting(ContextDecorator):
    """Change `mode` for the calling thread: a context, entered as often as one likes, and a decorator.

    Never `yield` to a caller inside: it would leak out. Raises TypeError for a generator as the decorated function.
    """

    def __init__(self, **new: Any):
        self.new = new
        self.old: list[dict[str, Any]] = []

    def __enter__(self) -> None:
        self.old.append({name: getattr(mode, name) for name in self.new})
        mode.__dict__.update(self.new)

    def __exit__(self, *raised: object) -> None:
        mode.__dict__.update(self.old.pop())

    def __call__(self, func: Function) -> Function:
        if isgeneratorfunction(func):
            raise TypeError(
                f"{func.__name__}: a decorated function must not be a generator, whose body runs after the call; "
                "put `with` inside it, around what does not yield"
            )
        return super().__call__(func)

    def _recreate_cm(self) -> setting:
        """A decorated function runs in several threads at once: a context of its own for each call."""
        return setting(**self.new)


class Leaf:
    """The end of a walk: a tensor made by a person. Its gradient stays here, summed over walks."""

    __slots__ = ("xp", "shape", "dtype", "grad", "hooks", "time", "__weakref__")
    name = "leaf"
    retains = True

    def __init__(self, xp: Any, shape: tuple[int, ...], dtype: Any):
        self.xp, self.shape, self.dtype = xp, shape, dtype
        self.grad: Any = None
        self.hooks: dict[Any, Callable] | None = None
        self.time = _clock()


class Node:
    """One recorded op, run on the machine `xp`.

    `edges` are pairs: a parent, and the pullback that makes its gradient of this node's. `cells` count the
    writes to the arrays that went in or came out, and `writes` was their sum: they only count up, so another sum means
    that an array was written in place since, and what a pullback saved is stale. `redo()` gives the edges again, for
    Tensors. `shape` is None for an op with several outputs: its gradient is a tuple, fed by one `part` node per output.
    """

    __slots__ = (
        *("name", "xp", "edges", "cells", "writes", "redo"),
        *("shape", "dtype", "grad", "retains", "hooks", "time", "__weakref__"),
    )

    def __init__(self, name: str, xp: Any, edges: list, cells: list, shape: Any, dtype: Any, redo: Any = None):
        self.name, self.xp, self.shape, self.dtype, self.redo = name, xp, shape, dtype, redo
        self.edges: list | None = edges
        self.cells = cells
        self.writes = sum(map(_first, cells))
        self.grad, self.retains = None, False
        self.hooks: dict[Any, Callable] | None = None
        self.time = _clock()


def part(whole: Node, i: int, n: int, shape: tuple[int, ...], dtype: Any) -> Node:
    """The node of output `i` of `n` of the op `whole`: hands on a tuple, its gradient in place i, else None."""

    def place(g: Any) -> tuple:
        return (None,) * i + (g,) + (None,) * (n - 1 - i)

    return Node(f"{whole.name}[{i}]", whole.xp, [(whole, place)], [], shape, dtype, redo=lambda: [(whole, place)])


def _sum(add: Callable, a: Any, b: Any) -> Any:
    """a + b, never in place: an op may hand one gradient to two parents."""
    if type(a) is not tuple:
        return add(a, b)
    return tuple(y if x is None else x if y is None else add(x, y) for x, y in zip(a, b, strict=True))


def walk(roots: list[tuple[Any, Any]], retain: bool = False, graph: Any = None, only: Any = None) -> dict:
    """Carry the gradient g of each (node, g) of `roots` back over the tape.

    A node's consumers are all newer than it, so taking the newest of the frontier (a heap) is a topological order: no
    recursion, no pass before. Leaves sum into `.grad`; with `only` (a set of nodes) nothing is written, and {node:
    gradient} comes back. Edges and saved arrays are released on the way unless `retain`. With `graph`, a backend whose
    arrays are Tensors, gradients are Tensors and pullbacks the differentiable ones of `node.redo`.
    """
    found = {}
    oldest = min((n.time for n in only), default=0) if only is not None else -1
    grads: dict[Any, Any] = {}
    front: list[tuple[int, Any]] = []
    for root, g in roots:
        if root in grads:
            grads[root] = (graph or root.xp).add(grads[root], g)
        else:
            heappush(front, (-root.time, root))
            grads[root] = g
    try:
        while front:
            node = heappop(front)[1]
            if node.time < oldest:
                break
            g, leaf = grads.pop(node), type(node) is Leaf
            if node.hooks:
                for hook in tuple(node.hooks.values()):  # a hook may remove itself
                    g = hook(g)
            if only is not None:
                if node in only:
                    found[node] = g
            elif node.retains:
                if leaf and mode.capture is not None:
                    mode.capture.reaches(node)
                xp = graph or node.xp
                node.grad = xp.add(node.grad, g) if node.grad is not None else g if leaf else xp.copy(g)
            if leaf:
                continue
            edges = node.edges
            if edges is None:
                raise RuntimeError(
                    f"backward through {node.name} a second time: its tape was released by the first walk; "
                    "pass retain_graph=True to that one"
                )
            if sum(map(_first, node.cells)) != node.writes:
                raise RuntimeError(
                    f"backward of {node.name}: a tensor it used was written in place after the forward pass, "
                    "so what it saved is stale; run the forward pass again after the write"
                )
            if graph:
                if node.redo is None:
                    raise RuntimeError(
                        f"create_graph=True: {node.name} was recorded without what a second derivative needs; "
                        "run the forward pass inside `with tf.autograd.higher():`"
                    )
                edges = node.redo()
            if not retain:
                node.edges = node.redo = node.hooks = None
            for parent, pull in edges:
                leaf = type(parent) is Leaf
                if leaf and only is not None and parent not in only:
                    continue
                d = pull(g)
                if parent.shape is not None and (d.shape != parent.shape or d.dtype != parent.dtype):
                    raise RuntimeError(
                        f"pullback of {node.name}: must return the input's shape and dtype, {parent.shape} "
                        f"{parent.dtype}; got {d.shape} {d.dtype}"
                    )
                xp = graph or parent.xp
                if parent in grads:
                    grads[parent] = _sum(xp.add, grads[parent], d)
                else:
                    heappush(front, (-parent.time, parent))  # a pullback may return g or a view of it, but
                    grads[parent] = xp.own(d, g) if leaf else d  # two leaves never share memory
            edges = pull = parent = g = d = node = None  # nothing outlives its turn
    finally:
        grads.clear()  # a traceback must not keep gradients alive
    return found
