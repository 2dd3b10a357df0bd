"""Names and arguments are PyTorch's: whoever knows them guesses right."""

import inspect

import pytest

import tinygrad_fast as tf

BOTH = """
abs add all allclose amax amin any argmax argmin argsort bmm broadcast_to ceil chunk clamp clip clone cos cumsum detach
div dot eq equal erf exp expm1 flatten flip floor floor_divide gather ge gt index_select is_floating_point isclose
isfinite isinf isnan le log log1p log_softmax logical_and logical_not logical_or logical_xor logsumexp lt masked_fill
matmul max maximum mean min minimum mm movedim mul mv narrow ne neg nonzero norm numel outer permute pow prod reciprocal
relu remainder reshape roll round rsqrt sigmoid sign sin softmax sort split sqrt square squeeze std sub sum t tan tanh
topk transpose tril triu unbind unsqueeze var where
"""
METHODS = """
add_ argmax backward bfloat16 bool clamp_ contiguous copy_ cpu cuda detach device dim div_ double dtype expand expand_as
fill_ float grad grad_fn half int is_leaf item long mT mul_ ndim numel numpy register_hook repeat requires_grad
requires_grad_ retain_grad shape size sub_ T to tolist type_as view view_as zero_
"""
FUNCTIONS = """
arange as_tensor autograd batch_norm bfloat16 bool broadcast_tensors cat conv1d conv2d conv_transpose2d device double
dropout einsum embedding enable_grad eye float float16 float32 float64 from_dlpack from_numpy full full_like Generator
group_norm half int int16 int32 int64 int8 is_grad_enabled is_tensor layer_norm linspace load long manual_seed
max_pool2d no_grad ones ones_like pixel_shuffle rand rand_like randint randint_like randn randn_like randperm
result_type save stack tensor Tensor uint8 zeros zeros_like
"""


def test_every_name_is_there():
    missing = [n for n in (BOTH + METHODS).split() if not hasattr(tf.Tensor, n)]
    missing += [f"tf.{n}" for n in (BOTH + FUNCTIONS).split() if not hasattr(tf, n)]
    assert not missing
    assert set(BOTH.split()) <= set(dir(tf)) and "bfloat16" in dir(tf) and "conv2d" in dir(tf)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        tf.nothing


@pytest.mark.parametrize("name", [name for name in BOTH.split() if name != "where"])  # whose mask comes first, not x
def test_a_function_is_its_method(name):
    """With the same arguments, the first one also by the name `input`."""
    method, function = getattr(tf.Tensor, name), getattr(tf, name)
    assert inspect.signature(method) == inspect.signature(function)
    assert function.__name__ == method.__name__


# (call, the arguments' names in PyTorch's order)
ARGUMENTS = {
    "sum": "dim keepdim dtype", "mean": "dim keepdim dtype", "amax": "dim keepdim", "argmax": "dim keepdim",
    "max": "dim keepdim", "any": "dim keepdim", "logsumexp": "dim keepdim", "prod": "dim keepdim dtype",
    "cumsum": "dim dtype", "softmax": "dim dtype", "norm": "p dim keepdim", "flatten": "start_dim end_dim",
    "transpose": "dim0 dim1", "squeeze": "dim", "unsqueeze": "dim", "broadcast_to": "size more",
    "split": "split_size dim",
    "chunk": "chunks dim", "gather": "dim index", "index_select": "dim index", "masked_fill": "mask value",
    "tril": "diagonal", "clamp": "min max", "add": "other alpha", "sub": "other alpha", "div": "other rounding_mode",
    "pow": "exponent", "where": "condition other", "narrow": "dim start length", "roll": "shifts dims",
    "movedim": "source destination", "topk": "k dim largest sorted", "sort": "dim descending stable",
    "argsort": "dim descending stable", "round": "decimals", "mm": "mat2", "mv": "vec", "outer": "vec2",
    "isclose": "other rtol atol equal_nan", "allclose": "other rtol atol equal_nan", "nonzero": "as_tuple",
    "backward": "gradient retain_graph", "numpy": "force", "requires_grad_": "requires_grad", "unbind": "dim",
}  # fmt: skip


@pytest.mark.parametrize("name", ARGUMENTS)
def test_argument_names_and_their_order(name):
    assert list(inspect.signature(getattr(tf.Tensor, name)).parameters)[1:] == ARGUMENTS[name].split()


def test_arguments_by_name():
    x = tf.arange(6.0).reshape(2, 3)
    assert tf.sum(input=x, dim=0, keepdim=True).shape == (1, 3)
    assert tf.softmax(input=x, dim=1).shape == (2, 3) and tf.flip(x, dims=(0,))[0, 0].item() == 3
    assert tf.permute(x, dims=(1, 0)).shape == tf.reshape(x, shape=(3, 2)).shape == (3, 2)
    assert tf.clamp(x, max=2).amax().item() == 2 and x.round(decimals=1).equal(x)
    assert x.var(correction=0).item() == pytest.approx(x.var(unbiased=False).item())
    assert [i.tolist() for i in tf.where(x > 3)] == [[1, 1], [1, 2]]
    assert tf.tensor(3).nonzero().shape == (1, 0) and tf.tensor(3).nonzero(as_tuple=True)[0].tolist() == [0]
    assert tf.tensor([1.256]).round(decimals=2).item() == pytest.approx(1.26)
    assert x.softmax(1, dtype=tf.float64).dtype == x.cumsum(0, dtype=tf.float64).dtype == "float64"
