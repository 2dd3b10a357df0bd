"""Steps of training on "emulated": the same numbers as on "cpu", by way of kernels."""

import numpy as np
import pytest

import tinygrad_fast as tf
import tinygrad_fast.nn.functional as F
from tinygrad_fast import backend, nn, optim
from tinygrad_fast.backend import CPU, pooling, windows
from tinygrad_fast.backend.cuda import CUDA
from tinygrad_fast.models.resnet import BasicBlock, SameConv2d, stage
from tinygrad_fast.testing.backends import EPS, RUNS, K

KERNELS = {  # each must run
    *("conv2d_tiles", "conv2d_dx_tiles", "conv2d_dw_tiles", "conv2d_narrow", "conv2d_dw_narrow", "conv2d_dw_sum"),
    *("matmul_tiles", "cross_entropy", "cross_entropy_back", "sgd_"),
    *("conv2d_moments_tiles", "batch_norm_moments", "batch_norm_statistics", "batch_norm"),
    *("batch_norm_sums", "batch_norm_slopes", "batch_norm_back", "max_pool2d", "max_pool2d_back"),
}


def resnet():
    """What every larger one is made of: a stem with a max pool, blocks with and without a projection, a head."""
    return nn.Sequential(
        *(SameConv2d(3, 8, 7, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, 1)),
        *(stage(BasicBlock, 8, 8, 1, 1), stage(BasicBlock, 8, 16, 1, 2)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3)),
    )


def train(device, dtype):
    """Losses of two steps, the gradients of the first, the weights and running statistics after both; as float64."""
    tf.manual_seed(0)
    model = resnet().to(dtype).to(device)
    rng = np.random.default_rng(0)
    x, t = tf.tensor(rng.standard_normal((4, 3, 16, 16)), dtype=dtype).to(device), tf.tensor([0, 1, 2, 1]).to(device)
    opt = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    found = []
    for step in range(2):
        loss = F.cross_entropy(model(x), t)
        loss.backward()
        found += [loss.detach(), *(p.grad.clone() for p in model.parameters() if step == 0)]
        opt.step()
        opt.zero_grad()
    found += model.state_dict().values()
    return [a.numpy(force=True).astype(np.float64) for a in found]


@pytest.fixture(scope="module")
def exact():
    return train("plain", tf.float64)


def tolerance(exact, name):
    """The error model of the law `backends`: how far the numbers move when each result is rounded to this float."""
    noisy = backend.get("noisy")
    moved = [np.zeros(a.shape) for a in exact]
    for run in range(RUNS):
        noisy.rng, noisy.eps = np.random.default_rng(run), EPS[name]
        moved = [np.maximum(m, abs(a - b)) for m, a, b in zip(moved, train("noisy", tf.float64), exact, strict=True)]
    length = max(a.size for a in exact)
    return [K * np.sqrt(length) * (m + EPS[name] * abs(a)) for m, a in zip(moved, exact, strict=True)]


@pytest.fixture
def fallen(monkeypatch):
    """The functions of the plain CPU that are called meanwhile, of those for which there are kernels."""
    found = set()
    plain = {
        windows: ("conv2d", "conv2d_dx", "conv2d_dw", "unfold", "fold"),
        pooling: ("max_pool2d", "max_pool2d_back", "max_pool2d_at", "resample2d", "pixels", "pixels_back"),
    }

    def heard(name, f):
        return lambda *arguments, **static: found.add(name) or f(*arguments, **static)

    for module, names in plain.items():
        for name in names:
            monkeypatch.setattr(module, name, heard(name, getattr(module, name)))
    return found


def test_what_falls_to_the_plain_cpu_is_heard(fallen):
    x, geometry = np.ones((1, 1, 2, 2)), dict(stride=(1, 1), padding=(0, 0), dilation=(1, 1))
    CPU().conv2d(x, x, groups=1, **geometry)
    CPU().unfold(x, kernel=(2, 2), **geometry)
    assert fallen == {"conv2d", "unfold"}


@pytest.mark.parametrize("name", ["float64", "float32"])
@pytest.mark.parametrize("device", ["emulated", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_a_small_resnet_learns_the_same(device, name, exact, fallen, tally):
    counts = backend.get(device).launch.counts
    counts.clear()
    found = train(device, getattr(tf, name))
    assert set(counts) >= KERNELS, f"no kernel for {sorted(KERNELS - set(counts))}"
    assert counts["sgd_"] == 2  # a launch a step
    assert not fallen, f"computed by the CPU: {sorted(fallen)}"
    for i, (a, b, allowed) in enumerate(zip(found, exact, tolerance(exact, name), strict=True)):
        assert not (~(abs(a - b) <= allowed)).any(), (
            f"number {i}: off by {abs(a - b).max():.1e}, {allowed.max():.1e} allowed"
        )
    tally(trained_steps=2)


def test_a_wrong_gradient_is_noticed(exact, monkeypatch):
    """Not too wide: a thousandth of one gradient shows."""
    right = CUDA.conv2d_dw
    monkeypatch.setattr(CUDA, "conv2d_dw", lambda *a, **k: right(*a, **k) * np.float32(1.001))
    found = train("emulated", tf.float32)
    assert any((abs(a - b) > allowed).any() for a, b, allowed in zip(found, exact, tolerance(exact, "float32")))
