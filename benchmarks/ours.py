"""The cases in tinygrad_fast. `peer.py` has the same functions in PyTorch, and the models that PyTorch lacks."""

from __future__ import annotations

import numpy as np

import tinygrad_fast as tf
import tinygrad_fast.nn.functional as F
from tinygrad_fast import models, nn, optim

from . import cases

NAME, VERSION = "tinygrad_fast", tf.__version__


def threads(n: int) -> None:
    """The environment already says it, as `variants.py` wrote it: some of it is read while libraries load."""


def tensor(array: np.ndarray, grad: bool = False) -> tf.Tensor:
    """Images lie in memory with channels last, as our loader hands them over."""
    return laid(array, (0, 2, 3, 1), grad) if array.ndim == 4 else tf.tensor(array, requires_grad=grad)


def filters(array: np.ndarray, grad: bool = False) -> tf.Tensor:
    """A weight (O, C, KH, KW) lies KH KW C O, as our layers make it."""
    return laid(array, (2, 3, 1, 0), grad)


def laid(array: np.ndarray, order: tuple[int, ...], grad: bool) -> tf.Tensor:
    back = tuple(order.index(i) for i in range(len(order)))
    return tf.from_numpy(np.ascontiguousarray(array.transpose(order)).transpose(back)).requires_grad_(grad)


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


def mlp(i: int, hidden: int):
    return nn.Sequential(nn.Linear(i, hidden), nn.ReLU(), nn.Linear(hidden, 10))


MODELS = {
    "mlp": lambda: mlp(784, 256),
    "mlp 8": lambda: mlp(8, 8),
    "resnet20": models.resnet20,
    "resnet9": models.resnet9,
    "resnet18": lambda: models.resnet18(num_classes=10, stem="cifar"),
    "resnet18 imagenet": models.resnet18,
}


def built(name: str):
    """A model with the weights that both frameworks start from."""
    model = MODELS[name]()
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    with tf.no_grad():
        for p, w in zip(model.parameters(), cases.weights(shapes), strict=True):
            p.copy_(tensor(w))
    return model


def step(name: str, shape: tuple[int, ...]):
    """(model, a function that makes one training step and returns its loss)."""
    [x] = cases.numbers([shape])
    xb, yb = tensor(x), tensor(cases.classes(shape[0], cases.CLASSES))
    model = built(name)
    return model, training(model, xb, yb)


def training(model, xb, yb):
    """A function that makes one step of SGD with momentum and returns its loss."""
    opt = optim.SGD(model.parameters(), lr=cases.LR, momentum=cases.MOMENTUM)

    def once():
        opt.zero_grad()
        loss = F.cross_entropy(model(xb), yb)
        loss.backward()
        opt.step()
        return loss

    return once


def fold(model, x):
    """The model for inference, its batch norms multiplied into the convolutions before them."""
    return nn.utils.fold_batch_norm(model, x)


def inference(name: str, shape: tuple[int, ...]):
    """A function that returns the scores of a batch."""
    [x] = cases.numbers([shape])
    xb, model = tensor(x), built(name)
    with tf.no_grad():
        model(xb[:8])  # in training mode: batch norms with statistics of their own, so that folding has something to do
        model = fold(model, xb)

    def once():
        with tf.no_grad():
            return model(xb)

    return once
