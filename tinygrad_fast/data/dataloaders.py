"""Training and validation side by side: what a Learner is given."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .dataset import Dataset, Datasets, TensorDataset
from .loader import DataLoader


class DataLoaders:
    """A training loader and a validation loader: `dls.train`, `dls.valid`.

    `path` is where a Learner saves; `device` where batches go, by default those of the training loader.
    """

    def __init__(self, *loaders: DataLoader, path: str | os.PathLike = ".", device: Any = None):
        if not loaders:
            raise ValueError("DataLoaders: give a training and a validation DataLoader")
        self.loaders, self.path, self.device = list(loaders), Path(path), device
        if device is None:
            self.device = getattr(loaders[0], "device", None)
        else:
            self.to(device)

    @classmethod
    def from_dsets(
        cls,
        train: Any,
        valid: Any,
        *,
        bs: int = 64,
        val_bs: int | None = None,
        item_tfms: Any = None,
        batch_tfms: Any = None,
        before_batch: Any = None,
        shuffle: bool = True,
        drop_last: bool | None = None,
        num_workers: int | None = None,
        seed: int | None = None,
        cache: bool | int = False,
        path: str | os.PathLike = ".",
        device: Any = None,
    ) -> DataLoaders:
        """Loaders of two data sets: training shuffled, full batches alone; validation whole and in order.

        num_workers: threads; by default one a core, at most 8. Tiny images (32 x 32) want one: most of their time goes
        into reading headers in Python, which threads cannot share.
        """
        both: dict[str, Any] = dict(after_item=item_tfms, after_batch=batch_tfms, before_batch=before_batch, seed=seed)
        both |= dict(num_workers=default_workers() if num_workers is None else num_workers, cache=cache, device=device)
        drop_last = shuffle if drop_last is None else drop_last
        first = DataLoader(train, bs=bs, shuffle=shuffle, drop_last=drop_last, training=True, **both)
        return cls(first, DataLoader(valid, bs=val_bs or bs, training=False, **both), path=path, device=device)

    def __getitem__(self, i: int) -> DataLoader:
        return self.loaders[i]

    def __len__(self) -> int:
        return len(self.loaders)

    def __repr__(self) -> str:
        return "DataLoaders(" + ", ".join(map(repr, self.loaders)) + ")"

    @property
    def train(self) -> DataLoader:
        return self.loaders[0]

    @property
    def valid(self) -> DataLoader:
        if len(self.loaders) < 2:
            raise AttributeError("valid: these DataLoaders have no validation loader; write DataLoaders(train, valid)")
        return self.loaders[1]

    @property
    def train_ds(self) -> Any:
        return self.train.dataset

    @property
    def valid_ds(self) -> Any:
        return self.valid.dataset

    # What the data are

    @property
    def kinds(self) -> Sequence[str | None] | None:
        """The kind of each member of a batch, inputs first: ("image", "category")."""
        return self.train.kinds

    @property
    def n_inp(self) -> int:
        return self.train.n_inp

    @property
    def vocab(self) -> Any:
        """The classes of the target, in the order of their indices."""
        return _known("vocab", self.train_ds)

    @property
    def c(self) -> int:
        """The number of classes, or of values of a regression target."""
        return _known("c", self.train_ds)

    # Batches

    def one_batch(self) -> Any:
        """One training batch, to look at."""
        return self.train.one_batch()

    def decode_batch(self, batch: Sequence, max_n: int | None = 9) -> list[tuple]:
        return self.train.decode_batch(batch, max_n)

    def show_batch(self, b: Sequence | None = None, max_n: int = 9, **options: Any) -> Any:
        """See `DataLoader.show_batch`."""
        return self.train.show_batch(b, max_n, **options)

    def test_dl(self, items: Any, with_labels: bool = False, bs: int | None = None) -> DataLoader:
        """A loader of other items through the validation transforms, in order: of inputs alone, or with their labels.

        An item is what the training items are (get_x is called on it), or an input: a path, bytes, an array, an image.
        """
        valid, n = self.valid, None if with_labels else self.n_inp
        data: Any = items if isinstance(items, Dataset) else None
        if isinstance(valid.dataset, Datasets):
            data = valid.dataset.new(list(items), n=n)
        elif data is None:
            data = TensorDataset(*(items if isinstance(items, tuple) else (items,)))
        return valid.new(data, kinds=valid.kinds and valid.kinds[:n], bs=bs or valid.bs)

    def new_empty(self) -> DataLoaders:
        """These transforms and this vocabulary, without items: what is kept for predicting."""
        empty = [_empty(dl.dataset) for dl in self.loaders]
        return type(self)(*(dl.new(ds) for dl, ds in zip(self.loaders, empty)), path=self.path, device=self.device)

    def to(self, device: Any) -> DataLoaders:
        """Batches of all loaders go to `device` from now on."""
        self.device = device
        for loader in self.loaders:
            loader.to(device)
        return self

    # The training loader's pipelines

    @property
    def after_item(self) -> Any:
        return self.train.after_item

    @property
    def before_batch(self) -> Any:
        return self.train.before_batch

    @property
    def after_batch(self) -> Any:
        return self.train.after_batch


def default_workers() -> int:
    return min(8, os.cpu_count() or 1)


def _known(name: str, dataset: Any) -> Any:
    if not hasattr(dataset, name):
        raise AttributeError(f"{name}: a {type(dataset).__name__} does not know it; tell the model and the Learner")
    return getattr(dataset, name)


def _empty(dataset: Any) -> Any:
    if isinstance(dataset, Datasets):
        return dataset.new([], dataset.split_idx or 0)
    return TensorDataset(*(t[:0] for t in dataset.tensors))
