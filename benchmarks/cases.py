"""What is measured, and what it should reach. Knows NumPy alone.

A step or an inference is (model, shape of a batch), an op is (function, shapes of its inputs, keywords): models and
functions are in `ours.py` and `peer.py` under one name, and get the same seeded numbers. Everything is float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np

STEPS: dict[str, tuple[str, tuple[int, ...]]] = {
    "step ResNet-9, batch 128": ("resnet9", (128, 3, 32, 32)),
    "step ResNet-18, batch 64": ("resnet18", (64, 3, 32, 32)),
    "step ResNet-20, batch 128": ("resnet20", (128, 3, 32, 32)),
    "step ResNet-18 @128, batch 16": ("resnet18 imagenet", (16, 3, 128, 128)),
    "step MLP 784-256-10, batch 64": ("mlp", (64, 784)),
    "step MLP 8-8-10, batch 4": ("mlp 8", (4, 8)),  # so small that the framework's own cost is all of it
}

INFERENCES: dict[str, tuple[str, tuple[int, ...]]] = {
    "inference ResNet-18 @224, batch 1": ("resnet18 imagenet", (1, 3, 224, 224)),
    "inference ResNet-18 @224, batch 32": ("resnet18 imagenet", (32, 3, 224, 224)),
}

PEAK_OF = "step ResNet-9, batch 128"
PEAK = f"peak memory of {PEAK_OF}"
IMPORT = "import tinygrad_fast"

# The ratio to PyTorch that must hold, with NumPy's loops and with Numba's. Of the import: milliseconds.
AIMS: dict[str, tuple[float, float]] = {
    "step ResNet-9, batch 128": (0.90, 0.62),
    "step ResNet-18, batch 64": (1.10, 0.75),
    "step ResNet-20, batch 128": (1.10, 0.75),
    "step ResNet-18 @128, batch 16": (1.20, 0.85),
    "step MLP 784-256-10, batch 64": (1.00, 0.80),
    "step MLP 8-8-10, batch 4": (0.45, 0.45),
    "inference ResNet-18 @224, batch 1": (1.10, 0.90),
    "inference ResNet-18 @224, batch 32": (1.10, 0.90),
    PEAK: (1.20, 1.25),
    IMPORT: (350, 350),
}

MAP = (64, 64, 32, 32)  # N C H W: the first stage of a ResNet on CIFAR pictures
BIG = (4_000_000,)
SQUARE = (1024, 1024)

OPS: dict[str, tuple[str, list[tuple[int, ...]], dict[str, Any]]] = {
    "conv2d 3x3, 64>64 @32": ("conv2d", [MAP, (64, 64, 3, 3)], {"padding": 1}),
    "conv2d 3x3, 256>256 @8": ("conv2d", [(64, 256, 8, 8), (256, 256, 3, 3)], {"padding": 1}),
    "conv2d 3x3, 3>64 @32": ("conv2d", [(64, 3, 32, 32), (64, 3, 3, 3)], {"padding": 1}),
    "conv2d 3x3 stride 2, 64>128 @32": ("conv2d", [MAP, (128, 64, 3, 3)], {"padding": 1, "stride": 2}),
    "conv2d 1x1, 256>64 @16": ("conv2d", [(64, 256, 16, 16), (64, 256, 1, 1)], {}),
    "conv2d 1x1 stride 2, 64>128 @32": ("conv2d", [MAP, (128, 64, 1, 1)], {"stride": 2}),
    "conv2d 3x3 depthwise, 64 @32": ("conv2d", [MAP, (64, 1, 3, 3)], {"padding": 1, "groups": 64}),
    "matmul 1024": ("matmul", [SQUARE, SQUARE], {}),
    "matmul 64 x 128x64 @ 64x128": ("matmul", [(64, 128, 64), (64, 64, 128)], {}),
    "linear 784>256, batch 64": ("linear", [(64, 784), (256, 784), (256,)], {}),
    "linear 2048>1000, batch 128": ("linear", [(128, 2048), (1000, 2048), (1000,)], {}),
    "batch_norm 64 @32": ("batch_norm", [MAP, (64,), (64,)], {}),
    "batch_norm + relu 64 @32": ("batch_norm_relu", [MAP, (64,), (64,)], {}),
    "batch_norm + residual + relu 64 @32": ("batch_norm_residual_relu", [MAP, (64,), (64,), MAP], {}),
    "max_pool2d 2x2 @32": ("max_pool2d", [MAP], {"kernel_size": 2}),
    "max_pool2d 3x3 stride 2 @32": ("max_pool2d", [MAP], {"kernel_size": 3, "stride": 2, "padding": 1}),
    "avg_pool2d 2x2 @32": ("avg_pool2d", [MAP], {"kernel_size": 2}),
    "adaptive_avg_pool2d 1 @32": ("adaptive_avg_pool2d", [MAP], {"output_size": 1}),
    "cross_entropy 128 x 10": ("cross_entropy", [(128, 10)], {}),
    "cross_entropy 128 x 10000": ("cross_entropy", [(128, 10_000)], {}),
    "add 4M": ("add", [BIG, BIG], {}),
    "add (rows) 1024 x 1024 + 1024": ("add", [SQUARE, (1024,)], {}),
    "mul 4M": ("mul", [BIG, BIG], {}),
    "relu 4M": ("relu", [BIG], {}),
    "exp 4M": ("exp", [BIG], {}),
}

ON_PICTURES = {"conv2d 3x3, 3>64 @32"}  # the first layer: its input takes no gradient

CLASSES, LR, MOMENTUM = 10, 0.01, 0.9


def numbers(shapes: list[tuple[int, ...]], seed: int = 0) -> list[np.ndarray]:
    """Standard normal float32 arrays, the same in every process."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape, np.float32) for shape in shapes]


def classes(n: int, of: int, seed: int = 1) -> np.ndarray:
    """n class indices (int64)."""
    return np.random.default_rng(seed).integers(0, of, n)


def weights(shapes: dict[str, tuple[int, ...]]) -> list[np.ndarray]:
    """Initial weights, the same for both: He et al. 2015 for filters and matrices, biases 0, other vectors 1.

    shapes: by name, in the order of definition.
    """
    drawn = iter(numbers([s for s in shapes.values() if len(s) > 1], seed=2))
    found = []
    for name, s in shapes.items():
        if len(s) > 1:
            found.append(next(drawn) * np.float32(np.sqrt(2 / np.prod(s[1:]))))
        else:
            found.append(np.full(s, 0.0 if name.endswith("bias") else 1.0, np.float32))
    return found


def passes(name: str) -> list[str]:
    """The parts of a case that are timed one by one."""
    return ["step"] if name in STEPS else ["inference"] if name in INFERENCES else ["forward", "backward"]


def images(name: str) -> bool:
    """True where memory has a choice of order: four dimensions."""
    shape = OPS[name][1][0] if name in OPS else (STEPS | INFERENCES)[name][1]
    return len(shape) == 4
