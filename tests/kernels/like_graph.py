"""Stream capture of the stand-in for CuPy: what a step asks for is taken down, not done, and done at each launch.

While a stream captures nothing is computed: an array that an operation makes has its shape, dtype and strides, and
rubbish for numbers. So whoever reads a number has none, whatever the host has worked out is in the record for good, and
only what lies in memory can change from launch to launch. What a capture allocates is its pool's: before and after an
array's time anything may be written to its memory, and with each launch it is. A launch is an error if the pool is
gone, or an array from before the capture that nobody holds any more.
"""

import weakref

import numpy as np

RUBBISH = 0xA5
_lookers = {}  # by identity of an array that owns memory: the arrays of the stand-in that look at it


def spoil(a):
    a.reshape(-1).view(np.uint8)[...] = RUBBISH


def looks(array):
    """A new array of the stand-in: remember it with the memory that it looks at."""
    owner = _owner(array.held)
    if id(owner) not in _lookers:
        _lookers[id(owner)] = weakref.WeakValueDictionary()
        weakref.finalize(owner, _lookers.pop, id(owner), None)
    _lookers[id(owner)][id(array)] = array


def held(owner):
    return len(_lookers.get(id(owner), ())) > 0


def _owner(a):
    """The array whose memory a looks at."""
    base = a.base
    if not isinstance(base, np.ndarray):
        base = getattr(base, "base", None)  # of what as_strided puts between
    return _owner(base) if isinstance(base, np.ndarray) else a


def _twin(a):
    """Zeros that lie as a does, to find out what an operation makes of it."""
    if not isinstance(a, np.ndarray):
        return type(a)(map(_twin, a)) if type(a) in (tuple, list) else a
    low = sum((n - 1) * s for n, s in zip(a.shape, a.strides) if s < 0 and n)
    high = sum((n - 1) * s for n, s in zip(a.shape, a.strides) if s > 0 and n)
    memory = np.zeros(high - low + a.itemsize, np.uint8)
    return np.ndarray(a.shape, a.dtype, memory, -low, a.strides)


def _arrays(given):
    for a in given:
        if isinstance(a, np.ndarray):
            yield a
        elif type(a) in (tuple, list):
            yield from _arrays(a)


class Recorded:
    """The work of a stream that captures."""

    def __init__(self, allocator):
        pool = getattr(allocator, "__self__", None)
        assert pool is not None and pool.private, "a graph's memory must come from a pool of its own"
        self.pool, self.work = weakref.ref(pool), []
        self.owners, self.before = {}, {}  # by identity: the pool's arrays, and those that were there

    def made(self, a):
        """An array in the pool's memory."""
        spoil(a)
        self.owners[id(a)] = a
        return a

    def launch(self, work, *given):
        """Some work on these arrays, in place."""
        self.work.append(work)
        for owner in map(_owner, _arrays(given)):
            if id(owner) not in self.owners and held(owner):
                self.before[id(owner)] = owner

    def call(self, f, arguments, keywords):
        """f(...), later; now what it will have made."""
        if "out" in keywords:
            self.launch(lambda: f(*arguments, **keywords), arguments, [keywords["out"]])
            return keywords["out"]
        twins = [_twin(a) for a in arguments]
        with np.errstate(all="ignore"):
            like = f(*twins, **{k: _twin(v) for k, v in keywords.items()})
        if not isinstance(like, np.ndarray | np.generic) or any(np.may_share_memory(like, t) for t in _arrays(twins)):
            return f(*arguments, **keywords)  # looks at memory, or asks where it is, and computes nothing
        y = self.made(np.empty_like(np.asarray(like), subok=False))
        self.launch(lambda: np.copyto(y, f(*arguments, **keywords)), arguments, list(keywords.values()))
        return y


class Graph:
    launched = 0

    def __init__(self, recorded):
        self.recorded = recorded

    def launch(self, stream=None):
        assert self.recorded.pool() is not None, "a graph is launched whose memory was given back"
        lost = [a.shape for a in self.recorded.before.values() if not held(a)]
        assert not lost, f"a graph is launched that uses memory which nobody holds: {lost}"
        for owner in self.recorded.owners.values():  # another of them, gone by now, may have lain there
            spoil(owner)
        with np.errstate(all="ignore"):
            for work in self.recorded.work:
                work()
        for owner in self.recorded.owners.values():
            if not held(owner):
                spoil(owner)
        self.launched += 1
