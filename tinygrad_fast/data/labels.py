"""Targets: labels <-> indices, sets of labels <-> vectors of 0 and 1, numbers <-> float32.

A vocabulary is learned from the training items alone: a label that only validation has is an error that names it, not a
class that nobody trained.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .errors import UnknownLabel
from .transforms import Transform


class Vocab(list):
    """The classes, in order; `o2i[label]` is the index of a label. With `add_na`, '#na#' at 0 takes unknown labels."""

    def __init__(self, labels: Iterable, sort: bool = True, add_na: bool = False):
        labels = list(labels)
        try:
            found = list(dict.fromkeys(o for o in labels if o == o))  # NaN, which differs from itself, is no label
            found = sorted(found) if sort else found
        except TypeError:
            raise TypeError(
                f"labels: single values of one type, so that they can be sorted; got {labels[:4]} "
                "(a list of labels for each item is a MultiCategoryBlock)"
            ) from None
        super().__init__(["#na#", *found] if add_na else found)
        self.o2i = {o: i for i, o in enumerate(self)}


class Categorize(Transform):
    """A label <-> its index in the vocabulary: the sorted labels of the training items, or `vocab`."""

    order = 1
    on = ("category",)

    def __init__(self, vocab: Iterable | None = None, sort: bool = True, add_na: bool = False):
        self.sort, self.add_na, self.learns = sort, add_na, vocab is None
        self.vocab = Vocab([] if vocab is None else vocab, sort, add_na)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(vocab={self.vocab!r})"

    def setup(self, values: Iterable, before: Sequence[Transform]) -> None:
        values = list(values)
        self.vocab = Vocab(values, self.sort, self.add_na)
        if len(set(self.vocab) - {"#na#"}) < 2:
            raise ValueError(
                f"a classifier needs two classes or more; all {len(values)} training items are {values[0]!r}; "
                "check get_y and the splitter"
            )

    def encode(self, label: Any) -> Any:
        return self.index_of(label)

    def index_of(self, label: Any) -> int:
        index = self.vocab.o2i.get(label, 0 if self.add_na else None)
        if index is None:
            shown = f"{self.vocab[:10]}{' ...' if len(self.vocab) > 10 else ''}"
            advice = "put an item of it in the training split (see splitter), or give every class in vocab="
            raise UnknownLabel(
                f"label {label!r} is not among the {len(self.vocab)} classes of the training split, {shown}; {advice}"
                if self.learns
                else f"label {label!r} is not among the {len(self.vocab)} classes given in vocab=, {shown}"
            )
        return index

    def decode(self, index: Any) -> Any:
        return self.vocab[int(index)]


class MultiCategorize(Categorize):
    """A list of labels (which may be empty) <-> the list of their indices."""

    on = ("multicategory",)

    def setup(self, values: Iterable, before: Sequence[Transform]) -> None:
        self.vocab = Vocab((label for labels in values for label in _labels(labels)), self.sort, self.add_na)
        if not self.vocab:
            raise ValueError("MultiCategoryBlock: no training item has a label; check get_y")

    def encode(self, labels: Iterable) -> list[int]:
        return [self.index_of(label) for label in _labels(labels)]

    def decode(self, indices: Iterable) -> list:
        return [self.vocab[int(i)] for i in indices]


def _labels(labels: Any) -> Iterable:
    if isinstance(labels, (str, bytes)) or not isinstance(labels, Iterable):
        raise TypeError(
            f"MultiCategoryBlock: get_y gives a list of labels for each item; got {labels!r} "
            "(a list of one label is written ['a']; a cell of a table is split with label_delim=)"
        )
    return labels


class OneHotEncode(Transform):
    """A list of indices <-> a float32 vector (c,) with 1 at them; c is the length of the vocabulary."""

    order = 2
    on = ("multicategory",)

    def __init__(self, c: int | None = None):
        self.c, self.learns = c or 0, c is None

    def setup(self, values: Iterable, before: Sequence[Transform]) -> None:
        self.c = len(next(t.vocab for t in reversed(before) if isinstance(t, Categorize)))

    def encode(self, indices: Sequence[int]) -> np.ndarray:
        hot = np.zeros(self.c, np.float32)
        hot[list(indices)] = 1
        return hot

    def decode(self, hot: Any) -> list[int]:
        return [i for i, h in enumerate(np.asarray(hot)) if h == 1]


class EncodedMultiCategorize(Categorize):
    """A row of 0 and 1 as it stands in a table, one place per class of `vocab` <-> the list of its labels."""

    on = ("multicategory",)

    def __init__(self, vocab: Iterable):
        super().__init__(vocab, sort=False)

    def encode(self, hot: Any) -> np.ndarray:
        row = np.asarray(hot, dtype=np.float32)
        if row.shape != (len(self.vocab),):
            raise ValueError(f"MultiCategoryBlock: encoded, so {len(self.vocab)} values for {self.vocab}; got {hot!r}")
        return row

    def decode(self, hot: Any) -> list:
        return [label for label, h in zip(self.vocab, np.asarray(hot)) if h == 1]


class RegressionSetup(Transform):
    """A number, or a list of `c` numbers <-> a float32 array () or (c,)."""

    on = ("number",)

    def __init__(self, c: int | None = None):
        self.c, self.learns = c, c is None

    def setup(self, values: Iterable, before: Sequence[Transform]) -> None:
        self.c = max(1, self.encode(next(iter(values))).size)

    def encode(self, y: Any) -> np.ndarray:
        try:
            return np.asarray(y, dtype=np.float32)
        except (ValueError, TypeError):
            raise ValueError(f"RegressionBlock: get_y gives a number or a list of numbers; got {y!r}") from None

    def decode(self, y: Any) -> Any:
        return np.asarray(y).tolist()
