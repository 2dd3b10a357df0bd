"""Batch transforms joined into one pass: the same pictures as one by one; and what each of them does."""

import itertools

import numpy as np
import pytest

import tinygrad_fast as tf
import tinygrad_fast.nn.functional as F
from tinygrad_fast.data import (
    Brightness,
    Contrast,
    Cutout,
    Dihedral,
    Flip,
    IntToFloat,
    Normalize,
    RandomCropPad,
    RandomResizedCropGPU,
    Rotate,
    Warp,
    Zoom,
    aug_transforms,
)
from tinygrad_fast.data.affine import dihedral, perspective, rotation, zoom
from tinygrad_fast.data.plan import BatchPipeline, BatchPlan

STATS = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]
DEVICES = ["cpu", "emulated"]


def key(seed):
    return np.array([seed, 0, 7], np.uint32)


def rng(seed=0):
    return np.random.default_rng(seed)


def batch(n=5, h=9, w=9, seed=0, device="cpu"):
    x = rng(seed).integers(0, 256, (n, h, w, 3)).astype(np.uint8)
    return tf.tensor(x, device=device).permute(0, 3, 1, 2)


def both(tfms, x, seed=0, training=True):
    """What the pipeline gives, what its transforms give one by one, and how many passes it took."""
    pipeline = BatchPipeline(tfms, split_idx=0 if training else 1)
    y = x
    for i in range(len(pipeline.tfms)):
        y = pipeline.step(i, y, key(seed), seed)
    run, passes = BatchPlan.run, []
    BatchPlan.run = lambda plan, x: passes.append(plan) or run(plan, x)
    try:
        joined = pipeline(x, key(seed), seed)
    finally:
        BatchPlan.run = run
    return joined.numpy(), y.numpy(), len(passes)


# the same as one by one

WHOLE = [Flip(), RandomCropPad(7, 2), RandomCropPad(pad=3, pad_mode="reflection"), Normalize(*STATS), Cutout(3)]
LIGHT = [Brightness(p=0.7), Contrast(p=0.7)]


@pytest.mark.parametrize("device", DEVICES)
def test_whole_pixels(device):
    """Every choice of transforms that move whole pixels, but two crops: the same to the bit, in one pass."""
    for n in range(1, len(WHOLE)):
        for seed, tfms in enumerate(itertools.combinations(WHOLE, n)):
            crops = sum(isinstance(t, RandomCropPad) for t in tfms)
            joined, one_by_one, passes = both([IntToFloat(), *tfms], batch(seed=seed, device=device), seed)
            np.testing.assert_array_equal(joined, one_by_one)
            assert passes == 1 or crops == 2, tfms


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("move", [Rotate(30), Zoom(0.8, 1.4), Warp(0.3), Dihedral(1.0)], ids=repr)
def test_between_pixels(device, move):
    """One map among them: interpolated once either way."""
    for seed, some in enumerate(itertools.product([False, True], repeat=4)):
        tfms = [Flip(), move, *itertools.compress([*LIGHT, Normalize(*STATS), Cutout(3)], some)]
        joined, one_by_one, passes = both([IntToFloat(), *tfms], batch(h=8, w=11, seed=seed, device=device), seed)
        np.testing.assert_allclose(joined, one_by_one, atol=1e-4)  # contrast / std enlarge what places are off by
        assert passes == 1, tfms


@pytest.mark.parametrize("dtype, allowed", [("float16", 3e-3), ("float64", 1e-12)])
def test_dtypes(dtype, allowed):
    tfms = [IntToFloat(dtype), Flip(), RandomCropPad(pad=2), Normalize(*STATS), Cutout(3)]
    for device in DEVICES:
        joined, one_by_one, passes = both(tfms, batch(device=device))
        assert passes == 1 and joined.dtype == one_by_one.dtype == np.dtype(dtype)
        np.testing.assert_allclose(joined, one_by_one, rtol=allowed, atol=allowed)


def test_floats_and_validation():
    x = batch().float() / 255
    tfms = [Flip(), RandomCropPad(pad=2), *LIGHT, Normalize(*STATS)]
    for training in (True, False):
        joined, one_by_one, passes = both(tfms, x, 3, training)
        np.testing.assert_allclose(joined, one_by_one, atol=1e-5)
        assert passes == (1 if training else 0)  # Normalize alone is a plain division


class Negative(Flip):
    def encode(self, x, rng=None):
        return 1 - super().encode(x, rng)


def darker(x):
    return x * 0.5


darker.order = 35


@pytest.mark.parametrize(
    "tfms, passes",
    [
        ([IntToFloat(), RandomCropPad(7, 0), RandomCropPad(pad=2), Normalize(*STATS)], 2),  # beyond a crop is no image
        ([IntToFloat(), Flip(), darker, Brightness(), Normalize(*STATS)], 2 + 1),  # a function in between: light alone
        ([IntToFloat(), Negative(), Flip(), Normalize(*STATS)], 1),  # who overrides `encode` alone
        ([IntToFloat(), Normalize(*STATS), Normalize(*STATS)], 1),
        ([IntToFloat(), Cutout(2), Cutout(3)], 1),
        ([Flip(), RandomCropPad(pad=2)], 0),  # bytes stay bytes
    ],
)
def test_what_cannot_join_runs_by_itself(tfms, passes):
    for seed in range(3):
        joined, one_by_one, n = both(tfms, batch(seed=seed), seed)
        np.testing.assert_allclose(joined, one_by_one, atol=1e-5)
        assert n <= passes


def test_a_warp_after_a_crop_sees_the_crop_alone():
    for after in (Rotate(20, p=1.0, pad_mode="zeros"), Zoom(0.7, 0.8, p=1.0, mode="nearest", pad_mode="zeros")):
        joined, one_by_one, _ = both([IntToFloat(), RandomCropPad(5, 0), after], batch())
        np.testing.assert_allclose(joined, one_by_one, atol=1e-5)


def test_members_that_are_no_images():
    pipeline = BatchPipeline([IntToFloat(), Flip(1.0), Normalize(*STATS)], ("image", "category"), 0)
    x, labels = batch(), tf.arange(5)
    y, same = pipeline((x, labels), key(0))
    assert same is labels and y.shape == x.shape
    assert np.array_equal(y.numpy(), both(pipeline.tfms, x)[1])


def test_errors_are_those_of_the_transform_alone():
    with pytest.raises(
        ValueError, match=r"RandomCropPad: size <= image \+ 2 pad; got \(20, 20\) of \(9, 9\) with pad 2"
    ):
        BatchPipeline([IntToFloat(), RandomCropPad(20, 2)], split_idx=0)(batch(), key(0))
    with pytest.raises(ValueError, match=r"Cutout: size <= height and width of the images; got 10 for \(9, 9\)"):
        BatchPipeline([IntToFloat(), Cutout(10)], split_idx=0)(batch(), key(0))
    with pytest.raises(TypeError, match=r"Rotate: x must be floating; got uint8. Put IntToFloat\(\) before it"):
        Rotate().encode(batch(), rng())


# what each does


def lit(x, tfms):
    plan = BatchPlan(tf.tensor(np.full((1, 1, 1, 1), x)))
    for t in tfms:
        assert plan.lit(*t)
    return plan.run(tf.tensor(np.full((1, 1, 1, 1), x))).item()


def test_light_golden():
    b = np.log(0.6 / 0.4)
    assert lit(0.5, [([b], [1.0]), ([0.0], [1.25])]) == pytest.approx(0.624063, abs=1e-6)
    assert lit(0.3, [([0.0], [1.25]), ([b], [1.0])]) == pytest.approx(1 / (1 + np.exp(-(1.25 * np.log(3 / 7) + b))))
    assert lit(1.0, [([0.0], [0.8])]) == pytest.approx(1 - 1e-7**0.8, abs=1e-7)  # kept away from 0 and 1


def test_light_draws_for_each_image():
    x = tf.full((4000, 1, 1, 1), 0.5, dtype=np.float64)
    y = Brightness(0.2, p=0.75).encode(x, rng()).numpy().reshape(-1)
    assert abs((y == 0.5).mean() - 0.25) < 0.03 and 0.4 <= y.min() < 0.41 and 0.59 < y.max() <= 0.6
    y = Contrast(0.2, p=0.75).encode(x * 0.6, rng()).numpy().reshape(-1)
    low, high = (1 / (1 + (7 / 3) ** c) for c in (1.25, 0.8))
    assert low - 1e-9 <= y.min() < low + 0.005 and high - 0.005 < y.max() <= high + 1e-9


def test_matrices_golden():
    np.testing.assert_allclose(rotation(np.array([30.0]))[0, :2], [[3**0.5 / 2, 0.5, 0], [-0.5, 3**0.5 / 2, 0]])
    # twice as large around the left end of the middle row
    np.testing.assert_allclose(zoom(np.array([2.0]), 0.0, 0.5)[0], [[0.5, 0, -0.5], [0, 0.5, 0], [0, 0, 1]])
    m = perspective(np.array([0.1]), np.array([-0.2]))[0]
    for corner, at in (((-1, -1), (-0.8, -1.1)), ((-1, 1), (-1.2, 1.1)), ((1, -1), (0.8, -0.9)), ((1, 1), (1.2, 0.9))):
        u, v, d = m @ (*at, 1.0)
        np.testing.assert_allclose([u / d, v / d], corner, atol=1e-12)
    np.testing.assert_allclose(perspective(np.zeros(1), np.zeros(1))[0], np.eye(3), atol=1e-15)


@pytest.mark.parametrize("size", [(31, 31), (30, 90), (45, 31)])
def test_a_warp_takes_the_moved_corners_to_the_corners(size):
    """Also of an oblong image: in pixels, from the middle, a corner is half a side away."""
    warp, dx, dy = Warp(0.2, p=1.0), 0.15, -0.2
    warp.matrix = lambda n, rng: perspective(np.full(n, dx), np.full(n, dy))
    plan = BatchPlan(tf.zeros(1, 3, *size))
    assert warp.join(plan, rng())
    half = (np.array(size[::-1]) - 1) / 2
    for corner, moved in (
        ((-1, -1), (-1 - dy, -1 - dx)),
        ((-1, 1), (-1 + dy, 1 + dx)),
        ((1, -1), (1 + dy, -1 + dx)),
        ((1, 1), (1 - dy, 1 - dx)),
    ):
        a, b, d = plan.place[0] @ (*(half + half * moved), 1.0)
        np.testing.assert_allclose([a / d, b / d], half + half * corner, atol=1e-9)


def test_dihedral_is_the_eight_ways():
    x = batch(1, 4, 4).float() / 255
    image, seen = x.numpy()[0], set()
    ways = [np.rot90(a, k, (1, 2)) for a in (image, image[:, :, ::-1]) for k in range(4)]
    for k in range(8):
        plan = BatchPlan(x)
        plan.warp(dihedral(np.array([k])), plan.size, "reflection", "bilinear")
        y = plan.run(x).numpy()[0]
        seen |= {i for i, way in enumerate(ways) if np.allclose(y, way, atol=1e-5)}
    assert seen == set(range(8))


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("size", [(6, 6), (5, 9), (1, 4)])
def test_maps_are_multiplied_and_read_once(padding, size):
    """Rotation, zoom and flip are one resampling by the product, as grid_sample makes it."""
    x = tf.tensor(rng().random((2, 3, *size)))
    m = rotation(np.array([10.0, -25.0])), zoom(np.array([1.3, 0.7]), np.array([0.2, 1.0]), np.array([0.9, 0.0]))
    plan = BatchPlan(x)
    assert all(plan.warp(Rotate().fitted(a, size), size, padding, "bilinear") for a in m)
    theta = (m[0] @ m[1])[:, :2]
    if size[0] != size[1]:
        theta = turned(m[0], size) @ turned(m[1], size)
    grid = F.affine_grid(tf.tensor(np.ascontiguousarray(theta[:, :2])), x.shape, True)
    np.testing.assert_allclose(
        plan.run(x).numpy(), F.grid_sample(x, grid, "bilinear", padding, True).numpy(), atol=1e-6
    )


def turned(m, size):
    m = m.copy()
    m[:, 0, 1] *= size[0] / size[1]
    m[:, 1, 0] *= size[1] / size[0]
    return m


def test_one_interpolation_is_sharper_than_three():
    i, j = np.mgrid[:33, :33]
    x = tf.tensor((0.5 + 0.5 * np.sin(i * 1.1) * np.cos(j * 0.9))[None, None])
    there = [rotation(np.array([a])) for a in (12.0, 9.0, -21.0)]  # and back again

    def error(y):
        return float(abs(y - x)[:, :, 8:-8, 8:-8].mean().item())

    plan, y = BatchPlan(x), x
    for m in there:
        assert plan.warp(m, plan.size, "reflection", "bilinear")
        one = BatchPlan(x)
        one.warp(m, one.size, "reflection", "bilinear")
        y = one.run(y)
    assert error(plan.run(x)) < 1e-6 < 0.02 < error(y)


def test_shrinking_averages():
    """A chessboard to an eighth: grey, and not whichever squares are hit."""
    x = tf.tensor((np.indices((64, 64)).sum(0) % 2).astype(np.float64)[None, None])
    (size,) = (t for t in aug_transforms(size=8) if type(t).__name__ == "Sized")
    y = size.encode(x)
    assert y.shape == (1, 1, 8, 8)
    np.testing.assert_allclose(y.numpy(), 0.5, atol=1e-12)


@pytest.mark.parametrize("device", DEVICES)
def test_cutout(device):
    x = tf.ones(200, 3, 9, 6, device=device)
    y = Cutout(4).encode(x, rng()).numpy()
    assert ((y == 0).sum((2, 3)) == 16).all() and (y[:, :1] == y).all()
    assert {int(a) for a in (y[:, 0].min(2) == 0).argmax(1)} == set(range(6))  # any row that leaves room for it
    assert Cutout(4).encode(x) is x


# aug_transforms


def test_aug_transforms_golden():
    tfms = aug_transforms()
    assert [type(t).__name__ for t in tfms] == ["Warp", "Flip", "Rotate", "Zoom", "Brightness", "Contrast"]
    warp, flip, rotate, zoomed, *light = tfms
    assert (warp.magnitude, flip.p, rotate.max_deg, zoomed.min_zoom, zoomed.max_zoom) == (0.2, 0.5, 10, 1.0, 1.1)
    assert {t.p for t in (warp, rotate, zoomed, *light)} == {0.75} and {t.max_lighting for t in light} == {0.2}
    assert {t.pad_mode for t in (warp, rotate, zoomed)} == {"reflection"}
    tfms = aug_transforms(mult=2, max_zoom=1, flip_vert=True, max_warp=0, xtra_tfms=Cutout(2))
    assert [type(t).__name__ for t in tfms] == ["Dihedral", "Rotate", "Brightness", "Contrast", "Cutout"]
    assert tfms[1].max_deg == 20 and tfms[2].max_lighting == 0.4
    assert [type(t).__name__ for t in aug_transforms(mult=0)] == ["Flip", "Zoom"]


def test_aug_transforms_with_a_crop():
    tfms = aug_transforms(size=8, min_scale=0.75, xtra_tfms=Cutout(2))
    assert [type(t).__name__ for t in tfms[3:]] == ["Zoom", "RandomResizedCropGPU", "Brightness", "Contrast", "Cutout"]
    assert (tfms[4].size, tfms[4].min_scale, tfms[4].ratio, tfms[4].valid_scale) == ((8, 8), 0.75, (1, 1), 1)


@pytest.mark.parametrize("device", DEVICES)
def test_a_crop_is_cut_out_and_resized(device):
    """The same part of every image, as slicing and interpolating between the centres of the outer pixels."""
    x, seen = batch(3, 20, 14, device=device).float() / 255, set()
    tfm = RandomResizedCropGPU((6, 9), 0.3)
    for seed in range(8):
        top, left, h, w = tfm.box(20, 14, rng(seed))
        seen.add((top, left, h, w))
        part = x[:, :, top : top + h, left : left + w]
        want = F.interpolate(part, size=(6, 9), mode="bilinear", align_corners=True)
        np.testing.assert_allclose(tfm.encode(x, rng(seed)).numpy(), want.numpy(), atol=1e-5)
    assert len(seen) > 4
    y = RandomResizedCropGPU(None, 0.3, (1, 1)).encode(x, rng(1)).numpy()  # as large as it is: whole pixels
    top, left, h, w = RandomResizedCropGPU(None, 0.3, (1, 1)).box(20, 14, rng(1))
    np.testing.assert_allclose(y, x.numpy()[:, :, top : top + h, left : left + w], atol=1e-5)


def test_boxes_of_crops():
    boxes = np.array([RandomResizedCropGPU(8, 0.25).box(40, 40, rng(seed)) for seed in range(500)])
    (top, left, h, w), areas = boxes.T, boxes[:, 2] * boxes[:, 3] / 1600
    assert (boxes[:, :2] >= 0).all() and (top + h).max() == (left + w).max() == 40
    assert 0.23 < areas.min() < 0.28 and 0.95 < areas.max() <= 1  # sides are rounded to pixels
    assert 0.72 < (w / h).min() < 0.8 and 1.25 < (w / h).max() < 1.38
    middle = RandomResizedCropGPU(8, ratio=(1, 1), valid_scale=0.5)
    assert middle.box(40, 30, None) == (12, 7, 15, 15) and RandomResizedCropGPU(8).box(40, 30, None) == (0, 0, 40, 30)
    assert RandomResizedCropGPU(8).box(40, 20, None) == (7, 0, 26, 20)
    assert RandomResizedCropGPU(8, 0.99, (1, 1)).box(40, 20, rng()) == (10, 0, 20, 20)  # no draw fits


@pytest.mark.parametrize("training", [True, False])
def test_a_crop_joins(training):
    """One pass, and one interpolation where one by one there are two: the same for maps of whole pixels."""
    tfms = [IntToFloat(), *aug_transforms(size=(5, 7), min_scale=0.4, max_rotate=0, max_zoom=1, max_warp=0)]
    joined, one_by_one, passes = both([*tfms, Normalize(*STATS)], batch(h=12, w=14), 1, training)
    np.testing.assert_allclose(joined, one_by_one, atol=1e-4)
    assert passes == 1 and joined.shape == (5, 3, 5, 7)
    everything = [IntToFloat(), *aug_transforms(size=8, min_scale=0.4), Normalize(*STATS)]
    assert both(everything, batch(h=12, w=14), 1, training)[2] == 1


def test_a_crop_is_averaged_by_its_own_size():
    """16 of 64 pixels at 4, each the average of two: single squares are grey, stripes of four are still there."""
    i, j = np.indices((64, 64))
    tfm = RandomResizedCropGPU(4, 1 / 16, (1, 1))
    tfm.box = lambda h, w, rng: (24, 16, 16, 16)
    squares, stripes = (tfm.encode(tf.tensor((a % 2.0)[None, None]), rng()).numpy() for a in (i + j, j // 4))
    np.testing.assert_allclose(squares, 0.5, atol=1e-9)
    np.testing.assert_allclose(stripes, np.tile([0, 1, 0, 1], (1, 1, 4, 1)), atol=0.3)


@pytest.mark.parametrize("tfm", [*aug_transforms(mult=3, batch=True), Dihedral(batch=True)], ids=repr)
def test_one_draw_for_the_whole_batch(tfm):
    """Equal images stay equal, and those of another batch are others; without `batch` they differ."""
    x = tf.tensor(np.tile(rng().random((1, 3, 7, 7)), (16, 1, 1, 1)))
    found = [tfm.encode(x, rng(seed)).numpy() for seed in range(8)]
    assert all((y == y[:1]).all() for y in found) and len({y.tobytes() for y in found}) > 1
    tfm.batch = False
    assert not (tfm.encode(x, rng()).numpy() == tfm.encode(x, rng()).numpy()[:1]).all()


def test_one_draw_for_the_whole_batch_in_one_pass():
    x = tf.tensor(np.tile(batch(1).numpy(), (6, 1, 1, 1)))
    tfms = [IntToFloat(), *aug_transforms(size=6, batch=True, min_scale=0.5), Normalize(*STATS)]
    for seed in range(3):
        joined, _, passes = both(tfms, x, seed)
        assert passes == 1 and (joined == joined[:1]).all()


@pytest.mark.parametrize("device", DEVICES)
def test_nothing_happens_at_magnitude_zero(device):
    x = batch(device=device)
    tfms = [IntToFloat(), Warp(0.0), Rotate(0.0), Zoom(1.0, 1.0), Brightness(0.0), Contrast(0.0)]
    joined, _, passes = both(tfms, x)
    assert passes == 1
    np.testing.assert_allclose(joined, x.numpy() / np.float32(255), atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_validation_is_resized_alone(device):
    x, tfms = batch(3, 12, 9, device=device), [IntToFloat(), *aug_transforms(size=(8, 6)), Normalize(*STATS)]
    joined, one_by_one, passes = both(tfms, x, training=False)
    assert passes == 1 and joined.shape == (3, 3, 8, 6)
    np.testing.assert_allclose(joined, one_by_one, atol=1e-5)
    assert np.array_equal(joined, both(tfms, x, 5, training=False)[0])
    trained = both(tfms, x)[0]
    assert trained.shape == (3, 3, 8, 6) and abs(trained - joined).max() > 0.1


def test_devices_agree():
    tfms = [IntToFloat(), *aug_transforms(), Normalize(*STATS), Cutout(2)]
    for seed in range(3):
        one, other = (BatchPipeline(tfms, split_idx=0)(batch(device=d), key(seed), 1).numpy() for d in DEVICES)
        np.testing.assert_allclose(one, other, atol=1e-4)
