"""What an address of a running kernel is called: a line of the source, an element of an array, a shared variable.

Lines come from the debugging information by `addr2line`, which comes with g++, names in shared memory from the symbols
(`elf.py`). Where they are missing, addresses stay addresses.
"""

from __future__ import annotations

import ctypes as C
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from ..source import NUMBERS, Source, held

Place = tuple[str, int]  # file, line


@dataclass(frozen=True)
class Access:
    """What one access touched: `name` is an array or a shared variable, `element` counts through its memory."""

    name: str
    label: str
    element: int
    value: str


@dataclass(frozen=True)
class Variable:
    """A `__shared__` variable: where it starts in shared memory, what it holds, how it is written in the source."""

    name: str
    start: int
    bytes: int
    dtype: np.dtype
    sides: tuple[int, ...]
    members: tuple[str, ...]  # of a structure


class Listing:
    """The names that a launch gives to what it touches."""

    def __init__(self, library: Any, spans: list[Any]):
        self.library, self.spans = library, spans
        self.text = lines(library.source)
        self.places: dict[int, Place] = {}  # of instructions, as a person would point at them
        self.order: dict[int, tuple[int, ...]] = {}  # the same with the lines that called for them, outermost first
        self.variables = variables(library)
        self.dynamic = dynamic(library)

    def find(self, codes: np.ndarray) -> None:
        """Look instructions up: the innermost place, but for the conversions of common.cuh: there, who asked."""
        for code, chain in zip(codes, chains(self.library.path, [int(code) for code in codes])):
            own = [place for place in chain if place[0] != "common.cuh"]
            self.places[int(code)] = (own or chain or [("no addr2line here, instruction", int(code))])[0]
            self.order[int(code)] = tuple(line for _, line in reversed(own))

    def named(self, event: np.void) -> Place:
        """Where a meeting stands."""
        return C.string_at(int(event["file"])).decode(), int(event["line"])

    def access(self, event: np.void) -> Access:
        at, raw = int(event["offset"]), event["value"][: int(event["bytes"])]
        if event["space"] == 1:
            span = next((s for s in self.spans if s.start <= at < s.start + s.bytes), None)
            if span is None:
                return Access("", "what is outside every array", at, "?")
            same = [other.name for other in self.spans if other.array is span.array]  # they share what the launch sees
            return _element("=".join(same), span, at, raw)
        for v in self.variables:
            if event["space"] == 2 and v.start <= at < v.start + v.bytes:
                return _shared(v, at - v.start, raw)
        name, dtype = self.dynamic
        element = at // dtype.itemsize if name else at
        return Access("", f"{name}[{element}]" if name else f"byte {at}", element, spelled(raw, dtype))

    def guessed(self, raw: np.ndarray, word: str = "") -> str:
        """Bytes as the numbers that the kernel computes with, as nothing says what they are; a vote as its bits."""
        wide = np.dtype(held("A", self.library.defines))
        return hex(int.from_bytes(raw.tobytes(), "little")) if "ballot" in word else spelled(raw, wide)


# --------------------------------------------------------------------------------------------------------- values


def spelled(raw: np.ndarray, dtype: np.dtype) -> str:
    """Bytes as numbers of a dtype, or as they are where they are no whole number of them."""
    if len(raw) % dtype.itemsize:
        return "0x" + raw.tobytes()[::-1].hex()
    numbers = np.frombuffer(raw.tobytes(), dtype)
    return " ".join(f"{float(n):.6g}" if dtype.kind not in "iub" else str(n) for n in numbers)


def _spread(index: list[int], along: int, count: int) -> list[str]:
    """An index as words, several elements along one axis as first..last."""
    words = [str(i) for i in index]
    if count > 1:
        words[along] += f"..{index[along] + count - 1}"
    return words


def _element(name: str, span: Any, at: int, raw: np.ndarray) -> Access:
    """An element of an array, whatever its strides."""
    a, left, index = span.array, at - span.start, [0] * span.array.ndim
    count = len(raw) // a.itemsize
    axes = sorted((i for i in range(a.ndim) if a.strides[i]), key=lambda i: (-abs(a.strides[i]), i))
    for i in axes:
        k = min(left // abs(a.strides[i]), a.shape[i] - 1)
        left -= k * abs(a.strides[i])
        index[i] = k if a.strides[i] > 0 else a.shape[i] - 1 - k
    words = _spread(index, axes[-1], count) if axes else [str(i) for i in index]
    return Access(name, f"{name}[{', '.join(words)}]", (at - span.start) // a.itemsize, spelled(raw, a.dtype))


def _shared(v: Variable, at: int, raw: np.ndarray) -> Access:
    size = v.dtype.itemsize
    whole = size * max(len(v.members), 1)  # bytes of a structure
    count = max(len(raw) // size, 1) if not v.members else 1
    index = [int(i) for i in np.unravel_index(at // whole, v.sides)] if v.sides else []
    label = v.name + "".join(f"[{word}]" for word in (_spread(index, -1, count) if index else []))
    if v.members and len(raw) == size:
        label += f".{v.members[at % whole // size]}"
    return Access(v.name, label, at // size, spelled(raw, v.dtype))


# ---------------------------------------------------------------------------------------------------- from the source


def lines(source: Source) -> dict[Place, str]:
    """The lines of the files that a source was pasted from."""
    found, file, number = {}, source.file, 0
    for line in source.text.splitlines():
        if told := re.match(r'#line (\d+) "([^"]+)"', line):
            number, file = int(told[1]) - 1, told[2]
        else:
            number += 1
            found[file, number] = line
    return found


def constants(text: str, defines: Mapping[str, Any]) -> dict[str, int]:
    """What a source calls its whole numbers: `const int SIDE = 128` and -DTILE=16."""
    found = {name: int(value) for name, value in defines.items() if str(value).isdigit()}
    for each in re.findall(r"\bconst(?:expr)? int ([^;{}()]+);", text):
        for name, value in re.findall(r"(\w+) = ([^,]+)", each):
            if (number := whole(value, found)) is not None:
                found[name] = number
    return found


def whole(expression: str, known: Mapping[str, int]) -> int | None:
    """`TILE + 1` as a number; None if it is made of more than sums and products of what is known."""
    digits = re.sub(r"[A-Za-z_]\w*", lambda m: str(known.get(m[0], m[0])), expression)
    return int(eval(digits, {})) if re.fullmatch(r"[\d\s+*-]+", digits) else None


def variables(library: Any) -> list[Variable]:
    """The `__shared__` variables of a library: its symbols, and of the declarations of a name the one of that size."""
    declared = declarations(library.source, library.defines)
    found = []
    for name, start, size, _ in library.shared:
        fitting = (d for d in declared[name] if prod(d[1], start=max(len(d[2]), 1)) * d[0].itemsize == size)
        dtype = declared[name][0][0] if declared[name] else np.dtype(np.uint8)
        dtype, sides, members = next(fitting, (dtype, (size // dtype.itemsize,), ()))
        found.append(Variable(name, start - library.shared[0].start, size, dtype, sides, members))
    return found


def in_shared(library: Any, offset: int, size: int) -> str:
    """Where an access to the `__shared__` arrays is: at an element of one, or past its end."""
    v = max((v for v in variables(library) if v.start <= offset), key=lambda v: v.start)
    at = offset - v.start
    if at >= v.bytes:
        return f"{at - v.bytes} past the end of {v.name}"
    return f"at {_shared(v, at, np.zeros(size, np.uint8)).label}"


def dynamic(library: Any) -> tuple[str, np.dtype]:
    """Of the shared memory that a launch asks for: its name, and what it holds. Mere bytes ("") hold what arrays do."""
    found = re.search(r"DYNAMIC_SHARED\((\w+), (\w+)\)", library.source.text)
    if found and found[1] in ("T", "A", "float", "double", "int"):
        return found[2], np.dtype(held(found[1], library.defines))
    return "", np.dtype(held("T", library.defines))


def declarations(source: Source, defines: Mapping[str, Any]) -> dict[str, list[tuple]]:
    """(dtype, sides, members of a structure) of each `__shared__` variable, by name."""
    known, found = constants(source.text, defines), defaultdict(list)
    bare = re.sub(r"//.*", "", source.text)
    for kind, names in re.findall(r"__shared__\s+(?:__align__\(\w+\)\s+)?([\w ]*\w)(?:<\w+>)? (\w+\b[^;]*);", bare):
        structure = re.search(rf"struct {kind} {{([^}}]*)}}", bare)
        members = tuple(re.findall(r"(\w+)\s*[,;]", structure[1])) if structure else ()
        dtype = np.dtype(held(kind if kind in ("T", *NUMBERS) else "A", defines))
        for name, brackets in re.findall(r"(\w+)((?:\[[^\]]+\])*)\s*(?:,|$)", names):
            sides = [whole(side, known) for side in re.findall(r"\[([^\]]+)\]", brackets)]
            found[name].append((dtype, tuple(side or 0 for side in sides), members))
    return found


# ---------------------------------------------------------------------------------------------------- from the library


def chains(path: Any, codes: list[int]) -> list[list[Place]]:
    """For each instruction its places in the source, innermost first; several where functions were inlined."""
    if not codes or not (tool := shutil.which("addr2line")):
        return [[] for _ in codes]
    command = [tool, "-aie", str(path), *(hex(code - 1) for code in codes)]  # the address is where the call returns to
    parts = re.split(r"^0x\w+\n", subprocess.run(command, capture_output=True, text=True).stdout, flags=re.M)[1:]
    return [[(f, int(n)) for f, n in re.findall(r"([\w.-]+\.cuh?):(\d+)", part)] for part in parts]
