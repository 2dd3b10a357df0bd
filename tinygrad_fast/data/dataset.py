"""Data sets: things with a length and an index.

`TensorDataset` is for people who bring arrays. `Datasets` is for items (files, rows of a table): it carries each item
through one pipeline per member, `(get_x, type transforms of x)` and `(get_y, type transforms of y)`, and holds the two
splits. loader.py makes batches of either.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..creation import from_numpy
from ..tensor import Tensor
from .errors import naming
from .labels import Categorize, OneHotEncode, RegressionSetup
from .transforms import Func, Pipeline


class Dataset:
    """A map from an index to a sample: subclasses write `__len__` and `__getitem__`."""

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} needs a __len__")

    def __getitem__(self, i: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__} needs a __getitem__")


class TensorDataset(Dataset):
    """Tensors or arrays of equal first dimension: sample i is `(a[i], b[i], ...)`."""

    def __init__(self, *tensors: Any):
        if not tensors:
            raise ValueError("TensorDataset: give at least one tensor or array")
        self.tensors = tuple(t if isinstance(t, Tensor) else from_numpy(np.asarray(t)) for t in tensors)
        lengths = [t.shape[0] if t.ndim else None for t in self.tensors]
        if None in lengths or len(set(lengths)) > 1:
            raise ValueError(
                f"TensorDataset: the first dimension counts the samples; got {[t.shape for t in self.tensors]}"
            )

    def __len__(self) -> int:
        return self.tensors[0].shape[0]

    def __getitem__(self, i: Any) -> tuple:
        return tuple(t[i] for t in self.tensors)

    def get_batch(self, indices: np.ndarray) -> tuple:
        """Many samples in one indexing operation, already collated."""
        return tuple(t[indices] for t in self.tensors)


class Datasets(Dataset):
    """Items, and how to make of each a tuple of members.

    `tfms` is one list of functions and transforms per member; `splits` the indices of training and validation; `kinds`
    the kind of each member. `ds[i]` is a tuple; `ds.train` and `ds.valid` are data sets of the same pipelines. The
    transforms learn (a vocabulary, say) from the training items alone, when this is built.
    """

    def __init__(
        self,
        items: Sequence,
        tfms: Sequence,
        splits: tuple[Sequence[int], Sequence[int]] | None = None,
        kinds: Sequence[str | None] | None = None,
        n_inp: int | None = None,
    ):
        self.items = items
        self.split_idx: int | None = None
        self.pipelines = [Pipeline(t) for t in tfms]
        self.kinds = tuple(kinds) if kinds is not None else (None,) * len(self.pipelines)
        self.n_inp = max(1, len(self.pipelines) - 1) if n_inp is None else n_inp
        self.splits = splits if splits is not None else (range(len(items)), [])
        self.item_type: type = type(items[0]) if len(items) else object
        train = [items[i] for i in self.splits[0]]
        for pipeline in self.pipelines:
            pipeline.setup(lambda: train)
        self.train, self.valid = self.subset(0), self.subset(1)
        self._check_labels()

    def subset(self, split_idx: int) -> Datasets:
        """The items of one split, through the same pipelines."""
        return self.new([self.items[i] for i in self.splits[split_idx]], split_idx)

    def new(self, items: Sequence, split_idx: int = 1, n: int | None = None) -> Datasets:
        """Other items through the same pipelines; of the first `n` members only, if given.

        Items of another type than the training items are taken to be inputs themselves: get_x is not called on them.
        """
        other = object.__new__(type(self))
        other.items, other.split_idx, other.n_inp, other.splits = items, split_idx, self.n_inp, ([], [])
        other.pipelines, other.kinds, other.item_type = self.pipelines[:n], self.kinds[:n], self.item_type
        if len(items) and not isinstance(items[0], self.item_type):
            other.pipelines = [Pipeline([t for t in p.tfms if not isinstance(t, Func)]) for p in other.pipelines]
        return other

    def _check_labels(self) -> None:
        """Every label is known before the first batch, not in the middle of an epoch."""
        for pipeline in self.pipelines:
            vocabs = [t for t in pipeline.tfms if isinstance(t, Categorize)]
            learned = all(t.learns for t in vocabs)
            for name, ds in ([] if learned else [("training", self.train)]) + [("validation", self.valid)]:
                for item in ds.items if vocabs else ():
                    with naming("{} item {}".format, name, item):
                        pipeline(item)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> tuple:
        item = self.items[i]
        return tuple(pipeline(item) for pipeline in self.pipelines)

    def __repr__(self) -> str:
        split = {None: "", 0: " of training", 1: " of validation"}[self.split_idx]
        return f"Datasets({len(self)} items{split}, {self.kinds})"

    def decode(self, sample: Sequence) -> tuple:
        """The way back for each member: an index becomes its label."""
        return tuple(pipeline.decode(x) for pipeline, x in zip(self.pipelines, sample))

    @property
    def vocab(self) -> list:
        """The classes of the target; a list of such lists if several members have classes."""
        found = [next((t.vocab for t in p.tfms if isinstance(t, Categorize)), None) for p in self.pipelines]
        vocabs = [v for v in found if v is not None]
        if not vocabs:
            raise AttributeError("vocab: no member of these data has classes")
        return vocabs[0] if len(vocabs) == 1 else vocabs

    @property
    def c(self) -> int:
        """How many numbers a model gives for the target: its classes, or the length of a regression target."""
        for t in reversed(self.pipelines[-1].tfms):
            if isinstance(t, (OneHotEncode, RegressionSetup)) and t.c:
                return t.c
            if isinstance(t, Categorize) and t.vocab:
                return len(t.vocab)
        raise AttributeError("c: the target of these data is neither classes nor numbers")
