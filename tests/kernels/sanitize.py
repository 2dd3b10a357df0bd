"""NVIDIA's compute-sanitizer over the tests that need a GPU, and a summary of what it said.

    python -m tests.kernels.sanitize                        all tools over `python -m pytest -m gpu`
    python -m tests.kernels.sanitize memcheck -- -k conv2d  one tool, over some tests

memcheck finds accesses outside an allocation, or not aligned; racecheck, threads that meet in shared memory; initcheck,
reads of global memory that nobody wrote. Under them CuPy keeps no pool, or neighbours in it would count as one
allocation; and for initcheck results do not start as NaN, which would be a write (tests/conftest.py does both). The
summary goes to benchmarks/results/gpu-sanitizer.md. The status is 0 if tests ran, all passed, and nothing was found.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from datetime import date
from pathlib import Path

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "benchmarks" / "results" / "gpu-sanitizer.md"
TOOLS = ("memcheck", "racecheck", "initcheck")
EXAMPLES = "3"  # of each law and row: a tool makes kernels ten times slower and more


@dataclass
class Finding:
    """What one tool said of one run."""

    tool: str
    tests: str  # pytest's last line
    passed: int
    errors: int | None  # None where the tool did not come to its summary
    reports: Counter[str]  # the first line of each
    seconds: float

    @property
    def well(self) -> bool:
        return self.errors == 0 and self.passed > 0 and "failed" not in self.tests and "error" not in self.tests


def run(tool: str, pytest: list[str]) -> Finding:
    """The tests under one tool."""
    with tempfile.TemporaryDirectory() as work:
        log = Path(work) / "log"
        command = ["compute-sanitizer", "--tool", tool, "--target-processes", "all", "--log-file", str(log)]
        command += [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "--timeout=0", *pytest]
        start = time.monotonic()
        environment = {"GPU_EXAMPLES": EXAMPLES, **os.environ, "COMPUTE_SANITIZER": tool}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        seconds = time.monotonic() - start
        said = log.read_text() if log.exists() else ""
    last = next((line for line in reversed(done.stdout.splitlines()) if line.strip()), done.stderr.strip()[-200:])
    return Finding(tool, last.strip("= "), *understood(last, said), seconds)


def understood(last: str, log: str) -> tuple[int, int | None, Counter[str]]:
    """Tests passed; errors of all processes; the reports by their first lines."""
    passed = re.search(r"(\d+) passed", last)
    errors = re.findall(r"(?:ERROR SUMMARY: (\d+) error|RACECHECK SUMMARY: (\d+) hazard)", log)
    reports = Counter(re.findall(r"^========= (?!COMPUTE-SANITIZER|.*SUMMARY)(\S.*)$", log, re.M))
    return int(passed[1]) if passed else 0, sum(int(a or b) for a, b in errors) if errors else None, reports


def first(*command: str) -> str:
    """The first line with a version in it of what a command prints; "unknown" if it cannot."""
    try:
        said = subprocess.run(command, capture_output=True, text=True).stdout
    except OSError:
        return "unknown"
    return next((line.strip() for line in said.splitlines() if re.search(r"\d", line) and "(c)" not in line), "unknown")


def summary(findings: list[Finding], command: str) -> str:
    """The page."""
    gpu = first("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader")
    rows = [
        f"| {f.tool} | {f.tests} | {'no summary' if f.errors is None else f.errors} | {f.seconds:.0f} s |"
        for f in findings
    ]
    reports = [f"- {f.tool}, {n} times: {text}" for f in findings for text, n in f.reports.most_common(20)]
    return "\n".join(
        [
            f"# compute-sanitizer over the tests of the GPU, {date.today()}",
            "",
            f"- command: {command}",
            f"- gpu, driver: {gpu}",
            f"- compute-sanitizer: {first('compute-sanitizer', '--version')}",
            "",
            "| tool | tests | errors | time |",
            "| --- | --- | ---: | ---: |",
            *rows,
            *(["", *reports] if reports else []),
            "",
        ]
    )


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.kernels.sanitize", description=__doc__.partition("\n")[0])
    parser.add_argument("tools", nargs="*", metavar="tool", help=f"of {', '.join(TOOLS)}; all by default")
    parser.add_argument("--save", type=Path, default=RESULT, help="where the summary goes")
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options, pytest = parser.parse_args(arguments[:end]), arguments[end + 1 :]
    if strangers := set(options.tools) - set(TOOLS):
        parser.error(f"tools are {', '.join(TOOLS)}; got {', '.join(sorted(strangers))}")
    if not shutil.which("compute-sanitizer"):
        print("compute-sanitizer is not on PATH. It comes with the CUDA toolkit, in its folder bin/: install that, or")
        print("add the folder to PATH")
        return 2
    findings = []
    for tool in options.tools or TOOLS:
        findings.append(run(tool, pytest))
        print(f"{tool}: {findings[-1].tests}; errors: {findings[-1].errors}", flush=True)
    page = summary(findings, " ".join(["python -m tests.kernels.sanitize", *arguments]))
    options.save.parent.mkdir(parents=True, exist_ok=True)
    options.save.write_text(page, encoding="utf-8")
    print(page)
    return 0 if all(f.well for f in findings) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
