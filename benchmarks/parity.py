"""`python -m benchmarks.parity FOLDER`: the losses of the first steps of ResNet-20, ours beside PyTorch's.

FOLDER is a folder of class folders with `train` inside, such as CIFAR-10. Both frameworks get the same initial weights,
the same batches (shuffled, flipped, cropped and normalised once, by our loader), and the recipe of
`examples/train_resnet.py --opt sgd`: Nesterov momentum, weight decay 5e-4, the beginning of a one-cycle up to 0.4.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

import tinygrad_fast as tf
from tinygrad_fast.schedule import one_cycle
from tinygrad_fast.vision.all import ImageDataLoaders, Normalize, RandomCropPad

from . import peer


def batches(folder: Path, n: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The first n training batches of 128, as arrays."""
    augmented = [RandomCropPad(32, pad=4), Normalize()]
    dls = ImageDataLoaders.from_folder(folder, train="train", valid="test", bs=128, seed=0, batch_tfms=augmented)
    return [(x.numpy(), y.numpy()) for (x, y), _ in zip(dls.train, range(n))]


def losses(lib: Any, model: Any, data: list, dtype: Any, schedule: dict, steps: int) -> list[float]:
    """The loss of each step in `lib`, which is tinygrad_fast or torch: the same lines serve both."""
    model.to(dtype)
    opt = lib.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    found = []
    for i, (x, y) in enumerate(data):
        opt.param_groups[0] |= {"lr": schedule["lr"](i / steps), "momentum": schedule["mom"](i / steps)}
        loss = lib.nn.functional.cross_entropy(model(lib.tensor(x).to(dtype)), lib.tensor(y))
        opt.zero_grad()
        loss.backward()
        opt.step()
        found.append(loss.item())
    return found


def main() -> int:
    ask = argparse.ArgumentParser(prog="python -m benchmarks.parity", description=__doc__.split("\n")[0])
    ask.add_argument("folder", type=Path)
    ask.add_argument("--steps", type=int, default=25)
    args = ask.parse_args()
    data, schedule, steps = batches(args.folder, args.steps), one_cycle(0.4), 8 * 390
    columns = []
    for dtype in ("float32", "float64"):
        tf.manual_seed(0)
        model, other = tf.models.resnet20(), peer.MODELS["resnet20"]()
        with torch.no_grad():
            for p, q in zip(model.parameters(), other.parameters(), strict=True):
                q.copy_(torch.tensor(p.detach().numpy()))
        for lib, net in ((tf, model), (torch, other)):
            columns.append(losses(lib, net, data, getattr(lib, dtype), schedule, steps))
    print("step   float32: ours   PyTorch      float64: ours         PyTorch")
    for i, (a, b, c, d) in enumerate(zip(*columns, strict=True)):
        print(f"{i:4d}   {a:13.6f} {b:9.6f}   {c:16.12f} {d:15.12f}")
    worst = [max(abs(a - b) / abs(b) for a, b in zip(*columns[k : k + 2], strict=True)) for k in (0, 2)]
    print(f"largest relative difference: float32 {worst[0]:.1e}, float64 {worst[1]:.1e}")
    return 0 if worst[0] < 5e-4 or worst[1] < 5e-4 else 1


if __name__ == "__main__":
    raise SystemExit(main())
