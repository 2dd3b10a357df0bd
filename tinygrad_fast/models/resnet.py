"""Residual networks: y = relu(x + f(x)), so that a block starts near the identity and depth does no harm.

Names and shapes of parameters are torchvision's: its weights load. Source: He, Zhang, Ren, Sun, "Deep Residual
Learning for Image Recognition" (CVPR 2016); the bottleneck's stride stands on the 3x3 (Goyal et al. 2017).
Smaller nets for smaller images: `cifar.py`.
"""

from __future__ import annotations

from typing import Any, ClassVar

from .. import nn
from ..nn.utils import conv_bn
from ..tensor import Tensor


class SameConv2d(nn.Conv2d):
    """No bias, padded so that stride 1 keeps the size. Weights from N(0, 2 / (O KH KW)), as He et al. 2015."""

    def __init__(self, c: int, o: int, kernel_size: int, stride: int = 1):
        super().__init__(c, o, kernel_size, stride, kernel_size // 2, bias=False)

    def reset_parameters(self) -> None:
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")


class Projection(nn.Sequential):
    """bn(conv(x)): what gives a shortcut the shape of the sum."""

    def forward(self, x: Tensor) -> Tensor:
        return conv_bn(self[0], self[1], x)


class BasicBlock(nn.Module):
    """relu(x + bn2(conv2(relu(bn1(conv1(x)))))), two 3x3 convolutions; `downsample` gives x the shape of the sum."""

    expansion: ClassVar[int] = 1

    def __init__(self, c: int, width: int, stride: int = 1, downsample: nn.Module | None = None):
        self.conv1, self.bn1 = SameConv2d(c, width, 3, stride), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = SameConv2d(width, width, 3), nn.BatchNorm2d(width)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = conv_bn(self.conv1, self.bn1, x, relu=True)
        return conv_bn(self.conv2, self.bn2, y, residual=shortcut, relu=True)

    def zero_init(self) -> None:
        """The block becomes relu(x)."""
        nn.init.zeros_(self.bn2.weight)


class Bottleneck(nn.Module):
    """relu(x + ...): 1x1 down to `width` channels, 3x3 (with the stride), 1x1 up to 4 width."""

    expansion: ClassVar[int] = 4

    def __init__(self, c: int, width: int, stride: int = 1, downsample: nn.Module | None = None):
        self.conv1, self.bn1 = SameConv2d(c, width, 1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = SameConv2d(width, width, 3, stride), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = SameConv2d(width, 4 * width, 1), nn.BatchNorm2d(4 * width)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = conv_bn(self.conv1, self.bn1, x, relu=True)
        y = conv_bn(self.conv2, self.bn2, y, relu=True)
        return conv_bn(self.conv3, self.bn3, y, residual=shortcut, relu=True)

    def zero_init(self) -> None:
        """The block becomes relu(x)."""
        nn.init.zeros_(self.bn3.weight)


class ResNet(nn.Module):
    """Images (N, in_channels, H, W) -> scores (N, num_classes).

    layers: the number of blocks of each of the four stages, of 64, 128, 256 and 512 channels (times `expansion`).
    stem: "imagenet" is a 7x7 convolution with stride 2 and a max pool (1/4 of the size); "cifar" a 3x3 with stride 1.
    zero_init_residual: every block starts as the identity.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        layers: tuple[int, int, int, int],
        num_classes: int = 1000,
        stem: str = "imagenet",
        in_channels: int = 3,
        zero_init_residual: bool = False,
    ):
        if stem not in ("imagenet", "cifar"):
            raise ValueError(f"stem: must be imagenet or cifar; got {stem!r}")
        large = stem == "imagenet"
        self.conv1 = SameConv2d(in_channels, 64, 7, 2) if large else SameConv2d(in_channels, 64, 3)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()  # in forward it is part of bn1; here for those who take the model apart by children()
        self.maxpool = nn.MaxPool2d(3, 2, 1) if large else nn.Identity()
        e = block.expansion
        self.layer1 = stage(block, 64, 64, layers[0], 1)
        self.layer2 = stage(block, 64 * e, 128, layers[1], 2)
        self.layer3 = stage(block, 128 * e, 256, layers[2], 2)
        self.layer4 = stage(block, 256 * e, 512, layers[3], 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512 * e, num_classes)
        if zero_init_residual:
            for m in self.modules():
                if isinstance(m, (BasicBlock, Bottleneck)):
                    m.zero_init()

    def forward_features(self, x: Tensor) -> Tensor:
        """Everything before the pool: (N, C, H, W) -> (N, 512 expansion, H / 32, W / 32), with the cifar stem / 8."""
        x = self.maxpool(conv_bn(self.conv1, self.bn1, x, relu=True))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.avgpool(self.forward_features(x)).flatten(1))


def stage(block: type[BasicBlock] | type[Bottleneck], c: int, width: int, count: int, stride: int) -> nn.Sequential:
    """`count` blocks; the first has the stride, and a projection where the shortcut's shape changes."""
    o = width * block.expansion
    project = Projection(SameConv2d(c, o, 1, stride), nn.BatchNorm2d(o)) if stride != 1 or c != o else None
    return nn.Sequential(block(c, width, stride, project), *(block(o, width) for _ in range(count - 1)))


def resnet18(num_classes: int = 1000, **options: Any) -> ResNet:
    """11,689,512 parameters at 1000 classes. Options: those of ResNet (stem, in_channels, zero_init_residual)."""
    return ResNet(BasicBlock, (2, 2, 2, 2), num_classes, **options)


def resnet34(num_classes: int = 1000, **options: Any) -> ResNet:
    """21,797,672 parameters at 1000 classes."""
    return ResNet(BasicBlock, (3, 4, 6, 3), num_classes, **options)


def resnet50(num_classes: int = 1000, **options: Any) -> ResNet:
    """25,557,032 parameters at 1000 classes."""
    return ResNet(Bottleneck, (3, 4, 6, 3), num_classes, **options)


def resnet101(num_classes: int = 1000, **options: Any) -> ResNet:
    """44,549,160 parameters at 1000 classes."""
    return ResNet(Bottleneck, (3, 4, 23, 3), num_classes, **options)


def resnet152(num_classes: int = 1000, **options: Any) -> ResNet:
    """60,192,808 parameters at 1000 classes."""
    return ResNet(Bottleneck, (3, 8, 36, 3), num_classes, **options)
