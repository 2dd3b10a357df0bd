"""Item and batch transforms: values, places, random numbers."""

import io

import numpy as np
import pytest
from hypothesis import given, strategies as st
from PIL import Image

import tinygrad_fast as tf
from tinygrad_fast.data import (
    Categorize,
    EncodedMultiCategorize,
    Flip,
    IntToFloat,
    MultiCategorize,
    Normalize,
    OneHotEncode,
    PadMode,
    PILImage,
    PILImageBW,
    Pipeline,
    RandomCropPad,
    RandTransform,
    RegressionSetup,
    Resize,
    ResizeMethod,
    ToTensor,
    Transform,
    UnknownLabel,
    imagenet_stats,
    verify_images,
)
from tinygrad_fast.data.augment import pixels
from tinygrad_fast.data.transforms import generator, merge

KEY = np.array([1, 2, 3], np.uint32)


def rng(position=0):
    return generator(KEY, position)


def picture(w, h, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8))


def batch(n=6, c=3, h=5, w=7, dtype=np.uint8, seed=0):
    """Logical (N, C, H, W) in N, H, W, C memory."""
    return np.random.default_rng(seed).integers(0, 256, (n, h, w, c)).astype(dtype).transpose(0, 3, 1, 2)


# the idea


class Note(Transform):
    def __init__(self, name, order=0, split_idx=None, on=None):
        self.name, self.order, self.split_idx, self.on = name, order, split_idx, on

    def encode(self, x):
        return [*x, self.name]

    def decode(self, x):
        assert x[-1] == self.name
        return x[:-1]


def test_pipeline_sorts_by_order_and_decodes_backwards():
    tfms = [Note("c", 5), Note("a", 1), Note("d", 5), Note("b", 1), Note("train", 2, split_idx=0), Note("v", 2, 1)]
    assert Pipeline(tfms, split_idx=0)([]) == ["a", "b", "train", "c", "d"]  # ties as listed
    assert Pipeline(tfms, split_idx=1)([]) == ["a", "b", "v", "c", "d"]
    assert Pipeline(tfms).decode(Pipeline(tfms)([])) == []


def test_a_transform_changes_the_kinds_that_it_is_on():
    pipeline = Pipeline([Note("i", on=("image",)), Note("all")], kinds=("image", "category"))
    assert pipeline(([], [])) == (["i", "all"], ["all"])
    assert pipeline.decode(pipeline(([], []))) == ([], [])


def test_of_one_class_the_last_is_kept():
    def f(x):
        return x

    kept = merge([ToTensor(), f], [Resize(3), Resize(5)], f, Resize(7))
    assert [type(t).__name__ for t in kept] == ["ToTensor", "Func", "Resize"]
    assert kept[-1].size == (7, 7)
    assert isinstance(merge(ToTensor)[0], ToTensor)  # a class stands for its default
    with pytest.raises(TypeError, match="a transform is a Transform or a function of one argument; got 7"):
        merge(7)


class Draw(RandTransform):
    def encode(self, x, rng=None):
        return None if rng is None else rng.random()


def test_random_numbers_are_a_function_of_key_position_and_step():
    pipeline = Pipeline([Draw(), Draw()], kinds=("image", "mask"), split_idx=0)
    a, b = (pipeline.step(i, (0, 0), KEY, position=4) for i in (0, 1))
    assert a[0] == a[1] and b[0] == b[1]  # x and y of a tuple see the same numbers
    assert a[0] != b[0]  # two steps do not
    assert a == pipeline.step(0, (0, 0), KEY, position=4)
    assert a != pipeline.step(0, (0, 0), KEY, position=5)
    assert a != pipeline.step(0, (0, 0), KEY + np.uint32(1), position=4)
    assert Pipeline(Draw(), split_idx=1)(9, KEY) == 9  # training alone
    assert len({generator(KEY, *place).random() for place in np.ndindex(5, 5)}) == 25


# targets


def test_categorize_learns_a_sorted_vocabulary():
    t = Categorize()
    t.setup(iter(["dog", "cat", "dog", "bird"]), [])
    assert t.vocab == ["bird", "cat", "dog"]
    assert [t.encode(x) for x in ("dog", "bird")] == [2, 0]
    assert t.decode(np.int64(1)) == "cat"
    with pytest.raises(UnknownLabel, match=r"^label 'eel' is not among the 3 classes of the training split") as e:
        t.encode("eel")
    assert isinstance(e.value, KeyError)
    with pytest.raises(ValueError, match=r"two classes or more; all 3 training items are 'cat'; check get_y"):
        Categorize().setup(["cat"] * 3, [])
    for labels in (["a", 1], [["a"], ["b"]]):
        with pytest.raises(
            TypeError, match="single values of one type, so that they can be sorted; .*MultiCategoryBlock"
        ):
            Categorize().setup(labels, [])


def test_vocabulary_that_is_given():
    assert Categorize(["b", "a", "b", float("nan")], sort=False).vocab == ["b", "a"]  # NaN is no label
    assert Categorize(["b", "a"]).vocab == ["a", "b"]
    assert Categorize([True, False]).encode(True) == 1
    t = Categorize(["b", "a"], add_na=True)
    assert t.vocab == ["#na#", "a", "b"]
    assert t.encode("unheard of") == 0


@given(st.lists(st.sets(st.sampled_from("abcdefg")), min_size=1).filter(any))
def test_one_hot_decodes_to_the_set_that_it_encodes(sets):
    labels = Pipeline([MultiCategorize(), OneHotEncode()])
    labels.setup(lambda: sets)
    assert labels.tfms[0].vocab == sorted(set().union(*sets))
    for s in sets:
        hot = labels(s)
        assert hot.dtype == np.float32 and hot.sum() == len(s)
        assert labels.decode(hot) == sorted(s)


def test_multi_category_refuses_a_text_for_a_list():
    t = MultiCategorize(["a", "b"])
    with pytest.raises(TypeError, match=r"get_y gives a list of labels for each item; got 'ab'"):
        t.encode("ab")
    with pytest.raises(UnknownLabel, match="label 'z'"):
        t.encode(["a", "z"])
    with pytest.raises(ValueError, match="no training item has a label"):
        MultiCategorize().setup([[], []], [])
    encoded = EncodedMultiCategorize(["x", "y"])
    assert encoded.decode(encoded.encode([0, 1])) == ["y"]
    with pytest.raises(ValueError, match=r"2 values for \['x', 'y'\]; got \[1\]"):
        encoded.encode([1])


def test_regression():
    t = RegressionSetup()
    t.setup([[1, 2, 3]], [])
    assert t.c == 3
    assert t.encode("1.5").dtype == np.float32 and t.encode("1.5") == 1.5
    assert t.decode(t.encode([1, 2.5])) == [1, 2.5]
    with pytest.raises(ValueError, match="gives a number or a list of numbers; got 'tall'"):
        t.encode("tall")


# images


def test_an_image_from_anything(tmp_path):
    image = picture(5, 4)
    image.save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    for source in (image, np.asarray(image), data, tmp_path / "a.png", str(tmp_path / "a.png")):
        assert np.array_equal(np.asarray(PILImage.create(source)), np.asarray(image))
    assert PILImageBW.create(image).mode == "L"
    assert PILImage.create(image.convert("RGBA")).mode == "RGB"
    assert PILImage.create(np.zeros((4, 5), np.uint8)).mode == "RGB"
    with pytest.raises(TypeError, match=r"a uint8 array \(H, W\) or \(H, W, 3\); got ndarray float64 \(3, 4, 5\)"):
        PILImage.create(np.zeros((3, 4, 5)))
    with pytest.raises(FileNotFoundError):
        PILImage.create(tmp_path / "b.png")


def spoiled(tmp_path):
    """Files that are no images, by name."""
    whole = io.BytesIO()
    picture(64, 64).save(whole, "jpeg")
    (tmp_path / "text.png").write_text("this is no picture")
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "short.jpg").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    whole = io.BytesIO()
    picture(64, 64).save(whole, "png")
    (tmp_path / "short.png").write_bytes(whole.getvalue()[:900])
    (tmp_path / "bits.png").write_bytes(whole.getvalue()[:500] + b"????" + whole.getvalue()[504:])
    return ["bits.png", "empty.jpg", "short.jpg", "short.png", "text.png"]


def test_unreadable_images_are_named(tmp_path):
    bad = spoiled(tmp_path)
    picture(8, 8).save(tmp_path / "good.png")
    for name in bad:
        with pytest.raises(OSError, match=f"{name} cannot be read as an image: .*verify_images"):
            PILImage.create(tmp_path / name)
    assert [p.name for p in verify_images(sorted(tmp_path.iterdir()))] == bad


def test_to_tensor_and_back():
    image = picture(5, 4)
    array = ToTensor().encode(image)
    assert array.shape == (3, 4, 5) and array.dtype == np.uint8
    assert np.array_equal(array.transpose(1, 2, 0), np.asarray(image))
    assert ToTensor().decode(array).tobytes() == image.tobytes()
    assert ToTensor().encode(image.convert("L")).shape == (1, 4, 5)
    assert ToTensor().decode(ToTensor().encode(image.convert("L"))).mode == "L"


@pytest.mark.parametrize(
    "method, at, box",
    [
        ("crop", (0.5, 0.5), (80, 0, 480, 480)),
        ("pad", (0.5, 0.5), (0, -80, 640, 640)),
        ("crop", (0, 0.9), (0, 0, 480, 480)),  # only the longer axis moves
        ("crop", (0.999, 0), (159, 0, 480, 480)),
        ("pad", (0.3, 0.25), (0, -40, 640, 640)),
    ],
)
def test_resize_takes_the_part_that_fastai_takes(method, at, box):
    assert Resize(224, method).box(640, 480, at) == box


def test_resize_to_height_and_width():
    t = Resize((50, 100))
    assert t.box(640, 480) == (0, 80, 640, 320)
    assert t.encode(picture(64, 48)).size == (100, 50)
    for bad in (0, (4, 0), -3):
        with pytest.raises(ValueError, match="of at least 1"):
            Resize(bad)
    with pytest.raises(ValueError, match="stretch"):
        Resize(8, method="stretch")


def test_resize_crops_once_and_resamples_once():
    image = picture(60, 40)
    want = image.crop((10, 0, 50, 40)).resize((24, 24), Image.Resampling.BILINEAR)
    assert Resize(24).encode(image).tobytes() == want.tobytes()
    squished = image.resize((24, 24), Image.Resampling.BILINEAR)
    assert Resize(24, ResizeMethod.Squish).encode(image).tobytes() == squished.tobytes()
    with pytest.raises(ValueError, match="ResizeMethod: must be one of crop, pad, squish; got 'zoom'"):
        Resize(24, "zoom")
    with pytest.raises(ValueError, match="PadMode: must be one of zeros, border, reflection; got 'mirror'"):
        Resize(24, "pad", "mirror")
    assert Resize(40, "squish").encode(picture(40, 40)).size == (40, 40)


@pytest.mark.parametrize("mode, numpy_mode", [("zeros", "constant"), ("border", "edge"), ("reflection", "reflect")])
def test_resize_pads(mode, numpy_mode):
    image = picture(60, 20)
    padded = np.pad(np.asarray(image), [(20, 20), (0, 0), (0, 0)], mode=numpy_mode)
    assert np.array_equal(np.asarray(Resize(60, "pad", PadMode(mode)).encode(image)), padded)
    grey = Resize(60, "pad", mode).encode(image.convert("L"))
    assert grey.size == (60, 60) and grey.mode == "L"


def test_resize_draws_while_training_alone():
    t, image = Resize(20), picture(60, 20)
    assert t.encode(image).tobytes() == t.encode(image, None).tobytes()
    seen = {t.encode(image, rng(i)).tobytes() for i in range(20)}
    assert len(seen) > 5
    assert t.encode(image, rng(3)).tobytes() == t.encode(image, rng(3)).tobytes()


# batches


def test_int_to_float():
    x = tf.from_numpy(batch())
    y = IntToFloat().encode(x)
    assert y.dtype == np.float32
    assert np.array_equal(y.numpy(), (batch() / 255).astype(np.float32))
    assert np.array_equal(IntToFloat().decode(y).numpy(), batch())  # every byte comes back
    assert IntToFloat().encode(y) is y
    assert IntToFloat().decode(tf.tensor([-0.5, 1.5])).tolist() == [0, 255]


def test_normalize_and_back():
    x = tf.from_numpy(batch(dtype=np.float32) / 255)
    t = Normalize.from_stats(*imagenet_stats)
    mean, std = (np.array(s, np.float32).reshape(1, 3, 1, 1) for s in imagenet_stats)
    y = t.encode(x)
    assert np.array_equal(y.numpy(), (x.numpy() - mean) / std)
    # one subtraction, division, product and sum, each rounded to 2^-24 of values below 3
    np.testing.assert_allclose(t.decode(y).numpy(), x.numpy(), rtol=0, atol=1e-6)
    assert y.numpy().strides[1] == 4  # memory stays N, H, W, C


def test_normalize_learns_from_a_batch():
    x = batch(n=50, dtype=np.float32) / 255
    t = Normalize()
    assert t.learns
    t.setup([tf.from_numpy(x)], [])
    y = t.encode(tf.from_numpy(x)).numpy().astype(np.float64)
    np.testing.assert_allclose(y.mean((0, 2, 3)), 0, atol=1e-5)  # float32 means of 1750 values
    np.testing.assert_allclose(y.std((0, 2, 3), ddof=1), 1, atol=1e-5)


def test_normalize_refuses():
    x = tf.from_numpy(batch())
    with pytest.raises(ValueError, match="has no statistics"):
        Normalize().encode(x.float())
    with pytest.raises(TypeError, match=r"x must be floating; got uint8. Put IntToFloat\(\) before it"):
        Normalize([0.5] * 3, [1] * 3).encode(x)
    with pytest.raises(ValueError, match=r"one mean and std a channel; got 1 for x of shape \(6, 3, 5, 7\)"):
        Normalize([0.5], [1]).encode(x.float())
    with pytest.raises(ValueError, match="or neither is given"):
        Normalize([0.5])


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_flip_mirrors_each_image_or_leaves_it(dtype):
    x = batch(n=200, dtype=dtype)
    y = Flip().encode(tf.from_numpy(x), rng())
    assert y.dtype == dtype and y.numpy().strides[1] == y.dtype.itemsize
    flipped = np.array([np.array_equal(a, b[:, :, ::-1]) for a, b in zip(y.numpy(), x)])
    kept = np.array([np.array_equal(a, b) for a, b in zip(y.numpy(), x)])
    assert (flipped ^ kept).all()
    assert np.array_equal(Flip(1).encode(tf.from_numpy(x), rng()).numpy(), x[..., ::-1])
    assert np.array_equal(Flip(0).encode(tf.from_numpy(x), rng()).numpy(), x)


def test_flip_rate_is_p():
    x = tf.from_numpy(np.arange(2, dtype=np.uint8).reshape(1, 1, 1, 2).repeat(10_000, 0))
    rate = Flip(0.5).encode(x, rng()).numpy()[:, 0, 0, 0].mean()
    assert abs(rate - 0.5) < 3 * np.sqrt(0.25 / 10_000)  # three standard deviations


@pytest.mark.parametrize("mode, numpy_mode", [("zeros", "constant"), ("border", "edge"), ("reflection", "reflect")])
@pytest.mark.parametrize("size", [None, 4, (9, 11)])
def test_random_crop_is_a_window_of_the_padded_image(mode, numpy_mode, size):
    x = batch(n=40, dtype=np.float32) + 1  # nothing in it is black
    h, w = (5, 7) if size is None else (size, size) if isinstance(size, int) else size
    y = RandomCropPad(size, 2, mode).encode(tf.from_numpy(x), rng()).numpy()
    padded = np.pad(x, [(0, 0), (0, 0), (2, 2), (2, 2)], mode=numpy_mode)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (h, w), (2, 3))
    assert y.shape == (40, 3, h, w)
    places = set()
    for image, choices in zip(y, windows.transpose(0, 2, 3, 1, 4, 5)):
        found = np.argwhere((choices == image).all((2, 3, 4)))
        assert len(found)
        places.add(tuple(found[0]))
    assert len(places) > min(5, np.prod(windows.shape[2:4]) - 1)  # each image has a place of its own


def test_random_crop_refuses_a_window_larger_than_the_padded_image():
    with pytest.raises(ValueError, match=r"size <= image \+ 2 pad; got \(12, 12\) of \(5, 7\) with pad 2"):
        RandomCropPad(12, 2).encode(tf.from_numpy(batch()), rng())


@given(st.data())
def test_pixels_reads_where_it_is_told(data):
    n, c, h, w, oh, ow = (data.draw(st.integers(1, 4)) for _ in range(6))
    x = batch(n, c, h, w) if data.draw(st.booleans()) else np.ascontiguousarray(batch(n, c, h, w))
    draw = np.random.default_rng(data.draw(st.integers(0, 99)))
    rows, columns = draw.integers(0, h, (n, oh)), draw.integers(0, w, ow)
    y = pixels(tf.from_numpy(x), rows, columns).numpy()
    for i in range(n):
        assert np.array_equal(y[i], x[i][:, rows[i]][:, :, columns])


def test_batch_transforms_leave_their_input_alone():
    x = tf.from_numpy(batch(dtype=np.float32))
    for t in (Flip(), RandomCropPad(pad=2), Normalize([0.5] * 3, [0.5] * 3)):
        t.encode(x, rng()) if isinstance(t, RandTransform) else t.encode(x)
        assert np.array_equal(x.numpy(), batch(dtype=np.float32))
