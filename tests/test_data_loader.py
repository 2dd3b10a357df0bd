"""Loaders: order, threads, random numbers, collation, the cache."""

import gc
import threading
import time

import numpy as np
import pytest
from PIL import Image

import tinygrad_fast as tf
from tinygrad_fast.data import (
    DataLoader,
    DataLoaders,
    Dataset,
    Flip,
    IntToFloat,
    ItemError,
    Normalize,
    RandomCropPad,
    RandTransform,
    Resize,
    TensorDataset,
    ToTensor,
    collate,
)


def arrays(n=10):
    return np.arange(n * 2, dtype=np.float32).reshape(n, 2), np.arange(n)


class Numbers(Dataset):
    """Items 0..n-1; counts how often each was made, and by which threads."""

    def __init__(self, n=40, fail_at=None):
        self.n, self.fail_at, self.made, self.threads = n, fail_at, [], set()

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        if i == self.fail_at:
            raise ZeroDivisionError("oops")
        self.made.append(i)
        self.threads.add(threading.current_thread().name)
        return np.full((1, 2, 2), i, np.uint8), i


class Pictures(Numbers):
    def __getitem__(self, i):
        super().__getitem__(i)
        return Image.fromarray(np.random.default_rng(i).integers(0, 256, (8, 20, 3), dtype=np.uint8)), i


def labels(loader):
    return [b[1].tolist() for b in loader]


# as PyTorch's


def test_batches_of_arrays():
    x, y = arrays()
    loader = DataLoader(TensorDataset(x, y), batch_size=4)
    batches = list(loader)
    assert len(loader) == len(batches) == 3
    assert [type(t) for t in batches[0]] == [tf.Tensor, tf.Tensor]
    assert [b[0].shape for b in batches] == [(4, 2), (4, 2), (2, 2)]
    assert np.array_equal(tf.cat([b[0] for b in batches]).numpy(), x)
    assert (batches[0][0].dtype, batches[0][1].dtype) == (np.float32, np.int64)
    assert labels(DataLoader(TensorDataset(x, y), bs=4, drop_last=True)) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert len(list(DataLoader(TensorDataset(x, y)))) == 10
    assert TensorDataset(tf.tensor(x), y)[3][1].item() == 3


def test_every_item_comes_once_and_epochs_differ():
    loader = DataLoader(TensorDataset(*arrays(100)), batch_size=8, shuffle=True)
    first, second = (sum(labels(loader), []) for _ in range(2))
    assert sorted(first) == sorted(second) == list(range(100))
    assert first != second != list(range(100))


def test_any_sequence_is_a_data_set_and_its_samples_are_collated():
    samples = [(i, float(i), f"s{i}", [i, i]) for i in range(4)]
    ints, floats, texts, pair = next(iter(DataLoader(samples, batch_size=3)))
    assert (ints.dtype, floats.dtype) == (np.int64, np.float32)
    assert texts == ["s0", "s1", "s2"]
    assert [t.tolist() for t in pair] == [[0, 1, 2], [0, 1, 2]]
    assert next(iter(DataLoader([1.5, 2], batch_size=2))).tolist() == [1.5, 2.0]
    seen = []
    loader = DataLoader(samples, batch_size=2, collate_fn=lambda b: b, before_batch=lambda b: seen.append(len(b)) or b)
    assert list(loader) == [samples[:2], samples[2:]] and seen == [2, 2]


def test_batches_keep_the_memory_order_of_images():
    image = Image.fromarray(np.zeros((4, 5, 3), np.uint8))
    (x,) = collate([(ToTensor().encode(image),)] * 2)
    assert x.shape == (2, 3, 4, 5) and x.strides == (60, 1, 15, 3)
    (x,) = collate([(np.zeros((3, 4, 5)),)] * 2)
    assert x.strides == (480, 160, 40, 8)


# seeds and threads


def loader_of(num_workers, n=40, seed=None):
    tfms = dict(after_item=[Resize(8), ToTensor()], after_batch=[IntToFloat(), Flip(), RandomCropPad(pad=2)])
    return DataLoader(Pictures(n), bs=6, shuffle=True, num_workers=num_workers, seed=seed, **tfms)


def epochs(loader, n=2):
    return [(x.numpy().tobytes(), y.tolist()) for _ in range(n) for x, y in loader]


@pytest.mark.parametrize("num_workers", [1, 2, 5, 16])
def test_batches_do_not_depend_on_the_number_of_workers(num_workers):
    tf.manual_seed(11)
    want = epochs(loader_of(0))
    tf.manual_seed(11)
    assert epochs(loader_of(num_workers)) == want
    assert epochs(loader_of(num_workers)) != want  # the generator has moved on
    assert epochs(loader_of(num_workers, seed=5)) == epochs(loader_of(0, seed=5))


def test_a_seed_makes_each_epoch_its_own_again_and_again():
    loader = loader_of(0, seed=5)
    first, second = epochs(loader, 1), epochs(loader, 1)
    assert first != second
    again = loader_of(2, seed=5)
    again.one_batch()  # to look at a batch does not count
    assert (epochs(again, 1), epochs(again, 1)) == (first, second)


def test_batches_come_in_order_whichever_thread_is_faster():
    class Slow(Numbers):
        def __getitem__(self, i):
            time.sleep(0.02 if i == 0 else 0)
            return super().__getitem__(i)

    data = Slow(12)
    assert sum(labels(DataLoader(data, bs=2, num_workers=3)), []) == list(range(12))
    assert len(data.threads) > 1 and threading.current_thread().name not in data.threads


def loader_threads():
    return [t for t in threading.enumerate() if t.name.startswith("DataLoader")]


def test_threads_run_ahead_by_a_bound_and_end_when_the_loop_is_left():
    data = Numbers(1000)
    for _ in DataLoader(data, bs=5, num_workers=2):
        time.sleep(0.05)
        assert len(data.made) <= 5 * (2 * 2 + 1)  # two batches a worker, and the one in hand
        break
    gc.collect()
    assert loader_threads() == []
    made = len(data.made)
    time.sleep(0.05)
    assert len(data.made) == made


def test_an_exception_names_the_item_and_ends_the_threads():
    for num_workers in (0, 3):
        loader = DataLoader(Numbers(20, fail_at=13), bs=5, num_workers=num_workers)
        seen = []
        with pytest.raises(ItemError, match=r"^item 13: ZeroDivisionError: oops$") as e:
            seen.extend(y.tolist() for _, y in loader)
        assert isinstance(e.value.__cause__, ZeroDivisionError)
        assert seen == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]  # what came before it came
        assert loader_threads() == []


# random transforms while training alone


class Count(RandTransform):
    on = ("image",)

    def __init__(self):
        self.calls = 0

    def encode(self, x, rng=None):
        self.calls += 1
        return x


def test_item_transforms_run_for_each_item_and_batch_transforms_once():
    item, batch = Count(), Count()
    loader = DataLoader(Numbers(12), bs=4, shuffle=True, after_item=item, after_batch=batch)
    next(iter(loader))
    assert (item.calls, batch.calls) == (4, 1)
    unshuffled = DataLoader(Numbers(12), bs=4, after_item=item, after_batch=batch)
    next(iter(unshuffled))
    assert (item.calls, batch.calls) == (4, 1)


def test_validation_is_the_same_each_time():
    tfms = dict(after_item=[Resize(8), ToTensor()], after_batch=[IntToFloat(), Flip()])
    valid = DataLoader(Pictures(10), bs=4, **tfms)
    assert epochs(valid, 1) == epochs(valid, 1)


def test_normalize_learns_from_the_training_loader():
    x = (np.random.default_rng(0).random((64, 3, 4, 4)) * [[[[1]], [[2]], [[3]]]]).astype(np.float32)
    y = np.zeros(64, np.int64)
    normalize = Normalize()
    train = DataLoader(TensorDataset(x, y), bs=64, shuffle=True, after_batch=normalize)
    valid = DataLoader(TensorDataset(x[:8] + 5, y[:8]), bs=8, after_batch=normalize)
    np.testing.assert_allclose(normalize.mean, x.mean((0, 2, 3)), rtol=1e-5)  # float32 sums of 1024 numbers
    shown = valid.one_batch()[0].numpy()
    np.testing.assert_allclose(
        shown * normalize.std.reshape(3, 1, 1) + normalize.mean.reshape(3, 1, 1), x[:8] + 5, 1e-5
    )
    assert abs(train.one_batch()[0].numpy().mean()) < 1e-5


def test_batches_carry_no_graph():
    x = tf.tensor(np.ones((4, 3, 2, 2), np.float32))
    b = DataLoader(TensorDataset(x), bs=4, after_batch=Normalize([0.5] * 3, [0.5] * 3)).one_batch()
    assert not b[0].requires_grad


# the cache


def test_the_cache_keeps_what_comes_before_the_first_random_transform():
    data = Pictures(12)
    tfms = dict(after_item=[Resize(8), ToTensor()])
    loader = DataLoader(data, bs=4, shuffle=True, cache=True, seed=1, kinds=("image", None), **tfms)
    without = DataLoader(Pictures(12), bs=4, shuffle=True, seed=1, **tfms)
    assert epochs(loader, 3) == epochs(without, 3)  # crops are still drawn anew
    assert sorted(data.made) == list(range(12))
    assert loader.cache.used >= 12 * 8 * 20 * 3


def test_the_cache_stops_at_its_budget():
    data = Numbers(20)
    loader = DataLoader(data, bs=5, cache=10 * 300, num_workers=2)
    first, second = labels(loader), labels(loader)
    assert first == second
    assert loader.cache.used <= 3000 and 0 < len(loader.cache.samples) < 20
    assert len(data.made) == 40 - len(loader.cache.samples)


# misuse


def test_misuse_is_said():
    data = TensorDataset(*arrays(10))
    with pytest.raises(ValueError, match=r"n = 10 items make no full batch of bs = 64, .* pass bs=10 or less, or drop"):
        DataLoader(data, bs=64, shuffle=True, drop_last=True)
    with pytest.raises(ValueError, match="batch_size >= 1 and num_workers >= 0; got 0 and 0"):
        DataLoader(data, bs=0)
    with pytest.raises(ValueError, match=r"first dimension counts the samples; got \[\(10, 2\), \(9,\)\]"):
        TensorDataset(arrays(10)[0], arrays(9)[1])
    with pytest.raises(ValueError, match="at least one"):
        TensorDataset()
    with pytest.raises(ValueError, match="this loader of 0 items has no batches"):
        DataLoader([]).one_batch()
    with pytest.raises(NotImplementedError, match="Dataset needs a __len__"):
        DataLoader(Dataset())


def test_what_cannot_be_collated_is_named():
    with pytest.raises(ValueError, match=r"got 2 shapes: \(2,\) of sample 0, \(3,\) of sample 2; pad them in before_b"):
        collate([(np.zeros(2),), (np.zeros(2),), (np.zeros(3),)])
    with pytest.raises(TypeError, match=r"member 1 is a PIL image; an item transform ToTensor\(\)"):
        collate([(0, Image.new("L", (2, 2)))])
    with pytest.raises(TypeError, match=r"member 0 is a dict; .* or pass collate_fn="):
        collate([{"x": 1}])
    with pytest.raises(ValueError, match=r"as many members; got \[1, 2\]"):
        collate([(1, 2), (1,)])


# pairs


def test_dataloaders_of_arrays():
    x, y = np.random.default_rng(0).random((20, 1, 6, 6)).astype(np.float32), np.arange(20) % 3
    train = DataLoader(TensorDataset(x, y), batch_size=8, shuffle=True)
    dls = DataLoaders(train, DataLoader(TensorDataset(x[:5], y[:5]), batch_size=4))
    assert (len(dls.train), len(dls.valid), dls.n_inp, len(dls)) == (3, 2, 1, 2)
    assert dls.one_batch()[0].shape == (8, 1, 6, 6)
    assert [b[0].shape for b in dls.test_dl(x)] == [(4, 1, 6, 6)] * 5
    assert len(dls.test_dl((x, y)).one_batch()) == 2
    assert len(dls.test_dl(TensorDataset(x, y), bs=20)) == 1
    assert len(list(dls.new_empty().train)) == 0
    assert dls.to("cpu").train.device == "cpu"
    sheet = dls.show_batch(nrows=1, ncols=3)
    assert isinstance(sheet, Image.Image) and sheet.width > 3 * 160 > sheet.height
    for name in ("vocab", "c"):
        with pytest.raises(AttributeError, match=f"{name}: a TensorDataset does not know it"):
            getattr(dls, name)
    with pytest.raises(AttributeError, match="no validation loader"):
        DataLoaders(train).valid
    with pytest.raises(ValueError, match="give a training and a validation DataLoader"):
        DataLoaders()
