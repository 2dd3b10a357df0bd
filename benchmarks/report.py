"""What a comparison says: a row for each case and pass, and the machine it holds for."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any

import numpy as np

import tinygrad_fast

from .cases import AIMS
from .variants import OURS, PEERS, TUNED

HEAD = ["case", "pass", "NumPy", "Numba", "PyTorch", "ch. last", "tuned"]
HEAD += ["NumPy ratio", "aim", "Numba ratio", "aim", "NumPy/tuned", "Numba/tuned"]
WIDTHS = [39, 9, 9, 9, 9, 9, 9, 11, 11, 11, 11, 11, 11]
GROUPS = {"step": "training steps", "inference": "inferences", "forward": "ops forward", "backward": "ops backward"}


def row(
    name: str, what: str, values: dict[str, list[float]], unit: str = "ms", aim_of: str = "ratio"
) -> dict[str, Any]:
    """A line of the table, from {variant: the value of each round}.

    "median" of each variant; "ratio" of each of ours: its value over PyTorch's of the same round, the median over
    rounds, with "spread", the smallest and the largest; "over tuned" the same. PyTorch's memory format is the one
    with the better median. aim_of: whether the aim is a "ratio" or a "median".
    """
    found: dict[str, Any] = {"case": name, "pass": what, "unit": unit}
    found["median"] = {kind: median(v) for kind, v in values.items()}
    found |= {"ratio": {}, "spread": {}, "over tuned": {}, "aim": {}, "aim of": aim_of, "holds": {}}
    for kind, aim in zip(OURS, AIMS.get(name, (None, None)), strict=True):
        if kind not in values:
            continue
        if (peer := better(found, PEERS)) is not None:
            ratios = [a / b for a, b in zip(values[kind], values[peer], strict=True)]
            found["ratio"][kind] = median(ratios)
            if len(ratios) > 1:
                found["spread"][kind] = [min(ratios), max(ratios)]
        if (tuned := better(found, TUNED)) is not None:
            found["over tuned"][kind] = median(a / b for a, b in zip(values[kind], values[tuned], strict=True))
        if aim is not None and kind in found[aim_of]:
            found["aim"][kind], found["holds"][kind] = aim, found[aim_of][kind] <= aim
    return found


def better(row: dict[str, Any], kinds: list[str]) -> str | None:
    """The one of these variants with the smallest median, if any was measured."""
    return min((kind for kind in kinds if kind in row["median"]), key=row["median"].__getitem__, default=None)


def means(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A line for each group of cases: the geometric means of their ratios."""
    lines = []
    for what, group in GROUPS.items():
        those = [r for r in rows if r["pass"] == what and r["ratio"]]
        if len(those) > 1:
            line: dict[str, Any] = {"case": f"geometric mean of {len(those)} {group}", "pass": ""}
            for of in ("ratio", "over tuned"):
                line[of] = {kind: geometric_mean(r[of][kind] for r in those) for kind in those[0][of]}
            lines.append(line)
    return lines


def quantity(n: float | None, unit: str) -> str:
    """Three digits, or all of them: 0.0421 ms, 3.14 ms, 1367 ms."""
    return "" if n is None else f"{n:.0f} {unit}" if n >= 100 else f"{n:.3g} {unit}"


def cells(row: dict[str, Any]) -> list[str]:
    medians, unit = row.get("median", {}), row.get("unit", "")
    tuned = [medians[kind] for kind in TUNED if kind in medians]
    found = [row["case"], row["pass"], *(quantity(medians.get(kind), unit) for kind in OURS + PEERS)]
    found += [quantity(min(tuned, default=None), unit)]
    for kind in OURS:
        spread = row.get("spread", {}).get(kind)
        ratio = f"{row['ratio'][kind]:.2f}" if kind in row["ratio"] else ""
        found += [f"{ratio} ±{(spread[1] - spread[0]) / 2:.2f}" if spread else ratio, aim(row, kind)]
    return found + [f"{row['over tuned'][kind]:.2f}" if kind in row["over tuned"] else "" for kind in OURS]


def aim(row: dict[str, Any], kind: str) -> str:
    if kind not in row.get("aim", {}):
        return ""
    value = row["aim"][kind]
    limit = f"{value:.2f}" if row["aim of"] == "ratio" else f"{value:.0f}"
    return f"<= {limit} {'yes' if row['holds'][kind] else 'NO'}"


def line(cells: list[str]) -> str:
    left = [f"{c:<{w}}" for c, w in zip(cells[:2], WIDTHS[:2], strict=True)]
    return " ".join(left + [f"{c:>{w}}" for c, w in zip(cells[2:], WIDTHS[2:], strict=True)]).rstrip()


def machine() -> dict[str, Any]:
    """What the figures hold for."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [x.partition(":")[2].strip() for x in info.read_text().splitlines() if x.startswith("model name")]
        cpu = names[0] if names else cpu
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {
        "date": date.today().isoformat(),
        "cpu": cpu,
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else 0.0,  # of the last minute, by others
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "tinygrad_fast": tinygrad_fast.__version__,
        "numpy": np.__version__,
        "blas": f"{blas['name']} {blas['version']}",
        **{name: installed(name) for name in ("numba", "torch")},
        "command": " ".join(["python -m benchmarks.cpu", *sys.argv[1:]]),
    }


def installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def markdown(about: dict[str, Any], rows: list[dict[str, Any]], notes: Iterable[str] = ()) -> str:
    """The same as a page."""
    facts = "\n".join([*(f"- {what}: {value}" for what, value in about.items()), *(f"- {note}" for note in notes)])
    table = [HEAD, ["---"] * 2 + ["---:"] * (len(HEAD) - 2), *map(cells, rows)]
    lines = "\n".join(f"| {' | '.join(r)} |" for r in table)
    return f"# tinygrad_fast beside PyTorch on the CPU, {about['date']}\n\n{facts}\n\n{lines}\n"
