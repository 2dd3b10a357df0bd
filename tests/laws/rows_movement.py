"""Rows: the same numbers in other places. All linear; those that rename axes do not promise channels-last."""

from math import prod

import numpy as np

import tinygrad_fast as tf
from tinygrad_fast import Tensor
from tinygrad_fast.testing import Args, Table, strategies as some

rows = Table()
LINEAR = {"linear": True}
RENAMES = {"linear": True, "images": ()}  # what were channels is something else afterwards


def split_up(draw, n):
    """n as a product of three factors."""
    first = draw(some.sampled_from([k for k in range(1, n + 1) if n % k == 0]))
    second = draw(some.sampled_from([k for k in range(1, n // first + 1) if n // first % k == 0]))
    return (first, second, n // first // second)


def anything(draw, fill):
    return Args(fill.normal(draw(some.shapes())))


def along(draw, fill, **limits):
    """An array and one axis of it."""
    shape = draw(some.shapes(min_dims=1, **limits))
    return Args(fill.normal(shape), dim=draw(some.axis(len(shape))))


# Shapes


def reshaped(draw, fill):
    old = draw(some.shapes())
    return Args(fill.normal(old), shape=split_up(draw, prod(old)))


rows.row("reshape", lambda x, shape: x.reshape(shape), **RENAMES)(reshaped)
rows.row("reshape / -1", lambda x, shape: x.reshape(shape[0], -1, shape[2]), **RENAMES)(reshaped)
rows.row("view", lambda x, shape: x.view(*shape), **RENAMES)(reshaped)
rows.row("view_as", lambda x, y: x.view_as(y), **RENAMES)(
    lambda draw, fill: Args(fill.normal((2, 6)), fill.integers(split_up(draw, 12), 0, 9))
)


@rows.row("flatten", Tensor.flatten, **RENAMES)
def flatten(draw, fill):
    shape = draw(some.shapes(min_dims=1))
    first, last = sorted(draw(some.integers(0, len(shape) - 1)) for _ in range(2))
    return Args(fill.normal(shape), start_dim=first, end_dim=last - len(shape))


@rows.row("squeeze", Tensor.squeeze, **RENAMES)
def squeeze(draw, fill):
    shape = draw(some.shapes(max_side=2))
    return Args(fill.normal(shape), dim=draw(some.axes(len(shape))))


@rows.row("unsqueeze", Tensor.unsqueeze, **RENAMES)
def unsqueeze(draw, fill):
    shape = draw(some.shapes())
    return Args(fill.normal(shape), dim=draw(some.axis(len(shape) + 1)))


# The order of axes


@rows.row("permute", lambda x, dims: x.permute(*dims), **RENAMES)
def permute(draw, fill):
    shape = draw(some.shapes())
    return Args(fill.normal(shape), dims=tuple(draw(some.permutations(range(len(shape))))))


def two_axes(draw, fill):
    x = along(draw, fill)
    return Args(x.arrays[0], a=x.static["dim"], b=draw(some.axis(x.arrays[0].ndim)))


rows.row("transpose", lambda x, a, b: x.transpose(a, b), **RENAMES)(two_axes)
rows.row("movedim", lambda x, a, b: x.movedim(a, b), **RENAMES)(two_axes)
rows.row("t", Tensor.t, **RENAMES)(lambda draw, fill: Args(fill.normal(draw(some.shapes(max_dims=2)))))
rows.row("T", lambda x: x.T, **RENAMES)(anything)
rows.row("mT", lambda x: x.mT, **RENAMES)(lambda draw, fill: Args(fill.normal(draw(some.shapes(min_dims=2)))))


@rows.row("flip", lambda x, dims: x.flip(dims), **LINEAR)
def flip(draw, fill):
    shape = draw(some.shapes(min_dims=1))
    dims = draw(some.axes(len(shape)).filter(lambda d: d is not None))
    return Args(fill.normal(shape), dims=dims if isinstance(dims, tuple) else (dims,))


@rows.row("roll", lambda x, shifts, dim: x.roll(shifts, dim), **LINEAR)
def roll(draw, fill):
    args = along(draw, fill)
    return Args(*args.arrays, shifts=draw(some.integers(-5, 5)), **args.static)


# More of the same


@rows.row("expand", lambda x, shape: x.expand(*shape), **RENAMES)
def expand(draw, fill):
    small, large = wider(draw)
    shape = [-1 if a == b and draw(some.booleans()) else b for a, b in zip(small, large[len(large) - len(small) :])]
    return Args(fill.normal(small), shape=large[: len(large) - len(small)] + tuple(shape))


def wider(draw):
    """A shape, and one that it can be expanded to."""
    large = draw(some.shapes())
    small = tuple(n if draw(some.booleans()) else 1 for n in large)
    return small[draw(some.integers(0, len(small))) :], large


@rows.row("broadcast_to", Tensor.broadcast_to, **RENAMES)
def broadcast_to(draw, fill):
    small, large = wider(draw)
    return Args(fill.normal(small), size=large)


@rows.row("expand_as", lambda x, other: x.expand_as(other), **RENAMES)
def expand_as(draw, fill):
    small, large = wider(draw)
    return Args(fill.normal(small), fill.integers(large, 0, 2))


@rows.row("broadcast_tensors", tf.broadcast_tensors, **RENAMES)
def broadcast_tensors(draw, fill):
    return Args(*map(fill.normal, draw(some.broadcastable(3, max_dims=3))))


@rows.row("repeat", lambda x, sizes: x.repeat(*sizes), **RENAMES)
def repeat(draw, fill):
    shape = draw(some.shapes(max_dims=3, max_side=3))
    lead = draw(some.integers(0, 1))
    return Args(fill.normal(shape), sizes=tuple(draw(some.integers(1, 2)) for _ in range(lead + len(shape))))


# Parts and wholes


@rows.row("narrow", Tensor.narrow, **LINEAR)
def narrow(draw, fill):
    args = along(draw, fill)
    n = args.arrays[0].shape[args.static["dim"]]
    start = draw(some.integers(0, n - 1))
    return Args(*args.arrays, start=start, length=draw(some.integers(1, n - start)), **args.static)


@rows.row("split", lambda x, size, dim: x.split(size, dim), **LINEAR)
def split(draw, fill):
    args = along(draw, fill)
    n = args.arrays[0].shape[args.static["dim"]]
    cut = draw(some.integers(0, n))
    return Args(*args.arrays, size=draw(some.sampled_from([1, 2, (cut, n - cut)])), **args.static)


rows.row("split / the first alone", lambda x, size, dim: x.split(size, dim)[0], **LINEAR)(split)
rows.row("unbind", Tensor.unbind, **RENAMES)(along)
rows.row("__iter__", lambda x: tuple(x), **RENAMES)(
    lambda draw, fill: Args(fill.normal(draw(some.shapes(min_dims=1, max_dims=3))))
)


@rows.row("chunk", Tensor.chunk, **LINEAR)
def chunk(draw, fill):
    args = along(draw, fill)
    return Args(*args.arrays, chunks=draw(some.integers(1, 4)), **args.static)


@rows.row("cat", lambda *xs, dim: tf.cat(xs, dim), **LINEAR)
def cat(draw, fill):
    shape = draw(some.shapes(min_dims=1, limit=40))
    dim = draw(some.axis(len(shape)))
    i = dim % len(shape)
    sizes = [draw(some.integers(1, 3)) for _ in range(draw(some.integers(1, 3)))]
    return Args(*(fill.normal(shape[:i] + (n,) + shape[i + 1 :]) for n in sizes), dim=dim)


@rows.row("stack", lambda *xs, dim: tf.stack(xs, dim), **RENAMES)
def stack(draw, fill):
    shape = draw(some.shapes(max_dims=3, limit=40))
    many = range(draw(some.integers(1, 3)))
    return Args(*(fill.normal(shape) for _ in many), dim=draw(some.axis(len(shape) + 1)))


def triangle(draw, fill):
    return Args(fill.normal(draw(some.shapes(min_dims=2))), diagonal=draw(some.integers(-2, 2)))


rows.row("tril", Tensor.tril, **LINEAR)(triangle)
rows.row("triu", Tensor.triu, **LINEAR)(triangle)


# By index


@rows.row("gather", lambda x, index, dim: x.gather(dim, index), **RENAMES)
def gather(draw, fill):
    """Indices may repeat, count from the end, and be fewer than x has places."""
    args = along(draw, fill)
    (x,), dim = args.arrays, args.static["dim"]
    shape = [draw(some.integers(1, n)) for n in x.shape]
    shape[dim] = draw(some.integers(1, 5))
    return Args(x, fill.integers(tuple(shape), 0, x.shape[dim]), dim=dim)


@rows.row("index_select", lambda x, index, dim: x.index_select(dim, index), **RENAMES)
def index_select(draw, fill):
    args = along(draw, fill)
    (x,), dim = args.arrays, args.static["dim"]
    n = x.shape[dim]
    return Args(x, fill.integers((draw(some.integers(1, 5)),), -n, n), dim=dim)


KEYS = [
    (1,),
    (-1, ...),
    (slice(None, None, 2),),
    (slice(None), slice(1, None), None),
    (..., 0),
    (slice(0, 2), slice(None), -1),
    ([0, 1, 0],),
    (slice(None), [1, 1, -1]),
    ([0, 1], slice(None), [1, 0]),
    ([[0], [1]], [0, 1, 1]),
    (None, slice(None), 0, ...),
]
rows.row("__getitem__", lambda x, key: x[key], **RENAMES)(
    lambda draw, fill: Args(fill.normal((2, 3, 3)), key=draw(some.sampled_from(KEYS)))
)
rows.row("__getitem__ / mask", lambda x, mask: x[mask], **RENAMES)(
    lambda draw, fill: Args(fill.normal((3, 4)), np.arange(12).reshape(3, 4) % 5 < 3)
)
rows.row("__getitem__ / index tensors", lambda x, i, j: x[i, :, j], **RENAMES)(
    lambda draw, fill: Args(fill.normal((3, 2, 4)), fill.integers((2, 1), -3, 3), fill.integers((3,), 0, 4))
)
