"""One small matrix product, kept in registers: what direct convolution and Winograd's scheme have in common.

Eight rows and two vectors of columns are 16 sums; they stay in registers from the first term to the last. Each term
loads two vectors and multiplies them by eight single numbers, which the processor spreads over a vector as it reads
them. The matrices lie where they are, at any strides: nothing is packed, as BLAS does, and small products are as fast
as large ones.
"""

from __future__ import annotations

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .loop import inner, part
from .vectors import LANES, VECTOR, WIDE, Code, Vector, constant

ROWS = 8 if WIDE else 4  # of two vectors each: 16 sums in AVX-512's 32 registers, or 8 in AVX2's 16


def products(rows, vectors, by_channel=False):
    """The product of `rows` x (some) and (some) x `vectors` vectors, for Numba to compile into whoever calls it."""

    @intrinsic
    def add(typing, x, at, si, sa, sk, w, wat, wa, wk, outer, n, y, to, sy, fresh):
        """y[to + i sy + l] += sum over a < outer, k < n of x[at + i si + a sa + k sk] w[wat + a wa + k wk + l]

        for i < rows, l < vectors LANES; flat arrays. by_channel: x[.. + l], no channel meets another. fresh: y =
        instead of y +=.
        """

        def generate(context, builder, signature, args):
            code = Code(context, builder, signature, args)
            x, w, y = code.of(0), code.of(5), code.of(11)
            _, at, si, sa, sk, _, wat, wa, wk, outer, n, _, to, sy, fresh = args

            def across(numbers, start):
                """Where the vectors that begin at a place lie"""
                return [code.pointer(numbers, code.plus(start, (LANES, v))) for v in range(vectors)]

            results = [p for i in range(rows) for p in across(y, code.plus(to, (i, sy)))]
            sums = [cgutils.alloca_once(builder, VECTOR) for _ in results]  # which become registers
            with builder.if_else(fresh) as (begin, go_on):
                with begin:
                    for s in sums:
                        builder.store(constant(builder, 0).value, s)
                with go_on:
                    for s, p in zip(sums, results):
                        builder.store(code.load(p).value, s)
            with cgutils.for_range(builder, outer) as a:
                starts = [code.plus(at, (a.index, sa), (i, si)) for i in range(rows)]
                with cgutils.for_range(builder, n) as k:
                    weights = [code.load(p) for p in across(w, code.plus(wat, (a.index, wa), (k.index, wk)))]
                    for i, start in enumerate(starts):
                        places = across(x, code.plus(start, (k.index, sk)))
                        spread = None if by_channel else code.repeated(builder.load(places[0]))
                        for place, weight, s in zip(places, weights, sums[i * vectors :]):
                            number = spread or code.load(place)
                            builder.store((Vector(builder, builder.load(s)) + number * weight).value, s)
            for s, p in zip(sums, results):
                code.store(Vector(builder, builder.load(s)), p)
            return context.get_dummy_value()

        i8 = types.int64
        return types.void(x, i8, i8, i8, i8, w, i8, i8, i8, i8, i8, y, i8, i8, types.boolean), generate

    return add


HALF = ROWS // 2
many_two, many_one = products(ROWS, 2), products(ROWS, 1)
some_two, some_one = products(HALF, 2), products(HALF, 1)
one_two, one_one = products(1, 2), products(1, 1)


@inner
def add(count, vectors, x, at, si, sa, sk, w, wat, wa, wk, outer, n, y, to, sy, fresh):
    """The product of `count` rows, ROWS, HALF or 1, and one or two vectors"""
    if vectors == 2:
        if count == ROWS:
            many_two(x, at, si, sa, sk, w, wat, wa, wk, outer, n, y, to, sy, fresh)
        elif count == HALF:
            some_two(x, at, si, sa, sk, w, wat, wa, wk, outer, n, y, to, sy, fresh)
        else:
            one_two(x, at, si, sa, sk, w, wat, wa, wk, outer, n, y, to, sy, fresh)
    else:
        if count == ROWS:
            many_one(x, at, si, sa, sk, w, wat, wa, wk, outer, n, y, to, sy, fresh)
        elif count == HALF:
            some_one(x, at, si, sa, sk, w, wat, wa, wk, outer, n, y, to, sy, fresh)
        else:
            one_one(x, at, si, sa, sk, w, wat, wa, wk, outer, n, y, to, sy, fresh)


@inner
def as_many(left):
    """How many rows to take of those that are left"""
    return ROWS if left >= ROWS else HALF if left >= HALF else 1


@part
def multiply(x, at, si, sj, count, u, to_u, o, n, y, to, sy, some, fresh):
    """y[to + i sy + k] = (or +=) sum over j < n of x[at + i si + j sj] u[to_u + j o + k] for i < count, k < some

    some: whole vectors.
    """
    channel = 0
    while channel < some:
        vectors, i = 2 if some - channel >= 2 * LANES else 1, 0
        while i < count:
            if fresh and count >= ROWS:
                i = min(i, count - ROWS)  # the last ones may be computed twice
            start, end, rows = at + i * si, to + i * sy + channel, ROWS if count - i >= ROWS else 1
            if vectors == 2:
                if rows == ROWS:
                    many_two(x, start, si, 0, sj, u, to_u + channel, 0, o, 1, n, y, end, sy, fresh)
                else:
                    one_two(x, start, si, 0, sj, u, to_u + channel, 0, o, 1, n, y, end, sy, fresh)
            else:
                if rows == ROWS:
                    many_one(x, start, si, 0, sj, u, to_u + channel, 0, o, 1, n, y, end, sy, fresh)
                else:
                    one_one(x, start, si, 0, sj, u, to_u + channel, 0, o, 1, n, y, end, sy, fresh)
            i += rows
        channel += vectors * LANES
