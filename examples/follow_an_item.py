"""Follow one image from its file to the change of a weight, printing each stage.

    python examples/follow_an_item.py

The road: file -> DataBlock -> transforms -> loader -> network -> loss -> tape -> gradient -> optimiser -> weight.
"""

import drawn_shapes
import numpy as np
from PIL import Image

import tinygrad_fast as tf
from tinygrad_fast import nn, optim
from tinygrad_fast.data import (
    CategoryBlock,
    DataBlock,
    ImageBlock,
    Normalize,
    RandomSplitter,
    get_image_files,
    parent_label,
)
from tinygrad_fast.nn import functional as F


def stage(number: int, title: str) -> None:
    print(f"\n{number}. {title}")


def main() -> None:
    tf.manual_seed(0)
    folder = drawn_shapes.make(drawn_shapes.cache_folder() / "shapes")

    stage(1, "A file on disk")
    path = sorted(get_image_files(folder))[0]
    with Image.open(path) as image:
        print(
            f"   {path.parent.name}/{path.name}: {path.stat().st_size} bytes, {image.format}, {image.size} {image.mode}"
        )
        print(f"   its pixel in the middle: {image.convert('RGB').getpixel((16, 16))}")

    stage(2, "The DataBlock: what is x, what is y")
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock),
        get_items=lambda source: sorted(get_image_files(source)),
        splitter=RandomSplitter(0.2, seed=0),
        get_y=parent_label,
        batch_tfms=Normalize.from_stats((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
    )
    dls = block.dataloaders(folder, bs=8, seed=0)
    print(f"   {len(dls.train_ds)} training items; the vocabulary, from them alone: {', '.join(dls.vocab)}")

    stage(3, "A batch: decoded, collated, to floats, normalised")
    x, y = dls.one_batch()
    print(f"   x {x.shape} {x.dtype}, mean {x.mean().item():+.4f}, std {x.std().item():.4f}")
    print(f"   y {y.tolist()} = {[dls.vocab[i] for i in y.tolist()]}")

    stage(4, "The network: each layer is an op on the tape")
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, dls.c)
    )
    h = x
    for layer in model:
        h = layer(h)
        made_by = h.grad_fn.name if h.grad_fn else "-"
        print(f"   {type(layer).__name__:18s} -> {h.shape!s:18s} recorded as {made_by}")

    stage(5, "The loss: how surprised the network is by the labels")
    loss = F.cross_entropy(h, y)
    print(f"   {loss.item():.4f}; guessing gives log({dls.c}) = {np.log(dls.c):.4f}")

    stage(6, "The tape, newest first: what backward will visit")
    node = loss.grad_fn
    while node is not None:
        print(f"   {node.name}")
        node = next((p for p in getattr(node, "parents", None) or () if p.name != "leaf"), None)

    stage(7, "Backward: one gradient for each parameter")
    loss.backward()
    for name, p in model.named_parameters():
        print(f"   {name:9s} {p.shape!s:14s} |gradient| {p.grad.norm().item():.5f}")

    stage(8, "The optimiser: w <- w - lr * gradient")
    w = model[0].weight
    before, slope = w[0, 0, 0, 0].item(), w.grad[0, 0, 0, 0].item()
    optim.SGD(model.parameters(), lr=0.1).step()
    print(f"   the first weight: {before:+.6f} - 0.1 * {slope:+.6f} = {w[0, 0, 0, 0].item():+.6f}")

    stage(9, "The same batch again")
    with tf.no_grad():
        print(f"   loss {loss.item():.4f} -> {F.cross_entropy(model(x), y).item():.4f}")


if __name__ == "__main__":
    main()
