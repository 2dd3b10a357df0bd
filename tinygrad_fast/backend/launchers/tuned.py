"""Tiles that were measured to be the fastest: `tuned.toml`, which `python -m benchmarks.tune` writes on a GPU."""

from __future__ import annotations

from functools import cache
from pathlib import Path

PLACE = Path(__file__).with_name("tuned.toml")

Table = dict[str, dict[str, dict[str, list[int]]]]  # GPU: kernel: class of shapes: tile


@cache
def table() -> Table:
    """All that was measured. Who changes it, as the tuner does, changes what is chosen from then on."""
    import tomllib

    return tomllib.loads(PLACE.read_text(encoding="utf-8"))


def shape_class(engine: str, itemsize: int, m: int, n: int, batches: int) -> str:
    """What is tuned as one: the extents of y, and how many there are, rounded up to powers of two."""
    sizes = [1 << (size - 1).bit_length() for size in (m, n, batches)]
    return f"{engine}, {itemsize} bytes, " + " x ".join(map(str, sizes if batches > 1 else sizes[:2]))


def measured(gpu: str, kernel: str, engine: str, itemsize: int, m: int, n: int, batches: int) -> list[int] | None:
    """The numbers of the tile, in the order of its fields; none where the rung below was faster. None where nothing was
    measured."""
    kernels = table().get(gpu, {}).get(kernel)
    return kernels.get(shape_class(engine, itemsize, m, n, batches)) if kernels else None


def written(found: Table) -> str:
    """The file: its comment as it stands, and what was found."""
    lines = [line for line in PLACE.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    for gpu, kernels in sorted(found.items()):
        for kernel, classes in sorted((name, classes) for name, classes in kernels.items() if classes):
            lines += ["", f'["{gpu}".{kernel}]', *(f'"{shapes}" = {tile}' for shapes, tile in sorted(classes.items()))]
    return "\n".join(lines) + "\n"
