"""`python -m benchmarks`: the time of each hot op and of whole training steps, ours over PyTorch's, in one run."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from importlib.util import find_spec
from pathlib import Path

from . import cases, report
from .timing import Worker, compare


def main() -> int:
    ask = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    ask.add_argument("--only", action="append", default=[], metavar="TEXT", help="cases whose name contains it")
    ask.add_argument("--threads", type=int, default=os.cpu_count(), help="for both (default: all cores)")
    ask.add_argument("--rounds", type=int, default=7, help="times each framework takes its turn (default: 7)")
    ask.add_argument("--budget", type=float, default=0.3, help="seconds of runs in a turn (default: 0.3)")
    ask.add_argument("--quick", action="store_true", help="3 rounds of 0.05 s: a first look, noisy")
    ask.add_argument("--alone", action="store_true", help="without PyTorch: times alone")
    ask.add_argument("--batch", type=int, default=0, help="another batch size for the training steps")
    ask.add_argument("--save", metavar="NAME", help="also write benchmarks/results/NAME.json and NAME.md")
    args = ask.parse_args()
    if args.quick:
        args.rounds, args.budget = 3, 0.05

    names = [n for n in [*cases.OPS, *cases.STEPS] if not args.only or any(t.lower() in n.lower() for t in args.only)]
    if not names:
        ask.error(f"--only: no case matches; they are {', '.join([*cases.OPS, *cases.STEPS])}")
    if not args.alone and find_spec("torch") is None:
        ask.error("PyTorch is not installed: pip install -e '.[bench]', or --alone for our times without it")
    workers = [
        Worker(kind, args.threads) for kind in (["ours"] if args.alone else ["ours", "torch", "torch channels_last"])
    ]
    about = report.machine() | {"threads": args.threads, "rounds": args.rounds}
    about |= {w.name: w.version for w in workers}
    print(*(f"{what}: {value}" for what, value in about.items()), sep="\n")
    print("", report.line(report.HEAD), sep="\n")

    rows, wrong = [], []
    for name in names:
        try:
            times = compare(workers if images(name) else workers[:2], name, args.rounds, args.budget, args.batch)
        except ValueError as error:
            wrong.append(str(error))
            print(error)
            continue
        shown = re.sub(r"batch \d+$", f"batch {args.batch}", name) if args.batch and name in cases.STEPS else name
        for what, seconds in times.items():
            rows.append(report.row(shown, what, seconds))
            print(report.line(report.cells(rows[-1])), flush=True)
    for w in workers:
        w.close()
    if args.save:
        place = Path(__file__).parent / "results" / args.save
        place.parent.mkdir(exist_ok=True)
        place.with_suffix(".json").write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")
        place.with_suffix(".md").write_text(report.markdown(about, rows))
        print(f"\nwritten: benchmarks/results/{args.save}.json and .md")
    return 1 if wrong else 0


def images(name: str) -> bool:
    """True where memory has a choice of order: four dimensions."""
    shape = cases.STEPS[name][1] if name in cases.STEPS else cases.OPS[name][1][0]
    return len(shape) == 4


if __name__ == "__main__":
    sys.exit(main())
