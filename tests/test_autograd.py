"""The engine: what it computes, what it refuses, and what it keeps in memory."""

import gc
import math
import threading
import tracemalloc
import weakref

import numpy as np
import pytest

import tinygrad_fast as tf
from tinygrad_fast import backend, ops
from tinygrad_fast.testing.backends import HELPERS


def leaf(*values):
    return tf.tensor(values, dtype=tf.float64, requires_grad=True)


@pytest.fixture
def no_collector():
    """What is freed here is freed by its count of references."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


# What it computes


def test_a_chain_of_100_000_ops_differentiates_and_is_freed(no_collector):
    x = leaf(1.0)
    y = x
    for _ in range(100_000):
        y = y + 1
    node = weakref.ref(y.node.edges[0][0])
    y.sum().backward()
    assert x.grad.item() == 1 and node() is None


def test_a_chain_of_100_000_ops_that_is_never_walked_is_freed(no_collector):
    x = leaf(1.0)
    y = x
    for _ in range(100_000):
        y = -y
    first = weakref.ref(y.node)
    del y
    assert first() is None


def test_diamonds():
    x = leaf(3.0)
    a = x * 2
    b = a * a + a  # 4 x^2 + 2 x
    c = b * a + b
    c.sum().backward()
    assert x.grad.item() == 24 * 9 + 16 * 3 + 2, "8 x^3 + 8 x^2 + 2 x"
    y = leaf(1.0)
    z = y
    for _ in range(60):
        z = z + z  # 2^60 paths
    z.sum().backward()
    assert y.grad.item() == 2.0**60


def test_several_outputs_some_unused():
    x = leaf(*range(6))
    a, b, c = x.split([1, 2, 3])
    (a.sum() * 5 + (c * c).sum()).backward()
    assert x.grad.tolist() == [5, 0, 0, 6, 8, 10]
    a, b, c = x.split(2)
    assert b.grad_fn.name == "split[1]"
    (g,) = tf.autograd.grad(b.sum() + b.sum(), x)
    assert g.tolist() == [0, 0, 2, 2, 0, 0]


def test_grad_accumulates_until_it_is_cleared():
    x = leaf(1.0, 2.0)
    (x * 3).sum().backward()
    first = x.grad
    (x * 4).sum().backward()
    assert x.grad.tolist() == [7, 7] and first.tolist() == [3, 3]
    x.grad = None
    (x * 5).sum().backward()
    assert x.grad.tolist() == [5, 5]
    x.grad.zero_()
    assert x.grad.tolist() == [0, 0]


GRADS = {
    "sum": lambda a, b: (a + b).sum(),
    "add": lambda a, b: (a.reshape(2, 2) + b.reshape(2, 2)).sum(),
    "expand": lambda a, b: (a.expand(3, 4) * 1 + b.expand(3, 4)).mean(),
    "cat": lambda a, b: tf.cat([a, b]).sum(),
    "stack": lambda a, b: tf.stack([a, b]).T.sum(),
    "same": lambda a, b: a.clone().sum() + b.sum(),
    "twice": lambda a, b: ((a + a) + (b + a)).sum(),
}


@pytest.mark.parametrize("name", GRADS)
def test_gradients_never_share_memory_and_can_be_written(name):
    a, b, seed = leaf(1, 2, 3, 4), leaf(5, 6, 7, 8), tf.tensor(1.0, dtype=tf.float64)
    GRADS[name](a, b).backward(seed)
    ga, gb = a.grad.numpy(), b.grad.numpy()
    for one, other in [(ga, gb), (ga, seed.numpy()), (gb, seed.numpy()), (ga, a.detach().numpy())]:
        assert not np.shares_memory(one, other)
    before = gb.copy()
    a.grad.fill_(100)
    assert (gb == before).all() and (a.grad.numpy() == 100).all()


def test_a_leaf_can_be_the_output():
    x = leaf(2.0)
    seed = tf.ones(1, dtype=tf.float64)
    x.backward(seed)
    x.grad.mul_(7)
    assert seed.item() == 1 and x.grad.item() == 7


def test_backward_with_a_gradient():
    x = leaf(1.0, 2.0)
    (x * x).backward(tf.tensor([1.0, 10.0], dtype=tf.float64))
    assert x.grad.tolist() == [2, 40]


# Intermediate results, hooks


def test_retain_grad():
    x = leaf(1.0, 2.0)
    y = x * 3
    y.retain_grad()
    z = (y + x).sum()
    z.backward()
    assert y.grad.tolist() == [1, 1] and x.grad.tolist() == [4, 4]
    y.grad.zero_()
    assert x.grad.tolist() == [4, 4], "memory of its own"
    assert z.grad is None
    with pytest.raises(RuntimeError, match="retain_grad: this tensor does not require grad"):
        tf.ones(1).retain_grad()


def test_hooks_see_complete_gradients_in_the_order_of_registration():
    x, seen = leaf(1.0), []
    y = x * 2
    y.register_hook(lambda g: seen.append(("first", g.item())))
    y.register_hook(lambda g: g * 10)
    y.register_hook(lambda g: seen.append(("third", g.item())))
    x.register_hook(lambda g: seen.append(("leaf", g.item())))
    (y + y * 3).sum().backward()
    assert seen == [("first", 4.0), ("third", 40.0), ("leaf", 80.0)] and x.grad.item() == 80


def test_hooks_replace_and_are_removed():
    x = leaf(1.0)
    mine = tf.tensor([5.0], dtype=tf.float64)
    handle = x.register_hook(lambda g: mine)
    (x * 2).sum().backward()
    x.grad.zero_()
    assert mine.item() == 5, "a replaced gradient is copied into the leaf"
    handle.remove()
    handle.remove()
    (x * 2).sum().backward()
    assert x.grad.item() == 2
    once = x.register_hook(lambda g: once.remove())
    (x * 2).sum().backward()
    (x * 2).sum().backward()
    assert x.grad.item() == 6


@pytest.mark.parametrize("wrong", [lambda g: 3.0, lambda g: g.float(), lambda g: g.sum()])
def test_a_hook_that_returns_something_else_is_named(wrong):
    x = leaf(1.0, 2.0)
    x.register_hook(wrong)
    with pytest.raises(RuntimeError, match=r"register_hook: a hook returns None or a gradient \(2,\) float64; got"):
        (x * 2).sum().backward()


# Once, twice, never


def test_a_second_backward_raises_and_names_the_op():
    x = leaf(1.0, 2.0)
    y = (x * x).exp().sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == pytest.approx([4 * math.e, 8 * math.e**4])
    with pytest.raises(RuntimeError, match=r"backward through sum a second time.* pass retain_graph=True to that one"):
        y.backward()
    a = x * 3
    a.sum().backward()
    with pytest.raises(RuntimeError, match=r"backward through mul a second time"):
        a.exp().sum().backward()


def test_no_backward_without_a_graph_or_from_many():
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match=r"without a gradient the tensor must have one element; got shape \(2,\)"):
        (x * 2).backward()
    with pytest.raises(RuntimeError, match=r"this tensor does not require grad: nothing it was made from has"):
        tf.ones(1).backward()
    with pytest.raises(RuntimeError, match=r"the gradient must be a Tensor \(2,\) float64; got \(3,\) float32"):
        (x * 2).backward(tf.ones(3))
    with pytest.raises(RuntimeError, match=r"the gradient must be a Tensor \(2,\) float64; got 1.0"):
        (x * 2).backward(1.0)


@pytest.mark.parametrize(
    "write",
    [
        lambda w: w.mul_(5), lambda w: w.detach().mul_(5), lambda w: w[0].mul_(5), lambda w: w.detach()[:1].fill_(5),
        lambda w: w.detach().T.zero_(), lambda w: w.__setitem__(0, 9), lambda w: w.copy_(w + 1),
        lambda w: w.detach().reshape(2, 1).add_(1), lambda w: w.unsqueeze(0)[0].zero_(),
    ],
)  # fmt: skip
def test_a_write_between_forward_and_backward_is_caught(write):
    w = leaf(1.0, 2.0)
    y = (w * w).sum()
    with tf.no_grad():
        write(w)
    with pytest.raises(RuntimeError, match=r"backward of mul: a tensor it used was written in place after the forward"):
        y.backward()
    (w * w).sum().backward()
    assert w.grad.tolist() == [2 * v for v in w.tolist()]


def test_constants_and_results_are_watched_too():
    w, c = leaf(1.0, 2.0), tf.tensor([3.0, 4.0], dtype=tf.float64)
    y = (w * c).sum()
    c.add_(1)
    with pytest.raises(RuntimeError, match="backward of mul: .* written in place"):
        y.backward()
    y = w.exp()
    y.detach().zero_()
    with pytest.raises(RuntimeError, match="backward of exp"):
        y.sum().backward()


def test_an_update_is_an_ordinary_write():
    w = leaf(1.0, 2.0)
    for _ in range(3):
        (w * w).sum().backward()
        with tf.no_grad():
            w -= 0.25 * w.grad
            w.grad = None
    assert w.tolist() == [0.125, 0.25] and w.is_leaf


# Modes


def test_no_grad_as_context_and_decorator():
    x = leaf(1.0)
    with tf.no_grad():
        assert not tf.is_grad_enabled() and not (x * 2).requires_grad
        with tf.enable_grad():
            assert (x * 2).requires_grad
        assert not (x * 2).requires_grad
    assert tf.is_grad_enabled()

    @tf.no_grad()
    def double(v, times=1):
        return v * 2 * times

    assert not double(x, times=3).requires_grad and double.__name__ == "double" and (x * 2).requires_grad
    assert not tf.no_grad(lambda v: v * 2)(x).requires_grad and tf.is_grad_enabled(), "`@tf.no_grad` without brackets"
    with pytest.raises(TypeError, match="items: a decorated function must not be a generator"):

        @tf.no_grad()
        def items():
            yield x * 2

    off = tf.no_grad()
    for _ in range(2):
        with off, off:
            assert not tf.is_grad_enabled()
        assert tf.is_grad_enabled()
    with pytest.raises(ZeroDivisionError), tf.no_grad():
        1 / 0
    assert tf.is_grad_enabled(), "also after an exception"


def test_recording_is_per_thread():
    x, found = leaf(1.0), {}
    inside, done = threading.Event(), threading.Event()

    def other():
        inside.wait(10)
        found["while main is in no_grad"] = (x * 2).requires_grad
        with tf.no_grad():
            done.set()
            found["inside its own"] = (x * 2).requires_grad

    thread = threading.Thread(target=other)
    thread.start()
    with tf.no_grad():
        inside.set()
        done.wait(10)
    found["main after the other entered"] = (x * 2).requires_grad
    thread.join()
    assert found == {"while main is in no_grad": True, "inside its own": False, "main after the other entered": True}


def test_threads_differentiate_graphs_of_their_own():
    w, results = leaf(2.0), [None] * 4

    def work(i):
        results[i] = tf.autograd.grad((w * w * i).sum(), w)[0].item()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert results == [0, 4, 8, 12]


# autograd.grad


def test_grad_returns_and_leaves_grad_alone():
    x, w = leaf(1.0, 2.0), leaf(3.0, 4.0)
    y = x * w
    gx, gw = tf.autograd.grad(y.sum(), (x, w))
    assert gx.tolist() == [3, 4] and gw.tolist() == [1, 2] and x.grad is None and w.grad is None
    gx.zero_()
    gw.zero_()
    assert w.tolist() == [3, 4] and x.tolist() == [1, 2], "memory of its own"
    with pytest.raises(RuntimeError, match="a second time"):
        tf.autograd.grad(y.sum(), x)


def test_grad_of_intermediate_results_and_of_several_outputs():
    x = leaf(1.0, 2.0)
    y = x * 3
    z = y * y
    gy, gx = tf.autograd.grad(z.sum(), [y, x], retain_graph=True)
    assert gy.tolist() == [6, 12] and gx.tolist() == [18, 36]
    (g,) = tf.autograd.grad([z, y], x, grad_outputs=[tf.ones_like(z), tf.ones_like(y) * 10], retain_graph=True)
    assert g.tolist() == [48, 66]
    (g,) = tf.autograd.grad(z, x, tf.tensor([1.0, 0.0], dtype=tf.float64), retain_graph=True)
    assert g.tolist() == [18, 0]
    (g,) = tf.autograd.grad([z.sum(), z.sum()], [x], grad_outputs=[None, tf.tensor(2.0, dtype=tf.float64)])
    assert g.tolist() == [54, 108]


def test_grad_of_unused_inputs():
    x, unused = leaf(1.0), leaf(1.0)
    y = (x * 2).sum()
    with pytest.raises(RuntimeError, match=r"the outputs do not depend on inputs \[1\]; pass allow_unused=True"):
        tf.autograd.grad(y, [x, unused], retain_graph=True)
    gx, none = tf.autograd.grad(y, [x, unused], allow_unused=True)
    assert gx.item() == 2 and none is None
    with pytest.raises(RuntimeError, match="every input must require grad"):
        tf.autograd.grad((x * 2).sum(), tf.ones(1))
    with pytest.raises(RuntimeError, match="none of the outputs requires grad"):
        tf.autograd.grad(tf.ones(1), x)
    with pytest.raises(RuntimeError, match="one grad_output for each output; got 2 for 1"):
        tf.autograd.grad(x.sum(), x, [None, None])
    with pytest.raises(
        RuntimeError, match=r"grad: without a gradient the tensor must have one element; got shape \(2,\)"
    ):
        tf.autograd.grad(leaf(1.0, 2.0).exp(), x)


def test_gradients_of_other_leaves_are_not_computed():
    asked = []

    def watched(xp, a, b):
        return xp.mul(a, b), (lambda g: asked.append("a") or xp.mul(g, b), lambda g: asked.append("b") or xp.mul(g, a))

    a, b = leaf(2.0), leaf(3.0)
    (g,) = tf.autograd.grad(tf.apply(watched, a, b).sum(), a)
    assert g.item() == 3 and asked == ["a"]


# Higher derivatives


def test_second_and_third_derivatives_of_tanh():
    x = leaf(-1.2, 0.0, 0.3, 2.0)
    with tf.autograd.higher():
        (d1,) = tf.autograd.grad(x.tanh().sum(), x, create_graph=True)
        (d2,) = tf.autograd.grad(d1.sum(), x, create_graph=True)
    (d3,) = tf.autograd.grad(d2.sum(), x)
    t = np.tanh(x.detach().numpy())
    eps = np.finfo(float).eps
    np.testing.assert_allclose(d1.detach().numpy(), 1 - t * t, rtol=4 * eps)
    np.testing.assert_allclose(d2.detach().numpy(), -2 * t * (1 - t * t), rtol=4 * eps, atol=eps)
    np.testing.assert_allclose(d3.numpy(), (1 - t * t) * (6 * t * t - 2), rtol=16 * eps, atol=4 * eps)


def test_mixed_second_derivatives():
    x, w = leaf(1.0, 2.0), leaf(3.0, -1.0)
    with tf.autograd.higher():
        y = (x * x * w + (x @ w).exp()).sum()
    gx, gw = tf.autograd.grad(y, (x, w), create_graph=True)
    cross = tf.autograd.grad(gx[0] + gw.sum() * 0, (x, w))[1].tolist()
    e = math.exp(1)  # x w = 3 - 2
    # d2y / dx0 dw_j = 2 x0 [j = 0] + 2 (two elements) e ([j = 0] + w0 x_j)
    assert cross == pytest.approx([2 + 2 * e * (1 + 3 * 1), 2 * e * 3 * 2])


def test_a_gradient_penalty_reaches_grad():
    x, w = leaf(1.0, 2.0), leaf(3.0, 4.0)
    with tf.autograd.higher():
        y = (w * x * x).sum()
    (g,) = tf.autograd.grad(y, x, create_graph=True)
    (g * g).sum().backward()
    assert w.grad.tolist() == [8 * 3 * 1, 8 * 4 * 4], "d/dw of (2 w x)^2"


def test_create_graph_needs_higher():
    x = leaf(1.0)
    y = x.exp().sum()
    with pytest.raises(RuntimeError, match=r"create_graph=True: sum was recorded without .*tf.autograd.higher\(\):`"):
        tf.autograd.grad(y, x, create_graph=True)


# Memory


def watching(live):
    """A multiplication that notes every array it makes."""

    def mul(xp, a, b):
        y = xp.mul(a, b)
        live.append(weakref.ref(y))

        def da(g):
            d = xp.mul(g, b)
            live.append(weakref.ref(d))
            return d

        return y, (da, lambda g: xp.mul(g, a))

    return mul


def alive(live):
    return sum(r() is not None for r in live)


def net(live, x, n=6):
    op = watching(live)
    for _ in range(n):
        x = tf.apply(op, x, x)
    return x


def test_after_backward_only_the_loss_is_alive(no_collector):
    x, live = leaf(1.0, 2.0), []
    y = net(live, x).sum()
    assert alive(live) == 5, "the inputs of the next one; the last output is wanted by nobody"
    y.backward()
    assert y.item() == 1 + 2.0**64 and x.grad.tolist() == [64, 64 * 2.0**63]
    x.grad = None  # the only other array that is left
    assert alive(live) == 0


def test_forward_only_and_dropped(no_collector):
    x, live = leaf(1.0, 2.0), []
    y = net(live, x)
    assert alive(live) == 6
    del y
    assert alive(live) == 0


def test_no_grad_keeps_nothing(no_collector):
    x, live = leaf(1.0, 2.0), []
    with tf.no_grad():
        y = net(live, x)
    assert alive(live) == 1 and y.node is None


def test_retain_graph_keeps_until_the_loss_goes(no_collector):
    x, live = leaf(1.0, 2.0), []
    y = net(live, x).sum()
    y.backward(retain_graph=True)
    assert alive(live) >= 5
    del y
    assert alive(live) == 0


def test_higher_order_graphs_are_freed(no_collector):
    x, live = leaf(1.0, 2.0), []
    with tf.autograd.higher():
        y = net(live, x, 3).tanh().sum()
    (g,) = tf.autograd.grad(y, x, create_graph=True)
    node = weakref.ref(g.node)
    (g * g).sum().backward()
    del g, y
    x.grad = None
    assert alive(live) == 0 and node() is None


def test_a_pullback_that_raises_keeps_nothing(no_collector):
    def broken(xp, x):
        def dx(g):
            raise ZeroDivisionError("inside a pullback")

        return xp.mul(x, 1.0), (dx,)

    x, live = leaf(1.0, 2.0), []
    y = tf.apply(broken, net(live, x)).exp().sum()
    with pytest.raises(ZeroDivisionError) as caught:
        y.backward()
    with pytest.raises(RuntimeError, match="a second time"):
        y.backward()
    del caught, y
    assert alive(live) == 0 and x.grad is None


def test_hooks_of_a_walked_graph_make_no_cycle(no_collector):
    x, live = leaf(1.0, 2.0), []
    h = net(live, x, 1)
    h.register_hook(lambda g, h=h: None if h.shape else g)  # closes over its own tensor
    h.sum().backward()
    del h
    x.grad = None
    assert alive(live) == 0


def test_the_peak_of_backward_is_two_gradients_and_a_temporary():
    x = tf.ones(1 << 18, requires_grad=True)  # 1 MiB
    y = x
    for _ in range(20):
        y = y.tanh()
    loss = y.sum()
    del y
    gc.collect()
    tracemalloc.start()
    loss.backward()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3.5 * 2**20, "g, what is being made from it, and one step in between"


def test_the_gradient_of_one_matrix_for_a_batch_takes_no_more_memory_than_it():
    """64 images' worth of x^T g would be 16 MiB; written is one, of 256 KiB."""
    x, g = (np.ones((64, 4, 256), np.float32) for _ in range(2))
    for xp in (backend.CPU(), backend.get("cpu")):
        for op in (ops.matmul, ops.linear):
            _, (_, dw, *_) = op(xp, x, np.ones((256, 256), np.float32))
            tracemalloc.start()
            dw(g)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < 2**19, op


# Ops


def test_ops_write_to_no_input():
    x = tf.rand(3, 4, requires_grad=True)
    g = tf.rand(3, 4)
    before = x.detach().clone(), g.clone()
    for name in ("exp", "tanh", "relu", "sigmoid", "neg", "square", "abs", "clone"):
        getattr(x, name)().backward(g)
    for y in (x + 1, x * x, x / 2, 2 - x, x.softmax(1), x.cumsum(0), x.flip(0), x.clamp(0.2, 0.8), x.maximum(g)):
        y.backward(g)
    assert tf.equal(x.detach(), before[0]) and tf.equal(g, before[1])


def test_a_users_own_op():
    def cube(xp, x, *, scale):
        """scale x^3.     dx = g 3 scale x^2"""
        return xp.mul(xp.mul(x, xp.mul(x, x)), scale), (lambda g: xp.mul(g, xp.mul(xp.mul(x, x), 3 * scale)),)

    x = leaf(1.0, 2.0)
    with tf.autograd.higher():
        y = tf.apply(cube, x, scale=2.0)
        (g,) = tf.autograd.grad(y.sum(), x, create_graph=True)
    (h,) = tf.autograd.grad(g.sum(), x)
    assert y.tolist() == [2, 16] and y.grad_fn.name == "cube"
    assert g.tolist() == [6, 24] and h.tolist() == [12, 24]


def test_an_op_with_aux_and_arrays_as_inputs():
    def top(xp, x, bias):
        y = xp.add(x, bias)
        return y, (lambda g: g, None), (xp.argmax(y, axis=0),)

    x = leaf(1.0, 5.0)
    y, index = tf.apply(top, x, np.array([10.0, 0.0]))
    assert index.item() == 0 and not index.requires_grad
    y.sum().backward()
    assert x.grad.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("wrong", "got"),
    [(lambda xp, g: xp.sum(g, axis=(0,)), r"\(\) float64"), (lambda xp, g: xp.cast(g, dtype=tf.float32), "float32")],
)
def test_a_gradient_of_the_wrong_shape_or_type_names_its_op(wrong, got):
    def mine(xp, x):
        return xp.exp(x), (lambda g: wrong(xp, g),)

    with pytest.raises(
        RuntimeError, match=rf"pullback of mine: must return the input's shape and dtype, \(2,\) float64.* {got}"
    ):
        tf.apply(mine, leaf(1.0, 2.0)).sum().backward()


def test_devices_do_not_mix_and_gradients_travel_home():
    backend.register("second", backend.cpu.CPU)
    x = leaf(1.0, 2.0)
    y = x.to("second")
    assert y.device == "second" and y.device.type == "second" and "device='second'" in repr(y)
    with pytest.raises(
        RuntimeError, match=r"mul: all tensors must be on one device; got cpu and second. Move one with"
    ):
        x * y
    (y * y).sum().backward()
    assert x.grad.tolist() == [2, 4] and x.grad.device == "cpu"
    w = tf.ones(2, device="second", requires_grad=True)
    (w[0] * 3 + w.sum()).backward()
    assert w.grad.tolist() == [4, 1] and w.grad.device == "second"
    assert (w.detach() * np.ones(2)).device == "second" and w.cpu().device == "cpu"
    with pytest.raises(IndexError, match="must be in"):
        w[[5]]


def test_ops_are_plain_functions_of_arrays():
    y, (da, db) = ops.mul(backend.get("cpu"), np.array([2.0]), np.array([[3.0], [4.0]]))
    assert y.tolist() == [[6], [8]]
    assert da(np.ones((2, 1))).tolist() == [7] and db(np.ones((2, 1))).tolist() == [[2], [2]]


class Elsewhere(backend.cpu.CPU):
    """A machine that computes with no array but its own."""

    class array(np.ndarray):
        pass

    def asarray(self, a, dtype=None):
        return np.array(a, dtype).view(Elsewhere.array)

    def to_numpy(self, a):
        assert type(a) is Elsewhere.array
        return np.array(a)

    def add(self, a, b):
        assert type(a) is type(b) is Elsewhere.array, "arrays of two machines meet"
        return super().add(a, b)

    def copy(self, x):
        assert type(x) is Elsewhere.array
        return super().copy(x).view(Elsewhere.array)


backend.register("elsewhere", Elsewhere)
HELPERS.add("elsewhere")


@pytest.mark.parametrize("device", ["elsewhere", "emulated"])
def test_a_graph_may_pass_through_several_devices(device):
    """Sums, copies and `.grad` are each node's own machine's, wherever the walk began."""
    x, w = leaf(1.0, 2.0), tf.tensor([3.0, 5.0]).to(device).double().requires_grad_()
    h = x * 2
    h.retain_grad()
    away = h.to(device)
    y = (away * w + away * away).to("cpu")  # two gradients meet at `away`
    ((y * x).sum() + h.sum()).to(device).backward()  # and two more at `h` and at `x`
    # y = 2 w x + 4 x^2, the sum is 2 w x^2 + 4 x^3 + 2 x
    assert x.grad.tolist() == [4 * 3 * 1 + 12 + 2, 4 * 5 * 2 + 48 + 2] and x.grad.device == "cpu"
    assert w.grad.tolist() == [2, 8] and w.grad.device == w.device == device
    assert h.grad.device == "cpu" and w.grad.data is not y.data


def test_second_derivatives_pass_through_several_devices():
    x = leaf(1.0, 2.0)
    with tf.autograd.higher():
        away = x.to("elsewhere")
        y = (away * away * away).to("cpu").sum()
    (g,) = tf.autograd.grad(y, x, create_graph=True)
    (gg,) = tf.autograd.grad(g.sum(), x)
    assert g.tolist() == [3, 12] and gg.tolist() == [6, 12] and gg.device == "cpu"


def test_a_gradient_lies_where_its_tensor_does():
    x = leaf(1.0, 2.0)
    far = tf.ones(2, dtype=tf.float64).to("elsewhere")
    with pytest.raises(RuntimeError, match=r"backward: the gradient must be on .* cpu; got one on elsewhere"):
        (x * 2).backward(far)
    with pytest.raises(RuntimeError, match="grad: the gradient must be on"):
        x.grad = far


@pytest.mark.parametrize(
    "made, got",
    [
        (lambda xp, x, w: (xp.mul(x, w), (lambda g: xp.mul(g, w),)), "1 for 2 inputs"),
        (lambda xp, x, w: (xp.mul(x, w), (lambda g: g,) * 3), "3 for 2 inputs"),
        (lambda xp, x, w: (xp.mul(x, w), lambda g: g), "function"),
        (lambda xp, x, w: xp.mul(x, w), "float32"),
        (lambda xp, x, w: (xp.mul(x, w),), "tuple"),
    ],
    ids=["too few", "too many", "no tuple", "forgotten", "a value alone"],
)
def test_an_op_returns_one_pullback_for_each_input(made, got):
    made.__name__ = "mine"
    w = tf.tensor(3.0, requires_grad=True)
    with pytest.raises(TypeError, match=rf"mine: an op must return \(value, pullbacks\).*got {got}"):
        tf.apply(made, tf.tensor(2.0), w)
