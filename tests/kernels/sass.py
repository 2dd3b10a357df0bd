"""What NVIDIA's disassembler shows of a kernel: the instructions of its main loop.

A loop is a branch to a label above it. The main loop is the one where the share of the tensor cores (HMMA) is largest.
Correct but slow code shows here, and nowhere else without a GPU. `nvdisasm` comes in the wheel `nvidia-cuda-nvdisasm`.
"""

import importlib.util
import re
import subprocess
import tempfile
from functools import cache
from pathlib import Path

why_not = "the wheel nvidia-cuda-nvdisasm is not installed (it exists for Linux and Windows)"


@cache
def nvdisasm():
    """The program's path, or None with the reason in `why_not`."""
    spec = importlib.util.find_spec("nvidia")
    places = [Path(p) for p in spec.submodule_search_locations] if spec else []
    return next((path for place in places for path in sorted(place.rglob("bin/nvdisasm*"))), None)


def code_of(cubin, kernel):
    """The instructions of a kernel, and which of them its labels stand before."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.cubin"
        file.write_bytes(cubin)
        text = subprocess.run([nvdisasm(), "-c", file], check=True, capture_output=True, text=True).stdout
    part = next(p for p in re.split(r"\.section\s+\.text\.", text)[1:] if re.match(rf"{kernel}\W", p))
    labels, code = {}, []
    for line in part.splitlines():
        if label := re.match(r"\s*\.?(L_\w+):", line):
            labels[label[1]] = len(code)
        elif instruction := re.search(r"/\*[0-9a-f]{4,}\*/\s+(.*?);", line):
            code.append(instruction[1])
    return code, labels


def main_loop(cubin, kernel, works="HMMA"):
    """The instructions of the loop of a kernel with the largest share of words that begin with `works`."""
    code, labels = code_of(cubin, kernel)
    loops = []
    for i, instruction in enumerate(code):
        target = re.search(r"BRA.*\(\.(L_\w+)\)", instruction)
        if target and labels[target[1]] < i:
            # "@!PT LDS RZ, [RZ]" is the compiler's filler beside asynchronous copies: never executed
            loops.append([i for i in code[labels[target[1]] : i + 1] if "@!PT" not in i])
    return max(loops, key=lambda loop: count(loop, works) / len(loop), default=[])


def count(loop, begins):
    return sum(word(instruction).startswith(begins) for instruction in loop)


def word(instruction):
    """ "@P0 HMMA.16816.F32 R4, ..." -> "HMMA.16816.F32" """
    return re.sub(r"^@!?U?P\w+ +", "", instruction).split()[0]
