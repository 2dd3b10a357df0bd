"""From a folder to items: find the files, split them in two, read a label off each.

Everything here is a plain function, or a function that returns one: `DataBlock` calls `get_items(source)`, then
`splitter(items)` for the indices of training and validation, then `get_y(item)`. Next on the way: transforms.py.
"""

from __future__ import annotations

import csv
import mimetypes
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import rng

Split = tuple[list[int], list[int]]  # indices of the training items, indices of the validation items
IMAGE_EXTENSIONS = {ext for ext, kind in mimetypes.types_map.items() if kind.startswith("image/")} | {".webp"}


def _path(item: str | os.PathLike) -> Path:
    return item if isinstance(item, Path) else Path(item)  # a Path made of a Path is parsed again, which takes time


def _names(names: str | Iterable[str]) -> set[str]:
    return {names} if isinstance(names, str) else set(names)


# --------------------------------------------------------------------------------------------------------------- files


def get_files(
    path: str | os.PathLike,
    extensions: Iterable[str] | None = None,
    recurse: bool = True,
    folders: str | Iterable[str] | None = None,
    followlinks: bool = True,
) -> list[Path]:
    """The files under `path`, sorted: the same order, so the same split, on every machine.

    Hidden files and folders are skipped; `extensions` are compared in lower case; `folders` keeps only these folders
    directly under `path`. Raises FileNotFoundError if the folder or one of `folders` is not there.
    """
    path = Path(path)
    if not path.is_dir():
        raise FileNotFoundError(f"get_files: {path} is {'a file, not a folder' if path.exists() else 'not there'}")
    wanted = None if extensions is None else {ext.lower() for ext in extensions}
    tops = None if folders is None else _names(folders)
    if tops and (missing := sorted(top for top in tops if not (path / top).is_dir())):
        raise FileNotFoundError(f"get_files: {path} has no folder {missing}; it has {_folders(path)}")
    found = []
    for root, dirs, names in os.walk(path, followlinks=followlinks):
        at_top = root == str(path)
        dirs[:] = [d for d in dirs if recurse and not d.startswith(".") and not (at_top and tops and d not in tops)]
        if at_top and tops:
            continue
        found += [
            os.path.join(root, name)
            for name in names
            if not name.startswith(".") and (wanted is None or os.path.splitext(name)[1].lower() in wanted)
        ]
    return [Path(file) for file in sorted(found, key=lambda file: file.split(os.sep))]


def _folders(path: Path) -> list[str]:
    return sorted(p.name for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))


def get_image_files(
    path: str | os.PathLike, recurse: bool = True, folders: str | Iterable[str] | None = None
) -> list[Path]:
    """The image files under `path` (by extension, `.JPG` as well as `.jpg`), sorted. Raises if there are none."""
    found = get_files(path, IMAGE_EXTENSIONS, recurse, folders)
    if not found:
        inside = f"{path}" if folders is None else f"{path} in the folders {sorted(_names(folders))}"
        others = len(get_files(path, None, recurse, folders))
        raise FileNotFoundError(f"get_image_files: no images under {inside}; it holds {others} other files")
    return found


# ----------------------------------------------------------------------------------------------------------- splitters


def RandomSplitter(valid_pct: float = 0.2, seed: int | None = None) -> Callable[[Sequence], Split]:
    """A random permutation of the items: its first int(valid_pct * n) are for validation, the rest for training."""
    if not 0 < valid_pct < 1:
        raise ValueError(f"RandomSplitter: 0 < valid_pct < 1; got {valid_pct}")

    def split(items: Sequence) -> Split:
        draw = np.random.default_rng(rng.default.key() if seed is None else seed)
        order = draw.permutation(len(items)).tolist()
        cut = int(valid_pct * len(items))
        return order[cut:], order[:cut]

    return split


def IndexSplitter(valid_idx: Iterable[int]) -> Callable[[Sequence], Split]:
    """The items numbered in `valid_idx` are for validation, in that order."""
    valid = [int(i) for i in valid_idx]

    def split(items: Sequence) -> Split:
        if outside := [i for i in valid if not 0 <= i < len(items)]:
            raise IndexError(f"IndexSplitter: indices lie in [0, {len(items)}), the number of items; got {outside[:5]}")
        held = set(valid)
        return [i for i in range(len(items)) if i not in held], list(valid)

    return split


def FuncSplitter(func: Callable[[Any], Any]) -> Callable[[Sequence], Split]:
    """The items for which `func(item)` is true are for validation."""

    def split(items: Sequence) -> Split:
        held = [bool(func(item)) for item in items]
        return [i for i, h in enumerate(held) if not h], [i for i, h in enumerate(held) if h]

    return split


def GrandparentSplitter(
    train_name: str | Iterable[str] = "train", valid_name: str | Iterable[str] = "valid"
) -> Callable[[Sequence], Split]:
    """By the folder above the class, as in `train/cat/1.jpg`. Names may be several; other folders are left out."""
    train, valid = _names(train_name), _names(valid_name)

    def split(items: Sequence) -> Split:
        above = [_path(item).parent.parent.name for item in items]
        parts = [i for i, a in enumerate(above) if a in train], [i for i, a in enumerate(above) if a in valid]
        for names, part in zip((train, valid), parts):
            if not part:
                raise ValueError(
                    f"GrandparentSplitter: files lie in FOLDER/CLASS/FILE; no FOLDER is {sorted(names)}, "
                    f"they are {sorted(set(above))[:10]}; pass train_name= and valid_name="
                )
        return parts

    return split


def ColSplitter(col: str | int = "is_valid") -> Callable[[Sequence], Split]:
    """By a column of a table: rows with true (1, yes) are for validation, with false (0, no, empty) for training."""
    true, false = {"true", "1", "1.0", "yes", "valid"}, {"false", "0", "0.0", "no", "train", ""}
    read = ColReader(col)

    def held(row: Any) -> bool:
        word = str(read(row)).strip().lower()
        if word not in true | false:
            raise ValueError(f"ColSplitter: column {col!r} says true or false, 1 or 0; got {word!r} in {row}")
        return word in true

    return FuncSplitter(held)


# ----------------------------------------------------------------------------------------------------------- labellers


def parent_label(item: str | os.PathLike) -> str:
    """The name of the folder that the file is in."""
    return _path(item).parent.name


def RegexLabeller(pat: str, match: bool = False) -> Callable[[Any], str]:
    """Group 1 of `pat`, searched anywhere in str(item) (from its start if `match`), with `/` between folders."""
    regex = re.compile(pat)
    if not regex.groups:
        raise ValueError(f"RegexLabeller: the label is group 1, so write brackets, as in r'(.+)_'; got {pat!r}")

    def label(item: Any) -> str:
        text = str(item).replace("\\", "/") if isinstance(item, os.PathLike) else str(item)
        found = regex.match(text) if match else regex.search(text)
        if not found:
            raise ValueError(f"RegexLabeller: {pat!r} was not found in {text!r}")
        return found[1]

    return label


def using_attr(func: Callable, attr: str) -> Callable[[Any], Any]:
    """`func` of an attribute of the item: `using_attr(is_cat, "name")` calls `is_cat(path.name)`."""

    def of_attr(item: Any) -> Any:
        return func(getattr(item, attr))

    of_attr.__name__ = f"{getattr(func, '__name__', func)} of {attr}"
    return of_attr


class ColReader:
    """Reads columns of a row: by name or by number, with `pref` before and `suff` after, split at `label_delim`.

    One column gives its text (a list of texts with `label_delim`: an empty cell is no label at all); several columns
    give a list.
    """

    def __init__(
        self, cols: str | int | Sequence, pref: str | os.PathLike = "", suff: str = "", label_delim: str | None = None
    ):
        self.cols = [cols] if isinstance(cols, (str, int)) else list(cols)
        self.pref = f"{pref}{os.sep}" if isinstance(pref, Path) else str(pref)
        self.suff, self.label_delim = suff, label_delim

    def __repr__(self) -> str:
        return f"ColReader({self.cols[0] if len(self.cols) == 1 else self.cols!r})"

    def _one(self, row: dict, col: str | int) -> Any:
        names = list(row)
        if isinstance(col, int) and col not in row:
            if not -len(names) <= col < len(names):
                raise KeyError(f"column {col}: the table has {len(names)} columns, {names}")
            col = names[col]
        if col not in row:
            raise KeyError(f"column {col!r} is not in the table; its columns are {names}")
        if self.label_delim is not None:
            return [part.strip() for part in row[col].split(self.label_delim) if part.strip()]
        return f"{self.pref}{row[col]}{self.suff}" if self.pref or self.suff else row[col]

    def __call__(self, row: dict) -> Any:
        read = [self._one(row, col) for col in self.cols]
        return read[0] if len(read) == 1 else read


def read_csv(path: str | os.PathLike, delimiter: str = ",", header: bool = True) -> list[dict]:
    """The rows of a table as {column: text}; columns are numbered from 0 without a `header`. Every row is as long."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, delimiter=delimiter)
        try:
            rows = [(reader.line_num, row) for row in reader if row]
        except UnicodeDecodeError as e:
            raise ValueError(f"read_csv: {path} must be UTF-8, and is not ({e}). Save it as UTF-8") from e
    if len(rows) < 1 + header:
        raise ValueError(f"read_csv: {path} " + (f"has a header, {rows[0][1]}, and no rows" if rows else "is empty"))
    names: list[Any] = rows.pop(0)[1] if header else list(range(len(rows[0][1])))
    if len(set(names)) < len(names):
        raise ValueError(f"read_csv: the columns of {path} have different names; got {names}")
    for line, row in rows:
        if len(row) != len(names):
            raise ValueError(f"read_csv: {path} line {line} has {len(row)} cells, its header has {len(names)}: {names}")
    return [dict(zip(names, row)) for _, row in rows]
