"""Callbacks that people add: early stopping, saving the best, logging, clipping, accumulating."""

import csv
import re

import numpy as np
import pytest

import tinygrad_fast as tf
from tinygrad_fast import nn
from tinygrad_fast.data import DataLoaders
from tinygrad_fast.learner import (
    Callback,
    CSVLogger,
    EarlyStoppingCallback,
    GradientAccumulation,
    GradientClip,
    Learner,
    MSELossFlat,
    SaveModelCallback,
    TrackerCallback,
    mse,
)
from tinygrad_fast.optim import SGD


class Shift(nn.Module):
    """x + w"""

    def __init__(self):
        self.w = nn.Parameter(tf.zeros(1))

    def forward(self, x):
        return x + self.w


class Script(Callback):
    """Makes the loss of each validation what the script says."""

    def __init__(self, losses):
        self.script = losses

    def after_loss(self):
        if not self.learn.training:
            self.learn.loss = tf.tensor(self.script[self.learn.epoch])


def scripted(losses, path=".", cbs=(), **options):
    """A learner whose weight is -2 lr after the first epoch, and so on, and whose validation losses are given."""
    batch = (tf.ones(2), tf.zeros(2))
    dls = DataLoaders([batch], [batch])
    return Learner(dls, Shift(), MSELossFlat(), opt_func=SGD, path=path, cbs=[Script(losses), *cbs], **options)


def test_early_stopping(capsys):
    learn = scripted([3.0, 2.0, 2.5, 2.2, 1.0], cbs=[EarlyStoppingCallback(patience=2)])
    learn.fit(5, 0.1)
    assert [row[1] for row in learn.recorder.values] == [3.0, 2.0, 2.5, pytest.approx(2.2)]
    assert "valid_loss no better than 2.000000 for 2 epochs: stopped after 3" in capsys.readouterr().out


def test_early_stopping_with_a_least_improvement():
    learn = scripted([3.0, 2.9, 2.8], cbs=[EarlyStoppingCallback(min_delta=0.5)])
    learn.fit(3, 0.1)
    assert len(learn.recorder.values) == 2


def test_trackers_know_which_way_is_better():
    assert TrackerCallback("error_rate").comp(1, 2)
    assert TrackerCallback("valid_loss").comp(1, 2)
    assert TrackerCallback("accuracy").comp(2, 1)
    tracker = TrackerCallback(reset_on_fit=False)
    learn = scripted([3.0, 4.0], cbs=[tracker])
    learn.fit(2)
    assert tracker.best == 3
    learn.remove_cbs(Script)
    learn.add_cbs(Script([5.0]))
    learn.fit(1)
    assert tracker.best == 3
    with pytest.raises(ValueError, match=re.escape("monitor is one of ['train_loss', 'valid_loss']; got 'accuracy'")):
        scripted([1.0], cbs=[TrackerCallback("accuracy")]).fit(1)


def test_save_model_keeps_the_best(tmp_path):
    saver = SaveModelCallback(fname="best")
    learn = scripted([3.0, 1.0, 2.0], tmp_path, [saver])
    after = []

    class Watch(Callback):
        def after_epoch(self):
            after.append(self.learn.model.w.item())

    learn.fit(3, 0.1, cbs=Watch())
    assert saver.last_saved_path == tmp_path / "models" / "best.safetensors"
    assert learn.model.w.item() == after[1]  # of the second epoch
    assert len(set(after)) == 3


def test_nan_is_never_the_best(tmp_path, capsys):
    nan = float("nan")
    tracker, saver = TrackerCallback(), SaveModelCallback(fname="best")
    learn = scripted([nan, 3.0, 2.0, nan, 1.0], tmp_path, [tracker, saver, EarlyStoppingCallback(patience=2)])
    learn.fit(5, 0.1)
    assert len(learn.recorder.values) == 5
    assert tracker.best == saver.best == 1.0
    learn = scripted([nan, nan, nan], tmp_path, [EarlyStoppingCallback(patience=2), SaveModelCallback(fname="none")])
    learn.fit(3, 0.1)
    assert "valid_loss was NaN for 2 epochs: stopped after 1" in capsys.readouterr().out
    assert not (tmp_path / "models" / "none.safetensors").exists()


@pytest.mark.parametrize("make", [TrackerCallback, EarlyStoppingCallback, SaveModelCallback])
def test_what_is_monitored_needs_a_validation_set(make, tmp_path):
    learn = Learner(DataLoaders([(tf.ones(2), tf.zeros(2))]), Shift(), MSELossFlat(), path=tmp_path)
    with pytest.raises(ValueError, match=f"{make.__name__}: 'valid_loss' is a value of the validation set"):
        learn.fit(1, cbs=make())
    learn.fit(1, cbs=make("train_loss"))
    learn.fit(1, cbs=[SaveModelCallback(fname="each", every_epoch=True), SaveModelCallback(fname="end", at_end=True)])
    assert {p.stem for p in (tmp_path / "models").iterdir()} >= {"each_0", "end"}


def test_save_model_every_epoch(tmp_path):
    learn = scripted([3.0, 1.0], tmp_path, [SaveModelCallback(every_epoch=True)])
    learn.fit(2, 0.1)
    assert sorted(p.name for p in (tmp_path / "models").iterdir()) == ["model_0.safetensors", "model_1.safetensors"]


def test_save_model_at_end(tmp_path):
    saver = SaveModelCallback(at_end=True)
    learn = scripted([1.0, 3.0], tmp_path, [saver])
    learn.fit(2, 0.1)
    last = learn.model.w.item()
    learn.remove_cbs(saver)
    learn.fit(1, 0.1)
    assert learn.model.w.item() != last
    assert learn.load("model").model.w.item() == last


def test_csv_logger(tmp_path):
    learn = scripted([3.0, 1.0], tmp_path, metrics=mse)
    learn.fit(2, cbs=CSVLogger())
    learn.fit(1, cbs=CSVLogger(append=True))
    rows = list(csv.reader((tmp_path / "history.csv").read_text().splitlines()))
    assert rows[0] == ["epoch", "train_loss", "valid_loss", "mse", "time"]
    assert [row[0] for row in rows[1:]] == ["0", "1", "0"]
    assert [float(row[2]) for row in rows[1:]] == [3.0, 1.0, 3.0]


def line(n, bs):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 3)).astype(np.float32)
    y = x @ np.array([1.0, -2.0, 0.5], np.float32)
    return [(tf.tensor(x[i : i + bs]), tf.tensor(y[i : i + bs])) for i in range(0, n, bs)]


class Dot(nn.Module):
    def __init__(self):
        self.w = nn.Parameter(tf.zeros(3))

    def forward(self, x):
        return x @ self.w


def test_gradient_accumulation_is_a_large_batch():
    found = []
    for bs, cbs in ((32, None), (8, GradientAccumulation(32))):
        learn = Learner(DataLoaders(line(96, bs)), Dot(), MSELossFlat(), opt_func=SGD, cbs=cbs)
        learn.fit(2, 0.1)
        found.append(learn.model.w.detach().numpy())
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)  # sums in another order
    assert learn.recorder.batch_losses[0] == pytest.approx(MSELossFlat()(tf.zeros(8), line(8, 8)[0][1]).item())


def test_gradient_clip():
    norms = []

    class Norm(Callback):
        order = 20

        def before_step(self):
            norms.append(float(np.linalg.norm(self.learn.model.w.grad.numpy())))

    found = []
    for clip in (GradientClip(0.5), GradientClip(0.5, fused=True)):
        learn = Learner(DataLoaders(line(64, 8)), Dot(), MSELossFlat(), opt_func=SGD, cbs=[clip, Norm()])
        learn.fit(1, 1e-3)
        found.append(learn.model.w.detach().numpy())
    assert max(norms[:8]) <= 0.5 + 1e-6 and norms[0] == pytest.approx(0.5, rel=1e-5)
    assert norms[8] > 1, "left to the step"
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6)


def test_gradient_clip_of_an_optimiser_that_cannot():
    class Plain(SGD):
        supports = ()

    for fused in (False, True):
        learn = Learner(
            DataLoaders(line(8, 8)), Dot(), MSELossFlat(), opt_func=Plain, cbs=GradientClip(0.5, fused=fused)
        )
        learn.fit(1, 1.0)
        assert np.linalg.norm(learn.model.w.detach().numpy()) == pytest.approx(0.5, rel=1e-5)


def test_lr_find_is_no_fit_to_track(tmp_path):
    cbs = [EarlyStoppingCallback(), SaveModelCallback(monitor="train_loss"), CSVLogger()]
    learn = scripted([1.0], tmp_path, cbs)
    assert learn.lr_find(num_it=20).valley > 0
    assert not list(tmp_path.iterdir()) and len(learn.cbs) == 7
