"""From a data set to batches: order, threads, collation.

The epoch draws one key; everything random in it is a function of (key, position): the order of the items, and each
transform's draws. So the batches are the same for one thread and for sixteen.

Worker threads build whole batches up to arrays (decode, item transforms, collate); at most two batches a worker wait,
which bounds memory. The consumer's thread makes them Tensors, moves them to the device and runs the batch transforms.
dataloaders.py pairs a training loader with a validation loader.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from .. import backend, rng
from ..autograd import no_grad
from ..tensor import Tensor
from .collate import Cache, Rows, collate, kind_of, to_tensors
from .dataset import TensorDataset
from .errors import naming, short
from .plan import BatchPipeline
from .prefetch import pinned, prefetched
from .show import contact_sheet, title
from .transforms import Pipeline, as_list, generator

SHUFFLE = 2**63  # the place of the epoch's permutation in its stream; positions of items and batches lie below
BATCH = 2**62  # batch b draws at place BATCH + b


class DataLoader:
    """Batches of a data set.

    >>> for x, y in DataLoader(TensorDataset(images, labels), batch_size=64, shuffle=True): ...

    `batch_size` (or `bs`), `shuffle`, `drop_last`, `num_workers`, `collate_fn` are PyTorch's, but that workers are
    threads. `after_item`, `after_batch` are lists of transforms, `before_batch` functions of the list of samples.
    `training` (default: `shuffle`) says whether random transforms draw. With `seed`, epoch e is a function of the two;
    without, of the global `manual_seed`. `cache` keeps what an item is before its first random transform: True for up
    to 1 GiB, or a number of bytes. `device` is where batches go: by default where the data lie, or to the device of
    `tf.set_default_device`. On their way to a GPU they are copied out of page-locked memory, each while the step before
    it runs; `pin_memory=False` leaves both out.

    Raises ValueError if `drop_last` would leave no batch at all, and ItemError naming the item that failed.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        *,
        bs: int | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list], Any] | None = None,
        drop_last: bool = False,
        seed: int | None = None,
        training: bool | None = None,
        kinds: Sequence[str | None] | None = None,
        after_item: Any = None,
        before_batch: Any = None,
        after_batch: Any = None,
        cache: bool | int = False,
        device: Any = None,
        pin_memory: bool = True,
    ):
        self.dataset, self.bs = dataset, batch_size if bs is None else bs
        self.shuffle, self.drop_last = shuffle, drop_last
        self.num_workers, self.seed, self.device, self.epoch = num_workers, seed, device, 0
        self.pin_memory = pin_memory
        if self.bs < 1 or num_workers < 0:
            raise ValueError(f"DataLoader: batch_size >= 1 and num_workers >= 0; got {self.bs} and {num_workers}")
        if drop_last and 0 < self.n < self.bs:
            raise ValueError(
                f"DataLoader: n = {self.n} items make no full batch of bs = {self.bs}, and drop_last drops the rest; "
                f"pass bs={self.n} or less, or drop_last=False"
            )
        self.training = shuffle if training is None else training
        split_idx = 0 if self.training else 1
        if kinds is None:
            kinds = getattr(dataset, "kinds", None)
        if kinds is None and (after_item or after_batch) and self.n:
            kinds = tuple(map(kind_of, sample)) if isinstance(sample := dataset[0], tuple) else None
        self.kinds = kinds
        self.after_item = Pipeline(after_item, kinds, split_idx)
        self.before_batch = as_list(before_batch)
        self.after_batch = BatchPipeline(after_batch, kinds, split_idx)
        self.collate_fn = collate_fn
        self.cache = Cache(2**30 if cache is True else int(cache))
        self._options: dict[str, Any] = dict(num_workers=num_workers, collate_fn=collate_fn, seed=seed, kinds=kinds)
        self._options |= dict(after_item=after_item, before_batch=before_batch, after_batch=after_batch)
        self._options["pin_memory"] = pin_memory
        if self.n:
            self._setup()

    @property
    def n(self) -> int:
        return len(self.dataset)

    def __len__(self) -> int:
        return self.n // self.bs if self.drop_last else -(-self.n // self.bs)

    def __repr__(self) -> str:
        return f"DataLoader({self.n} items, {len(self)} batches of {self.bs}{', shuffled' if self.shuffle else ''})"

    def new(self, dataset: Any, **changes: Any) -> DataLoader:
        """A loader of another data set with these transforms: in order, without drawing, unless `changes` say so."""
        now = dict(bs=self.bs, device=self.device, training=False, cache=False)
        return DataLoader(dataset, **(self._options | now | changes))

    def to(self, device: Any) -> DataLoader:
        """Batches go to `device` from now on."""
        self.device = device
        return self

    # ------------------------------------------------------------------------------------------------------- one epoch

    def __iter__(self) -> Iterator:
        key = self._next_key()
        self.epoch += 1
        batches, xp = self._batches(key), self._gpu()
        built = self._built(batches, key, xp)
        for b, arrays in enumerate(prefetched(built, xp) if xp else built):
            yield self._finish(arrays, key, b)

    def one_batch(self) -> Any:
        """The first batch of the next epoch, built here and now: no threads, and the epoch does not count."""
        if not len(self):
            raise ValueError(f"one_batch: this loader of {self.n} items has no batches")
        key = self._next_key()
        return self._finish(self._build(self._batches(key)[0], 0, key, threading.Event()), key, 0)

    def _next_key(self) -> np.ndarray:
        if self.seed is None:
            return rng.default.key()
        return np.array([self.seed & 0xFFFFFFFF, self.seed >> 32 & 0xFFFFFFFF, self.epoch], np.uint32)

    def _batches(self, key: np.ndarray) -> list[np.ndarray]:
        order = generator(key, SHUFFLE).permutation(self.n) if self.shuffle else np.arange(self.n)
        return [order[b * self.bs : (b + 1) * self.bs] for b in range(len(self))]

    def _where(self) -> Any:
        return backend.chosen_device() if self.device is None else self.device

    def _gpu(self) -> Any:
        """The machine to which batches go ahead of their steps; None where none does."""
        xp = backend.get(self._where()) if self.pin_memory else None
        return xp if getattr(xp, "transfer", None) else None

    def _built(self, batches: list[np.ndarray], key: np.ndarray, gpu: Any) -> Iterator:
        """The batches up to arrays, pinned if a GPU wants them; built ahead, in order, by threads that end when the
        consumer stops."""
        stop = threading.Event()

        def build(indices: np.ndarray, b: int) -> Any:
            batch = self._build(indices, b, key, stop)
            return pinned(batch, gpu) if gpu else batch

        if not self.num_workers:
            for b, indices in enumerate(batches):
                yield build(indices, b)
            return
        pool = ThreadPoolExecutor(min(self.num_workers, max(1, len(batches))), thread_name_prefix="DataLoader")
        try:
            todo, ahead = iter(enumerate(batches)), deque[Future]()
            for _ in batches:
                while len(ahead) < 2 * self.num_workers and (job := next(todo, None)):
                    ahead.append(pool.submit(build, job[1], job[0]))
                yield ahead.popleft().result()
        finally:  # also when the loop is left early, or an item failed
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)

    def _build(self, indices: np.ndarray, b: int, key: np.ndarray, stop: threading.Event) -> Any:
        if hasattr(self.dataset, "get_batch") and not (self.after_item.tfms or self.before_batch or self.collate_fn):
            if type(self.dataset) is TensorDataset and self.after_batch.tfms:
                return tuple(self._chosen(t, indices) for t in self.dataset.tensors)
            return self.dataset.get_batch(indices)
        samples = []
        for j, i in enumerate(indices.tolist()):
            if stop.is_set():
                return None
            samples.append(self._sample(i, b * self.bs + j, key))
        for step in self.before_batch:
            samples = step(samples)
        if self.collate_fn:
            return self.collate_fn(samples)
        return collate(samples, lambda j: self._name(indices[j]))

    def _chosen(self, t: Tensor, indices: np.ndarray) -> Any:
        """A member of a batch. Images that lie where it goes, on a GPU, are left for the batch transforms to read."""
        stays = t.ndim == 4 and not t.xp.on_host and t.xp is backend.get(self._where())
        return Rows(t, indices) if stays else t[indices]

    def _sample(self, i: int, position: int, key: np.ndarray) -> Any:
        """Item i, ready to collate. What comes before the first transform that draws is kept in the cache."""
        with naming(self._name, i):
            fixed, sample = self.after_item.fixed, self.cache.get(i)
            if sample is None:
                sample = self.after_item(self.dataset[i], stop=fixed)
                self.cache.put(i, sample)
            return self.after_item(sample, key, position, start=fixed)

    def _name(self, i: int) -> str:
        items = getattr(self.dataset, "items", None)
        return f"item {i}" + ("" if items is None else f" ({short(items[i])})")

    def _finish(self, arrays: Any, key: np.ndarray, b: int, start: int = 0, stop: int | None = None) -> Any:
        """Arrays -> Tensors on the device -> batch transforms."""
        with no_grad():
            batch = to_tensors(arrays, self._where())
            return self.after_batch(batch, key, BATCH + b, start, stop) if self.after_batch.tfms else batch

    def _setup(self) -> None:
        """Batch transforms that learn see one training batch, as the transforms before them leave it."""
        tfms = self.after_batch.tfms
        for i, t in enumerate(tfms):
            if t.learns:
                key = self._next_key()
                batch = self._finish(self._build(self._batches(key)[0], 0, key, threading.Event()), key, 0, stop=i)
                t.setup([m for m, k in zip(batch, self.kinds or ()) if t.on is None or k in t.on], tfms[:i])

    # ------------------------------------------------------------------------------------------------------- back again

    def decode_batch(self, batch: Sequence, max_n: int | None = 9) -> list[tuple]:
        """The samples of a batch as people read them: PIL images, labels. Every transform is undone that can be."""
        with no_grad():
            decoded = self.after_batch.decode(tuple(m[:max_n] for m in batch))
        columns = [m.detach().to("cpu").numpy() if isinstance(m, Tensor) else m for m in decoded]
        back = getattr(self.dataset, "decode", tuple)
        return [back(self.after_item.decode(sample)) for sample in zip(*columns)]

    def show_batch(
        self,
        b: Sequence | None = None,
        max_n: int = 9,
        nrows: int | None = None,
        ncols: int | None = None,
        backend: str = "pillow",
    ) -> Any:
        """A contact sheet of up to `max_n` samples under their labels, as a PIL image (or a figure of "matplotlib")."""
        if nrows and ncols:
            max_n = nrows * ncols
        samples = self.decode_batch(self.one_batch() if b is None else b, max_n)
        pictures = [s[0] for s in samples]
        return contact_sheet(pictures, list(map(self.caption, samples)), nrows, ncols, backend)

    def caption(self, sample: Sequence) -> str:
        """The targets of a decoded sample as text."""
        return ", ".join(map(title, sample[self.n_inp :]))

    @property
    def n_inp(self) -> int:
        """How many members of a batch are inputs; the others are targets."""
        return getattr(self.dataset, "n_inp", 1)
