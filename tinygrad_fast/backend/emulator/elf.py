"""Where the `__shared__` arrays of a kernel lie, by the symbols of its library; and room between them, in its object.

C++ calls a variable inside a function `_ZZ...E4held`, and nothing else in a kernel's unit that can be written is one.
Linux and its like only (ELF, 64 bits, little-endian): of another kind of file, as macOS has, nothing is known.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

KIND = b"\x7fELF\x02\x01"
SECTION = np.dtype(
    [
        *(("name", "<u4"), ("type", "<u4"), ("flags", "<u8"), ("address", "<u8"), ("offset", "<u8"), ("size", "<u8")),
        *(("link", "<u4"), ("info", "<u4"), ("align", "<u8"), ("each", "<u8")),
    ]
)
SYMBOL = np.dtype(
    [("name", "<u4"), ("info", "u1"), ("other", "u1"), ("section", "<u2"), ("value", "<u8"), ("size", "<u8")]
)
SYMTAB, NOBITS, OBJECT, WRITABLE, RESERVED = 2, 8, 1, 1, 0xFF00
GAP = 1 << 12  # bytes behind each array that belong to nobody


class Array(NamedTuple):
    """A `__shared__` array: its name in the source, its address from the start of the library, its bytes, and how many
    there are until something else begins."""

    name: str
    start: int
    bytes: int
    room: int


def is_known(library: Path) -> bool:
    """Whether it is a file of the kind that is read here."""
    with library.open("rb") as f:
        return f.read(len(KIND)) == KIND


def shared_arrays(library: Path) -> list[Array]:
    """Those of a library, in the order of their addresses."""
    raw = library.read_bytes()
    sections, found = _sections(raw), []
    for table in sections[sections["type"] == SYMTAB]:
        symbols = np.frombuffer(raw, SYMBOL, int(table["size"]) // SYMBOL.itemsize, int(table["offset"]))
        symbols = symbols[(symbols["section"] > 0) & (symbols["section"] < RESERVED)]
        starts = np.unique(symbols["value"])
        for symbol in symbols[symbols["info"] & 15 == OBJECT]:
            section, start = sections[symbol["section"]], int(symbol["value"])
            name = _variable(raw, int(sections[table["link"]]["offset"]) + int(symbol["name"]))
            if name and section["flags"] & WRITABLE:
                later = starts[np.searchsorted(starts, start, "right") :][:1]
                end = min([*later, section["address"] + section["size"]])
                found.append(Array(name, start, int(symbol["size"]), int(end) - start))
    return sorted(found, key=lambda array: array.start)


def spread(made: Path) -> None:
    """Make each variable of an object that has a section to itself (-fdata-sections) GAP bytes longer."""
    raw = bytearray(made.read_bytes())
    sections = _sections(raw)
    sections["size"][(sections["type"] == NOBITS) & (sections["size"] > 0)] += GAP
    made.write_bytes(raw)


def _sections(raw: bytes | bytearray) -> np.ndarray:
    """The table of sections, a view of the file."""
    if raw[: len(KIND)] != KIND:
        return np.empty(0, SECTION)
    start, count = (int.from_bytes(raw[at : at + size], "little") for at, size in ((0x28, 8), (0x3C, 2)))
    return np.frombuffer(raw, SECTION, count, start)


def _variable(raw: bytes, at: int) -> str:
    """The name in the source of a variable inside a function: `_ZZ3sumIfEvPT_E4held_0` -> held; "" of anything else."""
    symbol = raw[at : raw.index(0, at)].decode()
    for m in re.finditer(r"E(\d+)", symbol if symbol.startswith("_ZZ") else ""):
        name, rest = symbol[m.end() :][: int(m[1])], symbol[m.end() + int(m[1]) :]
        if re.fullmatch(r"(_\d+|__\d+)?_?(\.\w+)?", rest):  # the last name: after it at most which of several
            return name
    return ""
