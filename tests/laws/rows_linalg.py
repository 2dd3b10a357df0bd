"""Rows: products of vectors, matrices and batches; the adjoint ops that only pullbacks call."""

import tinygrad_fast as tf
from tinygrad_fast import Tensor, ops
from tinygrad_fast.shapes import Slot
from tinygrad_fast.testing import Args, Table, strategies as some

rows = Table()
PRODUCT = {"linear": True, "images": ()}  # linear in each factor; its last two axes are no image


def sides(draw, n, high=4):
    return tuple(draw(some.integers(1, high)) for _ in range(n))


@rows.row("matmul", Tensor.matmul, **PRODUCT)
def matmul(draw, fill):
    """Batches that broadcast."""
    m, k, n = sides(draw, 3)
    a, b = draw(some.broadcastable(2, max_dims=2, max_side=3))
    return Args(fill.normal((*a, m, k)), fill.normal((*b, k, n)))


@rows.row("matmul / vectors", Tensor.matmul, **PRODUCT)
def matmul_vectors(draw, fill):
    m, k = sides(draw, 2)
    shapes = [((k,), (k,)), ((k,), (k, m)), ((m, k), (k,)), ((k,), (2, k, m)), ((2, m, k), (k,))]
    a, b = draw(some.sampled_from(shapes))
    return Args(fill.normal(a), fill.normal(b))


def product(first, second):
    """Two arrays whose shapes are spelled in letters: "mk", "kn"."""

    def draw(draw, fill):
        sizes = dict(zip("bmkn", sides(draw, 4)))
        return Args(*(fill.normal(tuple(sizes[c] for c in letters)) for letters in (first, second)))

    return draw


rows.row("__matmul__", lambda a, b: a @ b, **PRODUCT)(product("mk", "kn"))
rows.row("matmul / one matrix for all", Tensor.matmul, **PRODUCT)(product("bmk", "kn"))
rows.row("mm", Tensor.mm, **PRODUCT)(product("mk", "kn"))
rows.row("bmm", Tensor.bmm, **PRODUCT)(product("bmk", "bkn"))
rows.row("mv", Tensor.mv, **PRODUCT)(product("mk", "k"))
rows.row("dot", Tensor.dot, **PRODUCT)(product("k", "k"))
rows.row("outer", Tensor.outer, **PRODUCT)(product("m", "n"))

EQUATIONS = [  # a matrix product, a batched one, sums, a diagonal, a transpose, an ellipsis, three factors
    *("mk,kn->mn", "bmk,bkn->bmn", "mk->m", "mk,mk->", "kk->k", "mk->km", "...m,mk->...k", "mk,kn,nb->mb", "mk,nk"),
]


@rows.row("einsum", lambda *xs, equation: tf.einsum(equation, *xs), **PRODUCT)
def einsum(draw, fill):
    equation = draw(some.sampled_from(EQUATIONS))
    sizes = dict(zip("bmkn", sides(draw, 4, high=3)))
    terms = equation.partition("->")[0].replace("...", "bn").split(",")
    return Args(*(fill.normal(tuple(sizes[c] for c in term)) for term in terms), equation=equation)


@rows.row("linear", lambda x, w, b, relu: tf.apply(ops.linear, x, w, b, relu=relu), images=())
def linear(draw, fill):
    """The bias keeps relu away from 0: each unit is on for every row, or off."""
    k, o = sides(draw, 2)
    lead = draw(some.shapes(min_dims=1, max_dims=3, max_side=3))
    x, w = fill.between((*lead, k), -1, 1), fill.between((o, k), -1, 1)
    return Args(x, w, fill.sign((o,)) * (k + 0.3), relu=draw(some.booleans()))


rows.row("linear / no bias", lambda x, w: tf.apply(ops.linear, x, w), **PRODUCT)(product("bmk", "nk"))


# Ops that pullbacks use, and no public function by itself


@rows.row("ops.swap", lambda x: tf.apply(ops.swap, x), **PRODUCT)
def swap(draw, fill):
    return Args(fill.normal(draw(some.shapes(min_dims=2))))


@rows.row("ops.getitem_back", lambda g, i, shape: tf.apply(ops.getitem_back, g, i, key=KEY, shape=shape), **PRODUCT)
def getitem_back(draw, fill):
    n, m, k = sides(draw, 3)
    return Args(fill.normal((n, k)), fill.integers((k,), -m, m), shape=(n, m))


KEY = (slice(None), Slot(0))


@rows.row("ops.gather_back", lambda g, i, shape: tf.apply(ops.gather_back, g, i, axis=1, shape=shape), **PRODUCT)
def gather_back(draw, fill):
    n, m, k = sides(draw, 3)
    return Args(fill.normal((n, k)), fill.integers((n, k), 0, m), shape=(n, m))
