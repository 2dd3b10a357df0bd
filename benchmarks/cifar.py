"""`python -m benchmarks.cifar FOLDER`: the CIFAR-10 recipes of `examples/train_resnet.py`, trained by PyTorch.

FOLDER is a folder with `train` and `test` inside, such as CIFAR-10. The initial weights are our model's, so that for
one seed both frameworks start from the same numbers; the model, its gradients and the updates are PyTorch's.

ResNet-20: the batches are our loader's too. Batch 128, SGD with Nesterov momentum, weight decay 5e-4 on filters and
matrices alone, a one-cycle up to 0.4, flips, crops from a border of 4 pixels.

`--dawnbench`: ResNet-9 by Page's recipe, against the clock. The images stay on the device, and PyTorch mirrors, crops
and cuts them there. What it prints at the end is what our example prints.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

import tinygrad_fast as tf
from tinygrad_fast.schedule import one_cycle
from tinygrad_fast.vision.all import DataLoader, Flip, ImageDataLoaders, Normalize, RandomCropPad, cifar_stats

from . import peer


def train(folder: Path, seed: int, epochs: int) -> float:
    """The accuracy on the test images after `epochs`."""
    tf.manual_seed(seed)
    augmented = [Flip(), RandomCropPad(32, pad=4), Normalize()]
    options: dict[str, Any] = dict(bs=128, seed=seed, batch_tfms=augmented, num_workers=2, cache=True)
    dls = ImageDataLoaders.from_folder(folder, train="train", valid="test", **options)
    model = started("resnet20")
    groups = decayed(model)
    opt = torch.optim.SGD(groups, lr=0.4, momentum=0.9, nesterov=True)
    schedule, steps, done = one_cycle(0.4), epochs * len(dls.train), 0
    for epoch in range(epochs):
        start, total = time.perf_counter(), 0.0
        model.train()
        for x, y in batches(dls.train):
            for group in opt.param_groups:
                group |= {"lr": schedule["lr"](done / steps), "momentum": schedule["mom"](done / steps)}
            loss = F.cross_entropy(model(x), y)
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


def started(name: str) -> torch.nn.Module:
    """PyTorch's model with the weights that ours would start from."""
    model = peer.MODELS[name]()
    with torch.no_grad():
        for p, q in zip(model.parameters(), getattr(tf.models, name)().parameters(), strict=True):
            p.copy_(torch.tensor(q.detach().numpy()))
    return model.to(memory_format=torch.channels_last)


def decayed(model: torch.nn.Module) -> list[dict[str, Any]]:
    """Weight decay on filters and matrices alone."""
    return [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": 5e-4},
        {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]


class Resident:
    """Images on the device, normalised, in batches of 512; each mirrored or not, cropped, and cut there."""

    def __init__(self, x: np.ndarray, y: np.ndarray, device: str, dtype: torch.dtype):
        mean, std = (torch.tensor(s).reshape(1, 3, 1, 1) for s in cifar_stats)
        x = (torch.from_numpy(x) / 255 - mean) / std
        self.x = x.to(device, dtype).contiguous(memory_format=torch.channels_last)
        self.padded = F.pad(self.x, (4, 4, 4, 4), mode="reflect").permute(0, 2, 3, 1).contiguous()
        self.y, self.n, self.device = torch.from_numpy(y).to(device), len(y), device

    def drawn(self, bs: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """One epoch: full batches, shuffled."""
        order, at = torch.randperm(self.n, device=self.device), torch.arange(32, device=self.device)
        for i in range(self.n // bs):
            index = order[i * bs : (i + 1) * bs]

            def draw(n: int) -> torch.Tensor:
                return torch.randint(0, n, (bs, 1), device=self.device)

            rows, columns = at + draw(9), draw(9) + torch.where(draw(2) > 0, at, 31 - at)
            x = self.padded[index[:, None, None], rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
            cut = [(at >= start) & (at < start + 8) for start in (draw(25), draw(25))]
            yield x.masked_fill((cut[0][:, :, None] & cut[1][:, None, :])[:, None], 0), self.y[index]


def dawnbench(folder: Path, seed: int, args: argparse.Namespace) -> None:
    """Trains, and prints the seconds; validation is not counted."""
    tf.manual_seed(seed)
    torch.manual_seed(seed)
    dls = ImageDataLoaders.from_folder(folder, train="train", valid="test")
    whole, valid = (
        Resident(*bytes_of(dl, args.images), args.device, torch.float16 if args.fp16 else torch.float32)
        for dl in (dls.train, dls.valid)
    )
    model, bs = started("resnet9").to(args.device), args.bs
    opt = torch.optim.SGD(decayed(model), lr=0.4, momentum=0.9, nesterov=True)
    scaler = torch.amp.GradScaler(args.device, enabled=args.fp16)
    precision = torch.autocast(args.device, torch.float16) if args.fp16 else nullcontext()
    seconds, reached, per_epoch = [], "not reached", whole.n // bs
    for epoch in range(args.epochs):
        start = clock(args.device)
        model.train()
        for i, (x, y) in enumerate(whole.drawn(bs)):
            done = (epoch + i / per_epoch) / args.epochs
            for group in opt.param_groups:
                group["lr"] = 0.4 * min(done * 24 / 5, (1 - done) * 24 / 19)
            with precision:
                loss = F.cross_entropy(model(x).float(), y)
            opt.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(opt)
            scaler.update()
        seconds.append(clock(args.device) - start)
        model.eval()
        with torch.no_grad(), precision:
            answers = torch.cat([model(x).argmax(1) for x in valid.x.split(bs)])
        accuracy = float((answers == valid.y).float().mean())
        if accuracy >= args.target and reached == "not reached":
            reached = f"{accuracy:.4f} after {epoch + 1} epochs, {sum(seconds):.1f} s of training"
        print(
            f"seed {seed}  epoch {epoch}  last_loss {loss.item():.4f}  accuracy {accuracy:.4f}  {seconds[-1]:.2f} s",
            flush=True,
        )
    first, *rest = seconds
    said = f"{sum(seconds):.1f} s of training: {first:.2f} s in the first epoch"
    print(said + (f", {sum(rest) / len(rest):.2f} s in each later one" if rest else ""))
    print(f"target {args.target}: {reached}\naccuracy {accuracy:.4f}", flush=True)


def bytes_of(loader: DataLoader, most: int | None) -> tuple[np.ndarray, np.ndarray]:
    """The images and classes of a loader's data set, `most` of them."""
    data = loader.dataset
    if most is not None and most < len(data):
        data = data.new([data.items[i * len(data) // most] for i in range(most)])
    read = DataLoader(data, 500, after_item=loader.after_item.tfms, num_workers=2)
    return tuple(np.concatenate(column) for column in zip(*((x.numpy(), y.numpy()) for x, y in read)))


def clock(device: str) -> float:
    """Seconds, when all that was asked of the device is done."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    ask = argparse.ArgumentParser(prog="python -m benchmarks.cifar", description=__doc__.split("\n")[0])
    ask.add_argument("folder", type=Path)
    ask.add_argument("--epochs", type=int, help="default: 8; with --dawnbench 24")
    ask.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    ask.add_argument("--dawnbench", action="store_true", help="ResNet-9, Page's recipe")
    ask.add_argument("--target", type=float, default=0.94, help="an accuracy: prints when it was reached")
    ask.add_argument("--bs", type=int, default=512, help="of --dawnbench")
    ask.add_argument("--images", type=int, help="of --dawnbench: train and validate on so many at most")
    ask.add_argument("--fp16", action="store_true", help="of --dawnbench: mixed precision")
    ask.add_argument("--device", default="cpu", help="of --dawnbench")
    args = ask.parse_args()
    args.epochs = args.epochs or (24 if args.dawnbench else 8)
    for seed in args.seeds:
        if args.dawnbench:
            dawnbench(args.folder, seed, args)
        else:
            said = f"PyTorch {torch.__version__}, seed {seed}: accuracy"
            print(f"{said} {train(args.folder, seed, args.epochs):.4f}", flush=True)


if __name__ == "__main__":
    main()
