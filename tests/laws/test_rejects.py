"""Each law, shown an op that breaks it. What passes here unnoticed would pass everywhere."""

import numpy as np
import pytest

import tinygrad_fast as tf
from tinygrad_fast import Tensor, backend
from tinygrad_fast.testing import LAWS, Case, LawError, laws, memory, prove

x = np.random.default_rng(0).standard_normal((2, 3, 4, 5))

DEVICES = [
    "cpu",
    pytest.param(
        "emulated", marks=pytest.mark.skipif(bool(backend.why_not("emulated")), reason=backend.why_not("emulated"))
    ),
]


def case(op, **flags):
    return Case.of(lambda t: tf.apply(op, t), x, **flags)


def exp(xp, x):
    """e^x, right."""
    y = xp.exp(x)
    return y, (lambda g: xp.mul(g, y),)


def twice(xp, x):
    y = xp.exp(x)
    return y, (lambda g: xp.mul(xp.mul(g, y), 2),)


def nothing(xp, x):
    return xp.exp(x), (lambda g: xp.mul(g, 0),)


def nan(xp, x):
    return xp.exp(x), (lambda g: xp.full(g.shape, float("nan"), g.dtype),)


def squares_g(xp, x):
    y = xp.exp(x)
    return y, (lambda g: xp.mul(xp.abs(g), y),)


def remembers_g(xp, x):
    y, kept = xp.exp(x), []

    def dx(g):
        kept.append(g)
        return xp.mul(kept[0], y)

    return y, (dx,)


def flips_not(xp, x):
    """Linear, and its pullback is not its transpose."""
    return xp.flip(x, axis=(1,)), (lambda g: g,)


def writes_to_g(xp, x):
    y = xp.exp(x)

    def dx(g):
        g *= y
        return g

    return y, (dx,)


def writes_to_x(xp, x):
    y = xp.exp(x)
    x += 1
    return y, (lambda g: xp.mul(g, y),)


def gives_what_it_saved(xp, x):
    """2 y where g is forgotten to be multiplied: an array of its own is handed out."""
    y = xp.exp(x)
    d = xp.mul(y, 1.0)
    return xp.sum(y, axis=(0, 1, 2, 3)), (lambda g: d,)


count = iter(range(10**6))


def counts(xp, x):
    y = xp.mul(x, 1.0 + next(count) * 1e-3)
    return y, (lambda g: g,)


def narrow(xp, x):
    y = xp.exp(x)
    return y, (lambda g: xp.cast(xp.mul(g, y), dtype=tf.float32),)


def reads_memory(xp, x):
    """Counts elements as they lie, not as they are meant."""
    shape = x.shape
    return x.ravel(order="K").reshape(shape), (lambda g: g,)


def channels_first(xp, x):
    y = np.ascontiguousarray(np.exp(x))
    return y, (lambda g: xp.mul(g, y),)


def numpy_in_pullback(xp, x):
    y = xp.exp(x)
    return y, (lambda g: np.multiply(g, y),)


def mask_by_operator(xp, x):
    return xp.maximum(x, 0), (lambda g: g * (x > 0),)


def transposes_by_attribute(xp, x):
    return xp.permute(x, axes=(3, 2, 1, 0)), (lambda g: g.T,)


def constant_behind_the_tape(xp, x):
    """The saved y as a plain array: right at first order, a constant at second."""
    y = xp.exp(x)
    plain = np.asarray(y.detach() if isinstance(y, Tensor) else y)
    return y, (lambda g: xp.mul(g, tf.from_numpy(plain).to(g.device) if isinstance(g, Tensor) else plain),)


def hides_behind_float64(xp, x):
    """Right in float64, rounded to 8 bits in float32."""
    y = xp.exp(x)
    if x.dtype == tf.float32:
        y = xp.cast(xp.cast(y, dtype=tf.bfloat16), dtype=tf.float32)
    return y, (lambda g: xp.mul(g, y),)


REJECTED = [
    ("slope", twice),
    ("slope", nothing),
    ("slope", nan),
    ("linearity", squares_g),
    ("linearity", remembers_g),
    ("linearity", nan),
    ("adjoint", flips_not),
    ("purity", writes_to_g),
    ("purity", writes_to_x),
    ("purity", gives_what_it_saved),
    ("purity", counts),
    ("layout", reads_memory),
    ("layout", channels_first),
    ("opaque", numpy_in_pullback),
    ("opaque", mask_by_operator),
    ("opaque", transposes_by_attribute),
    ("opaque", writes_to_g),
    ("hessian", constant_behind_the_tape),
    ("backends", hides_behind_float64),
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("law", LAWS)
def test_a_right_op_passes(law, device):
    LAWS[law](case(exp, device=device))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("law, op", REJECTED)
def test_a_wrong_op_is_rejected(law, op, device, tally):
    with pytest.raises(LawError, match=rf"(?s)^{law}: .*{device}"):
        LAWS[law](case(op, linear=True, device=device))
    tally(planted=1)


def test_all_of_them_at_once():
    prove(lambda t, w: t @ w, x, x[0, 0].T, device="emulated", linear=True)
    with pytest.raises(LawError, match=r"(?s)^slope: .*on emulated"):
        prove(lambda t: tf.apply(twice, t), x, device="emulated")


@pytest.mark.parametrize("order", [*memory.ORDERS, "spread"])
def test_arrays_lie_on_a_machine_as_they_lie_here(order):
    for a in (x, x[0, 0], x[0, :0], x[:1]):
        a = memory.spread(a, 0) if order == "spread" else memory.lay(a, order)
        there = memory.on(backend.get("emulated"), a)
        np.testing.assert_array_equal(there, a)
        assert (there.strides == a.strides or not a.size) and not np.may_share_memory(there, a)


def test_the_tape_rejects_a_gradient_of_another_type():
    with pytest.raises(RuntimeError, match=r"pullback of narrow: .*float64; got .*float32"):
        laws.purity(case(narrow))


def test_a_law_says_what_where_and_by_how_much():
    with pytest.raises(LawError) as e:
        laws.layout(case(reads_memory))
    assert "output 0 of inputs in order F must be" in str(e.value)
    assert "of (2, 3, 4, 5)" in str(e.value) and "wrong)" in str(e.value)
    assert "float64[2, 3, 4, 5] strides" in str(e.value) and "seed 0" in str(e.value)


def test_a_function_without_gradient_has_nothing_to_check():
    with pytest.raises(LawError, match="no output carries a gradient"):
        laws.slope(Case.of(lambda t: t.detach() * 2, x))


def test_overflow_is_right_only_beyond_the_largest_number():
    """300^2 + 300^2 is no float16, so inf is its value; 30^2 + 30^2 is one, and inf is wrong."""
    LAWS["backends"](Case.of(lambda t: t.square().sum(), np.full(2, 300.0)))

    def overflows_early(xp, x):
        y = xp.mul(xp.mul(xp.mul(x, x), 100.0), 0.01)  # 90,000 on the way
        return y, (lambda g: xp.mul(g, xp.mul(x, 2)),)

    with pytest.raises(LawError, match="got inf"):
        LAWS["backends"](Case.of(lambda t: tf.apply(overflows_early, t), np.full(2, 30.0)))
