"""`python -m benchmarks.gpu` and `benchmarks.tune`, as far as they go without a GPU and without PyTorch."""

import ast
import json
import re
import subprocess
import sys
import time
import tomllib
from argparse import Namespace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest

import tinygrad_fast as tf
from benchmarks import tune
from benchmarks.gpu import __main__ as command, cases, check, inputs, limits, measure, ours, report, timing
from tests.kernels import gate  # the one that tests/conftest.py asks
from tinygrad_fast import models, nn
from tinygrad_fast.backend import cuda
from tinygrad_fast.backend.cuda import Emulated
from tinygrad_fast.backend.launchers import Products, tiles, tuned
from tinygrad_fast.backend.launchers.products import ENGINES, HOPPER, RUNGS
from tinygrad_fast.backend.source import kernel_folder, sources

from . import like_cupy

ROOT = Path(__file__).parents[2]
TABLE = cases.table(small=True)
SAID = re.compile("of the bound|kept|as its law has it")  # of what was found right
ONE_OF_EACH = list({c.function: c for c in reversed(TABLE.values()) if c.family != "step"}.values())


class Scripted:
    """A timer that runs what it is given once, and has its answers from a list, or 1 ms."""

    def __init__(self, *seconds):
        self.seconds, self.turns = list(seconds), []

    def turn(self, runs, times, hold):
        runs[0]()
        self.turns.append((runs, times, hold))
        return timing.Turn(self.seconds.pop(0) if self.seconds else 1e-3, 1e-5)


def place(**more):
    return measure.Place(Emulated(), Scripted(), None, 0, small=True, **more)


def measured(names, here, deadline=float("inf")):
    return [r for r in measure.rows(names, here, deadline) if "case" in r]


# The cases


def test_both_libraries_have_every_function():
    theirs = []
    for file in ("peer.py", "peer_others.py"):
        tree = ast.parse((ROOT / "benchmarks" / "gpu" / file).read_text(encoding="utf-8"))
        [peer] = [n.value for n in tree.body if isinstance(n, ast.AnnAssign) and ast.unparse(n.target) == "FUNCTIONS"]
        theirs += [ast.literal_eval(k) for k in peer.keys if k is not None]
    named = {c.function for c in TABLE.values()} - {"step"}
    assert theirs == list(ours.FUNCTIONS) and named == set(ours.FUNCTIONS)


def test_every_kernel_has_a_case():
    """At full size, on which it depends what is launched. Nothing runs, and no memory is touched."""
    xp = Emulated()
    xp.poisoned = False
    xp.full = lambda shape, value, dtype: np.full(shape, value, dtype) if value else np.zeros(shape, dtype)
    ahead = xp.launch.machine = measure.Ahead(mock.Mock(array=np.ndarray), lambda: None)
    with ahead.recorded():
        for case in cases.table().values():
            if case.family != "step":
                with measure.multiplied(case):
                    ours.ready(xp, case, ours.blank(xp, case))()
    assert set(xp.launch.counts) == set(sources(kernel_folder()))


def test_the_work_of_the_large_cases():
    full = cases.table()
    assert full.keys() >= {n for n, c in TABLE.items() if c.family == "conv"}  # tests run the ones that are timed
    product = full["matmul 4096, float16"]
    assert (product.flop, product.moved, product.aims) == (2 * 4096**3, 3 * 2 * 4096**2, (0.70, 0.0))
    conv = full["conv2d 3x3, 64>64 @32, batch 512, dw, float16"]
    assert conv.flop == 2 * 524288 * 64 * 576 and conv.depth == 524288
    norm = full["batch_norm + add + relu 64 @32, batch 512, forward, float16"]
    assert norm.moved == 4 * 2 * 512 * 64 * 32 * 32  # x twice, what is added, y


@pytest.mark.parametrize("case", ONE_OF_EACH, ids=lambda c: c.function)
def test_each_is_right_on_the_arrays_of_cupy(case):
    """On the stand-in, which has no functions but CuPy's. Held to the plain definitions, without PyTorch."""
    with like_cupy.installed():
        here = measure.Place(cuda.CUDA(), Scripted(), None, 0, small=True)
        runs, checked, _ = measure.opened(case, here)
    assert list(runs) == ["ours"] and len(runs["ours"]) == 2 and SAID.search(checked), checked


@pytest.mark.parametrize("case", ONE_OF_EACH, ids=lambda c: c.function)
def test_each_is_right_beside_pytorch(case):
    pytest.importorskip("torch")
    from benchmarks.gpu import peer

    runs, checked, notes = measure.opened(case, measure.Place(Emulated(), Scripted(), peer, 0, small=True))
    assert list(runs) == ["ours", "PyTorch"] and not notes and SAID.search(checked), (
        checked,
        notes,
    )


BY_RUNG = [c for c in TABLE.values() if c.family == "matmul" and c.rung]


@pytest.mark.parametrize("case", BY_RUNG, ids=lambda c: c.name)
@pytest.mark.parametrize("machine", [Emulated, cuda.CUDA])
def test_the_ladder_runs_by_the_rung_that_it_names(machine, case):
    with like_cupy.installed():
        here = measure.Place(machine(), Scripted(), None, 0, small=True)
        [row] = measured([case.name], here)
    assert "bound" in row["checked"] and row["group"] == f"matmul {case.rung} {case.dtype}"
    assert set(here.xp.launch.counts) == {case.rung} and not Products.rung


def test_the_ladder_has_every_rung_and_one_call_shows_it():
    known = [name for name in sources(kernel_folder()) if name.startswith("matmul_")]
    assert {c.rung for c in BY_RUNG} == set(known)
    full = cases.table()
    ladder = [c.rung for c in command.selected(full, ["matmul"]) if c.rung and c.dtype == "float16"]
    assert ladder == [
        *RUNGS,
        *ENGINES,
        *reversed(HOPPER),
    ]  # from below, at the size of the case that we choose a rung for
    assert full["matmul 4096 by matmul_cluster, float16"].arrays == full["matmul 4096, float16"].arrays


def test_a_rung_that_is_not_for_this_gpu_is_left_out():
    here = place()
    here.xp.hardware = tiles.Hardware(80, 108)
    both = ["matmul 64 by matmul_hopper, float16", "matmul 64 by matmul_tiles, float16"]
    said = list(measure.rows(both, here, float("inf")))
    why = "matmul_hopper is for sm_90a alone, and this GPU is sm_80"
    assert said[0] == {"note": f"left out: matmul 64 by matmul_hopper, float16. {why}"}
    assert [r["case"] for r in said[1:] if "case" in r] == ["matmul 64 by matmul_tiles, float16"]


def test_bfloat16_without_ml_dtypes_is_left_out(monkeypatch):
    monkeypatch.setattr(measure, "find_spec", lambda name: None)
    said = list(measure.rows(["matmul 64, bfloat16"], place(), float("inf")))
    assert [s["note"].partition(". ")[2] for s in said] == [
        "CuPy and NumPy have bfloat16 by ml_dtypes alone: pip install ml_dtypes"
    ]


def test_a_step_beside_pytorch():
    pytest.importorskip("torch")
    from benchmarks import cases as cpu_cases
    from benchmarks.gpu import peer

    name = "step ResNet-9, batch 512, float32"
    here = measure.Place(SimpleNamespace(name="cpu"), Scripted(), peer, 0, small=True)
    runs, checked, _ = measure.opened(TABLE[name], here)
    assert list(runs) == ["ours", "PyTorch"] and checked.startswith("losses")
    with mock.patch.object(cpu_cases, "LR", 0.5), pytest.raises(check.Wrong, match="losses .* PyTorch has"):
        theirs = peer.step(TABLE[name])
        check.check_step(TABLE[name], [2.0, 1.0], [float(theirs()) for _ in range(2)])


def test_a_captured_step_must_be_the_step():
    name = "step ResNet-9, batch 512, float32, captured"
    here = measure.Place(Emulated(), Scripted(), None, 0, small=True)
    runs, checked, _ = measure.opened(TABLE[name], here)
    assert list(runs) == ["ours"] and runs["ours"][0].captured and checked.startswith("unchecked")
    with pytest.raises(check.Wrong, match="captured, 2, 1.5 as it is: they must be equal"):
        check.check_captured([2.0, 1.25], [2.0, 1.5])


# The check


@pytest.mark.parametrize("function, fault", [
    ("matmul", lambda y: y.__setitem__((0, 0), y[0, 0] + 1)),
    ("softmax", lambda y: y.__imul__(np.float16(1.01))),
    ("sum", lambda y: y.fill(np.nan)),
    ("dropout", lambda y: y.__setitem__(slice(0, 8), 0)),
    ("batch_norm_back", lambda y: y[0].fill(0)),
])  # fmt: skip
def test_a_wrong_result_is_a_row_and_not_timed(monkeypatch, function, fault):
    right = ours.FUNCTIONS[function]

    def wrong(xp, *arrays, **static):
        run = right(xp, *arrays, **static)

        def once():
            y = run()
            fault(y)
            return y

        return once if isinstance(xp, Emulated) else run  # what is wanted stays right

    monkeypatch.setitem(ours.FUNCTIONS, function, wrong)
    here = place()
    case = next(c for c in ONE_OF_EACH if c.function == function)
    [row] = measured([case.name], here)
    assert row["error"].startswith("Wrong: ") and not here.timer.turns
    assert "FAILED Wrong" in report.line(report.cells(row))


def test_an_error_costs_its_case_alone(monkeypatch):
    monkeypatch.setitem(ours.FUNCTIONS, "softmax", lambda *a, **k: 1 / 0)
    names = ["softmax 8 x 64, forward, float16", "softmax 8 x 64, back, float16"]
    first, second = measured(names, place())
    assert first["error"] == "ZeroDivisionError: division by zero" and second["ms"] == {"ours": 1.0}


def test_a_lost_gpu_ends_the_process(monkeypatch):
    monkeypatch.setitem(ours.FUNCTIONS, "softmax", lambda *a, **k: 1 / 0)
    gone = place(wait=mock.Mock(side_effect=RuntimeError("an illegal memory access was encountered")))
    rows = measure.rows(["softmax 8 x 64, forward, float16"], gone, float("inf"))
    assert [next(rows).keys() & {"begins", "error"} for _ in range(2)] == [{"begins"}, {"error"}]
    with pytest.raises(RuntimeError, match="illegal memory access"):
        next(rows)


# Building


def test_kernels_are_built_before_they_run():
    xp, chosen = Emulated(), [TABLE["sum 8 x 64 over all, float32"], TABLE["softmax 8 x 64, back, float16"]]
    with mock.patch.object(type(xp.launch.machine), "run", side_effect=AssertionError("ran")):
        kernels, failed, _ = measure.build(xp, chosen)
    assert kernels == 2 and not failed
    with mock.patch.object(type(xp.launch.machine.machine), "compile", side_effect=AssertionError("built again")):
        for case in chosen:
            measure.opened(case, measure.Place(xp, Scripted(), None, 0, small=True))


# Time


class Cuda:
    """Events that note what is asked, on a GPU that is through with everything at once or late."""

    def __init__(self, done):
        said = self.said = []

        class Event:
            def record(self):
                said.append("event")

            def synchronize(self):
                said.append("wait")

        Event.done = property(lambda _: done)
        self.cuda = SimpleNamespace(Event=Event, get_elapsed_time=lambda a, b: 6.0)
        self.RawKernel = lambda code, name: lambda grid, block, given: said.append(f"hold {given[0]}")


@pytest.mark.parametrize("done", [True, False])
def test_a_turn_is_held_while_the_host_asks(done):
    fake = Cuda(done)
    events = timing.Events(fake)
    fake.said.clear()
    turn = events.turn([lambda: fake.said.append("a"), lambda: fake.said.append("b")], 3, 0.001)
    assert fake.said == ["hold 1000000", "event", "a", "b", "a", "event", "wait"]
    assert turn.seconds == 0.002 and turn.dry == done
    assert not events.turn([lambda: None], 1, 0).dry


def test_turns_alternate_and_grow_with_what_is_fast():
    timer = Scripted(*[1e-5, 1e-5, 1e-3, 1e-3])
    ran = {"ours": [lambda: "ours"], "PyTorch": [lambda: "PyTorch"]}
    timing.compare(timer, ran, rounds=3, seconds=4e-3, hold=True)
    order = [runs[0]() for runs, _, _ in timer.turns[4:]]
    assert order == ["ours", "PyTorch", "PyTorch", "ours", "ours", "PyTorch"]
    assert {runs[0](): times for runs, times, _ in timer.turns[4:]} == {"ours": 64, "PyTorch": 4}
    assert all(hold > 2e-5 * times for _, times, hold in timer.turns[4:])


def test_rounds_are_dropped_before_cases(monkeypatch):
    names = [n for n in TABLE if n.startswith("sum")]
    monkeypatch.setattr(measure.Budget, "spent", lambda self, *_: vars(self).update(seen=self.seen + 1, fixed=1e9))
    found = measured(names, place(), deadline=time.time() + 60)
    assert [r["case"] for r in found] == names and [r["rounds"] for r in found] == [7] + [1] * (len(names) - 1)


def test_what_has_not_begun_in_time_is_left_out():
    names = [n for n in TABLE if n.startswith("sum")]
    [said] = measure.rows(names, place(), time.time() - 1)
    assert said["note"].startswith(f"left out, as the time is up: {names[0]}, and what --list has after it (6 in all)")


def test_how_many_rounds():
    budget = measure.Budget(time.time() + 100, 11)
    budget.spent(2, 7, 7)  # ten cases are left, with ten seconds each, and take nine
    assert budget.rounds() == 7
    budget.deadline -= 40
    assert budget.rounds() == 3


# What is said


def row(name, seconds, **more):
    times = {who: timing.Times(list(v), [1e-5] * len(v)) for who, v in seconds.items()}
    return report.row(TABLE[name], "", times, {"copy": 1e9} | more, "right", 2, [])


def test_speed_is_the_best_other_time_over_ours_and_share_what_the_limit_takes():
    name = "sum 8 x 64 over rows, float32"
    r = row(name, {"ours": [2e-6, 4e-6], "PyTorch": [4e-6, 4e-6], "compiled": [1e-6, 2e-6], "CuPy": [1e-9, 1e-9]})
    assert (r["speed"], r["beside"]) == (0.5, "compiled") and r["share"] == 4 * (8 * 64 + 8) / 1e9 / 3e-6
    assert report.groups([r])[0][:6] == ["reduce float32", "1", "0.50", "1.00 NO", f"{r['share']:.2f}", "0.80 NO"]
    product = row("matmul 64, float16", {"ours": [1e-6] * 2}, float16=1e12, copy=1e15)
    assert product["bound"] == "products" and product["share"] == pytest.approx(2 * 64**3 / 1e12 / 1e-6)
    assert "speed" not in product and row("matmul 64, float16", {"ours": [1e-6] * 2})["share"] is None
    page = report.markdown({"gpu": "X", "date": "today"}, [r, product], ["a note"])
    assert "| sum 8 x 64 over rows, float32 | 0.003 ms | 0.004 ms |" in page and "- a note" in page


def test_limits_come_from_what_was_measured():
    assert limits.copy(Emulated(), Scripted(), 1 << 10) == 2 * (1 << 10) / 1e-3


# The command

FAKE = """
import json, sys, time
asked = json.loads(sys.stdin.readline())
names = asked["names"]
print("a library talks")
if names[0].startswith("softmax"):
    print(json.dumps({"about": {}}), flush=True)
    if asked["prepares"]:
        sys.exit("a compiler that crashes")
for name in names:
    print(json.dumps({"begins": name}), flush=True)
    if "columns" in name:
        sys.exit("CUDA_ERROR_ILLEGAL_ADDRESS")
    if "rows" in name:
        time.sleep(60)
    print(json.dumps({"case": name}), flush=True)
"""


def test_another_process_takes_what_one_has_left(monkeypatch):
    monkeypatch.setattr(command, "WORKER", [sys.executable, "-c", FAKE])
    monkeypatch.setattr(command, "SILENT", 1)
    chosen = [c for n, c in TABLE.items() if n.startswith("sum") and n.endswith("32")]
    options = Namespace(compile=False, alone=True, rehearse=True)
    found = list(command.answers(chosen, options, float("inf")))
    assert [r["case"] for r in found] == [c.name for c in chosen]
    assert found[0] == {"case": chosen[0].name}
    assert found[1]["error"] == "nothing was heard for 1 s"
    assert found[2]["error"] == "the process ended with 1: CUDA_ERROR_ILLEGAL_ADDRESS"
    softmax = [c for n, c in TABLE.items() if n.startswith("softmax")]
    _, note, *found = command.answers(softmax, options, float("inf"))
    assert note["note"].endswith("and limits not measured: the process ended with 1: a compiler that crashes")
    assert [r["case"] for r in found if "case" in r] == [c.name for c in softmax]


def test_a_kernel_that_does_not_end_ends_with_the_budget(monkeypatch):
    monkeypatch.setattr(command, "WORKER", [sys.executable, "-c", FAKE])
    monkeypatch.setattr(command, "LATE", 0)
    hangs = [c for n, c in TABLE.items() if n == "sum 8 x 64 over rows, float32"]
    [row] = command.answers(hangs, Namespace(compile=False, alone=True, rehearse=True), time.time() + 5)
    assert row["error"].startswith("nothing was heard for ") and row["case"] == hangs[0].name


def test_limits_that_nobody_knows():
    case = TABLE["sum 8 x 64 over all, float32"]
    assert limits.seconds(case, {}) == (0.0, "")


def test_the_whole_of_it_in_a_rehearsal(tmp_path):
    words = ["--rehearse", "--alone", "--only", "reduce", "--only", "ResNet-9", "--save", str(tmp_path / "page")]
    run = [sys.executable, "-m", "benchmarks.gpu", *words]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    names = [r["case"] for r in json.loads((tmp_path / "page.json").read_text())["rows"]]
    assert len(names) == 8 + 6 + 8 and names[1] == names[0] + ", GPU alone"
    page = (tmp_path / "page.md").read_text()
    assert (
        "- gpu: the emulator" in page
        and "PyTorch: none" in page
        and "- command: python -m benchmarks.gpu --rehearse" in page
    )
    assert done.stdout.splitlines()[-1].startswith("written: ") and "reduce float16" in done.stdout


def test_only_and_list():
    assert {c.family for c in command.selected(TABLE, ["conv"])} == {"conv"}
    assert len(command.selected(TABLE, ["MATMUL 64, float16", "optim"])) == 8
    assert {c.rung for c in command.selected(TABLE, ["matmul_tensor"])} == {"matmul_tensor"}
    assert "no case matches 'nothing'; families are step, matmul, conv" in command.selected(TABLE, ["nothing"])


# The tuner

GPU = tiles.Hardware(90, 132, "a GPU")


@pytest.fixture
def empty(monkeypatch):
    """Nothing is tuned; and whatever a tuner tries may run, though no launcher asks for it (`launches`)."""
    table = {}
    monkeypatch.setattr(tuned, "table", lambda: table)
    monkeypatch.setattr(gate, "known", lambda *_: True)
    return table


def test_the_table_comes_before_the_rule(empty):
    choose = tiles.TENSOR_CORES.choose
    rule = choose(2, 4096, 4096, 1, 16, GPU, "matmul_tensor")
    empty["a GPU"] = {"matmul_tensor": {"TensorCores, 2 bytes, 4096 x 4096": [64, 64, 64, 32, 32, 2]}}
    assert choose(2, 4000, 2049, 1, 16, GPU, "matmul_tensor") == tiles.Tile(64, 64, 64, 32, 32, 2)
    assert choose(2, 4096, 4096, 1, 16, tiles.Hardware(90, 132, "another"), "matmul_tensor") == rule
    assert choose(2, 4096, 4096, 1, 16, GPU, "conv2d_tiles") == rule
    assert choose(2, 4096, 4096, 8, 16, GPU, "matmul_tensor") == rule  # a class of its own
    assert choose(2, 4096, 4096, 1, 4, GPU, "matmul_tensor").BM == 64  # in pieces: the rule's, whatever was measured
    assert tuned.shape_class("TensorCores", 2, 33, 1, 5) == "TensorCores, 2 bytes, 64 x 1 x 8"


@pytest.mark.parametrize("fastest", [None, 2])
def test_a_planted_time_makes_a_tile_win(empty, fastest):
    xp, case = Emulated(), TABLE["matmul 64 by matmul_tensor, float16"]
    xp.hardware = GPU
    wanted = [t for t in tiles.TENSOR_CORES.candidates(2, 227 << 10) if (t.BM, t.WM, t.STAGES) == (64, 32, fastest)]

    class Planted(Scripted):
        def turn(self, runs, times, hold):
            found = empty["a GPU"]["matmul_tensor"].get("TensorCores, 2 bytes, 64 x 64")
            planted = [list(vars(t).values()) for t in wanted]
            runs[0]()
            return timing.Turn(1e-4 if found in planted else 1e-3 if found is None else 2e-3, 1e-5)

    ahead = xp.launch.machine = measure.Ahead(xp.launch.machine, lambda: None)
    with mock.patch.object(tiles.Engine, "candidates", lambda *_: [tiles.Tile(64, 64, 64, 32, 32, s) for s in (2, 4)]):
        [said] = tune.tune(xp, Planted(), case, 0, ahead)
    kept = {"TensorCores, 2 bytes, 64 x 64": [64, 64, 64, 32, 32, 2]} if fastest else {}
    assert empty == {"a GPU": {"matmul_tensor": kept}}
    assert said.startswith(
        f"matmul_tensor TensorCores, 2 bytes, 64 x 64: {'64 x 64 x 64, 2 stages' if fastest else 'the rule'}"
    )
    assert not list(tune.tune(xp, Planted(), case, 0, ahead)) or not fastest  # what is known is not tried again
    text = tuned.written(empty)
    assert tomllib.loads(text) == (empty if fastest else {}) and text.startswith("# The fastest tile")


@pytest.mark.parametrize(
    "fastest, cluster, hopper",  # what the table has of either kernel
    [("matmul_tensor", None, None), ("matmul_hopper", None, [128, 256, 3]), ("matmul_cluster", [128, 256, 3], None)]
    + [("anything but by the rule", [], None)],
)
def test_hoppers_rungs_are_tuned_beside_the_ones_below(empty, fastest, cluster, hopper):
    xp, case, shapes = Emulated(), TABLE["matmul 64, float16"], "Hopper, 2 bytes, 64 x 64"
    xp.hardware, known = GPU, empty.setdefault("a GPU", {})

    class Planted(Scripted):
        def turn(self, runs, times, hold):
            before = xp.launch.counts.copy()
            runs[0]()
            [kernel] = xp.launch.counts - before
            tile = known.get(kernel, {}).get(shapes)
            fast = kernel == fastest and (kernel == "matmul_tensor" or tile == [128, 256, 3])
            fast |= cluster == known["matmul_cluster"].get(shapes) == []
            return timing.Turn(1e-4 if fast else 1e-3 if kernel == "matmul_tensor" else 1e-2, 1e-5)

    ahead = xp.launch.machine = measure.Ahead(xp.launch.machine, lambda: None)
    with (
        mock.patch.object(tiles, "hopper_candidates", lambda _: [tiles.HopperTile(128, 256, s) for s in (3, 4)]),
        mock.patch.object(tiles.Engine, "candidates", lambda *_: []),
    ):
        said = list(tune.tune(xp, Planted(), case, 0, ahead))
    assert [line.partition(" ")[0] for line in said] == ["matmul_tensor", "matmul_hopper", "matmul_cluster"]
    assert known["matmul_cluster"].get(shapes) == cluster and known["matmul_hopper"].get(shapes) == hopper
    assert ("what is below it 0.1 ms" in said[2]) == (cluster == [])
    kept = {
        kernel: {shapes: t} for kernel, t in (("matmul_cluster", cluster), ("matmul_hopper", hopper)) if t is not None
    }
    assert tomllib.loads(tuned.written(empty)) == ({"a GPU": kept} if kept else {})
    before = xp.launch.counts.copy()
    ours.ready(xp, case, ours.placed(xp, case, inputs.inputs(case)))()
    assert set(xp.launch.counts - before) == {fastest if kept and cluster != [] else "matmul_tensor"}


def test_what_is_tried_of_hoppers_rung_fits():
    asked = tune.Asked("a GPU", "matmul_hopper", "Hopper", 2, "")
    none, *some = asked.candidates(227 << 10)
    assert none == () and {t[:2] for t in some} == {(128, 256), (128, 128)}
    assert set(map(tuple, (vars(t).values() for t in tiles.HOPPER))) <= set(some)
    assert all(tiles.HopperTile(*t).shared() <= 227 << 10 for t in some)
    assert (128, 256, 5) not in some and not asked.candidates(50 << 10)[1:]


def test_a_tile_that_multiplies_wrongly_never_wins(empty):
    xp = Emulated()
    xp.hardware = GPU
    ahead = xp.launch.machine = measure.Ahead(xp.launch.machine, lambda: None)
    right = Emulated._product

    def wrong(self, *given):
        y = right(self, *given)
        return y * np.float16(1 + 0.1 * bool(empty["a GPU"]["matmul_tensor"])) if "a GPU" in empty else y

    with (
        mock.patch.object(Emulated, "_product", wrong),
        mock.patch.object(tiles.Engine, "candidates", lambda *_: [tiles.Tile(64, 64, 64, 32, 32, 4)]),
    ):
        refused, said = tune.tune(xp, Scripted(*[1e-3] * 5), TABLE["matmul 64 by matmul_tensor, float16"], 0, ahead)
    assert "Wrong: result 0" in refused and "the rule's" in said


def test_the_table_in_the_repository_is_read():
    for kernels in tuned.table().values():
        for kernel, classes in kernels.items():
            assert {len(tile) for tile in classes.values()} <= ({0, 3} if kernel in HOPPER else {6})
    assert tuned.written({}).rstrip() == "\n".join(x for x in tuned.PLACE.read_text().splitlines() if x.startswith("#"))


@pytest.mark.parametrize(
    "model, h, shapes",
    [(partial(models.resnet18, stem="cifar"), 32, cases.RESNET18), (models.resnet50, 224, cases.RESNET50)],
    ids=["resnet18", "resnet50"],
)
def test_every_convolution_of_the_networks_has_a_case(model, h, shapes):
    """3x3 and 1x1; the first layer is a case of its own."""
    net, found = model().eval(), set()
    for layer in (m for m in net.modules() if isinstance(m, nn.Conv2d) and m.in_channels > 3):
        shape = layer.in_channels, layer.out_channels, layer.kernel_size[0], layer.stride[0]
        layer.register_forward_hook(lambda m, x, y, shape=shape: found.add((*shape, x[0].shape[2])))
    with tf.no_grad():
        net(tf.zeros(1, 3, h, h))
    assert found == set(shapes) and len(shapes) == len(found)
