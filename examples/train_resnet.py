"""Train a ResNet on a folder of images.

    python examples/train_resnet.py                             ten drawn shapes, made on the first run; half a minute
    python examples/train_resnet.py --data photos               a folder of class folders
    python examples/train_resnet.py --data photos.tgz           or an archive of one
    python examples/train_resnet.py --data cifar10.tgz --arch resnet20 --opt sgd --lr 0.4 --bs 128 --pad 4 --epochs 8

A folder with `train` and `valid` (or `test`) inside is split as it says; of any other a fifth is held out. The
optimiser is AdamW, or SGD with Nesterov momentum 0.9 and weight decay 5e-4; the learning rate follows one cycle up to
--lr; images are flipped at random, and cropped at random from the image padded by --pad pixels.

What the last of these lines gives, the accuracy on CIFAR-10's 10,000 test images after 8 epochs, beside the same
recipe, initial weights and batches in PyTorch (`python -m benchmarks.cifar`), 2026-11-25:

    seed             0       1       2      mean
    tinygrad_fast  0.8305  0.8277  0.8282  0.8288
    PyTorch 2.13   0.8265  0.8333  0.8308  0.8302
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path

import drawn_shapes

import tinygrad_fast as tf
from tinygrad_fast.vision.all import (
    SGD,
    Adam,
    CategoryBlock,
    DataBlock,
    Flip,
    GrandparentSplitter,
    ImageBlock,
    Learner,
    Normalize,
    RandomCropPad,
    RandomSplitter,
    Resize,
    accuracy,
    extract,
    get_image_files,
    parent_label,
)


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
    p.add_argument("--fp16", action="store_true", help="mixed precision: faster on a GPU, slower on a CPU")
    p.add_argument("--device", default="cpu")
    p.add_argument("--seed", type=int, default=0)
    return p.parse_args()


def find_data(given: Path | None) -> Path:
    """The folder to train on: the shapes, drawn once; an archive, extracted once; or the folder itself."""
    if given is None:
        return drawn_shapes.make(drawn_shapes.cache_folder() / "shapes")
    return given if given.is_dir() else extract(given, drawn_shapes.cache_folder())


def data_block(folder: Path, size: int, pad: int, seed: int) -> DataBlock:
    parts = {p.name for p in folder.iterdir()}
    held_out = next((name for name in ("valid", "test") if {"train", name} <= parts), None)
    return DataBlock(
        blocks=(ImageBlock, CategoryBlock),
        get_items=get_image_files,
        splitter=GrandparentSplitter("train", held_out) if held_out else RandomSplitter(0.2, seed=seed),
        get_y=parent_label,
        item_tfms=Resize(size),
        batch_tfms=[Flip(), *([RandomCropPad(size, pad=pad)] if pad else []), Normalize()],
    )


def main() -> None:
    start, args = time.perf_counter(), arguments()
    tf.manual_seed(args.seed)
    folder = find_data(args.data)
    dls = data_block(folder, args.size, args.pad, args.seed).dataloaders(
        folder, bs=args.bs, seed=args.seed, num_workers=2, cache=True, device=args.device
    )
    print(f"{folder}: {len(dls.train_ds)} images to train on, {len(dls.valid_ds)} to validate, {dls.c} classes")
    model = getattr(tf.models, args.arch)(num_classes=dls.c).to(args.device)
    sgd = partial(SGD, momentum=0.9, nesterov=True, weight_decay=5e-4)
    opt = {"adamw": Adam, "sgd": sgd}[args.opt]
    given = args.data is not None and args.data.is_dir()
    place = folder.parent if given else drawn_shapes.cache_folder()  # models are saved in `models` there
    learn = Learner(dls, model, opt_func=opt, metrics=accuracy, path=place)
    if args.fp16:
        learn.to_fp16()
    learn.fit_one_cycle(args.epochs, args.lr)
    _, score = learn.validate()
    print(f"\naccuracy {score:.4f}   in {time.perf_counter() - start:.0f} s from the start")
    print(f"model saved as {learn.save(f'{folder.name}-{args.arch}')}")


if __name__ == "__main__":
    main()
