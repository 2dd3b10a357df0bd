"""Errors that say which item they are about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class ItemError(RuntimeError):
    """An item could not be made ready; says which one. The cause is chained."""


class UnknownLabel(KeyError):
    """A label that the training split does not have."""

    def __str__(self) -> str:  # KeyError would show the repr of its text
        return str(self.args[0])


@contextmanager
def naming(item: str) -> Iterator[None]:
    """Whatever goes wrong inside, in anybody's transform, is raised again with the item before it."""
    try:
        yield
    except UnknownLabel as why:
        raise UnknownLabel(f"{item}: {why}") from why
    except Exception as why:
        raise ItemError(f"{item}: {type(why).__name__}: {why}") from why
