"""Models: ResNets for ImageNet-sized images (`resnet.py`), and small ones for 32 x 32 (`cifar.py`)."""

from .cifar import CifarResNet, ResNet9, resnet8, resnet9, resnet20, resnet32, resnet56
from .resnet import BasicBlock, Bottleneck, ResNet, resnet18, resnet34, resnet50, resnet101, resnet152

__all__ = [
    "BasicBlock",
    "Bottleneck",
    "CifarResNet",
    "ResNet",
    "ResNet9",
    "resnet8",
    "resnet9",
    "resnet18",
    "resnet20",
    "resnet32",
    "resnet34",
    "resnet50",
    "resnet56",
    "resnet101",
    "resnet152",
]
