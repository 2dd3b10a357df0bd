"""augment against its definition in float64, with every access to memory watched; and that a batch runs it once."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

import tinygrad_fast as tf
from tinygrad_fast import backend
from tinygrad_fast.backend.composed import Composed
from tinygrad_fast.backend.source import KernelError
from tinygrad_fast.data import (
    Cutout,
    DataLoader,
    Flip,
    IntToFloat,
    Normalize,
    RandomCropPad,
    TensorDataset,
    aug_transforms,
)
from tinygrad_fast.testing.backends import Opaque

from . import like_cuda
from .test_devices import gpus as gpus
from .test_grid_sample import lying
from .test_matmul import DTYPES, EPS

PLAIN = backend.CPU()


def small(rng, n, c, hw, size, whole):
    """place, light, erased, mean, std: a flip and a crop of whole pixels, or any map at all."""
    place = np.tile(np.eye(3), (n, 1, 1))
    if whole:
        place[:, 0, 0] = rng.choice([-1, 1], n)
        place[:, :2, 2] = rng.integers(-4, 6, (n, 2))
    else:
        place[:, :2] += rng.uniform(-0.5, 0.5, (n, 2, 3)) * [1, 1, 6]
        place[:, 2, :2] = rng.uniform(-0.5, 0.5, (n, 2)) / np.array(size[::-1])  # the last row stays above 0
    light = np.stack([rng.uniform(-0.4, 0.4, n), rng.uniform(0.8, 1.25, n)], 1)
    corner = rng.integers(0, max(size), (n, 2))
    erased = np.concatenate([corner, corner + rng.integers(0, 4, (n, 2))], 1)
    mean, std = rng.uniform(0.2, 0.6, c), rng.uniform(0.2, 0.4, c)
    return [a.astype(np.float32) for a in (place, light, erased, mean, std)]


@pytest.mark.parametrize("pixel", ["bytes", "floats"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_values(machine, dtype, pixel, tally):
    before, eps = machine.launch.counts["augment"], EPS[np.dtype(dtype).name]

    @given(st.data())
    def augmented(data):
        n, h, w, oh, ow = (data.draw(st.integers(1, 6)) for _ in range(5))
        c, whole = data.draw(st.sampled_from([3, 1, 4])), data.draw(st.booleans())
        order = data.draw(st.sampled_from(["last", "first", "gaps"]))
        padding = data.draw(st.sampled_from(["zeros", "border", "reflection"]))
        mode = data.draw(st.sampled_from(["nearest", "bilinear"])) if whole else "bilinear"
        rng = np.random.default_rng(data.draw(st.integers(0, 99)))
        x = rng.integers(0, 256, (n, c, h, w)).astype(np.uint8)
        x = lying(x if pixel == "bytes" else (x / 255).astype(dtype), order)
        place, *rest = small(rng, n, c, (h, w), (oh, ow), whole)
        light, erased, mean = (a if data.draw(st.booleans()) else None for a in rest[:3])
        given = [place, light, erased, mean, None if mean is None else rest[3]]
        read = dict(size=(oh, ow), mode=mode, padding_mode=padding)
        if data.draw(st.booleans()):
            read["rows"] = rng.integers(0, n, n)
        if mode == "bilinear" and data.draw(st.booleans()):
            read["averaged"] = data.draw(st.integers(1, h)), data.draw(st.integers(1, w))
        y = machine.augment(x, *given, **read, dtype=np.dtype(dtype))
        wide = [None if a is None else a.astype(np.float64) for a in given]
        exact = x if pixel == "bytes" else x.astype(np.float64)
        want = Composed.augment(PLAIN, exact, *wide, **read, dtype=np.dtype(np.float64))
        assert y.dtype == dtype and y.shape == want.shape == (n, c, oh, ow)
        assert y.transpose(0, 2, 3, 1).flags.c_contiguous
        # a place is off by a few roundings of some ten pixels, a value by as much; light and division by std enlarge it
        slack = (1024 if whole else 8192) * min(eps, EPS["float32"])
        assert (abs(y.astype(np.float64) - want) <= eps * abs(want) + slack).all()
        assert (erased is None) or not y[boxes(erased, y.shape)].any()

    augmented()
    tally(kernel="augment", launches=machine.launch.counts["augment"] - before)


def boxes(erased, shape):
    i, j = np.arange(shape[2])[:, None], np.arange(shape[3])
    inside = [(i >= a) & (j >= b) & (i < e) & (j < f) for a, b, e, f in erased]
    return np.broadcast_to(np.stack(inside)[:, None], shape)


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_whole_pixels_are_the_same_to_the_bit(machine, padding):
    """Flips, crops and normalisation of bytes to float32: the kernel, the CPU's look-up and the definition agree."""
    rng = np.random.default_rng(0)
    x = lying(rng.integers(0, 256, (5, 3, 7, 6)).astype(np.uint8), "last")
    place, _, erased, mean, std = small(rng, 5, 3, (7, 6), (5, 9), True)
    args = (x, place, None, erased, mean, std, (5, 9), "nearest", padding, np.dtype(np.float32))
    for rows in (None, np.array([4, 0, 0, 2, 3])):
        want = Composed.augment(PLAIN, *args, rows=rows)
        for got in (machine.augment(*args, rows=rows), backend.get("cpu").augment(*args, rows=rows)):
            np.testing.assert_array_equal(got, want)


def test_places_that_are_nowhere(machine):
    """[a, b, d] with d = 0: nothing is read there."""
    place = np.zeros((1, 3, 3), np.float32)
    place[0, :2, 2] = 1
    args = (None, None, None, None, (2, 2), "bilinear", "zeros", np.dtype(np.float32))
    assert not machine.augment(np.full((1, 1, 3, 3), 255, np.uint8), place, *args).any()


def test_an_image_that_cannot_be_counted(machine):
    args = (None, None, None, None, (2**16, 2**15), "bilinear", "zeros", np.dtype(np.float32))
    with pytest.raises(KernelError, match="fewer than 2.31 numbers.*got 65536 x 32768 pixels of 1. Cut it"):
        machine.augment(np.zeros((1, 3, 4, 4), np.uint8), np.zeros((1, 3, 3), np.float32), *args)


def test_a_batch_is_one_launch(device):
    """From bytes to what the network takes, for the recipe of CIFAR-10 and for photographs, also where these are shrunk
    by more than 2; in validation too."""
    counts, images = backend.get(device).launch.counts, np.zeros((4, 3, 12, 12), np.uint8)
    labels = np.zeros(4, np.int64)
    normal = Normalize([0.5] * 3, [0.25] * 3)
    cifar, photographs = [Flip(), RandomCropPad(12, 2), normal, Cutout(4)], [*aug_transforms(size=8), normal]
    for tfms in (cifar, photographs, [*aug_transforms(size=5), normal]):
        for training, dtype in ((True, "float16"), (False, "float32")):
            batches = [IntToFloat(dtype), *tfms]
            options = dict(kinds=("image", "category"), training=training, device=device)
            loader = DataLoader(list(zip(images, labels)), bs=2, after_batch=batches, **options)
            counts.clear()
            for x, _ in loader:
                assert x.dtype == np.dtype(dtype) and x.data.transpose(0, 2, 3, 1).flags.c_contiguous
            assert counts == {"augment": 2}, tfms


@pytest.mark.parametrize("training", [True, False])
def test_images_that_stay_are_chosen_by_the_launch(device, training, monkeypatch):
    """Of a batch the labels alone are gathered, also where images must be averaged. A subclass has its own way."""
    rng, xp, gathered = np.random.default_rng(0), backend.get(device), []
    arrays = rng.integers(0, 256, (10, 3, 16, 16)).astype(np.uint8), np.arange(10)
    monkeypatch.setattr(xp, "getitem", lambda x, *a, **k: gathered.append(x.ndim) or type(xp).getitem(xp, x, *a, **k))
    for moved in ([Flip(), RandomCropPad(12, 2)], aug_transforms(size=8), aug_transforms(size=3)):
        tfms, batches = [IntToFloat(), *moved, Normalize([0.5] * 3, [0.25] * 3)], []
        for kind in (TensorDataset, type("Own", (TensorDataset,), {})):
            data = kind(*(tf.from_numpy(a).to(device) for a in arrays))
            options = dict(shuffle=True, seed=1, training=training, after_batch=tfms, device=device)
            loader = DataLoader(data, 4, **options)
            gathered.clear()
            xp.launch.counts.clear()
            batches.append([(x.numpy(), t.tolist()) for x, t in loader])
            assert xp.launch.counts["augment"] == 3
            assert sorted(gathered) == sorted(3 * ([1] if kind is TensorDataset else [1, 4]))
        for (a, s), (b, t) in zip(*batches, strict=True):
            assert np.array_equal(a, b) and s == t


def test_one_pixel(machine):
    x, eye = np.array([[[[51]]]], np.uint8), np.eye(3, dtype=np.float32)[None]
    for mode in ("nearest", "bilinear"):
        for padding in ("zeros", "border", "reflection"):
            y = machine.augment(x, eye, None, None, None, None, (1, 1), mode, padding, np.dtype(np.float32))
            assert y.tolist() == [[[[np.float32(0.2)]]]]


def test_images_that_stay_on_the_gpu(gpus):
    """The host waits for nothing while it draws and sends; what it hands over is as CuPy takes it."""
    x = np.random.default_rng(0).integers(0, 256, (24, 3, 8, 8), dtype=np.uint8)
    normal = Normalize([0.5] * 3, [0.25] * 3)
    tfms = [IntToFloat("float16"), Flip(), RandomCropPad(8, 2, "reflection"), normal, Cutout(3)]
    batches = []
    for device in ("cpu", "cuda"):
        data = TensorDataset(tf.from_numpy(x).to(device), tf.arange(24).to(device))
        loader = DataLoader(data, 4, shuffle=True, seed=3, after_batch=tfms, device=device)
        before = like_cuda.waits.copy()
        batches.append(list(loader))
        assert not like_cuda.waits - before
    for (a, s), (b, t) in zip(*batches):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=2e-3)  # two roundings to float16
        assert s.tolist() == t.tolist()


def test_the_definition_computes_through_its_machine_alone():
    """On arrays that show their shape and dtype and nothing else."""
    rng, xp = np.random.default_rng(0), Opaque(PLAIN)
    x = rng.integers(0, 256, (2, 3, 4, 5)).astype(np.uint8)
    arrays = [x, *small(rng, 2, 3, (4, 5), (4, 4), whole=False)]
    static = dict(size=(4, 4), mode="bilinear", padding_mode="reflection", dtype=np.dtype(np.float16), averaged=(3, 4))
    y = xp.to_numpy(xp.augment(*(xp.asarray(a) for a in arrays), **static))
    assert np.array_equal(y, PLAIN.augment(*arrays, **static))
