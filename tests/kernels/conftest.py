"""Kernels are compiled here: where there is no C++ compiler, say so in place of each test."""

import pytest

from tinygrad_fast.backend.emulator import build


@pytest.fixture(autouse=True)
def needs_compiler():
    try:
        build.compiler()
    except build.NoCompiler as e:
        pytest.skip(str(e))
