"""A case: built, checked, timed. All that a GPU process does, in the order in which it does it; `worker.py` is one."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import Any

import tinygrad_fast as tf
from tinygrad_fast.backend.launchers import Products
from tinygrad_fast.backend.launchers.convolutions import Convolutions
from tinygrad_fast.backend.source import kernel_folder, sources

from . import check, limits, ours, report
from .case import Case
from .cases import table
from .inputs import inputs
from .timing import Run, Timer, compare

ROUNDS, SECONDS = 7, 4e-3  # turns of a contestant; of a turn
SETS = 32  # of inputs, at most


@dataclass
class Place:
    """Where cases run. peer: the module, None without PyTorch. l2: bytes of that cache.

    wait: until the GPU is idle, raising what went wrong. enter: what a thread does before it uses the GPU.
    """

    xp: Any
    timer: Timer
    peer: Any
    l2: int
    small: bool = False
    compiled: bool = False
    wait: Callable[[], Any] = lambda: None
    enter: Callable[[], Any] = lambda: None
    limits: dict[str, float] = field(default_factory=lambda: {"copy": 1.0})

    def free(self) -> None:
        """Let the libraries give back what they keep: the next case may need it in another size, or another library."""
        gc.collect()
        tf.cuda.empty_cache()
        if self.peer is not None:
            self.peer.free()


class Ahead:
    """A machine of kernels that compiles them side by side: while `recording`, a launch only says what it needs."""

    def __init__(self, machine: Any, enter: Callable[[], Any]):
        self.machine, self.array, self.recording = machine, machine.array, False
        self.pool = ThreadPoolExecutor(os.cpu_count(), initializer=enter)
        self.asked: list[Future] = []

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Launches in here run nothing. Ends when all that they need is compiled, or has failed to."""
        self.recording = True
        try:
            yield
        finally:
            self.recording = False
            wait(self.asked)

    def compile(self, source: Any, defines: Mapping[str, Any]) -> Future:
        self.asked.append(self.pool.submit(self.machine.compile, source, defines))
        return self.asked[-1]

    def run(self, compiled: Future, *launch: Any) -> None:
        if not self.recording:
            self.machine.run(compiled.result(), *launch)


def build(xp: Any, chosen: Iterable[Case], enter: Callable[[], Any] = lambda: None) -> tuple[int, int, float]:
    """Compile what the cases launch, on all cores: (kernels, those that failed, seconds). Errors wait for the case."""
    began = time.perf_counter()
    ahead = xp.launch.machine = Ahead(xp.launch.machine, enter)
    with ahead.recorded():
        for case in chosen:
            with multiplied(case), suppress(Exception):  # what fails here fails again, and is a row
                run = ours.step(xp, case) if case.family == "step" else ours.ready(xp, case, ours.blank(xp, case))
                run()
    failed = sum(f.exception() is not None for f in ahead.asked)
    return len(ahead.asked), failed, time.perf_counter() - began


class multiplied:
    """Products as the case wants them: float32 as TF32 or not, and by which kernel of ours."""

    def __init__(self, case: Case):
        conv = case.family == "conv"
        self.wanted = "high" if case.dtype == "TF32" else "highest", "" if conv else case.rung, case.rung * conv

    def __enter__(self) -> None:
        self.before = tf.get_float32_matmul_precision(), Products.rung, Convolutions.convolves
        self._set(*self.wanted)

    def __exit__(self, *raised: Any) -> None:
        self._set(*self.before)

    def _set(self, precision: str, rung: str, convolves: str) -> None:
        tf.set_float32_matmul_precision(precision)
        Products.rung, Convolutions.convolves = rung, convolves


class Budget:
    """How many rounds there is time for: 7, 3 or 1, so that all cases end before `deadline` (of time.time()). None,
    where that has passed."""

    def __init__(self, deadline: float, cases: int):
        self.deadline, self.cases = deadline, cases
        self.fixed, self.each, self.seen = 0.0, 0.0, 0

    def rounds(self) -> int:
        if time.time() > self.deadline:
            return 0
        if not self.seen:
            return ROUNDS
        left = (self.deadline - time.time()) / max(self.cases - self.seen, 1)
        return next((n for n in (ROUNDS, 3) if (self.fixed + n * self.each) / self.seen <= left), 1)

    def spent(self, fixed: float, rounds: int, seconds: float) -> None:
        """Of the case just measured: seconds without its rounds, and of them."""
        self.seen += 1
        self.fixed += fixed
        self.each += seconds / max(rounds, 1)


def rows(names: list[str], place: Place, deadline: float) -> Iterator[dict[str, Any]]:
    """A row for each case; of a training step a second one, of its time on the GPU alone."""
    budget = Budget(deadline, len(names))
    for i, name in enumerate(names):
        case = table(place.small)[name]
        if reason := cannot(place.xp, case):
            yield {"note": f"left out: {name}. {reason}"}
            continue
        rounds, began, timed = budget.rounds(), time.perf_counter(), 0.0
        if not rounds:
            first = f"left out, as the time is up: {name}, and what --list has after it ({len(names) - i} in all)"
            yield {"note": f"{first}. Take them by --only, or give a longer --budget"}
            return
        try:
            yield {"begins": name}
            with multiplied(case):
                contestants, checked, notes = opened(case, place)
                for what, hold in (("", False), (", GPU alone", True)) if case.family == "step" else (("", True),):
                    start = time.perf_counter()
                    with place.peer.exactly(case.dtype == "TF32") if place.peer else multiplied(case):
                        times = compare(place.timer, contestants, rounds, SECONDS, hold)
                    timed += time.perf_counter() - start
                    yield report.row(case, what, times, place.limits, checked, rounds, notes)
            place.wait()
        except Exception as error:
            yield report.failed(case, error)
            place.wait()  # raises where the GPU is lost: this process is, too
        contestants = times = None  # type: ignore[assignment]  # the memory of this case goes before that of the next
        place.free()
        budget.spent(time.perf_counter() - began - timed, rounds, timed)


def cannot(xp: Any, case: Case) -> str:
    """Why a case cannot run here; "" where it can."""
    if case.dtype == "bfloat16" and not find_spec("ml_dtypes"):
        return "CuPy and NumPy have bfloat16 by ml_dtypes alone: pip install ml_dtypes"
    source = sources(kernel_folder()).get(case.rung)
    needs = source.architecture({}) if source else ""
    here = f"sm_{xp.hardware.capability}"
    return f"{case.rung} is for {needs} alone, and this GPU is {here}" if needs and needs != here + "a" else ""


def opened(case: Case, place: Place) -> tuple[dict[str, list[Run]], str, list[str]]:
    """(what takes part, how close our results are, what could not take part). Ours is checked before all else."""
    if case.family == "step":
        return opened_step(case, place)
    xp, peer, notes = place.xp, place.peer, []
    arrays = inputs(case)
    near = ours.placed(xp, case, arrays)
    got = ours.ready(xp, case, ours.copies(xp, near))()
    checked = check.check(xp, peer, case, arrays, got)
    sets = min(SETS, max(2, -(-2 * place.l2 // sum(a.nbytes for a in arrays))))
    runs = {"ours": [ours.ready(xp, case, ours.copies(xp, near)) for _ in range(sets)]}

    def takes_part(name: str, make: Callable[[], list[Run]]) -> None:
        try:
            found = make()
            found[0]()
            runs[name] = found
        except Exception as error:
            notes.append(f"{name}: {report.said(error)}")

    if peer is not None:
        there = peer.placed(case, arrays)
        with peer.exactly(case.dtype == "TF32"):
            takes_part("PyTorch", lambda: [peer.ready(case, peer.copies(there)) for _ in range(sets)])
    if case.function in ours.CUPY and case.dtype in ("float16", "float32") and xp.np.__name__ == "cupy":
        make = ours.CUPY[case.function]
        static = {k: v for k, v in case.static.items() if k != "pass"}
        takes_part("CuPy", lambda: [make(xp.np, *ours.copies(xp, near), **static) for _ in range(sets)])
    return runs, checked, notes


def opened_step(case: Case, place: Place) -> tuple[dict[str, list[Run]], str, list[str]]:
    xp, peer, notes = place.xp, place.peer, []
    runs = {"ours": [ours.step(xp, case)]}
    losses = first_losses(runs["ours"][0], 2)
    if case.static["pass"] == "captured":
        losses += first_losses(runs["ours"][0], 3)  # of the capture, and of two replays
        plain = replace(case, static=case.static | {"pass": "eager"})
        check.check_captured(losses, first_losses(ours.step(xp, plain), 5))
    checked = "unchecked: PyTorch is not installed"
    if peer is not None:
        runs["PyTorch"] = [peer.step(case)]
        with peer.exactly(False):
            checked = check.check_step(case, losses[:2], [float(runs["PyTorch"][0]()) for _ in range(2)])
        if place.compiled:
            try:
                runs["compiled"] = [peer.step(case, compiled=True)]
                runs["compiled"][0]()
            except Exception as error:
                del runs["compiled"]
                notes.append(f"torch.compile: {report.said(error)}")
    return runs, checked, notes


def first_losses(step: Run, n: int) -> list[float]:
    return [float(step().numpy(force=True)) for _ in range(n)]


def measure_limits(place: Place) -> None:
    place.limits = limits.measure(place.xp, place.peer, place.timer, place.small)
