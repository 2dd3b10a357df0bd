"""ImageDataLoaders: the usual DataBlocks for images by one name each, after where the labels stand."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..tensor import Tensor
from .block import CategoryBlock, DataBlock, ImageBlock, MultiCategoryBlock, RegressionBlock
from .dataloaders import DataLoaders
from .files import (
    ColReader,
    ColSplitter,
    GrandparentSplitter,
    RandomSplitter,
    RegexLabeller,
    get_image_files,
    parent_label,
    read_csv,
    using_attr,
)
from .image import PILImage

Path_ = str | os.PathLike


class ImageDataLoaders(DataLoaders):
    """DataLoaders of images. Each `from_...` takes item_tfms, batch_tfms, and the options of `DataBlock.dataloaders`.

    `valid_pct` of the items, drawn with `seed`, are for validation. `img_cls` is PILImage, or PILImageBW for grey.
    """

    @classmethod
    def from_folder(
        cls,
        path: Path_,
        train: str = "train",
        valid: str = "valid",
        valid_pct: float | None = None,
        seed: int | None = None,
        vocab: Iterable | None = None,
        item_tfms: Any = None,
        batch_tfms: Any = None,
        img_cls: type[PILImage] = PILImage,
        **options: Any,
    ) -> DataLoaders:
        """`path/train/CLASS/...` and `path/valid/CLASS/...`; with `valid_pct` any `.../CLASS/...`, split at random."""
        block = DataBlock(
            blocks=(ImageBlock(img_cls), CategoryBlock(vocab)),
            get_items=partial(get_image_files, folders=[train, valid]) if valid_pct is None else get_image_files,
            splitter=GrandparentSplitter(train, valid) if valid_pct is None else RandomSplitter(valid_pct, seed),
            get_y=parent_label,
            item_tfms=item_tfms,
            batch_tfms=batch_tfms,
        )
        return block.dataloaders(path, path=path, seed=seed, **options)

    @classmethod
    def from_path_func(
        cls,
        path: Path_,
        fnames: Sequence[Path_],
        label_func: Callable,
        valid_pct: float = 0.2,
        seed: int | None = None,
        item_tfms: Any = None,
        batch_tfms: Any = None,
        img_cls: type[PILImage] = PILImage,
        **options: Any,
    ) -> DataLoaders:
        """`label_func(path of the file)` is the label."""
        block = DataBlock(
            blocks=(ImageBlock(img_cls), CategoryBlock),
            splitter=RandomSplitter(valid_pct, seed),
            get_y=label_func,
            item_tfms=item_tfms,
            batch_tfms=batch_tfms,
        )
        return block.dataloaders([Path(f) for f in fnames], path=path, seed=seed, **options)

    @classmethod
    def from_name_func(cls, path: Path_, fnames: Sequence[Path_], label_func: Callable, **options: Any) -> DataLoaders:
        """`label_func(name of the file)` is the label: the name alone, without its folders."""
        return cls.from_path_func(path, fnames, using_attr(label_func, "name"), **options)

    @classmethod
    def from_path_re(cls, path: Path_, fnames: Sequence[Path_], pat: str, **options: Any) -> DataLoaders:
        """Group 1 of `pat`, searched in the path, is the label."""
        return cls.from_path_func(path, fnames, RegexLabeller(pat), **options)

    @classmethod
    def from_name_re(cls, path: Path_, fnames: Sequence[Path_], pat: str, **options: Any) -> DataLoaders:
        """Group 1 of `pat`, searched in the file's name, is the label."""
        return cls.from_name_func(path, fnames, RegexLabeller(pat), **options)

    @classmethod
    def from_csv(
        cls,
        path: Path_,
        csv_fname: Path_ = "labels.csv",
        header: bool = True,
        delimiter: str = ",",
        valid_pct: float = 0.2,
        seed: int | None = None,
        fn_col: str | int = 0,
        folder: Path_ | None = None,
        suff: str = "",
        label_col: str | int | Sequence = 1,
        label_delim: str | None = None,
        y_block: Any = None,
        valid_col: str | int | None = None,
        item_tfms: Any = None,
        batch_tfms: Any = None,
        img_cls: type[PILImage] = PILImage,
        **options: Any,
    ) -> DataLoaders:
        """A table `path/csv_fname`: file `path/folder/(fn_col)(suff)` has the label in `label_col`.

        Several labels, split at `label_delim` or in several columns, make a MultiCategoryBlock. `valid_col` says true
        for the rows of validation. Raises KeyError for a column that is not there.
        """
        rows = read_csv(Path(path) / csv_fname, delimiter, header)
        get_x = ColReader(fn_col, pref=Path(path) / (folder or "."), suff=suff)
        get_y = ColReader(label_col, label_delim=label_delim)
        for read in (get_x, get_y) if valid_col is None else (get_x, get_y, ColReader(valid_col)):
            read(rows[0])  # a column that is not there is an error here and now
        several = label_delim is not None or (isinstance(label_col, (list, tuple)) and len(label_col) > 1)
        if not several and y_block in (None, CategoryBlock) and (empty := [r for r in rows if not get_y(r).strip()]):
            raise ValueError(
                f"from_csv: a class must not be empty; {len(empty)} of {len(rows)} rows have none in column "
                f"{label_col!r}, first {list(empty[0].values())}. Fill them in, or leave the rows out"
            )
        block = DataBlock(
            blocks=(ImageBlock(img_cls), y_block or (MultiCategoryBlock if several else CategoryBlock)),
            splitter=RandomSplitter(valid_pct, seed) if valid_col is None else ColSplitter(valid_col),
            get_x=get_x,
            get_y=get_y,
            item_tfms=item_tfms,
            batch_tfms=batch_tfms,
        )
        return block.dataloaders(rows, path=path, seed=seed, **options)

    @classmethod
    def from_lists(
        cls,
        path: Path_,
        fnames: Sequence[Path_],
        labels: Sequence,
        valid_pct: float = 0.2,
        seed: int | None = None,
        y_block: Any = None,
        item_tfms: Any = None,
        batch_tfms: Any = None,
        img_cls: type[PILImage] = PILImage,
        **options: Any,
    ) -> DataLoaders:
        """`fnames[i]` has `labels[i]`: lists of labels make a MultiCategoryBlock, floats a RegressionBlock.

        An array or Tensor of labels is read as its `tolist()`; one with two axes needs a y_block: a row of it may be
        labels, or numbers.
        """
        if len(fnames) != len(labels):
            raise ValueError(f"from_lists: one label for each file; got {len(fnames)} files and {len(labels)} labels")
        if isinstance(labels, (np.ndarray, Tensor)):
            if labels.ndim > 1 and y_block is None:
                raise ValueError(
                    f"from_lists: labels must be a list, or an array (N,); got {tuple(labels.shape)}. Say what "
                    "a row is: y_block=RegressionBlock, or MultiCategoryBlock(encoded=True, vocab=...) for 0 and 1"
                )
            labels = labels.tolist()
        block = DataBlock(
            blocks=(ImageBlock(img_cls), y_block or _block_for(labels)),
            splitter=RandomSplitter(valid_pct, seed),
            get_x=ColReader(0),
            get_y=ColReader(1),
            item_tfms=item_tfms,
            batch_tfms=batch_tfms,
        )
        rows = [{0: Path(path) / fname, 1: label} for fname, label in zip(fnames, labels)]
        return block.dataloaders(rows, path=path, seed=seed, **options)


def _block_for(labels: Sequence) -> Any:
    """Numbers, one of them a float, are a regression: [0, 1.0] as well as [0.5, 1.0]; whole numbers are classes."""
    if any(isinstance(label, (list, tuple, set)) for label in labels):
        return MultiCategoryBlock
    kinds = {type(label) for label in labels}
    numbers = all(issubclass(kind, (int, float, np.number)) for kind in kinds)
    return RegressionBlock if numbers and any(issubclass(k, (float, np.floating)) for k in kinds) else CategoryBlock
