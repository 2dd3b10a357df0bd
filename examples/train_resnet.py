"""Train a ResNet on a folder of images.

    python examples/train_resnet.py                             ten drawn shapes, made on the first run; half a minute
    python examples/train_resnet.py --data photos               a folder of class folders
    python examples/train_resnet.py --data photos.tgz           or an archive of one
    python examples/train_resnet.py --data cifar10.tgz --arch resnet20 --opt sgd --lr 0.4 --bs 128 --pad 4 --epochs 8
    python examples/train_resnet.py --data cifar10.tgz --arch resnet9 --fp16 --device cuda --dawnbench --target 0.94

A folder with `train` and `valid` (or `test`) inside is split as it says; of any other a fifth is held out. The
optimiser is AdamW, or SGD with Nesterov momentum 0.9 and weight decay 5e-4; the learning rate follows one cycle up to
--lr; images are flipped at random, and cropped at random from the image padded by --pad pixels.

What the fourth line gives, the accuracy on CIFAR-10's 10,000 test images after 8 epochs, beside the same recipe,
initial weights and batches in PyTorch (`python -m benchmarks.cifar`), 2026-11-26:

    seed             0       1       2      mean
    tinygrad_fast  0.8311  0.8284  0.8271  0.8289
    PyTorch 2.13   0.8265  0.8333  0.8308  0.8302

The last line is David Page's entry to DAWNBench, 94 % on CIFAR-10 in 24 epochs: batches of 512, momentum 0.9, a
learning rate that rises by a line for 5 epochs and falls by one to 0, mirrored pictures, crops from a mirrored border,
a square of 8 x 8 left out. With --dawnbench all images are read once and stay on the device as bytes (CIFAR-10:
184 MB). The host draws where each is to be cropped, and sends that; one kernel makes the batch, and a training step is
one CUDA graph. --target prints when the test accuracy first was so high, in seconds of training alone (the first run
compiles the kernels as well). It has not been measured on a GPU; squeezed into 5 epochs on the CPU it gives 0.8483, and
PyTorch's 0.8438 (benchmarks/results/resnet9-recipe.md). Beside it:
`python -m benchmarks.cifar cifar10 --dawnbench --fp16 --device cuda`.
Source: https://github.com/davidcpage/cifar10-fast, `dawn.py`. Ours leaves batch norm's weights without decay.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path

import drawn_shapes
import numpy as np

import tinygrad_fast as tf
from tinygrad_fast.schedule import SchedLin, combine
from tinygrad_fast.vision.all import (
    SGD,
    Adam,
    Callback,
    CategoryBlock,
    CrossEntropyLossFlat,
    Cutout,
    DataBlock,
    DataLoader,
    DataLoaders,
    Flip,
    GrandparentSplitter,
    ImageBlock,
    IntToFloat,
    Learner,
    Normalize,
    ParamScheduler,
    RandomCropPad,
    RandomSplitter,
    Resize,
    TensorDataset,
    accuracy,
    cifar_stats,
    extract,
    get_image_files,
    parent_label,
)

DAWNBENCH = dict(arch="resnet9", epochs=24, bs=512, lr=0.4, opt="sgd", pad=4)


def arguments() -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--data", type=Path, help="a folder of class folders, or an archive of one (default: drawn shapes)")
    p.add_argument("--arch", default="resnet8", help="a name in tinygrad_fast.models (default: resnet8)")
    p.add_argument("--epochs", type=int, default=4)
    p.add_argument("--bs", type=int, default=64, help="batch size")
    p.add_argument("--lr", type=float, default=0.01, help="the highest learning rate of the cycle")
    p.add_argument("--opt", choices=["adamw", "sgd"], default="adamw")
    p.add_argument("--pad", type=int, default=0, help="pixels of padding to crop from")
    p.add_argument("--size", type=int, default=32, help="images are cropped and resized to size x size")
    p.add_argument("--dawnbench", action="store_true", help="Page's recipe: the defaults become his")
    p.add_argument("--target", type=float, help="an accuracy: prints when it was reached")
    p.add_argument("--images", type=int, help="train and validate on so many at most: for a quick look")
    p.add_argument("--fp16", action="store_true", help="mixed precision: faster on a GPU, slower on a CPU")
    p.add_argument("--device", default="cpu")
    p.add_argument("--seed", type=int, default=0)
    if p.parse_args().dawnbench:
        p.set_defaults(**DAWNBENCH)
    args = p.parse_args()
    if args.epochs < 1:
        p.error(f"--epochs must be at least 1; got {args.epochs}")
    return args


def find_data(given: Path | None) -> Path:
    """The folder to train on: the shapes, drawn once; an archive, extracted once; or the folder itself."""
    if given is None:
        return drawn_shapes.make(drawn_shapes.cache_folder() / "shapes")
    return given if given.is_dir() else extract(given, drawn_shapes.cache_folder())


def data_block(folder: Path, args: argparse.Namespace) -> DataBlock:
    parts = {p.name for p in folder.iterdir()}
    held_out = next((name for name in ("valid", "test") if {"train", name} <= parts), None)
    crop = [RandomCropPad(args.size, args.pad, "reflection" if args.dawnbench else "zeros")] if args.pad else []
    last = [Normalize.from_stats(*cifar_stats), Cutout(8)] if args.dawnbench else [Normalize()]
    return DataBlock(
        blocks=(ImageBlock, CategoryBlock),
        get_items=get_image_files,
        splitter=GrandparentSplitter("train", held_out) if held_out else RandomSplitter(0.2, seed=args.seed),
        get_y=parent_label,
        item_tfms=Resize(args.size),
        batch_tfms=[IntToFloat("float16" if args.fp16 else "float32"), Flip(), *crop, *last],
    )


def few(data, n: int):
    """At most n items, from everywhere in the data."""
    return data.new([data.items[i * len(data) // n] for i in range(n)]) if n < len(data) else data


def loaders(block: DataBlock, folder: Path, args: argparse.Namespace) -> tuple[DataLoaders, int]:
    """Training and validation, and how many classes there are."""
    data, options = block.datasets(folder), dict(bs=args.bs, seed=args.seed, device=args.device)
    if args.images:
        data.train, data.valid = (few(part, args.images) for part in (data.train, data.valid))
    if args.dawnbench:
        parts, options["num_workers"] = [resident(part, block, args.device) for part in (data.train, data.valid)], 0
    else:
        parts = [data.train, data.valid]
        options |= dict(item_tfms=block.item_tfms, num_workers=2, cache=True)
    return DataLoaders.from_dsets(*parts, batch_tfms=block.batch_tfms, **options), data.c


def resident(data, block: DataBlock, device: str) -> TensorDataset:
    """All images as bytes, and their classes, on the device."""
    batches = [
        (x.numpy(), y.numpy())
        for x, y in DataLoader(data, 500, after_item=block.item_tfms, num_workers=2, device="cpu")
    ]
    return TensorDataset(*(tf.from_numpy(np.concatenate(column)).to(device) for column in zip(*batches)))


class Stopwatch(Callback):
    """Seconds of training in each epoch, and when the accuracy first was `target`. Validation is not counted."""

    order = 61  # after the recorder

    def __init__(self, target: float | None):
        self.target, self.seconds, self.reached = target, [], ""

    def before_train(self) -> None:
        tf.cuda.synchronize()
        self.start = time.perf_counter()

    def after_train(self) -> None:
        tf.cuda.synchronize()
        self.seconds.append(time.perf_counter() - self.start)

    def after_epoch(self) -> None:
        score = self.learn.recorder.values[-1][-1]
        if self.target and not self.reached and score >= self.target:
            self.reached = f"{score:.4f} after {len(self.seconds)} epochs, {sum(self.seconds):.1f} s of training"

    def __str__(self) -> str:
        first, *rest = self.seconds
        said = f"{sum(self.seconds):.1f} s of training: {first:.2f} s in the first epoch"
        said += f", {sum(rest) / len(rest):.2f} s in each later one" if rest else ""
        return said + (f"\ntarget {self.target}: {self.reached or 'not reached'}" if self.target else "")


def main() -> None:
    start, args = time.perf_counter(), arguments()
    tf.manual_seed(args.seed)
    folder = find_data(args.data)
    dls, classes = loaders(data_block(folder, args), folder, args)
    print(f"{folder}: {len(dls.train_ds)} images to train on, {len(dls.valid.dataset)} to validate, {classes} classes")
    model = getattr(tf.models, args.arch)(num_classes=classes).to(args.device)
    sgd = partial(SGD, momentum=0.9, nesterov=True, weight_decay=5e-4)
    given = args.data is not None and args.data.is_dir()
    learn = Learner(
        dls,
        model,
        CrossEntropyLossFlat(),
        opt_func={"adamw": Adam, "sgd": sgd}[args.opt],
        metrics=accuracy,
        path=folder.parent if given else drawn_shapes.cache_folder(),  # models are saved in `models` there
    )
    if args.fp16:
        learn.to_fp16()
    if args.dawnbench:
        learn.capture()  # each step is one CUDA graph; on a CPU it just runs
    watch = Stopwatch(args.target)
    if args.dawnbench:
        rise = combine([5 / 24, 19 / 24], [SchedLin(0.0, args.lr), SchedLin(args.lr, 0.0)])
        learn.fit(args.epochs, args.lr, cbs=[ParamScheduler({"lr": rise}), watch])
    else:
        learn.fit_one_cycle(args.epochs, args.lr, cbs=watch)
    _, score = learn.validate()
    print(f"\n{watch}")
    print(f"accuracy {score:.4f}   in {time.perf_counter() - start:.0f} s from the start")
    print(f"model saved as {learn.save(f'{folder.name}-{args.arch}')}")


if __name__ == "__main__":
    main()
