"""The inner loops, written with NumPy. `compiled.py` holds the same functions as compiled loops.

Each works on a block that fits into a core's cache, in one thread; the files beside this folder cut the blocks.
Arrays are float32 in order C: images (N, H, W, C), lines of them (R, C), one vector to a pixel.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from math import prod

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ....rng import uniform
from ...special import FAR, NEAR
from ...windows import spots
from ..layout import empty
from ..winograd import AT, BT, matrices

BB, AA = np.kron(BT, BT), np.kron(AT, AT)  # both axes at once: (36, 36) and (16, 36)
AAT = np.ascontiguousarray(AA.T)
direct = depthwise = columns = waiting = None  # what compiled loops alone have
FEW = 47  # tiles that are not worth transforming filters for
resample = None  # the definition's matrix products are as fast as NumPy gets
ZEROS = np.zeros(1 << 18, np.float32)


# ------------------------------------------------------------------------------------------------------------- windows


def pieces(lo: int, hi: int, per_image: int) -> Iterator[tuple[slice, int, int]]:
    """Rows lo..hi of a pile of images, as (images, a, b): rows a..b of each; whole images together."""
    while lo < hi:
        i, a = divmod(lo, per_image)
        if a or hi - lo < per_image:
            b = min(per_image, a + hi - lo)
            yield slice(i, i + 1), a, b
            lo += b - a
        else:
            many = (hi - lo) // per_image
            yield slice(i, i + many), 0, per_image
            lo += many * per_image


def cut(x: np.ndarray, top: int, left: int, height: int, width: int, fill: float = 0) -> np.ndarray:
    """The window of images x that begins at (top, left), which may lie outside: `fill` there."""
    n, h, w, c = x.shape
    up, before = min(height, max(0, -top)), min(width, max(0, -left))
    down, after = max(up, min(height, h - top)), max(before, min(width, w - left))
    if (up, down, before, after) == (0, height, 0, width):
        return x[:, top : top + height, left : left + width]
    y = empty((n, height, width, c), x.dtype)
    y[:, :up] = y[:, down:] = y[:, :, :before] = y[:, :, after:] = fill
    if up < down and before < after:
        y[:, up:down, before:after] = x[:, top + up : top + down, left + before : left + after]
    return y


def seen(x: np.ndarray, shape: tuple[int, ...], strides: tuple[int, ...]) -> np.ndarray:
    """`as_strided`, in a tenth of its 5 us where x is contiguous: threads wait for Python's lock meanwhile."""
    return np.ndarray(shape, x.dtype, x, 0, strides) if x.flags.c_contiguous else as_strided(x, shape, strides)


def patches(x, rows, lo, hi, oh, ow, kh, kw, sh, sw, ph, pw):
    """rows (.., KH KW C) <- the patch of each pixel in the output rows lo..hi, which are counted through all images."""
    c, done = x.shape[3], 0
    for some, a, b in pieces(lo, hi, oh):
        xp = cut(x[some], a * sh - ph, -pw, (b - a - 1) * sh + kh, (ow - 1) * sw + kw)
        n, (s0, s1, s2, s3) = len(xp), xp.strides
        view = seen(xp, (n, b - a, ow, kh, kw, c), (s0, s1 * sh, s2 * sw, s1, s2, s3))
        size = n * (b - a) * ow
        rows[done : done + size].reshape(view.shape)[...] = view
        done += size


def unpatches(rows, d, ow, kh, kw, sh, sw, ph, pw):
    """`patches` in reverse, over whole images: d <- the rows added up where their patches lay."""
    n, h, w, c = d.shape
    oh = len(rows) // (n * ow)
    far = max(h + 2 * ph, (oh - 1) * sh + kh), max(w + 2 * pw, (ow - 1) * sw + kw)
    dp = empty((n, *far, c), d.dtype)
    dp[...] = 0
    back = rows.reshape(n, oh, ow, kh, kw, c)
    for i, j, spot in spots(dp, (kh, kw), (sh, sw), (1, 1), (oh, ow)):
        spot += back[:, :, :, i, j]
    d[...] = dp[:, ph : ph + h, pw : pw + w]


def finish(y, b, res, relu):
    """y <- relu?(y + b + res), b and res may be None"""
    if b is not None:
        np.add(y, b, out=y)
    if res is not None:
        np.add(y, res, out=y)
    if relu:
        np.maximum(y, zeros(y.shape), out=y)


def zeros(shape: tuple[int, ...]) -> np.ndarray:
    """Zeros to compare with: NumPy's maximum of two arrays is four times as fast as that of an array and a number."""
    size = prod(shape)
    return ZEROS[:size].reshape(shape) if size <= ZEROS.size else np.zeros(shape, np.float32)


# ------------------------------------------------------------------------------------------------------------ winograd


def by_place(x: np.ndarray, side: int, th: int, tw: int) -> np.ndarray:
    """The th x tw tiles of each image, side x side pixels, every 4 pixels: (side side, all of that place in a tile)"""
    n, _, _, c = x.shape
    s0, s1, s2, s3 = x.strides
    d = empty((side, side, n, th, tw, c), x.dtype)
    d[...] = seen(x, d.shape, (s1, s2, s0, 4 * s1, 4 * s2, s3))
    return d.reshape(side * side, -1)


def tiles_in(x, v, lo, hi, t, th, tw, p, q):
    """v[:, t C:] <- B^T d B of the tiles in tile rows lo..hi; d 6 x 6, every 4 pixels, the first at (-p, -q)"""
    c = x.shape[3]
    for some, a, b in pieces(lo, hi, th):
        xp = cut(x[some], 4 * a - p, -q, 4 * (b - a) + 2, 4 * tw + 2)
        size = len(xp) * (b - a) * tw
        np.matmul(BB, by_place(xp, 6, b - a, tw), out=v[:, t * c : (t + size) * c])
        t += size


def tiles_out(m, y, lo, hi, t, th, tw, b, res, relu):
    """y <- relu?(A^T m A + b + res): 4 x 4 pixels from each tile, those outside y left out"""
    _, _, w, o = y.shape
    for some, a, z in pieces(lo, hi, th):
        place = y[some, 4 * a : 4 * z]
        n, rows = len(place), place.shape[1]
        size = n * (z - a) * tw
        tiles = empty((16, size * o), y.dtype)
        np.matmul(AA, m[:, t * o : (t + size) * o], out=tiles)
        tiles = tiles.reshape(4, 4, n, z - a, tw, o).transpose(2, 3, 0, 4, 1, 5)
        if rows == 4 * (z - a) and w == 4 * tw:
            place.reshape(n, z - a, 4, tw, 4, o)[...] = tiles
        else:
            whole = empty((n, 4 * (z - a), 4 * tw, o), y.dtype)
            whole.reshape(n, z - a, 4, tw, 4, o)[...] = tiles
            place[...] = whole[:, :rows, :w]
        finish(place, b, None if res is None else res[some, 4 * a : 4 * z], relu)
        t += size


def tiles_back(g, m, lo, hi, t, th, tw):
    """m[:, t O:] <- A g A^T, the adjoint of `tiles_out`"""
    o = g.shape[3]
    for some, a, b in pieces(lo, hi, th):
        gp = cut(g[some], 4 * a, 0, 4 * (b - a), 4 * tw)
        size = len(gp) * (b - a) * tw
        np.matmul(AAT, by_place(gp, 4, b - a, tw), out=m[:, t * o : (t + size) * o])
        t += size


def suited(c, o):
    """The loops for Winograd's scheme with C and O channels: these"""
    return sys.modules[__name__]


def at_once(tiles, c, o):
    """How many of so many tiles, and how many of O output channels, `winograd` takes at a time"""
    return tiles, o


def winograd(x, u, y, v, m, tiles, some, lo, hi, th, tw, p, q, b, res, relu):
    """y <- relu?(x * w + b + res) of the tile rows lo..hi, u = `filters(w)`; v, m: room for what is taken at once"""
    (_, c, o), t = u.shape, (hi - lo) * tw
    tiles_in(x, v, lo, hi, 0, th, tw, p, q)
    np.matmul(matrices(v, t, c), u, out=matrices(m, t, o))
    tiles_out(m, y, lo, hi, 0, th, tw, b, res, relu)


def winograd_dw(g, x, du, v, m, tiles, lo, hi, th, tw, p, q):
    """du (36, C, O) += V^T (A g A^T) of the tile rows lo..hi"""
    (_, c, o), t = du.shape, (hi - lo) * tw
    tiles_in(x, v, lo, hi, 0, th, tw, p, q)
    tiles_back(g, m, lo, hi, 0, th, tw)
    part = np.matmul(matrices(v, t, c).transpose(0, 2, 1), matrices(m, t, o), out=empty(du.shape, du.dtype))
    np.add(du, part, out=du)


# --------------------------------------------------------------------------------------------------------- batch norm


def moments(x, mean, m2):
    """mean and sum of squared differences from it, of each column"""
    one = np.full(len(x), 1, x.dtype)
    np.matmul(one, x, out=mean)
    mean /= len(x)
    d = empty(x.shape, x.dtype)
    np.subtract(x, mean, out=d)
    np.einsum("ij,ij->j", d, d, out=m2)


def normalise(x, y, scale, shift, res, relu):
    """y <- relu?(x scale + shift + res)"""
    np.multiply(x, scale, out=y)
    finish(y, shift, res, relu)


def grad_sums(g, x, y, mean, h, total, dot):
    """h <- g where y > 0;  total <- sum h, dot <- sum h (x - mean) of each column; y and h may be None: h is g"""
    if y is None:
        h = g
    else:
        relu_back(g, y, h)
    np.matmul(np.full(len(x), 1, x.dtype), h, out=total)
    d = empty(x.shape, x.dtype)
    np.subtract(x, mean, out=d)
    np.einsum("ij,ij->j", d, h, out=dot)


def standard_back(h, x, a, b, c, dx):
    """dx <- a h + b x + c; written over h where dx is None"""
    dx, t = h if dx is None else dx, empty(x.shape, x.dtype)
    np.multiply(x, b, out=t)
    np.add(t, c, out=t)
    np.multiply(h, a, out=dx)
    np.add(dx, t, out=dx)


def erf(x, y):
    """y <- erf(x), by the polynomials of `special`"""
    size = np.minimum(np.abs(x), np.float32(4))
    square, p, q = size * size, np.full_like(x, NEAR[0]), np.full_like(x, FAR[0])
    for near, far in zip(NEAR[1:], FAR[1:], strict=True):
        np.add(np.multiply(p, square, out=p), np.float32(near), out=p)
        np.add(np.multiply(q, size, out=q), np.float32(far), out=q)
    np.add(np.multiply(p, x, out=p), x, out=p)
    np.subtract(1, np.exp(np.negative(q, out=q), out=q), out=q)
    np.copyto(y, np.where(size <= 1, p, np.copysign(q, x)))


def relu(x, y):
    """y <- max(x, 0)"""
    for lo in range(0, x.size, ZEROS.size):
        np.maximum(x[lo : lo + ZEROS.size], ZEROS[: x.size - lo], out=y[lo : lo + ZEROS.size])


def relu_back(g, y, d):
    """d <- g where y > 0, else 0"""
    np.copyto(d, y > 0)  # a product of floats and booleans would convert these in small pieces
    np.multiply(g, d, out=d)


# -------------------------------------------------------------------------------------------------------------- pooling


def max_pool(x, y, tap, lo, hi, kh, kw, sh, sw, ph, pw, dh, dw):
    """Images lo..hi of y, tap <- the largest of each window and its place there; the first of equals, the last NaN"""
    _, oh, ow, _ = y.shape
    xp = cut(x[lo:hi], -ph, -pw, (oh - 1) * sh + (kh - 1) * dh + 1, (ow - 1) * sw + (kw - 1) * dw + 1, -np.inf)
    best, place = y[lo:hi], tap[lo:hi]
    won = empty(best.shape, np.bool_)
    first, *others = every = [spot for *_, spot in spots(xp, (kh, kw), (sh, sw), (dh, dw), (oh, ow))]
    best[...], place[...] = first, 0
    for k, spot in enumerate(others, 1):
        np.greater(spot, best, out=won)
        np.maximum(best, spot, out=best)
        better = won.view(np.uint8)
        np.multiply(better, np.uint8(k), out=better)
        np.maximum(place, better, out=place)  # k grows: faster than copies by mask
    if np.isnan(best.sum()):  # rare
        for k, spot in enumerate(every):
            np.copyto(place, np.uint8(k), where=np.isnan(spot))


def max_pool_back(g, tap, d, lo, hi, kh, kw, sh, sw, ph, pw, dh, dw):
    """Images lo..hi of d <- each gradient at the place that won, 0 elsewhere"""
    _, oh, ow, c = g.shape
    _, h, w, _ = d.shape
    far = max(ph + h, (oh - 1) * sh + (kh - 1) * dh + 1), max(pw + w, (ow - 1) * sw + (kw - 1) * dw + 1)
    g, tap, given = g[lo:hi], tap[lo:hi], d[lo:hi]
    whole = given if far == (h, w) else empty((hi - lo, *far, c), d.dtype)
    apart = (kh - 1) * dh < sh and (kw - 1) * dw < sw  # no two windows share a pixel
    if not (apart and far == (kh * oh, kw * ow)):
        whole[...] = 0
    part = empty(g.shape, d.dtype)
    for i, j, spot in spots(whole, (kh, kw), (sh, sw), (dh, dw), (oh, ow)):
        np.copyto(part, tap == i * kw + j)
        np.multiply(part, g, out=spot if apart else part)
        if not apart:
            np.add(spot, part, out=spot)
    if whole is not given:
        given[...] = whole[:, ph : ph + h, pw : pw + w]


# --------------------------------------------------------------------------------------------------------------- losses


def cross_entropy(x, t, ignored, logp, loss):
    """logp <- log softmax of each row of x;  loss <- -logp[t], 0 where t is `ignored`"""
    np.subtract(x, x.max(axis=1, keepdims=True), out=logp)
    e = empty(x.shape, x.dtype)
    np.exp(logp, out=e)
    np.subtract(logp, np.log(e.sum(axis=1, keepdims=True)), out=logp)
    kept = t != ignored
    safe = t if kept.all() else np.where(kept, t, 0)
    loss[...] = np.where(kept, -logp[np.arange(len(t)), safe], 0)


def cross_entropy_back(a, logp, t, ignored, d):
    """d <- (exp(logp) - onehot(t)) a, a one number a row, 0 where t is `ignored`"""
    a = np.where(t != ignored, a, 0)
    np.exp(logp, out=d)
    np.multiply(d, a[:, None], out=d)
    d[np.arange(len(t)), np.where(t != ignored, t, 0)] -= a


# ----------------------------------------------------------------------------------------------- tables, random numbers


def scatter(index, g, d, first, last):
    """Columns first..last of d: row index[i] += row i of g, for all i"""
    order = index.argsort(kind="stable")  # then equal indices lie together, and runs can be summed
    at, begin = np.unique(index[order], return_index=True)
    if len(at):
        d[at, first:last] += np.add.reduceat(g[order, first:last], begin, axis=0)


def dropout(x, y, kept, lo, key, p, scale):
    """kept <- uniform number i >= p;  y <- x scale where kept, else 0; x begins at number lo, a multiple of 4"""
    np.greater_equal(uniform(key, x.size, lo), p, out=kept)
    np.multiply(x, scale, out=y)
    np.multiply(y, kept, out=y)


# -------------------------------------------------------------------------------------------------------------- updates


def sgd(w, g, v, clip, lr, m, fresh, decay, nesterov):
    """One block of `Updates.sgd_`; clip is what g is multiplied by; without momentum v is empty"""
    t, d = empty(w.shape, w.dtype), g if clip == 1 else g * clip
    if decay:
        np.multiply(w, decay, out=t)
        d = np.add(t, d, out=t)
    if v.size:
        np.multiply(v, m, out=v)
        np.add(v, d if fresh == 1 else d * fresh, out=v)
        d = d + v * m if nesterov else v
    np.multiply(d, lr, out=t)
    np.subtract(w, t, out=w)


def adam(w, g, m, v, clip, rate, beta1, beta2, root, eps, decay, shrink):
    """One block of `Updates.adam_`: decay is added to the gradient, or w is multiplied by shrink"""
    t = empty(w.shape, w.dtype)
    if clip != 1:
        g = g * clip
    if shrink != 1:
        np.multiply(w, shrink, out=w)
    if decay:
        g = g + w * decay
    np.multiply(m, beta1, out=m)
    np.multiply(g, 1 - beta1, out=t)
    np.add(m, t, out=m)
    np.multiply(g, g, out=t)
    np.multiply(t, 1 - beta2, out=t)
    np.multiply(v, beta2, out=v)
    np.add(v, t, out=v)
    np.sqrt(v, out=t)
    np.multiply(t, 1 / root, out=t)
    np.add(t, eps, out=t)
    np.divide(m, t, out=t)
    np.multiply(t, rate, out=t)
    np.subtract(w, t, out=w)
