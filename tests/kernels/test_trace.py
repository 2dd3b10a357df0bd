"""What `tf.emulator.trace` prints of kernels of which it is known (traced.cu), and the example of kernels/README.md."""

import io
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import tinygrad_fast as tf
from tinygrad_fast.backend import launch
from tinygrad_fast.backend.cuda import Emulated
from tinygrad_fast.backend.emulator import Emulator
from tinygrad_fast.backend.source import KernelError, kernel_folder

HERE = Path(__file__).parent
pytestmark = pytest.mark.skipif(not shutil.which("addr2line"), reason="addr2line, which names lines, is missing")


def traced(kernel, block, grid=(1,), shared=0, check=False, trace=None, **arguments):
    """What a trace prints of one launch of a kernel of traced.cu. trace: its options."""
    out = io.StringIO()
    machine = launch.Launcher(Emulator(check), HERE)
    with tf.emulator.trace(kernel, file=out, **(trace or {})):
        machine(kernel, grid=grid, block=block, defines={"DTYPE": "float32"}, shared=shared, **arguments)
    return [line.strip() for line in out.getvalue().splitlines()]


def apart(**options):
    return traced("apart", (4,), x=np.arange(4, dtype=np.int32), y=np.zeros(5, np.int32), **options)


def strided(step, **options):
    x, y = np.arange(32 * step, dtype=np.float32), np.empty(32, np.float32)
    said = traced("strided", (32,), shared=128, x=x, y=y, step=step, **options)
    np.testing.assert_array_equal(y, step * np.minimum(np.arange(32) + 1, 31))  # the last lane reads itself
    return said


def test_a_thread():
    said = apart(trace={"thread": (3,)})
    assert said == [
        "apart: thread (3, 0, 0) of block (0, 0, 0)",
        "grid (1, 1, 1) of blocks (4, 1, 1); x int32 (4,), y int32 (5,)",
        "traced.cu:21  for (int k = 0; k <= i; k++) sum += x[k];",
        *("reads x[0] = 0", "reads x[1] = 1", "reads x[2] = 2", "reads x[3] = 3"),
        "traced.cu:23  y[i] = sum;",
        "writes y[3] = 6",
        "traced.cu:27  atomicAdd(&y[4], (int)__ballot_sync(15, i == 2));",
        "in __ballot_sync gives 0x0, takes 0x4",
        "changes y[4] = 4",  # the last to come is the first to go on
    ]


def test_lanes_are_brought_back_into_step():
    said = apart(trace={"warp": 0})
    assert said[3:7] == [
        "lanes 0-3 read x[0] = 0   (1 sector)",
        "lanes 1-3 read x[1] = 1   (1 sector)",
        "lanes 2-3 read x[2] = 2   (1 sector)",
        "lane 3 reads x[3] = 3",
    ]
    assert said[8] == "lanes 1, 3 write y[1], y[3] = 1, 6   (1 sector)"
    assert said[10] == "lanes 0, 2 write y[0], y[2] = 0, -3   (1 sector)"
    assert said[12] == "lanes 0-3 in __ballot_sync give 0x0 (2 lanes), 0x1, 0x0, take 0x4"


@pytest.mark.parametrize("step, sectors, turns", [(1, 4, 1), (2, 8, 2), (32, 32, 32)])
def test_what_a_warp_pays(step, sectors, turns):
    said, last, values = strided(step, trace={"warp": 0}), 31 * step, f"0, {step}, {2 * step}, ... {31 * step}"
    turns = f"   ({turns} turns where 1 would do)" if turns > 1 else ""
    assert f"lanes 0-31 read x[0], x[{step}] .. x[{last}] = {values}   ({sectors} sectors)" in said
    assert f"lanes 0-31 write shared kept[0], kept[{step}] .. kept[{last}] = {values}{turns}" in said
    assert f"lanes 0-31 in __shfl_down_sync give {values}, take {step}, {2 * step}, {3 * step}, ... {last}" in said
    for line in (
        "lanes 0-31 wait at __syncwarp for the warp",
        "lanes 0-1 write shared pairs[0].y, pairs[1].y = 0",
        "lanes 0-31 write shared more[0], more[1] .. more[31] = 0, 1, 2, ... 31",
    ):
        assert line in said


def test_what_the_last_instruction_wrote():
    """Looked up before the next block finds its shared memory in disorder."""
    assert traced("last_word", (1,), (2,), shared=4, x=7.0)[-1] == "writes shared more[0] = 7"


def test_shared_memory_of_templates():
    said = traced("in_template", (1,), x=7.0)
    accesses = [line for line in said if "shared" in line and "traced.cu" not in line]
    assert accesses == ["writes shared kept[0] = 7", "reads shared kept[0] = 7", "writes shared first = 7"]


def test_no_more_lines_than_wanted():
    whole, said = strided(1), strided(1, trace={"lines": 3})
    assert said == [*whole[:5], f"... and {len(whole) - 5} lines more: trace(lines=...)"]


def test_who_is_not_there():
    assert apart(trace={"thread": (4,)})[2:] == apart(trace={"block": (1,)})[2:]
    assert apart(trace={"thread": (4,)})[2:] == ["does nothing that can be seen, or is none of this launch"]


def test_a_kernel_that_does_not_run():
    out = io.StringIO()
    with tf.emulator.trace("matmul_tiles", file=out):
        apart()
    assert out.getvalue() == "matmul_tiles: no such launch was emulated; kernels that were: apart\n"


def test_a_kernel_that_is_not_there():
    unknown = "trace: matmul_tile: no such kernel. There are .*, apart, .*, matmul_tiles, "
    with pytest.raises(ValueError, match=unknown), tf.emulator.trace("matmul_tile"):
        apart()
    with pytest.raises(KeyError), tf.emulator.trace("matmul_tile"):  # an error of the block itself comes first
        raise KeyError


def test_a_number_is_the_first_of_three():
    assert apart(trace={"thread": 3, "block": 0}) == apart(trace={"thread": (3, 0, 0), "block": (0, 0, 0)})
    assert apart(trace={"block": 1})[0] == "apart: thread (0, 0, 0) of block (1, 0, 0)"


@pytest.mark.parametrize(
    "options, says",
    [
        (dict(thread=(0,), warp=1), r"thread or warp, not both; got thread=\(0,\), warp=1"),
        (dict(thread=-1), r"thread must be one to three whole numbers from 0, as 5 or \(5, 0, 0\); got -1"),
        (dict(block=(0, 1.5)), r"block must be .*; got \(0, 1.5\)"),
        (dict(thread="5"), "thread must be .*; got '5'"),
        (dict(block=(0, 0, 0, 0)), r"block must be .*; got \(0, 0, 0, 0\)"),
        (dict(warp=(1,)), r"warp must be a whole number from 0; got \(1,\)"),
    ],
)
def test_who_cannot_be_meant(options, says):
    with pytest.raises(ValueError, match=says):
        tf.emulator.trace(**options)


def test_what_happened_before_a_fault():
    out = io.StringIO()
    machine = launch.Launcher(Emulator(), HERE)
    x, y = np.arange(3, dtype=np.float32), np.empty(2, np.float32)
    with pytest.raises(KernelError, match="writes outside"), tf.emulator.trace(thread=(2,), file=out):
        machine("copied", grid=(1,), block=(3,), defines={"DTYPE": "float32"}, x=x, y=y)
    assert re.search(r"reads x\[2\] = 2\n +writes what is outside every array", out.getvalue())


def test_nothing_else_changes(capsys):
    """The same result and the same counts, and a trace ends where its block ends."""
    machine = Emulated()
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((70, 70)).astype(np.float16), rng.standard_normal((70, 70)).astype(np.float16)
    want = machine.matmul(x, w)
    with tf.emulator.trace(warp=1, lines=1000):
        np.testing.assert_array_equal(machine.matmul(x, w), want)
    said = capsys.readouterr().out
    np.testing.assert_array_equal(machine.matmul(x, w), want)
    assert capsys.readouterr().out == ""
    assert sum(machine.launch.counts.values()) == 3
    assert re.search(r"read x\[\d+, \d+\.\.\d+\]", said) and " wait at __syncthreads for the block" in said


@pytest.mark.skipif(not shutil.which("g++") or "CXX" in os.environ, reason="the page shows what g++ makes of it")
def test_the_examples_of_the_page(capsys):
    """In kernels/README.md what a planted fault and what two traces print, to the line of the source."""
    page, space = (kernel_folder() / "README.md").read_text(), {}
    examples = re.findall(r"```python\n([^`]*)```\n```(?:text|output)\n(.*?)```", page, re.S)
    assert (
        sum("trace(" in code for code, _ in examples) == 2 and sum("KernelError" in code for code, _ in examples) == 1
    )
    for code, want in examples:
        exec(code, space)
        assert capsys.readouterr().out.split() == want.split()  # the page breaks long lines
