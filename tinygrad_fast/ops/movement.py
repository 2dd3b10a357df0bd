"""The same numbers in other places. Each op's pullback is a movement too, so they differentiate for ever.

Views where the backend has one: the result may share memory with the input. Next on the way: `linalg.py`.
"""

from __future__ import annotations

from .common import sum_to


def reshape(xp, x, *, shape):
    """The same elements, counted in order C, under another shape.     dx = g, reshaped back"""
    old = x.shape
    return xp.reshape(x, shape=shape), (lambda g: xp.reshape(g, shape=old),)


def expand(xp, x, *, shape):
    """x repeated along axes of size 1 and new leading ones.     dx = g, summed there (this is `sum` in reverse)"""
    old = x.shape
    return xp.expand(x, shape=shape), (lambda g: sum_to(xp, g, old),)


def permute(xp, x, *, axes):
    """The axes in another order.     dx = g, permuted back"""
    back = tuple(axes.index(i) for i in range(len(axes)))
    return xp.permute(x, axes=axes), (lambda g: xp.permute(g, axes=back),)


def swap(xp, x):
    """The last two axes exchanged.     dx = g, swapped back"""
    return xp.swap(x), (lambda g: xp.swap(g),)


def flip(xp, x, *, axis):
    """Reversed along axes.     dx = g, flipped back"""
    return xp.flip(x, axis=axis), (lambda g: xp.flip(g, axis=axis),)


def pad(xp, x, *, widths, value=0):
    """`value` added around x, widths ((before, after), ...) for each axis.     dx = the part of g that x fills"""
    window = tuple(slice(a, a + n) for n, (a, _) in zip(x.shape, widths, strict=True))
    return xp.pad(x, widths=widths, value=value), (lambda g: xp.getitem(g, key=window),)


def cat(xp, *xs, axis):
    """Joined along an axis.     dx_i = the i-th part of g"""
    pulls, start, full = [], 0, tuple(slice(0, n) for n in xs[0].shape)
    for x in xs:
        stop = start + x.shape[axis]
        window = full[:axis] + (slice(start, stop),) + full[axis + 1 :]
        pulls.append(lambda g, window=window: xp.getitem(g, key=window))
        start = stop
    return xp.cat(*xs, axis=axis), tuple(pulls)


def split(xp, x, *, sizes, axis):
    """Several outputs: consecutive parts of the given sizes.     dx = the parts of g joined, zeros for the unused"""
    parts, start, full = [], 0, tuple(slice(0, n) for n in x.shape)
    for n in sizes:
        parts.append(xp.getitem(x, key=full[:axis] + (slice(start, start + n),) + full[axis + 1 :]))
        start += n

    def dx(gs):
        joined, lead = [], 0  # [g, zeros before it, zeros after it]
        for g, n in zip(gs, sizes, strict=True):
            if g is not None:
                joined.append([g, lead, 0])
            elif joined:
                joined[-1][2] += n
            else:
                lead += n
        rest = ((0, 0),) * (len(full) - axis - 1)
        wide = (xp.pad(g, widths=((0, 0),) * axis + ((a, b),) + rest, value=0) if a or b else g for g, a, b in joined)
        return xp.cat(*wide, axis=axis)

    return tuple(parts), (dx,)


def getitem(xp, x, *indices, key):
    """x[key], with index arrays in the slots of `key`.     dx = zeros, with g added where x was read"""
    old = x.shape
    return xp.getitem(x, *indices, key=key), (
        lambda g: xp.getitem_back(g, *indices, key=key, shape=old),
        *(None for _ in indices),
    )


def getitem_back(xp, g, *indices, key, shape):
    """Zeros of `shape` with g added at [key]: `getitem` in reverse.     dg = h[key]"""
    return xp.getitem_back(g, *indices, key=key, shape=shape), (
        lambda h: xp.getitem(h, *indices, key=key),
        *(None for _ in indices),
    )


def gather(xp, x, index, *, axis):
    """y[.., i, ..] = x[.., index[.., i, ..], ..] along one axis.     dx = g added at the index"""
    old = x.shape
    return xp.gather(x, index, axis=axis), (lambda g: xp.gather_back(g, index, axis=axis, shape=old), None)


def gather_back(xp, g, index, *, axis, shape):
    """Zeros of `shape` with g added at the index: `gather` in reverse.     dg = h gathered"""
    return xp.gather_back(g, index, axis=axis, shape=shape), (lambda h: xp.gather(h, index, axis=axis), None)


def one_hot(xp, index, *, n, dtype):
    """A new last axis of n: 1 at the index, else 0."""
    return xp.one_hot(index, n=n, dtype=dtype), (None,)
