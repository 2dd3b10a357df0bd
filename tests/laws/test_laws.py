"""Every law, on every row of the table, on every device, at points that hypothesis draws."""

from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given, strategies as st

from tinygrad_fast.backend import why_not
from tinygrad_fast.nn import functional as F
from tinygrad_fast.testing import LAWS, Case, machines, strategies as some

from .table import TABLE

DEVICES = ["cpu", "emulated", pytest.param("cuda", marks=pytest.mark.gpu)]
PAIRS = [pytest.param(law, row, id=f"{row.name}-{law}") for row in TABLE for law in LAWS if row.obeys(law)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("law, row", PAIRS)
def test_law(law, row, device, tally):
    if reason := why_not(device):
        pytest.skip(reason)
    examples = 0
    forms = [name for name in machines() if name not in ("emulated", "cuda")]  # of the fast CPU
    more = {"devices": forms} if law == "backends" and device == "cpu" else {}

    @given(st.data())
    def every(data):
        nonlocal examples
        LAWS[law](data.draw(some.cases(row, device)), **more)
        examples += 1

    every()
    tally(law=law, row=row.name, examples=examples, **{f"examples_on_{device}": examples})
    for machine in more.get("devices", [device]):
        tally(machine=machine)


@pytest.mark.skipif(not find_spec("numba"), reason="Numba is not installed: pip install -e '.[numba]'")
def test_the_compiled_loops_are_held_to_the_laws():
    assert {"cpu", "cpu-in-pieces-plain", "cpu-in-pieces-compiled", "emulated"} <= set(machines())


def test_a_small_number_in_a_tile_of_large_ones():
    """The corner of a gradient has one product, of 1e-4: Winograd's scheme rounds it as the tile around it."""
    x, w = (np.random.default_rng(0).standard_normal(s) for s in ((2, 2, 9, 8), (1, 2, 3, 3)))
    w[:, :, 0, 0] = 1e-4
    LAWS["backends"](Case.of(F.conv2d, x, w, np.zeros(1)), [name for name in machines() if name.startswith("cpu")])


@pytest.mark.parametrize("seed", range(6))
def test_a_gradient_in_which_everything_cancels(seed):
    """The gradient of a group of one number is 0, but for the rounding of whoever computes it: no lack of linearity."""
    x, w = np.random.default_rng(seed).standard_normal((2, 1, 1))
    LAWS["linearity"](Case.of(lambda x, w: F.group_norm(x, 1, w), x, w[0], seed=seed, device="emulated"))
