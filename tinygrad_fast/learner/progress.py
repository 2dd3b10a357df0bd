"""The table of epochs, and a bar below it in a terminal: plain lines where the output is a file or a pipe."""

from __future__ import annotations

import sys
import time
from typing import Any

from .events import Callback

REDRAW = 0.2  # seconds


def cell(value: Any) -> str:
    """An entry of the table as text: numbers to six digits, None as nothing."""
    return "" if value is None else f"{value:.6f}" if isinstance(value, float) else str(value)


class PlainTable:
    """One line an epoch."""

    def __init__(self, names: list[str]):
        self.widths = [max(len(n), 5 if n in ("epoch", "time") else 10) for n in names]
        self.row(names)

    def row(self, values: list) -> None:
        print("  ".join(cell(v).rjust(w) for v, w in zip(values, self.widths)), flush=True)

    def begin(self, label: str, n: int) -> None:
        pass

    def update(self, done: int, loss: float | None) -> None:
        pass

    def close(self) -> None:
        pass


class LiveTable:
    """A table that grows, and a bar for the part that runs: loss, batches a second, time left."""

    def __init__(self, names: list[str]):
        from rich.console import Group
        from rich.live import Live
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.table import Table

        self.table = Table(box=None, header_style="bold", pad_edge=False)
        for name in names:
            self.table.add_column(name, justify="right")
        words = TextColumn("{task.fields[words]}")
        columns = (TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn(), words, TimeRemainingColumn())
        self.bar = Progress(*columns, auto_refresh=False)
        self.live = Live(Group(self.table, self.bar), auto_refresh=False)
        self.live.start(refresh=True)

    def row(self, values: list) -> None:
        self.table.add_row(*map(cell, values))
        self.live.refresh()

    def begin(self, label: str, n: int) -> None:
        for task in list(self.bar.task_ids):
            self.bar.remove_task(task)
        self.task = self.bar.add_task(label, total=n, words="")
        self.start = time.monotonic()

    def update(self, done: int, loss: float | None) -> None:
        rate = done / max(time.monotonic() - self.start, 1e-9)
        words = f"{rate:.1f} batches/s" + ("" if loss is None else f"  loss {loss:.4f}")
        self.bar.update(self.task, completed=done, words=words)
        self.live.refresh()

    def close(self) -> None:
        for task in list(self.bar.task_ids):
            self.bar.remove_task(task)
        self.live.refresh()
        self.live.stop()


class ProgressCallback(Callback):
    """Shows a fit. The loss is read from its device when the bar is redrawn, a few times a second, never in between."""

    order = 60

    def __init__(self) -> None:
        self.shown: PlainTable | LiveTable | None = None

    def before_fit(self) -> None:
        names = self.learn.recorder.metric_names
        self.shown = LiveTable(names) if sys.stdout.isatty() else PlainTable(names)

    def before_train(self) -> None:
        self._begin(f"epoch {self.learn.epoch + 1}/{self.learn.n_epoch} train", self.learn.dls.train)

    def before_validate(self) -> None:
        self._begin(f"epoch {self.learn.epoch + 1}/{self.learn.n_epoch} valid", self.learn.dl)

    def _begin(self, label: str, dl: Any) -> None:
        if self.shown:
            self.shown.begin(label, len(dl))
            self.drawn = time.monotonic()

    def after_batch(self) -> None:
        learn, now = self.learn, time.monotonic()
        if isinstance(self.shown, LiveTable) and (now - self.drawn > REDRAW or learn.iter + 1 == learn.n_iter):
            self.drawn = now
            self.shown.update(learn.iter + 1, learn.recorder.smooth_loss if learn.training else None)

    def after_epoch(self) -> None:
        if self.shown:
            self.shown.row(self.learn.recorder.log)

    def cleanup(self) -> None:
        if self.shown:
            self.shown.close()
            self.shown = None
