"""Module: what it finds, under which names, in which order; what it does to all of it; its state; how it prints."""

import copy
import gc
import re
import weakref
from collections import OrderedDict

import numpy as np
import pytest

import tinygrad_fast as tf
from tinygrad_fast import nn


class Net(nn.Module):
    """Without super().__init__()."""

    def __init__(self):
        self.scale = nn.Parameter(tf.ones(1))
        self.body = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.BatchNorm1d(4))
        self.note = "text"
        self.heads = [nn.Linear(4, 2), nn.Linear(4, 1, bias=False)]
        self.named = {"a": nn.Parameter(tf.zeros(2))}
        self._private = [nn.Linear(1, 1)]
        self.register_buffer("mask", tf.ones(4))
        self.register_buffer("cache", tf.zeros(2), persistent=False)
        self.loose = tf.ones(3, requires_grad=True)

    def forward(self, x):
        h = self.body(x) * self.scale
        return tf.cat([head(h * self.mask) for head in self.heads], 1)


NAMES = ["scale", "named.a", "body.0.weight", "body.0.bias", "body.2.weight", "body.2.bias"]  # its own come first
NAMES += ["heads.0.weight", "heads.0.bias", "heads.1.weight"]


def test_parameters_in_definition_order():
    net = Net()
    assert [name for name, _ in net.named_parameters()] == NAMES
    assert [name for name, _ in net.named_parameters(prefix="net", recurse=False)] == ["net.scale", "net.named.a"]
    assert all(isinstance(p, nn.Parameter) and p.requires_grad for p in net.parameters())
    assert [n for n, _ in net.named_buffers()] == [
        *("mask", "cache", "body.2.running_mean", "body.2.running_var", "body.2.num_batches_tracked")
    ]


def test_modules():
    net = Net()
    assert [n for n, _ in net.named_children()] == ["body", "heads.0", "heads.1"]
    assert [n for n, _ in net.named_modules()] == ["", "body", "body.0", "body.1", "body.2", "heads.0", "heads.1"]
    assert next(net.children()) is net.body and next(net.modules()) is net
    assert net.get_submodule("body.2") is net.body[2] and net.get_submodule("") is net
    with pytest.raises(AttributeError, match=r"Net has no module 'body\.7\.x'; those of 'body': 0, 1, 2"):
        net.get_submodule("body.7.x")


def test_tied_parameters_are_listed_once_and_saved_under_every_name():
    a, b = nn.Linear(2, 2), nn.Linear(2, 2)
    b.weight = a.weight
    net = nn.Sequential(a, b, a)
    assert [n for n, _ in net.named_parameters()] == ["0.weight", "0.bias", "1.bias"]
    assert [n for n, _ in net.named_modules()] == ["", "0", "1"]
    assert list(net.state_dict()) == [f"{i}.{n}" for i in range(3) for n in ("weight", "bias")]
    twin = copy.deepcopy(net)
    assert twin[0].weight is twin[1].weight and twin[0] is twin[2] and twin[0].weight is not a.weight
    assert net.double()[1].weight is a.weight and a.weight.dtype == tf.float64


def test_a_frozen_parameter_stays_a_parameter():
    net = Net()
    count = len(list(net.parameters()))
    net.requires_grad_(False)
    assert len(list(net.parameters())) == count and not any(p.requires_grad for p in net.parameters())
    assert set(net.state_dict()) >= set(NAMES)
    assert not (net.scale * 2).requires_grad
    net.requires_grad_()
    assert all(p.requires_grad for p in net.parameters())
    assert isinstance(copy.deepcopy(net.scale), nn.Parameter)


def test_parameter():
    t = tf.zeros(2)
    p = nn.Parameter(t)
    with tf.no_grad():
        p += 1
    assert t.tolist() == [1, 1]  # the memory is shared
    assert repr(p) == "Parameter containing:\ntensor([1., 1.], requires_grad=True)"
    assert type(p + 1) is tf.Tensor and type(p.detach()) is tf.Tensor
    assert not nn.Parameter([1, 2], requires_grad=False).requires_grad
    with pytest.raises(RuntimeError, match="only floating tensors can"):
        nn.Parameter([1, 2])


def test_a_plain_tensor_does_not_take_the_place_of_a_parameter():
    layer = nn.Linear(2, 2)
    with pytest.raises(TypeError, match="Linear.weight is a Parameter, and a ndarray in its place would not be"):
        nn.Linear(2, 2).weight = np.ones((2, 2))
    with pytest.raises(TypeError, match="Linear.weight is a Parameter, and a Tensor in its place would not be trained"):
        layer.weight = tf.ones(2, 2)
    layer.weight = nn.Parameter(tf.ones(2, 2))
    layer.bias = None
    assert [name for name, _ in layer.named_parameters()] == ["weight"]
    norm = nn.BatchNorm1d(2)
    norm.running_mean = tf.ones(2)
    assert norm.state_dict()["running_mean"].tolist() == [1, 1]
    with pytest.raises(TypeError, match=r"BatchNorm1d.running_mean is a buffer, a Tensor or None; got ndarray. Write"):
        norm.running_mean = np.ones(2)
    norm.running_mean = norm.running_var = None
    assert list(norm.state_dict()) == ["weight", "bias", "num_batches_tracked"]


def test_registration_by_name():
    m = nn.Module()
    m.register_parameter("w", nn.Parameter(tf.ones(1)))
    m.register_parameter("b", None)
    m.add_module("l", nn.Linear(1, 1))
    assert m.b is None
    assert [n for n, _ in m.named_parameters()] == ["w", "l.weight", "l.bias"]
    m.register_buffer("nothing", None)
    assert m.nothing is None and not list(m.buffers())
    m.nothing = tf.ones(1)
    assert [n for n, _ in m.named_buffers()] == ["nothing"]
    for wrong in ("w", "train", "a.b"):
        with pytest.raises(KeyError, match="the name must be a new attribute"):
            m.register_buffer(wrong, tf.ones(1))
    with pytest.raises(TypeError, match="c must be a Tensor or None; got float"):
        m.register_buffer("c", 1.0)
    with pytest.raises(TypeError, match="c must be a Parameter or None; got Tensor"):
        m.register_parameter("c", tf.ones(1))
    with pytest.raises(TypeError, match="c must be a Module or None; got type"):
        m.add_module("c", nn.Linear)


def test_no_forward():
    with pytest.raises(NotImplementedError, match=r"Module: write `def forward\(self, x\)"):
        nn.Module()(1)


def test_train_eval_apply_zero_grad():
    net, order = Net(), []
    assert net.training and net.body.training
    assert net.eval() is net and not any(m.training for m in net.modules())
    assert net.train() is net and all(m.training for m in net.modules())
    net.apply(lambda m: order.append(type(m).__name__))
    assert order == ["Linear", "Tanh", "BatchNorm1d", "Sequential", "Linear", "Linear", "Net"]
    net(tf.randn(5, 3)).sum().backward()
    assert net.scale.grad is not None
    net.zero_grad(set_to_none=False)
    assert net.scale.grad.tolist() == [0]
    net.zero_grad()
    assert net.scale.grad is None


# Conversions


def test_to_keeps_the_tensors_and_their_gradients():
    net = Net()
    ids = [id(t) for t in [*net.parameters(), *net.buffers()]]
    net(tf.randn(5, 3)).sum().backward()
    grad = net.scale.grad.item()
    opt = tf.optim.SGD(net.parameters(), lr=1.0)
    old = net.scale.item()
    assert net.double() is net
    assert [id(t) for t in [*net.parameters(), *net.buffers()]] == ids
    assert {t.dtype for t in net.parameters()} == {tf.float64}
    assert {n for n, t in net.named_buffers() if t.dtype != tf.float64} == {"body.2.num_batches_tracked"}
    assert net.scale.grad.dtype == tf.float64 and net.scale.grad.item() == grad
    opt.step()
    assert net.scale.item() == pytest.approx(old - grad)
    net(tf.randn(5, 3, dtype="float64")).sum().backward()  # the new leaves collect
    assert net.scale.grad.item() != grad
    assert net.to(tf.float32).scale.dtype == net.to("float32").to("cpu").scale.dtype == tf.float32
    assert net.half().to(tf.ones(1)).scale.dtype == tf.float32
    assert net.bfloat16().scale.dtype == tf.bfloat16 and net.float().scale.dtype == tf.float32


def test_to_the_same_changes_nothing():
    net = Net()
    arrays = [p.data for p in net.parameters()]
    net(tf.randn(5, 3)).sum().backward()
    net.to("cpu", tf.float32)
    assert all(a is p.data for a, p in zip(arrays, net.parameters()))
    assert net.scale.grad is not None


def test_to_makes_older_graphs_stale():
    net = nn.Linear(2, 2)
    loss = net(tf.randn(3, 2)).sum()
    net.double()
    with pytest.raises(RuntimeError, match="written in place after the forward pass"):
        loss.backward()


def test_to_refuses_integers():
    with pytest.raises(TypeError, match="parameters are floating, so must the dtype be; got int64"):
        Net().to(tf.int64)


# State


def test_state_dict_round_trip(tmp_path):
    net, other = Net(), Net()
    net(tf.randn(5, 3))
    state = net.state_dict()
    assert list(state) == [
        *NAMES[:2],
        "mask",
        *NAMES[2:6],
        *(f"body.2.{n}" for n in ("running_mean", "running_var", "num_batches_tracked")),
        *NAMES[6:],
    ]
    tf.save(state, tmp_path / "net.safetensors")
    missing, unexpected = other.load_state_dict(tf.load(tmp_path / "net.safetensors"))
    assert missing == unexpected == []
    for name, t in other.state_dict().items():
        assert t.numpy().tobytes() == state[name].numpy().tobytes(), name
    x = tf.randn(4, 3)
    assert net.eval()(x).tolist() == other.eval()(x).tolist()


def test_state_dict_shares_memory_and_carries_no_graph():
    net = nn.Linear(2, 1)
    state = net.state_dict()
    with tf.no_grad():
        net.bias.fill_(7)
    assert state["bias"].tolist() == [7] and not state["bias"].requires_grad


def test_loading_copies_in_place_and_counts_the_write():
    net = nn.Conv2d(2, 3, 2)
    arrays, strides = [p.data for p in net.parameters()], net.weight.data.strides
    loss = net(tf.randn(1, 2, 4, 4)).sum()
    new = {"weight": np.arange(24.0).reshape(3, 2, 2, 2), "bias": tf.arange(3)}
    net.load_state_dict(new)
    assert all(a is p.data for a, p in zip(arrays, net.parameters()))
    assert net.weight.data.strides == strides and net.weight.dtype == tf.float32 and net.weight.requires_grad
    assert np.array_equal(net.weight.detach().numpy(), new["weight"])
    with pytest.raises(RuntimeError, match="written in place after the forward pass"):
        loss.backward()
    new["weight"][:] = 0
    assert net.weight.detach().sum().item() == 276


def test_a_state_that_does_not_fit_loads_nothing():
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    before = {name: t.clone() for name, t in net.state_dict().items()}
    state = {name: t + 1 for name, t in before.items()}
    state["0.weight"] = tf.ones(3, 5)
    state["extra.weight"] = state.pop("0.bias")
    state["1.num_batches_tracked"] = tf.ones(())
    state["1.bias"] = [1.0]
    with pytest.raises(RuntimeError) as e:
        net.load_state_dict(state)
    assert str(e.value).split("\n  ") == [
        "load_state_dict: this state does not fit Sequential; nothing was loaded",
        "0.weight: must have shape (3, 2); got (3, 5)",
        "1.bias: must be a Tensor; got list",
        "1.num_batches_tracked: must be int64; got float32",
        "missing: 0.bias",
        "unexpected: extra.weight",
        "strict=False loads the names that both have",
    ]
    for name, t in net.state_dict().items():
        assert t.tolist() == before[name].tolist()
    with pytest.raises(RuntimeError, match=r"0\.weight: must have shape"):  # names may differ, shapes may not
        net.load_state_dict(state, strict=False)
    with pytest.raises(TypeError, match="needs a dict of Tensors; got Linear"):
        net.load_state_dict(net[0])


def test_not_strict():
    net = nn.Linear(2, 1)
    found = net.load_state_dict({"bias": tf.ones(1), "other": tf.ones(1)}, strict=False)
    assert found.missing_keys == ["weight"] and found.unexpected_keys == ["other"]
    assert net.bias.tolist() == [1]


# Copies, hooks, memory


def test_deepcopy():
    net = Net()
    net(tf.randn(5, 3)).sum().backward()
    twin = copy.deepcopy(net).eval()
    assert net.training and twin.scale.grad.tolist() == net.scale.grad.tolist()
    with tf.no_grad():
        twin.scale.fill_(9)
        twin.scale.grad.zero_()
    assert net.scale.item() == 1 and net.scale.grad.item() != 0
    assert [n for n, _ in twin.named_buffers()] == [n for n, _ in net.named_buffers()]
    assert twin.mask is not net.mask


def test_forward_hooks():
    net, seen = nn.Linear(2, 2), []
    x = tf.ones(1, 2)
    y = net(x).tolist()
    with net.register_forward_hook(lambda m, args, y: seen.append((m is net, args[0] is x, y.shape))):
        net(x)
    assert seen == [(True, True, (1, 2))]
    net(x)
    assert len(seen) == 1
    double = net.register_forward_hook(lambda m, args, y: y * 2)
    plus = net.register_forward_hook(lambda m, args, y: y + 1)
    assert net(x).tolist()[0] == pytest.approx([2 * v + 1 for v in y[0]], rel=1e-6)  # float32
    double.remove()
    plus.remove()
    plus.remove()
    before = net.register_forward_pre_hook(lambda m, args: x * 0)
    assert net(x).tolist() == [net.bias.tolist()]
    before.remove()
    with net.register_forward_pre_hook(lambda m, args: (args[0], True)):
        assert net(x).tolist() == [[max(v, 0) for v in y[0]]]
    assert net(x).tolist() == y


def test_gradients_of_an_inner_layer_by_hooks():
    net, kept = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)), []
    with net[1].register_forward_hook(lambda m, args, y: y.register_hook(lambda g: kept.append(g)) and None):
        net(tf.ones(1, 2)).sum().backward()
    assert kept[0].tolist() == net[2].weight.tolist()


def test_a_model_dies_without_the_collector():
    gc.disable()
    try:
        net = Net()
        net(tf.randn(5, 3)).sum().backward()
        alive = weakref.ref(net.body[0].weight)
        del net
        assert alive() is None
    finally:
        gc.enable()


# Containers


def test_sequential():
    a, b = nn.Linear(2, 3), nn.Linear(3, 2)
    seq = nn.Sequential(a, nn.ReLU(), b)
    x = tf.randn(4, 2)
    assert seq(x).tolist() == b(a(x).relu()).tolist()
    assert len(seq) == 3 and seq[0] is a and seq[-1] is b and list(seq)[2] is b
    part = seq[1:]
    assert type(part) is nn.Sequential and [n for n, _ in part.named_children()] == ["0", "1"] and part[1] is b
    named = nn.Sequential(OrderedDict(first=a, second=b))
    assert [n for n, _ in named.named_parameters()] == ["first.weight", "first.bias", "second.weight", "second.bias"]
    assert named.first is a and named[1] is b and [n for n, _ in named[1:].named_children()] == ["second"]
    seq[1] = nn.Tanh()
    assert isinstance(seq[1], nn.Tanh)
    del seq[0]
    assert [type(m).__name__ for m in seq] == ["Tanh", "Linear"] and seq.get_submodule("1") is b
    seq.insert(0, a)
    seq.append(nn.Identity()).extend([nn.Flatten()])
    assert [type(m).__name__ for m in seq] == ["Linear", "Tanh", "Linear", "Identity", "Flatten"]
    del seq[1:3]
    assert [n for n, _ in seq.named_children()] == ["0", "1", "2"]
    relu = nn.ReLU()
    assert len(nn.Sequential(relu, relu)) == 2
    with pytest.raises(IndexError, match=r"Sequential: index must be in -3\.\.2 for 3 modules; got 3"):
        seq[3]
    with pytest.raises(TypeError, match="Sequential: holds Modules; got function"):
        nn.Sequential(nn.ReLU(), lambda x: x)
    with pytest.raises(TypeError, match="holds Modules; got <class 'tinygrad_fast.nn.activation.ReLU'>"):
        nn.Sequential(nn.ReLU)
    with pytest.raises(KeyError, match="none of Module's own; got 'train'"):
        nn.Sequential({"train": nn.ReLU()})


def test_module_list_and_dict():
    blocks = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))
    assert [n for n, _ in blocks.named_parameters()][:2] == ["0.weight", "0.bias"]
    assert type(blocks[:2]) is nn.ModuleList and len(blocks[:2]) == 2
    named = nn.ModuleDict({"a": nn.ReLU(), "b": blocks})
    assert list(named) == named.keys() == ["a", "b"] and named["b"] is blocks and "a" in named and len(named) == 2
    named["c"] = nn.Tanh()
    del named["a"]
    assert [n for n, _ in named.named_children()] == ["b", "c"] and len(named.values()) == 2
    with pytest.raises(KeyError, match="must be one of b, c; got 'a'"):
        named["a"]
    with pytest.raises(KeyError, match="a string without dots"):
        named["x.y"] = nn.ReLU()
    with pytest.raises(NotImplementedError):
        blocks(1)


# Printing


def test_repr():
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.Sequential(nn.Linear(8, 2)), nn.ReLU())
    assert repr(net) == (
        "Sequential(\n"
        "  (0): Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False)\n"
        "  (1): Sequential(\n"
        "    (0): Linear(in_features=8, out_features=2, bias=True)\n"
        "  )\n"
        "  (2): ReLU()\n"
        ")"
    )
    assert re.sub(r"\s+", " ", repr(Net()))[:21] == "Net( (body): Sequenti"


def test_a_state_of_pytorchs_is_told_how_to_be_converted():
    foreign = type("Tensor", (), {"__module__": "torch"})()
    with pytest.raises(TypeError, match=r"got PyTorch's. Write \{k: tf.from_numpy\(v.numpy\(\)\) for k, v"):
        nn.Linear(1, 1).load_state_dict({"weight": foreign, "bias": foreign})
