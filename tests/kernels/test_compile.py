"""The gate of NVIDIA's compiler: every kernel, for each dtype and architecture of its row in kernels/README.md."""

import re

import pytest

from tinygrad_fast.backend import launch

from . import nvrtc

TABLE = [
    tuple(cell.strip() for cell in row.split("|")[1:-1])
    for row in (launch.folder() / "README.md").read_text().splitlines()
    if row.startswith("| `")
]
ALL = {"dtypes": "float64 float32 float16 bfloat16".split(), "architectures": "sm_75 sm_80 sm_90 sm_120".split()}
needs_nvrtc = pytest.mark.skipif(nvrtc.library() is None, reason=nvrtc.why_not)


def test_every_kernel_has_a_row():
    assert {row[0].strip("`") for row in TABLE} == set(launch.sources(launch.folder()))


@needs_nvrtc
@pytest.mark.parametrize("kernel, flags, dtypes, architectures, registers, shared", TABLE)
def test_compiles_within_its_budget(kernel, flags, dtypes, architectures, registers, shared, tally):
    kernel, dtypes, architectures = kernel.strip("`"), dtypes.split(), architectures.split()
    assert set(dtypes) <= set(ALL["dtypes"]) and set(architectures) <= set(ALL["architectures"])
    source = launch.sources(launch.folder())[kernel]
    used = {}
    for architecture in architectures:
        for dtype in dtypes:
            uses = nvrtc.compiled(source.text, architecture, f"DTYPE={dtype}", *flags.split())
            used[architecture, dtype] = uses[kernel]
    print(*used.items(), sep="\n")
    assert not [at for at, use in used.items() if use.spilled], "registers spilled to memory"
    over = {at: use for at, use in used.items() if use.registers > int(registers) or use.shared > int(shared)}
    assert not over, f"{kernel} may take {registers} registers and {shared} bytes: {over}"
    assert max(use.registers for use in used.values()) > int(registers) - 16, (
        "the budget is too wide to notice anything"
    )
    tally(cubins=len(used))


@needs_nvrtc
def test_a_refusal_names_file_and_line():
    text = launch.sources(launch.folder())["matmul_naive"].text
    line = next(
        i for i, line in enumerate((launch.folder() / "matmul.cu").read_text().splitlines(), 1) if "A sum = 0" in line
    )
    with pytest.raises(nvrtc.Refused, match=re.escape(f"matmul.cu({line}): error")):
        nvrtc.compiled(text.replace("A sum = 0", "A sum = nothing", 1), "sm_80", "DTYPE=float32", "TILE=16")
