"""How a time is taken: by events on the GPU's stream, ours and the others in turn, over buffers that rotate.

A turn is many calls in a row. Of a kernel its own time is wanted, not Python's: the GPU is held back by a kernel that
waits (`hold`) while the host asks for all the calls, and then runs them one right after another. If it got through
them faster than they were asked for, the turn ran *dry*, and that is said. A training step is not held: its time is
what a user waits. Each call reads other memory than the one before, together more than twice the L2 cache (or 32 sets
of inputs, where they are small), and as many results are alive.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

Run = Callable[[], Any]

MOST = 64  # calls in a turn: the driver takes about a thousand launches ahead
HOLD = 0.05  # seconds that the GPU is held at most


@dataclass(frozen=True)
class Turn:
    """Seconds of a call on the GPU and on the host."""

    seconds: float
    host: float
    dry: bool = False


class Timer(Protocol):
    """`turn` runs so many calls, taking from `runs` in turn; hold: seconds to keep the GPU waiting before."""

    def turn(self, runs: list[Run], times: int, hold: float) -> Turn: ...


class Events:
    """The GPU's clock. Everything runs on the null stream: CuPy's default, and PyTorch's."""

    WAIT = r"""
    extern "C" __global__ void wait_for(long long ns) {
      long long now, start;
      asm volatile("mov.u64 %0, %globaltimer;" : "=l"(start));
      do asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now)); while (now - start < ns);
    }"""

    def __init__(self, cupy: Any):
        self.cuda = cupy.cuda
        self.wait = cupy.RawKernel(self.WAIT, "wait_for")
        self.wait((1,), (1,), (self._ns(0),))  # compiled before it is needed

    @staticmethod
    def _ns(seconds: float) -> Any:
        import numpy as np

        return np.int64(1e9 * seconds)

    def turn(self, runs: list[Run], times: int, hold: float) -> Turn:
        start, stop = self.cuda.Event(), self.cuda.Event()
        kept: list[Any] = [None] * len(runs)
        if hold:
            self.wait((1,), (1,), (self._ns(min(hold, HOLD)),))
        start.record()
        began = time.perf_counter()
        for i in range(times):
            kept[i % len(runs)] = runs[i % len(runs)]()
        host = time.perf_counter() - began
        dry = bool(hold) and start.done
        stop.record()
        stop.synchronize()
        return Turn(self.cuda.get_elapsed_time(start, stop) / 1e3 / times, host / times, dry)


class Clock:
    """The host's clock, for a rehearsal without a GPU: what it says means nothing."""

    def turn(self, runs: list[Run], times: int, hold: float) -> Turn:
        began = time.perf_counter()
        for i in range(times):
            runs[i % len(runs)]()
        each = (time.perf_counter() - began) / times
        return Turn(each, each)


@dataclass
class Times:
    """Of one contestant: seconds of a call in each round, on the GPU and on the host."""

    rounds: list[float] = field(default_factory=list)
    host: list[float] = field(default_factory=list)
    dry: bool = False

    def add(self, turn: Turn) -> None:
        self.rounds.append(turn.seconds)
        self.host.append(turn.host)
        self.dry = self.dry or turn.dry


def held(turn: Turn, times: int) -> float:
    """Long enough for the host to ask for so many calls, if it is not twice as slow as it was."""
    return 2 * turn.host * times + 50e-6


def prepared(timer: Timer, runs: list[Run], seconds: float, hold: bool) -> tuple[int, float]:
    """(calls in a turn, seconds to hold the GPU), after two turns that warm up."""
    timer.turn(runs, len(runs), 0)
    first = timer.turn(runs, len(runs), 0)
    times = max(len(runs), min(MOST, int(seconds / max(first.seconds, 1e-7))))
    if not hold:
        return max(1, min(times, int(5 * seconds / max(first.seconds, 1e-7)))), 0
    while times > 1 and held(first, times) > HOLD:
        times //= 2
    return times, held(first, times)


def compare(
    timer: Timer, contestants: dict[str, list[Run]], rounds: int, seconds: float, hold: bool
) -> dict[str, Times]:
    """Rounds in which each takes its turn of about `seconds`, the order reversed each time."""
    plans = {name: prepared(timer, runs, seconds, hold) for name, runs in contestants.items()}
    found = {name: Times() for name in contestants}
    for i in range(rounds):
        for name in list(contestants)[:: 1 if i % 2 == 0 else -1]:
            found[name].add(timer.turn(contestants[name], *plans[name]))
    return found
