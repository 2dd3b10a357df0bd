"""`python -m benchmarks.limits`: what this machine can do at best, so that a time can be judged by itself.

A convolution cannot be faster than its multiplications at the speed of the best matrix product (unless, as Winograd's,
it makes fewer); an addition cannot be faster than memory. Both are the best of a few runs: limits, not medians.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from .timing import ROOT
from .variants import environment

SIZES = (1024, 1536, 2048)
BYTES = 256 << 20  # of the array that is copied: many times larger than a cache
TRIES = 4


def best(run: Callable[[], object]) -> float:
    """Seconds of the fastest of a few runs; the first one touches the pages and starts the threads."""
    times = []
    for _ in range(1 + TRIES):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def gemm(n: int) -> float:
    """GFlop/s of an n x n matrix product in float32: 2 n^3 operations, by NumPy's BLAS with its threads."""
    a, b = np.random.default_rng(0).standard_normal((2, n, n), np.float32)
    c = np.empty_like(a)
    return 2e-9 * n**3 / best(lambda: np.matmul(a, b, out=c))


def bandwidth(threads: int) -> float:
    """GB/s of a copy, each thread its part: every byte counts twice, read and written."""
    a, b = np.ones(BYTES, np.uint8), np.empty(BYTES, np.uint8)
    parts = list(zip(np.array_split(b, threads), np.array_split(a, threads), strict=True))
    with ThreadPoolExecutor(threads) as pool:
        return 2e-9 * BYTES / best(lambda: list(pool.map(lambda part: np.copyto(*part), parts)))


def measure(threads: int) -> dict[str, float]:
    """{"GFlop/s": .., "GB/s": ..} with so many threads, from a process of its own."""
    command = [sys.executable, "-m", "benchmarks.limits", str(threads)]
    done = subprocess.run(command, cwd=ROOT, env=environment(threads), stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


if __name__ == "__main__":
    print(json.dumps({"GFlop/s": max(map(gemm, SIZES)), "GB/s": bandwidth(int(sys.argv[1]))}))
