"""The road of an item from its file to a batch, printed with real values: `DataBlock.summary`."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from PIL import Image

from .. import rng
from ..autograd import no_grad
from ..tensor import Tensor
from .collate import collate, to_tensors
from .loader import BATCH, DataLoader
from .transforms import Pipeline


def summary(block: Any, source: Any, bs: int) -> None:
    """Each stage in turn; the error of a step that fails follows what went well before it."""
    data = block.datasets(source)
    train = data.train
    print(f"{len(data)} items: {len(train)} for training, {len(data.valid)} for validation")
    for t in (t for p in data.pipelines for t in p.tfms if t.learns):
        print(f"learned from training: {t}")
    print(f"\nOne item: {train.items[0]}")
    for kind, pipeline in zip(data.kinds, data.pipelines):
        print(f"  {kind or 'member'}, type transforms")
        _walk(pipeline, train.items[0])
    n, key = min(bs, len(train)), rng.default.key()
    loader = DataLoader(train, bs=n, training=True, after_item=copy.deepcopy(block.item_tfms))
    print(f"  sample, item transforms\n    {'':<24} {shown(train[0])}")
    samples = [_walk(loader.after_item, train[j], key, j, quiet=j > 0) for j in range(n)]
    print(f"\nA batch of {n}")
    batch = collate(samples, lambda j: str(train.items[j]))
    print(f"    {'collate':<24} {shown(batch)}")
    loader = loader.new(train, training=True, after_batch=copy.deepcopy(block.batch_tfms))
    with no_grad():
        _walk(loader.after_batch, to_tensors(batch), key, BATCH)


def _walk(pipeline: Pipeline, x: Any, key: Any = None, position: int = 0, quiet: bool = False) -> Any:
    for i, t in enumerate(pipeline.tfms):
        x = pipeline.step(i, x, key, position)
        if not quiet:
            print(f"    {_short(t):<24} {shown(x)}")
    return x


def _short(t: Any) -> str:
    name = repr(t)
    return name if len(name) <= 40 else type(t).__name__


def shown(x: Any) -> str:
    """A value in a few words."""
    if isinstance(x, tuple):
        return "(" + ", ".join(map(shown, x)) + ")"
    if isinstance(x, Image.Image):
        return f"image {x.mode} {x.width}x{x.height}"
    if isinstance(x, (np.ndarray, Tensor)):
        a = x if isinstance(x, np.ndarray) else x.detach().to("cpu").numpy()
        values = a.tolist() if a.size <= 8 else f"in [{a.min():.3g}, {a.max():.3g}]"
        return f"{x.dtype} {tuple(x.shape)} {values}"
    return repr(x)
