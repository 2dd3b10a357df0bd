"""The cases in PyTorch, with models of its own. With CHANNELS_LAST, images and filters lie in memory with channels
last: the faster layout for most convolutions on a CPU, and not PyTorch's default.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn, optim
from torch.nn.utils.fusion import fuse_conv_bn_eval

from . import cases

NAME, VERSION = "PyTorch", torch.__version__
CHANNELS_LAST = False


def threads(n: int) -> None:
    torch.set_num_threads(n)


def tensor(array: np.ndarray, grad: bool = False) -> torch.Tensor:
    t = torch.tensor(array)
    if CHANNELS_LAST and t.ndim == 4:
        t = t.to(memory_format=torch.channels_last)
    return t.requires_grad_(grad)


filters = tensor


def array(t: torch.Tensor) -> np.ndarray:
    return t.detach().numpy()


def batch_norm(x, w, b):
    return F.batch_norm(x, torch.zeros(x.shape[1]), torch.ones(x.shape[1]), w, b, training=True)


def batch_norm_relu(x, w, b):
    return F.relu(batch_norm(x, w, b), inplace=True)


def batch_norm_residual_relu(x, w, b, r):
    return F.relu(batch_norm(x, w, b).add_(r), inplace=True)


OPS = {
    "conv2d": F.conv2d,
    "matmul": torch.matmul,
    "linear": F.linear,
    "batch_norm": batch_norm,
    "batch_norm_relu": batch_norm_relu,
    "batch_norm_residual_relu": batch_norm_residual_relu,
    "max_pool2d": F.max_pool2d,
    "avg_pool2d": F.avg_pool2d,
    "adaptive_avg_pool2d": F.adaptive_avg_pool2d,
    "cross_entropy": F.cross_entropy,
    "add": torch.add,
    "mul": torch.mul,
    "relu": F.relu,
    "exp": torch.exp,
}


def mlp(i: int, hidden: int):
    return nn.Sequential(nn.Linear(i, hidden), nn.ReLU(), nn.Linear(hidden, 10))


def conv(i: int, o: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(i, o, 3, stride, padding=1, bias=False)


class Block(nn.Module):
    """He et al. 2015, figure 2. The shortcut: the identity, a 1x1 convolution, or (option A) strides and zeros."""

    def __init__(self, i: int, o: int, stride: int, option_a: bool):
        super().__init__()
        self.conv1, self.bn1 = conv(i, o, stride), nn.BatchNorm2d(o)
        self.conv2, self.bn2 = conv(o, o), nn.BatchNorm2d(o)
        self.pad = o - i if option_a else 0
        self.downsample = None
        if (stride != 1 or i != o) and not option_a:
            self.downsample = nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o))

    def forward(self, x):
        h = F.relu(self.bn1(self.conv1(x)), inplace=True)
        h = self.bn2(self.conv2(h))
        if self.downsample is not None:
            x = self.downsample(x)
        elif self.pad:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, self.pad))
        return F.relu(h.add_(x), inplace=True)


class ResNet(nn.Module):
    """A stem, stages of basic blocks that halve the picture and widen, the mean, a linear layer.

    The stem is a 3x3 convolution, or (imagenet) a 7x7 with stride 2 and a max pool.
    """

    def __init__(self, depths: list[int], widths: list[int], option_a: bool, imagenet: bool = False):
        super().__init__()
        first = nn.Conv2d(3, widths[0], 7, 2, padding=3, bias=False) if imagenet else conv(3, widths[0])
        self.conv1, self.bn1 = first, nn.BatchNorm2d(widths[0])
        self.pool = nn.MaxPool2d(3, 2, padding=1) if imagenet else nn.Identity()
        blocks, i = [], widths[0]
        for stage, (n, o) in enumerate(zip(depths, widths, strict=True)):
            for k in range(n):
                blocks.append(Block(i, o, 2 if stage and not k else 1, option_a))
                i = o
        self.blocks, self.fc = nn.Sequential(*blocks), nn.Linear(i, 1000 if imagenet else 10)

    def forward(self, x):
        h = self.blocks(self.pool(F.relu(self.bn1(self.conv1(x)), inplace=True)))
        return self.fc(h.mean((2, 3)))


def unit(i: int, o: int, pool: bool = False) -> nn.Sequential:
    return nn.Sequential(conv(i, o), nn.BatchNorm2d(o), nn.ReLU(inplace=True), *[nn.MaxPool2d(2)] * pool)


class Residual(nn.Module):
    def __init__(self, c: int):
        super().__init__()
        self.body = nn.Sequential(unit(c, c), unit(c, c))

    def forward(self, x):
        return x + self.body(x)


class Scale(nn.Module):
    def forward(self, x):
        return x * 0.125


def resnet9():
    """Page's DAWNBench network: 64 - 128 + residual - 256 - 512 + residual."""
    return nn.Sequential(
        unit(3, 64),
        unit(64, 128, pool=True),
        Residual(128),
        unit(128, 256, pool=True),
        unit(256, 512, pool=True),
        Residual(512),
        nn.MaxPool2d(4),
        nn.Flatten(),
        nn.Linear(512, 10, bias=False),
        Scale(),
    )


MODELS = {
    "mlp": lambda: mlp(784, 256),
    "mlp 8": lambda: mlp(8, 8),
    "resnet20": lambda: ResNet([3, 3, 3], [16, 32, 64], option_a=True),
    "resnet9": resnet9,
    "resnet18": lambda: ResNet([2, 2, 2, 2], [64, 128, 256, 512], option_a=False),
    "resnet18 imagenet": lambda: ResNet([2, 2, 2, 2], [64, 128, 256, 512], option_a=False, imagenet=True),
}


def built(name: str):
    """A model with the weights that both frameworks start from."""
    model = MODELS[name]()
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    with torch.no_grad():
        for p, w in zip(model.parameters(), cases.weights(shapes), strict=True):
            p.copy_(tensor(w))
    return model.to(memory_format=torch.channels_last) if CHANNELS_LAST else model


def step(name: str, shape: tuple[int, ...]):
    """(model, a function that makes one training step and returns its loss)."""
    [x] = cases.numbers([shape])
    xb, yb = tensor(x), tensor(cases.classes(shape[0], cases.CLASSES))
    model = built(name)
    opt = optim.SGD(model.parameters(), lr=cases.LR, momentum=cases.MOMENTUM)

    def once():
        opt.zero_grad()
        loss = F.cross_entropy(model(xb), yb)
        loss.backward()
        opt.step()
        return loss

    return model, once


def fold(model, x):
    """The model for inference, its batch norms multiplied into the convolutions before them."""
    model.eval()
    for parent in list(model.modules()):
        children = list(parent.named_children())
        for (left, first), (right, second) in pairwise(children):
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                setattr(parent, left, fuse_conv_bn_eval(first, second))
                setattr(parent, right, nn.Identity())
    return model


def inference(name: str, shape: tuple[int, ...]):
    """A function that returns the scores of a batch."""
    [x] = cases.numbers([shape])
    xb, model = tensor(x), built(name)
    with torch.no_grad():
        model(xb[:8])  # in training mode: batch norms with statistics of their own, so that folding has something to do
        model = fold(model, xb)

    def once():
        with torch.no_grad():
            return model(xb)

    return once
