"""What a person gets for a mistake: what must hold, what was given, what to do. The texts are part of the interface.

Refusals of one family of functions stand with its tests (test_indexing, test_movement, test_reduce, test_linalg,
test_autograd); here are the mistakes of a first day.
"""

import numpy as np
import pytest

import tinygrad_fast as tf
import tinygrad_fast.nn.functional as F
from tinygrad_fast import nn

x, v, i, b = tf.ones(2, 3), tf.ones(3), tf.tensor([1, 2, 3]), tf.tensor([True, False, True])
w = tf.ones(3, requires_grad=True)

MISTAKES = [
    # shapes
    (lambda: x + tf.ones(2), RuntimeError, r"add: shapes must match axis by axis from the right, or be 1; got \(2, 3\) "
     r"and \(2,\), which differ at axis -1. Reshape, or unsqueeze where an axis is missing"),
    (lambda: x == tf.ones(4), RuntimeError, r"eq: shapes must match .* got \(2, 3\) and \(4,\)"),
    (lambda: x @ x, RuntimeError, r"matmul: x \(\.\.\., M, K\) .* got x \(2, 3\) and w \(2, 3\). Transpose one"),
    (lambda: tf.where(b, x, tf.ones(2)), RuntimeError, r"where: shapes must .* got \(3,\) and \(2, 3\) and \(2,\)"),
    (lambda: x.masked_fill(tf.tensor([True, False]), 0), RuntimeError, r"masked_fill: shapes must match"),
    (lambda: x.reshape(4), RuntimeError, r"reshape: the number of elements must stay 6"),
    # what is no Tensor
    (lambda: tf.exp([1, 2]), TypeError, r"exp: input must be a Tensor; got list. Make one with tf.tensor\(\.\.\.\)"),
    (lambda: tf.sum([1, 2]), TypeError, "sum: input must be a Tensor; got list"),
    (lambda: tf.mean(np.ones(3)), TypeError, "mean: input must be a Tensor; got ndarray"),
    (lambda: tf.relu(3.0), TypeError, "relu: input must be a Tensor; got float"),
    (lambda: tf.softmax(None, 1), TypeError, "softmax: input must be a Tensor; got NoneType"),
    (lambda: tf.cat([x, [1]]), TypeError, "cat: needs Tensors; got list"),
    (lambda: tf.stack([1, 2]), TypeError, "stack: needs Tensors; got int"),
    (lambda: x.mm(2), TypeError, r"mm: needs Tensors; got int. Make one with tf.tensor\(\.\.\.\)"),
    (lambda: v.dot([1, 2, 3]), TypeError, "dot: needs Tensors; got list"),
    (lambda: v.outer(1.0), TypeError, "outer: needs Tensors; got float"),
    (lambda: v.equal(1), TypeError, "equal: needs Tensors; got int"),
    (lambda: v.allclose(1.0), TypeError, "isclose: needs Tensors; got float"),
    (lambda: v.expand_as(3), TypeError, "expand_as: needs Tensors; got int"),
    (lambda: v.view_as((3,)), TypeError, "view_as: needs Tensors; got tuple"),
    (lambda: nn.Linear(3, 2)(np.ones((2, 3))), TypeError, "linear: needs Tensors; got ndarray. Make one with"),
    (lambda: nn.Sequential(nn.Linear(3, 2))([[1.0, 2, 3]]), TypeError, "linear: needs Tensors; got list"),
    (lambda: F.linear(x, None), TypeError, "linear: needs Tensors; got NoneType"),
    (lambda: F.linear(x, x, [1.0, 2]), TypeError, "linear: needs Tensors; got list"),
    (lambda: nn.Conv2d(3, 2, 1)(None), TypeError, "conv2d: needs Tensors; got NoneType"),
    (lambda: nn.Conv1d(3, 2, 1)([1]), TypeError, "conv1d: needs Tensors; got list"),
    (lambda: F.conv2d(tf.ones(1, 1, 2, 2), tf.ones(1, 1, 1, 1), [1.0]), TypeError, "conv2d: needs Tensors; got list"),
    (lambda: nn.BatchNorm2d(3)(None), TypeError, "BatchNorm2d: needs Tensors; got NoneType"),
    (lambda: F.layer_norm(x, 3, [1, 1, 1]), TypeError, "layer_norm: needs Tensors; got list"),
    (lambda: nn.Flatten()(np.ones((2, 3))), TypeError, "Flatten: needs Tensors; got ndarray"),
    (lambda: nn.Embedding(3, 2)([0, 1]), TypeError, "embedding: needs Tensors; got list"),
    (lambda: F.one_hot([0, 1]), TypeError, "one_hot: needs Tensors; got list"),
    (lambda: F.pad([1], (1, 1)), TypeError, "pad: needs Tensors; got list"),
    *((lambda f=f: f([1.0]), TypeError, f"{f.__name__}: needs Tensors; got list")
      for f in (F.relu, F.gelu, F.silu, F.elu, F.softplus, F.sigmoid, F.tanh, F.softmax, F.dropout, F.normalize)),
    *((lambda f=f: f(v, np.ones(3)), TypeError, f"{f.__name__}: needs Tensors; got ndarray")
      for f in (F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss, F.binary_cross_entropy,
                F.binary_cross_entropy_with_logits, F.cross_entropy, F.nll_loss)),
    (lambda: F.cross_entropy(x, i[:2] - 1, weight=[1, 1, 1]), TypeError, "cross_entropy: needs Tensors; got list"),
    (lambda: F.mse_loss(v, v, weight=[1, 1, 1]), TypeError, "weight of a loss: needs Tensors; got list"),
    (lambda: tf.equal([1], v), TypeError, "equal: input must be a Tensor; got list"),
    (lambda: tf.allclose(np.ones(3), v), TypeError, "allclose: input must be a Tensor; got ndarray"),
    (lambda: tf.zeros_like([1, 2]), TypeError, "zeros_like: input must be a Tensor; got list"),
    (lambda: tf.randint_like(3, 5), TypeError, "randint_like: input must be a Tensor; got int"),
    (lambda: tf.cat(None), TypeError, "cat: needs Tensors; got NoneType"),
    (lambda: tf.stack(1.0), TypeError, "stack: needs Tensors; got float"),
    (lambda: tf.einsum(x, "ij->ji"), TypeError, 'einsum: first the equation, as "ij,jk->ik"; got Tensor'),
    (lambda: tf.pixel_shuffle([1], 2), TypeError, "pixel_shuffle: needs Tensors; got list"),
    (lambda: F.interpolate(np.ones((1, 1, 2, 2)), 4), TypeError, "interpolate: needs Tensors; got ndarray"),
    (lambda: F.grid_sample(tf.ones(1, 1, 2, 2), None), TypeError, "grid_sample: needs Tensors; got NoneType"),
    (lambda: F.affine_grid([[1, 0, 0]], (1, 1, 2, 2)), TypeError, "affine_grid: needs Tensors; got list"),
    (lambda: tf.autograd.grad(1.0, w), TypeError, "grad: needs Tensors; got float"),
    (lambda: tf.autograd.grad(w.sum(), None), TypeError, "grad: needs Tensors; got NoneType"),
    (lambda: tf.zeros(2).fill_(None), TypeError, "a tensor holds floats, integers or bools; got dtype object"),
    (lambda: tf.zeros(2).copy_("a"), TypeError, "a tensor holds floats, integers or bools; got dtype <U1"),
    (lambda: tf.zeros(2).__setitem__(0, [1, 2]), ValueError, r"must broadcast to \(\), .*; got \(2,\)"),
    (lambda: tf.where(b, None, 2), TypeError, "result_type: needs Tensors and numbers; got NoneType"),
    (lambda: tf.where(b, [1, 2, 3], 2), TypeError, "result_type: needs Tensors and numbers; got list"),
    (lambda: v.masked_fill(b, "a"), TypeError, "result_type: needs Tensors and numbers; got str"),
    (lambda: w.register_hook(None), TypeError, "register_hook: the hook must be a function of the gradient; got None"),
    (lambda: tf.from_dlpack(3), TypeError, "from_dlpack: needs an object with __dlpack__; got int"),
    (lambda: tf.add(1, 2), TypeError, "add: needs a Tensor and a Tensor or number; got int and int"),
    (lambda: x.add("a"), TypeError, "add: needs a Tensor and a Tensor or number; got Tensor and str"),
    (lambda: x.mul(None), TypeError, "mul: needs .*; got Tensor and NoneType"),
    (lambda: x + "a", TypeError, r"unsupported operand type\(s\) for \+: 'Tensor' and 'str'"),
    (lambda: x < "a", TypeError, "'<' not supported between instances of 'Tensor' and 'str'"),
    (lambda: tf.apply(lambda xp, a: (a, (None,)), 1.0), TypeError, "needs a Tensor; got float"),
    # making one
    (lambda: tf.tensor([[1], [1, 2]]), ValueError, "tensor: needs rectangular lists, all of one length at each level"),
    (lambda: tf.tensor("text"), TypeError, r"a tensor holds floats, integers or bools; got dtype <U4. Convert"),
    (lambda: tf.tensor(["a", "b"]), TypeError, "a tensor holds floats, integers or bools"),
    (lambda: tf.tensor(["a"], dtype=tf.float32), ValueError,
     "tensor: needs numbers; could not convert string to float"),
    (lambda: tf.tensor(None), TypeError, "got dtype object"),
    (lambda: tf.tensor(1j), TypeError, "got dtype complex128"),
    (lambda: tf.zeros(2, dtype="float23"), TypeError, r"dtype: must be tf.float32, tf.int64, .* got 'float23'"),
    (lambda: tf.zeros(2, device="tpu"), ValueError, r"device: must be one of cpu.*; got 'tpu'"),
    (lambda: tf.zeros(-1), RuntimeError, r"size: no axis can be negative; got \(-1,\)"),
    (lambda: tf.tensor([1], requires_grad=True), RuntimeError, "requires_grad: only floating tensors can; got int64"),
    # how many, and where
    (lambda: x.reshape(3.7, 2), TypeError, r"reshape: needs ints; got \(3.7, 2\)"),
    (lambda: x.repeat(1.5, 1), TypeError, r"repeat: needs ints; got \(1.5, 1\)"),
    (lambda: x.repeat(-1, 1), RuntimeError, r"repeat: counts are at least 0; got \(-1, 1\)"),
    (lambda: x.expand(2.0, 3), TypeError, "expand: needs ints"),
    (lambda: x.split(None), TypeError, "split: needs ints; got None"),
    (lambda: x.split([3, -1]), RuntimeError, r"split: sizes must be >= 0 and sum to 2, .* got \(3, -1\)"),
    (lambda: x.chunk(1.5), TypeError, "chunk: needs ints"),
    (lambda: x.narrow(1, 0, 1.5), TypeError, "narrow: needs ints"),
    (lambda: x.topk(1.5), TypeError, "topk: needs ints"),
    (lambda: x.roll(None, 0), TypeError, "roll: needs ints"),
    (lambda: x.tril([1, 2]), TypeError, "tril: needs ints"),
    (lambda: tf.tensor(1.0).chunk(2), IndexError, r"dim: a 0-d tensor has no axes; got 0. Write x.reshape\(1\)"),
    (lambda: tf.tensor(1.0).unbind(), IndexError, "dim: a 0-d tensor has no axes"),
    (lambda: tf.full(None, 1.0), TypeError, "size: needs ints"),
    (lambda: tf.full((2, 3), [1.0, 2]), TypeError, r"full: the value must be one number; got shape \(2,\)"),
    (lambda: tf.eye(-1), RuntimeError, "size: no axis can be negative"),
    (lambda: tf.linspace(0, 1, 2.5), TypeError, "linspace: steps: needs ints"),
    (lambda: x.clamp([0, 0, 0], 1), TypeError, "clamp: bounds are numbers or Tensors; got list"),
    (lambda: F.max_pool2d(tf.ones(1, 1, 4, 4), None), TypeError, "kernel_size: must be an int, or 2 of them; got"),
    (lambda: F.pad(x, [1.0, 2]), TypeError, "pad: needs ints"),
    (lambda: F.layer_norm(x, None), TypeError, "layer_norm: normalized_shape: needs ints"),
    (lambda: tf.arange(None), TypeError, "arange: start, end and step are finite numbers; got 0, None, 1"),
    (lambda: tf.arange(0, float("inf")), TypeError, "arange: start, end and step are finite numbers"),
    (lambda: tf.linspace([0, 1], 2, 3), TypeError, r"linspace: start and end are finite numbers; got \[0, 1\], 2"),
    (lambda: tf.randint(0.5, 5, (2,)), TypeError, r"randint: needs ints; got \(0.5, 5\)"),
    (lambda: tf.randperm(2.5), TypeError, "randperm: needs ints"),
    (lambda: tf.full_like(x, None), TypeError, "result_type: needs Tensors and numbers; got NoneType"),
    (lambda: F.one_hot(i, 4.5), TypeError, "one_hot: num_classes: needs ints"),
    (lambda: nn.Conv2d(3, 8, None), TypeError, "Conv2d: kernel_size: must be an int, or 2 .* got None"),
    (lambda: nn.Conv2d(3, 8, 3, stride=1.5), TypeError, "Conv2d: stride: must be an int, or 2 .* got 1.5"),
    (lambda: nn.ConvTranspose2d(3, 8, 3, padding="same"), TypeError, "padding: must be an int, or 2 .* got 'same'"),
    (lambda: nn.LayerNorm(None), TypeError, "LayerNorm: normalized_shape: needs ints; got None"),
    # types
    (lambda: F.avg_pool2d(i.reshape(1, 1, 1, -1), 1), RuntimeError, r"Write F.avg_pool2d\(x.float\(\), "),
    (lambda: F.avg_pool2d(np.ones((1, 1, 2, 2)), 1), TypeError, "avg_pool2d: needs a Tensor; got ndarray"),
    (lambda: nn.Conv2d(3, 8, 0), ValueError, r"Conv2d: kernel_size must be at least 1; got \(0, 0\)"),
    (lambda: nn.Conv2d(3, 8, 3, padding="sam"), ValueError, "Conv2d: padding must be a number, .* got 'sam'"),
    (lambda: nn.Conv2d(3, 8, 3, stride=2, padding="same"), ValueError, 'Conv2d: padding="same" needs stride 1'),
    (lambda: nn.Conv1d(3, 8, 3, padding=-1), ValueError, r"Conv1d: padding must be at least 0; got \(-1,\)"),
    (lambda: i.mean(), RuntimeError, r"mean: must be of a floating dtype; got int64. Write x.float\(\).mean\(\.\.\.\)"),
    (lambda: x & x, TypeError, r"&: needs integers or bools; got floats. Compare first, as in \(x > 0\) & \(x < 1\)"),
    (lambda: b | 1.0, TypeError, r"\|: needs integers or bools; got floats"),
    (lambda: ~x, TypeError, "~: needs integers or bools; got floats"),
    (lambda: b - b, TypeError, "boolean subtract"),
    (lambda: -b, TypeError, "boolean negative"),
    (lambda: i**-1, ValueError, "Integers to negative integer powers are not allowed"),
    (lambda: i.masked_fill(b, 0.5), RuntimeError, r"masked_fill: 0.5 does not fit into int64. Write x.float\(\)"),
    (lambda: i.to("uint8") + 300, RuntimeError, r"add: 300 does not fit into uint8, 0\.\.255. Take a wider one"),
    (lambda: -200 - i.to("int8"), RuntimeError, r"sub: -200 does not fit into int8, -128\.\.127"),
    (lambda: i.to("uint8").add_(300), RuntimeError, "add: 300 does not fit into uint8"),
    (lambda: i.to("uint8").fill_(300), RuntimeError, "fill_: 300 does not fit into uint8"),
    (lambda: i.to("uint8").clamp(0, 300), RuntimeError, "clamp: 300 does not fit into uint8"),
    (lambda: i.to("uint8").masked_fill(b, 300), RuntimeError, "masked_fill: 300 does not fit into uint8"),
    (lambda: tf.where(b, i.to("uint8"), 300), RuntimeError, "where: 300 does not fit into uint8"),
    (lambda: tf.full((2,), 300, dtype="uint8"), RuntimeError, "full: 300 does not fit into uint8"),
    (lambda: tf.tensor([1, 300], dtype="uint8"), RuntimeError, "tensor: each number must fit into the dtype; .* 300 "),
    (lambda: v.masked_fill(i, 0), RuntimeError, r"masked_fill: the mask must be a bool tensor; got int64. Write"),
    (lambda: v.masked_fill(b, v), RuntimeError, r"masked_fill: the value must be one number; got shape \(3,\)"),
    (lambda: tf.where(i, v, 0), RuntimeError, r"where: the mask must be a bool tensor; got int64"),
    (lambda: tf.where(True, v, 0), RuntimeError, r"where: the mask must be a bool tensor; got bool"),
    (lambda: v.clamp(), RuntimeError, "clamp: at least one of min and max must be given"),
    (lambda: v.div(2, rounding_mode="up"), ValueError, "rounding_mode must be None, \"floor\" or \"trunc\"; got 'up'"),
    # one number where there are several
    (lambda: x.item(), RuntimeError, r"item: needs exactly one element; got shape \(2, 3\). Use .tolist\(\)"),
    (lambda: bool(x), RuntimeError, r"bool: needs exactly one element; got shape \(2, 3\). Use .any\(\) or .all\(\)"),
    (lambda: bool(x == 1), RuntimeError, r"Use .any\(\) or .all\(\)"),
    (lambda: float(x), RuntimeError, "float: needs exactly one element"),
    (lambda: [1, 2][v[0]], TypeError, "index: only an integer tensor can be an index; got float32"),
    (lambda: x.softmax(2), IndexError, r"dim: must be in -2\.\.1 for a tensor of 2 axes; got 2"),
    (lambda: x.sum(dim="rows"), TypeError, "dim: must be an int; got 'rows'"),
    (lambda: x[2], IndexError, r"index: must be in -2\.\.1 for axis 0 of shape \(2, 3\); got 2"),
    (lambda: x[0, 0, 0], IndexError, r"index: at most 2 indices for a tensor of shape \(2, 3\); got 3"),
    # gradients
    (lambda: (w * 2).backward(), RuntimeError, r"backward: without a gradient the tensor must have one element; got "
     r"shape \(3,\). Reduce it \(.sum\(\), .mean\(\)\), or pass the gradient"),
    (lambda: v.sum().backward(), RuntimeError, "backward: this tensor does not require grad: nothing it was"),
    (lambda: w.add_(1), RuntimeError, "add_: a leaf that requires grad is written in place only under `with"),
    (lambda: (w * 2).add_(1), RuntimeError, "add_: this tensor is the result of mul"),
    (lambda: w.numpy(), RuntimeError, r"requires grad, and an array cannot. Write x.detach\(\).numpy\(\)"),
    (lambda: np.asarray(w), RuntimeError, r"Write x.detach\(\).numpy\(\)"),
    (lambda: v.register_hook(print), RuntimeError, "register_hook: this tensor does not require grad"),
    (lambda: (w * 2).requires_grad_(False), RuntimeError, r".detach\(\) leaves its graph"),
    (lambda: tf.manual_seed("1"), TypeError, "manual_seed: the seed is an integer; got '1'"),
]  # fmt: skip


@pytest.mark.parametrize(("mistake", "error", "text"), MISTAKES, ids=[m[2][:40] for m in MISTAKES])
def test_a_mistake_is_answered(mistake, error, text):
    with pytest.raises(error, match=text):
        mistake()


def test_shapes_that_do_not_fit_are_both_kinds_of_error():
    """A ValueError to those who come from NumPy, a RuntimeError to those from PyTorch."""
    for kind in (ValueError, RuntimeError):
        with pytest.raises(kind, match="shapes must match"):
            x + tf.ones(2)


def test_an_error_leaves_everything_as_it_was():
    y = tf.zeros(2)
    with pytest.raises(RuntimeError):
        y += tf.ones(3)
    with pytest.raises(RuntimeError):
        y[0] = tf.ones(2)
    assert y.tolist() == [0, 0]
    with pytest.raises(RuntimeError):
        (w * 2).backward()
    assert w.grad is None and tf.is_grad_enabled()
