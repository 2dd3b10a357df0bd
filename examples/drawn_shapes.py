"""A data set to train on in a minute, drawn with Pillow: ten shapes on cluttered backgrounds, 32 x 32.

The label is the shape alone. Colour, size, place and angle are drawn at random and carry nothing; clutter of strokes
and specks lies below. A linear classifier on the pixels stays near chance (13 % on held-out images, measured), and a
network has to learn edges, then corners and gaps, then shapes.

    drawn_shapes.make(folder, n=6000, seed=0)  ->  folder/circle/0000.png, folder/cross/0001.png, ...
"""

from __future__ import annotations

import math
import os
import random
import shutil
from pathlib import Path

from PIL import Image, ImageDraw

SIZE, FINE = 32, 4  # drawn FINE times larger, then averaged down: smooth edges
Points = list[tuple[float, float]]


def regular(n: int, turn: float = 0.0, radius: float = 1.0) -> Points:
    """The corners of a regular polygon around the origin."""
    angles = [turn + 2 * math.pi * i / n for i in range(n)]
    return [(radius * math.cos(a), radius * math.sin(a)) for a in angles]


def star(n: int, inner: float) -> Points:
    """n points, with the corners between them pulled in to `inner`."""
    outer, dents = regular(n), regular(n, math.pi / n, inner)
    return [p for pair in zip(outer, dents, strict=True) for p in pair]


def arc(start: float, stop: float, radius: float = 1.0, x: float = 0.0, steps: int = 24) -> Points:
    """Points on a circle around (x, 0)."""
    angles = [start + (stop - start) * i / steps for i in range(steps + 1)]
    return [(x + radius * math.cos(a), radius * math.sin(a)) for a in angles]


# Each shape: polygons to fill, polygons to cut out again, in a circle of radius 1.
SHAPES: dict[str, tuple[list[Points], list[Points]]] = {
    "arrow": ([[(1, 0), (0.1, 0.8), (0.1, 0.3), (-1, 0.3), (-1, -0.3), (0.1, -0.3), (0.1, -0.8)]], []),
    "bars": ([[(-0.9, y), (0.9, y), (0.9, y + 0.45), (-0.9, y + 0.45)] for y in (-0.8, 0.35)], []),
    "circle": ([arc(0, 2 * math.pi)], []),
    "crescent": ([arc(0.75, 2 * math.pi - 0.75) + arc(2 * math.pi - 1.25, 1.25, 0.72, 0.5)], []),
    "cross": ([[(-1, -0.3), (1, -0.3), (1, 0.3), (-1, 0.3)], [(-0.3, -1), (0.3, -1), (0.3, 1), (-0.3, 1)]], []),
    "hourglass": ([[(-0.9, -0.8), (-0.9, 0.8), (0, 0)], [(0.9, -0.8), (0.9, 0.8), (0, 0)]], []),
    "ring": ([arc(0, 2 * math.pi)], [arc(0, 2 * math.pi, 0.55)]),
    "square": ([regular(4)], []),
    "star": ([star(5, 0.42)], []),
    "triangle": ([regular(3)], []),
}


def draw(shape: str, rng: random.Random) -> Image.Image:
    """One image of `shape`: clutter first, the shape on top in a colour that differs from what is below it."""
    side = SIZE * FINE
    ground = tuple(rng.randrange(256) for _ in range(3))
    image = Image.new("RGB", (side, side), ground)
    brush = ImageDraw.Draw(image)
    for _ in range(rng.randint(3, 7)):  # clutter: short strokes and specks in the background's neighbourhood
        colour = tuple(min(255, max(0, c + rng.randint(-60, 60))) for c in ground)
        x, y, r = rng.uniform(0, side), rng.uniform(0, side), rng.uniform(2, 10) * FINE / 2
        if rng.random() < 0.5:
            brush.line(
                [(x, y), (x + rng.uniform(-4, 4) * r, y + rng.uniform(-4, 4) * r)], colour, rng.randint(1, 2) * FINE
            )
        else:
            brush.ellipse([x - r / 2, y - r / 2, x + r / 2, y + r / 2], colour)
    colour = ground
    while sum(abs(a - b) for a, b in zip(colour, ground, strict=True)) < 220:
        colour = tuple(rng.randrange(256) for _ in range(3))
    radius = rng.uniform(0.3, 0.44) * side
    x, y = (rng.uniform(radius, side - radius) for _ in range(2))
    turn = rng.uniform(0, 2 * math.pi)
    fill, cut = SHAPES[shape]
    if cut:  # what shows through the hole is what was there before
        mask = Image.new("L", (side, side))
        stencil = ImageDraw.Draw(mask)
        for polygons, value in ((fill, 255), (cut, 0)):
            for points in polygons:
                stencil.polygon(placed(points, x, y, radius, turn), value)
        image.paste(colour, mask=mask)
    else:
        for points in fill:
            brush.polygon(placed(points, x, y, radius, turn), colour)
    return image.resize((SIZE, SIZE), Image.Resampling.BOX)


def placed(points: Points, x: float, y: float, radius: float, turn: float) -> Points:
    """Turned, scaled and moved to (x, y)."""
    c, s = radius * math.cos(turn), radius * math.sin(turn)
    return [(x + c * px - s * py, y + s * px + c * py) for px, py in points]


def make(folder: Path, n: int = 6000, seed: int = 0) -> Path:
    """Draw n images into `folder`/<shape>/<number>.png, once: an existing complete folder is returned as it is.

    Drawn into a folder beside it and renamed at the end, so that an interrupted run leaves nothing half-made.
    """
    if folder.is_dir():
        return folder
    rng, names = random.Random(seed), sorted(SHAPES)
    draft = folder.with_name(f"{folder.name}.{os.getpid()}.part")
    for name in names:
        (draft / name).mkdir(parents=True)
    for i in range(n):
        name = names[i % len(names)]
        draw(name, rng).save(draft / name / f"{i:04d}.png", compress_level=1)
    try:
        draft.rename(folder)
    except OSError:  # another run was faster
        shutil.rmtree(draft)
    return folder


def cache_folder() -> Path:
    """Where this user's data sets live: $XDG_CACHE_HOME, or ~/.cache."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tinygrad_fast"
    root.mkdir(parents=True, exist_ok=True)
    return root
