"""A case that is ready to run in one framework: `once(pass)` runs it and returns its seconds, `result()` says what must
agree with the other framework. Here, and nowhere else, stands what a time includes.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from . import cases


class Step:
    """A training step: zero_grad, forward, loss, backward, SGD with momentum."""

    def __init__(self, lib: Any, name: str, batch: int):
        model, (n, *rest) = cases.STEPS[name]
        self.lib = lib
        self.model, self.step = lib.step(model, (batch or n, *rest))

    def once(self, what: str) -> float:
        start = time.perf_counter()
        self.step()
        return time.perf_counter() - start

    def result(self) -> list[float]:
        """The length of each weight, and two losses."""
        lengths = [float(np.prod(p.shape)) for p in self.model.parameters()]
        return [*lengths, *(float(self.lib.array(self.step())) for _ in range(2))]


class Inference:
    """The scores of a batch, batch norms folded, nothing recorded."""

    def __init__(self, lib: Any, name: str, batch: int):
        self.lib, self.scores = lib, lib.inference(*cases.INFERENCES[name])

    def once(self, what: str) -> float:
        start = time.perf_counter()
        y = self.scores()
        stop = time.perf_counter()
        del y
        return stop - start

    def result(self) -> list[float]:
        """The mean size of the scores of each image."""
        return np.abs(self.lib.array(self.scores())).mean(1).tolist()


class Op:
    """One function forward, recording for a backward pass, and that pass, to all inputs."""

    def __init__(self, lib: Any, name: str, batch: int):
        function, shapes, keywords = cases.OPS[name]
        grads = [name not in cases.ON_PICTURES, *[True] * (len(shapes) - 1)]
        self.lib = lib
        makers = [lib.tensor, lib.filters if function == "conv2d" else lib.tensor, *[lib.tensor] * len(shapes)]
        given = zip(makers, cases.numbers(shapes), grads, strict=False)
        self.inputs = [make(a, grad) for make, a, grad in given]
        more = [lib.tensor(cases.classes(*shapes[0]))] if function == "cross_entropy" else []
        self.forward = lambda: lib.OPS[function](*self.inputs, *more, **keywords)
        [g] = cases.numbers([tuple(self.forward().shape)], seed=3)
        self.g = lib.tensor(g)

    def once(self, what: str) -> float:
        for x in self.inputs:
            x.grad = None
        start = time.perf_counter()
        y = self.forward()
        stop = time.perf_counter()
        if what == "backward":
            start = time.perf_counter()
            y.backward(self.g)
            stop = time.perf_counter()
        return stop - start

    def result(self) -> list[float]:
        """The mean size of y and of each gradient."""
        for x in self.inputs:
            x.grad = None
        y = self.forward()
        y.backward(self.g)
        return [float(np.abs(self.lib.array(t)).mean()) for t in (y, *(x.grad for x in self.inputs if x.requires_grad))]


def opened(lib: Any, name: str, batch: int = 0) -> Step | Inference | Op:
    """The case of this name in `lib`, which is `ours` or `peer`. batch: of a step, another size than the case's."""
    kind = Step if name in cases.STEPS else Inference if name in cases.INFERENCES else Op
    return kind(lib, name, batch)
