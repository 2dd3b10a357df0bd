"""Metrics and losses of the Learner on numbers that can be checked by hand."""

import re
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

import tinygrad_fast as tf
from tinygrad_fast.learner import (
    AccumMetric,
    AvgMetric,
    BCEWithLogitsLossFlat,
    CrossEntropyLossFlat,
    L1LossFlat,
    MSELossFlat,
    accuracy,
    accuracy_multi,
    error_rate,
    mae,
    mse,
    rmse,
    top_k_accuracy,
)
from tinygrad_fast.learner.losses import infer_loss, task_of
from tinygrad_fast.learner.metrics import as_metric
from tinygrad_fast.nn import functional as F

LOGITS = tf.tensor([[2.0, 1.0, 0.1], [0.0, 3.0, 1.0], [1.0, 2.0, 3.0], [5.0, 4.0, 0.0]])
LABELS = tf.tensor([0, 1, 0, 1])


def test_accuracy():
    assert accuracy(LOGITS, LABELS).item() == 0.5
    assert error_rate(LOGITS, LABELS).item() == 0.5
    assert accuracy(LOGITS.t(), LABELS, axis=0).item() == 0.5
    assert accuracy(LOGITS, LABELS.unsqueeze(1)).item() == 0.5  # targets as a column


def test_top_k_accuracy():
    assert top_k_accuracy(LOGITS, LABELS, k=1).item() == 0.5
    assert top_k_accuracy(LOGITS, LABELS, k=2).item() == 0.75
    assert top_k_accuracy(LOGITS, LABELS, k=3).item() == 1


def test_accuracy_multi():
    logits = tf.tensor([[1.0, -1.0, 2.0], [-3.0, 0.5, -0.5]])
    targets = tf.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]])
    assert accuracy_multi(logits, targets).item() == pytest.approx(4 / 6)
    assert accuracy_multi(logits, targets, thresh=0.3).item() == pytest.approx(5 / 6)  # sigmoid(-0.5) = 0.378
    assert accuracy_multi(logits.sigmoid(), targets, sigmoid=False).item() == pytest.approx(4 / 6)


def test_accuracy_multi_is_strict():
    """sigmoid(0) = 0.5 is not above 0.5: everything is predicted False."""
    zeros = tf.zeros(2, 5)
    assert accuracy_multi(zeros, zeros).item() == 1
    assert accuracy_multi(zeros, tf.ones(2, 5)).item() == 0


def test_regression():
    x, y = tf.tensor([[1.0], [2.0], [4.0]]), tf.tensor([1.0, 4.0, 3.0])
    assert mse(x, y).item() == pytest.approx(5 / 3)
    assert mae(x, y).item() == 1
    assert rmse(x, y).item() == pytest.approx((5 / 3) ** 0.5)


@pytest.mark.parametrize("metric", [accuracy, mse, mae, accuracy_multi, rmse])
def test_sizes_must_agree(metric):
    with pytest.raises(ValueError, match="as many of one as of the other; got"):
        metric(tf.ones(4, 2), tf.ones(3))


def batches(*sizes):
    """Batches of these sizes, as a metric sees them: on a learner."""
    rng = np.random.default_rng(0)
    for n in sizes:
        yield SimpleNamespace(pred=tf.tensor(rng.normal(size=(n, 1))), yb=(tf.tensor(rng.normal(size=n)),), xb=())


def test_avg_metric_is_weighted_with_batch_sizes():
    metric, seen = AvgMetric(mse), list(batches(7, 7, 2))
    for learn in seen:
        metric.accumulate(learn)
    whole = mse(tf.cat([s.pred for s in seen]), tf.cat([s.yb[0] for s in seen])).item()
    assert metric.value == pytest.approx(whole, rel=1e-12)
    metric.reset()
    assert metric.value is None


def test_accum_metric_sees_everything_at_once():
    seen = list(batches(7, 7, 2))
    rmse.reset()
    for learn in seen:
        rmse.accumulate(learn)
    whole = mse(tf.cat([s.pred for s in seen]), tf.cat([s.yb[0] for s in seen])).item()
    assert rmse.value == pytest.approx(whole**0.5, rel=1e-12)
    rmse.reset()
    assert rmse.value is None


def test_names():
    assert as_metric(partial(accuracy_multi, thresh=0.2)).name == "accuracy_multi"
    assert as_metric(accuracy).name == "accuracy"
    assert as_metric(rmse).name == "rmse"
    assert AccumMetric(mse).name == "mse"
    with pytest.raises(TypeError, match=r"a metric is a function of predictions and targets, or a Metric; got 3"):
        as_metric(3)


# --------------------------------------------------------------------------------------------------------------- losses


def test_cross_entropy_flat():
    loss = CrossEntropyLossFlat()
    assert loss(tf.tensor([[2.0, 1.0, 0.1]]), tf.tensor([0])).item() == pytest.approx(0.417030, abs=5e-7)
    assert loss(LOGITS, LABELS.unsqueeze(1)).item() == loss(LOGITS, LABELS).item()
    np.testing.assert_allclose(loss.activation(LOGITS).sum(1).numpy(), 1, rtol=1e-6)
    assert loss.decodes(LOGITS).tolist() == [0, 1, 2, 0]


def test_cross_entropy_flat_over_images():
    rng = np.random.default_rng(0)
    x, t = tf.tensor(rng.normal(size=(2, 3, 4, 5))), tf.tensor(rng.integers(0, 3, (2, 4, 5)))
    found = CrossEntropyLossFlat(axis=1)(x, t).item()
    by_hand = F.cross_entropy(x.permute(0, 2, 3, 1).reshape(-1, 3), t.reshape(-1)).item()
    assert found == pytest.approx(by_hand, rel=1e-12)
    assert CrossEntropyLossFlat(axis=1).decodes(x).shape == (2, 4, 5)


def test_cross_entropy_flat_refuses():
    with pytest.raises(ValueError, match=re.escape("got outputs (4, 3) (classes last) and targets (3,)")):
        CrossEntropyLossFlat()(LOGITS, LABELS[:3])


def test_bce_flat():
    loss = BCEWithLogitsLossFlat()
    assert loss(tf.tensor([[2.0, -1.0]]), tf.tensor([[1, 0]])).item() == pytest.approx(0.220095, abs=5e-7)
    assert loss.activation(tf.zeros(2)).tolist() == [0.5, 0.5]
    assert loss.decodes(tf.tensor([0.5, 0.6])).tolist() == [False, True]
    weighted = BCEWithLogitsLossFlat(pos_weight=tf.tensor([2.0, 1.0]), reduction="none")
    plain = BCEWithLogitsLossFlat(reduction="none")
    x, t = tf.tensor([[2.0, -1.0]]), tf.tensor([[1.0, 0.0]])
    np.testing.assert_allclose(weighted(x, t).numpy().ravel(), plain(x, t).numpy() * [2, 1], rtol=1e-6)


def test_regression_losses_flatten_and_never_broadcast():
    x, t = tf.tensor([[1.0], [2.0]]), tf.tensor([2, 4])
    assert MSELossFlat()(x, t).item() == 2.5
    assert L1LossFlat()(x, t).item() == 1.5
    with pytest.raises(ValueError, match=r"got \(2, 1\) and \(4,\), 2 and 4 elements"):
        MSELossFlat()(x, tf.ones(4))


@pytest.mark.parametrize(
    ("kind", "loss"),
    [("category", CrossEntropyLossFlat), ("multicategory", BCEWithLogitsLossFlat), ("number", MSELossFlat)],
)
def test_infer_loss(kind, loss):
    assert type(infer_loss(SimpleNamespace(kinds=("image", kind)))) is loss


def test_infer_loss_of_data_that_know_theirs():
    mine = MSELossFlat()
    assert infer_loss(SimpleNamespace(kinds=("image", "category"), loss_func=mine)) is mine
    with pytest.raises(ValueError, match=r"the data do not say which loss they need; pass loss_func"):
        infer_loss(SimpleNamespace(kinds=None))


def test_tasks_of_plain_losses():
    assert type(task_of(partial(F.cross_entropy, label_smoothing=0.1))) is CrossEntropyLossFlat
    assert type(task_of(tf.nn.CrossEntropyLoss())) is CrossEntropyLossFlat
    assert type(task_of(F.binary_cross_entropy_with_logits)) is BCEWithLogitsLossFlat
    for loss in (F.nll_loss, tf.nn.NLLLoss()):
        np.testing.assert_allclose(task_of(loss).activation(LOGITS.log_softmax(1)).sum(1).numpy(), 1, rtol=1e-6)
        assert task_of(loss).decodes(LOGITS).tolist() == [0, 1, 2, 0]
    for loss in (F.binary_cross_entropy, tf.nn.BCELoss()):
        assert task_of(loss).activation(tf.tensor([0.4, 0.9])).tolist() == tf.tensor([0.4, 0.9]).tolist()
        assert task_of(loss, "multicategory").decodes(tf.tensor([0.4, 0.9])).tolist() == [False, True]
    assert task_of(F.mse_loss, "number").decodes(LOGITS) is LOGITS
    mine = CrossEntropyLossFlat(axis=2)
    assert task_of(mine) is mine


def test_a_loss_that_says_nothing_answers_as_the_target_asks():
    def loss(pred, targ):
        return pred.sum()

    assert task_of(loss, "category").decodes(LOGITS).tolist() == [0, 1, 2, 0]
    assert task_of(loss, "integer").decodes(LOGITS).tolist() == [0, 1, 2, 0]
    assert task_of(loss, "category").activation(LOGITS) is LOGITS
    for kind in ("number", None):
        assert task_of(loss, kind).decodes(LOGITS) is LOGITS
    assert task_of(loss, "integer").decodes(tf.ones(4, 1)).shape == (4, 1)  # a count
    for kind, outputs in (("multicategory", LOGITS), ("category", tf.ones(4, 1)), ("category", tf.ones(4))):
        with pytest.raises(ValueError, match=r"a loss must say what its outputs mean.*activation\(outputs\)"):
            task_of(loss, kind).decodes(outputs)
    loss.decodes = lambda x: x > 0.5
    assert task_of(loss, "multicategory").decodes(tf.ones(2)).tolist() == [True, True]
