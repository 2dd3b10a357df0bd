"""`python -m benchmarks.gpu`: every kernel and whole training steps beside PyTorch, CuPy and the hardware's limits."""

from __future__ import annotations

import argparse
import json
import platform
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_fast

from . import report
from .case import Case
from .cases import table

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
WORKER = [sys.executable, "-m", "benchmarks.gpu.worker"]
SILENT = 120  # seconds without a word after which a process is given up: a kernel that does not end, most likely
STARTING = 200  # the same before its first case, while it compiles
LATE = 40  # the same from the end of the budget on


def main() -> int:
    ask = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    ask.add_argument("--only", action="append", default=[], metavar="TEXT", help="a family, or part of a case's name")
    ask.add_argument("--list", action="store_true", help="print the cases, run none")
    ask.add_argument("--budget", type=float, default=420, metavar="SECONDS", help="for all of it (default: 420)")
    ask.add_argument(
        "--compile", action="store_true", help="training steps beside torch.compile too: a minute for each"
    )
    ask.add_argument("--alone", action="store_true", help="without PyTorch")
    ask.add_argument(
        "--rehearse", action="store_true", help="tiny cases on the emulator: all but the GPU, times mean nothing"
    )
    ask.add_argument(
        "--save", metavar="NAME", help="write benchmarks/results/NAME.md and .json (default: gpu-GPU-DATE)"
    )
    args = ask.parse_args()

    began, all_of_them = time.time(), table(args.rehearse)
    chosen = selected(all_of_them, args.only)
    if isinstance(chosen, str):
        ask.error(chosen)
    if args.list:
        print(*(f"{c.family:8} {c.name}" for c in chosen), sep="\n")
        return 0
    about: dict[str, Any] = {"gpu": "no GPU", "date": date.today().isoformat()}
    rows: list[report.Row] = []
    notes: list[str] = []
    print(report.line(report.HEAD))
    for answer in answers(chosen, args, began + args.budget):
        if "case" in answer:
            rows.append(answer)
            print(report.line(report.cells(answer)), flush=True)
            save(args, about | {"seconds": f"{time.time() - began:.0f}"}, rows, notes)
        elif "about" in answer:
            notes += [n for n in answer["about"].pop("notes") if n not in notes]
            about |= answer["about"] | machine()
        elif "limits" in answer:
            about |= {name: shown(name, rate) for name, rate in answer["limits"].items()}
        elif "built" in answer:
            about["built"] = answer["built"]
        elif "note" in answer:
            notes.append(answer["note"])
            print(answer["note"], flush=True)
    if not rows:
        return 1
    about |= {"clocks after": clocks(), "seconds": f"{time.time() - began:.0f}"}
    fewer = [r["rounds"] for r in rows if r.get("rounds", 7) < 7]
    if fewer:
        notes.append(
            f"rounds were dropped to keep to {args.budget:.0f} s: {len(fewer)} cases had {min(fewer)} to {max(fewer)}"
        )
    where = save(args, about, rows, notes)
    lines = report.groups(rows)
    print("", *(f"{what}: {value}" for what, value in about.items()), *notes, sep="\n")
    print("", report.line(report.SHORT, report.SHORT_WIDTHS), sep="\n")
    print(*(report.line(words, report.SHORT_WIDTHS) for words in lines), f"\nwritten: {where}.md and .json", sep="\n")
    return 1 if any("error" in r for r in rows) else 0


def selected(cases: dict[str, Case], only: list[str]) -> list[Case] | str:
    """Cases by family or part of a name; a text for what matches none."""
    found = set()
    for text in only or [""]:
        those = [n for n, c in cases.items() if text == c.family or text.lower() in n.lower()]
        if not those:
            families = ", ".join(dict.fromkeys(c.family for c in cases.values()))
            return f"--only: no case matches {text!r}; families are {families}; --list prints the cases"
        found |= set(those)
    return [c for n, c in cases.items() if n in found]


def answers(chosen: list[Case], args: argparse.Namespace, deadline: float) -> Iterator[dict[str, Any]]:
    """What processes answer. One that is lost costs the case it was at, and another takes the rest. One that is lost
    on its way to the first case costs what it was at: the next prepares nothing."""
    left = [c.name for c in chosen]
    by_name = {c.name: c for c in chosen}
    limits: dict[str, float] = {}
    prepares, known = True, False
    while left:
        asked = {"names": left, "deadline": deadline, "limits": limits, "prepares": prepares}
        asked |= {"compile": args.compile, "alone": args.alone, "rehearse": args.rehearse}
        at, failed = None, False
        for answer in heard(asked):
            if "begins" in answer:
                at, failed = answer["begins"], False
                left = left[left.index(at) + 1 :]
                continue
            limits, known = answer.get("limits", limits), known or "about" in answer
            failed = failed or "error" in answer
            if "lost" not in answer:
                yield answer
            elif at is None and known and prepares:
                prepares = False
                yield {"note": f"kernels are compiled as they are needed, and limits not measured: {answer['lost']}"}
            elif at is None:
                yield {"note": f"no case could be run: {answer['lost']}"}
                return
            elif failed:
                yield {"note": f"a new process after {at}: {answer['lost']}"}
            else:
                yield report.failed(by_name[at], answer["lost"])
            if "lost" in answer:
                break
        else:
            return


def heard(asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The answers of one process; {"lost": why} last if it ended badly or said nothing for too long."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(WORKER, cwd=ROOT, text=True, **pipes) as process:  # type: ignore[call-overload]
        said: queue.Queue[str | None] = queue.Queue()
        errors: list[str] = []

        def listen() -> None:
            for line in process.stdout:
                said.put(line)
            said.put(None)

        threads = [threading.Thread(target=listen), threading.Thread(target=lambda: errors.extend(process.stderr))]
        for thread in threads:
            thread.start()
        process.stdin.write(json.dumps(asked) + "\n")
        process.stdin.flush()
        usual, why = STARTING, ""
        try:
            while True:
                patience = min(usual, max(asked["deadline"] + LATE - time.time(), 1))
                if (line := said.get(timeout=patience)) is None:
                    break
                if line.startswith("{"):  # libraries talk, too
                    answer = json.loads(line)
                    usual = SILENT if "begins" in answer or "case" in answer else STARTING
                    yield answer
        except queue.Empty:
            why = f"nothing was heard for {patience:.0f} s"
            process.kill()
        except BaseException:
            process.kill()
            raise
        process.wait()
        for thread in threads:
            thread.join()
        if why or process.returncode:
            last = " ".join(" ".join(errors[-3:]).split())
            yield {"lost": why or f"the process ended with {process.returncode}: {last}"}


def machine() -> dict[str, Any]:
    return {
        "clocks before": clocks(),
        "driver": nvidia_smi("driver_version"),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "tinygrad_fast": tinygrad_fast.__version__,
        "command": " ".join(["python -m benchmarks.gpu", *sys.argv[1:]]),
    }


def clocks() -> str:
    """What the GPU runs at, at most, and how warm it is."""
    names = ("clocks.sm", "clocks.max.sm", "clocks.mem", "power.draw", "temperature.gpu")
    return nvidia_smi(*names)


def nvidia_smi(*names: str) -> str:
    command = ["nvidia-smi", f"--query-gpu={','.join(names)}", "--format=csv,noheader", "--id=0"]
    try:
        values = (
            subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip().split(", ")
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown (no nvidia-smi)"
    return ", ".join(f"{n} {v}" if len(names) > 1 else v for n, v in zip(names, values, strict=False))


def shown(name: str, rate: float) -> str:
    return f"{rate / 1e9:.0f} GB/s, read and written" if name == "copy" else f"{rate / 1e12:.1f} Tflop/s, cuBLAS's best"


def save(args: argparse.Namespace, about: dict[str, Any], rows: list[report.Row], notes: list[str]) -> Path:
    """After each case, so that a run that is cut off leaves what it found."""
    gpu = re.sub(r"[^a-z0-9]+", "-", about["gpu"].lower().removeprefix("nvidia ")).strip("-")
    place = RESULTS / (args.save or f"gpu-{gpu}-{about['date']}")
    place.parent.mkdir(exist_ok=True)
    facts = {what: value for what, value in about.items() if what != "notes"}
    place.with_name(place.name + ".json").write_text(
        json.dumps({"about": facts, "notes": notes, "rows": rows}, indent=1) + "\n"
    )
    place.with_name(place.name + ".md").write_text(report.markdown(facts, rows, notes))
    return place


if __name__ == "__main__":
    sys.exit(main())
