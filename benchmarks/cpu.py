"""`python -m benchmarks.cpu`: training steps, inference, memory, import and hot ops, ours over PyTorch's in one run."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from . import cases, limits, report, variants
from .fresh import import_time, peak_memory
from .timing import compare, started

NAMES = [*cases.STEPS, *cases.INFERENCES, cases.PEAK, cases.IMPORT, *cases.OPS]


def main() -> int:
    ask = argparse.ArgumentParser(prog="python -m benchmarks.cpu", description=__doc__)
    ask.add_argument("--only", action="append", default=[], metavar="TEXT", help="cases whose name contains it")
    ask.add_argument("--threads", type=int, default=os.cpu_count(), help="for all (default: all cores)")
    ask.add_argument("--rounds", type=int, default=7, help="times each variant takes its turn (default: 7)")
    ask.add_argument("--budget", type=float, default=0.3, help="seconds of runs in a turn (default: 0.3)")
    ask.add_argument("--quick", action="store_true", help="3 rounds of 0.05 s: a first look, noisy")
    ask.add_argument("--alone", action="store_true", help="without PyTorch: times alone")
    ask.add_argument("--batch", type=int, default=0, help="another batch size for the training steps, without aims")
    ask.add_argument("--save", metavar="NAME", help="also write benchmarks/results/NAME.json and NAME.md")
    args = ask.parse_args()
    if args.quick:
        args.rounds, args.budget = 3, 0.05

    matches = {text: [n for n in NAMES if text.lower() in n.lower()] for text in args.only or [""]}
    for text, found in matches.items():
        if not found:
            ask.error(f"--only: no case matches {text!r}; they are {', '.join(NAMES)}")
    names = [n for n in NAMES if any(n in found for found in matches.values())]
    if not args.alone and find_spec("torch") is None:
        ask.error("PyTorch is not installed: pip install -e '.[bench]', or --alone for our times without it")
    kinds, notes = variants.here(args.alone)
    if cases.PEAK in names and find_spec("resource") is None:
        names.remove(cases.PEAK)
        notes.append("no peak memory: this system does not tell it (Python has no module `resource` here)")
    about = report.machine() | {"threads": args.threads, "rounds": args.rounds}
    if about["load"] > 0.5:
        notes.append(f"the machine was busy (load {about['load']:.1f} in the last minute): rely on no ratio below")
    best = limits.measure(args.threads)
    about |= {
        "matrix product": f"at most {best['GFlop/s']:.0f} GFlop/s in float32",
        "memory": f"at most {best['GB/s']:.1f} GB/s, read and written, in a copy",
    }
    print(*(f"{what}: {value}" for what, value in about.items()), *notes, sep="\n")
    print("", report.line(report.HEAD), sep="\n")

    rows, refused = [], []
    for row in measured(names, kinds, args):
        if isinstance(row, str):
            refused.append(row)
            print(row)
        else:
            rows.append(row)
            print(report.line(report.cells(row)), flush=True)
    for mean in report.means(rows):
        rows.append(mean)
        print(report.line(report.cells(mean)))
    if args.save:
        place = Path(__file__).parent / "results" / args.save
        place.parent.mkdir(exist_ok=True)
        all_of_it = {"about": about, "notes": notes, "rows": rows, "refused": refused}
        place.with_suffix(".json").write_text(json.dumps(all_of_it, indent=1) + "\n")
        place.with_suffix(".md").write_text(report.markdown(about, rows, notes + refused))
        print(f"\nwritten: benchmarks/results/{args.save}.json and .md")
    return 1 if refused else 0


def measured(names: list[str], kinds: list[str], args: argparse.Namespace) -> Iterator[dict[str, Any] | str]:
    """The rows of these cases; a text for a case that is refused, because the frameworks do not compute the same.

    A model has processes of its own, so that nothing an earlier one left in an allocator helps or hurts it, and so that
    the memory of one model at a time is taken. Ops are small, and share theirs.
    """
    models = [n for n in names if n in cases.STEPS | cases.INFERENCES]
    for name in models:
        yield from timed([name], kinds, args)
    if cases.PEAK in names:
        yield peak_row(kinds, args)
    if cases.IMPORT in names:
        yield import_row(kinds, args)
    ops = [n for n in names if n in cases.OPS]
    if ops:
        yield from timed(ops, kinds, args)


def timed(names: list[str], kinds: list[str], args: argparse.Namespace) -> Iterator[dict[str, Any] | str]:
    """Times of cases, in one set of processes. Channels last only for images: elsewhere there is no such choice."""
    formats = [k for k in kinds if not variants.VARIANTS[k].channels_last or any(map(cases.images, names))]
    with started(formats, args.threads) as workers:
        for name in names:
            those = [w for w in workers if not variants.VARIANTS[w.kind].channels_last or cases.images(name)]
            try:
                times = compare(those, name, args.rounds, args.budget, args.batch)
            except ValueError as error:
                yield str(error)
                continue
            for what, seconds in times.items():
                ms = {kind: [1e3 * s for s in each] for kind, each in seconds.items()}
                yield report.row(shown(name, args.batch), what, ms)


def peak_row(kinds: list[str], args: argparse.Namespace) -> dict[str, Any]:
    """One round: a peak hardly varies."""
    values = {kind: [peak_memory(kind, args.threads, args.batch)] for kind in kinds}
    return report.row(shown(cases.PEAK, args.batch), "", values, unit="MiB")


def import_row(kinds: list[str], args: argparse.Namespace) -> dict[str, Any]:
    """`import tinygrad_fast` beside `import torch`. The aim is a time, and that Numba waits until it is needed."""
    times: dict[str, list[float]] = {kind: [] for kind in kinds if kind in (*variants.OURS, "PyTorch")}
    loaded: set[str] = set()
    for _ in range(args.rounds):
        for kind, found in times.items():
            seconds, numba = import_time(kind, args.threads)
            found.append(1e3 * seconds)
            if numba:
                loaded.add(kind)
    row = report.row(cases.IMPORT, "", times, aim_of="median")
    ours = loaded.intersection(variants.OURS)
    row["case"] += f" (Numba {'loaded' if ours else 'not loaded'})"
    row["holds"] |= dict.fromkeys(ours, False)
    return row


def shown(name: str, batch: int) -> str:
    """The name of a case with the batch size it ran at."""
    steps = name in cases.STEPS or name == cases.PEAK
    return re.sub(r"batch \d+$", f"batch {batch}", name) if batch and steps else name


if __name__ == "__main__":
    sys.exit(main())
