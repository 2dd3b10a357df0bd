"""What a run says: a line for each case, a short table last, a page."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import geometric_mean, median
from typing import Any

from ..report import quantity
from .case import Case
from .limits import seconds
from .timing import Times

Row = dict[str, Any]
HEAD = ["case", "ours", "PyTorch", "compiled", "CuPy", "speed", "share", "host", ""]
WIDTHS = [62, 9, 9, 9, 9, 11, 5, 8, 0]
SHORT = ["group", "cases", "speed", "floor", "share", "floor", "slowest of them"]
SHORT_WIDTHS = [32, 5, 6, 9, 6, 9, 0]


def row(
    case: Case,
    what: str,
    times: dict[str, Times],
    limits: dict[str, float],
    checked: str,
    rounds: int,
    notes: list[str],
) -> Row:
    """speed: the best other time over ours, the median of the rounds' ratios, with its range. share: of the limit."""
    typical = {name: median(t.rounds) for name, t in times.items()}
    others = [name for name in ("PyTorch", "compiled") if name in typical]
    least, bound = seconds(case, limits)
    found: Row = {
        "case": case.name + what,
        "family": case.family,
        "group": case.group + what,
        "ms": {name: 1e3 * t for name, t in typical.items()},
        "host us": 1e6 * median(times["ours"].host),
        "share": least / typical["ours"] if least else None,
        "bound": bound,
        "checked": checked,
        "rounds": rounds,
        "dry": sorted(name for name, t in times.items() if t.dry),
        "aims": case.aims if not what else None,
        "notes": notes,
    }
    if others:
        best = min(others, key=typical.__getitem__)
        ratios = [b / a for a, b in zip(times["ours"].rounds, times[best].rounds, strict=True)]
        found |= {"speed": median(ratios), "spread": [min(ratios), max(ratios)], "beside": best}
    return found


def failed(case: Case, error: BaseException | str) -> Row:
    return {"case": case.name, "family": case.family, "group": case.group, "error": said(error)}


def said(error: BaseException | str) -> str:
    """An error in a line."""
    text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:300]


def cells(row: Row) -> list[str]:
    if "error" in row:
        return [row["case"], *[""] * 7, f"FAILED {row['error']}"]
    ms = [quantity(row["ms"].get(name), "ms") for name in ("ours", "PyTorch", "compiled", "CuPy")]
    speed = ""
    if "speed" in row:
        low, high = row["spread"]
        speed = f"{row['speed']:.2f} ±{(high - low) / 2:.2f}"
    share = "" if row["share"] is None else f"{row['share']:.2f}"
    dry = [f"{name} ran dry" for name in row["dry"]]
    return [row["case"], *ms, speed, share, f"{row['host us']:.0f} us", "; ".join([*dry, *row["notes"]])]


def line(cells: list[str], widths: list[int] = WIDTHS) -> str:
    first, *rest = zip(cells, widths, strict=True)
    words = [f"{c:>{w}}" if w else c for c, w in rest]
    return " ".join([f"{first[0]:<{first[1]}}", *words]).rstrip()


def groups(rows: Iterable[Row]) -> list[list[str]]:
    """A line for each group: geometric means beside the floors, and its slowest case."""
    kept: dict[str, list[Row]] = {}
    for r in rows:
        kept.setdefault(r["group"], []).append(r)
    lines = []
    for name, those in kept.items():
        good = [r for r in those if "error" not in r]
        speeds, shares = ([r[what] for r in good if r.get(what)] for what in ("speed", "share"))
        speed, share = (geometric_mean(v) if v else None for v in (speeds, shares))
        floors = next((r["aims"] for r in good if r["aims"]), None) or (0, 0)
        rank = "speed" if speeds else "share"
        slowest = min((r for r in good if r.get(rank)), key=lambda r: r[rank], default=None)
        worst = f"{slowest['case']} ({slowest[rank]:.2f})" if slowest and len(good) > 1 else ""
        if len(good) < len(those):
            worst = f"{len(those) - len(good)} FAILED; {worst}".rstrip("; ")
        lines.append([name, str(len(those)), *judged(speed, floors[0]), *judged(share, floors[1]), worst])
    return lines


def judged(value: float | None, floor: float) -> list[str]:
    if value is None:
        return ["", ""]
    return [f"{value:.2f}", f"{floor:.2f} {'yes' if value >= floor else 'NO'}" if floor else ""]


def markdown(about: dict[str, Any], rows: list[Row], notes: Iterable[str]) -> str:
    """The same as a page."""

    def table(head: list[str], lines: Iterable[list[str]]) -> str:
        rule = ["---", *["---:"] * (len(head) - 2), "---"]
        return "\n".join(f"| {' | '.join(c.replace('|', '/') for c in cells)} |" for cells in (head, rule, *lines))

    facts = "\n".join([*(f"- {what}: {value}" for what, value in about.items()), *(f"- {note}" for note in notes)])
    detail = [[*cells(r), r.get("checked", ""), r.get("bound", ""), str(r.get("rounds", ""))] for r in rows]
    parts = [
        f"# tinygrad_fast beside PyTorch on {about['gpu']}, {about['date']}",
        facts,
        table(SHORT, groups(rows)),
        "speed: PyTorch's time over ours, above 1 we are faster; share: of the limit of memory or products. See "
        "../README.md.",
        table([*HEAD[:-1], "notes", "checked", "limit", "rounds"], detail),
    ]
    return "\n\n".join(parts) + "\n"
