"""A step as one CUDA graph: what is noted while it is captured, and the graph on its GPU.

While a step is captured, the GPU runs nothing. CUDA writes down every launch of one stream with its arguments, that is,
addresses and numbers; a replay hands the whole list to the GPU at once. So what has changed in between must lie behind
an address. `Notes` holds what the host has to do at each replay: make each `host_input` of the step anew, count its
steps and its writes, and look whether what it found then is still so. Who captures: `capture.py`, one floor up.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import numpy as np

from .. import rng
from ..tape import mode, setting

PAGE, LINE = 1 << 14, 16  # bytes of the numbers that are copied at once, at least, and between two of them


class CaptureError(RuntimeError):
    """A step does what a CUDA graph cannot hold: what, and what to do instead."""


def refuse_in_capture(what: str, instead: str) -> None:
    """Raise CaptureError if this thread is capturing a step."""
    if mode.capture is not None:
        raise CaptureError(f"capture: the step {what}. A CUDA graph holds the GPU's own work alone. {instead}")


def if_capture_fails(undo: Callable, *args: Any) -> None:
    """Call undo(*args) if the step that this thread is capturing, if any, turns out to hold what a graph cannot.

    For what the host has counted or stored for this step: the GPU has run none of it, so that the step, run again
    without a graph, must find everything as before.
    """
    if mode.capture is not None:
        mode.capture.undo.append(partial(undo, *args))


class Notes:
    """What `mode.capture` is while a step is captured."""

    def __init__(self, xp: Any):
        self.xp = xp
        self.writes: list[list[int]] = []  # version counts of the tensors that the step writes to
        self.modules: list[tuple[Any, bool]] = []  # that were called, and in which mode
        self.guards: list[Callable[[], str]] = []  # what has changed since, in words; "" if nothing has
        self.undo: list[Callable[[], Any]] = [partial(rng.default.set_state, rng.default.get_state())]
        self._leaves: dict[Any, Any] = {}  # whose gradients the step leaves behind
        self._host_inputs: list[tuple[Callable[[], np.ndarray], np.ndarray]] = []  # make, and where its numbers go
        self._pages: list[tuple[np.ndarray, Any, int]] = []  # on the host, on the GPU, and bytes in use

    def open(self, size: int = 0) -> None:
        """A page for numbers. The default pool owns it: in the graph's own, a temporary from before could lie there,
        and each replay would write it over what was sent."""
        size, library = max(size, PAGE), self.xp.np
        with library.cuda.using_allocator(library.get_default_memory_pool().malloc):
            self._pages.append((np.zeros(size, np.uint8), self.xp.empty((size,), np.uint8), 0))

    def host_input(self, make: Callable[[], np.ndarray]) -> Any:
        """The place on the GPU where make() will stand at each replay."""
        value = np.asarray(make())
        if self._pages[-1][2] + value.nbytes > len(self._pages[-1][0]):
            self.open(value.nbytes)
        near, far, start = self._pages[-1]
        end = start + value.nbytes
        self._pages[-1] = near, far, -(-end // LINE) * LINE
        place = near[start:end].view(value.dtype).reshape(value.shape)
        place[...] = value
        self._host_inputs.append((make, place))
        return far[start:end].view(value.dtype).reshape(value.shape)

    def reaches(self, leaf: Any) -> None:
        """A gradient is about to be added to a leaf."""
        if leaf not in self._leaves and leaf.grad is not None:
            raise CaptureError(
                f"capture: a gradient of shape {leaf.shape} is there from before the step, and a replay would add to "
                "that one for ever. Begin or end the step with opt.zero_grad()"
            )
        self._leaves[leaf] = None

    def close(self) -> None:
        """After the capture."""
        self._leaves = {leaf: leaf.grad for leaf in self._leaves}

    def forget(self) -> None:
        """After one that failed: gradients that nobody has computed are none, and the host has counted nothing."""
        for leaf in self._leaves:
            leaf.grad = None
        for version in self.writes:
            version[0] -= 1
        for undo in reversed(self.undo):
            undo()

    def changed(self) -> str:
        """What is no longer as it was captured; "" if a replay is right."""
        for module, training in self.modules:
            if module.training != training:
                return f"{type(module).__name__} is in {'training' if module.training else 'evaluation'} mode"
        return next(filter(None, (guard() for guard in self.guards)), "")

    def host_step(self) -> None:
        """The host's part of one more step."""
        for make, place in self._host_inputs:
            place[...] = make()
        for version in self.writes:
            version[0] += 1
        for leaf, grad in self._leaves.items():
            leaf.grad = grad

    def send(self) -> None:
        """One copy to the GPU for every page of numbers, through page-locked memory: nobody waits."""
        for near, far, used in self._pages:
            if used:
                self.xp.write_(far, self.xp.asarray(near[:used]), slice(0, used))


class Graph:
    """One step on one GPU, the current one when this is made.

    Its memory comes from a pool of its own, so that what it computes on is nobody else's between two replays; the pool
    lives as long as the graph. The order of replays and of what comes before and after is that of the current stream.
    """

    def __init__(self, xp: Any):
        self.cuda, self.notes = xp.np.cuda, Notes(xp)
        self.index = self.cuda.runtime.getDevice()
        self.pool, self.stream = self.cuda.MemoryPool(), self.cuda.Stream(non_blocking=True)
        self._graph: Any = None

    def capture(self, step: Callable[[], Any]) -> Any:
        """What step() returns: its tensors hold numbers once `launch` has run."""
        with self.cuda.Device(self.index):
            self.notes.open()
            with _no_collection(), self.cuda.using_allocator(self.pool.malloc), self.stream:
                self.stream.begin_capture()
                try:
                    with setting(capture=self.notes):
                        result = step()
                except BaseException as e:
                    self.notes.forget()
                    with suppress(Exception):  # of a capture that is broken already
                        self.stream.end_capture()
                    if "stream is capturing" in str(e):  # CuPy's words for what does not come by our hands
                        raise CaptureError(f"capture: CuPy refuses a line of the step: {e}. Take it out") from e
                    raise
                self._graph = self.stream.end_capture()
        self.notes.close()
        return result

    def launch(self) -> None:
        """What was captured, once, with the numbers of the last `host_step`."""
        with self.cuda.Device(self.index):
            self.notes.send()
            self._graph.launch()


class Rehearsal(Notes):
    """A capture without a GPU: the step runs, each time anew, and is refused what a CUDA graph would be refused."""

    @property
    def notes(self) -> Notes:
        return self

    def host_input(self, make: Callable[[], np.ndarray]) -> Any:
        return np.array(make())

    def capture(self, step: Callable[[], Any]) -> Any:
        with setting(capture=self):
            return step()


@contextmanager
def _no_collection() -> Iterator[None]:
    """What the collector frees in the middle of a capture may give memory back, which CUDA forbids then."""
    gc.collect()
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
