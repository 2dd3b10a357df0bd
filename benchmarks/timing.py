"""The harness: a process for each variant, asked in turn.

`python -m benchmarks.timing PyTorch 2` is such a process: it opens a case, runs it as often as it is told, and answers
with seconds, a line of JSON for each line of JSON. `Worker` is the other end. Two frameworks in one process would share
allocators, thread pools and caches; two at once would share cores; so each has a process and they take turns.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import zip_longest
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from . import cases
from .opened import opened
from .variants import VARIANTS, environment, tune

ROOT = Path(__file__).parents[1]
LEAST = 3  # runs in a turn, whose median counts: the first pays for pages that the system has taken away meanwhile
PAUSE = 0.05  # seconds for the threads of the one that ran last to stop spinning


def serve(kind: str, threads: int) -> None:
    """The process of a variant."""
    variant = VARIANTS[kind]
    if variant.tuned:
        tune()  # before the library loads
    lib: Any = importlib.import_module(f"benchmarks.{variant.lib}")
    if variant.channels_last:
        lib.CHANNELS_LAST = True
    lib.threads(threads)
    print(json.dumps("ready"), flush=True)
    case: Any = None
    for line in sys.stdin:
        do, what, number = json.loads(line)
        if do == "open":
            case = None  # the memory of the one before goes first
            case = opened(lib, what, number)
            answer: Any = case.result()
        elif do == "run":
            answer = [case.once(what) for _ in range(number)]
        else:
            answer = peak_mebibytes()
        print(json.dumps(answer), flush=True)


def peak_mebibytes() -> float:
    """The most memory that this process ever had, as the operating system counts it."""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, else KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


class Worker:
    """One variant in a process of its own."""

    def __init__(self, kind: str, threads: int):
        self.kind = kind
        command = [sys.executable, "-m", "benchmarks.timing", kind, str(threads)]
        env = environment(threads, **VARIANTS[kind].env)
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"benchmarks: the process of {self.kind} ended; what it said stands above")
        return json.loads(line)

    def ask(self, do: str, what: str = "", number: int = 0) -> Any:
        """("open", a case, its batch or 0), ("run", a pass, how often) or ("peak")."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([do, what, number]) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(timeout=60)


@contextmanager
def started(kinds: list[str], threads: int) -> Iterator[list[Worker]]:
    """Fresh processes, which have loaded their libraries."""
    with ExitStack() as stack:
        workers = []
        for kind in kinds:
            workers.append(Worker(kind, threads))
            stack.callback(workers[-1].close)
        for w in workers:
            w.answer()
        yield workers


def compare(
    workers: list[Worker], name: str, rounds: int, budget: float, batch: int = 0
) -> dict[str, dict[str, list[float]]]:
    """{pass: {kind: seconds of each round}}. A round is the median of as many runs as fit in `budget` seconds.

    Raises ValueError when the frameworks do not compute the same: their numbers must agree to 1e-3.
    """
    results = [w.ask("open", name, batch) for w in workers]
    for w, found in zip(workers[1:], results[1:], strict=True):
        pairs = list(zip_longest(results[0], found, fillvalue=0.0))
        wrong = [i for i, (a, b) in enumerate(pairs) if not np.isclose(a, b, rtol=1e-3, atol=1e-6)]
        if wrong:
            a, b = pairs[wrong[0]]
            raise ValueError(
                f"{name}: {workers[0].kind} and {w.kind} must compute the same; "
                f"number {wrong[0]} of {len(pairs)} is {a:.7g} and {b:.7g}"
            )
    times: dict[str, dict[str, list[float]]] = {}
    for what in cases.passes(name):
        times[what] = {w.kind: [] for w in workers}
        often = {w.kind: max(LEAST, min(500, ceil(budget / min(w.ask("run", what, 2))))) for w in workers}
        for i in range(rounds):
            for w in workers if i % 2 == 0 else workers[::-1]:
                time.sleep(PAUSE)
                times[what][w.kind].append(float(np.median(w.ask("run", what, often[w.kind]))))
    return times


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
