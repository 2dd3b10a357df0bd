"""The transforms of `winograd.py`, written instruction by instruction: down the columns, then across the rows.

A tile is taken a vector of channels at a time: its 6 x 6 vectors are read, both transforms are applied, and the results
are written, in one stretch of code without a branch. A pixel outside the image is read from a place where zeros lie,
and written to a place that nobody reads: `pixels` chooses between two addresses. So a tile at the border costs no more
than one inside.
"""

from __future__ import annotations

from numba import types
from numba.extending import intrinsic

from .vectors import LANES, NUMBER, Code

# The matrices of winograd.py times some numbers, arrays or vectors, with what is common to two rows computed once.


def by_bt(x0, x1, x2, x3, x4, x5):
    """B^T x, of numbers, arrays or vectors"""
    e, o, f, g = x4 - 4 * x2, x3 - 4 * x1, x4 - x2, 2 * (x3 - x1)
    return 4 * x0 - 5 * x2 + x4, e + o, e - o, f + g, f - g, 4 * x1 - 5 * x3 + x5


def by_at(x0, x1, x2, x3, x4, x5):
    """A^T x"""
    p, q, u, v = x1 + x2, x1 - x2, x3 + x4, x3 - x4
    return x0 + p + u, q + 2 * v, p + 4 * u, q + 8 * v + x5


def by_a(x0, x1, x2, x3):
    """A x"""
    p, q, u, v = x0 + x2, x1 + x3, x0 + 4 * x2, 2 * x1 + 8 * x3
    return x0, p + q, p - q, u + v, u - v, x3


def by_g(w0, w1, w2):
    """G w"""
    s, t, u, v = (w0 + w2) * (-1 / 6), w1 * (1 / 6), w0 * (1 / 24) + w2 * (1 / 6), w1 * (1 / 12)
    return w0 * (1 / 4), s - t, s + t, u + v, u - v, w2


def by_gt(u0, u1, u2, u3, u4, u5):
    """G^T u"""
    s, t = (u1 + u2) * (-1 / 6), u3 + u4
    return u0 * (1 / 4) + s + t * (1 / 24), (u2 - u1) * (1 / 6) + (u3 - u4) * (1 / 12), s + t * (1 / 6) + u5


def twice(f, rows):
    """F d F^T for d as rows: f of each column, then of each row of what that gave"""
    down = zip(*(f(*column) for column in zip(*rows)))
    return [f(*row) for row in down]


def pixels(code, numbers, elsewhere, image, h, w, c, top, left, size):
    """Where the size x size pixels from (top, left) of an image lie, by rows; those outside it lie elsewhere"""
    builder, whole = code.builder, top.type
    rows = [builder.add(top, whole(i)) for i in range(size)]
    columns = [builder.add(left, whole(j)) for j in range(size)]
    inside = [[builder.icmp_unsigned("<", n, limit) for n in some] for some, limit in ((rows, h), (columns, w))]
    line = builder.mul(w, c)
    starts, steps = [code.plus(image, (n, line)) for n in rows], [builder.mul(n, c) for n in columns]
    return [
        [
            code.either(builder.and_(high, wide), code.pointer(numbers, builder.add(start, step)), elsewhere)
            for wide, step in zip(inside[1], steps)
        ]
        for high, start in zip(inside[0], starts)
    ]


def into(f, size):
    """An intrinsic that transforms size x size pixels of an image into a number for each of the 36 planes"""

    @intrinsic
    def run(typing, x, image, h, w, c, top, left, v, to, plane):
        """v[to + p plane + l] <- place p of F d F^T, for d the pixels from (top, left), l < LANES

        image: the place in x of the first channel's number of its first pixel.
        """

        def generate(context, builder, signature, args):
            code, (_, *where, _, to, plane) = Code(context, builder, signature, args), args
            places = pixels(code, code.of(0), code.apart(), *where, size)
            results = twice(f, [[code.load(p) for p in row] for row in places])
            for place, vector in enumerate(r for row in results for r in row):
                code.store(vector, code.pointer(code.of(7), code.plus(to, (place, plane))))
            return context.get_dummy_value()

        i8 = types.int64
        return types.void(x, i8, i8, i8, i8, i8, i8, v, i8, i8), generate

    return run


@intrinsic
def back(typing, m, at, plane, b, channel, y, image, h, w, o, top, left, res, added, relu):
    """y <- relu?(A^T m A + b + res): the 4 x 4 pixels from (top, left), LANES channels; res counts if `added`"""

    def generate(context, builder, signature, args):
        code, (_, at, plane, _, channel, _, *where, _, added, relu) = Code(context, builder, signature, args), args
        places = [[code.plus(at, (6 * i + j, plane)) for j in range(6)] for i in range(6)]
        results = twice(by_at, [[code.load(code.pointer(code.of(0), p)) for p in row] for row in places])
        bias, nothing = code.load(code.pointer(code.of(3), channel)), code.apart()
        floor = code.repeated(code.either(relu, NUMBER(0.0), NUMBER(float("-inf"))))
        targets, more = pixels(code, code.of(5), code.apart(), *where, 4), pixels(code, code.of(12), nothing, *where, 4)
        for i in range(4):
            for j in range(4):
                also = code.load(code.either(added, more[i][j], nothing))
                code.store((results[i][j] + bias + also).at_least(floor), targets[i][j])
        return context.get_dummy_value()

    i8, yes = types.int64, types.boolean
    return types.void(m, i8, i8, b, i8, y, i8, i8, i8, i8, i8, i8, res, yes, yes), generate


def between(f, size, adding=False):
    """An intrinsic that transforms size x size planes: filters into U, or the gradient of U into that of filters"""

    @intrinsic
    def run(typing, x, place, plane, y, to, step):
        """y[to + k step + l] <- (or +=, if `adding`) place k of F d F^T, d[i, j] = x[place + (i size + j) plane + l]"""

        def generate(context, builder, signature, args):
            code, (_, first, plane, _, to, step) = Code(context, builder, signature, args), args
            given = [
                [code.load(code.pointer(code.of(0), code.plus(first, (i * size + j, plane)))) for j in range(size)]
                for i in range(size)
            ]
            for k, vector in enumerate(r for row in twice(f, given) for r in row):
                pointer = code.pointer(code.of(3), code.plus(to, (k, step)))
                code.store(code.load(pointer) + vector if adding else vector, pointer)
            return context.get_dummy_value()

        i8 = types.int64
        return types.void(x, i8, i8, y, i8, i8), generate

    return run


@intrinsic
def transpose(typing, x, at, sx, y, to, sy):
    """y[to + i sy + l] <- x[at + l sx + i] for i, l < LANES: in each step, half of the numbers change rows"""

    def generate(context, builder, signature, args):
        code, (_, start, sx, _, to, sy), step = Code(context, builder, signature, args), args, 1
        rows = [code.load(code.pointer(code.of(0), code.plus(start, (i, sx)))) for i in range(LANES)]
        while step < LANES:
            low = [LANES + i - step if i & step else i for i in range(LANES)]
            high = [LANES + i if i & step else i + step for i in range(LANES)]
            for i in range(LANES):
                if not i & step:
                    a, b = rows[i], rows[i + step]
                    rows[i], rows[i + step] = code.mixed(a, b, low), code.mixed(a, b, high)
            step *= 2
        for i, row in enumerate(rows):
            code.store(row, code.pointer(code.of(3), code.plus(to, (i, sy))))
        return context.get_dummy_value()

    i8 = types.int64
    return types.void(x, i8, i8, y, i8, i8), generate


bt_into, a_into = into(by_bt, 6), into(by_a, 4)
g_between, gt_between, gt_adding = between(by_g, 3), between(by_gt, 6), between(by_gt, 6, adding=True)
