"""The benchmarks keep running, without PyTorch: our half of some small cases, the table; and the two halves agree."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import cases, ours, report, variants

ROOT = Path(__file__).parents[1]


def keys(path, name):
    """The keys of a dictionary written in a file that cannot be imported here."""
    [found] = [
        node.value
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name
    ]
    return [ast.literal_eval(k) for k in found.keys]


def table(*words):
    """The lines that the command prints below the head, PyTorch left out, in one short round."""
    command = [sys.executable, "-m", "benchmarks.cpu", "--alone", "--rounds", "1", "--budget", "0", "--threads", "1"]
    done = subprocess.run([*command, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    return lines[lines.index(report.line(report.HEAD)) + 1 :]


def test_both_halves_have_every_case():
    peer = ROOT / "benchmarks" / "peer.py"
    models = {case[0] for case in (cases.STEPS | cases.INFERENCES).values()}
    assert keys(peer, "OPS") == list(ours.OPS) and {case[0] for case in cases.OPS.values()} == set(ours.OPS)
    assert keys(peer, "MODELS") == list(ours.MODELS) and models == set(ours.MODELS)


def test_every_model_has_an_aim():
    assert cases.AIMS.keys() == cases.STEPS.keys() | cases.INFERENCES.keys() | {cases.PEAK, cases.IMPORT}


def test_one_command_prints_a_row_for_each_case_and_pass():
    only = [
        "linear 784",
        "matmul 64",
        "cross_entropy",
        "rows",
        "3x3, 256>256 @8",
        "MLP",
        "@224, batch 1",
    ]
    lines = table(*(word for text in only for word in ("--only", text)))
    wanted = [n for n in [*cases.STEPS, *cases.INFERENCES, *cases.OPS] if any(text in n for text in only)]
    passes = [(name, what) for name in wanted for what in cases.passes(name)]
    assert all(any(text in name for name in wanted) for text in only) and len(lines) == len(passes)
    for line, (name, what) in zip(lines, passes, strict=True):
        assert line.startswith(name) and f" {what} " in line and re.search(r" [\d.]+ ms$", line), line


def test_memory_and_import_have_rows_from_fresh_processes():
    pytest.importorskip("resource")
    peak, imported = table("--only", "peak", "--only", "import", "--batch", "2")
    assert re.match(r"peak memory of step ResNet-9, batch 2 .* \d+ MiB$", peak), peak
    assert imported.startswith("import tinygrad_fast (Numba not loaded)") and "<= 350 " in imported, imported


ROUNDS = {
    "NumPy": [0.008, 0.002, 0.004],
    "PyTorch": [0.009, 0.006, 0.007],
    "PyTorch channels_last": [0.004, 0.004, 0.004],
    "PyTorch tuned": [0.002, 0.002, 0.002],
    "PyTorch tuned channels_last": [0.001, 0.009, 0.009],
}


def test_ratio_is_ours_over_pytorch_in_the_format_with_the_smaller_median():
    row = report.row("x", "step", ROUNDS)
    assert (row["ratio"], row["spread"]) == ({"NumPy": 1}, {"NumPy": [0.5, 2]})
    assert row["over tuned"] == {"NumPy": 2} and row["median"]["PyTorch"] == 0.007
    assert report.cells(row)[2:] == "0.004 ms||0.007 ms|0.004 ms|0.002 ms|1.00 ±0.75||||2.00|".split("|")
    assert "| x | step | 0.004 ms |" in report.markdown({"date": "today"}, [row])
    json.dumps(row)


def test_an_aim_holds_up_to_its_own_value():
    for name, held in (("step MLP 784-256-10, batch 64", True), ("step ResNet-9, batch 128", False)):  # 1.00, 0.90
        row = report.row(name, "step", ROUNDS)
        assert row["holds"] == {"NumPy": held} and report.aim(row, "NumPy").endswith("yes" if held else "NO")
    imported = report.row(cases.IMPORT, "", {"NumPy": [400.0], "PyTorch": [900.0]}, aim_of="median")
    assert report.aim(imported, "NumPy") == "<= 350 NO"


def test_means_are_geometric_and_by_group():
    rows = [report.row("x", what, ROUNDS | {"NumPy": [s] * 3}) for what, s in (("step", 0.002), ("step", 0.008))]
    [mean] = report.means([*rows, report.row("x", "forward", ROUNDS), report.row(cases.PEAK, "", ROUNDS)])
    assert mean["case"] == "geometric mean of 2 training steps"
    assert abs(mean["ratio"]["NumPy"] - 1) < 1e-12 and abs(mean["over tuned"]["NumPy"] - 2) < 1e-12


def test_a_process_gets_its_loops_and_its_threads():
    env = variants.environment(3, **variants.VARIANTS["NumPy"].env)
    assert (env["TINYGRAD_FAST_NUMBA"], env["TINYGRAD_FAST_THREADS"], env["OMP_NUM_THREADS"]) == ("0", "3", "3")
