"""DataBlock: a data set in five answers.

What are inputs and targets (blocks)? Where are the items (get_items)? Which of them are for validation (splitter)? What
is x, what is y (get_x, get_y)? What is done to them (item_tfms, batch_tfms)? A block holds what its kind of data needs
by nature: an image is opened and becomes floats, a category becomes its index.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .augment import IntToFloat
from .dataloaders import DataLoaders
from .dataset import Datasets
from .files import RandomSplitter
from .image import PILImage, ToTensor
from .labels import Categorize, EncodedMultiCategorize, MultiCategorize, OneHotEncode, RegressionSetup
from .summary import summary
from .transforms import as_list, merge


class TransformBlock:
    """The transforms that one kind of member needs: of its type, of an item, of a batch."""

    def __init__(self, type_tfms: Any = None, item_tfms: Any = None, batch_tfms: Any = None, kind: str | None = None):
        self.type_tfms, self.item_tfms, self.batch_tfms = as_list(type_tfms), as_list(item_tfms), as_list(batch_tfms)
        self.kind = kind


def ImageBlock(cls: type[PILImage] = PILImage) -> TransformBlock:
    """An image: opened (`cls` says how), to a uint8 array, in batches to floats in [0, 1]."""
    return TransformBlock(cls(), ToTensor(), IntToFloat(), "image")


def CategoryBlock(vocab: Iterable | None = None, sort: bool = True, add_na: bool = False) -> TransformBlock:
    """One label of several: its index."""
    return TransformBlock(Categorize(vocab, sort, add_na), kind="category")


def MultiCategoryBlock(encoded: bool = False, vocab: Iterable | None = None, add_na: bool = False) -> TransformBlock:
    """Any number of labels: a vector of 0 and 1. `encoded` says that get_y gives that vector already."""
    if encoded:
        if vocab is None:
            raise ValueError("MultiCategoryBlock: encoded=True needs vocab, the names of the places")
        return TransformBlock(EncodedMultiCategorize(vocab), kind="multicategory")
    return TransformBlock([MultiCategorize(vocab, add_na=add_na), OneHotEncode()], kind="multicategory")


def RegressionBlock(n_out: int | None = None) -> TransformBlock:
    """A number, or `n_out` numbers, as float32."""
    return TransformBlock(RegressionSetup(n_out), kind="number")


class DataBlock:
    """A plan for data; `.datasets(source)`, `.dataloaders(source)` and `.summary(source)` carry it out.

    blocks: what the members of a sample are, inputs first (`n_inp` of them; default all but one).
    get_items(source): the items; without it, `source` is the list of items.
    get_x(item), get_y(item): what the blocks are given; a list of functions if there are several inputs or targets;
    `getters` gives one function for each block instead. Without, a block is given the item.
    splitter(items): the indices of training and of validation; default RandomSplitter().
    Of item_tfms or batch_tfms of one class only the last is used: yours replace those of the blocks.

    >>> DataBlock(blocks=(ImageBlock, CategoryBlock), get_items=get_image_files, splitter=RandomSplitter(seed=42),
    ...           get_y=parent_label, item_tfms=Resize(128)).dataloaders(path, bs=64)
    """

    def __init__(
        self,
        blocks: Any = None,
        *,
        get_items: Callable | None = None,
        get_x: Any = None,
        get_y: Any = None,
        getters: Sequence[Callable | None] | None = None,
        splitter: Callable | None = None,
        item_tfms: Any = None,
        batch_tfms: Any = None,
        n_inp: int | None = None,
    ):
        given = (TransformBlock, TransformBlock) if blocks is None else as_list(blocks)
        self.blocks: list[TransformBlock] = [b if isinstance(b, TransformBlock) else b() for b in given]
        n = len(self.blocks)
        self.n_inp = max(1, n - 1) if n_inp is None else n_inp
        self.getters = list(getters) if getters is not None else self._getters(get_x, get_y)
        if len(self.getters) != n:
            raise ValueError(f"DataBlock: one getter for each of the {n} blocks; got {len(self.getters)}")
        self.get_items, self.splitter = get_items, splitter or RandomSplitter()
        self.item_tfms = merge(*(b.item_tfms for b in self.blocks), item_tfms)
        self.batch_tfms = merge(*(b.batch_tfms for b in self.blocks), batch_tfms)

    def _getters(self, get_x: Any, get_y: Any) -> list:
        getters: list = []
        for name, get, n in (("get_x", get_x, self.n_inp), ("get_y", get_y, len(self.blocks) - self.n_inp)):
            if get is not None and len(as_list(get)) != n:
                raise ValueError(f"DataBlock: {name} has one function for each of {n} blocks; got {len(as_list(get))}")
            getters += [None] * n if get is None else as_list(get)
        return getters

    def datasets(self, source: Any) -> Datasets:
        """Find the items, split them, let the transforms learn from the training items."""
        items = list(self.get_items(source)) if self.get_items else source
        if not len(items):
            raise ValueError(f"DataBlock: there are no items in {source!r}; check get_items")
        splits = self.splitter(items)
        if not len(splits[0]):
            raise ValueError(f"DataBlock: the splitter leaves no training items of {len(items)}")
        tfms = [as_list(get) + copy.deepcopy(block.type_tfms) for get, block in zip(self.getters, self.blocks)]
        return Datasets(items, tfms, splits, [b.kind for b in self.blocks], self.n_inp)

    def dataloaders(
        self,
        source: Any,
        *,
        bs: int = 64,
        val_bs: int | None = None,
        seed: int | None = None,
        num_workers: int | None = None,
        **options: Any,
    ) -> DataLoaders:
        """Loaders of both splits. `options` are those of `DataLoaders.from_dsets`: cache, path, device, ..."""
        data = self.datasets(source)
        item_tfms, batch_tfms = copy.deepcopy((self.item_tfms, self.batch_tfms))
        options |= dict(bs=bs, val_bs=val_bs, seed=seed, num_workers=num_workers)
        return DataLoaders.from_dsets(data.train, data.valid, item_tfms=item_tfms, batch_tfms=batch_tfms, **options)

    def summary(self, source: Any, bs: int = 4) -> None:
        """Print the road of one training item, step by step with its values, then that of a batch of `bs`.

        A step that fails raises its error after everything that went well before it.
        """
        summary(self, source, bs)
