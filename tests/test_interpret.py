"""What a classifier gets wrong, on predictions made by hand."""

import re

import numpy as np
import pytest

import tinygrad_fast as tf
from tinygrad_fast import nn
from tinygrad_fast.data import (
    CategoryBlock,
    DataBlock,
    DataLoader,
    DataLoaders,
    ImageBlock,
    IndexSplitter,
    RegressionBlock,
    TensorDataset,
)
from tinygrad_fast.learner import ClassificationInterpretation, CrossEntropyLossFlat, Learner, inference


class Same(nn.Module):
    """The input is the prediction."""

    def __init__(self):
        self.w = nn.Parameter(tf.ones(1))

    def forward(self, x):
        return x * self.w


# true classes, and logits whose argmax is the second number of each pair
PAIRS = [(0, 0), (0, 1), (0, 1), (1, 1), (2, 0), (2, 2), (1, 2), (2, 2)]
SURE = [1.0, 2.0, 1.0, 3.0, 4.0, 1.0, 1.5, 2.0]


@pytest.fixture
def interp():
    x = np.zeros((8, 3), np.float32)
    x[np.arange(8), [p for _, p in PAIRS]] = SURE
    data = TensorDataset(x, np.array([t for t, _ in PAIRS]))
    learn = Learner(DataLoaders(DataLoader(data, bs=4), DataLoader(data, bs=3)), Same(), CrossEntropyLossFlat())
    return ClassificationInterpretation.from_learner(learn)


def test_confusion_matrix(interp):
    matrix = interp.confusion_matrix()
    assert matrix.tolist() == [[1, 2, 0], [0, 1, 1], [1, 0, 2]]
    assert matrix.sum(1).tolist() == [3, 2, 3]  # rows are the true classes


def test_most_confused(interp):
    assert interp.most_confused() == [(0, 1, 2), (1, 2, 1), (2, 0, 1)]
    assert interp.most_confused(min_val=2) == [(0, 1, 2)]


def test_top_losses(interp):
    losses, places = interp.top_losses()
    assert places == np.argsort(-interp.losses.numpy(), kind="stable").tolist()
    assert np.all(np.diff(losses.numpy()) <= 0)
    assert interp.top_losses(2)[1] == [4, 1]
    assert interp.top_losses(1, largest=False)[1] == [3]


def test_plot_confusion_matrix(interp):
    pytest.importorskip("matplotlib")
    axes = interp.plot_confusion_matrix(normalize=True).axes[0]
    assert [t.get_text() for t in axes.texts][:3] == ["0.33", "0.67", "0.00"]


def test_one_class_index_for_each_item():
    with pytest.raises(ValueError, match=r"each item has one class index as target.*got targets \(2, 3\)"):
        ClassificationInterpretation(None, tf.zeros(2, 3), tf.zeros(2, 3), tf.zeros(2), tf.zeros(2))


class Mean(nn.Module):
    """Bright images are of class 0."""

    def __init__(self):
        self.w = nn.Parameter(tf.ones(1))

    def forward(self, x):
        bright = x.mean((1, 2, 3)).unsqueeze(1) * self.w
        return tf.cat([bright, 1 - bright], dim=1)


def of_images(items, block=CategoryBlock, model=Mean):
    get = dict(get_x=lambda o: o[0], get_y=lambda o: o[1], splitter=IndexSplitter([4, 5, 6, 7]))
    return Learner(DataBlock((ImageBlock, block), **get).dataloaders(items, bs=4), model())


class Shown:
    """In the place of contact_sheet: what it was given."""

    def __call__(self, pictures, titles, inks, **options):
        self.pictures, self.titles, self.inks, self.options = pictures, titles, inks, options
        return self


def test_show_results(monkeypatch):
    """Of four white images and four black: classes a, b, a, b, where white means a."""
    monkeypatch.setattr(inference, "contact_sheet", Shown())
    grey = [255, 255, 0, 0] * 2
    items = [(np.full((8, 8, 3), g, np.uint8), "ab"[i % 2]) for i, g in enumerate(grey)]
    learn = of_images(items)
    shown = learn.show_results(shuffle=False, ncols=2)
    assert shown.titles == ["a\na", "b\na", "a\nb", "b\nb"] and shown.inks == ["green", "red", "red", "green"]
    assert [float(np.asarray(p).mean()) for p in shown.pictures] == [255, 255, 0, 0] and shown.options == {"ncols": 2}
    assert learn.show_results(ds_idx=0, shuffle=False, max_n=2).titles == ["a\na", "b\na"]
    assert sorted(learn.show_results().titles) == ["a\na", "a\nb", "b\na", "b\nb"]
    assert learn.show_results(dl=learn.dls.test_dl(items[:3], with_labels=True)).titles == ["a\na", "b\na", "a\nb"]
    number = of_images([(x, 0.5) for x, _ in items], RegressionBlock(1), lambda: nn.Sequential(Mean(), nn.Linear(2, 1)))
    shown = number.show_results(shuffle=False)
    assert shown.inks == ["black"] * 4 and all(re.fullmatch(r"0.5\n-?\d.*", text) for text in shown.titles)


def test_results_of_one_input_and_two_targets(monkeypatch):
    monkeypatch.setattr(inference, "contact_sheet", Shown())
    items = [(np.full((8, 8, 3), grey, np.uint8), i, "ab"[i % 2]) for i, grey in enumerate([255, 255, 0, 0] * 2)]

    class OfTheLabel(CrossEntropyLossFlat):
        def __call__(self, pred, number, label):
            return super().__call__(pred, label)

    getters = [lambda o: o[0], lambda o: o[1], lambda o: o[2]]
    plan = DataBlock((ImageBlock, RegressionBlock, CategoryBlock), n_inp=1, getters=getters)
    shown = Learner(plan.dataloaders(items, bs=2, num_workers=0), Mean(), OfTheLabel()).show_results(ds_idx=0, max_n=1)
    assert re.fullmatch(r"\d, (a|b)\n(a|b)", shown.titles[0])


def test_show_results_is_a_picture():
    items = [(np.full((8, 8, 3), 99, np.uint8), "ab"[i % 2]) for i in range(8)]
    sheet = of_images(items).show_results(nrows=2)
    assert sheet.size[0] > 100 and {(0, 128, 0), (255, 0, 0)} < set(map(tuple, np.asarray(sheet).reshape(-1, 3)))


def test_plot_top_losses():
    rng = np.random.default_rng(0)
    items = [(rng.integers(0, 256, (8, 8, 3)).astype(np.uint8), "ab"[i % 2]) for i in range(8)]
    learn = of_images(items)
    interp = ClassificationInterpretation.from_learner(learn)
    assert interp.vocab == ["a", "b"]
    sheet = interp.plot_top_losses(4, nrows=2)
    assert sheet.size[0] > 100

    class Own:  # a data set of somebody's own: its length, and its items
        def __len__(self):
            return 8

        def __getitem__(self, i):
            return items[i][0].transpose(2, 0, 1).astype(np.float32) / 255, i % 2

    dls = DataLoaders(*(DataLoader(Own(), 4, kinds=("image", "category")) for _ in range(2)))
    own = ClassificationInterpretation.from_learner(Learner(dls, Mean(), CrossEntropyLossFlat()))
    assert own.plot_top_losses(2).size[0] > 100
