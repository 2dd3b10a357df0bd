"""The threads behind `threads.py`, and how a job reaches one of them in a microsecond or two.

To wake a thread that sleeps takes some 25 us (Linux, then Python's lock), and to be woken by it at the end as long
again; the layers of one image take 300. So whoever waits here lingers first: for a moment it watches a counter, in
compiled code and without Python's lock, and only then lies down to sleep. Measured with two threads and two halves of
50 us each: 118 us with a pool of `concurrent.futures`, 94 with locks alone, 52 to 59 lingering.

Without compiled loops nobody lingers: from Python one cannot watch without holding Python's lock.
"""

from __future__ import annotations

import atexit
import os
import threading
from _thread import allocate_lock
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

import numpy as np

linger: Any = None  # linger(count, seen, times): of compiled loops, while count[0] <= seen; None: nobody lingers
TIMES = 1 << 20  # looks at the counter: about 0.3 ms

_workers: list[Worker] = []
_jobs: SimpleQueue[Job | None] = SimpleQueue()  # what nobody has begun; None ends a thread
_given = np.zeros(1, np.int64)  # how many there have been
_ended = False


class Job:
    """Work for another thread, taken back if none has begun it when it is wanted."""

    def __init__(self, work: Callable[[], None]):
        self.work: Callable[[], None] | None = work
        self.error: BaseException | None = None
        self.taken, self.done, self.over = allocate_lock(), allocate_lock(), np.zeros(1, np.int64)
        self.done.acquire()

    def run(self) -> None:
        """By a thread of the pool."""
        if self.taken.acquire(False):
            try:
                self.work()  # type: ignore[misc]
            except BaseException as e:
                self.error = e
            self.work = None  # what it holds must not live until this thread's next job
            self.done.release()
            self.over[0] = 1

    def finish(self) -> BaseException | None:
        """By who gave it: wait for its end, or take it back. What it raised."""
        if self.taken.acquire(False):
            self.work = None
        else:
            if linger:
                linger(self.over, 0, TIMES)
            self.done.acquire()
        return self.error


class Worker(threading.Thread):
    """One thread of the pool: it does a job after the other."""

    def __init__(self) -> None:
        super().__init__(name=f"tinygrad_fast_{len(_workers)}", daemon=True)
        self.kept_off = -1

    def run(self) -> None:
        while True:
            seen = int(_given[0])
            if linger and _jobs.empty():
                linger(_given, seen, TIMES)
            job = _jobs.get()
            if job is None:
                return
            job.run()
            job = None

    def keep_off(self, core: int) -> None:
        """Run on any core but this one."""
        if self.kept_off != core:
            self.kept_off = core
            with suppress(OSError):  # it may not be moved here
                if others := os.sched_getaffinity(0) - {core}:
                    os.sched_setaffinity(self.native_id or 0, others)


def started(work: Callable[[], None], many: int) -> list[Job]:
    """`work` as `many` jobs for as many threads. To be called by one at a time."""
    if _ended:
        return []
    while len(_workers) < many:
        _workers.append(Worker())
        _workers[-1].start()
    jobs = [Job(work) for _ in range(many)]
    for job in jobs:
        _give(job)
    return jobs


def _give(job: Job | None) -> None:
    _jobs.put(job)
    _given[0] += 1  # after it: who has seen this finds the job


def keep_off(core: int) -> None:
    """Let no thread of the pool run on this core, where the caller is.

    Linux likes to wake a thread where its waker runs: both then take turns on one core, the other stands idle, and the
    scheduler notices milliseconds later. Measured, two cores: a layer of 0.2 ms a half took 0.47.
    """
    for worker in _workers:
        worker.keep_off(core)


def _end() -> None:
    """At exit: a thread that came back from compiled code into an interpreter that is gone would not end well."""
    global _ended
    _ended = True
    for _ in _workers:
        _give(None)
    for worker in _workers:
        worker.join()


def _after_fork() -> None:
    """The child of a fork has none of its parent's threads."""
    global _jobs
    _workers.clear()
    _jobs = SimpleQueue()


atexit.register(_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
