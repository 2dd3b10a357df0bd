"""`python -m benchmarks.cifar FOLDER`: the CIFAR-10 recipe of `examples/train_resnet.py`, trained by PyTorch.

FOLDER is a folder with `train` and `test` inside, such as CIFAR-10. The batches are our loader's and the initial
weights our model's, so that for one seed both frameworks start from the same numbers; the model, its gradients and the
updates are PyTorch's. ResNet-20, batch 128, SGD with Nesterov momentum, weight decay 5e-4 on filters and matrices
alone, a one-cycle up to 0.4, flips, crops from a border of 4 pixels.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

import tinygrad_fast as tf
from tinygrad_fast.schedule import one_cycle
from tinygrad_fast.vision.all import Flip, ImageDataLoaders, Normalize, RandomCropPad

from . import peer


def train(folder: Path, seed: int, epochs: int) -> float:
    """The accuracy on the test images after `epochs`."""
    tf.manual_seed(seed)
    augmented = [Flip(), RandomCropPad(32, pad=4), Normalize()]
    options: dict[str, Any] = dict(bs=128, seed=seed, batch_tfms=augmented, num_workers=2, cache=True)
    dls = ImageDataLoaders.from_folder(folder, train="train", valid="test", **options)
    model = peer.MODELS["resnet20"]()
    with torch.no_grad():
        for p, q in zip(model.parameters(), tf.models.resnet20().parameters(), strict=True):
            p.copy_(torch.tensor(q.detach().numpy()))
    model = model.to(memory_format=torch.channels_last)
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": 5e-4},
        {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    opt = torch.optim.SGD(groups, lr=0.4, momentum=0.9, nesterov=True)
    schedule, steps, done = one_cycle(0.4), epochs * len(dls.train), 0
    for epoch in range(epochs):
        start, total = time.perf_counter(), 0.0
        model.train()
        for x, y in batches(dls.train):
            for group in opt.param_groups:
                group |= {"lr": schedule["lr"](done / steps), "momentum": schedule["mom"](done / steps)}
            loss = torch.nn.functional.cross_entropy(model(x), y)
            opt.zero_grad()
            loss.backward()
            opt.step()
            done, total = done + 1, total + loss.item()
        model.eval()
        with torch.no_grad():
            right = [float((model(x).argmax(1) == y).sum()) for x, y in batches(dls.valid)]
        accuracy = sum(right) / len(dls.valid_ds)
        mean, seconds = total / len(dls.train), time.perf_counter() - start
        print(
            f"seed {seed}  epoch {epoch}  train_loss {mean:.4f}  accuracy {accuracy:.4f}  {seconds:.0f} s", flush=True
        )
    return accuracy


def batches(loader: Iterable) -> Iterable[tuple[torch.Tensor, torch.Tensor]]:
    """Our batches as PyTorch's tensors, on the same memory."""
    for x, y in loader:
        yield torch.from_numpy(x.numpy()), torch.from_numpy(y.numpy())


def main() -> None:
    ask = argparse.ArgumentParser(prog="python -m benchmarks.cifar", description=__doc__.split("\n")[0])
    ask.add_argument("folder", type=Path)
    ask.add_argument("--epochs", type=int, default=8)
    ask.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = ask.parse_args()
    for seed in args.seeds:
        print(
            f"PyTorch {torch.__version__}, seed {seed}: accuracy {train(args.folder, seed, args.epochs):.4f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
