"""What a tensor says of itself, how it meets Python and NumPy, and when it may be written to."""

import copy
import pickle
import threading

import numpy as np
import pytest

import tinygrad_fast as tf


@pytest.fixture
def x():
    return tf.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])


# What it says of itself


def test_attributes(x):
    assert x.shape == x.size() == (2, 3) and x.size(-1) == 3 and x.ndim == x.dim() == 2
    assert x.numel() == 6 and len(x) == 2 and x.dtype == tf.float32 and x.is_floating_point()
    assert x.device == "cpu" and x.device.type == "cpu" and x.device.index is None
    assert tf.device("cuda:1").type == "cuda" and tf.device("cuda:1").index == 1
    assert tf.device("cuda", 1) == "cuda:1" and tf.device("cpu", 0).index == 0
    assert repr(x.device) == "device(type='cpu')" and repr(tf.device("cuda:1")) == "device(type='cuda', index=1)"
    assert x.to("cpu:0") is x and str(tf.ones(1, device="cpu:0").device) == f"{x.device}" == "cpu"
    assert not x.requires_grad and x.is_leaf and x.grad is None and x.grad_fn is None
    w = tf.ones(2, requires_grad=True)
    assert w.is_leaf and w.grad_fn is None
    y = w * 2
    assert not y.is_leaf and y.grad_fn.name == "mul" and y.requires_grad


REPR = [
    ([[0, 1, 2], [3, 4, 5]], "tensor([[0, 1, 2],\n        [3, 4, 5]])"),
    ([1.5, 2.0, 3.0], "tensor([1.5000, 2.0000, 3.0000])"),
    ([0.0, 1.0, -2.0], "tensor([ 0.,  1., -2.])"),
    ([1e-5, 2e-3, 1.0], "tensor([1.0000e-05, 2.0000e-03, 1.0000e+00])"),
    ([1e8, 1.5], "tensor([1.0000e+08, 1.5000e+00])"),
    ([1e-10], "tensor([1.0000e-10])"),
    ([float("nan"), float("inf"), -10.0], "tensor([ nan,  inf, -10.])"),
    (3.14159, "tensor(3.1416)"),
    (7, "tensor(7)"),
    ([True, False], "tensor([ True, False])"),
    ([], "tensor([])"),
    (np.zeros((0, 3), "f4"), "tensor([], size=(0, 3))"),
    (np.float64([1, 2.5]), "tensor([1.0000, 2.5000], dtype=float64)"),
    (np.int32([1, 2]), "tensor([1, 2], dtype=int32)"),
    (np.float16([1, 2]), "tensor([1., 2.], dtype=float16)"),
]  # as PyTorch prints them, with dtype=float64 for torch.float64


@pytest.mark.parametrize(("value", "text"), REPR)
def test_repr(value, text):
    assert repr(tf.tensor(value)) == text


def test_repr_notes_and_long_tensors():
    w = tf.ones(2, requires_grad=True)
    assert repr(w) == "tensor([1., 1.], requires_grad=True)" and repr(w * 2) == "tensor([2., 2.], grad_fn=<mul>)"
    assert repr(tf.ones(2).bfloat16()) == "tensor([1., 1.], dtype=bfloat16)"
    assert len(repr(tf.zeros(100_000))) < 200 and "..." in repr(tf.zeros(50, 50))
    assert max(map(len, repr(tf.rand(30)).split("\n"))) <= 80
    assert f"{tf.tensor(0.123456)}" == str(np.float32(0.123456).item()) and f"{tf.tensor(0.123456):.3f}" == "0.123"
    assert f"{w}" == repr(w) == str(w)
    with pytest.raises(TypeError, match=r"format: '\.2f' fits one number; got shape \(2,\)"):
        f"{w:.2f}"


# Python


def test_numbers_and_lists(x):
    one = tf.tensor([[2.5]])
    assert one.item() == 2.5 and float(one) == 2.5 and int(one) == 2 and bool(one)
    assert x.tolist() == [[1, 2, 3], [4, 5, 6]] and tf.tensor(3).tolist() == 3
    assert isinstance(tf.tensor(3).item(), int) and isinstance(tf.tensor(True).item(), bool)
    assert [10, 20, 30][tf.tensor(1)] == 20 and list(range(tf.tensor(3))) == [0, 1, 2]
    assert [row.tolist() for row in x] == x.tolist()
    assert 2.0 in x and 9.0 not in x
    with pytest.raises(TypeError, match="a 0-d tensor has no length"):
        len(tf.tensor(1))
    with pytest.raises(TypeError, match="0-d tensor has nothing to iterate over"):
        iter(tf.tensor(1))


def test_comparisons_are_elementwise_and_tensors_are_hashed_by_identity(x):
    assert (x == 2).sum().item() == 1 and (x != 2).sum().item() == 5 and (2 < x).sum().item() == 4
    assert (x >= 5).tolist() == [[False] * 3, [False, True, True]] and (x == x).all()
    assert (x == None) is False and (x != "a") is True  # noqa: E711
    assert {x: 1}[x] == 1 and len({x, x.clone()}) == 2
    mask = (x > 1) & (x < 5) | (x == 6) ^ (x > 100)
    assert mask.sum().item() == 4 and (~mask).sum().item() == 2
    assert tf.equal(x, x.clone()) and not tf.equal(x, x + 1) and tf.allclose(x, x + 1e-7)


def test_reflected_and_unary_operators(x):
    for got, want in [
        (1 - x, 1 - x.numpy()), (12 / x, 12 / x.numpy()), (2**x, 2 ** x.numpy()), (7 // x, 7 // x.numpy()),
        (7 % x, 7 % x.numpy()), (+x, x.numpy()), (-x, -x.numpy()), (abs(-x), x.numpy()), (x % 2, x.numpy() % 2),
        (-x // 2, -x.numpy() // 2), (-x % 4, -x.numpy() % 4),
    ]:  # fmt: skip
        np.testing.assert_allclose(got.numpy(), want, rtol=1e-6)
    i = tf.tensor([5, 6])
    assert ((i & 4).tolist(), (3 | i).tolist(), (i ^ 1).tolist(), (~i).tolist()) == ([4, 4], [7, 7], [4, 7], [-6, -7])


def test_copies(x):
    w = tf.ones(2, requires_grad=True)
    (w * 3).sum().backward()
    twin = copy.deepcopy(w)
    assert twin.requires_grad and twin.grad.tolist() == [3, 3]
    with tf.no_grad():
        twin.mul_(5)
        twin.grad.zero_()
    assert w.tolist() == [1, 1] and w.grad.tolist() == [3, 3]
    both = copy.deepcopy([w, w])
    assert both[0] is both[1]
    shallow = copy.copy(w)
    assert np.shares_memory(shallow.detach().numpy(), w.detach().numpy()) and shallow.requires_grad
    with pytest.raises(RuntimeError, match=r"deepcopy: only leaves .* write x.detach\(\).clone\(\)"):
        copy.deepcopy(w * 2)
    with pytest.raises(TypeError, match="pickle: tensors are not pickled. tf.save writes them as safetensors"):
        pickle.dumps(x)
    y = x.clone()
    y[0, 0] = 100
    assert x[0, 0].item() == 1


def test_to(x):
    assert x.to("cpu") is x and x.to(tf.float32) is x and x.to() is x and x.cpu() is x and x.contiguous() is x
    assert x.to("cpu", tf.float64).dtype == x.to(tf.ones(1, dtype=tf.float64)).dtype == "float64"
    assert x.to(device="cpu", dtype="float16", non_blocking=True).dtype == "float16"
    assert x.to(tf.device("cpu")) is x
    again = x.to("cpu", copy=True)
    assert again is not x and not np.shares_memory(again.numpy(), x.numpy())
    with pytest.raises(ValueError, match=r"device: must be one of cpu.*cuda.*; got 'cpu:7'"):
        x.to("cpu:7")
    with pytest.raises(TypeError, match=r"dtype: must be tf.float32, .*; got 'gpu'"):
        x.to("gpu")


# NumPy


def test_numpy_shares_memory_and_refuses_a_graph(x):
    assert np.shares_memory(x.numpy(), x.detach().numpy())
    np.testing.assert_array_equal(np.asarray(x), x.tolist())
    assert np.array(x, dtype="float64").dtype == "float64"
    with pytest.raises(ValueError):
        np.array(x, dtype="float64", copy=False)
    w = tf.ones(2, requires_grad=True)
    for f in (np.asarray, np.array, tf.Tensor.numpy):
        with pytest.raises(RuntimeError, match=r"requires grad, and an array cannot. Write x.detach\(\).numpy\(\)"):
            f(w)
    assert w.numpy(force=True).tolist() == w.detach().numpy().tolist() == [1, 1]


def test_an_array_with_a_tensor_gives_a_tensor_with_its_graph():
    w = tf.ones(3, dtype=tf.float64, requires_grad=True)
    for y in (np.full(3, 2.0) * w, w * np.full(3, 2.0), np.float64(2) * w):
        assert isinstance(y, tf.Tensor) and y.requires_grad
        (g,) = tf.autograd.grad(y.sum(), w)
        assert g.tolist() == [2, 2, 2]
    assert isinstance(np.ones(3) + w, tf.Tensor) and isinstance(np.ones(3) < w, tf.Tensor)
    a = np.eye(3)
    y = a @ w
    a[:] = 0
    assert isinstance(y, tf.Tensor) and tf.autograd.grad(y.sum(), w)[0].tolist() == [1, 1, 1]


def test_a_constant_array_is_copied_before_it_enters_the_graph():
    w, a = tf.ones(3, dtype=tf.float64, requires_grad=True), np.full(3, 2.0)
    y = w * a
    a[:] = 100
    y.sum().backward()
    assert w.grad.tolist() == [2, 2, 2]


# Writing in place


def test_in_place_methods(x):
    same = x
    x.add_(1).sub_(0.5).mul_(2).div_(4)
    assert same is x and x.tolist() == [[0.75, 1.25, 1.75], [2.25, 2.75, 3.25]]
    x += 1
    x *= tf.tensor([1.0, 0.0, 2.0])
    x -= 0.75
    x /= 2
    assert same is x and x.tolist() == [[0.5, -0.375, 2.375], [1.25, -0.375, 3.875]]
    assert x.fill_(3).tolist() == [[3] * 3] * 2 and x.zero_().sum().item() == 0
    assert x.copy_(tf.tensor([1.0, 2.0, 3.0])).tolist() == [[1, 2, 3]] * 2
    assert x.clamp_(1.5, 2.5).tolist() == [[1.5, 2, 2.5]] * 2
    assert x.add_(x, alpha=-1).sum().item() == 0


def test_setitem(x):
    x[0] = 0
    x[1, 1:] = tf.tensor([8.0, 9.0])
    x[..., 0] = np.float32([6, 7])
    assert x.tolist() == [[6, 0, 0], [7, 8, 9]]
    x[x > 7] = -1
    x[[0, 1], [1, 2]] = 5
    assert x.tolist() == [[6, 5, 0], [7, -1, 5]]
    x[0] += 1
    assert x[0].tolist() == [7, 6, 1]
    y = tf.zeros(2, 3, 4)
    y[0, :, [1, 2]] = tf.tensor([[1.0, 2.0]]).expand(3, 2)
    assert y[0, :, 1:3].tolist() == [[1, 2]] * 3 and y.sum().item() == 9


def test_views_share_memory_copies_do_not(x):
    for view in (
        x[0],
        x.detach(),
        x.T,
        x.reshape(6),
        x[:, 1:],
        x[0, 0],
        x.expand(2, 2, 3)[0],
        x.unsqueeze(0),
        x.flip(0),
    ):
        assert np.shares_memory(view.numpy(), x.numpy())
    x[0].add_(10)
    x[1, 2].mul_(100)
    assert x.tolist() == [[11, 12, 13], [4, 5, 600]]
    for copied in (x.clone(), x + 0, x[[0, 1]], x[x > 0], x.T.reshape(6)):
        assert not np.shares_memory(copied.numpy(), x.numpy())


def test_a_leaf_is_written_under_no_grad_only():
    w = tf.ones(3, requires_grad=True)
    for write in (lambda: w.add_(1), lambda: w.__isub__(1), lambda: w.zero_(), lambda: w.__setitem__(0, 1)):
        with pytest.raises(
            RuntimeError, match=r"a leaf that requires grad is written in place only under `with tf.no_grad"
        ):
            write()
    (w * w).sum().backward()
    with tf.no_grad():
        w -= 0.25 * w.grad
        w[0] = 9
    assert w.is_leaf and w.requires_grad and w.tolist() == [9, 0.5, 0.5]


def test_a_result_is_never_written():
    w = tf.ones(3, requires_grad=True)
    y = w * 2
    for write in (lambda: y.add_(1), lambda: y.zero_(), lambda: y.__setitem__(0, 1), lambda: y.__iadd__(1)):
        with pytest.raises(RuntimeError, match=r"the result of mul, and its graph .* make a new tensor \(y = y \+ x\)"):
            write()
    with pytest.raises(RuntimeError, match="the value requires grad, which a write in place would lose"):
        tf.zeros(3).copy_(y)
    with tf.no_grad():
        assert tf.zeros(3).copy_(y).tolist() == [2, 2, 2]


def test_what_does_not_fit_is_refused(x):
    with pytest.raises(RuntimeError, match=r"the value must broadcast to \(2, 3\), the place .*; got \(2, 2, 3\)"):
        x += tf.ones(2, 2, 3)
    with pytest.raises(RuntimeError, match=r"must broadcast to \(3,\), the place it is written to; got \(2,\)"):
        x[0] = tf.ones(2)
    with pytest.raises(RuntimeError, match=r"\+=: a float32 result does not fit into a int64 tensor in place"):
        i = tf.tensor([1, 2])
        i += 0.5
    with pytest.raises(RuntimeError, match=r"expanded or read-only; write to a copy, x.clone\(\)"):
        tf.ones(1).expand(3).add_(1)
    half = tf.ones(2, dtype=tf.float16)
    half += tf.ones(2)
    assert half.dtype == "float16" and half.tolist() == [2, 2]


def test_detach_clone_and_requires_grad():
    w = tf.ones(2, requires_grad=True)
    assert not w.detach().requires_grad and (w.clone()).requires_grad
    w.requires_grad = False
    assert not (w * 2).requires_grad
    w.requires_grad_()
    assert (w * 2).requires_grad
    y = w * 2
    assert y.requires_grad_() is y
    with pytest.raises(RuntimeError, match=r"the result of an op; .detach\(\) leaves its graph"):
        y.requires_grad_(False)


def test_grad_can_be_set_and_cleared():
    w = tf.ones(2, requires_grad=True)
    w.grad = tf.tensor([1.0, 2.0])
    (w * 1).sum().backward()
    assert w.grad.tolist() == [2, 3]
    w.grad = None
    assert w.grad is None
    with pytest.raises(RuntimeError, match=r"grad: must have the tensor's shape and dtype, \(2,\) float32; got \(3,\)"):
        w.grad = tf.ones(3)
    with pytest.raises(RuntimeError, match="only a tensor that requires grad has one"):
        tf.ones(2).grad = tf.ones(2)


def test_tensors_of_one_thread_work_in_another(x):
    out = []
    t = threading.Thread(target=lambda: out.append((x * 2).sum().item()))
    t.start()
    t.join()
    assert out == [42]
