"""The same training without a Learner: every step of the loop in the open.

python examples/loop.py [epochs]        a small ResNet on the drawn shapes
"""

import sys

import drawn_shapes
import numpy as np
from PIL import Image

import tinygrad_fast as tf
from tinygrad_fast import optim
from tinygrad_fast.data import DataLoader, TensorDataset
from tinygrad_fast.models import resnet8
from tinygrad_fast.nn import functional as F
from tinygrad_fast.schedule import one_cycle


def load(n: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The first n images and labels, normalised, as two tensors in memory."""
    files = sorted(drawn_shapes.make(drawn_shapes.cache_folder() / "shapes").glob("*/*.png"), key=lambda f: f.name)[:n]
    names = sorted(drawn_shapes.SHAPES)
    x = np.stack([np.asarray(Image.open(f)) for f in files]).transpose(0, 3, 1, 2)  # (N, H, W, C) seen as (N, C, H, W)
    images = tf.from_numpy(x).float() / 255
    images = (images - images.mean((0, 2, 3), keepdim=True)) / images.std((0, 2, 3), keepdim=True)
    return images, tf.tensor([names.index(f.parent.name) for f in files])


def evaluate(model: tf.nn.Module, batches: DataLoader) -> float:
    """The share of images that the model gets right."""
    model.eval()
    with tf.no_grad():
        hits = [(model(x).argmax(1) == y).sum().item() for x, y in batches]
    model.train()
    return sum(hits) / len(batches.dataset)


def main(epochs: int = 4, n: int = 6000, bs: int = 64, lr: float = 0.01) -> None:
    tf.manual_seed(0)
    x, y = load(n)
    cut = n * 4 // 5
    train = DataLoader(TensorDataset(x[:cut], y[:cut]), batch_size=bs, shuffle=True, drop_last=True)
    valid = DataLoader(TensorDataset(x[cut:], y[cut:]), batch_size=2 * bs)
    model = resnet8(num_classes=len(drawn_shapes.SHAPES))
    opt = optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.99), eps=1e-5)
    schedule, step, steps = one_cycle(lr), 0, epochs * len(train)
    for epoch in range(epochs):
        total = 0.0
        for images, labels in train:
            opt.param_groups[0]["lr"] = schedule["lr"](step / steps)
            opt.param_groups[0]["betas"] = (schedule["mom"](step / steps), 0.99)
            loss = F.cross_entropy(model(images), labels)
            opt.zero_grad()
            loss.backward()
            opt.step()
            total += loss.item()
            step += 1
        print(f"epoch {epoch}   loss {total / len(train):.4f}   accuracy {evaluate(model, valid):.4f}", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
