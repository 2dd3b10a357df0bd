"""Errors that say which item they are about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class ItemError(RuntimeError):
    """An item could not be made ready; says which one. The cause is chained."""


class UnknownLabel(KeyError):
    """A label that the training split does not have."""

    def __str__(self) -> str:  # KeyError would show the repr of its text
        return str(self.args[0])


def short(item: Any) -> str:
    """An item in an error: an array by its shape, anything else by its first words."""
    shape = getattr(item, "shape", None)
    return str(item)[:300] if shape is None else f"{type(item).__name__} of shape {tuple(shape)}"


@contextmanager
def naming(name: Callable[..., str], *args: Any) -> Iterator[None]:
    """Whatever goes wrong inside, in anybody's transform, is raised again with `name(*args)`, the item, before it.

    What is neither a text nor a number is shown `short`.
    """
    try:
        yield
    except Exception as why:
        which = name(*(a if isinstance(a, (str, int)) else short(a) for a in args))
        if isinstance(why, UnknownLabel):
            raise UnknownLabel(f"{which}: {why}") from why
        raise ItemError(f"{which}: {type(why).__name__}: {why}") from why
