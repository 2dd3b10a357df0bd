"""A contact sheet: pictures side by side, each under its title. Pillow draws it; matplotlib when asked."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, sqrt
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

CELL, GAP, TEXT = 160, 8, 14  # pixels: side of a picture, space around it, height of letters
PAPER, INK = "white", "black"


def contact_sheet(
    pictures: Sequence,
    titles: Sequence[str],
    nrows: int | None = None,
    ncols: int | None = None,
    backend: str = "pillow",
    inks: Sequence[str] = (),
) -> Any:
    """`pictures` (PIL images, or arrays (C, H, W) or (H, W)) in a grid, as square as it comes unless given.

    titles: of one line or several; inks: their colours, black unless given. Returns a PIL image, which a notebook
    displays and `.save(path)` writes; with backend="matplotlib" a figure.
    """
    if not pictures:
        raise ValueError("contact_sheet: needs at least one picture")
    ncols = ncols or (ceil(len(pictures) / nrows) if nrows else ceil(sqrt(len(pictures))))
    nrows = nrows or ceil(len(pictures) / ncols)
    cells = list(zip(pictures, titles, inks or [INK] * len(titles)))[: nrows * ncols]
    if backend == "matplotlib":
        return _figure(cells, nrows, ncols)
    if backend != "pillow":
        raise ValueError(f'contact_sheet: backend is "pillow" or "matplotlib"; got {backend!r}')
    head = TEXT * max(text.count("\n") + 1 for text in titles)
    width, height = CELL + GAP, CELL + head + 2 * GAP
    sheet = Image.new("RGB", (ncols * width + GAP, nrows * height + GAP), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(TEXT)
    for i, (picture, text, ink) in enumerate(cells):
        left, top = GAP + i % ncols * width, GAP + i // ncols * height
        for n, line in enumerate(text.split("\n")):
            draw.text((left + CELL / 2, top + n * TEXT), _shortened(line, draw, font), fill=ink, font=font, anchor="ma")
        image = _fitted(to_image(picture))
        sheet.paste(image, (left + (CELL - image.width) // 2, top + head + GAP + (CELL - image.height) // 2))
    return sheet


def to_image(x: Any) -> Image.Image:
    """A PIL image of what an image may be: bytes 0..255, or floats in [0, 1] (floats beyond are scaled to fit)."""
    if isinstance(x, Image.Image):
        return x.convert("RGB")
    a = np.asarray(x)
    a = a.transpose(1, 2, 0) if a.ndim == 3 and a.shape[0] in (1, 3) else a
    a = a[:, :, 0] if a.ndim == 3 and a.shape[2] == 1 else a
    if a.ndim not in (2, 3) or (a.ndim == 3 and a.shape[2] != 3):
        raise TypeError(f"show_batch: a picture is (C, H, W) with C = 1 or 3, or (H, W); got {a.shape}")
    if a.dtype != np.uint8:
        low, high = min(0.0, float(a.min())), max(1.0, float(a.max()))
        a = ((a - low) * (255 / (high - low))).round().astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(a)).convert("RGB")


def _fitted(image: Image.Image) -> Image.Image:
    """As large as fits a cell; small pictures are enlarged by whole pixels, so that they stay what they are."""
    scale = CELL / max(image.size)
    scale = int(scale) if scale >= 2 else scale
    size = (max(1, int(image.width * scale)), max(1, int(image.height * scale)))
    return image.resize(size, Image.Resampling.NEAREST if scale >= 2 else Image.Resampling.BILINEAR)


def _shortened(text: str, draw: ImageDraw.ImageDraw, font: Any) -> str:
    if draw.textlength(text, font) <= CELL:
        return text
    while text and draw.textlength(text + "...", font) > CELL:
        text = text[:-1]
    return text + "..."


def title(label: Any) -> str:
    """A target as text: labels joined by `;`, numbers to three digits."""
    if isinstance(label, (list, tuple)):
        return ";".join(map(title, label))
    return f"{label:.3g}" if isinstance(label, (float, np.floating)) else str(label)


def _figure(cells: Sequence[tuple], nrows: int, ncols: int) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError('backend="matplotlib" needs matplotlib: pip install matplotlib') from None
    figure = Figure(figsize=(2 * ncols, 2.2 * nrows), layout="tight")
    for i, (picture, text, ink) in enumerate(cells):
        axes = figure.add_subplot(nrows, ncols, i + 1)
        axes.imshow(to_image(picture))
        axes.set_title(text, color=ink)
        axes.axis("off")
    return figure
