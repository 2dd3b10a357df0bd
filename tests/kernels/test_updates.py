"""Optimiser steps and what precedes them, over odd lists of arrays, against their definitions on NumPy."""

from contextlib import nullcontext
from math import inf, isnan, nan
from unittest import mock

import ml_dtypes
import numpy as np
import pytest

import tinygrad_fast as tf
from tinygrad_fast import backend, nn, optim
from tinygrad_fast.backend.cuda import Emulated
from tinygrad_fast.backend.source import KernelError
from tinygrad_fast.models import resnet8

from .conftest import Near, generator
from .test_matmul import DTYPES, EPS

PLAIN = backend.CPU()


@pytest.fixture(scope="module", params=["emulated", pytest.param("cuda", marks=pytest.mark.gpu)])
def machines(request):
    """Every access watched; and as it is, with arrays that begin anywhere (a watched launch moves them to an edge). A
    GPU begins them as it likes."""
    if request.param == "cuda":
        return dict.fromkeys(["watched", "odd addresses"], Near(request.getfixturevalue("cuda")))
    return {"watched": Emulated(check=True), "odd addresses": Emulated()}


# Function, which of its memory lists are there, hyper at step t, flags
STEPS = {
    "sgd": ("sgd_", [0], lambda t: [0.1, 0, 0, 0, t], dict(nesterov=False)),
    "sgd momentum": ("sgd_", [1], lambda t: [0.1, 0.9, 0.3, 0.05, t], dict(nesterov=False)),
    "sgd nesterov": ("sgd_", [1], lambda t: [0.1, 0.9, 0, 5e-4, t], dict(nesterov=True)),
    "adam": ("adam_", [1, 1], lambda t: [0.1, 0.8, 0.95, 1e-3, 0.1, t], dict(decoupled=False)),
    "adamw": ("adam_", [1, 1], lambda t: [0.1, 0.9, 0.999, 1e-8, 0.01, t], dict(decoupled=True)),
    "rmsprop": ("rmsprop_", [1, 0, 0], lambda t: [0.02, 0.9, 1e-3, 0, 0], {}),
    "rmsprop momentum": ("rmsprop_", [1, 0, 1], lambda t: [0.02, 0.9, 1e-3, 0.05, 0.5], {}),
    "rmsprop all": ("rmsprop_", [1, 1, 1], lambda t: [0.02, 0.9, 1e-3, 0.05, 0.5], {}),
}


def channels_last(shape, dtype):
    return np.zeros([shape[i] for i in (0, 2, 3, 1)], dtype).transpose(0, 3, 1, 2)


def odd_address(shape, dtype):
    """Begins one element past where an allocation would."""
    return np.zeros(int(np.prod(shape)) + 1, dtype)[1:].reshape(shape)


def arrays(dtype, seed, odd=False, gradients=False):
    """A list of 0-d, empty and small arrays, of one, two and three blocks, in all kinds of memory order."""
    make = odd_address if odd else np.zeros
    found = [make(shape, dtype) for shape in [(), (0,), (1,), (7, 1, 3), (4096,), (3, 1400), (9000,), (0, 4)]]
    found += [channels_last((4, 3, 5, 2), dtype), np.zeros((9, 6), dtype)[::2, 1:], np.zeros((3, 4), dtype).T]
    found += [np.zeros(5, dtype)[::-1]]
    if gradients:  # some lie unlike the weight
        found[-4], found[-2] = np.zeros((4, 3, 5, 2), dtype), np.zeros((4, 3), dtype)
    rng = generator(seed)
    for a in found:
        a[...] = rng.standard_normal(a.shape)
    return found


def copies(lists):
    """The same numbers, each in the memory order it has."""
    return [[np.copy(a, order="K") for a in list_] for list_ in lists]


def before_a_step(there, dtype, odd):
    """Weights, gradients and memory lists of zeros, those that are `there`; and the same once more."""
    ws, gs = arrays(dtype, 0, odd), arrays(dtype, 1, odd, gradients=True)
    lists = [ws, gs, *([np.zeros_like(w) for w in ws] if yes else [] for yes in there)]
    return lists, copies(lists)


def differ(got, want, dtype, ulps):
    """Where two lists of arrays are further apart than so many roundings of numbers of their size."""
    eps = EPS[np.dtype(dtype).name]
    for i, (a, b) in enumerate(zip(got, want, strict=True)):
        a, b = a.astype(np.float64), b.astype(np.float64)
        if not (abs(a - b) <= ulps * eps * np.maximum(abs(b), 1)).all():
            yield i, a.shape, abs(a - b).max()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", STEPS)
def test_five_steps(machines, name, dtype, tally):
    function, there, hyper, flags = STEPS[name]
    for kind, machine in machines.items():
        before = machine.launch.counts.copy()
        (ws, gs, *memory), (wanted, given, *kept) = before_a_step(there, dtype, odd=kind == "odd addresses")
        for t in range(1, 6):
            numbers = np.array(hyper(t), np.float64)
            with mock.patch.object(Emulated, "numbers", side_effect=AssertionError("read back")):
                getattr(machine, function)(ws, gs, *memory, numbers, **flags)
            getattr(PLAIN, function)(wanted, given, *kept, numbers, **flags)
            for g in (*gs, *given):
                g *= -1
        for mine, theirs in zip([ws, *memory], [wanted, *kept], strict=True):
            assert not list(differ(mine, theirs, dtype, 8)), kind
        assert machine.launch.counts - before == {function: 5}
        assert all(abs(w - start).max() > 0.01 for w, start in zip(ws, arrays(dtype, 0)) if w.size)
        tally(kernel=function, launches=5)


def test_what_is_not_in_the_lists_is_not_written(machines):
    """Gradients stay as they are, and so does what lies around and between the elements of a weight."""
    whole = np.ones((9, 6), np.float32)
    w, g = whole[::2, 1:4], np.broadcast_to(np.float32(1), (5, 3))
    machines["odd addresses"].sgd_([w], [g], [], np.array([0.5, 0, 0, 0, 1]), nesterov=False)
    assert (w == 0.5).all() and whole.sum() == 54 - 15 / 2


@pytest.mark.parametrize("n", [1, 255, 256, 257, 600])
def test_many_arrays(machines, n):
    """In one launch. A thread looks at one array, or at two and three."""
    ws = [np.full(1 + i % 3, i, np.float32) for i in range(n)]
    ws[n // 2] = np.full(9000, n // 2, np.float32)
    machine = machines["watched"]
    before = machine.launch.counts.copy()
    machine.sgd_(ws, [np.ones_like(w) for w in ws], [], np.array([1.0, 0, 0, 0, 1]), nesterov=False)
    assert machine.launch.counts - before == {"sgd_": 1}
    assert all((w == i - 1).all() for i, w in enumerate(ws))


@pytest.mark.parametrize("name", STEPS)
def test_a_model_of_200_arrays(machines, name):
    """Every launch once, whatever the lists: the norm, clipping, loss scaling and a step, as their definitions."""
    function, there, hyper, flags = STEPS[name]
    machine, rng = machines["odd addresses"], generator(0)
    shapes = [(4099,) if i == 150 else (1 + i % 5, 1 + i % 7) for i in range(200)]
    ws, gs = ([rng.standard_normal(shape).astype(np.float32) for shape in shapes] for _ in range(2))
    memory = [[np.zeros_like(w) for w in ws] if yes else [] for yes in there]
    before, theirs = machine.launch.counts.copy(), copies([gs])[0]
    for xp, g in ((machine, gs), (PLAIN, theirs)):
        found = np.zeros((), np.int32)
        xp.unscale_(g, np.array(0.5), found)
        norm = xp.total_norm(g, 2)
        xp.clip_norm_(g, norm, 10.0)
        xp.clip_value_(g, 0.25)
        assert norm > 10 and not found
    assert not list(differ(gs, theirs, np.float32, 8))
    wanted = copies([ws, gs, *memory])
    for xp, lists in ((machine, [ws, gs, *memory]), (PLAIN, wanted)):
        getattr(xp, function)(*lists, np.array(hyper(1.0)), **flags)
    for mine, theirs in zip([ws, gs, *memory], wanted, strict=True):
        assert not list(differ(mine, theirs, np.float32, 8))
    assert set((machine.launch.counts - before).values()) == {1}


def test_a_list_of_several_dtypes_is_a_launch_each(machines):
    ws = [np.ones(3, dtype) for dtype in (*DTYPES, np.float32)]
    machine = machines["watched"]
    before = machine.launch.counts["sgd_"]
    machine.sgd_(ws, [np.ones_like(w) for w in ws], [], np.array([0.5, 0, 0, 0, 1]), nesterov=False)
    assert machine.launch.counts["sgd_"] - before == 4
    assert all((w == 0.5).all() for w in ws)


def test_rounded_once(machines):
    """1 + 2^-8 + 2^-8: each step alone would round to 1 in bfloat16."""
    w, g, v = (np.array([x], ml_dtypes.bfloat16) for x in (1, -(2.0**-8), -(2.0**-8)))
    machines["watched"].sgd_([w], [g], [v], np.array([1.0, 1, 0, 0, 1]), nesterov=False)
    assert w == 1 + 2.0**-7


def test_misuse(machines):
    w, hyper = np.ones(3, np.float32), np.array([0.5, 0, 0, 0, 1])
    with pytest.raises(KernelError, match=r"^sgd_ .*1 ws, 1 gs, 0 vs.*: gs must be float32; got float64"):
        machines["watched"].sgd_([w], [np.ones(3)], [], hyper, nesterov=False)
    with pytest.raises(ValueError, match="is longer than argument 1"):
        machines["watched"].sgd_([w], [w, w], [], hyper, nesterov=False)
    with pytest.raises(RuntimeError, match="expanded"):
        machines["watched"].sgd_([np.broadcast_to(w, (2, 3))], [np.ones((2, 3), np.float32)], [], hyper, nesterov=False)


def test_clipping_and_a_step_are_one_launch_after_the_norm():
    """Nothing is read back. With parameters on two devices: one norm, and a step on each."""
    counts = backend.get("emulated").launch.counts
    for last in ("emulated", "cpu"):
        ps = [nn.Parameter(tf.ones(n).to(device)) for n, device in ((3, "emulated"), (6, last))]
        opt = optim.SGD(ps, lr=1.0)
        for p in ps:
            p.grad = p.detach() * 2.0
        total = nn.utils.get_total_norm([p.grad for p in ps])
        counts.clear()
        opt.clip = total, 3.0
        with nullcontext() if last == "cpu" else mock.patch.object(Emulated, "to_numpy", side_effect=AssertionError):
            opt.step()
        assert counts == {"sgd_": 1} and total == 6
        assert all(p.tolist() == pytest.approx([0] * len(p), abs=1e-6) and (p.grad == 2).all() for p in ps)


@pytest.mark.parametrize("make", [optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop])
def test_a_step_of_a_resnet_is_one_launch(make):
    counts, results = backend.get("emulated").launch.counts, []
    for device in ("cpu", "emulated"):
        tf.manual_seed(0)
        ps = list(resnet8(10).to(device).parameters())
        opt = make(ps, lr=0.01)
        for _ in range(2):
            for p in ps:
                p.grad = p.detach() * 0.5
            counts.clear()
            opt.step()
        results.append([p.detach().numpy() for p in ps])
    assert sum(counts.values()) == 1 and {"sgd_", "adam_", "rmsprop_"} & counts.keys()
    assert not list(differ(*results, np.float32, 8))


# Gradients


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [2, 1, 3, 0.5, inf])
def test_total_norm(machines, dtype, p):
    for kind, machine in machines.items():
        gs = arrays(dtype, 2, odd=kind == "odd addresses", gradients=True)
        norm = machine.total_norm(gs, p)
        every = np.concatenate([g.astype(np.float64).ravel() for g in gs])
        want = abs(every).max() if p == inf else (abs(every) ** p).sum() ** (1 / p)
        eps = EPS["float64" if dtype is np.float64 else "float32"]
        tolerance = 16 * eps * max(1, 1 / p)  # sums of 16 terms a thread, and then of 8 warps and so on
        assert norm.shape == () and norm.dtype == ("float64" if dtype is np.float64 else "float32")
        assert abs(norm - want) <= tolerance * want
        assert abs(PLAIN.total_norm(gs, p) - want) <= tolerance * want
        assert machine.total_norm(gs, p) == norm


@pytest.mark.parametrize("p", [2, 1, 3, inf])
def test_norm_of_what_is_not_finite(machines, p):
    for value, place in ((nan, 0), (nan, 4500), (-inf, 4500)):
        gs = [np.ones(5000, np.float32), np.ones(3, np.float32)]
        gs[0][place] = value
        for xp in (machines["watched"], PLAIN):
            assert isnan(xp.total_norm(gs, p)) if isnan(value) else xp.total_norm(gs, p) == inf


def test_norm_of_nothing_and_of_many(machines):
    for xp in (machines["watched"], PLAIN):
        assert xp.total_norm([], 2) == xp.total_norm([np.ones(0, np.float32)], inf) == 0
        mixed = [np.full(1, 2, dtype) for dtype in DTYPES] * 25
        assert xp.total_norm(mixed, 2) == 20 and xp.total_norm(mixed, 2).dtype == "float64"
        assert xp.total_norm([np.full(4, 6e4, np.float16)], 2) == np.float32(1.2e5).round(-2)  # too large for float16


@pytest.mark.parametrize("dtype", DTYPES)
def test_clip_norm(machines, dtype):
    for kind, machine in machines.items():
        gs = arrays(dtype, 3, odd=kind == "odd addresses", gradients=True)
        (wanted,) = copies([gs])
        for most in (1e4, 2.5):  # nothing to do, and something
            machine.clip_norm_(gs, machine.total_norm(gs, 2), most)
            PLAIN.clip_norm_(wanted, PLAIN.total_norm(wanted, 2), most)
            assert not list(differ(gs, wanted, dtype, 2))
        assert abs(PLAIN.total_norm(gs, 2) - 2.5) < 0.02


def test_clip_norm_of_several_dtypes(machines):
    for xp in (machines["watched"], PLAIN):
        gs = [np.full(4, 2, dtype) for dtype in DTYPES]
        xp.clip_norm_(gs, xp.total_norm(gs, 2), 4.0)
        assert not list(differ(gs, [np.ones(4)] * 4, np.float32, 8))


def test_clipping_by_what_is_not_finite(machines):
    """By inf: zeros, and NaN where the inf was. By NaN: NaN everywhere, as PyTorch, so that nobody trains on."""
    for xp in (machines["watched"], PLAIN):
        gs = [np.array([1, inf], np.float32)]
        xp.clip_norm_(gs, xp.total_norm(gs, 2), 1.0)
        assert gs[0][0] == 0 and isnan(gs[0][1])
        gs = [np.array([1, nan], np.float32), np.ones(2, np.float32)]
        xp.clip_norm_(gs, xp.total_norm(gs, 2), 1.0)
        assert np.isnan(gs).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_clip_value(machines, dtype):
    for kind, machine in machines.items():
        gs = arrays(dtype, 4, odd=kind == "odd addresses", gradients=True)
        gs[4][:2] = nan, -inf
        (wanted,) = copies([gs])
        machine.clip_value_(gs, 0.75)
        PLAIN.clip_value_(wanted, 0.75)
        for g, want in zip(gs, wanted):
            np.testing.assert_array_equal(g.astype(np.float64), want.astype(np.float64))
            assert (abs(g[~np.isnan(g)].astype(np.float64)) <= 0.75).all()
        assert np.isnan(gs[4][0]) and gs[4][1] == -0.75


@pytest.mark.parametrize("dtype", DTYPES)
def test_unscale(machines, dtype):
    for kind, machine in machines.items():
        start, found = arrays(dtype, 5, kind == "odd addresses", gradients=True), np.zeros((), np.int32)
        for place, value in ((None, 0), (0, nan), (4095, inf), (2, -inf)):
            gs, wanted = copies([start, start])
            if place is not None:
                gs[4][place] = wanted[4][place] = value
            found[...] = flag = np.zeros((), np.int32)
            machine.unscale_(gs, np.array(2.0**-3), found)
            PLAIN.unscale_(wanted, np.array(2.0**-3), flag)
            assert found == flag == (place is not None)
            for g, want in zip(gs, wanted):
                np.testing.assert_array_equal(g.astype(np.float64), want.astype(np.float64))
        machine.unscale_(start, np.array(2.0**-3), found)
        assert found == 1  # it stays, through any number of lists
        assert 0 < abs(start[6]).max() < 1


@pytest.mark.parametrize("name", STEPS)
def test_a_flag_leaves_everything_as_it_is(machines, name):
    """And what was skipped before is no step: the count of Adam is behind by it."""
    function, there, hyper, flags = STEPS[name]
    for xp in (machines["watched"], PLAIN):
        lists = [arrays(np.float32, i) for i in range(2 + sum(there))]
        memory = iter(lists[2:])
        kept = [[np.abs(a, out=a) for a in next(memory)] if yes else [] for yes in there]
        start, (first, *second) = copies([lists[0], *kept]), copies([lists[0], *kept])
        ints = [np.array(n, np.int32) for n in (1, 0, 2)]
        getattr(xp, function)(lists[0], lists[1], *kept, np.array(hyper(5.0)), **flags, skip=(ints[0], ints[2]))
        for a, b in zip([lists[0], *kept], start, strict=True):
            assert all((x == y).all() for x, y in zip(a, b, strict=True))
        getattr(xp, function)(lists[0], lists[1], *kept, np.array(hyper(5.0)), **flags, skip=(ints[1], ints[2]))
        getattr(xp, function)(first, lists[1], *second, np.array(hyper(3.0)), **flags)
        for a, b in zip([lists[0], *kept], [first, *second], strict=True):
            assert all((x == y).all() for x, y in zip(a, b, strict=True))
        assert [int(n) for n in ints] == [1, 0, 2]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", STEPS)
def test_a_step_reads_clipped_gradients(machines, name, dtype):
    """In one launch, as its definition; the gradients stay as they are. `most`: nothing to do, and something."""
    function, there, hyper, flags = STEPS[name]
    for kind, machine in machines.items():
        before = machine.launch.counts.copy()
        (ws, gs, *memory), (wanted, given, *kept) = before_a_step(there, dtype, odd=kind == "odd addresses")
        for t, most in ((1, 1e4), (2, 2.5), (3, 0.5)):
            numbers, norm = np.array(hyper(t), np.float64), np.array(PLAIN.total_norm(gs, 2))
            getattr(machine, function)(ws, gs, *memory, numbers, **flags, clip=(norm, most))
            getattr(PLAIN, function)(wanted, given, *kept, numbers, **flags, clip=(norm, most))
        for mine, theirs in zip([ws, *memory], [wanted, *kept], strict=True):
            assert not list(differ(mine, theirs, dtype, 8)), kind
        assert all((g == same).all() for g, same in zip(gs, given, strict=True))
        assert machine.launch.counts - before == {function: 3}


@pytest.mark.parametrize("name", STEPS)
def test_a_clipped_step_is_clipping_and_a_step(machines, name):
    """Also of several dtypes, whose norm is float64; and a norm of NaN leaves NaN, so that nobody trains on."""
    function, there, hyper, flags = STEPS[name]
    for xp in (machines["watched"], PLAIN):
        ws, gs = ([np.full((3, 2), x, dtype) for dtype in (np.float32, np.float64)] for x in (1, 2))
        memory = [[np.zeros_like(w) for w in ws] if yes else [] for yes in there]
        numbers, norm = np.array(hyper(1), np.float64), np.array(PLAIN.total_norm(gs, 2))
        wanted, clipped, *kept = copies([ws, gs, *memory])
        PLAIN.clip_norm_(clipped, norm, 3.0)
        assert clipped[1].max() < 1
        getattr(PLAIN, function)(wanted, clipped, *kept, numbers, **flags)
        getattr(xp, function)(ws, gs, *memory, numbers, **flags, clip=(norm, 3.0))
        for mine, theirs in zip([ws, *memory], [wanted, *kept], strict=True):
            for a, b in zip(mine, theirs, strict=True):
                np.testing.assert_allclose(a, b, rtol=8 * EPS[a.dtype.name])
        getattr(xp, function)(ws, gs, *memory, numbers, **flags, clip=(np.array(nan), 3.0))
        assert np.isnan(ws).all()


@pytest.mark.parametrize("where", ["watched", "plain"])
def test_the_scale(machines, where):
    xp, state = PLAIN if where == "plain" else machines[where], np.array([4, 0.25, 0, 0], np.float64)
    seen = []
    for raised in ((0,), (0,), (0, 0), (1, 0), (0,), (1, 1, 1), (0,)):
        xp.update_scale_(state, [np.array(n, np.int32) for n in raised], 3.0, 0.25, 2)
        seen.append(state.tolist())
    assert seen == [
        *([4, 0.25, 1, 0], [12, 1 / 12, 0, 0], [12, 1 / 12, 1, 0], [3, 1 / 3, 0, 1], [3, 1 / 3, 1, 1]),
        *([0.75, 1 / 0.75, 0, 4], [0.75, 1 / 0.75, 1, 4]),
    ]
    for start, raised, end in ((2.0**127, 0, 2.0**127), (2.0**-126, 1, 2.0**-126)):  # a normal float32 always
        state[:] = start, 1 / start, 0, 0
        xp.update_scale_(state, [np.array(raised, np.int32)], 2.0, 0.5, 1)
        assert state.tolist() == [end, 1 / end, 0, raised]


def test_clipping_a_model_reads_nothing_back():
    """Three launches whatever the number of parameters; two devices meet in one norm."""
    counts = backend.get("emulated").launch.counts
    ps = [nn.Parameter(tf.zeros(n).to("emulated")) for n in (3, 4, 9)]
    for p in ps:
        p.grad = p.detach() + 2.0
    counts.clear()
    with mock.patch.object(Emulated, "to_numpy", side_effect=AssertionError("read back")):
        total = nn.utils.clip_grad_norm_(ps, 1.0)
        nn.utils.clip_grad_value_(ps, 0.1)
    assert counts == {"total_norm_parts": 1, "total_norm": 1, "clip_norm_": 1, "clip_value_": 1}
    assert total.item() == 8 and str(total.device) == "emulated"
    assert all((p.grad == 0.1).all() for p in ps)
    far = nn.Parameter(tf.zeros(4))
    far.grad = tf.full((4,), 3.0)
    ps[0].grad, ps[1].grad, ps[2].grad = None, ps[1].detach() + 4.0, None
    assert nn.utils.clip_grad_norm_([ps[1], far], 5.0).item() == 10
    assert far.grad.tolist() == pytest.approx([1.5] * 4) and ps[1].grad.tolist() == pytest.approx([2.0] * 4)
