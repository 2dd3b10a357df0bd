"""`python -m benchmarks.tune`: every tile of the tile loop in turn, the fastest kept in launchers/tuned.toml.

For each product and convolution of benchmarks/gpu/cases.py: which kernel asks the table for a tile, of which class of
shapes (`tuned.measured`), is heard while it runs once; then each candidate takes the place of the rule's choice, is
compared with its result, and timed. Classes that this GPU has in the table are left as they are. Where one of Hopper's
rungs, or its engine, may be taken, what is below it is tuned first, and is then one of the candidates.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from typing import Any

from tinygrad_fast import backend
from tinygrad_fast.backend import cuda
from tinygrad_fast.backend.launchers import tiles, tuned
from tinygrad_fast.dtypes import float32

from .gpu import check, measure, ours
from .gpu.case import Case
from .gpu.cases import table
from .gpu.inputs import inputs
from .gpu.report import said
from .gpu.timing import Clock, Events, Timer, prepared

SHARED = {75: 64, 80: 163, 86: 99, 89: 99, 90: 227, 100: 227, 120: 99}  # KB a block may have, by compute capability
SECONDS, TURNS = 4e-3, 3


Numbers = tuple[int, ...]  # of a tile, as it stands in the table


@dataclass(frozen=True)
class Asked:
    """What a launcher asked the table for."""

    gpu: str
    kernel: str
    engine: str
    itemsize: int
    shapes: str

    def candidates(self, most: int) -> list[Numbers]:
        """What may stand in the table, of at most so many bytes of shared memory."""
        if self.engine == "Hopper":
            return [(), *map(astuple, tiles.hopper_candidates(most))]
        [engine] = [e for e in (tiles.WARPGROUPS, tiles.TENSOR_CORES, tiles.MULTIPLY_ADDS) if e.name == self.engine]
        below = [()] if engine is tiles.WARPGROUPS else []
        return below + list(map(astuple, engine.candidates(self.itemsize, most)))


@contextmanager
def heard() -> Iterator[list[Asked]]:
    """Questions to the table, as long as this is open."""
    found: list[Asked] = []
    measured = tuned.measured

    def listening(gpu, kernel, engine, itemsize, m, n, batches):
        if gpu and kernel:
            found.append(Asked(gpu, kernel, engine, itemsize, tuned.shape_class(engine, itemsize, m, n, batches)))
        return measured(gpu, kernel, engine, itemsize, m, n, batches)

    tuned.measured = listening
    try:
        yield found
    finally:
        tuned.measured = measured


@contextmanager
def chosen(asked: Asked, tile: Numbers) -> Iterator[None]:
    """This tile for what was asked, as long as this is open."""
    classes = tuned.table().setdefault(asked.gpu, {}).setdefault(asked.kernel, {})
    classes[asked.shapes] = list(tile)
    try:
        yield
    finally:
        del classes[asked.shapes]


def tune(xp: Any, timer: Timer, case: Case, l2: int, ahead: measure.Ahead) -> Iterator[str]:
    """Try what a case asks for; the fastest stays in `tuned.table()`. Yields what there is to say."""
    arrays = ours.placed(xp, case, inputs(case))
    with measure.multiplied(case), heard() as questions:
        want = ours.ready(xp, case, arrays)()
    for asked in dict.fromkeys(questions):
        classes = tuned.table().setdefault(asked.gpu, {}).setdefault(asked.kernel, {})
        if asked.shapes in classes:
            continue
        candidates = asked.candidates(SHARED.get(xp.hardware.capability, 99) << 10)
        below = () in candidates
        if below:
            with chosen(asked, ()):
                yield from tune(xp, timer, case, l2, ahead)
        sets = min(measure.SETS, max(2, -(-2 * l2 // sum(a.nbytes for a in arrays))))
        runs = [ours.ready(xp, case, ours.copies(xp, arrays)) for _ in range(sets)]
        found: dict[Numbers | None, float] = {None: timed(timer, case, runs)}
        with ahead.recorded(), measure.multiplied(case):
            for tile in candidates:
                with chosen(asked, tile):
                    runs[0]()
        for tile in candidates:
            try:
                with measure.multiplied(case), chosen(asked, tile):
                    got = runs[0]()
                    check.close(case, 0, xp.cast(got, dtype=float32), xp.cast(want, dtype=float32))
                    found[tile] = timed(timer, case, runs)
            except Exception as error:
                yield f"    {shown(tile)}: {said(error)}"
        best = min(found, key=found.__getitem__)
        if best is not None:
            classes[asked.shapes] = list(best)
        rule, least = found[None], found[best]
        yield f"{asked.kernel} {asked.shapes}: {shown(best)} {1e3 * least:.4g} ms; by the rule {1e3 * rule:.4g} ms"
        if below:
            return  # what else was asked for is of the rungs below


def timed(timer: Timer, case: Case, runs: list[Any]) -> float:
    with measure.multiplied(case):
        plan = prepared(timer, runs, SECONDS, True)
        return min(timer.turn(runs, *plan).seconds for _ in range(TURNS))


def shown(tile: Numbers | None) -> str:
    if not tile:
        return "the rule's" if tile is None else "what is below it"
    return f"{' x '.join(map(str, tile[:-1][:3]))}, {tile[-1]} stages"


def main() -> int:
    ask = argparse.ArgumentParser(prog="python -m benchmarks.tune", description=__doc__.partition("\n")[0])
    ask.add_argument("--only", action="append", default=[], metavar="TEXT", help="cases whose name contains it")
    ask.add_argument("--budget", type=float, default=420, metavar="SECONDS", help="begin no case later (default: 420)")
    ask.add_argument("--rehearse", action="store_true", help="on the emulator, tiny cases: writes nothing")
    args = ask.parse_args()
    if args.rehearse:
        xp, timer, l2 = backend.get("emulated"), Clock(), 0
        xp.hardware, enter = tiles.Hardware(90, 132, "the emulator"), lambda: None
    else:
        cupy, xp = cuda.need(), backend.get("cuda")
        timer, enter = Events(cupy), cupy.cuda.Device().use
        l2 = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id).get("l2CacheSize", 64 << 20)
    every = [c for c in table(args.rehearse).values() if c.family in ("matmul", "conv") and not c.rung]
    wanted = [c for c in every if any(text in c.name for text in args.only or [""])]
    began, ahead = time.time(), measure.Ahead(xp.launch.machine, enter)
    xp.launch.machine = ahead
    for i, case in enumerate(wanted):
        if time.time() - began > args.budget:
            print(f"the budget is spent: {len(wanted) - i} cases are left; run it again")
            break
        try:
            for words in tune(xp, timer, case, l2, ahead):
                print(words, flush=True)
        except Exception as error:
            print(f"{case.name}: {said(error)}", flush=True)
        if not args.rehearse:
            tuned.PLACE.write_text(tuned.written(tuned.table()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
