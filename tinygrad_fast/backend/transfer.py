"""Arrays on their way from one machine to another: `carried`. To a GPU, while it is at work on others: `Transfer`.

A copy runs beside a step's kernels if three things hold: the host's memory is page-locked, so that the GPU reads it by
itself; the copy has a stream of its own; and nobody waits for it but the kernels that read what it brings. What must
then be kept in order by hand, `send` and `arrive` say. Who uses it: `data/prefetch.py`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import windows
from .graph import refuse_in_capture

LOADED = "takes a batch from a loader, which copies it to the GPU", "Take it before, and hand it in as an argument"


def carried(a: Any, home: Any, there: Any) -> Any:
    """An array of the machine `home` on the machine `there`: from GPU to GPU as it is, else by way of the host."""
    transfer = getattr(there, "transfer", None)
    if transfer is None or home.array is not there.array:
        return there.asarray(home.to_numpy(a))
    there.heed(home)
    return transfer.across(a)


class Transfer:
    """Copies to one GPU, the current one when this is made, on a stream of their own."""

    def __init__(self, cupy: Any):
        self.cupy, self.index = cupy, cupy.cuda.runtime.getDevice()
        self.stream = cupy.cuda.Stream(non_blocking=True)
        self._under_way: deque[tuple[Any, list[np.ndarray]]] = deque()  # copies, and the host's memory they read

    def pinned(self, a: np.ndarray) -> np.ndarray:
        """A copy of a in page-locked memory, in the same order. In whatever thread: best where a was made."""
        refuse_in_capture(*LOADED)
        from cupyx import empty_pinned

        order = windows.memory_order(a)
        y = empty_pinned(tuple(a.shape[i] for i in order), a.dtype).transpose(windows.inverse(order))
        y[...] = a
        return y

    def send(self, arrays: Sequence[np.ndarray]) -> tuple[list[Any], Any]:
        """Start to copy pinned arrays; returns their places on the GPU, not yet to be read, and what `arrive` takes."""
        refuse_in_capture(*LOADED)
        while self._under_way and self._under_way[0][0].done:
            self._under_way.popleft()  # from here on the page-locked memory may be used again
        with self.cupy.cuda.Device(self.index):
            # The pool gives this stream memory that earlier batches have left. Kernels that read them may still run
            self.stream.wait_event(self._mark(self._at_work()))
            with self.stream:
                there = [self._sent(a) for a in arrays]
            event = self._mark(self.stream)
        self._under_way.append((event, list(arrays)))
        return there, event

    def _sent(self, a: np.ndarray) -> Any:
        order = windows.memory_order(a)
        row = a.transpose(order)
        there = self.cupy.empty(row.shape, a.dtype)
        there.set(row, stream=self.stream)
        return there.transpose(windows.inverse(order))

    def arrive(self, event: Any) -> None:
        """Kernels started from now on run when the copies have ended. Nothing waits on the host."""
        with self.cupy.cuda.Device(self.index):
            self._at_work().wait_event(event)

    def across(self, a: Any) -> Any:
        """A copy of another GPU's array, in the same memory order, for the kernels of this one. The host goes on.

        Each GPU has its own order of work. This one's waits until `a` is written; the other's goes on when `a` is read,
        as its memory may be another array's from then on.
        """
        order = windows.memory_order(a)
        with self.cupy.cuda.Device(a.device.id):
            row = a.transpose(order)
            row = row if row.flags.c_contiguous else row.copy()
            written = self._mark(self._at_work())
        with self.cupy.cuda.Device(self.index):
            self._at_work().wait_event(written)
            copy = row.copy().transpose(windows.inverse(order))  # to the current device, by whatever line there is
            read = self._mark(self._at_work())
        with self.cupy.cuda.Device(a.device.id):
            self._at_work().wait_event(read)
        return copy

    def _mark(self, stream: Any) -> Any:
        """An event that has come to pass when all that was asked of the stream until now is done."""
        return stream.record(self.cupy.cuda.Event(disable_timing=True))

    def _at_work(self) -> Any:
        """The stream of the kernels."""
        return self.cupy.cuda.get_current_stream()
