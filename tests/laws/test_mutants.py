"""The tester, tested: every pullback that the table exercises, broken in every way, must break a law."""

import os

import pytest

from tinygrad_fast.testing import strategies as some
from tinygrad_fast.testing.mutants import mutants
from tinygrad_fast.testing.mutations import MUTATIONS

from .table import TABLE

DRAWS = 40 if os.environ.get("HYPOTHESIS_PROFILE") == "thorough" else 12
HEADING = "mutants, killed / applicable / tried"


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_mutants(row, tally):
    found = list(mutants(some.examples(row, DRAWS)))
    survivors = [f"{m.mutation.__name__} of {m.spot}" for m in found if m.killer == ""]
    assert not survivors, f"{len(survivors)} mutants of {row.name} break no law: {'; '.join(survivors)}"
    score = {}
    for mutation, impossible in MUTATIONS.items():
        fates = [m.killer for m in found if m.mutation is mutation]
        applicable = [killer for killer in fates if killer is not None]
        line = f"{mutation.__name__.replace('_', ' ')}; inapplicable where {impossible}"
        score[line] = sum(map(bool, applicable)), len(applicable), len(fates)
    tally(**{HEADING: score, "mutants": sum(bool(m.killer) for m in found)})
    tally(
        killers={law: (sum(m.killer == law for m in found),) for law in sorted({m.killer for m in found if m.killer})}
    )
