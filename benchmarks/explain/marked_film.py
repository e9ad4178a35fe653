"""Draws a film beside the film with its map and its places."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from benchmarks.explain.verdict import NOTICE, Explanation
from benchmarks.run.errors import printable
from normgrad_attr.visualize import heat

TALL, WIDEST, NARROWEST = 620, 990, 280
"""Of one of the two pictures, in pixels; a film keeps its aspect."""
MARGIN = 12
MARK = (60, 200, 255)


def draw(result: Explanation, title: str, method: str) -> Image.Image:
    """Draw the film beside the film with its map and its boxes, which bear their ranks.

    Args:
        result: Of the film.
        title: Above the film; long ones take several lines.
        method: Whose map it is.

    Returns:
        RGB picture, at most about 2000 pixels wide.
    """
    height, width = result.film.grey.shape
    scale = min(TALL / height, WIDEST / width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    column = max(size[0], NARROWEST)
    canvas_width = 2 * column + 3 * MARGIN
    small, large = _font(13), _font(17)
    head = _lines(result.sentence, large, canvas_width - 2 * MARGIN)
    left = _lines(printable(title), small, column)
    right = _lines(f"where the model sees a foreign object ({method})", small, column)
    foot = _lines(NOTICE, small, canvas_width - 2 * MARGIN)
    captions = MARGIN + 23 * len(head) + 6
    top = captions + 18 * max(len(left), len(right)) + 4
    canvas = Image.new("RGB", (canvas_width, top + size[1] + 18 * len(foot) + 2 * MARGIN), "white")
    pen = ImageDraw.Draw(canvas)
    film = Image.fromarray(result.film.grey).resize(size, Image.Resampling.LANCZOS).convert("RGB")
    places = [MARGIN, 2 * MARGIN + column]
    for x, picture, lines in zip(places, (film, _marked(film, result, scale, small)), (left, right), strict=True):
        pen.multiline_text((x, captions), "\n".join(lines), "black", small, spacing=3)
        canvas.paste(picture, (x + (column - size[0]) // 2, top))
    pen.multiline_text((MARGIN, MARGIN), "\n".join(head), "black", large, spacing=4)
    pen.multiline_text((MARGIN, top + size[1] + MARGIN // 2), "\n".join(foot), "#555555", small, spacing=3)
    return canvas


def _marked(film: Image.Image, result: Explanation, scale: float, font: ImageFont.FreeTypeFont) -> Image.Image:
    if not result.peaks:
        return film
    saliency = Image.fromarray(result.saliency).resize(film.size, Image.Resampling.BILINEAR)
    colours = Image.fromarray(heat(torch.from_numpy(np.array(saliency)), alpha=0.6, outliers=0.005, fade=True).numpy())
    marked = film.copy()
    marked.paste(colours, mask=colours)
    pen = ImageDraw.Draw(marked)
    for rank, peak in reversed(list(enumerate(result.peaks, start=1))):  # the first lies on top
        x1, y1, x2, y2 = (round(value * scale) for value in peak.box)
        pen.rectangle((x1, y1, max(x2 - 1, x1), max(y2 - 1, y1)), outline=MARK, width=2)
        tall, wide = 18, 8 + round(font.getlength(str(rank)))
        x = min(x1, film.width - wide)
        y = y1 - tall if y1 >= tall else y1  # where there is no room above it on the film
        pen.rectangle((x, y, x + wide, y + tall), fill=MARK)
        pen.text((x + 4, y + 1), str(rank), "black", font)
    return marked


def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which Matplotlib brings along, has more letters than Pillow's own."""
    spec = find_spec("matplotlib")
    assert spec is not None
    assert spec.origin is not None
    return ImageFont.truetype(Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf", size)


def _lines(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """The text in lines of a width in pixels, broken at blanks, and within words that are longer."""
    lines = [""]
    for word in text.split(" "):
        if lines[-1] and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            if font.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return lines
