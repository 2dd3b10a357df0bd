"""Every script in examples/ runs, with small settings, and says what it promises to say.

A row is: arguments, and patterns that its output must match in this order. A script without a row fails. The drawn data
set is made once, small, in a cache folder that all workers share; home and working folder are temporary.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = {
    "train_resnet.py": (
        ["--epochs", "6"],
        [r"800 images to train on, 200 to validate, 10 classes", r"^accuracy 0\.[1-9]\d{3} ", r"^model saved as .+"],
    ),
    "loop.py": (["2", "1000"], [r"^epoch 0   loss \d\.\d{4}", r"^epoch 1   loss \d\.\d{4}   accuracy 0\.[1-9]\d{3}$"]),
    "autograd_in_60_lines.py": ([], [r"^dloss/db = (-0\.6\d{4})\d, by differences \1", r"^step 200   loss 0\.000000 "]),
    "write_an_op.py": (
        [],
        [
            r"^mish tensor\(\[-0\.2525, +0\.0000, +1\.9440\]\)",
            r"^exclusive or, learned with it: loss 0\.00",
            r"^\d laws hold: slope, ",
            r"^the wrong one is caught: slope: ",
        ],
    ),
    "follow_an_item.py": (
        [],
        [
            r"^1\. A file on disk\n   arrow/0000\.png: ",
            r"^3\. A batch: .*\n   x \(8, 3, 32, 32\) ",
            r"^5\. .*\n   2\.\d{4}; guessing gives log\(10\) = 2\.3026",
            r"^8\. .*\n   the first weight: ",
            r"^9\. .*\n   loss \d\.\d{4} -> \d\.\d{4}$",
        ],
    ),
}
DAWNBENCH = ["--dawnbench", "--arch", "resnet8", "--bs", "64", "--lr", "0.05", "--epochs", "2", "--target", "0.01"]
MODULES = {"drawn_shapes.py"}  # imported by the scripts


def run(name, *arguments, cache, cwd):
    env = os.environ | {"XDG_CACHE_HOME": str(cache), "HOME": str(cwd), "PYTHONWARNINGS": "error"}
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """A user's cache folder with 1,000 drawn shapes, where the scripts would make 6,000."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    code = "import drawn_shapes as d; d.make(d.cache_folder() / 'shapes', n=1000)"
    env = os.environ | {"XDG_CACHE_HOME": str(folder)}
    subprocess.run([sys.executable, "-c", code], cwd=EXAMPLES, env=env, check=True)
    return folder


def test_every_script_has_a_row():
    assert {path.name for path in EXAMPLES.glob("*.py")} == SCRIPTS.keys() | MODULES


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", SCRIPTS)
def test_example(name, cache, tmp_path, tally):
    arguments, patterns = SCRIPTS[name]
    rest = run(name, *arguments, cache=cache, cwd=tmp_path)
    for pattern in patterns:
        found = re.search(pattern, rest, re.MULTILINE)
        assert found, f"{name} must print {pattern!r} here; got\n{rest}"
        rest = rest[found.end() :]
    tally(script=name)


def test_the_recipe_for_cifar_on_shapes(cache, tmp_path):
    """Resident images, Page's schedule, the stopwatch: all but CIFAR-10 and its network."""
    text = run("train_resnet.py", *DAWNBENCH, cache=cache, cwd=tmp_path)
    for pattern in (
        r"800 images to train on, 200 to validate, 10 classes",
        r"^\d+\.\d s of training: \d+\.\d\d s in the first epoch, \d+\.\d\d s in each later one$",
        r"^target 0.01: 0\.\d{4} after 1 epochs, \d+\.\d s of training$",
        r"^accuracy 0\.\d{4} ",  # two epochs say little
    ):
        assert re.search(pattern, text, re.MULTILINE), text


GRAPHS = """
import sys
from unittest import mock
import train_resnet
from tinygrad_fast.capture import Captured
with mock.patch.object(Captured, "_capture", autospec=True, side_effect=Captured._capture) as captures:
    train_resnet.main()
print("steps as graphs:", captures.call_count)
"""


def test_the_recipe_makes_graphs_of_its_steps(cache, tmp_path):
    """As on a GPU, by the rules of a capture: of two epochs of three steps, all but the first two."""
    few = ["--images", "12", "--bs", "4", "--epochs", "2", "--fp16", "--device", "emulated"]
    env = os.environ | {"XDG_CACHE_HOME": str(cache), "HOME": str(tmp_path), "PYTHONWARNINGS": "error"}
    command = [sys.executable, "-c", GRAPHS, "--dawnbench", "--arch", "resnet8", *few]
    done = subprocess.run(command, cwd=EXAMPLES, env=env, capture_output=True, text=True)
    assert done.stdout.endswith("steps as graphs: 4\n"), done.stdout + done.stderr
