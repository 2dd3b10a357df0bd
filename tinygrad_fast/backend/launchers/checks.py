"""Launcher of kernels/check_indices.cu, and who tells what it found."""

from __future__ import annotations

from typing import Any

from ...dtypes import int64
from ...shapes import Places
from .machine import Machine


class Checks(Machine):
    """Indices are checked by the GPU, and a wrong one is an IndexError when a value next comes to the host.

    The GPU holds two numbers: which check failed first, counted from 1, and on which index. Reading them
    makes the host wait, so they are read where it waits anyway: `to_numpy`, behind item, numpy, tolist and print.
    """

    def __init__(self) -> None:
        self._flag: Any = None  # made at the first check, or before a capture
        self._checks: dict[Places, int] = {}
        self._heeded: list[Any] = []  # machines

    def check_indices(self, index, places):
        if not places.n and index.size and places.ignored is None:
            raise places.error("one")
        given = self.contiguous(index, int64)
        self.ready_to_check()
        y = self.empty(index.shape, int64)
        who = self._checks.setdefault(places, len(self._checks) + 1)
        self.launch(
            "check_indices",
            grid=(min(-(-y.size // 256), 1024),),
            block=(256,),
            defines={"DTYPE": "float32"},
            **dict(index=given, y=y, count=y.size, low=places.low, n=places.n),
            **dict(ignores=places.ignored is not None, ignored=places.ignored or 0, who=who, flag_=self._flag),
        )
        return y

    def ready_to_check(self) -> None:
        """Make what stands on the GPU, if it is not there. What a capture made would be cleared by each replay, and by
        nobody if the capture fails: so this is called before one."""
        if self._flag is None:
            self._flag = self.full((2,), 0, int64)

    def heed(self, other: Any) -> None:
        """An array came from another GPU, unread: what was found wrong there is told where a value is read here."""
        if other not in self._heeded:
            self._heeded.append(other)

    def _tell(self) -> None:
        """Raise IndexError for what was found since the last time; it is told once."""
        while self._heeded:
            self._heeded.pop()._tell()
        if self._flag is None:
            return
        who, got = self._flag.tolist()
        if who:
            self.write_(self._flag, 0)
            places = list(self._checks)[who - 1]
            raise places.error(
                got,
                f". Found on {self.name} by an earlier launch, and told now that a value is read: "
                "index 0 was taken in its place, so what was computed since is wrong, updated weights too",
            )
