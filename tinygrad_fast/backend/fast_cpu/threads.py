"""One pool of threads for everything: `parallel(f, n, block)` runs f(lo, hi) over the blocks of range(n).

NumPy and compiled loops release Python's lock while they work, so threads are enough. Two rules make them pay:

* a block is as large as fits into a core's cache, so that the passes over it after the first find it there;
* BLAS, which has threads of its own, keeps to one while ours run: two threads, each starting two more, wait for one
  another (measured: twice as slow). It gets its number back when the last region has ended. Its own threads are left
  asleep wherever a convolutional network works (`linear.py` says why).

The caller works along, with the threads of `workers.py`; a call inside a block runs in its own thread; a forked child
makes its own pool; at exit the threads are joined. `TINYGRAD_FAST_THREADS` or `tf.set_num_threads` say how many there
are, ours and those of BLAS; by default one for each core that the process may use.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from functools import cache
from itertools import product
from typing import Any

import numpy as np

from ..cpu import silently
from . import workers

_lock = threading.Lock()
_here = threading.local()  # .inside: this thread is running a block
_number = 0  # of threads, the caller's among them; 0: not yet asked for
_regions = 0  # that run at this moment
_blas_threads: list[int] = []  # of each BLAS library, before the first region began


def get_num_threads() -> int:
    """How many threads work on one operation."""
    global _number
    if not _number:
        _number = _wanted()
    return _number


def _wanted() -> int:
    told = os.environ.get("TINYGRAD_FAST_THREADS", "")
    if told:
        if not told.isdecimal() or int(told) < 1:
            raise ValueError(f"TINYGRAD_FAST_THREADS: must be a number of threads, 1 or more; got {told!r}")
        return int(told)
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1


def set_num_threads(n: int) -> None:
    """Work with n threads from now on, BLAS too. Raises ValueError below 1."""
    global _number
    if not isinstance(n, int) or n < 1:
        raise ValueError(f"set_num_threads: n must be an integer of 1 or more; got {n!r}")
    with _lock:
        _number = n
        if not _regions:
            for _, put in _blas():
                put(n)


def parallel(f: Any, n: int, block: int = 1, scratch: Callable[[], tuple] = tuple) -> None:
    """f(lo, hi, *scratch()) for each block of range(n), [0, block), [block, 2 block), ..., the last one shorter; in any
    order.

    scratch(), once in each thread: memory that its blocks use one after the other.
    An exception of f is raised here, after the blocks that had begun have ended; the others are not begun.
    """
    blocks = iter(range(0, n, block))  # `next` on it is one step for Python: no two threads get the same

    def work() -> None:
        mine = scratch()
        for lo in blocks:
            f(lo, min(lo + block, n), *mine)

    if n <= block or getattr(_here, "inside", False) or get_num_threads() == 1:
        with alone():
            silently(work)
        return

    def share() -> None:
        _here.inside = True
        try:
            silently(work)
        except BaseException:
            for _ in blocks:  # the others find nothing more to do
                pass
            raise
        finally:
            _here.inside = False

    helpers = min(get_num_threads(), -(-n // block)) - 1
    with alone():
        with _lock:
            if _regions == 1 and _core is not None:
                workers.keep_off(_core())
            jobs = workers.started(share, helpers)
        try:
            share()
        finally:
            failures = [e for job in jobs if (e := job.finish()) is not None]
    if failures:
        raise failures[0]


def shares(f: Callable[[int, int, int], Any], n: int) -> list[Any]:
    """[f(k, lo, hi) for share k of range(n)]: one share a thread, the same ones each time, so that sums over the shares
    come out the same each time."""
    count = max(1, min(get_num_threads(), n))
    bounds = [n * k // count for k in range(count + 1)]
    found: list[Any] = [None] * count

    def one(lo: int, hi: int) -> None:
        for k in range(lo, hi):
            found[k] = f(k, bounds[k], bounds[k + 1])

    parallel(one, count)
    return found


def summed(f: Callable[[int, int, int], Any], n: int) -> Any:
    """The sum of the shares' arrays, in their order; the first is written to."""
    total, *others = shares(f, n)
    for other in others:
        np.add(total, other, out=total)
    return total


class alone:
    """While any thread is inside, BLAS works in the thread that calls it."""

    def __enter__(self) -> None:
        global _regions
        with _lock:
            if not _regions:
                _blas_threads[:] = [get() for get, _ in _blas()]
                for _, put in _blas():
                    put(1)
            _regions += 1

    def __exit__(self, *raised: object) -> None:
        global _regions
        with _lock:
            _regions -= 1
            if not _regions:
                for (_, put), number in zip(_blas(), _blas_threads):
                    put(number)


@cache
def _blas() -> list[tuple[Callable[[], int], Callable[[int], Any]]]:
    """Of each BLAS library of this process, as threadpoolctl finds them: how many threads it has, and to set that."""
    from threadpoolctl import ThreadpoolController

    return [_switch(library) for library in ThreadpoolController().select(user_api="blas").lib_controllers]


def _switch(library: Any) -> tuple[Callable[[], int], Callable[[int], Any]]:
    """OpenBLAS with threads of its own is asked directly: threadpoolctl lets only the first thread of the process that
    asks set their number, and a region may begin and end in any."""
    if library.internal_api == "openblas" and library.threading_layer == "pthreads":
        for prefix, suffix in product(("", "scipy_"), ("", "64_", "_64")):
            names = (f"{prefix}openblas_{word}_num_threads{suffix}" for word in ("get", "set"))
            get, put = (getattr(library.dynlib, name, None) for name in names)
            if get and put:
                return get, put
    return library.get_num_threads, library.set_num_threads


def _core_of_caller() -> Any:
    """A function that says which core runs it; None where the system has none, or cannot be told who runs where."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    try:
        return ctypes.CDLL(None).sched_getcpu
    except (OSError, AttributeError):
        return None


_core = _core_of_caller()


def _after_fork() -> None:
    """The child of a fork has its parent's locks, and perhaps nobody who opens them."""
    global _lock, _regions, _here
    _lock, _regions, _here = threading.Lock(), 0, threading.local()


if os.environ.get("TINYGRAD_FAST_THREADS"):
    set_num_threads(_wanted())
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
