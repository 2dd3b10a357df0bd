"""The benchmarks keep running, without PyTorch: our half of some small cases, the table; and the two halves agree."""

import ast
import re
import subprocess
import sys
from pathlib import Path

from benchmarks import cases, ours, report

ROOT = Path(__file__).parents[1]


def keys(path, name):
    """The keys of a dictionary written in a file that cannot be imported here."""
    [found] = [
        node.value
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name
    ]
    return [ast.literal_eval(k) for k in found.keys]


def test_both_halves_have_every_case():
    peer = ROOT / "benchmarks" / "peer.py"
    assert keys(peer, "OPS") == list(ours.OPS) and {case[0] for case in cases.OPS.values()} == set(ours.OPS)
    assert keys(peer, "MODELS") == list(ours.MODELS) == [case[0] for case in cases.STEPS.values()]


def test_one_command_prints_a_row_for_each_case_and_pass():
    only = ["linear 784", "batch 128 x 64", "cross_entropy 128 x 10,", "rows", "3x3, 256>256 @8", "MLP"]
    command = [sys.executable, "-m", "benchmarks", "--alone", "--rounds", "1", "--budget", "0", "--threads", "1"]
    command += [word for text in only for word in ("--only", text)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    table = lines[lines.index(report.line(report.HEAD)) + 1 :]
    wanted = [name for name in [*cases.OPS, *cases.STEPS] if any(text in name for text in only)]
    passes = [(name, p) for name in wanted for p in (["step"] if name in cases.STEPS else ["forward", "backward"])]
    assert len(table) == len(passes) >= 6
    for line, (name, what) in zip(table, passes, strict=True):
        assert line.startswith(name) and f" {what} " in line and re.search(r" [\d.]+ ms *$", line), line


def test_ratio_is_ours_over_the_faster_peer_of_the_round():
    row = report.row("x", "step", {"ours": [2, 6, 4], "torch": [4, 3, 9], "torch channels_last": [8, 2, 4]})
    assert (row["ratio"], row["spread"]) == (1, [0.5, 3])
    assert row["ms"] == {"ours": 4000, "torch": 4000, "torch channels_last": 4000}
    assert "| x | step | 4000 ms |" in report.markdown({"date": "today"}, [row])
