"""Mixed precision by way of kernels: a small ResNet learns as in float32, and the host never waits."""

from math import inf, nan
from unittest import mock

import numpy as np
import pytest

import tinygrad_fast as tf
import tinygrad_fast.nn.functional as F
from tinygrad_fast import backend, nn, optim
from tinygrad_fast.amp import GradScaler
from tinygrad_fast.backend import cuda

from . import like_cuda
from .test_devices import gpus as gpus
from .test_training import resnet

DEVICES = ["emulated", "stand-in", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.fixture
def device(request, monkeypatch):
    if request.param == "stand-in":  # the class CUDA, on what behaves like CuPy
        request.getfixturevalue("gpus")
        monkeypatch.setattr(like_cuda, "COUNT", 1)
        assert type(backend.get("cuda:0")) is cuda.CUDA
        return "cuda:0"
    return request.param


def train(device, dtype, steps=5):
    """The losses."""
    tf.manual_seed(0)
    model = resnet().to(device)
    x = tf.tensor(np.random.default_rng(0).standard_normal((4, 3, 16, 16)), dtype=tf.float32).to(device)
    t = tf.tensor([0, 1, 2, 1]).to(device)
    opt, scaler, losses = optim.SGD(model.parameters(), lr=0.05, momentum=0.9), GradScaler(growth_interval=2), []
    for _ in range(steps):
        with tf.autocast(dtype=dtype or "float16", enabled=dtype is not None):
            y = model(x)
            loss = F.cross_entropy(y, t)
        assert y.dtype == (dtype or "float32") and loss.dtype == tf.float32
        scaler.scale(loss).backward()
        assert {p.grad.dtype for p in model.parameters()} == {np.dtype("float32")}
        scaler.step(opt)
        scaler.update()
        opt.zero_grad()
        losses.append(loss.detach())
    assert scaler.skipped_steps == 0 and scaler.get_scale() == 2**18
    return [loss.item() for loss in losses]


@pytest.mark.parametrize("device", DEVICES, indirect=True)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_small_resnet_learns_as_in_float32(device, dtype):
    counts = backend.get(device).launch.counts
    counts.clear()
    wide, low = train("cpu", None), train(device, dtype)
    assert wide[-1] < 0.6 * wide[0] and low != wide
    assert low == pytest.approx(wide, rel=0.02 if dtype == "float16" else 0.1)
    assert counts["unscale_"] == counts["sgd_"] == 5  # a launch a step, for all parameters


@pytest.mark.parametrize("device", DEVICES, indirect=True)
@pytest.mark.parametrize("make", [optim.SGD, optim.Adam, optim.RMSprop])
def test_a_step_is_skipped_and_the_host_does_not_know(device, make):
    """Not even at an overflow at the first step, nor at one later: Adam's step count is that of steps taken."""
    machine, found = type(backend.get(device)), []
    for there, slopes in ((device, (inf, 1.0, 2.0, nan, 3.0)), ("cpu", (1.0, 2.0, 3.0))):
        w, v = (tf.full((5, 3), 1.0).to(there).requires_grad_() for _ in range(2))
        opt, scaler = make([w, v], lr=0.25), GradScaler(init_scale=8.0, growth_interval=2)
        for slope in slopes:
            opt.zero_grad()
            with (
                mock.patch.object(machine, "to_numpy", side_effect=AssertionError("read back")),
                mock.patch.object(machine, "numbers", side_effect=AssertionError("read back")),
            ):
                scaler.scale((w * slope + v).sum()).backward()
                scaler.step(opt)
                scaler.update()
        state = opt.state_dict()["state"]
        assert state[0]["step"] == state[1]["step"] == opt.state[0]["step"] == 3
        assert scaler.skipped_steps == len(slopes) - 3
        assert scaler.get_scale() == (4.0 if there == device else 16.0)
        found.append([t.numpy(force=True) for t in (w, v, *(t for t in state[0].values() if isinstance(t, tf.Tensor)))])
    for mine, plain in zip(*found, strict=True):
        np.testing.assert_allclose(mine, plain, rtol=1e-6)


@pytest.mark.parametrize("device", DEVICES, indirect=True)
def test_a_parameter_that_joins_late_begins_at_its_own_first_step(device):
    w, v = (tf.ones(3).to(device).requires_grad_() for _ in range(2))
    opt, scaler = optim.Adam([w, v], lr=0.25), GradScaler()
    for slope, ps in ((inf, [w]), (1.0, [w]), (1.0, [w, v]), (nan, [w, v])):
        opt.zero_grad()
        scaler.scale(sum((p * slope).sum() for p in ps)).backward()
        scaler.step(opt)
        scaler.update()
    state = opt.state_dict()["state"]
    assert (state[0]["step"], state[1]["step"]) == (2, 1) and scaler.skipped_steps == 2


@pytest.mark.parametrize("device", DEVICES, indirect=True)
def test_what_cannot_skip_by_itself_is_decided_on_by_the_host(device):
    """An optimiser of a user's own, parameters on two devices."""

    class Mine(optim.Optimizer):
        def buffers(self, group):
            return []

        def hyper(self, group, step):
            return [group["lr"]]

        def update(self, xp, ws, gs, buffers, hyper, group):
            for w, g in zip(ws, gs):
                xp.write_(w, xp.sub(w, g))

    far = tf.ones(3).to(device).requires_grad_()
    near = tf.ones(3).requires_grad_()
    for opt in (Mine([far], dict(lr=1.0, weight_decay=0)), optim.SGD([far, near], lr=1.0)):
        scaler, before = GradScaler(), far.tolist()
        for slope in (nan, 1.0):
            opt.zero_grad()
            scaler.scale((far * slope).sum().cpu() + near.sum()).backward()
            scaler.step(opt)
            scaler.update()
            assert (far.tolist() == before) == (slope is nan)
        assert scaler.skipped_steps == 1 and scaler.get_scale() == 2**15 and opt.state_dict()["state"][0]["step"] == 1


@pytest.mark.parametrize("device", DEVICES, indirect=True)
def test_the_first_step_of_a_dampened_sgd_is_the_first_that_is_taken(device):
    """v = d then, and v = momentum v + (1 - dampening) d after it; the device alone knows which is which."""
    w, scaler = tf.zeros(3).to(device).requires_grad_(), GradScaler()
    opt = optim.SGD([w], lr=1.0, momentum=0.5, dampening=0.75)
    for slope, there in ((nan, 0), (nan, 0), (1.0, -1), (inf, -1), (1.0, -1.75), (1.0, -2.375)):
        opt.zero_grad()
        scaler.scale((w * slope).sum()).backward()
        with mock.patch.object(type(backend.get(device)), "to_numpy", side_effect=AssertionError("read back")):
            scaler.step(opt)
            scaler.update()
        assert w.tolist() == [there] * 3


@pytest.mark.parametrize("device", DEVICES, indirect=True)
def test_the_host_never_waits(device):
    """Not to scale, to unscale, to clip, to step, to update; in bfloat16 there is nothing to wait for."""
    machine = type(backend.get(device))
    w = tf.ones(3, 3).to(device).requires_grad_()
    x, opt, scaler = tf.ones(2, 3).to(device), optim.SGD([w], lr=0.25), GradScaler()
    for slope in (1.0, float("inf")):
        opt.zero_grad()
        with mock.patch.object(machine, "to_numpy", side_effect=AssertionError("read back")):
            with tf.autocast():
                loss = (x @ w).float().mean() * slope
            scaler.scale(loss).backward()
            scaler.unscale_(opt)
            nn.utils.clip_grad_value_([w], 0.25)
            scaler.step(opt)
            scaler.update()
        assert w.tolist() == np.full((3, 3), 1 - 0.25 * 0.25).tolist()
    assert scaler.skipped_steps == 1 and scaler.get_scale() == 2**15


@pytest.mark.parametrize("device", DEVICES, indirect=True)
def test_regions_by_type_of_device(device):
    a, kind = tf.ones(2, 2).to(device), device.partition(":")[0]
    with tf.autocast(kind):
        assert (a @ a).dtype == tf.float16 and (a.cpu() @ a.cpu()).dtype == tf.float32
    with tf.autocast("cpu"):
        assert (a @ a).dtype == tf.float32 and (a.cpu() @ a.cpu()).dtype == "bfloat16"
