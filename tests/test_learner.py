"""The Learner on models of a few numbers: events, schedules, state, prediction, and things that go wrong."""

import gc
import re
import sys

import numpy as np
import pytest

import tinygrad_fast as tf
from tinygrad_fast import nn
from tinygrad_fast.data import (
    CategoryBlock,
    DataBlock,
    DataLoader,
    DataLoaders,
    IndexSplitter,
    MultiCategoryBlock,
    TensorDataset,
    TransformBlock as Block,
)
from tinygrad_fast.learner import (
    Callback,
    CancelBackwardException,
    CancelBatchException,
    CancelEpochException,
    CancelFitException,
    CancelStepException,
    CancelTrainException,
    CancelValidException,
    CrossEntropyLossFlat,
    Learner,
    MSELossFlat,
    NonFiniteLoss,
    ParamScheduler,
    accuracy,
    even_mults,
    minimum,
    mse,
    slide,
    steep,
    trainable_params,
    valley,
)
from tinygrad_fast.learner.groups import get_hyper, optimizer_groups, set_hyper, spread
from tinygrad_fast.nn import functional as F
from tinygrad_fast.optim import SGD, AdamW
from tinygrad_fast.schedule import SchedLin


class Net(nn.Module):
    """Two layers with a norm between, for points in the plane."""

    def __init__(self, out=2):
        self.first = nn.Linear(2, 8)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, out)

    def forward(self, x):
        return self.head(self.norm(self.first(x)).relu())


def three_groups(model):
    return [list(model.first.parameters()), list(model.norm.parameters()), list(model.head.parameters())]


def points(n=80, bs=20, seed=0, device=None):
    """Two classes of points that a line parts."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2)).astype(np.float32)
    y = (x.sum(1) > 0).astype(np.int64)
    cut = n // 2
    train = DataLoader(TensorDataset(x[:cut], y[:cut]), bs=bs, shuffle=True, seed=1)
    return DataLoaders(train, DataLoader(TensorDataset(x[cut:], y[cut:]), bs=16))


def learner(tmp_path=".", **options):
    tf.manual_seed(0)
    return Learner(points(), Net(), CrossEntropyLossFlat(), path=tmp_path, **options)


class Echo(nn.Module):
    """Gives back its input: the data decide what the losses are."""

    def __init__(self):
        self.w = nn.Parameter(tf.zeros(1))

    def forward(self, x):
        return x + 0 * self.w


def echo(losses, valid=(), **options):
    """A learner whose batches have these losses."""
    train = [(tf.tensor([v]), tf.tensor([0.0])) for v in losses]
    valid = [(tf.tensor([v] * n), tf.zeros(n)) for v, n in valid]
    return Learner(DataLoaders(train, valid), Echo(), lambda pred, targ: pred.mean(), **options)


def weights(learn):
    return {name: t.numpy().copy() for name, t in learn.model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


# --------------------------------------------------------------------------------------------------------------- events

PARTS = ["fit", "epoch", "train", "validate", "batch", "backward", "step"]
EVENTS = ["after_create", "after_pred", "after_loss"]
EVENTS += [f"{when}_{part}" for part in PARTS for when in ("before", "after_cancel", "after")]


def trace(**raises):
    """A callback that writes down every event, and raises where it is told to."""
    seen = []

    def hear(event):
        def act(self):
            seen.append(event)
            if event in raises:
                raise raises[event]

        return act

    return type("Trace", (Callback,), {e: hear(e) for e in EVENTS} | {"order": 100})(), seen


FORWARD = ["before_batch", "after_pred", "after_loss"]
TRAIN_BATCH = [*FORWARD, "before_backward", "after_backward", "before_step", "after_step", "after_batch"]
VALID_BATCH = [*FORWARD, "after_batch"]
BEGIN, TRAINED = ["before_fit", "before_epoch", "before_train"], ["after_train", "before_validate"]
END = ["after_validate", "after_epoch", "after_fit"]


def test_events_in_order():
    cb, seen = trace()
    learn = echo([1.0, 2.0], [(1.0, 3)], cbs=cb)
    assert seen == ["after_create"]
    learn.fit(1)
    assert seen[1:] == BEGIN + 2 * TRAIN_BATCH + TRAINED + VALID_BATCH + END


@pytest.mark.parametrize(
    ("at", "error", "expected"),
    [
        (
            "before_backward",
            CancelBackwardException,
            BEGIN
            + [*FORWARD, "before_backward", "after_cancel_backward", "after_backward"]
            + ["before_step", "after_step", "after_batch"]
            + TRAINED
            + VALID_BATCH
            + END,
        ),
        (
            "before_step",
            CancelStepException,
            BEGIN + TRAIN_BATCH[:6] + ["after_cancel_step", "after_step", "after_batch"] + TRAINED + VALID_BATCH + END,
        ),
        (
            "after_pred",
            CancelBatchException,
            BEGIN
            + ["before_batch", "after_pred", "after_cancel_batch", "after_batch"]
            + TRAINED
            + ["before_batch", "after_pred", "after_cancel_batch", "after_batch"]
            + END,
        ),
        ("before_train", CancelTrainException, [*BEGIN, "after_cancel_train"] + TRAINED + VALID_BATCH + END),
        (
            "before_validate",
            CancelValidException,
            BEGIN + TRAIN_BATCH + TRAINED + ["after_cancel_validate"] + END,
        ),
        (
            "after_train",
            CancelEpochException,
            BEGIN + TRAIN_BATCH + ["after_train", "after_cancel_epoch", "after_epoch", "after_fit"],
        ),
        ("before_epoch", CancelFitException, ["before_fit", "before_epoch", "after_cancel_fit", "after_fit"]),
    ],
)
def test_cancelling(at, error, expected):
    """The rest of the part is skipped; after_cancel_X comes next, then after_X as always."""
    cb, seen = trace(**{at: error})
    echo([1.0], [(1.0, 3)], cbs=cb).fit(1)
    assert seen[1:] == expected


def test_callbacks_hear_in_order():
    heard = []

    class Late(Callback):
        order = 2

        def before_fit(self):
            heard.append(self.name)

    class EarlyCallback(Late):
        order = 1

    class AlsoLate(Late):
        pass

    echo([1.0], cbs=[Late(), AlsoLate(), EarlyCallback]).fit(1)
    assert heard == ["early", "late", "also_late"]


def test_callbacks_of_one_fit_and_of_one_phase():
    class Count(Callback):
        run_valid = False
        seen = 0

        def after_batch(self):
            self.seen += 1
            assert self.pred is self.learn.pred  # read through

    mine = Count()
    learn = echo([1.0, 2.0], [(1.0, 3)])
    learn.fit(1, cbs=mine)
    learn.fit(1)
    assert mine.seen == 2
    with pytest.raises(AttributeError, match="Count has no 'nonsense', nor has its learner"):
        mine.nonsense
    with pytest.warns(UserWarning, match=re.escape("write self.learn.loss_func = ...")):
        mine.loss_func = None
    with pytest.raises(TypeError, match="a callback is a Callback; got 3"):
        learn.add_cbs(3)


# ------------------------------------------------------------------------------------------------------------- recorder


def test_train_loss_is_a_debiased_moving_average():
    learn = echo([1.0, 2.0, 3.0], [(1.0, 3), (5.0, 1)])
    learn.fit(1)
    assert learn.recorder.losses == pytest.approx([1, 1.50505, 2.013468], abs=5e-6)
    assert learn.recorder.batch_losses == [1, 2, 3]
    assert learn.recorder.values == [pytest.approx([2.013468, 2.0], abs=5e-7)]  # (3 * 1 + 1 * 5) / 4
    assert learn.recorder.lrs == [1e-3] * 3


def test_the_moving_average_goes_on_between_epochs():
    learn = echo([1.0, 2.0])
    learn.fit(2)
    m, expected = 0.0, []
    for n, loss in enumerate([1.0, 2.0, 1.0, 2.0], 1):
        m = 0.98 * m + 0.02 * loss
        expected.append(m / (1 - 0.98**n))
    assert learn.recorder.losses == pytest.approx(expected)
    assert learn.recorder.iters == [2, 4]


def test_table_when_piped(capsys):
    learn = learner(metrics=accuracy)
    learn.fit(2, 1e-2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["epoch", "train_loss", "valid_loss", "accuracy", "time"]
    assert [line.split()[0] for line in lines[1:]] == ["0", "1"]
    assert len({len(line) for line in lines}) == 1
    shown = [float(v) for v in lines[2].split()[1:4]]
    assert shown == pytest.approx(learn.recorder.values[1], abs=5e-7)
    with learn.no_bar():
        learn.fit(1)
    assert capsys.readouterr().out == ""


def test_table_in_a_terminal(capsys, monkeypatch):
    pytest.importorskip("rich")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    learner(metrics=accuracy).fit(2, 1e-2)
    shown = capsys.readouterr().out
    for text in ("train_loss", "accuracy", "epoch 1/2 train", "epoch 2/2 valid", "batches/s", "loss 0."):
        assert text in shown


def test_the_loss_is_read_once_an_epoch_when_nobody_looks():
    learn, read = echo([1.0] * 10), []
    take = learn.recorder._read

    def counted():
        if learn.recorder._waiting:
            read.append(len(learn.recorder._waiting))
        return take()

    object.__setattr__(learn.recorder, "_read", counted)
    learn.fit(3)
    assert read == [10, 10, 10]


def test_metrics_of_training_too(capsys):
    learn = learner(metrics=[accuracy])
    learn.recorder.train_metrics = True
    learn.fit(1)
    names = ["train_loss", "train_accuracy", "valid_loss", "valid_accuracy"]
    assert learn.recorder.metric_names == ["epoch", *names, "time"]
    assert len(learn.recorder.values[0]) == 4


def test_without_validation_data(capsys):
    learn = Learner(DataLoaders(points().train), Net(), CrossEntropyLossFlat())
    learn.fit(1)
    assert learn.recorder.values[0][1] is None
    assert len(capsys.readouterr().out.splitlines()[1].split()) == 3


def test_plots():
    pytest.importorskip("matplotlib")
    learn = learner()
    learn.lr_find(num_it=20, show_plot=True)
    assert len(learn.figure.axes[0].lines) == 2
    with pytest.raises(ValueError, match="plot_sched: no schedule was recorded"):
        learner().recorder.plot_sched()
    learn.fit_one_cycle(2)
    assert [ax.get_ylabel() for ax in learn.recorder.plot_sched().axes] == ["lr", "mom"]
    assert len(learn.recorder.plot_loss(skip_start=0).axes[0].lines) == 2


# ----------------------------------------------------------------------------------------------------------------- fits


def test_it_learns():
    learn = learner(metrics=accuracy)
    learn.fit_one_cycle(20, 3e-2)
    assert learn.validate()[1] >= 0.9


def test_one_cycle_sets_lr_and_momentum():
    learn = echo([1.0] * 5)
    learn.fit_one_cycle(2, 1e-3)
    expected = [4.0e-5, 3.7167e-4, 9.0833e-4, 9.8907e-4, 9.0451e-4, 7.5e-4, 5.5227e-4, 3.4550e-4, 1.6544e-4, 4.3237e-5]
    assert learn.recorder.lrs == pytest.approx(expected, rel=2e-5)  # five digits
    assert learn.recorder.hps["lr"] == learn.recorder.lrs
    assert learn.recorder.hps["mom"][0] == pytest.approx(0.95)
    assert min(learn.recorder.hps["mom"]) > 0.85
    assert learn.opt.param_groups[0]["betas"] == (pytest.approx(learn.recorder.hps["mom"][-1]), 0.99)


def test_start_epoch_keeps_the_schedule():
    learn = echo([1.0] * 5)
    learn.fit_one_cycle(2, 1e-3, start_epoch=1)
    assert learn.recorder.lrs == pytest.approx([7.5e-4, 5.5227e-4, 3.4550e-4, 1.6544e-4, 4.3237e-5], rel=2e-5)


def test_a_fit_that_was_broken_off_goes_on_to_the_bit(tmp_path):
    """In another Learner, which loads model and optimiser; the order of the items is that of the later epochs."""

    def fresh():
        tf.manual_seed(0)
        x = np.random.default_rng(0).standard_normal((32, 3)).astype(np.float32)
        data = TensorDataset(x, x.sum(1, keepdims=True))
        dls = DataLoaders(DataLoader(data, 8, shuffle=True, seed=1), DataLoader(data, 8))
        return Learner(dls, nn.Linear(3, 1), MSELossFlat(), path=tmp_path)

    whole, first, rest = fresh(), fresh(), fresh()
    whole.fit(4, 0.1)
    first.fit(2, 0.1)
    first.save("half")
    rest.load("half")
    rest.fit(4, 0.1, start_epoch=2)
    assert rest.recorder.batch_losses == whole.recorder.batch_losses[8:]
    assert rest.model.weight.tolist() == whole.model.weight.tolist()


@pytest.mark.parametrize("n, start", [(-1, 0), (2, 5), (2, -1)])
def test_epochs_that_are_none(n, start):
    with pytest.raises(ValueError, match=f"0 <= start_epoch <= n_epoch; got start_epoch {start} of {n} epochs"):
        echo([1.0]).fit(n, start_epoch=start)


def test_flat_cos_and_sgdr():
    learn = echo([1.0] * 4)
    learn.fit_flat_cos(2, 1e-2)
    assert learn.recorder.lrs[:7] == pytest.approx([1e-2] * 7)
    assert learn.recorder.lrs[7] == pytest.approx(1e-2 / 2, rel=1e-4)
    learn.fit_sgdr(2, 1, 1e-2)  # cycles of 1 and 2 epochs
    assert learn.recorder.lrs[::2] == pytest.approx([1e-2, 5e-3, 1e-2, 1e-2 * (1 + 0.5**0.5) / 2, 5e-3, 1.464466e-3])


def test_mom_of_sgd():
    learn = echo([1.0] * 4, opt_func=lambda groups, lr: SGD(groups, lr=lr, momentum=0.9))
    learn.fit_one_cycle(1)
    assert learn.recorder.hps["mom"][0] == pytest.approx(0.95)
    learn = echo([1.0] * 4, opt_func=SGD)
    learn.fit_one_cycle(1)
    assert learn.recorder.hps["mom"] == [0] * 4  # made without momentum, it stays so


def test_param_scheduler():
    learn = echo([1.0] * 4)
    learn.fit(1, cbs=ParamScheduler({"wd": SchedLin(0.0, 1.0)}))
    assert learn.recorder.hps["wd"] == pytest.approx([0, 0.25, 0.5, 0.75])


def test_fit_takes_lr_and_wd():
    learn = learner(wd=0.5)
    learn.fit(1, 1e-2)
    assert learn.get_hyper("lr") == [1e-2]
    assert learn.get_hyper("wd") == [0.5]
    opt = learn.opt
    learn.fit(1, wd=0.25)
    assert learn.get_hyper("lr") == [1e-3]
    assert learn.get_hyper("wd") == [0.25]
    assert learn.opt is opt
    learn.fit(1, reset_opt=True)
    assert learn.opt is not opt


def test_default_optimiser():
    learn = learner()
    learn.create_opt()
    assert type(learn.opt) is AdamW
    decay, spared = learn.opt.param_groups
    assert (decay["betas"], decay["eps"], decay["lr"]) == ((0.9, 0.99), 1e-5, 1e-3)
    assert (decay["weight_decay"], spared["weight_decay"]) == (0.01, 0.0)
    model = learn.model
    assert [id(p) for p in decay["params"]] == [id(model.first.weight), id(model.head.weight)]
    assert {id(p) for p in spared["params"]} == {
        id(p) for p in (model.first.bias, model.norm.weight, model.norm.bias, model.head.bias)
    }
    learn = learner(wd_bn_bias=True, wd=0.1)
    learn.create_opt()
    assert [len(g["params"]) for g in learn.opt.param_groups] == [6]
    assert learn.get_hyper("wd") == [0.1]


def test_a_fit_without_batches():
    learn = Learner(DataLoaders([], []), Net(), MSELossFlat())
    with pytest.raises(ValueError, match="fit: the training loader has no batches"):
        learn.fit(1)


def test_the_model_must_be_one():
    with pytest.raises(TypeError, match="Learner: the model is an nn.Module; got a function"):
        Learner(points(), lambda x: x, MSELossFlat())


def test_a_loader_needs_a_length():
    learn = Learner(DataLoaders(iter([(tf.ones(1), tf.ones(1))])), Echo(), MSELossFlat())
    with pytest.raises(TypeError, match="a loader has a length, the number of its batches; a list_iterator has none"):
        learn.fit(1)


# --------------------------------------------------------------------------------------------------------------- groups


def test_even_mults():
    assert even_mults(1e-5, 1e-3, 3) == pytest.approx([1e-5, 1e-4, 1e-3])
    assert even_mults(1e-5, 1e-3, 1) == [1e-3]


def test_spread():
    assert spread(0.1, 3) == [0.1] * 3
    assert spread(slice(1e-5, 1e-3), 3) == pytest.approx([1e-5, 1e-4, 1e-3])
    assert spread(slice(1e-3), 3) == pytest.approx([1e-4, 1e-4, 1e-3])
    assert spread([1, 2], 2) == [1.0, 2.0]
    with pytest.raises(ValueError, match="one for each of the 3 groups of parameters; got 2"):
        spread([1, 2], 3)
    with pytest.raises(ValueError, match=re.escape("slice(hi) or slice(lo, hi); got slice(None, None, None)")):
        spread(slice(None), 3)
    with pytest.warns(UserWarning, match=re.escape("slice(0.0001, 0.001) gives it to the head")):
        assert spread(slice(1e-3, 1e-4), 2) == pytest.approx([1e-3, 1e-4])


def test_hypers_of_groups():
    model = Net()
    opt = AdamW(optimizer_groups(model, three_groups(model), wd_bn_bias=False))
    assert [(g["layer"], len(g["params"]), g["weight_decay"]) for g in opt.param_groups] == [
        (0, 1, 0.01),
        (0, 1, 0.0),
        (1, 2, 0.0),
        (2, 1, 0.01),
        (2, 1, 0.0),
    ]
    set_hyper(opt, "lr", slice(1e-5, 1e-3))
    assert get_hyper(opt, "lr") == pytest.approx([1e-5, 1e-4, 1e-3])
    set_hyper(opt, "wd", 0.3)
    assert [g["weight_decay"] for g in opt.param_groups] == [0.3, 0.0, 0.0, 0.3, 0.0]
    set_hyper(opt, "sqr_mom", 0.9)
    set_hyper(opt, "mom", 0.8)
    assert opt.param_groups[0]["betas"] == (0.8, 0.9)
    with pytest.raises(ValueError, match="set_hyper: AdamW has no 'alpha'"):
        set_hyper(opt, "alpha", 0.8)


def test_freeze():
    learn = learner(splitter=three_groups)
    learn.fit(1)
    assert learn.opt.state
    learn.freeze()
    trained = [p.requires_grad for p in learn.model.parameters()]
    assert trained == [False, False, True, True, True, True]  # norms stay trained
    assert not learn.opt.state
    before = weights(learn)
    learn.fit(1, 1e-2, wd=0.5)
    after = weights(learn)
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == {"norm.weight", "norm.bias", "head.weight", "head.bias"}
    learn.unfreeze()
    assert all(p.requires_grad for p in learn.model.parameters())
    with pytest.raises(ValueError, match="freeze_to: n is one of the 3 groups; got 3"):
        learn.freeze_to(3)


def test_freeze_norms_too():
    learn = learner(splitter=three_groups, train_bn=False)
    learn.freeze()
    assert [p.requires_grad for p in learn.model.parameters()] == [False] * 4 + [True] * 2


def test_freeze_of_a_single_group_freezes_nothing():
    learn = learner(splitter=trainable_params)
    learn.freeze()
    assert all(p.requires_grad for p in learn.model.parameters())


def test_fine_tune():
    seen = []

    class Rates(Callback):
        order = 70

        def before_step(self):
            first = self.learn.model.first.weight.detach().numpy().copy()
            seen.append((np.array(self.learn.get_hyper("lr")), first))

    learn = learner(splitter=three_groups)
    learn.fine_tune(2, cbs=Rates())
    assert len(seen) == 3 * 2
    np.testing.assert_allclose(seen[0][0], np.array([2e-4, 2e-4, 2e-3]) / 25, rtol=1e-6)
    np.testing.assert_allclose(seen[2][0], np.array([1e-5, 1e-4, 1e-3]) / 5, rtol=1e-6)
    assert np.array_equal(seen[0][1], seen[2][1])  # the head alone was trained
    assert not np.array_equal(seen[2][1], seen[-1][1])


# -------------------------------------------------------------------------------------------------------------- lr_find


def memory_of(opt):
    flat = {f"{i}.{k}": v for i, s in opt.state_dict()["state"].items() for k, v in s.items()}
    return {k: v.numpy().copy() if isinstance(v, tf.Tensor) else v for k, v in flat.items()}


def test_lr_find_leaves_everything_as_it_was():
    learn = learner()
    learn.fit(1)
    before, memory, groups = weights(learn), memory_of(learn.opt), learn.opt.state_dict()["param_groups"]
    state = tf.rng.default.get_state()
    learn.lr_find(num_it=20)
    assert same(weights(learn), before)
    assert same(memory_of(learn.opt), memory)
    assert learn.opt.state_dict()["param_groups"] == groups
    assert tf.rng.default.get_state() == state
    assert learn.recorder.lrs[1] / learn.recorder.lrs[0] == pytest.approx(10**0.4)


def test_lr_find_changes_nothing_of_the_fit_that_follows():
    plain, found = learner(), learner()
    found.lr_find(num_it=20)
    assert found.opt is None
    plain.fit_one_cycle(2, 1e-2)
    found.fit_one_cycle(2, 1e-2)
    assert plain.recorder.batch_losses == found.recorder.batch_losses


def test_lr_find_grows_by_equal_ratios():
    learn = echo([1.0] * 10)
    learn.lr_find(stop_div=False)
    assert len(learn.recorder.lrs) == 100
    assert learn.recorder.lrs[0] == pytest.approx(1e-7)
    ratios = np.divide(learn.recorder.lrs[1:], learn.recorder.lrs[:-1])
    np.testing.assert_allclose(ratios, 10**0.08, rtol=1e-9)
    assert learn.recorder.lrs[-1] == pytest.approx(8.318, abs=5e-4)


def test_lr_find_stops_where_the_loss_diverges():
    learn = echo([1.0] * 60 + [1e4] * 40)
    learn.lr_find()
    assert len(learn.recorder.lrs) == 61


def test_lr_find_survives_nan():
    learn = echo([1.0 / (i + 1) for i in range(60)] + [float("nan")] * 40)
    assert 0 < learn.lr_find().valley < 1
    learn = echo([float("nan")] * 10)
    with pytest.raises(ValueError, match="a suggestion needs 17 batches with a finite loss; got 0"):
        learn.lr_find()
    with pytest.raises(NonFiniteLoss):  # a fit is checked again
        learn.fit(1)


def test_lr_find_takes_what_a_suggestion_needs():
    """However few batches are asked for."""
    for num_it in (1, 6, 7):
        assert learner().lr_find(num_it=num_it).valley > 0


def test_lr_find_unpacks():
    lr_min, lr_steep = learner().lr_find(num_it=40, suggest_funcs=(minimum, steep))
    assert lr_min > 0
    assert lr_steep > 0


def test_valley():
    losses = [10.0, 9, 8, 7, 6, 5, 4, 3, 2, 1, 5, 9]
    assert valley(range(12), losses, 100) == 3
    losses = [2.3] * 30 + [2.3 - 0.05 * k for k in range(1, 31)] + [0.8 + 0.5 * k for k in range(1, 11)]
    assert valley(range(70), losses, 100) == 43


def test_minimum_steep_slide():
    lrs = [10.0**-k for k in range(9, 0, -1)]
    losses = [3, 3, 2.9, 2.5, 1.0, 0.9, 0.5, 2, 9]
    assert minimum(lrs, losses, 100) == pytest.approx(1e-3 / 10)
    assert steep(lrs, losses, 100) == pytest.approx(1e-6)
    lrs, losses = list(range(40)), [2.0] * 10 + [2 - 0.05 * k for k in range(20)] + [1.0 + k for k in range(10)]
    assert 0 <= slide(lrs, losses, 100) < 40


# ----------------------------------------------------------------------------------------------------- predict, persist


def test_validate():
    learn = learner(metrics=[accuracy])
    learn.fit(1)
    losses = list(learn.recorder.losses)
    loss, score = learn.validate()
    preds, targs = learn.get_preds()
    assert score == pytest.approx(accuracy(preds, targs).item())
    assert loss == pytest.approx(-preds.log().gather(1, targs.unsqueeze(1)).mean().item(), rel=1e-5)
    assert [loss, score] == learn.recorder.values[0][1:]
    assert learn.recorder.losses == losses  # the last fit is still there
    assert learn.validate(ds_idx=0)[1] == pytest.approx(accuracy(*learn.get_preds(ds_idx=0)).item())


def test_get_preds_in_order():
    learn = learner()
    learn.fit(1)
    x, y = learn.dls.valid_ds.tensors
    learn.model.eval()
    with tf.no_grad():
        expected = learn.model(x).softmax(1).numpy()
    inputs, preds, targs, decoded, losses = learn.get_preds(with_input=True, with_decoded=True, with_loss=True)
    np.testing.assert_allclose(preds.numpy(), expected, rtol=1e-5)
    assert np.array_equal(inputs.numpy(), x.numpy())
    assert np.array_equal(targs.numpy(), y.numpy())
    assert np.array_equal(decoded.numpy(), expected.argmax(1))
    np.testing.assert_allclose(losses.numpy(), -np.log(expected[np.arange(40), y.numpy()]), rtol=1e-4)
    assert learn.loss_func.reduction == "mean"
    raw, _ = learn.get_preds(act=lambda x: x)
    np.testing.assert_allclose(raw.softmax(1).numpy(), expected, rtol=1e-5)
    order, _ = learn.get_preds(ds_idx=0)  # shuffled when trained on, in order here
    with tf.no_grad():
        np.testing.assert_allclose(
            order.numpy(), learn.model(learn.dls.train_ds.tensors[0]).softmax(1).numpy(), rtol=1e-5
        )


@pytest.mark.parametrize("event", ["before_batch", "after_pred", "before_step", "after_batch", "after_train"])
@pytest.mark.parametrize("look", [lambda learn: learn.validate(), lambda learn: learn.get_preds(ds_idx=0)])
def test_a_callback_may_predict_within_training(event, look):
    def act(self):
        if self.learn.training:
            before = self.learn.xb, self.learn.pred, self.learn.dl, self.learn.iter
            look(self.learn)
            assert all(a is b for a, b in zip(before, (self.learn.xb, self.learn.pred, self.learn.dl, self.learn.iter)))
            assert all(m.training for m in self.learn.model.modules())

    found = []
    for cbs in ([], [type("Look", (Callback,), {event: act, "order": 70})()]):
        learn = learner(metrics=accuracy)
        learn.fit(2, 1e-2, cbs=cbs)
        found.append((learn.recorder.batch_losses, learn.recorder.values, weights(learn)))
    assert found[0][:2] == found[1][:2] and same(found[0][2], found[1][2])


def test_validation_leaves_the_modes_of_the_model():
    learn = learner()
    learn.model.norm.eval()
    learn.validate()
    assert [m.training for m in (learn.model, learn.model.first, learn.model.norm)] == [True, True, False]


def test_get_preds_of_nothing():
    learn = learner()
    with pytest.raises(ValueError, match="the loader gave no batches, so there is nothing to predict"):
        learn.get_preds(dl=[])


def test_plain_functions_as_loss():
    learn = Learner(points(), Net(), tf.nn.functional.cross_entropy)
    learn.fit(1)
    preds, _, losses = learn.get_preds(with_loss=True)
    np.testing.assert_allclose(preds.sum(1).numpy(), 1, rtol=1e-6)
    assert losses.shape == (40,)


def test_predict():
    learn = learner()
    x = learn.dls.valid_ds.tensors[0][3].numpy()
    label, index, probs = learn.predict(x)
    preds, _ = learn.get_preds()
    np.testing.assert_allclose(probs.numpy(), preds[3].numpy(), rtol=1e-6)
    assert label == index.item() == probs.argmax().item()


def test_predict_a_label():
    items = [(np.array([v, -v], np.float32), "pos" if v > 0 else "neg") for v in (1.0, -1.0, 2.0, -2.0, 3.0, -3.0)]
    block = DataBlock(
        (Block, CategoryBlock), get_x=lambda o: o[0], get_y=lambda o: o[1], splitter=IndexSplitter([4, 5])
    )
    tf.manual_seed(0)
    learn = Learner(block.dataloaders(items, bs=2), Net())
    assert type(learn.loss_func) is CrossEntropyLossFlat
    learn.fit(20, 3e-2)
    label, index, probs = learn.predict(np.array([5.0, -5.0], np.float32))
    assert (label, index.item()) == ("pos", 1)
    assert probs[1].item() > 0.5
    assert learn.predict(items[1])[0] == "neg"


def logits_loss(pred, targ):
    return F.cross_entropy(pred, targ)


@pytest.mark.parametrize(
    ("last", "loss"),
    [
        ([], logits_loss),
        ([], lambda pred, targ: F.cross_entropy(pred, targ)),
        ([nn.LogSoftmax(1)], nn.NLLLoss()),
        ([nn.LogSoftmax(1)], F.nll_loss),
    ],
)
def test_predict_a_label_of_a_loss_that_is_no_learners(last, loss):
    items = [(np.array([v, -v], np.float32), "pos" if v > 0 else "neg") for v in (1.0, -1.0, 2.0, -2.0, 3.0, -3.0)]
    block = DataBlock(
        (Block, CategoryBlock), get_x=lambda o: o[0], get_y=lambda o: o[1], splitter=IndexSplitter([4, 5])
    )
    tf.manual_seed(0)
    learn = Learner(block.dataloaders(items, bs=2), nn.Sequential(Net(), *last), loss)
    learn.fit(20, 3e-2)
    label, index, _ = learn.predict(np.array([5.0, -5.0], np.float32))
    assert (label, index.item()) == ("pos", 1)
    assert learn.get_preds(with_decoded=True)[2].tolist() == [1, 0]


def test_predict_several_labels_of_probabilities():
    items = [(np.array([v, -v], np.float32), ["a"] if v > 0 else ["b"]) for v in (1.0, -1.0, 2.0, -2.0, 3.0, -3.0)]
    block = DataBlock(
        (Block, MultiCategoryBlock), get_x=lambda o: o[0], get_y=lambda o: o[1], splitter=IndexSplitter([4, 5])
    )
    tf.manual_seed(0)
    learn = Learner(block.dataloaders(items, bs=2), nn.Sequential(Net(), nn.Sigmoid()), nn.BCELoss())
    learn.fit(20, 3e-2)
    labels, _, probs = learn.predict(np.array([5.0, -5.0], np.float32))
    assert labels == ["a"]
    assert probs[0].item() > 0.9 > 0.1 > probs[1].item()
    learn.loss_func = lambda pred, targ: F.binary_cross_entropy(pred, targ)
    with pytest.raises(ValueError, match="a loss must say what its outputs mean"):
        learn.predict(np.array([5.0, -5.0], np.float32))


def test_losses_of_items_need_a_loss_that_can():
    class Own(nn.Module):
        def forward(self, pred, targ):
            return logits_loss(pred, targ)

    for loss, name in ((logits_loss, "logits_loss"), (Own(), "Own")):
        learn = Learner(points(), Net(), loss)
        with pytest.raises(TypeError, match=f'the loss must take reduction="none", .* {name} does not'):
            learn.get_preds(with_loss=True)
        assert learn.loss_func is loss


def test_predict_needs_a_loader_that_takes_items():
    class Pair:
        train = valid = ((tf.ones(1), tf.ones(1)),)

    with pytest.raises(ValueError, match="predict: these loaders cannot take other items"):
        Learner(Pair(), Echo(), MSELossFlat()).predict(1.0)


def test_save_and_load(tmp_path):
    learn = learner(tmp_path)
    learn.fit_one_cycle(2, 1e-2)
    path = learn.save("first")
    assert path == tmp_path / "models" / "first.safetensors"
    other = learner(tmp_path)
    assert other.load("first") is other
    assert same(weights(other), weights(learn))
    assert same(memory_of(other.opt), memory_of(learn.opt))
    other.dls.train.epoch = learn.dls.train.epoch
    learn.fit(1, 1e-2)
    other.fit(1, 1e-2)
    assert learn.recorder.batch_losses == other.recorder.batch_losses


def test_save_without_optimiser(tmp_path):
    learn = learner(tmp_path)
    learn.fit(1)
    learn.save("bare", with_opt=False)
    other = learner(tmp_path).load("bare")
    assert other.opt is None
    assert same(weights(other), weights(learn))


def test_load_what_does_not_fit(tmp_path):
    learn = learner(tmp_path)
    learn.fit(1)
    learn.save("first")
    other = learner(tmp_path, splitter=three_groups)
    with pytest.warns(UserWarning, match="the model is loaded, the state of the optimiser is not"):
        other.load("first")
    other = learner(tmp_path, opt_func=SGD)
    with pytest.warns(UserWarning, match="is not: SGD: cannot load the state of another kind of optimiser"):
        other.load("first")
    assert other.opt.state == {} and "betas" not in other.opt.param_groups[0]
    wide = Learner(points(), Net(out=3), CrossEntropyLossFlat(), path=tmp_path)
    with pytest.raises(RuntimeError, match="head.weight"):
        wide.load("first")
    with pytest.raises(FileNotFoundError):
        learn.load("second")


def test_load_plain_weights(tmp_path):
    learn = learner(tmp_path)
    (tmp_path / "models").mkdir()
    from tinygrad_fast import checkpoint

    checkpoint.save(learn.model.state_dict(), tmp_path / "models" / "w.safetensors")
    other = learner(tmp_path)
    other.model.head.weight.detach().zero_()
    assert same(weights(other.load("w.safetensors")), weights(learn))


# ------------------------------------------------------------------------------------------------------ things go wrong


def test_a_loss_that_is_not_finite_stops_the_fit():
    learn = echo([4.0, 3.0, float("nan"), 2.0, 1.0])
    with pytest.raises(NonFiniteLoss) as error:
        learn.fit(1, 0.5)
    text = str(error.value)
    for part in (
        "the loss must be finite; got nan in epoch 0, batch 2 of 5",
        "at learning rate 0.5, after losses of 4, 3",
        "a learning rate that is too high",
        "inputs or targets that are not finite",
    ):
        assert part in text
    assert len(learn.recorder.lrs) == len(learn.recorder.losses) == 5  # found when it was read, after the epoch


def test_divergence_is_found_in_its_epoch():
    learn = learner(opt_func=SGD)
    with pytest.raises(NonFiniteLoss, match="at learning rate 1e"):
        learn.fit(20, 1e30)


def test_an_error_names_epoch_and_batch():
    class Fragile(Echo):
        calls = 0

        def forward(self, x):
            self.calls += 1
            if self.calls == 5:
                raise ValueError("broken")
            return super().forward(x)

    learn = Learner(DataLoaders([(tf.ones(1), tf.ones(1))] * 3), Fragile(), MSELossFlat())
    with pytest.raises(ValueError, match="broken") as error:
        learn.fit(3)
    assert error.value.__notes__ == ["in epoch 1, training batch 1 of 3, both counted from 0"]
    assert gc.get_freeze_count() == 0


def test_an_item_that_cannot_be_read_names_its_batch():
    class Broken(TensorDataset):
        def get_batch(self, indices):
            if 5 in indices:
                raise OSError("disk on fire")
            return super().get_batch(indices)

    dl = DataLoader(Broken(np.ones((8, 1), np.float32), np.ones((8, 1), np.float32)), bs=2)
    with pytest.raises(OSError, match="disk on fire") as error:
        Learner(DataLoaders(dl), Echo(), MSELossFlat()).fit(1)
    assert error.value.__notes__ == ["in epoch 0, training batch 2 of 4, both counted from 0"]


def test_interrupt_leaves_everything_usable():
    class Interrupt(Callback):
        order = 100

        def after_backward(self):
            if self.learn.train_iter == 3:
                raise KeyboardInterrupt

    learn = learner()
    with pytest.raises(KeyboardInterrupt):
        learn.fit(3, cbs=Interrupt())
    assert len(learn.recorder.values) == 1  # whole epochs
    assert len(learn.recorder.losses) == len(learn.recorder.lrs) == 3
    assert all(p.grad is None for p in learn.model.parameters())
    assert learn.xb == () and learn.pred is None
    assert gc.get_freeze_count() == 0
    assert len(learn.cbs) == 3
    learn.fit(1)
    assert len(learn.recorder.losses) == 2


def test_the_collector_rests_during_a_fit():
    counts = []

    class Look(Callback):
        def after_batch(self):
            counts.append(gc.get_freeze_count())

    echo([1.0, 2.0]).fit(1, cbs=Look())
    assert all(n > 1000 for n in counts)
    assert gc.get_freeze_count() == 0


class Gives(nn.Module):
    def __init__(self, make):
        self.w, self.make = nn.Parameter(tf.zeros(1)), make

    def forward(self, x):
        return self.make(x + self.w)


ONE = DataLoaders([(tf.ones(4), tf.zeros(4))], [(tf.ones(4), tf.zeros(4))])
LEARN = [
    (lambda: Learner(ONE, Gives(lambda x: None), MSELossFlat()).fit(1), TypeError, "returned None; does it end with"),
    (lambda: Learner(ONE, Gives(lambda x: (x, x)), MSELossFlat()).fit(1), TypeError, "it returned a tuple"),
    (lambda: Learner(ONE, Echo(), lambda p, t: 1.0).fit(1), TypeError, "loss_func must return .* got a float"),
    (lambda: Learner(ONE, Echo(), nn.MSELoss), TypeError, r"got the class MSELoss; write MSELoss\(...\)"),
    (lambda: Learner(ONE, Echo), TypeError, r"the model is an nn.Module; got the class Echo; write Echo\(...\)"),
    (lambda: Learner(ONE, Echo(), "mse"), TypeError, r"must be a function of \(pred, target\); got 'mse'"),
    (lambda: Learner(ONE, Echo(), MSELossFlat(), "adam"), TypeError, "opt_func must make an optimiser, .* got 'adam'"),
    (lambda: Learner(ONE, Echo(), MSELossFlat(), SGD([tf.ones(1)])), TypeError, "opt_func must make .* got a SGD"),
    (lambda: Learner((ONE.train, ONE.valid), Echo()), TypeError, r"got a tuple. Write DataLoaders\(train, valid\)"),
    (lambda: Learner(ONE, Echo(), MSELossFlat(), metrics=lambda p, t: p - t).fit(1), ValueError,
     r"a metric must give one number for a batch; <lambda> gave shape \(4,\)"),
]  # fmt: skip


@pytest.mark.parametrize(("mistake", "error", "text"), LEARN, ids=[m[2][:30] for m in LEARN])
def test_a_mistake_is_answered(mistake, error, text):
    with pytest.raises(error, match=text):
        mistake()


def test_several_inputs():
    class Sum(nn.Module):
        def __init__(self):
            self.w = nn.Parameter(tf.ones(1))

        def forward(self, a, b):
            return (a + b) * self.w

    batch = (tf.ones(4), tf.ones(4), tf.full((4,), 4.0))
    loader = DataLoader(TensorDataset(*batch), bs=4)
    for dls in (DataLoaders([batch] * 20, [batch]), DataLoaders([batch] * 20, loader)):
        learn = Learner(dls, Sum(), MSELossFlat(), metrics=mse, opt_func=SGD)
        learn.fit(3, 0.1)
        assert learn.validate()[1] < 1e-3
