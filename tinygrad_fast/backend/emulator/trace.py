"""What one thread, or one warp, of a kernel does: printed line by line, beside the source.

    with tf.emulator.trace(kernel="matmul_tiles", thread=(1, 0, 0)):
        x @ w

Lanes of a warp run one after another here. In a trace they are brought back into step: of lanes that stand at different
instructions, those furthest behind go first, which is how a GPU brings them together again. `tracer.cpp` keeps what
happened; `places.py` knows what an address is called; this file puts it into words.
"""

from __future__ import annotations

import ctypes as C
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby, islice, pairwise
from typing import Any, TextIO

import numpy as np

from ..launch import Triple
from ..source import kernel_folder, sources
from .places import Listing

EVENT = np.dtype(  # `struct Event` of tracer.cpp
    [
        *((name, np.int32) for name in ("thread", "kind", "space", "bytes")),
        *(("offset", np.int64), ("code", np.int64), ("value", np.uint8, 16), ("taken", np.uint8, 16)),
        *(("file", np.uintp), ("line", np.int32), ("word", np.uintp)),
    ],
    align=True,
)
ROOM = 1 << 16  # events of a launch that are kept
VERBS = {0: "reads", 1: "writes", 2: "changes"}  # `enum Traced` of machine.h
MEETING = 3
WARP = 32

active: list[trace] = []


class trace:
    """Print what a thread (or a warp) of emulated kernels does, for every launch inside the `with` block.

    kernel: its name; "" for every kernel. block: which block of the grid. thread: threadIdx of one thread, (0, 0, 0) by
    default; or warp=k for threads 32 k to 32 k + 31 of the block, lane by lane side by side. What is left out of a
    block or a thread is 0: thread=5 is (5, 0, 0). lines: at most so many are printed for a launch. file: where to, in
    place of the standard output.

    Each line of the source that touches memory comes with what was read or written (array and element, or variable in
    shared memory, and the value), and with the barriers, shuffles and votes that stand in it. For a warp also with its
    cost: sectors of 32 bytes of global memory, and turns that shared memory takes where lanes meet in a bank. What is
    in registers is not seen. A traced launch runs as in the checking mode, slowly.
    Raises ValueError if thread and warp are both given, or are no whole numbers from 0; and when the block ends, if no
    kernel has that name.
    """

    def __init__(
        self,
        kernel: str = "",
        *,
        block: int | tuple[int, ...] = 0,
        thread: int | tuple[int, ...] | None = None,
        warp: int | None = None,
        lines: int = 100,
        file: TextIO | None = None,
    ):
        if thread is not None and warp is not None:
            raise ValueError(f"trace: give thread or warp, not both; got thread={thread}, warp={warp}")
        self.kernel, self.warp, self.lines, self.file = kernel, warp, lines, file
        if warp is not None and not _whole(warp):
            raise ValueError(f"trace: warp must be a whole number from 0; got {warp!r}")
        self.block, self.thread = _three("block", block), _three("thread", 0 if thread is None else thread)
        self.launched: list[str] = []  # kernels that ran meanwhile

    def __enter__(self) -> trace:
        active.append(self)
        return self

    def __exit__(self, *error: Any) -> None:
        active.remove(self)
        if error[0] is None and not any(self._wants(kernel) for kernel in self.launched):
            known = {*sources(kernel_folder()), *self.launched}
            if self.kernel and self.kernel not in known:
                raise ValueError(f"trace: {self.kernel}: no such kernel. There are {', '.join(sorted(known))}")
            ran = ", ".join(dict.fromkeys(self.launched)) or "none"
            self._say(f"{self.kernel or 'trace'}: no such launch was emulated; kernels that were: {ran}")

    def _wants(self, kernel: str) -> bool:
        return self.kernel in ("", kernel)

    def _say(self, *lines: str) -> None:
        print(*lines, sep="\n", file=self.file or sys.stdout)

    @contextmanager
    def watching(self, library: Any, kernel: str, grid: Triple, block: Triple, spans: list[Any]) -> Iterator[None]:
        """Keep what happens during a launch, and say it, also if a fault ends it."""
        first = self.warp * WARP if self.warp is not None else _number(self.thread, block)
        last = first + WARP - 1 if self.warp is not None else first
        events = np.zeros(ROOM, EVENT)
        library.trace(events.ctypes.data, ROOM, *self.block, first, last)
        try:
            yield
        finally:
            count = C.c_longlong.in_dll(library.loaded, "emulator_traced").value
            library.trace(None, 0, 0, 0, 0, 0, 0)
            who = f"thread {self.thread}" if self.warp is None else f"warp {self.warp}"
            arrays = ", ".join(f"{s.name} {s.array.dtype} {s.array.shape}" for s in spans)
            self._say(f"{kernel}: {who} of block {self.block}", f"  grid {grid} of blocks {block}; {arrays}")
            if not count:
                self._say("  does nothing that can be seen, or is none of this launch")
            told = _told(events[:count], Listing(library, spans), self.warp is not None)
            for line in islice(told, self.lines):
                self._say(line)
            if left := sum(1 for _ in told) + max(count - ROOM, 0):
                self._say(f"  ... and {left} lines more: trace(lines=...)")


def wanting(kernel: str) -> trace | None:
    """The innermost trace that wants to see a launch of this kernel."""
    for each in active:
        each.launched.append(kernel)
    return next((each for each in reversed(active) if each._wants(kernel)), None)


def _whole(n: Any) -> bool:
    return isinstance(n, (int, np.integer)) and int(n) >= 0


def _three(name: str, given: int | tuple[int, ...]) -> Triple:
    n = given if isinstance(given, (tuple, list)) else (given,)
    if len(n) > 3 or not all(map(_whole, n)):
        raise ValueError(f"trace: {name} must be one to three whole numbers from 0, as 5 or (5, 0, 0); got {given!r}")
    x, y, z = (*map(int, n), 0, 0, 0)[:3]
    return x, y, z


def _number(thread: Triple, block: Triple) -> int:
    inside = all(i < n for i, n in zip(thread, block))
    return thread[0] + block[0] * (thread[1] + block[1] * thread[2]) if inside else -1


# ------------------------------------------------------------------------------------------------------- in step


def _steps(events: np.ndarray, listing: Listing) -> Iterator[np.ndarray]:
    """What lanes do together, step by step: events of one instruction, or of one meeting."""
    lanes: dict[int, list[int]] = defaultdict(list)
    for i in reversed(range(len(events))):
        lanes[int(events[i]["thread"])].append(i)  # the next is the last
    while waiting := sorted(thread for thread, left in lanes.items() if left):
        front = {thread: events[lanes[thread][-1]] for thread in waiting}
        moving = [e for e in front.values() if e["kind"] != MEETING]
        if moving:
            behind = min(moving, key=lambda e: (listing.order[int(e["code"])], e["code"]))
            together = [t for t, e in front.items() if e["kind"] != MEETING and e["code"] == behind["code"]]
        else:
            one = front[waiting[0]]
            together = [t for t, e in front.items() if (e["line"], e["word"]) == (one["line"], one["word"])]
        yield events[[lanes[t].pop() for t in together]]


# ------------------------------------------------------------------------------------------------------ in words


def _told(events: np.ndarray, listing: Listing, warp: bool) -> Iterator[str]:
    """The lines; those that say the same again and again are one."""
    for line, same in groupby(_lines(events, listing, warp)):
        times = len(list(same))
        yield line if times == 1 else f"{line}   ({times} times)"


def _lines(events: np.ndarray, listing: Listing, warp: bool) -> Iterator[str]:
    listing.find(np.unique(events["code"][events["kind"] != MEETING]))
    place = None
    for step in _steps(events, listing):
        meeting = step[0]["kind"] == MEETING
        now = listing.named(step[0]) if meeting else listing.places[int(step[0]["code"])]
        if now != place:
            place = now
            yield f"  {place[0]}:{place[1]}  {listing.text.get(place, '').strip()}"
        who = _lanes(step["thread"] % WARP) + " " if warp else ""
        yield f"      {who}{_met(step, listing) if meeting else _touched(step, listing)}"


def _touched(step: np.ndarray, listing: Listing) -> str:
    accesses = [listing.access(event) for event in step]
    labels, values = [a.label for a in accesses], [a.value for a in accesses]
    apart = {b.element - a.element for a, b in pairwise(accesses)}
    if len(apart) == 1 and len(step) > 4 and len({a.name for a in accesses}) == 1 and apart != {0}:
        where = f"{labels[0]}, {labels[1]} .. {labels[-1]}"
    else:
        where = _some(labels)
    verb = VERBS[int(step[0]["kind"])][: -1 if len(step) > 1 else None]
    shared = "" if step[0]["space"] == 1 else "shared "
    return f"{verb} {shared}{where} = {_some(values)}{_cost(step)}"


def _some(words: list[str]) -> str:
    """All of a few words, the first and the last of many; neighbours that are equal are said once."""
    runs = [(word, len(list(same))) for word, same in groupby(words)]
    if len(runs) > 4:
        return ", ".join([*words[:3], "... " + words[-1]])
    return ", ".join(f"{word} ({n} lanes)" if n > 1 and len(runs) > 1 else word for word, n in runs)


def _met(step: np.ndarray, listing: Listing) -> str:
    word, size, many = C.string_at(int(step[0]["word"])).decode(), int(step[0]["bytes"]), len(step) > 1
    if not size:
        return f"{'wait' if many else 'waits'} at {word} for {'the block' if word == '__syncthreads' else 'the warp'}"
    give, take = (_some([listing.guessed(e[name][:size], word) for e in step]) for name in ("value", "taken"))
    return f"in {word} {'give' if many else 'gives'} {give}, {'take' if many else 'takes'} {take}"


def _lanes(lanes: np.ndarray) -> str:
    """ "lanes 0-3, 8" """
    ends = [0, *(np.flatnonzero(np.diff(lanes) != 1) + 1), len(lanes)]
    runs = [(lanes[a], lanes[b - 1]) for a, b in pairwise(ends)]
    return ("lanes " if len(lanes) > 1 else "lane ") + ", ".join(f"{a}-{b}" if a != b else f"{a}" for a, b in runs)


def _cost(step: np.ndarray) -> str:
    """What it takes to serve the lanes of a warp at once."""
    if len(step) == 1:
        return ""
    pieces = {int(e["offset"]) + k for e in step for k in range(int(e["bytes"]))}
    if step[0]["space"] == 1:
        sectors = len({byte // 32 for byte in pieces})
        return f"   ({sectors} sector{'s' * (sectors > 1)})"
    size = max(int(step[0]["bytes"]), 4)
    turns = 0
    for lanes in np.split(step, range(128 // size, len(step), 128 // size)):  # 128 bytes are asked for at a time
        words = {(int(e["offset"]) + k) // 4 for e in lanes for k in range(int(e["bytes"]))}
        banks = [word % 32 for word in words]
        turns += max(map(banks.count, banks))
    least = -(-len(step) * size // 128)
    return f"   ({turns} turns where {least} would do)" if turns > least else ""
