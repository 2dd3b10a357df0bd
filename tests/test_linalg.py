"""Matrix products in all their forms, and einsum, against NumPy in float64."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import tinygrad_fast as tf

SIDE = st.integers(1, 3)


def normal(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def close(t, a):
    assert t.shape == np.shape(a) and t.dtype == a.dtype
    np.testing.assert_allclose(t.detach().numpy(), a, rtol=1e-12, atol=1e-12)  # a dozen terms of size 1 in float64


@st.composite
def factors(draw):
    """Two shapes that matmul takes: vectors, matrices, batches that broadcast."""
    m, k, n = draw(SIDE), draw(SIDE), draw(SIDE)
    if draw(st.booleans()) and draw(st.booleans()):
        return (k,), (k,)
    batch = draw(st.lists(SIDE, max_size=2))

    def some(matrix):
        mine = [b if draw(st.booleans()) else 1 for b in batch]
        return tuple(mine[draw(st.integers(0, len(mine))) :]) + matrix

    kind = draw(st.sampled_from(["both", "row", "column"]))
    left = (k,) if kind == "row" else some((m, k))
    return left, (k,) if kind == "column" else some((k, n))


@given(factors())
def test_matmul_in_all_its_forms(shapes):
    a, b = (normal(s, i) for i, s in enumerate(shapes))
    x, y = tf.tensor(a, requires_grad=True), tf.tensor(b, requires_grad=True)
    want = np.matmul(a, b)
    z = x @ y
    close(z, want)
    for other in (x.matmul(y), tf.matmul(x, y), a @ y, x @ b):
        close(other, want)
    g = normal(want.shape, 2)
    z.backward(tf.tensor(g))
    for leaf, index in ((x, 0), (y, 1)):
        v = normal(leaf.shape, 3)
        slope = (g * np.matmul(*((v, b) if index == 0 else (a, v)))).sum()  # the product is linear in each factor
        assert (leaf.grad.numpy() * v).sum() == pytest.approx(slope, rel=1e-9, abs=1e-12)


def test_named_products():
    a, b, v, w = normal((2, 3)), normal((3, 4), 1), normal(3, 2), normal(3, 3)
    x, y, p, q = map(tf.tensor, (a, b, v, w))
    close(x.mm(y), a @ b)
    close(tf.mv(x, p), a @ v)
    close(p.dot(q), np.dot(v, w))
    close(tf.outer(p, q), np.outer(v, w))
    c = normal((5, 2, 3))
    close(tf.bmm(tf.tensor(c), tf.tensor(c).mT), c @ c.swapaxes(1, 2))
    assert (tf.tensor([[1, 2]]) @ tf.tensor([[3], [4]])).tolist() == [[11]]


def test_memory_order_does_not_matter():
    a, b = normal((4, 5)), normal((5, 6), 1)
    for x in (a, np.asfortranarray(a), np.repeat(a, 2, 1)[:, ::2], a[::-1][::-1]):
        close(tf.from_numpy(x) @ tf.from_numpy(b.T).T, a @ b)


REFUSALS = [
    (
        lambda x, v: x @ x,
        r"matmul: x \(\.\.\., M, K\) @ w \(\.\.\., K, N\) needs equal K; got x \(2, 3\) and w \(2, 3\)",
    ),
    (lambda x, v: tf.ones(2, 2, 3) @ tf.ones(3, 3, 4), r"matmul \(batch axes\): .* got \(2,\) and \(3,\)"),
    (lambda x, v: x @ tf.tensor(2.0), r"matmul: both need at least 1 axis; got \(2, 3\) and \(\). Use \* for numbers"),
    (lambda x, v: x.mm(v), r"mm: needs tensors of 2 and 2 axes; got \(2, 3\) and \(3,\)"),
    (lambda x, v: x.mv(x), r"mv: needs tensors of 2 and 1 axes"),
    (lambda x, v: x.dot(v), r"dot: needs tensors of 1 and 1 axes; got \(2, 3\) and \(3,\)"),
    (lambda x, v: tf.ones(2, 1, 1).bmm(tf.ones(3, 1, 1)), r"bmm: needs tensors of 3 and 3 axes and equal batch"),
    (lambda x, v: x.outer(v), r"outer: needs two vectors; got \(2, 3\) and \(3,\)"),
    (lambda x, v: x @ [1, 2, 3], r"unsupported operand type\(s\) for @: 'Tensor' and 'list'"),
    (lambda x, v: x.matmul([1, 2, 3]), r"matmul: needs a Tensor; got list"),
    (lambda x, v: tf.einsum("ij,jk->ik", x), r"einsum: 'ij,jk->ik' names 2 operands; got 1"),
    (lambda x, v: tf.einsum("ijk->i", x), r"einsum: operand 0 of 'ijk->i' has 3 letters; got shape \(2, 3\)"),
    (lambda x, v: tf.einsum("i->i", x), r"operand 0 of 'i->i' has 1 letters; got shape \(2, 3\)"),
    (lambda x, v: tf.einsum("ij,ji->i", x, x), r"letter 'j' must have one size, or 1; got 3 and 2 in 'ij,ji->i'"),
    (
        lambda x, v: tf.einsum("ij->iz", x),
        r"letter of the result must stand once, and in an operand; got 'ij->iz'",
    ),
    (lambda x, v: tf.einsum("ij->ii", x), r"each letter of the result must stand once"),
    (lambda x, v: tf.einsum("ij", [[1]]), r"einsum: needs Tensors; got list"),
]


@pytest.mark.parametrize(("wrong", "text"), REFUSALS, ids=[str(i) for i in range(len(REFUSALS))])
def test_refusals(wrong, text):
    with pytest.raises((RuntimeError, TypeError), match=text):
        wrong(tf.ones(2, 3), tf.ones(3))


EQUATIONS = [
    "i,i->", "i,i", "i,j->ij", "ij,jk->ik", "ij,jk", "bij,bjk->bik", "ij->ji", "ij->", "ij->j", "ii->i", "ii",
    "ij,ij->ij", "i,ij,j->", "ij,jk,kl->il", "bi,oij,bj->bo", "abc,cd,da->b", "...ij,...jk->...ik", "i...->...", "...",
    "...,...->...", "i...i->...", "ij , jk -> ik", "ab,cb->ac", "Ab,bC->AC", "iij->ij", "ijk,ilm->jklm",
]  # fmt: skip


@pytest.mark.parametrize("equation", EQUATIONS)
def test_einsum(equation):
    sizes = dict(zip("ijklmabcdoAC", (2, 3, 4, 2, 3, 3, 2, 4, 2, 3, 2, 3)))
    terms = equation.replace(" ", "").split("->")[0].split(",")
    arrays = []
    for n, term in enumerate(terms):
        before, dots, after = term.partition("...")
        arrays.append(normal([*(sizes[c] for c in before), *([5, 2] if dots else []), *(sizes[c] for c in after)], n))
    tensors = [tf.tensor(a, requires_grad=True) for a in arrays]
    y, want = tf.einsum(equation, *tensors), np.einsum(equation, *arrays)
    close(y, np.asarray(want))
    close(tf.einsum(equation, tensors), np.asarray(want))
    g = normal(want.shape, 9)
    y.backward(tf.tensor(g))
    for n, leaf in enumerate(tensors):
        v = normal(leaf.shape, 10 + n)
        changed = np.einsum(equation, *arrays[:n], v, *arrays[n + 1 :])  # linear in each operand
        assert (leaf.grad.numpy() * v).sum() == pytest.approx((g * changed).sum(), rel=1e-9, abs=1e-12)


@st.composite
def equations(draw):
    """Any equation over five letters, where sizes of 1 broadcast."""
    sizes = {c: draw(st.integers(1, 3)) for c in "abcde"}
    terms = draw(st.lists(st.lists(st.sampled_from("abcde"), max_size=4).map("".join), min_size=1, max_size=3))
    used = sorted(set("".join(terms)))
    output = "".join(draw(st.permutations(used))[: draw(st.integers(0, len(used)))])
    # np.einsum lets a size of 1 broadcast across operands; a diagonal needs equal sizes
    flat = {(n, c) for n, term in enumerate(terms) for c in term if term.count(c) == 1 and draw(st.booleans())}
    shapes = [[1 if (n, c) in flat else sizes[c] for c in term] for n, term in enumerate(terms)]
    return ",".join(terms) + "->" + output, shapes


@settings(max_examples=60)
@given(equations())
def test_einsum_on_drawn_equations(drawn):
    equation, shapes = drawn
    arrays = [normal(s, n) for n, s in enumerate(shapes)]
    close(tf.einsum(equation, *map(tf.tensor, arrays)), np.asarray(np.einsum(equation, *arrays)))
