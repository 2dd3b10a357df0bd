"""The cases in tinygrad_fast. `peer.py` is the same file in PyTorch, to be read beside it line by line."""

from __future__ import annotations

import numpy as np

import tinygrad_fast as tf
import tinygrad_fast.nn.functional as F
from tinygrad_fast import models, nn, optim

from . import cases

NAME, VERSION = "tinygrad_fast", tf.__version__


def threads(n: int) -> None:
    """The environment already says it: NumPy's BLAS reads OPENBLAS_NUM_THREADS when it loads."""


def tensor(array: np.ndarray, grad: bool = False) -> tf.Tensor:
    return tf.tensor(array, requires_grad=grad)


def array(t: tf.Tensor) -> np.ndarray:
    return t.detach().numpy()


def batch_norm(x, w, b):
    return F.batch_norm(x, tf.zeros(x.shape[1]), tf.ones(x.shape[1]), w, b, training=True)


def batch_norm_relu(x, w, b):
    return F.batch_norm(x, tf.zeros(x.shape[1]), tf.ones(x.shape[1]), w, b, training=True, relu=True)


def batch_norm_residual_relu(x, w, b, r):
    return F.batch_norm(x, tf.zeros(x.shape[1]), tf.ones(x.shape[1]), w, b, training=True, residual=r, relu=True)


OPS = {
    "conv2d": F.conv2d,
    "matmul": tf.matmul,
    "linear": F.linear,
    "batch_norm": batch_norm,
    "batch_norm_relu": batch_norm_relu,
    "batch_norm_residual_relu": batch_norm_residual_relu,
    "max_pool2d": F.max_pool2d,
    "avg_pool2d": F.avg_pool2d,
    "adaptive_avg_pool2d": F.adaptive_avg_pool2d,
    "cross_entropy": F.cross_entropy,
    "add": tf.add,
    "mul": tf.mul,
    "relu": F.relu,
    "exp": tf.exp,
}


def mlp():
    return nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))


MODELS = {
    "mlp": mlp,
    "resnet20": models.resnet20,
    "resnet9": models.resnet9,
    "resnet18": lambda: models.resnet18(num_classes=10, stem="cifar"),
}


def step(name: str, shape: tuple[int, ...]):
    """(model, a function that makes one training step and returns its loss)."""
    [x] = cases.numbers([shape])
    xb, yb = tensor(x), tensor(cases.classes(shape[0], cases.CLASSES))
    model = MODELS[name]()
    params = list(model.parameters())
    with tf.no_grad():
        shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
        for p, w in zip(params, cases.weights(shapes), strict=True):
            p.copy_(tensor(w))
    opt = optim.SGD(params, lr=cases.LR, momentum=cases.MOMENTUM)

    def once():
        opt.zero_grad()
        loss = F.cross_entropy(model(xb), yb)
        loss.backward()
        opt.step()
        return loss

    return model, once
