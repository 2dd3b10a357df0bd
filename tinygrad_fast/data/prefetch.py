"""The next batch travels to the GPU while the step of this one runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from ..tensor import Tensor, wrap


def pinned(batch: Any, xp: Any) -> Any:
    """The batch with its arrays in page-locked memory."""
    return _each(xp.transfer.pinned, batch)


def prefetched(batches: Iterable, xp: Any) -> Iterator:
    """Batches of pinned arrays -> the same of Tensors on the GPU `xp`, each sent before the one ahead of it is used.

    host    build 1  send 1  step 0      build 2  send 2  step 1
    copies                   batch 1 >>>                  batch 2 >>>
    kernels                  step 0 >>>>>>>>>>>>>>        step 1 >>>>>>>>>>>>
    """
    before = None
    for batch in batches:
        near: list[np.ndarray] = []
        _each(near.append, batch)
        after = batch, xp.transfer.send(near)
        if before:
            yield _arrived(*before, xp)
        before = after
    if before:
        yield _arrived(*before, xp)


def _arrived(batch: Any, sent: Any, xp: Any) -> Any:
    there, event = sent
    xp.transfer.arrive(event)
    arrays = iter(there)
    return _each(lambda _: wrap(next(arrays), xp, [0]), batch)


def _each(f: Callable, batch: Any) -> Any:
    """f(array) for every array of a batch that lies on the host; the rest as it is."""
    if isinstance(batch, tuple):
        return tuple(_each(f, member) for member in batch)
    if isinstance(batch, Tensor) and batch.device == "cpu":
        batch = batch.data
    return f(batch) if isinstance(batch, np.ndarray) else batch
