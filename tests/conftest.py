"""What every test shares: one BLAS thread each, hypothesis profiles, and the count of what was proved.

Profiles: `dev` (default), `ci` (CI=true chooses it: the same examples every time), `thorough` (HYPOTHESIS_PROFILE).
Tests marked `gpu` are left out unless asked for, `python -m pytest -m gpu`, and then take new examples each time.
A test that proves something says so: `tally(law="slope", op="matmul", examples=25)`. Names are counted once, numbers
summed, tables (`mutants={"sign": (12, 12, 14)}`) summed line by line, and the last lines of a run tell the totals, from
all workers of xdist: what did not run cannot hide.
"""

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before NumPy loads: tests run side by side

from collections import defaultdict
from math import prod
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("dev", max_examples=10, deadline=None)
settings.register_profile(
    "ci", max_examples=10, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("thorough", max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    "gpu",
    max_examples=int(os.environ.get("GPU_EXAMPLES", 20)),
    deadline=None,
    derandomize=False,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev"))

_running = []  # the test of this moment, in this process
_names, _sums, _tables = defaultdict(set), defaultdict(int), defaultdict(dict)
_seconds = {}  # of a processor that a test took

EMULATED, NOT_EMULATED = "tests/kernels/", "tests/kernels/test_compile.py"  # which is NVIDIA's compiler
BUDGET = float(os.environ.get("KERNEL_SECONDS", 600))  # that they may take together: five minutes of two cores


def processor():
    """Seconds of a processor that this process took: neither a busy computer adds much to them, nor a compiler."""
    return sum(os.times()[:2])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    _running.append(item)
    item.began = processor()
    try:
        return (yield)
    finally:
        _running.pop()


def pytest_configure(config):
    if config.option.markexpr == "gpu":
        settings.load_profile("gpu")


@pytest.fixture(scope="session")
def cuda():
    """The GPU's machine; results start as NaN, so that an element that no kernel writes shows."""
    from tinygrad_fast import backend

    if reason := backend.why_not("cuda"):
        pytest.skip(f"no GPU: {reason}")
    machine, sanitizer = backend.get("cuda"), os.environ.get("COMPUTE_SANITIZER")  # see kernels/sanitize.py
    machine.poisoned = sanitizer != "initcheck"
    if sanitizer:
        machine.np.cuda.set_allocator(None)  # no pool: each array is an allocation of its own
    return machine


@pytest.fixture(autouse=True)
def gpu(request):
    """Whoever is marked so has one, or is skipped."""
    if request.node.get_closest_marker("gpu"):
        request.getfixturevalue("cuda")


@pytest.fixture(scope="session", autouse=True)
def launches():
    """What tests launch of our kernels is compiled for GPUs as well (kernels/gate.py): flags that no row has in
    kernels/README.md, a form of the tile loop that no launcher asks for, or a block that has no room on a GPU, fail the
    test that reaches them."""
    from tests.kernels import gate
    from tinygrad_fast.backend import launch

    run, seen = launch.Launcher.__call__, set()

    def launched(self, kernel, *, block, defines, **given):
        run(self, kernel, block=block, defines=defines, **given)
        asked = (kernel, block, *defines.items())
        if self.place is None and asked not in seen:
            assert gate.known(kernel, defines), f"{kernel} ({gate.flags(**defines)}) has no row in kernels/README.md"
            assert gate.fits(kernel, defines, prod(block)), f"{kernel}: a GPU has no registers for a block of {block}"
            seen.add(asked)

    with mock.patch.object(launch.Launcher, "__call__", launched):
        yield


@pytest.fixture(scope="session")
def tally():
    """Count what the running test proves: `tally(law="slope", op="matmul", examples=25)`."""

    def count(**proved):
        _running[-1].user_properties.append(("tally", proved))

    return count


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item):
    try:
        return (yield)
    finally:
        item.user_properties.append(("processor", processor() - item.began))


def pytest_runtest_logreport(report):
    if report.when == "teardown":
        _seconds[report.nodeid] = dict(report.user_properties)["processor"]
    if report.when != "call" or not report.passed:
        return
    for kind, proved in report.user_properties:
        if kind != "tally":
            continue
        for what, value in proved.items():
            if isinstance(value, str):
                _names[what].add(value)
            elif isinstance(value, dict):
                for line, numbers in value.items():
                    old = _tables[what].get(line, (0,) * len(numbers))
                    _tables[what][line] = tuple(a + b for a, b in zip(old, numbers, strict=True))
            else:
                _sums[what] += value


def dear(config):
    """What to say where the kernels' tests take too long, and name the dearest five; "" where they do not."""
    if config.option.markexpr == "gpu" or os.environ.get("HYPOTHESIS_PROFILE") == "thorough":
        return ""
    each = {test: s for test, s in _seconds.items() if test.startswith(EMULATED) and not test.startswith(NOT_EMULATED)}
    if (total := sum(each.values())) <= BUDGET:
        return ""
    dearest = sorted(each, key=each.__getitem__, reverse=True)[:5]
    return (
        f"{EMULATED}: at most {BUDGET:.0f} seconds of a processor; took {total:.0f}. Make the dearest cheaper: "
        + ", ".join(f"{test} ({each[test]:.0f})" for test in dearest)
    )


def pytest_sessionfinish(session):
    if dear(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter, config):
    if said := dear(config):
        terminalreporter.section("dear", red=True)
        terminalreporter.line(said)
    counts = {what + "s": len(names) for what, names in _names.items()} | dict(_sums)
    if counts:
        terminalreporter.section("proved")
        terminalreporter.line(f"proved: {', '.join(f'{n:,} {what}' for what, n in counts.items())}")
        for what, names in sorted(_names.items()):
            if len(names) <= 20:
                terminalreporter.line(f"{what}s: {', '.join(sorted(names))}")
        for what, lines in _tables.items():
            terminalreporter.line(f"{what}:")
            for line, numbers in lines.items():
                terminalreporter.line(f"  {' / '.join(f'{n:,}' for n in numbers):>20}  {line}")
