"""autocast: types of results and gradients, PyTorch's numbers, regions. GradScaler: steps, and when the scale moves."""

import threading
from math import inf, nan

import numpy as np
import pytest

import tinygrad_fast as tf
import tinygrad_fast.nn.functional as F
from tests.laws.table import TABLE
from tinygrad_fast import backend, nn, ops, optim, tape
from tinygrad_fast.amp import GradScaler
from tinygrad_fast.amp.autocast import LOW, RULES, WIDE, WIDEST
from tinygrad_fast.testing.run import outputs, tensor
from tinygrad_fast.testing.strategies import examples

TYPES = ("float16", "bfloat16")


def numbers(*shape):
    """-11/8 .. 11/8 in a fixed order: the same in every framework, and exact in 16 bits."""
    return tf.tensor((np.arange(np.prod(shape)) * 7 % 23 - 11).reshape(shape) / 8, dtype=tf.float32)


def weight(*shape):
    return numbers(*shape).requires_grad_()


X, P, CLASS = numbers(2, 5), numbers(2, 5) / 16 + 0.5, tf.tensor([1, 4])
IMAGE, KERNEL, GRID = numbers(1, 2, 4, 4), numbers(2, 2, 3, 3), numbers(1, 3, 3, 2) / 2

# name in RULES: (function, inputs); what no public function reaches is called as an op
CASES = {
    "matmul": (lambda a, b: a @ b, X, numbers(5, 3)),
    "linear": (F.linear, X, numbers(3, 5), numbers(3)),
    "conv1d": (F.conv1d, numbers(1, 2, 5), numbers(3, 2, 3), numbers(3)),
    "conv2d": (F.conv2d, IMAGE, KERNEL, numbers(2)),
    "conv_transpose2d": (F.conv_transpose2d, IMAGE, KERNEL, numbers(2)),
    "conv2d_dx": (lambda g, w: tf.apply(ops.conv2d_dx, g, w, hw=(6, 6), **ONE), IMAGE, KERNEL),
    "conv2d_dw": (lambda g, x: tf.apply(ops.conv2d_dw, g, x, k=(3, 3), **ONE), IMAGE, numbers(1, 2, 6, 6)),
    "exp": (tf.exp, X),
    "expm1": (tf.expm1, X),
    "log": (tf.log, P),
    "log1p": (tf.log1p, P),
    "pow": (lambda x: x**2, X),
    "__rtruediv__": (lambda x: 1 / x, P),
    "reciprocal": (tf.reciprocal, P),
    "rsqrt": (tf.rsqrt, P),
    "tan": (tf.tan, X),
    "softplus": (F.softplus, X),
    "softmax": (lambda x: F.softmax(x, -1), X),
    "log_softmax": (lambda x: x.log_softmax(-1), X),
    "logsumexp": (lambda x: x.logsumexp(-1), X),
    "sum": (tf.sum, X),
    "prod": (tf.prod, X),
    "cumsum": (lambda x: x.cumsum(0), X),
    "norm": (tf.norm, X * 300),
    "normalize": (F.normalize, X),
    "layer_norm": (lambda x, w: F.layer_norm(x, 5, w, w), X, numbers(5)),
    "group_norm": (lambda x, w: F.group_norm(x, 1, w, w), X, numbers(5)),
    "cross_entropy": (lambda x: F.cross_entropy(x, CLASS), X),
    "soft_cross_entropy": (F.cross_entropy, X, P),
    "nll_loss": (lambda x: F.nll_loss(x, CLASS), X),
    "binary_cross_entropy": (F.binary_cross_entropy, P, P),
    "binary_cross_entropy_with_logits": (F.binary_cross_entropy_with_logits, X, P),
    "mse_loss": (F.mse_loss, X, P),
    "l1_loss": (F.l1_loss, X, P),
    "smooth_l1_loss": (F.smooth_l1_loss, X, P),
    "huber_loss": (F.huber_loss, X, P),
    "grid_sample": (F.grid_sample, IMAGE, GRID),
    "batch_norm_residual": (lambda x, r: F.batch_norm(x, None, None, training=True, residual=r), X, P),
}
ONE = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}

# in no list: they run in the type of their inputs
FOLLOWS = {
    "add": (lambda a, b: a + b, X, P),
    "mean": (tf.mean, X),
    "sqrt": (tf.sqrt, P),
    "tanh": (tf.tanh, X),
    "relu": (tf.relu, X),
    "gelu": (F.gelu, X),
    "max_pool2d": (lambda x: F.max_pool2d(x, 2), IMAGE),
    "batch_norm": (lambda x: F.batch_norm(x, None, None, training=True), X),
    "cat": (lambda a, b: tf.cat([a, b]), X, P),
}


def test_every_row_of_the_table_has_a_case():
    assert set(CASES) == set(RULES)


@pytest.mark.parametrize("low", TYPES)
@pytest.mark.parametrize("name", [*CASES, *FOLLOWS])
def test_the_type_of_each_result(name, low):
    function, *inputs = (CASES | FOLLOWS)[name]
    low = tf.dtypes.dtype_of(low)
    wanted = {LOW: (low, low), WIDE: (tf.float32, tf.float32), WIDEST: (low, tf.float32), None: (low, tf.float32)}
    for given, want in zip((low, tf.float32), wanted[RULES.get(name)]):
        leaves = [a.to(given).requires_grad_() for a in (t.clone() for t in inputs)]
        with tf.autocast(dtype=low):
            y = function(*leaves)
        assert y.dtype == want
        y.float().mean().backward()
        assert all(a.grad is not None and a.grad.dtype == given for a in leaves)
        exact = function(*(t.double() for t in inputs)).numpy()
        error = abs(y.detach().double().numpy() - exact).max()
        assert error <= 40 * (2.0**-11 if low == tf.float16 else 2.0**-8) * abs(exact).max()


@pytest.mark.parametrize("name", [n for n in CASES if RULES[n] is not WIDE and len(CASES[n]) > 2])
def test_mixed_inputs_meet(name):
    """A 16-bit activation and a float32 weight: one type inside, gradients each in its own."""
    function, first, *rest = CASES[name]
    x, ws = first.half().requires_grad_(), [w.clone().requires_grad_() for w in rest]
    with tf.autocast():
        y = function(x, *ws)
    assert y.dtype == (tf.float16 if RULES[name] is LOW else tf.float32)
    y.float().mean().backward()
    assert x.grad.dtype == tf.float16 and {w.grad.dtype for w in ws} == {tf.float32}


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_what_works_without_works_within(row):
    """Every public function, in float32 and with a 16-bit first input: it runs, and each gradient has its input's type
    (the walk looks)."""
    [case] = examples(row, 1)
    for first in ("float32", "float16"):

        def run(enabled, first=first):
            kinds = {i: "float32" for i in case.wanted} | {case.wanted[0]: first}
            inputs = [tensor(a, "cpu", kinds.get(i), i in kinds) for i, a in enumerate(case.arrays)]
            with tf.autocast(enabled=enabled):
                outs = outputs(row.call(*inputs, **case.static))
            wanted = [inputs[i] for i in kinds]
            return tf.autograd.grad(outs, wanted, [tf.ones_like(y) for y in outs], allow_unused=True)

        with np.errstate(all="ignore"):  # float16 cannot hold all of it
            try:
                run(False)
            except (TypeError, RuntimeError):  # mixed inputs of an op by itself, float16 statistics
                continue
            run(True)


def test_float64_and_integers_are_left_alone():
    x = numbers(3, 3)
    with tf.autocast():
        assert (x.double() @ x.double()).dtype == (x.double() @ x).dtype == tf.float64
        assert x.double().sum().dtype == tf.float64
        assert (x.long() @ x.long()).dtype == x.long().sum().dtype == tf.int64


def test_a_norm_that_float16_could_not_hold():
    x = tf.full((4,), 300.0).half()  # squares of 90000
    with tf.autocast():
        assert x.norm().item() == pytest.approx(600)


# with torch.autocast("cpu", dtype=torch.bfloat16), the lines of the test below in PyTorch 2.13's words; printed by
# a.float().flatten()[:6].tolist() for h, y, m, and for each gradient g.flatten()[:5].tolist() and its norm
TORCH = {
    "h": [0.734375, 3.03125, 0.9375, -1.796875, -0.65625, -0.515625],
    "y": [-1.5, -0.353515625, 0.0498046875, 0.90234375, -1.265625, 0.345703125],
    "m": [1.0859375, -0.038818359375, -0.546875, 0.140625, 0.0966796875, -0.4140625],
    "loss": [4.1605658531188965],
}
TORCH_GRADIENTS = [
    ([-0.052734375, -0.083984375, 0.2021484375, -0.0751953125, 0.2109375], 2.137969390469607),
    ([-0.03564453125, -0.060546875, 0.08984375, 0.5078125], 0.5204631507134875),
    ([0.037109375, 0.0712890625, 0.0260009765625, 0.0, 0.0], 8.048619633858644),
    ([0.02880859375, -0.42578125, 0.1171875, 0.75, -0.470703125], 0.9899060308768861),
]


def test_the_numbers_are_pytorchs():
    w, b, v, c = weight(4, 3, 3, 3), weight(4), (numbers(5, 24) / 4).requires_grad_(), weight(5)
    with tf.autocast("cpu", dtype=tf.bfloat16):
        h = F.conv2d(numbers(2, 3, 5, 4), w, b)
        y = F.linear(h.relu().flatten(1), v, c)
        m = y @ v
        loss = F.cross_entropy(y, CLASS)
    loss.backward()
    assert h.dtype == y.dtype == m.dtype == "bfloat16" and loss.dtype == tf.float32
    for name, found in {"h": h, "y": y, "m": m, "loss": loss}.items():
        # sums in another order: a unit in the last of 8 bits, now and then, of the numbers added up
        assert found.float().flatten()[:6].tolist() == pytest.approx(TORCH[name], rel=2**-7, abs=2**-9)
    for p, (first, norm) in zip((w, b, v, c), TORCH_GRADIENTS):
        assert p.grad.dtype == tf.float32
        assert p.grad.flatten()[:5].tolist() == pytest.approx(first, rel=2**-7)
        assert p.grad.norm().item() == pytest.approx(norm, rel=2**-10)


# Regions


def kind(device="cpu"):
    """The type of a product of float32 matrices on a device."""
    a = tf.ones(2, 2).to(device)
    return (a @ a).dtype.name


def test_regions_nest():
    assert not tf.is_autocast_enabled()
    with tf.autocast():
        assert kind() == "float16" and tf.is_autocast_enabled()
        with tf.autocast(enabled=False):
            assert kind() == "float32" and not tf.is_autocast_enabled()
            assert tape.mode.autocast is None  # costs what no autocast costs
            with tf.autocast(dtype="bfloat16"):
                assert kind() == "bfloat16"
        with tf.autocast("cpu"):
            assert kind() == "bfloat16"  # PyTorch's default for that device
        assert kind() == "float16"
        with pytest.raises(ZeroDivisionError), tf.autocast(dtype="bfloat16"):
            1 / 0
        assert kind() == "float16"
    assert kind() == "float32" and tf.amp.autocast is tf.autocast


def test_a_region_for_one_type_of_device(monkeypatch):
    monkeypatch.setitem(backend._makers, "other", backend.CPU)
    assert {kind(), kind("other")} == {"float32"}
    with tf.autocast("other"):
        assert kind("other") == "float16" and kind() == "float32"
        assert tf.is_autocast_enabled("other") and not tf.is_autocast_enabled("cpu") and not tf.is_autocast_enabled()
        with tf.autocast("cpu"):
            assert kind("other") == "float16" and kind() == "bfloat16"
        with tf.autocast("other", enabled=False):
            assert kind("other") == "float32"
    with tf.autocast(), tf.autocast("other", enabled=False):
        assert kind("other") == "float32" and kind() == "float16"
    backend._made.pop("other", None)


def test_a_decorator_and_other_threads():
    @tf.autocast(dtype=tf.float16)
    def product():
        return kind()

    found = []
    with tf.autocast(dtype="bfloat16"):
        assert product() == "float16" and kind() == "bfloat16"
        for f in (kind, product):
            thread = threading.Thread(target=lambda f=f: found.append(f()))
            thread.start()
            thread.join()
    assert found == ["float32", "float16"]
    with pytest.raises(TypeError, match="must not be a generator"):

        @tf.autocast()
        def batches():
            yield 1


def test_what_autocast_refuses():
    with pytest.raises(ValueError, match="autocast: dtype must be float16 or bfloat16; got float32"):
        tf.autocast(dtype=tf.float32)
    with pytest.raises(ValueError, match=r"device_type is a type of device, \"cuda\" or \"cpu\"; got 'cuda:0'"):
        tf.autocast("cuda:0")


# The cache of weights


@pytest.fixture
def casts(monkeypatch):
    """The shapes that were cast."""
    found, cast = [], ops.cast

    def counted(xp, x, *, dtype):
        found.append(x.shape)
        return cast(xp, x, dtype=dtype)

    monkeypatch.setattr(ops, "cast", counted)
    return found


def test_a_weight_used_twice_is_cast_once(casts):
    x, w = numbers(2, 3).half(), weight(3, 3)
    with tf.autocast():
        y = x @ w @ w
        with tf.autocast():  # a layer that asks for it again
            y = y @ w
    assert casts.count((3, 3)) == 1
    y.float().mean().backward()
    once, w.grad = w.grad, None
    with tf.autocast():
        (x @ w @ w @ w).float().mean().backward()
    assert casts.count((3, 3)) == 2 and once.equal(w.grad)


def test_a_weight_is_cast_again_when_it_must_be(casts):
    x, w = numbers(2, 3).half(), weight(3, 3)
    with tf.autocast():
        with tf.no_grad():
            assert not (x @ w).requires_grad
        y = x @ w  # what was cast under no_grad has no gradient
        assert casts.count((3, 3)) == 2
        y.mean().backward()
        (x @ w).mean().backward()  # that tape was released
        assert casts.count((3, 3)) == 3
        x @ w
        with tf.no_grad():
            w += 1
        y = x @ w
        assert casts.count((3, 3)) == 5
        assert y.tolist() == (x @ w.half()).tolist()
        with tf.autocast(dtype="bfloat16"):
            assert (x @ w).dtype == "bfloat16"


def test_nothing_stays_when_the_region_ends():
    import gc
    import weakref

    w = weight(3, 3)
    with tf.autocast():
        y = numbers(2, 3) @ w
        low = weakref.ref(y.node.edges[0][0])
        del y
        assert low() is not None  # the cast, kept for the next use
    gc.collect()
    assert low() is None


def test_second_derivatives_pass_through_casts():
    """d^2/dx^2 of sum (x w)^3 is 6 x w^3; also when it is asked for inside the region."""
    x, w = tf.tensor([[2.0]], requires_grad=True), tf.tensor([[0.5]], requires_grad=True)
    with tf.autocast(), tf.autograd.higher():
        y = ((x @ w) ** 3).sum()
        (g,) = tf.autograd.grad(y, x, create_graph=True)
        (second,) = tf.autograd.grad(g.sum(), x)
    assert g.dtype == second.dtype == tf.float32
    assert g.item() == pytest.approx(1.5) and second.item() == pytest.approx(1.5)
    with tf.autograd.higher():
        y = ((x @ w) ** 3).sum()
    with tf.autocast():  # what was recorded in float32 is walked in float32
        (g,) = tf.autograd.grad(y, x, create_graph=True)
    assert g.dtype == tf.float32


def test_an_op_of_ones_own_sees_what_it_is_given():
    def twice(xp, x):
        return xp.add(x, x), (lambda g: xp.add(g, g),)

    with tf.autocast():
        assert tf.apply(twice, X).dtype == tf.float32 and tf.apply(twice, X.half()).dtype == tf.float16


# GradScaler


def one(lr=1.0):
    """A weight of 1 and its optimiser, with a momentum to remember."""
    w = tf.ones(1).requires_grad_()
    return w, optim.SGD([w], lr=lr, momentum=0.5)


def known(w, opt):
    """The weight, and what the optimiser remembers of it."""
    return w.item(), {k: v.item() if isinstance(v, tf.Tensor) else v for k, v in opt.state.get(0, {}).items()}


def backward(scaler, w, slope):
    w.grad = None
    scaler.scale((w * slope).sum()).backward()


def test_a_step_is_that_of_the_unscaled_loss():
    scaler, (w, opt) = GradScaler(), one()
    backward(scaler, w, 0.25)
    assert w.grad.item() == 0.25 * 2**16 == 0.25 * scaler.get_scale()
    scaler.unscale_(opt)
    assert w.grad.item() == 0.25
    scaler.step(opt)
    scaler.update()
    assert w.item() == 0.75 and scaler.skipped_steps == 0


@pytest.mark.parametrize("bad", [inf, -inf, nan])
def test_a_skipped_step_leaves_everything_alone(bad):
    scaler, (w, opt) = GradScaler(init_scale=8.0), one()
    for slope in (0.25, bad, 0.25):
        before = known(w, opt)
        backward(scaler, w, slope)
        scaler.step(opt)
        scaler.update()
        assert (known(w, opt) == before) == (slope is bad)
    assert scaler.skipped_steps == 1 and scaler.get_scale() == 4.0
    assert w.item() == 1 - 0.25 - (0.5 * 0.25 + 0.25)


def test_the_scale_grows_and_backs_off():
    scaler, (w, opt) = GradScaler(init_scale=4.0, growth_interval=2, growth_factor=3, backoff_factor=0.25), one(1e-3)
    scales = []
    for slope in (1, 1, 1, inf, 1, 1, 1):
        backward(scaler, w, slope)
        scaler.step(opt)
        scaler.update()
        scales.append(scaler.get_scale())
    assert scales == [4, 12, 12, 3, 3, 9, 9]
    saved = scaler.state_dict()
    assert saved == {
        "scale": 9.0, "growth_factor": 3, "backoff_factor": 0.25, "growth_interval": 2, "_growth_tracker": 1,
    }  # fmt: skip
    other = GradScaler()
    other.load_state_dict(saved)
    backward(other, w, 1)
    other.step(opt)
    other.update()
    assert other.get_scale() == 27
    backward(other, w, 1)
    other.update(2.0**10)
    assert other.get_scale() == 2**10


def test_the_scale_stays_a_float32():
    scaler, (w, opt) = GradScaler(init_scale=2.0**127, growth_interval=1), one()
    backward(scaler, w, 0)
    scaler.step(opt)
    scaler.update()
    assert scaler.get_scale() == 2.0**127
    for _ in range(300):
        backward(scaler, w, inf)
        scaler.step(opt)
        scaler.update()
    assert scaler.get_scale() == 2.0**-126 and scaler.skipped_steps == 300


def test_two_optimisers_are_decided_on_apart():
    scaler, (w, first), (v, second) = GradScaler(), one(), one()
    scaler.scale((w * 0.5).sum()).backward()
    scaler.scale((v * inf).sum()).backward()
    scaler.step(first)
    scaler.step(second)
    scaler.update()
    assert (w.item(), v.item()) == (0.5, 1) and scaler.get_scale() == 2**15


def test_the_order_of_calls():
    scaler, (w, opt) = GradScaler(), one()
    with pytest.raises(RuntimeError, match=r"update: no gradients were unscaled since the last update\(\)"):
        scaler.update()
    backward(scaler, w, 1)
    scaler.unscale_(opt)
    with pytest.raises(RuntimeError, match=r"unscale_: this optimiser was unscaled already since the last update\(\)"):
        scaler.unscale_(opt)
    scaler.step(opt)
    with pytest.raises(RuntimeError, match="unscale_: this optimiser was stepped already"):
        scaler.unscale_(opt)
    with pytest.raises(RuntimeError, match="step: this optimiser was stepped already"):
        scaler.step(opt)
    scaler.update()
    with pytest.raises(RuntimeError, match="step: a closure cannot be scaled"):
        scaler.step(opt, lambda: None)
    w.grad = None
    with pytest.raises(RuntimeError, match="step: no parameter of this optimiser has a gradient"):
        scaler.step(opt)
    with pytest.raises(RuntimeError, match="update: no gradients were unscaled"):
        scaler.update()
    h = tf.ones(1).half().requires_grad_()
    h.sum().backward()
    opt = optim.SGD([h], lr=1.0)
    for _ in range(2):  # what failed was not done
        with pytest.raises(ValueError, match=r"must be float32, autocast casts them; got float16, shape \(1,\)"):
            scaler.unscale_(opt)
    for wrong in ({"init_scale": 0}, {"growth_factor": 1}, {"backoff_factor": 1.0}, {"growth_interval": 0}):
        with pytest.raises(ValueError, match="GradScaler: needs init_scale > 0"):
            GradScaler(**wrong)


def test_not_enabled():
    scaler, (w, opt) = GradScaler(enabled=False), one()
    loss = (w * 0.25).sum()
    assert scaler.scale(loss) is loss and scaler.get_scale() == 1 and not scaler.is_enabled()
    loss.backward()
    scaler.unscale_(opt)
    scaler.step(opt)
    scaler.update()
    assert w.item() == 0.75 and scaler.state_dict() == {} and not scaler.overflowed(opt)
    scaler.load_state_dict({})
    with pytest.raises(RuntimeError, match="of a scaler that was not enabled"):
        GradScaler().load_state_dict({})


def test_several_losses_and_a_loss_of_16_bits():
    scaler = GradScaler()
    both = scaler.scale([tf.tensor(1.0), tf.tensor(2.0).half()])
    assert [y.item() for y in both] == [2**16, 2**17] and both[1].dtype == tf.float32  # 2^16 is inf in float16


def test_gradients_that_vanish_without_the_scale():
    """A gradient of 1e-8 at a float16 activation is 0; times 2^16 it is one, and comes back to four digits."""
    x = tf.ones(1, 1)
    for scaler in (GradScaler(enabled=False), GradScaler()):
        w = tf.ones(1, 1).requires_grad_()
        with tf.autocast():
            loss = (x @ w).float().sum() * 1e-8
        scaler.scale(loss).backward()
        scaler.unscale_(optim.SGD([w], lr=1.0))
        assert w.grad.item() == pytest.approx(1e-8 if scaler.is_enabled() else 0, rel=1e-3, abs=0)


# Training


def train(device, dtype, steps=10):
    """Losses of a small CNN that learns where a bright bar lies."""
    tf.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 4)),
    ).to(device)
    x, t = tf.randn(16, 1, 8, 8) / 2, tf.arange(16) % 4
    for i in range(16):
        x[i, 0, 2 * (i % 4)] += 2.0
    x, t = x.to(device), t.to(device)
    opt = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    scaler, losses = GradScaler(enabled=dtype == "float16"), []
    for _ in range(steps):
        with tf.autocast(dtype=dtype or "float16", enabled=dtype is not None):
            loss = F.cross_entropy(model(x), t)
        scaler.scale(loss).backward()
        scaler.step(opt)
        scaler.update()
        opt.zero_grad()
        losses.append(loss.item())
    assert {p.dtype for p in model.parameters()} == {np.dtype("float32")} and scaler.skipped_steps == 0
    return losses


@pytest.mark.parametrize("dtype", TYPES)
def test_a_small_network_learns_as_in_float32(dtype):
    wide, low = train("cpu", None), train("cpu", dtype)
    assert wide[-1] < 0.3 * wide[0] and low != wide
    assert low == pytest.approx(wide, rel=0.02 if dtype == "float16" else 0.1, abs=0.01)
