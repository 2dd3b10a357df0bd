"""Learner.to_fp16, to_bf16, to_fp32: what runs in which type, skipped steps, and the company of other callbacks."""

import contextlib

import numpy as np
import pytest

import tinygrad_fast as tf
from tinygrad_fast import nn
from tinygrad_fast.data import DataLoaders
from tinygrad_fast.learner import (
    Callback,
    CancelBackwardException,
    CancelBatchException,
    CrossEntropyLossFlat,
    GradientAccumulation,
    GradientClip,
    Learner,
    MixedPrecision,
    accuracy,
)
from tinygrad_fast.optim import SGD


class Net(nn.Module):
    """Two layers with a norm between, for points in the plane; tells in which type its matrix products ran."""

    def __init__(self):
        self.first, self.norm, self.head = nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Linear(8, 2)
        self.seen = set()

    def forward(self, x):
        y = self.head(self.norm(self.first(x), relu=True))
        self.seen.add((y.dtype.name, self.training))
        return y


def learner(cbs=(), batches=8, **options):
    """Points, by which side of a line they lie on."""
    tf.manual_seed(0)
    rng = np.random.default_rng(0)
    points = rng.standard_normal((batches, 16, 2))
    data = [(tf.tensor(p, dtype=tf.float32), tf.tensor((p[:, 0] > p[:, 1]).astype(np.int64))) for p in points]
    dls = DataLoaders(data, data[:2])
    return Learner(dls, Net(), CrossEntropyLossFlat(), metrics=accuracy, cbs=list(cbs), **options)


class Overflow(Callback):
    """Makes one gradient inf after the backward pass of chosen batches."""

    def __init__(self, *batches):
        self.batches = batches

    def after_backward(self):
        if self.learn.train_iter in self.batches:
            self.learn.model.head.bias.grad[0].detach().fill_(float("inf"))


def weights(learn):
    return [p.detach().numpy().copy() for p in learn.model.parameters()]


@pytest.mark.parametrize("way", ["to_fp16", "to_bf16"])
def test_one_cycle_with_clipping_learns_as_in_float32(way):
    results = []
    for mixed in (False, True):
        learn = learner([GradientClip(0.5)])
        if mixed:
            assert getattr(learn, way)() is learn
        learn.fit_one_cycle(3, 0.05)
        results.append(learn.recorder.values[-1])
        kinds = {"float32"} if not mixed else {"float16"} if way == "to_fp16" else {"bfloat16"}
        assert learn.model.seen == {(k, training) for k in kinds for training in (True, False)}
        assert {p.dtype for p in learn.model.parameters()} == {np.dtype("float32")}
    assert results[0][2] > 0.9
    assert results[1] == pytest.approx(results[0], rel=0.05, abs=0.05)


def test_predictions_too_and_back_to_float32():
    learn = learner().to_fp16()
    (preds, _), found = learn.get_preds(), learn.validate()
    assert learn.model.seen == {("float16", False)} and preds.dtype == tf.float32 and len(found) == 2
    assert not tf.is_autocast_enabled()
    learn.to_bf16()
    assert [type(cb) for cb in learn.cbs].count(MixedPrecision) == 1
    assert learn.to_fp32() is learn
    learn.model.seen.clear()
    learn.fit(1)
    assert {kind for kind, _ in learn.model.seen} == {"float32"}


def test_for_one_fit():
    learn = learner()
    learn.fit(1, cbs=MixedPrecision(init_scale=2.0**4))
    learn.validate()
    assert {kind for kind, training in learn.model.seen if training} == {"float16"}
    assert ("float32", False) in learn.model.seen


def test_an_overflow_skips_exactly_one_step(capsys):
    before, after = [], []

    class Watch(Callback):
        order = 100

        def before_batch(self):
            if self.learn.training:
                before.append(weights(self.learn))

        def after_batch(self):
            if self.learn.training:
                after.append(weights(self.learn))

    learn = learner([Overflow(3), Watch()]).to_fp16(init_scale=2.0**10, growth_interval=4)
    learn.fit(1)
    moved = [any((a != b).any() for a, b in zip(x, y)) for x, y in zip(before, after)]
    assert moved == [True] * 3 + [False] + [True] * 4
    scaler = learn.callback(MixedPrecision).scaler
    assert scaler.skipped_steps == 1 and scaler.get_scale() == 2.0**10  # halved, then doubled
    told = "steps skipped in 8 batches, because float16 gradients overflowed: 1; the loss scale is now 1024"
    assert told in capsys.readouterr().out
    with learn.no_bar():
        learn.fit(1)
    assert learn.callback(MixedPrecision).scaler.skipped_steps == 1  # each fit counts anew
    assert "skipped" not in capsys.readouterr().out


def test_clipping_sees_unscaled_gradients():
    norms = []

    class Norm(Callback):
        order = 12  # after GradientClip

        def before_step(self):
            norms.append(nn.utils.get_total_norm([p.grad for p in self.learn.model.parameters()]).item())

    learner([GradientClip(0.01), Norm()]).to_fp16().fit(1)
    assert norms == pytest.approx([0.01] * 8, rel=1e-3)


def test_accumulated_gradients_have_one_scale():
    """Two batches of 16 are one step: as in float32."""
    found = []
    for mixed in (False, True):
        learn = learner([GradientAccumulation(32)], opt_func=SGD)
        if mixed:
            learn.to_fp16()
        learn.fit(1, 0.1)
        found.append(np.concatenate([w.ravel() for w in weights(learn)]))
    assert found[1] == pytest.approx(found[0], abs=2e-3) and (found[0] != found[1]).any()


@pytest.mark.parametrize("wrong", [RuntimeError, CancelBatchException])
def test_nothing_leaks_when_a_batch_breaks_off(wrong):
    class Break(Callback):
        def after_pred(self):
            raise wrong

    learn = learner([Break()]).to_fp16()
    for run in (lambda: learn.fit(1), learn.validate):
        with contextlib.suppress(RuntimeError, ZeroDivisionError):  # the loss of no batch
            run()
        assert not tf.is_autocast_enabled()


def test_a_batch_without_a_backward_pass():
    class Skip(Callback):
        def before_backward(self):
            if self.learn.iter == 1:
                raise CancelBackwardException

    learn = learner([Skip()]).to_fp16()
    learn.fit(1)
    assert len(learn.recorder.losses) == 8 and learn.callback(MixedPrecision).scaler.skipped_steps == 0


def test_several_predictions():
    class Two(Net):
        def forward(self, x):
            return super().forward(x), [x, x.argmax(1)]

    kinds = []

    class Watch(Callback):
        order = 11

        def after_pred(self):
            a, (b, c) = self.learn.pred
            kinds.append((a.dtype.name, b.dtype.name, c.dtype.name))
            self.learn.pred = a

    learn = learner([Watch()]).to_fp16()
    learn.model = Two()
    learn.fit(1)
    assert set(kinds) == {("float32", "float32", "int64")}
