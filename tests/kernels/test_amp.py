"""Mixed precision by way of kernels: a small ResNet learns as in float32, and the host waits once a step."""

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
def test_the_host_waits_once_a_step(device):
    """Where `step` reads the flag; never to scale, to unscale, to clip, nor in a step of bfloat16."""
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
        with mock.patch.object(machine, "to_numpy", autospec=True, side_effect=machine.to_numpy) as read:
            scaler.step(opt)
        assert read.call_count == 1
        with mock.patch.object(machine, "to_numpy", side_effect=AssertionError("read back")):
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
