"""capture(step): the launches of a whole training step, made once and replayed as one CUDA graph. docs/cuda_graphs.md

What happens at a replay and what is noted for it stands in `backend/graph.py`; `learner/graph_step.py` captures the
steps of a fit. Source: PyTorch's `torch.cuda.CUDAGraph` and `make_graphed_callables`; CuPy's `Stream.begin_capture`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from . import backend
from .backend.graph import Rehearsal
from .tape import mode
from .tensor import Tensor, wrap


def capture(step: Callable[..., Any], warmup: int = 2, device: Any = None) -> Captured:
    """step, as a function that launches one CUDA graph instead of hundreds of kernels: equal to it bit for bit.

    step(*args): forward, backward, optimiser and whatever else, on one GPU; its arguments are Tensors (batches, on
    that GPU) and Python values that do not change, its result Tensors, None, or tuples, lists and dicts of them. The
    first `warmup` calls run it as it is, and so allocate what lasts (an optimiser's memory, tables); the next one
    captures it. Learning rates and other numbers of an optimiser, step counts, dropout's random numbers, the scale of a
    GradScaler and what tensors hold may change from call to call. Python does not run any more: other numbers of the
    host, `if`s, hooks and prints stay as they were captured.

    Arguments of other shapes, dtypes or strides, other Python values, modules in another mode (train, eval), parameters
    that were moved, an optimiser that forgot: such a call runs uncaptured; one warning says why. The graph stays for
    calls that are as before. Results are fresh tensors without a tape. On "cpu" the step just runs; on "emulated" it
    runs each time, under a capture's rules. `device`: where it runs, if neither arguments nor results tell.

    Raises CaptureError where the step does what cannot be captured (reads a number, copies from the host, waits),
    TypeError for arguments and results of other kinds.

    >>> step = tf.cuda.capture(step)
    >>> for x, t in batches:
    ...     loss = step(x, t)
    """
    if not callable(step):
        raise TypeError(f"capture: step is a function of Tensors; got a {type(step).__name__}")
    return Captured(step, warmup, device)


class Captured:
    """What `capture` returns."""

    def __init__(self, step: Callable[..., Any], warmup: int = 2, device: Any = None):
        self.step, self.warmup, self.device = step, max(int(warmup), 1), device
        self.warned = False
        self._calls = 0
        self._key: tuple | None = None
        self._xp: Any = None  # the machine that it runs on
        self._graph: Any = None
        self._places: list[Tensor] = []  # where the graph reads its arguments
        self._result: Any = None  # and what it returns

    @property
    def captured(self) -> bool:
        """True once there is a graph."""
        return self._graph is not None

    def __call__(self, *args: Any) -> Any:
        if mode.capture is not None:  # part of another step
            return self._uncaptured(args)
        key = _key(args)
        if self._key is None:
            self._key = key
        if self.captured:
            why = _difference(key, self._key) or self._graph.notes.changed()
            if not why:
                return self._replay(args)
            self._warn(why)
        elif key == self._key:
            self._calls += 1
            if self._calls > self.warmup and (graph := self._machine(args).graph()) is not None:
                return self._capture(graph, args)
        return self._uncaptured(args)

    def _machine(self, args: tuple) -> Any:
        if self._xp is None:
            self._xp = next((t.xp for t in _tensors(args)), None) or backend.get(self.device)
        return self._xp

    def _uncaptured(self, args: tuple) -> Any:
        return _map_tensors(self._detached, self.step(*args))

    def _detached(self, t: Tensor) -> Tensor:
        self._xp = self._xp or t.xp
        return t.detach()

    def _capture(self, graph: Any, args: tuple) -> Any:
        if isinstance(graph, Rehearsal):
            result = graph.capture(lambda: self._uncaptured(args))
            self._graph = graph
            return result
        self._places = [wrap(t.xp.copy(t.data), t.xp, [0]) for t in _tensors(args)]
        places = iter(self._places)
        given = tuple(next(places) if isinstance(a, Tensor) else a for a in args)
        self._result = graph.capture(lambda: self._uncaptured(given))
        self._graph = graph
        graph.launch()
        return self._copies()

    def _replay(self, args: tuple) -> Any:
        if isinstance(self._graph, Rehearsal):
            return self._capture(self._machine(args).graph(), args)
        for place, t in zip(self._places, _tensors(args), strict=True):
            t.xp.write_(place.data, t.data)
        self._graph.notes.host_step()
        self._graph.launch()
        return self._copies()

    def _copies(self) -> Any:
        """The next replay writes to the memory of this one's result."""
        return _map_tensors(Tensor.clone, self._result)

    def _warn(self, why: str) -> None:
        if not self.warned:
            self.warned = True
            warnings.warn(
                f"captured step: {why}, so this call runs uncaptured, and is right but slower. "
                "The graph stays for calls that are as it was captured. This is said once",
                stacklevel=3,
            )


def _tensors(args: tuple) -> list[Tensor]:
    return [a for a in args if isinstance(a, Tensor)]


def _key(args: tuple) -> tuple:
    """What must be the same for the same launches: the form of each argument, and the modes of the thread."""
    lows = None if mode.autocast is None else tuple(mode.autocast.lows.items())
    return (*map(_signature, args), (mode.record, mode.higher, lows))


def _signature(a: Any) -> Any:
    if not isinstance(a, Tensor):
        try:
            return type(a), a, hash(a)
        except TypeError:
            raise TypeError(
                f"captured step: arguments are Tensors, or Python values that can be told apart; got a "
                f"{type(a).__name__}. Hand in its Tensors one by one"
            ) from None
    if a.node is not None:
        raise TypeError(
            f"captured step: an argument of shape {a.shape} requires grad, which a copy of it would lose; "
            "let the step find it by itself, as it finds the parameters"
        )
    return a.shape, a.dtype.name, a.xp.name, a.data.strides


def _difference(key: tuple, first: tuple) -> str:
    """Where a call differs from the captured one, in words."""
    if key == first:
        return ""
    for i, (a, b) in enumerate(zip(key[:-1], first[:-1])):
        if a != b:
            return f"argument {i} is {_described(a)}, and was {_described(b)}"
    if len(key) != len(first):
        return f"it has {len(key) - 1} arguments, and had {len(first) - 1}"
    return "no_grad or autocast are not as they were"


def _described(form: tuple) -> str:
    return repr(form[1]) if len(form) == 3 else "{} {} on {}, strides {}".format(*form)


def _map_tensors(f: Callable[[Tensor], Tensor], result: Any) -> Any:
    """f of every Tensor of a result."""
    if isinstance(result, Tensor):
        return f(result)
    if result is None:
        return None
    if type(result) in (tuple, list):
        return type(result)(_map_tensors(f, r) for r in result)
    if type(result) is dict:
        return {name: _map_tensors(f, r) for name, r in result.items()}
    raise TypeError(
        f"captured step: results are Tensors, None, or tuples, lists and dicts of them; got a {type(result).__name__}, "
        "which a replay could not work out anew. Return a Tensor"
    )
