"""Residual networks for 32 x 32 images: the narrow deep ones of the paper, and a wide shallow one that trains fast."""

from __future__ import annotations

from .. import nn
from ..nn import functional as F
from ..nn.utils import conv_bn
from ..tensor import Tensor
from .resnet import SameConv2d


class CifarBlock(nn.Module):
    """relu(s(x) + bn2(conv2(relu(bn1(conv1(x)))))), two 3x3 convolutions.

    The shortcut s has no parameters (the paper's option A): every stride-th pixel, and zeros for the channels that x
    does not have.
    """

    def __init__(self, c: int, o: int, stride: int = 1):
        self.conv1, self.bn1 = SameConv2d(c, o, 3, stride), nn.BatchNorm2d(o)
        self.conv2, self.bn2 = SameConv2d(o, o, 3), nn.BatchNorm2d(o)
        self.stride, self.new_channels = stride, o - c

    def shortcut(self, x: Tensor) -> Tensor:
        if self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, 0, self.new_channels)) if self.new_channels else x

    def forward(self, x: Tensor) -> Tensor:
        y = conv_bn(self.conv1, self.bn1, x, relu=True)
        return conv_bn(self.conv2, self.bn2, y, residual=self.shortcut(x), relu=True)


class CifarResNet(nn.Module):
    """ResNet-(6n + 2): (N, in_channels, H, W) -> (N, num_classes); a 3x3 stem, then three stages of n blocks.

    width: the channels of the first stage, doubled for each next one. stride: that of the stem.
    Source: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition" (CVPR 2016), section 4.2.
    """

    def __init__(self, n: int, num_classes: int = 10, in_channels: int = 3, width: int = 16, stride: int = 1):
        a, b, c = width, 2 * width, 4 * width
        self.conv1, self.bn1 = SameConv2d(in_channels, a, 3, stride), nn.BatchNorm2d(a)
        self.layer1 = nn.Sequential(*(CifarBlock(a, a) for _ in range(n)))
        self.layer2 = nn.Sequential(CifarBlock(a, b, 2), *(CifarBlock(b, b) for _ in range(n - 1)))
        self.layer3 = nn.Sequential(CifarBlock(b, c, 2), *(CifarBlock(c, c) for _ in range(n - 1)))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(c, num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        """Everything before the pool: (N, in_channels, H, W) -> (N, 4 width, H / 4, W / 4), over the stem's stride."""
        x = conv_bn(self.conv1, self.bn1, x, relu=True)
        return self.layer3(self.layer2(self.layer1(x)))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.avgpool(self.forward_features(x)).flatten(1))


def resnet8(num_classes: int = 10, in_channels: int = 3) -> CifarResNet:
    """The smallest of the family, twice as wide, its image halved by the stem: learns in a minute on a CPU."""
    return CifarResNet(1, num_classes, in_channels, width=32, stride=2)


def resnet20(num_classes: int = 10, in_channels: int = 3) -> CifarResNet:
    """269,722 parameters at 10 classes."""
    return CifarResNet(3, num_classes, in_channels)


def resnet32(num_classes: int = 10, in_channels: int = 3) -> CifarResNet:
    """464,154 parameters at 10 classes."""
    return CifarResNet(5, num_classes, in_channels)


def resnet56(num_classes: int = 10, in_channels: int = 3) -> CifarResNet:
    """853,018 parameters at 10 classes."""
    return CifarResNet(9, num_classes, in_channels)


class ConvBN(nn.Module):
    """pool(relu(bn(conv(x)))): a 3x3 convolution, and a 2x2 max pool if asked for."""

    def __init__(self, c: int, o: int, pool: bool = False):
        self.conv, self.bn = nn.Conv2d(c, o, 3, padding=1, bias=False), nn.BatchNorm2d(o)
        self.pool = nn.MaxPool2d(2) if pool else None

    def forward(self, x: Tensor) -> Tensor:
        y = conv_bn(self.conv, self.bn, x, relu=True)
        return y if self.pool is None else self.pool(y)


class Residual(nn.Module):
    """x + res2(res1(x)); the ReLUs stand inside, and none behind the sum."""

    def __init__(self, c: int):
        self.res1, self.res2 = ConvBN(c, c), ConvBN(c, c)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.res2(self.res1(x))


class ResNet9(nn.Module):
    """(N, in_channels, 32, 32) -> (N, num_classes), in nine layers: 64, 128 + residual, 256, 512 + residual, linear.

    The scores are multiplied by `scale`: small scores at first, so that large learning rates do no harm (1: none).
    Source: David Page's entry to DAWNBench (2018), https://github.com/davidcpage/cifar10-fast.
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 3, scale: float = 0.125):
        self.prep = ConvBN(in_channels, 64)
        self.layer1 = nn.Sequential(ConvBN(64, 128, pool=True), Residual(128))
        self.layer2 = ConvBN(128, 256, pool=True)
        self.layer3 = nn.Sequential(ConvBN(256, 512, pool=True), Residual(512))
        self.maxpool = nn.AdaptiveMaxPool2d(1)
        self.fc = nn.Linear(512, num_classes, bias=False)
        self.scale = scale

    def forward_features(self, x: Tensor) -> Tensor:
        """Everything before the pool: (N, in_channels, H, W) -> (N, 512, H / 8, W / 8)."""
        return self.layer3(self.layer2(self.layer1(self.prep(x))))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.maxpool(self.forward_features(x)).flatten(1)) * self.scale


def resnet9(num_classes: int = 10, in_channels: int = 3, scale: float = 0.125) -> ResNet9:
    """6,573,120 parameters at 10 classes."""
    return ResNet9(num_classes, in_channels, scale)
