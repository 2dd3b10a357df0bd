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
    higher = False  # True inside higher(): nodes keep what a differentiable second run of their op needs
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

    Never `yield` inside the block: the caller would then run in it. Raises TypeError for a decorated generator.
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

    `edges` are pairs (parent, pullback); the pullback turns this node's gradient into the parent's. `versions` are the
    version counters of the op's inputs and outputs, and `version_sum` is what they added up to when it ran. They only
    count up: another sum means that one of these arrays was written in place since, and what a pullback saved is stale.
    `redo()` makes the edges once more, for Tensors. `shape` is None for an op with several outputs: its gradient is a
    tuple, put together by one `part` node for each output.
    """

    __slots__ = (
        *("name", "xp", "edges", "versions", "version_sum", "redo"),
        *("shape", "dtype", "grad", "retains", "hooks", "time", "__weakref__"),
    )

    def __init__(self, name: str, xp: Any, edges: list, versions: list, shape: Any, dtype: Any, redo: Any = None):
        self.name, self.xp, self.shape, self.dtype, self.redo = name, xp, shape, dtype, redo
        self.edges: list | None = edges
        self.versions = versions
        self.version_sum = sum(map(_first, versions))
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


def walk(roots: list[tuple[Any, Any]], retain: bool = False, on_tensors: Any = None, only: Any = None) -> dict:
    """Carry the gradient g of each (node, g) of `roots` back over the tape.

    Whatever used a node is newer than it. So when a node is the newest of the frontier (a heap), its gradient is
    complete, and taking the newest each time is a topological order: no recursion, no pass before. Leaves sum into
    `.grad`. With `only` (a set of nodes) nothing is written, and {node: gradient} comes back. Edges and saved arrays
    are released on the way unless `retain`. With `on_tensors`, a backend whose arrays are Tensors, gradients are
    Tensors, and pullbacks are the differentiable ones of `node.redo`.
    """
    found = {}
    oldest = min((n.time for n in only), default=0) if only is not None else -1
    grads: dict[Any, Any] = {}
    front: list[tuple[int, Any]] = []
    for root, g in roots:
        if root in grads:
            grads[root] = (on_tensors or root.xp).add(grads[root], g)
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
                xp = on_tensors or node.xp
                node.grad = xp.add(node.grad, g) if node.grad is not None else g if leaf else xp.copy(g)
            if leaf:
                continue
            edges = node.edges
            if edges is None:
                raise RuntimeError(
                    f"backward through {node.name} a second time: its tape was released by the first walk; "
                    "pass retain_graph=True to that one"
                )
            if sum(map(_first, node.versions)) != node.version_sum:
                raise RuntimeError(
                    f"backward of {node.name}: a tensor it used was written in place after the forward pass, "
                    "so what it saved is stale; run the forward pass again after the write"
                )
            if on_tensors:
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
                xp = on_tensors or parent.xp
                if parent in grads:
                    grads[parent] = _sum(xp.add, grads[parent], d)
                else:
                    heappush(front, (-parent.time, parent))  # a pullback may return g or a view of it, but
                    grads[parent] = xp.own(d, g) if leaf else d  # two leaves never share memory
            edges = pull = parent = g = d = node = None  # nothing outlives its turn
    finally:
        grads.clear()  # a traceback must not keep gradients alive
    return found
