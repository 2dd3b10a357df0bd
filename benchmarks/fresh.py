"""What only a fresh process can tell: the most memory that a training step takes, and how long an import takes."""

from __future__ import annotations

import json
import subprocess
import sys

from . import cases
from .timing import ROOT, started
from .variants import VARIANTS, environment

STEPS = 3  # after the two of `open`: by then every allocator has what it wants


def peak_memory(kind: str, threads: int, batch: int = 0) -> float:
    """MiB of a process that trained for five steps: interpreter, libraries, weights, and what allocators keep.

    It is the operating system's figure, the same for all. Linux lets a process begin with the peak of the one that
    started it; the command that asks stays small, for it computes nothing itself.
    """
    with started([kind], threads) as [worker]:
        worker.ask("open", cases.PEAK_OF, batch)
        worker.ask("run", "step", STEPS)
        return worker.ask("peak")


def import_time(kind: str, threads: int) -> tuple[float, bool]:
    """(seconds of the import statement in a new interpreter, whether Numba was loaded by it)."""
    module = {"ours": "tinygrad_fast", "peer": "torch"}[VARIANTS[kind].lib]
    code = f"import json, sys, time; start = time.perf_counter(); import {module}; stop = time.perf_counter(); "
    code += "print(json.dumps([stop - start, 'numba' in sys.modules]))"
    env = environment(threads, **VARIANTS[kind].env)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, stdout=subprocess.PIPE, check=True)
    seconds, numba = json.loads(done.stdout)
    return seconds, numba
