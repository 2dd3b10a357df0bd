"""The source of a kernel, as the compiler gets it, and what it says of its kernels: their parameters and structures.

C is read by a few regular expressions, which know the forms that the files in kernels/ keep to. Next on the way:
`launch.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np


class KernelError(RuntimeError):
    """A kernel that could not be compiled, was given what it does not take, or failed: which, with what, and why."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a kernel, as C spells it: `const T* x`, `int M`, `Batch batch`, `Arrays<const T> gs`,
    `List<i64> sizes`, `const __grid_constant__ TensorMap x`."""

    type: str
    name: str

    @property
    def pointer(self) -> bool:
        return self.type.endswith("*")

    @property
    def listed(self) -> bool:
        """True for a list, of arrays or of numbers."""
        return self.type.startswith(("Arrays<", "List<"))

    @property
    def boxed(self) -> bool:
        """True for an array that the kernel knows by a tensor map."""
        return self.type == "const TensorMap"

    @property
    def reads_only(self) -> bool:
        return self.type.removeprefix("Arrays<").startswith("const ")

    @property
    def writes_only(self) -> bool:
        """What it holds when the kernel starts means nothing; changed in place are those whose name ends in _."""
        return not self.reads_only and not self.name.endswith("_")

    @property
    def target(self) -> str:
        """What a pointer, or each of a list of them, points to; or what is in a list of numbers."""
        return re.sub("^(Arrays<|List<)?(const )?", "", self.type).rstrip("*>").strip()


@dataclass(frozen=True)
class Source:
    """A .cu file with the files that it includes pasted in, and what it says of its kernels and structures."""

    file: str
    text: str
    kernels: Mapping[str, tuple[Parameter, ...]]
    structures: Mapping[str, np.dtype]
    clusters: Mapping[str, int]  # kernels whose blocks run together along x, and how many of them
    needs: tuple[tuple[str, str], ...] = ()  # "NEEDS     sm_90a": the only architecture that it is for, and with what

    def architecture(self, defines: Mapping[str, Any]) -> str:
        """The only one for which the source is, compiled with these; "" if there is no such."""
        flags = {f"-D{name}={value}" for name, value in defines.items()} | {""}
        return next((architecture for architecture, flag in self.needs if flag in flags), "")


@cache
def kernel_folder() -> Path:
    """Where the kernels are: inside an installed package, beside it in a checkout."""
    package = Path(__file__).parents[1]
    for place in (package / "kernels", package.parent / "kernels"):
        if (place / "common.cuh").exists():
            return place
    raise KernelError(
        f"kernels: common.cuh must be in {package / 'kernels'} (installed) or {package.parent / 'kernels'} (a checkout)"
        "; it is in neither. Install tinygrad_fast again"
    )


@cache
def sources(place: Path) -> dict[str, Source]:
    """The source of every kernel in a folder, by the kernel's name."""
    found = [read_source(path) for path in sorted(place.glob("*.cu"))]
    return {kernel: source for source in found for kernel in source.kernels}


def read_source(path: Path) -> Source:
    """A file as the compiler gets it. `#line` keeps its messages about the file and line that a person can open."""
    text = _pasted(path, set())
    bare = re.sub(r"//.*", "", text)
    attributes = r"(?: __cluster_dims__\((\d+), 1, 1\))?(?: __launch_bounds__\([^)]*\))?"
    kernels = re.findall(rf'extern "C" __global__ void{attributes}\s+(\w+)\(([^)]*)\)', bare)
    structures = re.findall(r"^struct (\w+) \{([^}]*)\};", bare, re.M)
    return Source(
        path.name,
        text,
        {name: tuple(map(_parameter, given.split(","))) for _, name, given in kernels},
        {name: _structure(members) for name, members in structures},
        {name: int(blocks) for blocks, name, _ in kernels if blocks},
        tuple(re.findall(r"^// NEEDS +(sm_\w+)(?: with (-D\S+))?", text, re.M)),
    )


def _pasted(path: Path, seen: set[str]) -> str:
    lines = [f'#line 1 "{path.name}"']
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if include := re.match(r'#include "(\w+\.cuh)"', line):
            if include[1] not in seen:
                seen.add(include[1])
                place = path.parent if (path.parent / include[1]).exists() else kernel_folder()
                lines += [_pasted(place / include[1], seen), f'#line {number + 1} "{path.name}"']
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"


def _parameter(spelled: str) -> Parameter:
    words = re.sub(r"__restrict__|__grid_constant__", " ", spelled).replace("*", "* ").split()
    return Parameter(" ".join(words[:-1]).replace(" *", "*"), words[-1])


NUMBERS = {"int": "int32", "unsigned": "uint32", "u32": "uint32", "u16": "uint16", "unsigned char": "uint8"}
NUMBERS |= {"i64": "int64", "long long": "int64", "float": "float32", "double": "float64"}


def _structure(members: str) -> np.dtype:
    """The NumPy dtype that lies in memory as a C structure does."""
    fields = []
    for line in filter(None, map(str.strip, members.split(";"))):
        kind = next((c for c in sorted(NUMBERS, key=len, reverse=True) if line.startswith(c + " ")), None)
        if kind is None or "*" in line.removeprefix(kind):
            return np.dtype([])  # not made of numbers alone: no parameter
        for name in line.removeprefix(kind).split(","):
            sized = re.fullmatch(r"(\w+)(?:\[(\d+)\])?", name.strip())
            assert sized, f"structure member {line!r}"
            fields.append((sized[1], NUMBERS[kind], (int(sized[2]),)) if sized[2] else (sized[1], NUMBERS[kind]))
    return np.dtype(fields, align=True)


def held(spelled: str, defines: Mapping[str, Any]) -> str:
    """The dtype of a C type: T is what the kernel is compiled for, A what that is computed in (common.cuh); another
    name that it is compiled with stands for what it is defined as (-DTAP=uint8)."""
    if spelled == "A":
        return "float64" if defines["DTYPE"] == "float64" else "float32"
    if spelled == "T" or spelled in defines:
        return held(str(defines["DTYPE" if spelled == "T" else spelled]), defines)
    return NUMBERS.get(spelled, spelled)
