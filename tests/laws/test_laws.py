"""Every law, on every row of the table, at points that hypothesis draws."""

from importlib.util import find_spec

import pytest
from hypothesis import given, strategies as st

from tinygrad_fast.testing import LAWS, strategies as some
from tinygrad_fast.testing.backends import machines

from .table import TABLE


def holds(law, row):
    """Which laws a row is held to: adjoint where it is linear, and all but those it excuses itself from."""
    return law not in row.skip and (law != "adjoint" or bool(row.linear))


PAIRS = [pytest.param(law, row, id=f"{row.name}-{law}") for row in TABLE for law in LAWS if holds(law, row)]


@pytest.mark.parametrize("law, row", PAIRS)
def test_law(law, row, tally):
    examples = 0

    @given(st.data())
    def every(data):
        nonlocal examples
        LAWS[law](data.draw(some.cases(row)))
        examples += 1

    every()
    tally(law=law, row=row.name, examples=examples)
    for machine in machines() if law == "backends" else []:
        tally(machine=machine)


@pytest.mark.skipif(not find_spec("numba"), reason="Numba is not installed: pip install -e '.[numba]'")
def test_the_compiled_loops_are_held_to_the_laws():
    assert {"cpu", "cpu-in-pieces-plain", "cpu-in-pieces-compiled", "emulated"} <= set(machines())
