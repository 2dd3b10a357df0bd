"""The harness: a process for each framework, asked in turn.

`python -m benchmarks.timing ours 2` is such a process: it opens a case, runs it as often as it is told, and answers
with seconds, a line of JSON for each line of JSON. `Worker` is the other end. Two frameworks in one process would share
allocators, thread pools and caches; two at once would share cores; so each has a process and they take turns.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from itertools import zip_longest
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from . import cases

LIBS = {"ours": "ours", "torch": "peer", "torch channels_last": "peer"}
PAUSE = 0.05  # seconds for the threads of the one that ran last to stop spinning


class Opened:
    """A case that is ready to run: `passes` names its parts, `once` makes one of them and returns its seconds."""

    def __init__(self, lib: Any, name: str, batch: int):
        self.lib = lib
        if name in cases.STEPS:
            self.passes = ["step"]
            model, (n, *rest) = cases.STEPS[name]
            self.model, self.step = lib.step(model, (batch or n, *rest))
            self.inputs: list[Any] = []
        else:
            self.passes = ["forward", "backward"]
            function, shapes, keywords = cases.OPS[name]
            grads = [name not in cases.ON_PICTURES, *[True] * (len(shapes) - 1)]
            self.inputs = [lib.tensor(a, grad) for a, grad in zip(cases.numbers(shapes), grads, strict=True)]
            more = [lib.tensor(cases.classes(*shapes[0]))] if function == "cross_entropy" else []
            self.forward = lambda: lib.OPS[function](*self.inputs, *more, **keywords)
            [g] = cases.numbers([tuple(self.forward().shape)], seed=3)
            self.g = lib.tensor(g)

    def once(self, what: str) -> float:
        for x in self.inputs:
            x.grad = None
        if what == "step":
            start = time.perf_counter()
            self.step()
        elif what == "forward":
            start = time.perf_counter()
            y = self.forward()
            stop = time.perf_counter()
            del y
            return stop - start
        else:
            y = self.forward()
            start = time.perf_counter()
            y.backward(self.g)
        return time.perf_counter() - start

    def print(self) -> list[float]:
        """What must agree: mean sizes of y and of each gradient; of a step, the lengths of weights and two losses."""
        if self.passes == ["step"]:
            lengths = [float(np.prod(p.shape)) for p in self.model.parameters()]
            return [*lengths, *(float(self.lib.array(self.step())) for _ in range(2))]
        y = self.forward()
        for x in self.inputs:
            x.grad = None
        y.backward(self.g)
        return [float(np.abs(self.lib.array(t)).mean()) for t in (y, *(x.grad for x in self.inputs if x.requires_grad))]


def serve(kind: str, threads: int) -> None:
    lib = importlib.import_module(f"benchmarks.{LIBS[kind]}")
    if kind == "torch channels_last":
        lib.CHANNELS_LAST = True
    lib.threads(threads)
    print(json.dumps([lib.NAME, lib.VERSION]), flush=True)
    case: Any = None
    for line in sys.stdin:
        do, what, number = json.loads(line)
        if do == "open":
            case = None  # the memory of the one before goes first
            case = Opened(lib, what, number)
            answer = case.print()
        else:
            answer = [case.once(what) for _ in range(number)]
        print(json.dumps(answer), flush=True)


class Worker:
    """One framework in a process of its own."""

    def __init__(self, kind: str, threads: int):
        self.kind = kind
        env = os.environ | dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
        command = [sys.executable, "-m", "benchmarks.timing", kind, str(threads)]
        root = Path(__file__).parents[1]
        self.process = subprocess.Popen(
            command, cwd=root, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.name, self.version = self.answer()

    def answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"benchmarks: the process of {self.kind} ended; what it said stands above")
        return json.loads(line)

    def ask(self, do: str, what: str, number: int) -> Any:
        """("open", a case, its batch or 0) or ("run", a pass, how often)."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([do, what, number]) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)


def compare(
    workers: list[Worker], name: str, rounds: int, budget: float, batch: int = 0
) -> dict[str, dict[str, list[float]]]:
    """{pass: {kind: seconds of each round}}. A round is the median of as many runs as fit in `budget` seconds.

    Raises ValueError when the frameworks do not compute the same: their numbers must agree to 1e-3.
    """
    prints = [w.ask("open", name, batch) for w in workers]
    for w, found in zip(workers[1:], prints[1:], strict=True):
        pairs = list(zip_longest(prints[0], found, fillvalue=0.0))
        wrong = [i for i, (a, b) in enumerate(pairs) if not np.isclose(a, b, rtol=1e-3, atol=1e-6)]
        if wrong:
            a, b = pairs[wrong[0]]
            raise ValueError(
                f"{name}: {workers[0].kind} and {w.kind} must compute the same; "
                f"number {wrong[0]} of {len(pairs)} is {a:.7g} and {b:.7g}"
            )
    times: dict[str, dict[str, list[float]]] = {}
    for what in ["step"] if name in cases.STEPS else ["forward", "backward"]:
        times[what] = {w.kind: [] for w in workers}
        often = {w.kind: max(1, min(500, ceil(budget / min(w.ask("run", what, 2))))) for w in workers}
        for i in range(rounds):
            for w in workers if i % 2 == 0 else workers[::-1]:
                time.sleep(PAUSE)
                times[what][w.kind].append(float(np.median(w.ask("run", what, often[w.kind]))))
    return times


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
