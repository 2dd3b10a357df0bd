"""The caching allocator: nothing handed out twice, everything comes back, never more than the limit on shelves."""

import gc
import threading
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from tinygrad_fast.backend.fast_cpu.memory import LEAST, LINE, Memory, rounded

BIG = LEAST  # bytes that a block is lent for


def bytes_of(n):
    return (n,), np.uint8


def test_arrays_are_arrays():
    memory = Memory(1 << 30)
    a = memory.empty((64, 32, 32), np.float32)
    assert a.shape == (64, 32, 32) and a.dtype == np.float32 and a.flags.c_contiguous and a.flags.writeable
    assert type(a) is np.ndarray and a.ctypes.data % LINE == 0
    a[...] = 1
    assert a.sum() == a.size


def test_small_arrays_stay_with_numpy():
    memory = Memory(1 << 30)
    a = memory.empty((LEAST - 1,), np.uint8)
    assert a.flags.owndata and memory.figures()["fresh"] == 0
    assert memory.empty((0, 5), np.float32).shape == (0, 5)


def test_memory_comes_back_with_the_last_view():
    memory = Memory(1 << 30)
    a = memory.empty(*bytes_of(BIG))
    view = a[10:].reshape(-1, 2).T[1:]
    place = a.ctypes.data
    del a
    assert memory.figures()["allocated"] == rounded(BIG)
    assert memory.empty(*bytes_of(BIG)).ctypes.data != place
    del view
    assert memory.figures()["allocated"] == 0
    again = [memory.empty(*bytes_of(BIG)) for _ in range(2)]
    assert place in {b.ctypes.data for b in again}, "the memory that came back is used again"
    assert memory.figures()["fresh"] == 2


def test_the_last_one_back_is_the_first_one_out():
    memory = Memory(1 << 30)
    a, b = memory.empty(*bytes_of(BIG)), memory.empty(*bytes_of(BIG))
    place = b.ctypes.data
    del a
    del b
    assert memory.empty(*bytes_of(BIG)).ctypes.data == place


@given(st.integers(LEAST, 1 << 34))
def test_at_most_an_eighth_is_wasted(size):
    assert size <= rounded(size) <= size + size / 8 + 1
    assert rounded(rounded(size)) == rounded(size)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 7), st.integers(1, 5)), max_size=40))
def test_no_two_arrays_share_memory(steps):
    """Any order of asking and letting go: arrays that are alive never overlap, and the counts add up."""
    memory, alive = Memory(8 * LEAST), {}
    for slot, n in steps:
        alive.pop(slot, None)
        alive[slot] = memory.empty(*bytes_of(n * LEAST))
        spans = sorted((a.ctypes.data, a.ctypes.data + a.nbytes) for a in alive.values())
        assert all(stop <= start for (_, stop), (start, _) in pairwise(spans))
        found = memory.figures()
        assert found["allocated"] == sum(rounded(a.nbytes) for a in alive.values())
        assert found["cached"] <= memory.limit


def test_what_lies_on_shelves_is_bounded():
    memory = Memory(4 * LEAST)
    many = [memory.empty(*bytes_of(BIG)) for _ in range(10)]
    assert memory.figures()["peak"] == 10 * rounded(BIG)
    many.clear()
    assert memory.figures()["cached"] <= memory.limit
    other = [memory.empty(*bytes_of(2 * BIG)) for _ in range(2)]
    other.clear()  # the size that was not asked for longest goes first
    assert memory.figures()["cached"] <= memory.limit
    assert memory.empty(*bytes_of(2 * BIG)) is not None and memory.figures()["reused"] == 1


def test_release_gives_everything_back():
    memory = Memory(1 << 30)
    kept, gone = memory.empty(*bytes_of(BIG)), memory.empty(*bytes_of(BIG))
    del gone
    memory.release()
    assert memory.figures()["cached"] == 0 and memory.figures()["allocated"] == rounded(BIG)
    del kept
    assert memory.figures()["cached"] == rounded(BIG)


def test_a_request_that_fails_is_tried_again_without_the_shelves(monkeypatch):
    from tinygrad_fast.backend.fast_cpu import memory as module

    memory = Memory(1 << 30)
    memory.empty(*bytes_of(BIG))
    assert memory.figures()["cached"]
    real = module.fresh

    def full(size):
        if memory._shelved:
            raise MemoryError
        return real(size)

    monkeypatch.setattr(module, "fresh", full)
    assert memory.empty(*bytes_of(3 * BIG)).nbytes == 3 * BIG
    monkeypatch.setattr(module, "fresh", lambda size: (_ for _ in ()).throw(MemoryError(size)))
    with pytest.raises(MemoryError):
        memory.empty(*bytes_of(5 * BIG))
    assert memory.figures()["allocated"] == 0


def test_nothing_is_handed_out_twice_under_threads():
    """Eight threads take, fill, check and drop arrays; one of them runs the garbage collector in between."""
    memory, wrong, stop = Memory(64 * LEAST), [], threading.Event()

    def work(name):
        rng, held = np.random.default_rng(name), []
        for step in range(300):
            a = memory.empty(*bytes_of(int(rng.integers(1, 4)) * LEAST))
            a[:: LEAST // 4] = name
            held.append((a, name))
            if len(held) > 4:
                held.pop(int(rng.integers(len(held))))
            if any((b[:: LEAST // 4] != n).any() for b, n in held):
                wrong.append((name, step))
            if name == 0 and step % 20 == 0:
                gc.collect()
        stop.set()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert stop.is_set() and not wrong
    gc.collect()
    assert memory.figures()["allocated"] == 0
