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


@contextmanager
def naming(name: Callable[..., str], *args: Any) -> Iterator[None]:
    """Whatever goes wrong inside, in anybody's transform, is raised again with `name(*args)`, the item, before it."""
    try:
        yield
    except UnknownLabel as why:
        raise UnknownLabel(f"{name(*args)}: {why}") from why
    except Exception as why:
        raise ItemError(f"{name(*args)}: {type(why).__name__}: {why}") from why
