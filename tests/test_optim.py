"""Optimisers: six steps against PyTorch's numbers, every formula written once more in plain float64, and misuse."""

import re
from math import sqrt

import numpy as np
import pytest

import tinygrad_fast as tf
from tinygrad_fast import nn, optim

# PyTorch 2.13, float64, six steps of `run` below: optimiser, its arguments, the five weights
GOLDEN = {
    "sgd": (optim.SGD, dict(lr=0.1), [0.9294044465, -1.8672301839, 0.4516703862, 0.2984306487, -0.6713889707]),
    "sgd decay": (
        optim.SGD,
        dict(lr=0.1, weight_decay=0.05),
        [0.9039441977, -1.8133585471, 0.4397676177, 0.29271043, -0.654579927],
    ),
    "sgd momentum": (
        optim.SGD,
        dict(lr=0.1, momentum=0.9),
        [0.3939653018, -1.2475471802, 0.0403112826, -0.1151166723, -0.1797624204],
    ),
    "sgd dampening": (
        optim.SGD,
        dict(lr=0.1, momentum=0.9, dampening=0.3, weight_decay=0.05),
        [0.4967504783, -1.3329010145, 0.1755835594, -0.1240969926, -0.1815548958],
    ),
    "sgd nesterov": (
        optim.SGD,
        dict(lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4),
        [0.4077591956, -1.2150362753, 0.053881871, -0.0480055337, -0.2326459696],
    ),
    "adam": (optim.Adam, dict(lr=0.1), [0.6095147101, -1.578612973, 0.3540189965, 0.0089500117, -0.3744067328]),
    "adam decay": (
        optim.Adam,
        dict(lr=0.1, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1),
        [0.6021992585, -1.5416738578, 0.3366203452, 0.0488967341, -0.3983263194],
    ),
    "adamw": (optim.AdamW, dict(lr=0.1), [0.6048879671, -1.5680683705, 0.3511917386, 0.0083764398, -0.3715291823]),
    "adamw fastai": (
        optim.AdamW,
        dict(lr=0.1, betas=(0.9, 0.99), eps=1e-5, weight_decay=0.01),
        [0.6053102947, -1.5685511448, 0.3515940942, 0.0082110115, -0.3713887287],
    ),
    "rmsprop": (optim.RMSprop, dict(), [0.8074112366, -1.7696689847, 0.4807021416, 0.2343541412, -0.6127820816]),
    "rmsprop momentum": (
        optim.RMSprop,
        dict(lr=0.02, alpha=0.9, momentum=0.8, weight_decay=0.05),
        [0.4775811933, -1.4197623556, 0.394768197, 0.045792204, -0.3939197912],
    ),
    "rmsprop centered": (
        optim.RMSprop,
        dict(lr=0.02, alpha=0.9, eps=1e-4, centered=True),
        [0.8677000417, -1.8423493506, 0.4865906172, 0.2545040442, -0.639508731],
    ),
    "rmsprop all": (
        optim.RMSprop,
        dict(lr=0.02, alpha=0.9, eps=1e-4, momentum=0.5, weight_decay=0.05, centered=True),
        [0.6955823276, -1.6479179654, 0.4309776573, 0.1768349846, -0.5413390153],
    ),
}


def weights(dtype="float64"):
    return [
        tf.Tensor([1.0, -2.0, 0.5], dtype=dtype, requires_grad=True),
        tf.Tensor([[0.3, -0.7]], dtype=dtype, requires_grad=True),
    ]


def set_grads(ws, t):
    """A gradient that changes sign from step to step, and depends on the weight."""
    for i, w in enumerate(ws):
        k = np.arange(w.numel()).reshape(w.shape)
        w.grad = tf.tensor(np.sin(3 * k + t + i) + 0.1 * w.detach().numpy()).to(w.dtype)


def run(opt, ws, steps=range(6)):
    for t in steps:
        set_grads(ws, t)
        opt.step()
    return np.concatenate([w.detach().numpy().ravel() for w in ws])


@pytest.mark.parametrize("name", GOLDEN)
def test_steps_equal_pytorch(name):
    make, arguments, expected = GOLDEN[name]
    ws = weights()
    np.testing.assert_allclose(run(make(ws, **arguments), ws), expected, rtol=0, atol=2e-10)  # ten digits were written


@pytest.mark.parametrize("name", GOLDEN)
def test_steps_in_float32(name):
    make, arguments, expected = GOLDEN[name]
    ws = weights("float32")
    np.testing.assert_allclose(run(make(ws, **arguments), ws), expected, rtol=0, atol=1e-6)  # 2: 1 ulp is 1.2e-7


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", GOLDEN)
def test_a_clipped_step_is_clipping_and_a_step(name, dtype):
    """Of `clip`, one step's worth: the gradients stay as they are, and the step after it knows nothing of it."""
    make, arguments, _ = GOLDEN[name]
    found = []
    for fused in (True, False):
        ws = weights(dtype)
        opt = make(ws, **arguments)
        for t, most in enumerate((0.5, 1e3, 0.25)):
            set_grads(ws, t)
            before, total = [w.grad.tolist() for w in ws], nn.utils.get_total_norm([w.grad for w in ws])
            if fused:
                opt.clip = total, most
            else:
                nn.utils.clip_grads_with_norm_(ws, most, total)
            opt.step()
            assert opt.clip is None and (not fused or before == [w.grad.tolist() for w in ws])
        found.append(run(opt, ws, range(3, 5)))
    np.testing.assert_allclose(*found, rtol=1e-5 if dtype == "float32" else 1e-12)


def test_a_clip_ends_with_its_gradients():
    w = tf.ones(3, requires_grad=True)
    opt = optim.SGD([w], lr=1.0)
    opt.clip = tf.tensor(10.0), 1.0
    opt.zero_grad()
    w.grad = tf.ones(3)
    opt.step()
    assert w.tolist() == [0, 0, 0]


def test_an_optimiser_without_a_learning_rate():
    class Sign(optim.Optimizer):
        def buffers(self, group):
            return []

        def hyper(self, group, step):
            return []

        def update(self, xp, ws, gs, buffers, hyper, group):
            for w, g in zip(ws, gs):
                xp.add_(w, xp.mul(xp.sign(g), -0.5))

    w = tf.ones(2, requires_grad=True)
    opt = Sign([w], {})
    (w * tf.tensor([3.0, -1.0])).sum().backward()
    opt.step()
    assert w.tolist() == [0.5, 1.5]


@pytest.mark.parametrize("lr", [-1, "0.1", None])
def test_a_learning_rate_is_a_number_from_0_on(lr):
    with pytest.raises(ValueError, match=f"SGD: lr must be >= 0; got {lr!r}"):
        optim.SGD([tf.ones(1, requires_grad=True)], lr=lr)


@pytest.mark.parametrize(
    ("make", "text"),
    [(lambda: optim.SGD(nn.Linear(1, 1), lr=1), r"SGD: params is a list of Tensors, .* got a Linear. Write \[x\], or"),
     (lambda: optim.SGD(None, lr=1), "SGD: params is a list of Tensors, .* got a NoneType"),
     (lambda: optim.SGD([tf.ones(1)], lr=1, momentum="a"), "SGD: momentum must be >= 0; got 'a'"),
     (lambda: optim.Adam([tf.ones(1)], lr=1, betas=0.9), r"Adam: betas must be two in \[0, 1\); got 0.9"),
     (lambda: optim.Adam([tf.ones(1)], lr=1, eps=None), "Adam: eps must be >= 0; got None"),
     (lambda: optim.RMSprop([tf.ones(1)], lr=1, alpha=None), "RMSprop: alpha must be >= 0; got None"),
     (lambda: optim.SGD([tf.ones(1)], lr=1).load_state_dict({}), 'SGD: a state is a dict with "state" and "param_g'),
     (lambda: nn.utils.clip_grad_norm_(None, 1.0), "clip_grad_norm_: needs Tensors; got NoneType"),
     (lambda: nn.utils.clip_grad_value_([1.0], 1.0), "clip_grad_value_: needs Tensors; got float")],
)  # fmt: skip
def test_what_is_no_parameter_and_no_number(make, text):
    with pytest.raises((TypeError, ValueError), match=text):
        make()


def test_an_optimiser_that_cannot_clip():
    class Mine(optim.Optimizer):
        def buffers(self, group):
            return []

    opt = Mine([tf.ones(1, requires_grad=True)], dict(lr=1.0, weight_decay=0))
    opt.clip = tf.tensor(1.0), 1.0
    with pytest.raises(RuntimeError, match=r"Mine: its update does not take clip=\(norm, max_norm\); call nn.utils."):
        opt.step()


def reference(name, w, gs, a):
    """The formulas of the docstrings, one weight at a time."""
    m = v = s = 0.0
    for t, g in enumerate(gs, 1):
        lr, decay = a["lr"], a.get("weight_decay", 0.0)
        if name == "AdamW":
            w *= 1 - lr * decay
        else:
            g = g + decay * w
        if name == "SGD":
            v = a["momentum"] * v + (1 - a["dampening"] if t > 1 else 1) * g
            w -= lr * (g + a["momentum"] * v if a["nesterov"] else v)
        elif name == "RMSprop":
            s = a["alpha"] * s + (1 - a["alpha"]) * g * g
            m = a["alpha"] * m + (1 - a["alpha"]) * g
            v = a["momentum"] * v + g / (sqrt(s - m * m if a["centered"] else s) + a["eps"])
            w -= lr * v
        else:
            beta1, beta2 = a["betas"]
            m = beta1 * m + (1 - beta1) * g
            v = beta2 * v + (1 - beta2) * g * g
            w -= lr * (m / (1 - beta1**t)) / (sqrt(v / (1 - beta2**t)) + a["eps"])
    return w


@pytest.mark.parametrize("name", GOLDEN)
def test_formula(name):
    make, arguments, _ = GOLDEN[name]
    gs = np.random.default_rng(0).normal(size=(20, 4))
    w = tf.Tensor(np.array([1.0, -1.0, 0.1, 3.0]), requires_grad=True)
    opt = make([w], **arguments)
    start = w.tolist()
    for g in gs:
        w.grad = tf.tensor(g)
        opt.step()
    expected = [reference(make.__name__, start[i], gs[:, i], opt.param_groups[0]) for i in range(4)]
    np.testing.assert_allclose(w.detach().numpy(), expected, rtol=1e-12)  # a few hundred float64 roundings


def test_adam_with_decay_apart():
    p = tf.Tensor([1.0], requires_grad=True)
    p.grad = tf.tensor([0.5])
    optim.AdamW([p], lr=0.1, betas=(0.9, 0.99), eps=1e-5, weight_decay=0.01).step()
    assert p.item() == pytest.approx(0.899002, abs=5e-7)


def test_pytorch_defaults():
    p = tf.Tensor([1.0], requires_grad=True)
    expected = dict(lr=1e-3, momentum=0, dampening=0, weight_decay=0, nesterov=False)
    assert optim.SGD([p]).param_groups == [{**expected, "params": [p]}]
    assert optim.Adam([p]).defaults == dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0)
    assert optim.AdamW([p]).defaults == dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2)
    expected = dict(lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0, momentum=0, centered=False)
    assert optim.RMSprop([p]).defaults == expected


def test_groups():
    a, b = weights()
    opt = optim.SGD([{"params": a}, {"params": [b], "lr": 0.0}], lr=0.1)
    before = b.tolist()
    run(opt, [a, b], range(1))
    assert b.tolist() == before
    assert a.tolist() != [1.0, -2.0, 0.5]
    c = tf.Tensor([1.0], requires_grad=True)
    opt.add_param_group({"params": [c], "lr": 1.0, "momentum": 0.5})
    c.grad = tf.tensor([1.0])
    opt.step()
    assert c.item() == 0.0
    assert [g["lr"] for g in opt.param_groups] == [0.1, 0.0, 1.0]
    assert repr(opt).splitlines()[1] == (
        "  group 0: 1 parameters, lr=0.1, momentum=0, dampening=0, weight_decay=0, nesterov=False"
    )


def test_learning_rate_is_read_at_each_step():
    p = tf.Tensor([0.0], requires_grad=True)
    opt = optim.SGD([p], lr=1.0)
    for lr in (1.0, 0.25):
        opt.param_groups[0]["lr"] = lr
        p.grad = tf.tensor([1.0])
        opt.step()
    assert p.item() == -1.25


def test_frozen_and_untouched_parameters_stay():
    a, b = weights()
    c = tf.Tensor([1.0], requires_grad=True)
    opt = optim.AdamW([a, b, c], lr=0.1, weight_decay=0.5)
    set_grads([a, b], 0)
    b.requires_grad_(False)
    opt.step()
    assert b.tolist() == [[0.3, -0.7]]
    assert c.tolist() == [1.0]
    assert sorted(opt.state) == [0]
    b.requires_grad_(True)
    set_grads([a, b], 1)
    opt.step()
    assert opt.state[0]["step"] == 2
    assert opt.state[1]["step"] == 1
    expected = np.array([[0.3, -0.7]]) * (1 - 0.1 * 0.5) - 0.1 * np.sign(b.grad.numpy())  # the first step is lr sign(g)
    np.testing.assert_allclose(b.detach().numpy(), expected, atol=1e-6)


def test_zero_grad():
    ws = weights()
    opt = optim.SGD(ws)
    set_grads(ws, 0)
    opt.zero_grad(set_to_none=False)
    assert [w.grad.abs().sum().item() for w in ws] == [0, 0]
    opt.zero_grad()
    assert [w.grad for w in ws] == [None, None]


def test_step_counts_the_write():
    """A graph that was recorded before the step cannot be walked after it."""
    w = tf.Tensor([2.0], requires_grad=True)
    opt = optim.SGD([w], lr=0.1)
    (w * w).sum().backward()
    loss = (w * w).sum()
    opt.step()
    with pytest.raises(RuntimeError, match="written in place after the forward pass"):
        loss.backward()


def test_gradients_are_not_written():
    for make, arguments, _ in GOLDEN.values():
        ws = weights()
        set_grads(ws, 0)
        before = [w.grad.tolist() for w in ws]
        make(ws, **arguments).step()
        assert [w.grad.tolist() for w in ws] == before


def test_closure():
    w = tf.Tensor([2.0], requires_grad=True)
    opt = optim.SGD([w], lr=0.25)

    def closure():
        opt.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    with tf.no_grad():
        assert opt.step(closure).item() == 4
    assert w.item() == 1


@pytest.mark.parametrize("name", GOLDEN)
def test_state_dict_continues(name):
    make, arguments, expected = GOLDEN[name]
    ws = weights()
    opt = make(ws, **arguments)
    run(opt, ws, range(3))
    others = [tf.Tensor(w.detach(), requires_grad=True) for w in ws]
    other = make(others, lr=123.0)
    other.load_state_dict(opt.state_dict())
    run(opt, ws, range(3, 6))  # the copy does not share memory
    np.testing.assert_allclose(run(other, others, range(3, 6)), expected, rtol=0, atol=2e-10)


def test_state_dict_has_the_form_of_pytorch():
    a, b = weights()
    opt = optim.Adam([{"params": [a]}, {"params": [b], "lr": 1.0}])
    run(opt, [a, b], range(2))
    state = opt.state_dict()
    assert [g["params"] for g in state["param_groups"]] == [[0], [1]]
    assert sorted(state["state"][1]) == ["exp_avg", "exp_avg_sq", "step"]
    assert state["state"][1]["exp_avg"].shape == (1, 2)


def test_load_state_dict_refuses_and_changes_nothing():
    a, b = weights()
    opt = optim.Adam([a, b])
    run(opt, [a, b], range(1))
    with pytest.raises(ValueError, match=re.escape("groups of [1] parameters cannot load a state of groups of [2]")):
        optim.Adam([a]).load_state_dict(opt.state_dict())
    other = optim.Adam([b, a], lr=0.5)
    with pytest.raises(ValueError, match=re.escape("exp_avg must have its parameter's shape (1, 2); got (3,)")):
        other.load_state_dict(opt.state_dict())
    assert other.state == {}
    assert other.param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize("saved", ["SGD", "AdamW", "RMSprop"])
@pytest.mark.parametrize("loaded", ["SGD", "Adam", "RMSprop"])
def test_the_state_of_another_kind_is_refused(saved, loaded):
    ws = weights()
    opt = getattr(optim, saved)(ws)
    run(opt, ws, range(1))
    other = getattr(optim, loaded)(weights(), lr=0.5)
    before = other.state_dict()["param_groups"]
    if saved.startswith(loaded):  # of Adam and AdamW the numbers and the memory are the same
        return other.load_state_dict(opt.state_dict())
    with pytest.raises(ValueError, match=f"{loaded}: cannot load the state of another kind of optimiser: it has no"):
        other.load_state_dict(opt.state_dict())
    assert other.state == {} and other.state_dict()["param_groups"] == before


def test_a_memory_that_is_not_kept_is_refused():
    class Plain(optim.SGD):
        def buffers(self, group):
            return []

    ws = weights()
    opt = optim.SGD(ws, momentum=0.9)
    run(opt, ws, range(1))
    with pytest.raises(ValueError, match=re.escape("remembers ['step'], so it cannot load a state with ['momentum_b")):
        Plain(ws, momentum=0.9).load_state_dict(opt.state_dict())
    opt.param_groups[0]["momentum"] = 0  # from now on
    opt.load_state_dict(opt.state_dict())


def test_memory_order_of_the_weight_is_kept():
    w = tf.from_numpy(np.ones((2, 3, 4, 4), np.float32).transpose(0, 3, 1, 2)).requires_grad_()
    strides = w.data.strides
    w.grad = tf.ones(2, 4, 3, 4)
    opt = optim.SGD([w], lr=0.5, momentum=0.9)
    opt.step()
    assert w.data.strides == strides == opt.state[0]["momentum_buffer"].data.strides
    assert (w == 0.5).all()


def test_16_bit_weights():
    for dtype in ("float16", "bfloat16"):
        for make, arguments, expected in GOLDEN.values():
            ws = weights(dtype)
            found = run(make(ws, **arguments), ws)
            assert str(found.dtype) == dtype
            eps = 2**-7 if dtype == "bfloat16" else 2**-10  # of numbers below 2; a few dozen roundings
            np.testing.assert_allclose(found.astype(np.float32), expected, rtol=0, atol=10 * eps)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", GOLDEN)
def test_16_bit_weights_are_rounded_once(name, dtype):
    """A step of 16-bit numbers is that of float32 numbers, to the last bit of what is written."""
    make, arguments, _ = GOLDEN[name]
    narrow = weights(dtype)
    opt = make(narrow, **arguments)
    run(opt, narrow, range(2))  # so that the memory is not zero
    wide = [tf.Tensor(w.detach().float(), requires_grad=True) for w in narrow]
    other = make(wide, **arguments)
    other.load_state_dict(opt.state_dict())
    set_grads(narrow, 2)
    for w, n in zip(wide, narrow):
        w.grad = n.grad.float()
    opt.step()
    other.step()
    for w, n in zip(wide, narrow):
        assert n.tolist() == w.detach().to(n.dtype).tolist()
    for mine, theirs in zip(opt.state.values(), other.state.values()):
        assert all(b.tolist() == theirs[k].to(b.dtype).tolist() for k, b in mine.items() if k != "step")


X = tf.Tensor([1.0], requires_grad=True)
MISUSE = [
    (lambda: optim.SGD([]), ValueError, "SGD: needs at least one parameter; got none. Has the model any that is not"),
    (lambda: optim.SGD([{"params": []}]), ValueError, "SGD: needs at least one parameter; got none"),
    (lambda: optim.SGD(X), TypeError, "SGD: params is a list of Tensors, or of dicts with them; got a Tensor"),
    (lambda: optim.Adam([1.0]), TypeError, "Adam: parameters are Tensors; got a float"),
    (lambda: optim.SGD({X}), TypeError, "SGD: a set of parameters has no order"),
    (lambda: optim.SGD([X, X]), ValueError, "SGD: a parameter of shape (1,) is given twice; give each one once"),
    (lambda: optim.SGD([{"params": X}, {"params": X}]), ValueError, "is given twice"),
    (lambda: optim.SGD([X * 2]), ValueError, "parameters are leaves; got the result of mul, shape (1,)"),
    (lambda: optim.SGD([X], lr=-1), ValueError, "SGD: lr must be >= 0; got -1"),
    (lambda: optim.SGD([X], momentum=-0.1), ValueError, "SGD: momentum must be >= 0; got -0.1"),
    (lambda: optim.AdamW([X], weight_decay=-0.1), ValueError, "AdamW: weight_decay must be >= 0; got -0.1"),
    (lambda: optim.AdamW([X], eps=-1e-8), ValueError, "AdamW: eps must be >= 0; got -1e-08"),
    (lambda: optim.Adam([X], betas=(0.9, 1.0)), ValueError, "Adam: betas must be two in [0, 1); got (0.9, 1.0)"),
    (lambda: optim.RMSprop([X], alpha=-1), ValueError, "RMSprop: alpha must be >= 0; got -1"),
    (lambda: optim.SGD([X], nesterov=True), ValueError, "SGD: nesterov needs momentum > 0 and dampening 0; got"),
    (lambda: optim.SGD([X]).add_param_group([X]), TypeError, 'SGD: a group is a dict with "params"; got ['),
]


@pytest.mark.parametrize(("misuse", "error", "text"), MISUSE)
def test_misuse(misuse, error, text):
    with pytest.raises(error, match=re.escape(text)):
        misuse()


def test_an_optimizer_of_ones_own_needs_no_weight_decay():
    class Own(optim.Optimizer):
        pass

    assert Own([tf.ones(2, requires_grad=True)], {"lr": 0.1}).param_groups[0]["lr"] == 0.1
