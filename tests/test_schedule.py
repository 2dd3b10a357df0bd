"""Schedules against numbers computed by hand from their formulas, and against fastai's one-cycle."""

import numpy as np
import pytest

from tinygrad_fast.schedule import (
    SchedCos,
    SchedExp,
    SchedLin,
    SchedNo,
    SchedPoly,
    combine,
    combined_cos,
    flat_cos,
    one_cycle,
    sched_cos,
    sgdr,
)

# lr_max 1e-3: position, learning rate, momentum
ONE_CYCLE = [
    (0, 4.0e-5, 0.95),
    (0.125, 5.2e-4, 0.90),
    (0.25, 1e-3, 0.85),
    (0.5, 7.500025e-4, 0.875),
    (0.625, 5.00005e-4, 0.90),
    (0.75, 2.500075e-4, 0.925),
    (0.99, 4.485806e-7, 0.949956),
    (1, 1e-8, 0.95),
]
TEN_STEPS = [4.0e-5, 3.7167e-4, 9.0833e-4, 9.8907e-4, 9.0451e-4, 7.5e-4, 5.5227e-4, 3.4550e-4, 1.6544e-4, 4.3237e-5]


@pytest.mark.parametrize(("pos", "lr", "mom"), ONE_CYCLE)
def test_one_cycle(pos, lr, mom):
    schedules = one_cycle(1e-3)
    assert schedules["lr"](pos) == pytest.approx(lr, rel=1e-6)  # the numbers have 7 digits
    assert schedules["mom"](pos) == pytest.approx(mom, abs=5e-7)


def test_one_cycle_of_ten_steps():
    lr = one_cycle(1e-3)["lr"]
    assert [lr(i / 10) for i in range(10)] == pytest.approx(TEN_STEPS, rel=2e-5)  # 5 digits


def test_one_cycle_peaks_once():
    lr, mom = one_cycle(0.4, pct_start=0.3)["lr"], one_cycle(0.4, pct_start=0.3)["mom"]
    pos = np.linspace(0, 1, 101)
    assert np.argmax([lr(p) for p in pos]) == 30 == np.argmin([mom(p) for p in pos])
    assert lr(0.3) == 0.4
    assert lr(1) == pytest.approx(0.4 / 1e5)  # of lr_max, not of where it started


def test_one_cycle_of_groups():
    schedule = one_cycle(np.array([1e-5, 1e-3]))["lr"]
    for pos, lr, _ in ONE_CYCLE:
        np.testing.assert_allclose(schedule(pos), [lr / 100, lr], rtol=1e-6)


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        (SchedNo(2, 3), (2, 2, 2)),
        (SchedLin(2, 3), (2, 2.25, 3)),
        (SchedCos(2, 3), (2, 2 + (1 - 0.5**0.5) / 2, 3)),
        (SchedExp(1e-7, 10), (1e-7, 1e-5, 10)),
        (SchedPoly(2, 3, 2), (2, 2.0625, 3)),
    ],
)
def test_shapes_of_schedules(schedule, values):
    assert [schedule(p) for p in (0, 0.25, 1)] == pytest.approx(values)


def test_sched_cos_with_position():
    assert sched_cos(0.0, 1.0, 0.5) == pytest.approx(0.5)


def test_combine():
    schedule = combine([0.25, 0.75], [SchedLin(0, 1), SchedLin(10, 20)])
    assert [schedule(p) for p in (0, 0.125, 0.25, 0.625, 1)] == pytest.approx([0, 0.5, 10, 15, 20])


def test_combine_with_an_empty_part():
    schedule = combined_cos(0.0, 1.0, 2.0, 3.0)
    assert [schedule(p) for p in (0, 1)] == [2, 3]
    schedule = combined_cos(1.0, 1.0, 2.0, 3.0)
    assert [schedule(p) for p in (0, 0.5, 1)] == pytest.approx([1, 1.5, 3])


@pytest.mark.parametrize("pcts", [[0.5, 0.6], [1.0], [-0.5, 1.5], []])
def test_combine_refuses_shares(pcts):
    with pytest.raises(ValueError, match=r"with sum 1; got .* for 2 schedules"):
        combine(pcts, [SchedNo(0, 1), SchedNo(0, 1)])


def test_flat_cos():
    lr = flat_cos(1e-2)["lr"]
    assert [lr(p) for p in (0, 0.5, 0.75, 1)] == pytest.approx([1e-2, 1e-2, 1e-2, 1e-7])


def test_sgdr():
    lr = sgdr(1.0, n_cycles=3)["lr"]  # parts of 1/7, 2/7, 4/7
    assert [lr(p) for p in (0, 0.5 / 7, 1 / 7, 2 / 7, 3 / 7, 5 / 7, 1)] == pytest.approx([1, 0.5, 1, 0.5, 1, 0.5, 0])
