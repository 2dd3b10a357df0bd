"""What a comparison says: a row for each case and pass, and the machine it holds for."""

from __future__ import annotations

import platform
import sys
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

HEAD = ["case", "pass", "tinygrad_fast", "PyTorch", "PyTorch channels_last", "ratio", "spread"]
WIDTHS = [37, 9, 14, 10, 22, 7, 12]


def row(name: str, what: str, times: dict[str, list[float]]) -> dict[str, Any]:
    """Medians over rounds in ms; the ratio of each round is ours over the faster PyTorch of that round."""
    found: dict[str, Any] = {"case": name, "pass": what}
    found["ms"] = {kind: 1e3 * median(seconds) for kind, seconds in times.items()}
    peers = [seconds for kind, seconds in times.items() if kind != "ours"]
    if peers:
        ratios = [own / min(other) for own, *other in zip(times["ours"], *peers, strict=True)]
        found |= {"ratio": median(ratios), "spread": [min(ratios), max(ratios)]}
    return found


def milliseconds(n: float | None) -> str:
    """Three digits, or all of them: 0.0421 ms, 3.14 ms, 1367 ms."""
    return "" if n is None else f"{n:.0f} ms" if n >= 100 else f"{n:.3g} ms"


def cells(row: dict[str, Any]) -> list[str]:
    ms = [milliseconds(row["ms"].get(kind)) for kind in ("ours", "torch", "torch channels_last")]
    ratio = [f"{row['ratio']:.2f}", "{:.2f}-{:.2f}".format(*row["spread"])] if "ratio" in row else ["", ""]
    return [row["case"], row["pass"], *ms, *ratio]


def line(cells: list[str]) -> str:
    left = [f"{c:<{w}}" for c, w in zip(cells[:2], WIDTHS[:2], strict=True)]
    return " ".join(left + [f"{c:>{w}}" for c, w in zip(cells[2:], WIDTHS[2:], strict=True)])


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
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": f"{blas['name']} {blas['version']}",
        "command": " ".join(["python -m benchmarks", *sys.argv[1:]]),
    }


def markdown(about: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """The same as a page."""
    facts = "\n".join(f"- {what}: {value}" for what, value in about.items())
    table = [HEAD, ["---"] * 2 + ["---:"] * 5, *map(cells, rows)]
    lines = "\n".join(f"| {' | '.join(r)} |" for r in table)
    return f"# tinygrad_fast beside PyTorch, {about['date']}\n\n{facts}\n\n{lines}\n"
