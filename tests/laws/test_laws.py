"""Every law, on every row of the table, at points that hypothesis draws."""

import pytest
from hypothesis import given, strategies as st

from tinygrad_fast.testing import LAWS, strategies as some

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
