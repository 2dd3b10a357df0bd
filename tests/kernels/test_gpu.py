"""`python -m pytest -m gpu`, and compute-sanitizer over it, as far as that goes without a GPU."""

import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

import tinygrad_fast.nn.functional as F
from tinygrad_fast import backend, dtypes
from tinygrad_fast.backend import launch
from tinygrad_fast.backend.cuda import CUDA, Emulated
from tinygrad_fast.backend.emulator import Emulator
from tinygrad_fast.backend.source import kernel_folder
from tinygrad_fast.testing import LawError, backends
from tinygrad_fast.testing.backends import HELPERS
from tinygrad_fast.testing.row import Case

from . import sanitize

ROOT = Path(__file__).parents[2]


def gpu_tests(*options):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "gpu", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout


@pytest.mark.skipif(backend.why_not("cuda") == "", reason="there is a GPU")
def test_without_a_gpu_they_are_skipped_and_say_why():
    said = gpu_tests("tests/laws/test_laws.py", "-k", "relu-slope")
    assert "passed" not in said and "no GPU: CuPy is not installed" in said


FAMILIES = "cross_entropy matmul_hopper norms conv2d check_indices emulator updates reductions scatter matmul"


def test_they_run_on_the_stand_in(tally, monkeypatch):
    """Placing arrays, poison, the profile: all but the GPU. What writes in place, sums in any order, large tiles."""
    monkeypatch.setenv("GPU_EXAMPLES", "7")
    files = "tests/laws/test_laws.py", *(f"tests/kernels/test_{x}.py" for x in FAMILIES.split())
    some = "conv2d-layout or stable or hopper_ or running_statistics or odd_channels_are or first_fault or lists_of"
    some += " or 200_arrays or of_equals or lies_outside or large_tiles"
    said = gpu_tests("-p", "tests.kernels.as_cupy", *files, "-k", some)
    assert re.search(r"^55 passed", said, re.M) and " 7 examples_on_cuda" in said and "machines: cuda" in said, said
    assert "matmul_cluster, matmul_hopper" in said, said
    tally(gpu_tests=55)


def test_their_examples_are_new_each_time():
    new, same = settings.get_profile("gpu"), settings.get_profile("ci")
    assert not new.derandomize and new.database is None and same.derandomize


# Results that start as NaN


@pytest.fixture
def faulty(tmp_path):
    """A machine whose `binary_cross_entropy_with_logits` forgets the last element, as a wrong guard does."""
    for path in kernel_folder().glob("*.cu*"):
        (tmp_path / path.name).write_text(path.read_text())
    file = tmp_path / "binary_cross_entropy.cu"
    right = "work(i, n - i < V ? (int)(n - i) : V)"
    assert file.read_text().count(right) == 1
    file.write_text(file.read_text().replace(right, "work(i, n - i <= V ? (int)(n - i - 1) : V)"))
    machine = Emulated()
    machine.launch = launch.Launcher(Emulator(), tmp_path)
    backend.register("faulty", lambda: machine)
    HELPERS.add("faulty")
    return machine


def test_an_element_that_no_kernel_writes_is_found(faulty):
    loss = partial(F.binary_cross_entropy_with_logits, reduction="none")
    case = Case.of(loss, np.array([-1.0, 2, 0.5]), np.array([0.25, 1, 0]))
    with pytest.raises(LawError, match=r"output 0 on faulty .* got nan at \(2,\)"):
        backends(case, ["faulty"])


@pytest.mark.parametrize("name", ["float64", "float32", "float16", "bfloat16", "int64", "int32", "uint8", "bool"])
def test_what_emulated_results_start_as(name):
    dtype = dtypes.dtype_of(name)
    a = Emulated().empty((2, 3), dtype)
    assert a.shape == (2, 3) and a.dtype == dtype
    worst = (
        np.isnan(a.astype(float)) if dtypes.is_float(dtype) else a == (True if name == "bool" else np.iinfo(dtype).max)
    )
    assert worst.all()
    assert not CUDA.poisoned  # it costs time


def test_launchers_allocate_where_it_can_be_poisoned():
    for path in (ROOT / "tinygrad_fast" / "backend" / "launchers").glob("*.py"):
        own = path.name == "machine.py" or not (
            "np.empty" in path.read_text() or "windows.empty_like" in path.read_text()
        )
        assert own, f"{path.name}: take self.empty, self.empty_like"


# compute-sanitizer

FAKE = """#!{python}
import os, sys
arguments = sys.argv[1:]
if arguments == ["--version"]:
    print("NVIDIA (R) Compute Sanitizer\\nCopyright (c) 2020-2025 NVIDIA Corporation\\nVersion 2025.3.1.0 (build 1)")
    sys.exit()
tool, log = (arguments[arguments.index(name) + 1] for name in ("--tool", "--log-file"))
assert os.environ["COMPUTE_SANITIZER"] == tool and "gpu" in arguments
print("....\\n" + os.environ.get("LAST", "4 passed, 90 deselected in 1.00s"))
with open(log, "w") as f:
    print("========= COMPUTE-SANITIZER", file=f)
    if tool == os.environ.get("FINDS"):
        print("========= Invalid __global__ write of size 4 bytes\\n=========     at conv2d+0x1a0", file=f)
        print("========= Invalid __global__ write of size 4 bytes\\n=========     at conv2d+0x1b0", file=f)
        print("========= ERROR SUMMARY: 2 errors", file=f)
    elif tool == "racecheck":
        print("========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)", file=f)
    elif tool != os.environ.get("DIES"):
        print("========= ERROR SUMMARY: 0 errors", file=f)
"""


@pytest.fixture
def sanitized(tmp_path, monkeypatch, capsys):
    """Run the module with a compute-sanitizer that finds what it is told: (status, page)."""
    tool = tmp_path / "bin" / "compute-sanitizer"
    tool.parent.mkdir()
    tool.write_text(FAKE.format(python=sys.executable))
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tool.parent))

    def run(*arguments, **told):
        for name, value in told.items():
            monkeypatch.setenv(name, value)
        status = sanitize.main(["--save", str(tmp_path / "page.md"), *arguments])
        return status, (tmp_path / "page.md").read_text()

    return run


def test_sanitizer_finds_nothing(sanitized):
    status, page = sanitized()
    assert status == 0 and "Version 2025.3.1.0" in page and "gpu, driver: unknown" in page
    for tool in sanitize.TOOLS:
        assert f"| {tool} | 4 passed, 90 deselected in 1.00s | 0 | " in page


def test_sanitizer_finds_something(sanitized):
    status, page = sanitized("memcheck", "initcheck", "--", "-k", "conv2d", FINDS="memcheck")
    assert status == 1 and "| memcheck | 4 passed, 90 deselected in 1.00s | 2 |" in page and "racecheck" not in page
    assert "- memcheck, 2 times: Invalid __global__ write of size 4 bytes" in page
    assert "initcheck -- -k conv2d" in page


@pytest.mark.parametrize(
    "told, says",
    [
        ({"LAST": "90 skipped in 1.00s"}, "90 skipped"),
        ({"LAST": "1 failed, 4 passed in 1.00s"}, "1 failed"),
        ({"DIES": "initcheck"}, "no summary"),
    ],
)
def test_sanitizer_is_not_content_with_less(sanitized, told, says):
    status, page = sanitized(**told)
    assert status == 1 and says in page


def test_sanitizer_that_is_not_there(monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    assert sanitize.main([]) == 2 and "CUDA toolkit" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        sanitize.main(["valgrind"])
