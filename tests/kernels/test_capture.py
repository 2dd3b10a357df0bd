"""A step as one CUDA graph: bit for bit what it is without one, on a stand-in that records and computes nothing.

What the host worked out while the stand-in recorded is in the record for good (like_graph.py). So these tests fail if a
learning rate, a step count, a loss scale or a random number was, and faults of each kind are planted to see them do it.
"""

import gc
import warnings
import weakref
from functools import partial
from unittest import mock

import numpy as np
import pytest

import tinygrad_fast as tf
import tinygrad_fast.nn.functional as F
from tinygrad_fast import backend, capture, nn, optim, rng, schedule
from tinygrad_fast.amp import GradScaler
from tinygrad_fast.backend import graph
from tinygrad_fast.cuda import CaptureError
from tinygrad_fast.data import DataLoader, DataLoaders, TensorDataset
from tinygrad_fast.learner import (
    Callback,
    CrossEntropyLossFlat,
    GradientAccumulation,
    GradientClip,
    GraphStep,
    Learner,
    MixedPrecision,
    accuracy,
)
from tinygrad_fast.optim.optimizer import Optimizer
from tinygrad_fast.tape import mode

from . import like_cuda, like_cupy, like_graph
from .test_devices import gpus as gpus

DEVICES = ["stand-in", pytest.param("cuda", marks=pytest.mark.gpu)]
STEPS = 8
SGD = partial(optim.SGD, momentum=0.9, weight_decay=0.01, nesterov=True)
DAMPED = partial(optim.SGD, momentum=0.9, dampening=0.3)
SHAPE = (6, 3, 8, 8)


@pytest.fixture
def device(request, monkeypatch):
    if request.param == "stand-in":
        request.getfixturevalue("gpus")
        monkeypatch.setattr(like_cuda, "COUNT", 1)
        return "cuda:0"
    return request.param


@pytest.fixture
def stand_in(gpus, monkeypatch):
    monkeypatch.setattr(like_cuda, "COUNT", 1)
    return "cuda:0"


def network():
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25)),
        *(nn.Conv2d(8, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5)),
        nn.Linear(8, 3),
    )


def bits(tensors):
    return [t.numpy(force=True).copy() for t in tensors]


def training(device, make, kind=None, captured=True, steps=STEPS, refused=None):
    """Everything there is to see of a training run, number by number, and how often a graph was launched.

    refused: after which line a captured step reads a number; each such step is then taken without a graph.
    """
    tf.manual_seed(0)
    model, draw = network().to(device), np.random.default_rng(0)
    weights = list(model.parameters())
    opt = make([{"params": weights[:3], "lr": 0.1}, {"params": weights[3:]}], lr=0.05)
    scaler = GradScaler(init_scale=2.0**17, growth_interval=2, enabled=kind == "float16")
    cycle = schedule.one_cycle(np.array([0.1, 0.05]))

    def line(name, loss):
        if mode.capture is not None and name == refused:
            loss.item()

    def step(x, t):
        with tf.autocast(dtype=kind or "float16", enabled=kind is not None):
            loss = F.cross_entropy(model(x).float(), t)
        line("forward", loss)
        scaler.scale(loss).backward()
        line("backward", loss)
        scaler.unscale_(opt)
        norm = nn.utils.clip_grad_norm_(weights, 0.5)
        line("unscale", loss)
        if scaler.ready(opt):
            line("ready", loss)
            opt.step()
        line("step", loss)
        scaler.update()
        line("update", loss)
        opt.zero_grad()
        return {"loss": loss, "norm": norm}

    run, found = tf.cuda.capture(step) if captured else step, []
    for i in range(steps):
        rng.default.key()  # as a loader draws between steps
        for group, lr in zip(opt.param_groups, cycle["lr"](i / steps)):
            group["lr"] = float(lr)
            if "momentum" in group:
                group["momentum"] = cycle["mom"](i / steps)
        x = tf.tensor(draw.standard_normal(SHAPE), dtype=tf.float32).to(device)
        t = tf.tensor(draw.integers(0, 3, SHAPE[0])).to(device)
        try:
            found.append(run(x, t))
        except CaptureError:
            if not refused:
                raise
            assert i > 1 and not opt.skip
            found.append(step(x, t))
    lost = scaler.skipped_steps
    memory = [t for state in opt.state_dict()["state"].values() for t in state.values()]
    numbers = [scaler.get_scale(), lost, rng.default.stream, *(n for n in memory if isinstance(n, int))]
    numbers += [t.version[0] for t in model.state_dict().values()]
    found = bits([t for result in found for t in result.values()])
    found += bits([*model.state_dict().values(), *(t for t in memory if isinstance(t, tf.Tensor))])
    launched = run._graph._graph.launched if captured and run.captured and device == "cuda:0" else 0
    return [*found, *map(np.array, numbers)], lost, launched


def alike(a, b):
    return [i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x.tobytes() != y.tobytes()]


@pytest.mark.parametrize("device", DEVICES, indirect=True)
@pytest.mark.parametrize("kind", [None, "float16", "bfloat16"])
@pytest.mark.parametrize("make", [SGD, DAMPED, optim.AdamW, optim.RMSprop])
def test_a_captured_run_is_the_run_bit_for_bit(device, make, kind):
    """One cycle, two groups, dropout, batch norm, max pool, clipping; in float16 some steps overflow, late ones too."""
    want, lost, _ = training(device, make, kind, captured=False)
    found, _, launched = training(device, make, kind)
    assert not alike(found, want)
    assert launched in (0, STEPS - 2) and (lost >= 2) == (kind == "float16")
    assert {a.dtype for a in want} >= {np.dtype("float32"), np.dtype("int64")} and np.isfinite(want[-20]).all()


@pytest.mark.parametrize("kind", [None, "float16"])
@pytest.mark.parametrize("refused", ["forward", "backward", "unscale", "ready", "step", "update"])
def test_a_capture_that_fails_leaves_nothing_behind(stand_in, refused, kind):
    """Six attempts, each broken off after that line: the steps taken in their place are those of a plain run."""
    want, _, _ = training(stand_in, optim.Adam, kind, captured=False)
    forget, attempts = graph.Notes.forget, []
    with mock.patch.object(graph.Notes, "forget", lambda self: attempts.append(forget(self))):
        found, _, launched = training(stand_in, optim.Adam, kind, refused=refused)
    assert not alike(found, want) and len(attempts) == STEPS - 2 and not launched


# What would be wrong, planted


def _baked(which):
    """Numbers of one kind that the host works out are told once, at the capture."""
    told = graph.Notes.host_input

    def once(self, make):
        value = np.array(make())
        return told(self, (lambda: value) if value.dtype == which else make)

    return mock.patch.object(graph.Notes, "host_input", once)


def _scale_of_the_host(self, outputs):
    return outputs * self.get_scale_at_capture if mode.capture else outputs * self.get_scale()


def _without(name):
    return mock.patch.object(graph.Notes, name, lambda self, *given: None)


def _not_counted(self, group, ps, states):
    return np.array(self.hyper(group, states[0]["step"] + 1), np.float64)


FAULTS = {
    "the learning rate of the capture": lambda: _baked(np.float64),
    "the dropout mask of the capture": lambda: _baked(np.uint32),
    "no step of the host": lambda: _without("host_step"),
    "numbers that are never sent": lambda: _without("send"),
    "steps that nobody counts": lambda: mock.patch.object(Optimizer, "_host_step", _not_counted),
    "the batch of the capture": lambda: mock.patch.object(
        capture.Captured,
        "_replay",
        lambda self, args: (self._graph.notes.host_step(), self._graph.launch(), self._copies())[2],
    ),
    "results that the next replay writes to": lambda: mock.patch.object(
        capture.Captured, "_copies", lambda self: self._result
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_noticed(stand_in, fault):
    want, _, _ = training(stand_in, optim.Adam, captured=False)
    with FAULTS[fault]():
        found, _, _ = training(stand_in, optim.Adam)
    assert alike(found, want)


@pytest.mark.parametrize("fault", ["scale", "flag", "count"])
def test_a_fault_of_loss_scaling_is_noticed(stand_in, fault, monkeypatch):
    """A scale that the host knew, a step that heeds no flag, skipped steps that Adam counts."""
    want, lost, _ = training(stand_in, optim.Adam, "float16", captured=False)
    assert lost >= 2
    machine, known = type(backend.get(stand_in)), [2.0**17]
    if fault == "scale":

        def scale(self, loss):
            known[0] = known[0] if mode.capture else self.get_scale()
            return loss * known[0]

        monkeypatch.setattr(GradScaler, "scale", scale)
    else:
        adam = machine.adam_

        def heedless(self, *lists, skip=None, **given):
            flag, count = skip
            zero = self.full((), 0, np.dtype("int32"))
            adam(self, *lists, skip=(zero, count) if fault == "flag" else (flag, zero), **given)

        monkeypatch.setattr(machine, "adam_", heedless)
    found, _, _ = training(stand_in, optim.Adam, "float16")
    assert alike(found, want)


def small(device, seed=0):
    """A layer, its optimiser, and a batch; a step of them."""
    tf.manual_seed(seed)
    layer = nn.Linear(4, 3).to(device)
    opt = optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)

    def step(x):
        opt.zero_grad()
        loss = layer(x).square().mean()
        loss.backward()
        opt.step()
        return loss

    return layer, opt, step, tf.randn(5, 4).to(device)


def test_a_pool_that_dies_is_noticed(stand_in):
    _, _, step, x = small(stand_in)
    run = tf.cuda.capture(step)
    for _ in range(4):
        run(x)
    del run._graph.pool
    with pytest.raises(AssertionError, match="whose memory was given back"):
        run(x)


def test_memory_that_nobody_holds_is_noticed(stand_in):
    """What a step finds by itself must stay where it is (docs/cuda_graphs.md); written to, it may change."""
    found = {"scale": tf.ones(3).to(stand_in)}
    run = tf.cuda.capture(lambda x: x * found["scale"])
    x = tf.ones(3).to(stand_in)
    assert [run(x).tolist() for _ in range(3)] == [[1.0] * 3] * 3
    found["scale"].fill_(2.0)
    assert run(x).tolist() == [2.0] * 3
    found["scale"] = tf.ones(3).to(stand_in)
    with pytest.raises(AssertionError, match=r"uses memory which nobody holds: \[\(3,\)\]"):
        run(x)


# What a step may leave behind


@pytest.mark.parametrize("device", DEVICES, indirect=True)
def test_gradients_and_results_are_this_steps(device):
    """The gradient that a replay leaves in p.grad, also after a step without a graph; results of before stay."""
    seen = []
    for captured in (False, True):
        layer, _, step, x = small(device)
        run, kept = tf.cuda.capture(step) if captured else step, []
        for i in range(6):
            batch = x[:4] if i == 4 else x * (i + 1.0)
            with warnings.catch_warnings(record=True):
                warnings.simplefilter("always")
                kept += [run(batch), layer.weight.grad.clone()]
        seen.append(bits(kept))
        assert not kept[0].requires_grad or not captured
    assert not alike(*seen)


@pytest.mark.parametrize("device", DEVICES, indirect=True)
def test_writes_of_a_replay_are_counted(device):
    """A forward pass from before a replay must not be walked back after it: its weights are others now."""
    layer, _, step, x = small(device)
    run = tf.cuda.capture(step)
    for _ in range(3):
        run(x)
    y = layer(x).sum()
    run(x)
    with pytest.raises(RuntimeError, match="was written in place after the forward pass"):
        y.backward()


def test_on_another_gpu(gpus):
    seen = []
    for captured in (False, True):
        layer, _, step, x = small("cuda:1")
        run = tf.cuda.capture(step) if captured else step
        losses = [run(x * (i + 1.0)) for i in range(5)]
        seen.append(bits([*losses, *layer.parameters()]))
        assert all(t.device == "cuda:1" for t in losses) and tf.cuda.current_device() == 0
    assert not alike(*seen) and run._graph._graph.launched == 3


@pytest.mark.parametrize("page, pages", [(64, [64] * 10), (32, [32] + [48] * 10), (256, [256] * 2)])
def test_numbers_of_many_groups_fill_pages(stand_in, monkeypatch, page, pages):
    """Of each group 48 bytes of hyper, and 48 of lists of one array. What is larger than a page gets one of its own."""
    monkeypatch.setattr(graph, "PAGE", page)
    seen = []
    for captured in (False, True):
        ws = [tf.full((3,), float(i)).to(stand_in).requires_grad_() for i in range(5)]
        opt = optim.Adam([{"params": [w]} for w in ws], lr=0.1)

        def step(ws=ws, opt=opt):
            sum(w.square().sum() for w in ws).backward()
            opt.step()
            opt.zero_grad()

        run = tf.cuda.capture(step, device=stand_in) if captured else step
        for i in range(5):
            for k, group in enumerate(opt.param_groups):
                group["lr"] = 0.01 * (i + k)
            run()
        seen.append(bits(ws))
    assert not alike(*seen) and [len(near) for near, _, _ in run._graph.notes._pages] == pages


# Calls that are not as the captured one


def other_shape(run, layer, opt, x):
    run(x[:2])


def other_dtype(run, layer, opt, x):
    layer.double()
    run(x.double())
    layer.float()


def other_mode(run, layer, opt, x):
    layer.eval()
    run(x)
    layer.train()


def other_order(run, layer, opt, x):
    run(tf.tensor(x.T.numpy()).to(x.device).T)


def no_grad(run, layer, opt, x):
    with tf.autocast(enabled=True):
        run(x)


def forgotten(run, layer, opt, x):
    opt.load_state_dict(opt.state_dict())
    run(x)


def frozen(run, layer, opt, x):
    layer.bias.requires_grad_(False)
    run(x)
    layer.bias.requires_grad_(True)


OTHERS = {
    other_shape: r"argument 0 is \(2, 4\) float32 on cuda:0, strides \(16, 4\), and was \(5, 4\) float32",
    other_dtype: "argument 0 is .* float64",
    other_mode: "Linear is in evaluation mode",
    other_order: r"strides \(4, 20\), and was .* strides \(16, 4\)",
    no_grad: "no_grad or autocast are not as they were",
    forgotten: "the SGD has lost or loaded what it remembers",
    frozen: r"a parameter of shape \(3,\) was moved, frozen or thawed",
}


@pytest.mark.parametrize("other", OTHERS, ids=lambda f: f.__name__)
def test_another_call_runs_uncaptured_with_one_warning(stand_in, other):
    seen = []
    for captured in (False, True):
        layer, opt, step, x = small(stand_in)
        run = tf.cuda.capture(step) if captured else step
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            losses = [run(x) for _ in range(3)]
            for _ in range(3):
                other(run, layer, opt, x)
                losses += [run(x), run(x)]
        seen.append(bits([*losses, *layer.parameters()]))
    assert not alike(*seen)
    [warning] = told
    message = str(warning.message)
    with pytest.raises(UserWarning, match=OTHERS[other]):
        raise warning.message
    assert "runs uncaptured, and is right but slower" in message and warning.filename == __file__
    as_before = other not in (other_dtype, forgotten, frozen)
    assert run._graph._graph.launched == (7 if as_before else 1)


@pytest.mark.parametrize("other", OTHERS, ids=lambda f: f.__name__)
def test_another_call_where_the_capture_would_be(stand_in, other):
    """It may be captured in place of the usual one; it may be refused; but the numbers are right."""
    seen = []
    for captured in (False, True):
        layer, opt, step, x = small(stand_in)
        run = tf.cuda.capture(step) if captured else step
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            losses = [run(x), run(x), other(run, layer, opt, x)]
            try:
                losses = [run(x) for _ in range(3)]
            except CaptureError as e:
                assert other is other_dtype and "makes an optimiser's memory" in str(e)
                return
        seen.append(bits([*losses, *layer.parameters()]))
    assert not alike(*seen)


def test_a_batch_norm_in_another_mode_is_noticed(stand_in):
    """A block that leaves both to conv_bn calls neither."""
    conv, bn = nn.Conv2d(3, 4, 3, bias=False).to(stand_in), nn.BatchNorm2d(4).to(stand_in)
    x = tf.randn(2, 3, 5, 5).to(stand_in)
    run = tf.cuda.capture(lambda x: nn.utils.conv_bn(conv, bn, x), device=stand_in)
    for _ in range(4):
        run(x)
    assert run.captured
    bn.eval()
    with pytest.warns(UserWarning, match="BatchNorm2d is in evaluation mode"):
        run(x)


@pytest.mark.parametrize("unused", ["frozen", "frozen later", "without a gradient"])
def test_parameters_that_do_not_take_part(stand_in, unused):
    """The first of a model, as when a head is trained: no gradient, no memory, or a memory that stands still."""
    seen = []
    for captured in (False, True):
        layer, _, _, x = small(stand_in)
        far = tf.ones(3).to(stand_in).requires_grad_()
        opt = optim.Adam([far, *layer.parameters()], lr=0.1)
        if unused == "frozen later":
            far.square().sum().backward()
            opt.step()
        if unused.startswith("frozen"):
            far.requires_grad_(False)

        def step(x, layer=layer, opt=opt):
            layer(x).square().mean().backward()
            opt.step()
            opt.zero_grad()

        run = tf.cuda.capture(step) if captured else step
        for i in range(5):
            run(x * (i + 1.0))
        seen.append(bits([far, *layer.parameters()]))
    assert not alike(*seen) and run._graph._graph.launched == 3


def test_loss_scaling_that_begins_within_a_capture_is_refused(stand_in):
    layer, opt, _, x = small(stand_in)
    scaler, calls = GradScaler(), []

    def step(x):
        calls.append(1)
        opt.zero_grad()
        if len(calls) > 1:
            scaler.scale(layer(x).sum()).backward()
            scaler.step(opt)
        else:
            layer(x).sum().backward()
            opt.step()

    scaler.scale(x.sum())  # the scale is there, what the optimiser counts is not
    run = tf.cuda.capture(step, warmup=1)
    run(x)
    with pytest.raises(CaptureError, match="is the first whose loss is scaled"):
        run(x)


def test_other_values_of_python_and_other_numbers_of_arguments(stand_in):
    run = tf.cuda.capture(lambda x, k, *more: x * k, warmup=1)
    x = tf.ones(3).to(stand_in)
    assert [run(x, 2.0).sum().item() for _ in range(3)] == [6] * 3 and run.captured
    with pytest.warns(UserWarning, match=r"argument 1 is 3.0, and was 2.0"):
        assert run(x, 3.0).sum().item() == 9
    assert run(x, 2.0, None).sum().item() == 6 and run(x * 2, 2.0).sum().item() == 12


# What cannot be captured


class Loader:
    def __init__(self, device):
        data = TensorDataset(np.ones((4, 4), np.float32))
        self.batches = DataLoader(data, 2, device=device)


def refused():
    """Name, what a step must not do, and what it is told."""
    to_host, from_host = "reads a number from the GPU: item", "copies numbers from the host to the GPU: a tensor made"
    yield "item", lambda x: x.sum().item(), to_host
    yield "tolist", lambda x: x.tolist(), to_host
    yield "numpy", lambda x: x.numpy(), to_host
    yield "bool", lambda x: bool((x > 0).all()), to_host
    yield "print", lambda x: repr(x), to_host
    yield "format", lambda x: f"{x.sum():.2f}", to_host
    yield "cpu", lambda x: x.cpu(), to_host
    yield "mask", lambda x: x[x > 0], to_host
    yield "momentum None", lambda x: nn.BatchNorm1d(4, momentum=None).to(x.device)(x), "copies|reads"
    yield "list", lambda x: tf.tensor([1.0], device=x.device), from_host
    yield "rand", lambda x: x + tf.rand(4, device=x.device), from_host
    yield "index", lambda x: x[[0, 1]], from_host
    yield "to", lambda x: tf.ones(4).to(x.device), from_host
    yield "result", lambda x: 1.0, "results are Tensors, None, or tuples, lists and dicts of them; got a float"


@pytest.mark.parametrize("device", ["cuda:0", "emulated"])
@pytest.mark.parametrize("body, says", [pytest.param(*case, id=name) for name, *case in refused()])
def test_what_is_refused(stand_in, device, body, says):
    """By name, with what to do, on a GPU and in rehearsal; and nothing is captured afterwards."""
    calls = []
    run = tf.cuda.capture(lambda x: calls.append(1) or (body(x) if len(calls) > 1 else None), warmup=1)
    x = tf.ones(5, 4).to(device)
    run(x)
    with pytest.raises((CaptureError, TypeError), match=says) as caught:
        run(x)
    if caught.type is CaptureError:
        assert "Return the tensor from the step" in str(caught.value) or "Make it before the step" in str(caught.value)
    assert mode.capture is None and not run.captured and x.sum().item() == 20
    assert like_cuda.get_current_stream().recorded is None and gc.isenabled()


def test_the_first_check_of_an_index_within_a_capture(stand_in):
    """In one that fails, and in one that does not: the flag is clear before, and what a replay found is told."""
    x, calls = tf.ones(3, 2).to("cuda:0"), []

    def step(x, at):
        calls.append(1)
        y = x[at] if len(calls) > 2 else x
        return y.sum().item() if len(calls) == 3 else y

    run, far = tf.cuda.capture(step), tf.tensor([0, 2]).to("cuda:0")
    run(x, far), run(x, far)
    with pytest.raises(CaptureError, match="reads a number"):
        run(x, far)
    assert x.sum().item() == 6  # no index was wrong
    run(x, far)
    run(x, tf.tensor([0, 3]).to("cuda:0"))
    run(x, far)
    with pytest.raises(IndexError, match="got 3"):
        x.sum().item()


@pytest.mark.parametrize("device", ["cuda:0", "emulated"])
def test_gradients_from_before_the_step_are_refused(stand_in, device):
    layer = nn.Linear(4, 3).to(device)
    run = tf.cuda.capture(lambda x: layer(x).sum().backward())
    x = tf.ones(5, 4).to(device)
    run(x)
    run(x)
    with pytest.raises(CaptureError, match=r"a gradient of shape \(3.*\) is there from before the step.*zero_grad"):
        run(x)
    layer.zero_grad()
    both = tf.cuda.capture(lambda x: (layer.zero_grad(), [layer(x).sum().backward() for _ in range(2)])[0], warmup=1)
    assert [both(x) for _ in range(4)] == [None] * 4
    assert layer.bias.grad.tolist() == [10] * 3  # two walks within a step add up


@pytest.mark.parametrize("device", ["cuda:0", "emulated"])
def test_an_optimiser_that_begins_within_a_capture_is_refused(stand_in, device):
    layer, opt, _, x = small(device)
    opts = [optim.Adam(layer.parameters(), lr=0.1), opt]

    def changing(x):
        layer(x).sum().backward()
        opts[-1].step()
        layer.zero_grad()
        opts.pop() if len(opts) > 1 else None

    run = tf.cuda.capture(changing, warmup=1)
    run(x)
    with pytest.raises(CaptureError, match=r"makes an optimiser's memory \(exp_avg\) anew.*a few times"):
        run(x)
    assert device == "emulated" or not opts[-1].state


def test_waiting_and_loaders_are_refused(stand_in):
    x, batches = tf.ones(5, 4).to(stand_in), DataLoader(TensorDataset(np.ones((4, 4), np.float32)), 2, device=stand_in)
    for body, says in (
        (lambda x: tf.cuda.synchronize(), r"waits for the GPU: cuda.synchronize\(\).*Wait outside"),
        (lambda x: next(iter(batches))[0], "takes a batch from a loader.*hand it in"),
    ):
        calls = []
        run = tf.cuda.capture(
            lambda x, body=body, calls=calls: calls.append(1) or (body(x) if len(calls) > 1 else x), 1
        )
        run(x)
        with pytest.raises(CaptureError, match=says):
            run(x)


class Own(optim.Optimizer):
    """w = w - lr g, by a user who knows of no flag."""

    def buffers(self, group):
        return []

    def hyper(self, group, step):
        return [group["lr"]]

    def update(self, xp, ws, gs, buffers, hyper, group):
        lr = xp.cast(xp.getitem(hyper, key=(0,)), dtype=gs[0].dtype)
        for w, g in zip(ws, gs):
            xp.write_(w, xp.sub(w, xp.mul(g, lr)))


class Heeding(Own):
    """And by one who does."""

    supports = ("skip",)

    def update(self, xp, ws, gs, buffers, hyper, group, skip=None):
        lr = xp.cast(xp.getitem(hyper, key=(0,)), dtype=gs[0].dtype)
        for w, g in zip(ws, gs):
            new = xp.sub(w, xp.mul(g, lr))
            xp.write_(w, new if skip is None else xp.where(xp.eq(skip[0], 1), w, new))


def own(kind, groups, lr):
    return kind(groups, dict(lr=lr, weight_decay=0))


@pytest.mark.parametrize("kind", [None, "bfloat16", "float16"])
def test_optimisers_of_users(stand_in, kind):
    """Loss scaling asks more of them: to heed the flag. Without, a capture says so, and names them."""
    for make in (Heeding, Own)[: 1 if kind == "float16" else 2]:
        want, lost, _ = training(stand_in, partial(own, make), kind, captured=False)
        found, _, launched = training(stand_in, partial(own, make), kind)
        assert not alike(found, want) and launched == STEPS - 2 and (lost >= 2) == (kind == "float16")
    if kind == "float16":
        says = r"whether a step of Own is to be left out.*its `supports` name \"skip\".*nothing where the flag is 1"
        with pytest.raises(CaptureError, match=says):
            training(stand_in, partial(own, Own), kind)


def test_many_small_arrays_are_joined(stand_in):
    """And parted: CuPy's concatenate would send the addresses of more than eight from the host."""
    run = tf.cuda.capture(lambda x: tf.cat([part * (i + 1.0) for i, part in enumerate(x.split(1))]), warmup=1)
    for k in range(1, 4):
        x = tf.full((20, 3), float(k))
        assert (run(x.to(stand_in)).cpu() == x * tf.arange(1.0, 21.0)[:, None]).all()


def test_what_cupy_itself_refuses(stand_in):
    calls = []
    run = tf.cuda.capture(lambda x: calls.append(1) or (x.data.tolist() if len(calls) > 1 else None), warmup=1)
    x = tf.ones(2).to(stand_in)
    run(x)
    with pytest.raises(CaptureError, match="CuPy refuses a line of the step: the current stream is capturing"):
        run(x)


def test_arguments_of_other_kinds():
    run = tf.cuda.capture(lambda x: x)
    with pytest.raises(TypeError, match="arguments are Tensors, or Python values that can be told apart; got a list"):
        run([tf.ones(1)])
    with pytest.raises(TypeError, match=r"an argument of shape \(2,\) requires grad"):
        run(tf.ones(2).requires_grad_())
    with pytest.raises(TypeError, match="step is a function of Tensors; got a Tensor"):
        tf.cuda.capture(tf.ones(1))


def test_a_captured_step_within_a_captured_step(stand_in):
    inner = tf.cuda.capture(lambda x: x * 2, warmup=1)
    outer = tf.cuda.capture(lambda x: inner(x) + 1, warmup=3)
    x = tf.ones(2).to(stand_in)
    assert [outer(x * i).tolist() for i in range(6)] == [[2.0 * i + 1] * 2 for i in range(6)]
    assert inner.captured and outer.captured and outer._graph._graph.launched == 3


def test_without_arguments_the_results_say_where(stand_in):
    w = tf.zeros(2).to(stand_in)
    run = tf.cuda.capture(lambda: {"w": [w.add_(1)]})
    assert [run()["w"][0].tolist() for _ in range(5)] == [[i + 1.0] * 2 for i in range(5)]
    assert run._graph._graph.launched == 3


# Machines without graphs


@pytest.mark.parametrize("device", ["cpu", "emulated"])
def test_without_a_gpu_the_step_runs_each_time(device):
    seen = []
    for captured in (False, True):
        layer, _, step, x = small(device)
        calls = []
        counted = lambda x, step=step, calls=calls: calls.append(1) or step(x)  # noqa: E731
        run = tf.cuda.capture(counted) if captured else counted
        seen.append(bits([*(run(x * i) for i in range(5)), *layer.parameters()]))
        assert len(calls) == 5
    assert not alike(*seen) and run.captured == (device == "emulated")


# In a fit


class Wild(Callback):
    def before_step(self):
        pass


def fit(device, captured, precision=None, n=40, opt_func=SGD, epochs=2, cbs=(), fused=False):
    """Losses, table, weights of a fit over batches of 16, 16 and 8."""
    tf.manual_seed(0)
    draw = np.random.default_rng(0)
    x, t = draw.standard_normal((n, 3, 8, 8)).astype(np.float32), draw.integers(0, 3, n)
    train, valid = TensorDataset(x, t), TensorDataset(x[:8], t[:8])
    dls = DataLoaders(
        DataLoader(train, 16, shuffle=True, num_workers=2, device=device), DataLoader(valid, 8, device=device)
    )
    learn = Learner(
        dls,
        network(),
        CrossEntropyLossFlat(),
        opt_func=opt_func,
        metrics=accuracy,
        cbs=[GradientClip(0.5, fused=fused), *cbs],
    )
    if precision:
        learn.add_cbs(
            MixedPrecision(precision, **dict(init_scale=2.0**17, growth_interval=1) if precision[0] == "f" else {})
        )
    if captured:
        assert learn.capture() is learn
    with learn.no_bar():
        learn.fit_one_cycle(epochs, 0.05)
    found = [np.array(learn.recorder.batch_losses), np.array(learn.recorder.values)]
    found += [np.array(learn.recorder.hps["lr"]), *bits(learn.model.state_dict().values())]
    skipped = learn.callback(MixedPrecision).scaler.skipped_steps if precision else 0
    return [*found, np.array(skipped)], learn


PRECISIONS = [(None, False), (None, True), ("float16", False), ("float16", True), ("bfloat16", False)]


@pytest.mark.parametrize("precision, fused", PRECISIONS)
@pytest.mark.parametrize("device", DEVICES, indirect=True)
def test_a_captured_fit_is_the_fit(device, precision, fused):
    """A shuffling loader that draws from the same random numbers, a smaller last batch, validation between epochs."""
    want, _ = fit(device, False, precision, fused=fused)
    launched, pools, launch = [], [], graph.Graph.launch

    def counted(self):
        launched.append(1)
        pools.append(weakref.ref(self.pool))
        launch(self)

    with mock.patch.object(graph.Graph, "launch", counted), pytest.warns(UserWarning) as told:
        found, learn = fit(device, True, precision, fused=fused)
    assert not alike(found, want)
    assert len(launched) == 2 and len(want[0]) == 6  # of 2 x (16, 16, 8): the first two warm up
    assert [str(w.message)[:43] for w in told] == ["captured step: argument 1 is (8, 3, 8, 8) f"]
    assert (want[-1] > 0) == (precision == "float16")
    with learn.no_bar():
        learn.fit(2, 0.01)  # another fit, another graph; what was said once is not said again
    gc.collect()
    assert learn.whole_step is None and not any(pool() for pool in pools)


@pytest.mark.parametrize("device", ["cpu", "emulated"])
def test_a_fit_without_a_gpu(device):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (found, _), (want, _) = fit(device, True, epochs=1, n=48), fit(device, False, epochs=1, n=48)
    assert not alike(found, want)


def test_for_one_fit_and_never_again(stand_in):
    _, learn = fit(stand_in, False, n=32, epochs=1)
    with learn.no_bar():
        learn.fit(2, cbs=GraphStep(warmup=1))
        assert learn.whole_step is None and not any(isinstance(cb, GraphStep) for cb in learn.cbs)
    learn.capture().capture(warmup=1)
    with learn.no_bar():
        learn.lr_find(num_it=8)
    assert sum(isinstance(cb, GraphStep) for cb in learn.cbs) == 1


def test_callbacks_whose_python_would_not_run(stand_in):
    with pytest.raises(ValueError, match=r"Wild acts within a step \(before_step\), and its Python would not"):
        fit(stand_in, True, cbs=[Wild()])
    with pytest.raises(ValueError, match=r"GradientAccumulation acts within a step \(after_loss, before_step\)"):
        fit(stand_in, True, cbs=[GradientAccumulation(32)])


# The stand-in itself


def test_what_it_stands_for_is_there():
    """CuPy imports without a GPU, and may be installed here."""
    cupy = pytest.importorskip("cupy")
    assert callable(cupy.cuda.using_allocator) and callable(cupy.cuda.MemoryPool.malloc)
    assert all(hasattr(cupy.cuda.Stream, name) for name in ("begin_capture", "end_capture", "is_capturing"))
    assert callable(cupy.cuda.graph.Graph.launch)


def test_the_stand_in_computes_nothing_until_it_is_told(stand_in):
    x = like_cupy.asarray(np.ones(4))
    pool, stream = like_cuda.MemoryPool(), like_cuda.Stream(non_blocking=True)
    with like_cuda.using_allocator(pool.malloc), stream:
        stream.begin_capture()
        y = x + 1
        kept, view = y[::-1], x.reshape(2, 2)
        view[0] = 5.0
        lost = y * 3
        del lost, y
        made = stream.end_capture()
    assert x.tolist() == [1] * 4 and kept.tolist() != [2] * 4
    made.launch()
    assert x.tolist() == [5, 5, 1, 1] and kept.tolist() == [2] * 4
    made.launch()
    assert kept.tolist() == [2, 2, 6, 6]
    spoiled = [o for o in made.recorded.owners.values() if o.view(np.uint8)[0] == like_graph.RUBBISH]
    assert len(spoiled) == 1 and len(made.recorded.owners) == 2
    del pool
    with pytest.raises(AssertionError, match="whose memory was given back"):
        made.launch()


def test_the_stand_in_forbids_what_cuda_forbids(stand_in):
    x, stream = like_cupy.asarray(np.ones(4)), like_cuda.Stream(non_blocking=True)
    with pytest.raises(RuntimeError, match=r"cannot capture on the default \(legacy\) stream"):
        like_cuda.Stream.null.begin_capture()
    with pytest.raises(AssertionError, match="from a pool of its own"), stream:
        stream.begin_capture()
    pool = like_cuda.MemoryPool()
    event = like_cuda.Event()
    with like_cuda.using_allocator(pool.malloc), stream:
        stream.begin_capture()
        for wrong in (
            lambda: like_cupy.asarray(np.ones(3)),
            lambda: like_cupy.asnumpy(x),
            lambda: x.tolist(),
            lambda: bool(x[0]),
            lambda: range(x[0]),
            stream.synchronize,
            event.synchronize,
            like_cuda.Device().synchronize,
            stream.record,
            lambda: stream.wait_event(event),
        ):
            with pytest.raises(RuntimeError, match="the current stream is capturing"):
                wrong()
        stream.end_capture()
