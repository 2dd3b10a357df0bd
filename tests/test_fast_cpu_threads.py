"""The thread pool: every block once, whatever happens; BLAS is given its threads back."""

import os
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
from hypothesis import given, strategies as st

import tinygrad_fast as tf
from tinygrad_fast.backend.fast_cpu import loops, threads, workers
from tinygrad_fast.backend.fast_cpu.threads import parallel, shares


@pytest.fixture(autouse=True)
def four_threads():
    before = threads.get_num_threads()
    threads.set_num_threads(4)
    yield
    threads.set_num_threads(before)


@given(st.integers(0, 40), st.integers(1, 9))
def test_every_block_once(n, block):
    done, lock = [], threading.Lock()

    def f(lo, hi):
        with lock:
            done.append((lo, hi))

    parallel(f, n, block)
    assert sorted(done) == [(lo, min(lo + block, n)) for lo in range(0, n, block)]


def test_several_threads_work():
    """Four blocks that wait for one another: one thread alone would wait for ever."""
    together = threading.Barrier(4, timeout=30)
    parallel(lambda lo, hi: together.wait(), 4)


@given(st.integers(1, 40))
def test_shares_are_in_order_and_the_same_each_time(n):
    found = shares(lambda k, lo, hi: (k, lo, hi), n)
    assert [k for k, _, _ in found] == list(range(len(found))) and len(found) == min(4, n)
    assert [lo for _, lo, _ in found] + [n] == [0] + [hi for _, _, hi in found]


def test_a_block_may_call_parallel():
    seen, lock = [], threading.Lock()

    def inner(lo, hi):
        with lock:
            seen.append(threading.current_thread())

    def outer(lo, hi):
        me = threading.current_thread()
        before = len(seen)
        parallel(inner, 6)
        assert me in seen[before:]

    parallel(outer, 8)
    assert len(seen) == 48


def test_the_first_error_is_raised_and_the_pool_lives_on():
    def f(lo, hi):
        if lo == 3:
            raise ValueError("block 3")

    for _ in range(5):
        with pytest.raises(ValueError, match="block 3"):
            parallel(f, 50)
    count = []
    parallel(lambda lo, hi: count.append(lo), 20)
    assert sorted(count) == list(range(20))


def test_many_callers_at_once():
    totals = [0] * 6

    def call(i):
        parts = []
        for _ in range(50):
            parallel(lambda lo, hi: parts.append(hi - lo), 10, 3)
        totals[i] = sum(parts)

    callers = [threading.Thread(target=call, args=(i,)) for i in range(6)]
    for t in callers:
        t.start()
    for t in callers:
        t.join()
    assert totals == [500] * 6


def blas_threads():
    return [get() for get, _ in threads._blas()]


def test_blas_is_pinned_inside_and_restored_outside():
    for _, put in threads._blas():
        put(3)
    outside, inside = blas_threads(), []
    parallel(lambda lo, hi: inside.extend(blas_threads()), 4)
    assert set(inside) <= {1} and blas_threads() == outside
    with pytest.raises(ZeroDivisionError):
        parallel(lambda lo, hi: 1 // 0, 4)
    assert blas_threads() == outside, "also after an error"


def test_blas_is_pinned_also_where_another_thread_works():
    """threadpoolctl would do nothing in a second thread, in silence."""
    parallel(lambda lo, hi: None, 4)
    outside, inside = blas_threads(), []
    other = threading.Thread(target=lambda: parallel(lambda lo, hi: inside.extend(blas_threads()), 4))
    other.start()
    other.join()
    assert inside and set(inside) == {1} and blas_threads() == outside


def test_blocks_of_a_thread_share_a_room():
    """scratch() is called once in each thread that works, never by two for one."""
    rooms, seen = [], []

    def scratch():
        rooms.append([])
        return (rooms[-1],)

    parallel(lambda lo, hi, mine: (mine.append(threading.get_ident()), seen.extend(range(lo, hi))), 100, 3, scratch)
    assert sorted(seen) == list(range(100)) and len(rooms) <= tf.get_num_threads()
    assert all(len(set(users)) <= 1 for users in rooms)


def test_blocks_are_silent():
    parallel(lambda lo, hi: np.float32(1e38) * np.float32(1e38), 8)  # a warning would be an error here


def test_numbers_of_threads():
    tf.set_num_threads(2)
    assert tf.get_num_threads() == 2
    for wrong in (0, -1, 1.5, "2"):
        with pytest.raises(ValueError, match="set_num_threads: n must be an integer of 1 or more; got"):
            tf.set_num_threads(wrong)


def run(code, **env):
    """A process of its own: what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | env,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


COUNT = "import tinygrad_fast as tf; print(tf.get_num_threads())"


def test_the_environment_says_how_many():
    blas = "; from threadpoolctl import threadpool_info; print(*{b['num_threads'] for b in threadpool_info()})"
    assert run(COUNT + blas, TINYGRAD_FAST_THREADS="1", OPENBLAS_NUM_THREADS="2") == ["1", "1"]
    assert run(COUNT, TINYGRAD_FAST_THREADS="3") == ["3"]
    with pytest.raises(AssertionError, match="TINYGRAD_FAST_THREADS: must be a number of threads, 1 or more; got 'x'"):
        run(COUNT, TINYGRAD_FAST_THREADS="x")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no process affinity")
def test_the_cores_given_say_how_many():
    assert run(
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});" + COUNT, TINYGRAD_FAST_THREADS=""
    ) == ["1"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_has_threads_of_its_own():
    code = """
        import os, warnings
        warnings.simplefilter("ignore")
        from tinygrad_fast.backend.fast_cpu.threads import parallel
        parallel(lambda lo, hi: None, 8)
        child = os.fork()
        done = []
        parallel(lambda lo, hi: done.append(lo), 8)
        if not child:
            os._exit(0 if sorted(done) == list(range(8)) else 1)
        print(os.waitpid(child, 0)[1], len(done))
    """
    assert run(code, TINYGRAD_FAST_THREADS="4") == ["0", "8"]


def test_the_interpreter_ends():
    assert run("""
        from tinygrad_fast.backend.fast_cpu.threads import parallel
        parallel(lambda lo, hi: None, 100)
        print("ended")
    """) == ["ended"]


@pytest.fixture
def lingering():
    """Threads that wait watch a counter first, as they do with compiled loops."""
    waiting = pytest.importorskip("tinygrad_fast.backend.fast_cpu.loops.waiting", reason="Numba is not installed")
    before, workers.linger = workers.linger, waiting.linger
    yield waiting.linger
    workers.linger = before


def test_jobs_are_found_at_once_and_after_a_sleep(lingering):
    """Given while a thread watches for them, and long after it went to sleep."""
    for pause in (0, 0.0001, 0.001, 0.01) * 10:
        time.sleep(pause)
        seen, both = set(), threading.Barrier(4, timeout=30)

        def meet(lo, hi, seen=seen, both=both):
            both.wait()
            seen.add(lo)

        parallel(meet, 4)
        assert seen == {0, 1, 2, 3}


def test_lingering_ends(lingering):
    """At a counter that has moved at once, else after so many looks; without Python's lock, so that others may run."""
    count, ran = np.zeros(1, np.int64), []
    lingering(count, -1, 1 << 62)  # would take centuries
    lingering(count, 0, 1000)
    other = threading.Thread(target=lambda: (ran.append(True), count.__setitem__(0, 1)))
    other.start()
    lingering(count, 0, 1 << 62)
    assert ran
    other.join()


def test_a_job_that_nobody_began_is_taken_back():
    ran = []
    job = workers.Job(lambda: ran.append(True))
    assert job.finish() is None and job.work is None
    job.run()
    assert not ran


def test_the_pool_grows_to_what_is_asked_for_and_is_used_again():
    def members():
        found, all_of_them = set(), threading.Barrier(threads.get_num_threads(), timeout=30)

        def meet(lo, hi):
            all_of_them.wait()
            found.add(threading.get_ident())

        parallel(meet, threads.get_num_threads())
        return found - {threading.get_ident()}

    assert len(members()) == 3
    pool = {worker.ident for worker in workers._workers}
    assert members() <= pool and {worker.ident for worker in workers._workers} == pool
    threads.set_num_threads(2)
    assert len(members()) == 1 and members() <= pool


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="this system does not say how long a thread has run")
@pytest.mark.parametrize(
    "numba", ["0", pytest.param("1", marks=pytest.mark.skipif(not loops.installed(), reason="no Numba"))]
)
def test_a_convolutional_network_wakes_no_thread_of_blas(numba):
    """They would go on watching for work for some 20 ms, on the cores of ours."""
    code = """
        import os, threading, time, numpy as np, tinygrad_fast as tf
        from tinygrad_fast import models, nn

        def ran():
            return {t: sum(map(int, open(f"/proc/self/task/{t}/stat").read().split()[13:15]))
                    for t in os.listdir("/proc/self/task")}

        before = ran()
        model, x = models.resnet18(), tf.tensor(np.ones((4, 3, 64, 64), np.float32))
        for _ in range(6):
            nn.functional.cross_entropy(model(x), tf.tensor([1, 2, 3, 4])).backward()
        ours = {str(t.native_id) for t in threading.enumerate()}
        print(len(ours), max(ticks - before.get(t, 0) for t, ticks in ran().items() if t not in ours))
        for _ in range(4):  # what would be seen: BLAS divides these
            np.matmul(np.ones((1000, 1000)), np.ones((1000, 1000)))
            time.sleep(0.03)
        print(sum(ticks - before.get(t, 0) for t, ticks in ran().items() if t not in ours))
    """
    two = dict(TINYGRAD_FAST_THREADS="2", OPENBLAS_NUM_THREADS="2", TINYGRAD_FAST_NUMBA=numba)
    ours, theirs, seen = map(int, run(code, **two))
    assert ours == 2 and theirs <= 1 < seen
