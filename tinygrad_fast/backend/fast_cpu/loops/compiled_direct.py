"""The inner loops of `direct.py`, compiled: one small matrix product, kept in registers, and who calls it.

The product is written in the compiler's own terms (LLVM's): its sums must stay in vector registers from the first term
to the last, and a loop over an array of Numba's would keep them in memory.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from .loop import IMAGES, ZERO, inner, loop

WIDE = "+avx512f" in cpu_target.target_context.codegen().magic_tuple()[2]
LANES = 16 if WIDE else 8  # numbers in a vector
PIXELS = 8 if WIDE else 4  # sums of two vectors each: 16 of AVX-512's 32 registers, or 8 of AVX2's 16


def products(rows, vectors):
    """The product of `rows` x (some) and (some) x `vectors` vectors, for Numba to compile into whoever calls it."""

    @intrinsic
    def add(typing, x, at, si, sa, sk, w, wat, wa, wk, outer, n, y, to, sy, fresh):
        """y[to + i sy + l] += sum over a < outer, k < n of x[at + i si + a sa + k sk] w[wat + a wa + k wk + l]

        for i < rows, l < vectors LANES; flat arrays. fresh: y = instead of y +=.
        """

        def generate(context, builder, signature, args):
            one, vector, whole = ir.FloatType(), ir.VectorType(ir.FloatType(), LANES), ir.IntType(64)
            numbers = {
                name: context.make_array(signature.args[i])(context, builder, args[i]).data
                for i, name in ((0, "x"), (5, "w"), (11, "y"))
            }
            _, at, si, sa, sk, _, wat, wa, wk, outer, n, _, to, sy, fresh = args

            def place(base, *terms):
                """base + a b + c d + ..."""
                for a, b in terms:
                    base = builder.add(base, builder.mul(a, b))
                return base

            def vectors_at(name, start):
                """Where the vectors that begin at a place of an array lie"""
                starts = [builder.add(start, whole(LANES * v)) for v in range(vectors)]
                return [builder.bitcast(builder.gep(numbers[name], [start]), vector.as_pointer()) for start in starts]

            def repeated(start):
                """A number of x as a vector"""
                number = builder.load(builder.gep(numbers["x"], [start]))
                undefined, first = ir.Constant(vector, ir.Undefined), ir.Constant(ir.IntType(32), 0)
                lane = builder.insert_element(undefined, number, first)
                zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
                return builder.shuffle_vector(lane, undefined, zeros)

            fma = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{LANES}f32"
            )
            results = [p for i in range(rows) for p in vectors_at("y", place(to, (whole(i), sy)))]
            sums = [cgutils.alloca_once(builder, vector) for _ in results]  # which become registers
            with builder.if_else(fresh) as (begin, go_on):
                with begin:
                    for s in sums:
                        builder.store(ir.Constant(vector, [one(0.0)] * LANES), s)
                with go_on:
                    for s, p in zip(sums, results):
                        builder.store(builder.load(p, align=4), s)
            with cgutils.for_range(builder, outer) as a:
                starts = [place(at, (a.index, sa), (whole(i), si)) for i in range(rows)]
                with cgutils.for_range(builder, n) as k:
                    weights = [
                        builder.load(p, align=4) for p in vectors_at("w", place(wat, (a.index, wa), (k.index, wk)))
                    ]
                    for i, start in enumerate(starts):
                        number = repeated(place(start, (k.index, sk)))
                        for weight, s in zip(weights, sums[i * vectors :]):
                            builder.store(builder.call(fma, [number, weight, builder.load(s)]), s)
            for s, p in zip(sums, results):
                builder.store(builder.load(s), p, align=4)
            return context.get_dummy_value()

        i8 = types.int64
        return types.void(x, i8, i8, i8, i8, w, i8, i8, i8, i8, i8, y, i8, i8, types.boolean), generate

    return add


HALF = PIXELS // 2
many_two, many_one = products(PIXELS, 2), products(PIXELS, 1)
some_two, some_one = products(HALF, 2), products(HALF, 1)
one_two, one_one = products(1, 2), products(1, 1)


@inner
def add(count, vectors, x, at, si, sa, sk, w, wat, wa, wk, outer, n, y, to, sy, fresh):
    """The product of `count` rows, PIXELS, HALF or 1, and one or two vectors"""
    if vectors == 2:
        if count == PIXELS:
            many_two(x, at, si, sa, sk, w, wat, wa, wk, outer, n, y, to, sy, fresh)
        elif count == HALF:
            some_two(x, at, si, sa, sk, w, wat, wa, wk, outer, n, y, to, sy, fresh)
        else:
            one_two(x, at, si, sa, sk, w, wat, wa, wk, outer, n, y, to, sy, fresh)
    else:
        if count == PIXELS:
            many_one(x, at, si, sa, sk, w, wat, wa, wk, outer, n, y, to, sy, fresh)
        elif count == HALF:
            some_one(x, at, si, sa, sk, w, wat, wa, wk, outer, n, y, to, sy, fresh)
        else:
            one_one(x, at, si, sa, sk, w, wat, wa, wk, outer, n, y, to, sy, fresh)


@inner
def as_many(left):
    """How many rows to take of those that are left"""
    return PIXELS if left >= PIXELS else HALF if left >= HALF else 1


@inner
def lines(r, lo, oh, sh, kh):
    """How many lines of the buffer lie before what row r of y needs, in a block that begins at row lo"""
    first = lo // oh * oh
    whole = (oh - 1) * sh + kh  # lines of an image
    skipped = (lo - first) * sh  # of the first image
    return (r - first) // oh * whole + (r - first) % oh * sh - skipped


@inner
def bordered(x, lo, hi, oh, sh, top, left, kh, width, b):
    """b <- the lines of x that rows lo..hi of y need, image after image, `width` pixels each, 0 outside"""
    (_, h, w, c), pixels, r = x.shape, x.reshape(x.size), lo
    first, last = max(0, -left), min(width, w + -left)
    while r < hi:
        i, a = r // oh, r % oh
        rows = min(oh - a, hi - r)
        for line in range((rows - 1) * sh + kh):
            to, row = (lines(r, lo, oh, sh, kh) + line) * width * c, a * sh + top + line
            if not 0 <= row < h or first >= last:
                b[to : to + width * c] = ZERO
                continue
            b[to : to + first * c] = ZERO
            b[to + last * c : to + width * c] = ZERO
            at = ((i * h + row) * w + left) * c
            for k in range(first * c, last * c):
                b[np.uint64(to + k)] = pixels[np.uint64(at + k)]
        r += rows


@loop(f"{IMAGES} {IMAGES} {IMAGES} f4[::1] i8 i8 i8 i8 i8 i8 i8 i8 i8 i8 i8")
def conv(x, w, y, buffer, lo, hi, oh, ow, sh, sw, top, left, y0, y1, ys):
    """Rows lo..hi, counted through all images, of y[:, y0::ys, y1::ys] (N, OH, OW, O) <- x * w, w (KH, KW, C, O)"""
    (kh, kw, c, o), (_, h, wide, _) = w.shape, y.shape
    taps, out, width = w.reshape(w.size), y.reshape(y.size), (ow - 1) * sw + kw
    bordered(x, lo, hi, oh, sh, -top, -left, kh, width, buffer)
    count, channel = as_many(ow), 0
    while channel < o:  # outside: so much of w stays near while all rows use it
        vectors = 2 if o - channel >= 2 * LANES else 1
        for r in range(lo, hi):
            at = lines(r, lo, oh, sh, kh) * width * c
            to = ((r // oh * h + y0 + r % oh * ys) * wide + y1) * o + channel
            p = 0
            while p < ow:
                p = min(p, ow - count)  # the last ones may be computed twice
                add(
                    count, vectors, buffer, at + p * sw * c, sw * c, width * c, 1,
                    taps, channel, kw * c * o, o, kh, kw * c, out, to + p * ys * o, ys * o, True,
                )  # fmt: skip
                p += count
        channel += vectors * LANES


@loop(f"{IMAGES} {IMAGES} {IMAGES} f4[::1] i8 i8 i8 i8 i8 i8")
def filter_gradient(g, x, dw, buffer, lo, hi, sh, sw, top, left):
    """dw (KH, KW, C, O) += what rows lo..hi of g (N, OH, OW, O), counted through all images, say of it"""
    (kh, kw, c, o), (_, oh, ow, _) = dw.shape, g.shape
    given, out, width = g.reshape(g.size), dw.reshape(dw.size), (ow - 1) * sw + kw
    bordered(x, lo, hi, oh, sh, -top, -left, kh, width, buffer)
    channel = 0
    while channel < o:
        vectors = 2 if o - channel >= 2 * LANES else 1
        for a in range(kh):
            j = 0
            while j < kw * c:
                count, r = as_many(kw * c - j), lo
                while r < hi:
                    rows = min(oh - r % oh, hi - r)
                    add(
                        count, vectors, buffer, (lines(r, lo, oh, sh, kh) + a) * width * c + j, 1, sh * width * c,
                        sw * c, given, r * ow * o + channel, ow * o, o, rows, ow,
                        out, (a * kw * c + j) * o + channel, o, False,
                    )  # fmt: skip
                    r += rows
                j += count
        channel += vectors * LANES
