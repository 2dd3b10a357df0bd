"""A step of training on "emulated": the same numbers as on "cpu", by way of kernels."""

import numpy as np

import tinygrad_fast as tf
import tinygrad_fast.nn.functional as F
from tinygrad_fast import backend, optim
from tinygrad_fast.models import resnet8


def step(device):
    """The loss and the weights after two steps of a small ResNet, in float64."""
    tf.manual_seed(0)
    model = resnet8(num_classes=3).double().to(device)
    rng = np.random.default_rng(0)
    x, t = tf.tensor(rng.standard_normal((4, 3, 8, 8))).to(device), tf.tensor(rng.integers(0, 3, 4)).to(device)
    opt = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(2):
        loss = F.cross_entropy(model(x), t)
        loss.backward()
        opt.step()
        opt.zero_grad()
    return loss.item(), [p.numpy(force=True) for p in model.parameters()]


def test_a_small_resnet_learns_the_same():
    counts = backend.get("emulated").launch.counts
    counts.clear()
    loss, weights = step("emulated")
    assert counts["sgd_"] == 2  # a launch a step
    assert counts["cross_entropy"] == counts["cross_entropy_back"] == 2 and counts["matmul_tiles"] >= 6
    want, wanted = step("cpu")
    assert abs(loss - want) < 1e-12
    for a, b in zip(weights, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
