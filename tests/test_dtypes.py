"""Types: what two operands become, what a constructor chooses, and bfloat16 through every kind of method."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, strategies as st

import tinygrad_fast as tf
from tinygrad_fast import backend

NAMES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64"]
LETTERS = dict(zip("?Bbhiqeufd", NAMES))  # u: bfloat16

# torch.result_type(row, column), from PyTorch 2.13. A tensor "with axes" has at least one, a "0-d" has none.
TABLES = {
    ("with axes", "with axes"): """
        ?Bbhiqeufd BBhhiqeufd bhbhiqeufd hhhhiqeufd iiiiiqeufd
        qqqqqqeufd eeeeeeeffd uuuuuufufd fffffffffd dddddddddd""",
    ("with axes", "0-d"): """
        ?Bbhiqeufd BBBBBBeufd bbbbbbeufd hhhhhheufd iiiiiieufd
        qqqqqqeufd eeeeeeeeee uuuuuuuuuu ffffffffff dddddddddd""",
    ("0-d", "with axes"): """
        ?Bbhiqeufd BBbhiqeufd bBbhiqeufd hBbhiqeufd iBbhiqeufd
        qBbhiqeufd eeeeeeeufd uuuuuueufd ffffffeufd ddddddeufd""",
    ("0-d", "0-d"): """
        ?Bbhiqeufd BBhhiqeufd bhbhiqeufd hhhhiqeufd iiiiiqeufd
        qqqqqqeufd eeeeeeeffd uuuuuufufd fffffffffd dddddddddd""",
}
NUMBERS = "?qf BBf bbf hhf iif qqf eee uuu fff ddd"  # a tensor of either kind with True, 3, 2.5
SHAPE = {"with axes": (2,), "0-d": ()}


def ones(kind, name):
    return tf.ones(SHAPE[kind], dtype=name)


@pytest.mark.parametrize("kinds", TABLES)
def test_two_tensors_meet_where_pytorch_says(kinds):
    for a, row in zip(NAMES, TABLES[kinds].split(), strict=True):
        for b, letter in zip(NAMES, row, strict=True):
            x, y = ones(kinds[0], a), ones(kinds[1], b)
            assert tf.result_type(x, y) == LETTERS[letter], (kinds, a, b)
            assert (x * y).dtype == LETTERS[letter], (kinds, a, b)
            assert tf.maximum(x, y).dtype == LETTERS[letter], (kinds, a, b)
            divided = LETTERS[letter] if letter in "eufd" else "float32"
            assert (x / y).dtype == divided, (kinds, a, b)


@pytest.mark.parametrize("kind", SHAPE)
def test_a_tensor_and_a_number(kind):
    for a, row in zip(NAMES, NUMBERS.split(), strict=True):
        for number, letter in zip((True, 3, 2.5), row, strict=True):
            x, want = ones(kind, a), LETTERS[letter]
            assert tf.result_type(x, number) == want
            assert (x * number).dtype == (number * x).dtype == want, (a, number)
            assert (x == number).dtype == "bool"


def test_numpy_scalars_count_as_python_numbers():
    for name in ("float16", "bfloat16", "float32"):
        x = tf.ones(2, dtype=name)
        for scalar in (np.float64(2), np.float32(2), np.int64(2), np.bool_(True), tf.bfloat16.type(2)):
            assert (x * scalar).dtype == (scalar * x).dtype == name
    assert (tf.tensor([1, 2]) * np.float64(0.5)).dtype == "float32"


def test_numpy_arrays_count_as_tensors():
    assert (tf.ones(2) * np.ones(2)).dtype == "float64"
    assert (np.ones(2, "float32") * tf.ones(2, dtype="float64")).dtype == "float64"
    assert (tf.tensor([1, 2]) + np.float32([1, 2])).dtype == "float32"


def test_several_operands():
    assert tf.result_type(tf.ones(2, dtype="int8"), tf.ones((), dtype="int64"), 3) == "int8"
    assert tf.result_type(True, 2) == "int64" and tf.result_type(1.5) == "float32"
    assert tf.cat([tf.tensor([1]), tf.tensor([0.5])]).dtype == "float32"
    assert tf.where(tf.tensor([True]), tf.tensor([1]), 0.5).dtype == "float32"
    with pytest.raises(TypeError, match="at least one"):
        tf.result_type()


def test_no_integer_holds_uint64_and_a_signed_one():
    with pytest.raises(TypeError, match=r"uint64 and int64; convert one of them"):
        tf.tensor(np.ones(2, "uint64")) + tf.tensor([1, 2])


@pytest.mark.parametrize(
    ("given", "dtype"),
    [
        (1, "int64"), (1.5, "float32"), (True, "bool"), ([], "float32"), ([1, 2.5], "float32"), ([[1], [2]], "int64"),
        (np.float64(1), "float64"), (np.ones(2), "float64"), (np.ones(2, "float16"), "float16"), (np.int8(1), "int8"),
        ([np.float64(1)], "float64"), (np.ones(2, ">f4"), "float32"), (range(3), "int64"), ((1.0, 2.0), "float32"),
    ],
)  # fmt: skip
def test_what_a_tensor_is_made_of_chooses_its_type(given, dtype):
    t = tf.Tensor(given)
    assert t.dtype == dtype and t.dtype.isnative
    assert tf.tensor(given, dtype="float16").dtype == "float16"


def test_a_tensor_copies():
    a = np.zeros(2)
    t = tf.Tensor(a)
    a[0] = 5
    assert t.tolist() == [0, 0]
    assert tf.Tensor(tf.ones(2).bfloat16()).dtype == tf.bfloat16


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("bfloat16", tf.bfloat16), (tf.float16, "float16"), (np.float32, "float32"), (float, "float64"),
        (int, "int64"), (bool, "bool"), ("int32", tf.int32), (tf.half, "float16"), (tf.double, "float64"),
        (tf.long, "int64"), (tf.bool, "bool"), (tf.uint8, "uint8"),
    ],
)  # fmt: skip
def test_ways_to_write_a_type(name, dtype):
    assert tf.zeros(1, dtype=name).dtype == dtype
    assert tf.zeros(1).to(name).dtype == dtype


def test_casts():
    x = tf.tensor([1.7, -1.7, 0.0])
    assert x.int().tolist() == [1, -1, 0] and x.int().dtype == "int32"
    assert x.long().dtype == "int64" and x.bool().tolist() == [True, True, False]
    assert x.half().dtype == "float16" and x.double().dtype == "float64" and x.bfloat16().dtype == tf.bfloat16
    assert x.float() is x, "nothing to do: the tensor itself, as in PyTorch"
    assert x.type_as(tf.zeros(1, dtype="float64")).dtype == "float64"
    y = tf.ones(3, dtype="float16", requires_grad=True)
    y.double().mul(2).sum().backward()
    assert y.grad.dtype == "float16" and y.grad.tolist() == [2, 2, 2]
    assert not y.long().requires_grad


ONE = [
    "neg", "abs", "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "reciprocal", "square", "sin", "cos", "tan", "tanh",
    "sigmoid", "erf", "relu", "sign", "floor", "ceil", "round", "sum", "mean", "var", "std", "amax", "amin", "max",
    "min", "prod", "norm", "tril", "triu", "squeeze", "flatten", "clone", "t",
]  # fmt: skip
MORE = [
    ("softmax", 1), ("log_softmax", 1), ("logsumexp", 1), ("cumsum", 1), ("clamp", 0.6, 1), ("__add__", 1),
    ("__radd__", 1), ("__sub__", True), ("__rsub__", 1), ("__mul__", 2.5), ("__truediv__", 3), ("__rtruediv__", 1),
    ("__pow__", 2), ("__pow__", 2.5), ("__rpow__", 2), ("maximum", 0.7), ("minimum", 1), ("remainder", 0.3),
    ("max", 1), ("min", 0), ("sort", 1), ("topk", 2), ("flip", 0), ("roll", 1, 0), ("expand", 2, 3, 4), ("split", 2),
    ("__getitem__", [0, 2]), ("__getitem__", (slice(None), 1)), ("unsqueeze", 0), ("reshape", 12), ("unbind", 1),
    ("norm", 1), ("norm", float("inf")), ("floor_divide", 0.3), ("repeat", 2, 1),
]  # fmt: skip


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
@pytest.mark.parametrize("call", [(n,) for n in ONE] + MORE, ids=str)
def test_16_bit_floats_stay_what_they_are(name, call):
    """Value, type and gradient; the value is float32's within 2 units in the last place of bfloat16 (2^-7)."""
    method, *arguments = call
    x = (tf.rand(3, 4, generator=tf.Generator(3)) + 0.5).to(name)
    leaf = x.clone().requires_grad_()
    y, wide = getattr(leaf, method)(*arguments), getattr(x.float(), method)(*arguments)
    y, wide = (v[0] if isinstance(v, tuple) else v for v in (y, wide))
    assert y.dtype == name
    np.testing.assert_allclose(y.detach().float().numpy(), wide.numpy(), rtol=2**-6, atol=2**-6)
    if y.requires_grad:
        y.sum().backward()
        assert leaf.grad.dtype == name and leaf.grad.shape == leaf.shape


def test_bools_as_numbers():
    b = tf.tensor([True, False])
    assert b.sign().dtype == "bool" and b.sign().tolist() == [True, False]
    assert b.square().dtype == "int64" and b.square().tolist() == [1, 0]


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_16_bit_products_comparisons_and_indices(name):
    x = tf.randn(3, 4, generator=tf.Generator(1)).to(name)
    assert (x @ x.T).dtype == tf.einsum("ij,kj->ik", x, x).dtype == name
    assert (x > 0).dtype == x.isnan().dtype == (x == x).dtype == "bool"
    assert x.argmax().dtype == x.argsort().dtype == "int64"
    assert x.gather(1, tf.tensor([[0], [1], [2]])).dtype == x.masked_fill(x > 0, -1e30).dtype == name
    assert x.masked_fill(x > 0, 1.5).float().amax().item() == 1.5
    assert x.tolist() == x.float().tolist() and isinstance(x[0, 0].item(), float)
    assert f"dtype={name}" in repr(x)


OF_TWO = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "truediv": np.divide, "pow": np.power,
    "mod": np.remainder, "floordiv": np.floor_divide,
}  # fmt: skip


@pytest.mark.parametrize("device", ["cpu", "emulated"])
@pytest.mark.parametrize("name", ["bfloat16", "float16"])
@given(number=st.floats(-8, 6).map(lambda e: 10**e), seed=st.integers(0, 99))
def test_16_bits_meet_a_number_in_float32_and_are_rounded_once(name, device, number, seed):
    """float16 ends at 65,504 and has 11 bits: a number rounded to it first would be inf, 0, or off."""
    x = (tf.rand(40, generator=tf.Generator(seed)) * 4 + 0.1).to(name)
    a, x = x.numpy().astype("float32"), x.to(device)
    with np.errstate(all="ignore"):
        for op, f in OF_TWO.items():
            for method, y in ((op, f(a, np.float32(number))), (f"r{op}", f(np.float32(number), a))):
                got = getattr(x, f"__{method}__")(number)
                assert got.dtype == name
                np.testing.assert_array_equal(got.tolist(), y.astype(x.dtype).tolist(), method)
        for method, f in (("maximum", np.maximum), ("minimum", np.minimum)):
            y = f(a, np.float32(number)).astype(x.dtype)
            assert getattr(x, method)(number).tolist() == y.tolist(), method
        for method, f in (("mul", np.multiply), ("div", np.divide)):
            leaf = x.clone().requires_grad_()
            getattr(leaf, method)(number).backward(x)
            np.testing.assert_array_equal(leaf.grad.tolist(), f(a, np.float32(number)).astype(x.dtype).tolist())


def test_a_16_bit_sum_is_divided_by_a_large_count():
    x = tf.full((100000,), 0.1).half().requires_grad_()
    mean = x.sum() / x.numel()
    mean.backward()
    assert mean.item() == x[0].item() and x.grad[0].item() == np.float16(1e-5)


def test_a_16_bit_mean_does_not_overflow():
    x = tf.full((1000,), 100.0, dtype="float16")  # their sum is 100,000; float16 ends at 65,504
    assert x.mean().item() == 100
    spread = tf.tensor([0.0, 300.0] * 2, dtype="float16")  # the squares of the distances sum to 90,000
    assert spread.var().item() == 30000 and spread.std().item() == pytest.approx(173.2, rel=1e-3)


def test_integers_round_to_integers_and_sum_to_int64():
    i = tf.tensor([1, -2, 3], dtype="int8")
    for name in ("floor", "ceil", "round", "sign", "abs", "neg", "square", "relu", "clone"):
        assert getattr(i, name)().dtype == "int8", name
    assert i.sum().dtype == i.prod().dtype == i.cumsum(0).dtype == "int64"
    assert i.sum(dtype=tf.float32).dtype == "float32"
    assert tf.tensor([True, True]).sum().item() == 2
    assert i.exp().dtype == i.sigmoid().dtype == i.sqrt().dtype == (i / 2).dtype == "float32"
    assert (i // 2).dtype == i.div(2, rounding_mode="trunc").dtype == "int8"
    assert i.div(2, rounding_mode="trunc").tolist() == [0, -1, 1] and (i // 2).tolist() == [0, -1, 1]
    assert tf.tensor([-3, 3]).div(2, rounding_mode="trunc").tolist() == [-1, 1]
    assert tf.tensor([-3, 3]).div(2, rounding_mode="floor").tolist() == [-2, 1]


def test_poles_and_overflow_are_silent():
    """As on a GPU; warnings are errors in these tests."""
    big, inf = tf.tensor([3e38]), float("inf")
    assert (big * 10).item() == (big + big).item() == inf and (-big - big).item() == -inf
    assert (tf.tensor([1.0], dtype="float16") * 1e6).item() == inf
    assert (tf.tensor([0.0]).log().item(), (1 / tf.tensor([0.0])).item()) == (-inf, inf)
    assert (tf.tensor([inf]) - tf.tensor([inf])).isnan().all()
    assert tf.tensor([1e6]).half().item() == big.square().item() == inf
    assert tf.tensor([-1000.0]).sigmoid().item() == 0
    assert tf.tensor([-20.0]).sigmoid().item() == pytest.approx(2.0611536e-9, rel=1e-6)


def test_primitives_are_silent_in_every_thread_and_inside_one_another():
    xp, big, zero = backend.get("cpu"), np.full((2, 3), 3e38, np.float32), np.zeros((2, 3), np.float32)

    def work():
        with np.errstate(all="raise"):
            xp.mul(big, big), xp.log(zero), xp.div(zero, zero), xp.sum(big, axis=(0,)), xp.matmul(big, big.T)
            xp.linear(big, big, None, relu=True), xp.relu_back(big, zero), xp.logsumexp(big, axis=(0,))
            half = np.full((2, 3), 6e4, np.float16)
            xp.mul(half, half), xp.sum(half, axis=(0, 1)), xp.linear(half, half, half[:, 0], relu=False)
            assert set(np.geterr().values()) == {"raise"}, "outside, the caller's own settings stay"
            with pytest.raises(FloatingPointError):
                np.log(zero)

    work()
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work) for _ in range(16)]:
            done.result()
