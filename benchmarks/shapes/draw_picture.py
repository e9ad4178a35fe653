"""Draws a picture of shapes: each from its seed and number alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from benchmarks.data.annotations import Shape
from benchmarks.shapes.outlines import KINDS, Points, outline

SIZE = 96
"""Side of a picture in pixels."""
MOST = 4
"""Most shapes in a picture."""

_FINE = 4  # outlines are drawn on a grid finer by this, for soft edges
_RADII = (10.5, 19.0)  # of shapes, in pixels
_GAP = 2.0  # between shapes

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Picture:
    """A picture and what is on it.

    Attributes:
        pixels: RGB, uint8 (size, size, 3).
        shapes: Polygons in pixels; each one's ``content`` is its kind.
    """

    pixels: npt.NDArray[np.uint8]
    shapes: tuple[Shape, ...]

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds that are there."""
        return frozenset(shape.content for shape in self.shapes)


def draw_picture(seed: int, number: int, shapes: int | None = None, size: int = SIZE) -> Picture:
    """Draw one picture.

    Shapes differ in kind, place, size, turn, colour and texture, and never touch. One in five that are not the first is
    of the first one's kind. Lines, specks and corners, which are no shapes, lie on the ground about them.

    Args:
        seed: Seed of the set.
        number: Number of the picture in it.
        shapes: How many; by default from 1 to :data:`MOST` by chance.
        size: Side of the picture in pixels. Shapes are as large in a smaller one, so that fewer have room.

    Returns:
        The picture.

    Example:
        >>> picture = draw_picture(seed=0, number=3, shapes=2)
        >>> picture.pixels.shape, len(picture.shapes)
        ((96, 96, 3), 2)
        >>> bool((draw_picture(seed=0, number=3, shapes=2).pixels == picture.pixels).all())
        True
    """
    chance = np.random.default_rng([seed, number])
    count = int(chance.integers(1, MOST + 1)) if shapes is None else shapes
    canvas = _ground(chance, size)
    _clutter(chance, canvas)
    drawn = []
    for kind, (x, y, radius) in zip(_kinds(chance, count), _places(chance, count, size), strict=True):
        points = outline(kind, (x, y), radius, chance.uniform(0, 2 * np.pi))
        _fill(canvas, points, chance)
        drawn.append(Shape("polygon", tuple((float(a), float(b)) for a, b in points.round(2)), kind))
    canvas += chance.normal(0, 0.02, canvas.shape)
    return Picture((canvas.clip(0, 1) * 255).round().astype(np.uint8), tuple(drawn))


def _kinds(chance: np.random.Generator, count: int) -> list[str]:
    kinds = [KINDS[int(i)] for i in chance.permutation(len(KINDS))[:count]]
    for i in range(1, count):
        if chance.random() < 0.2:
            kinds[i] = kinds[0]
    return kinds


def _places(chance: np.random.Generator, count: int, size: int) -> list[tuple[float, float, float]]:
    """Columns, rows and radii of discs that do not touch; they shrink where there is no room."""
    shrink = 1.0
    while True:
        found: list[tuple[float, float, float]] = []
        for _ in range(60):
            radius = shrink * chance.uniform(*_RADII)
            x, y = chance.uniform(radius + 1, size - radius - 1, 2)
            if all(np.hypot(x - a, y - b) > radius + r + _GAP for a, b, r in found):
                found.append((float(x), float(y), float(radius)))
            if len(found) == count:
                return found
        shrink *= 0.95


def _ground(chance: np.random.Generator, size: int) -> Array:
    """Blotches of several sizes, of little colour, on a pale or dark ground."""
    total = np.full((size, size, 3), chance.uniform(0.25, 0.75))
    for pixels, grey, colour in ((32, 0.12, 0.06), (10, 0.08, 0.04), (3, 0.05, 0.02)):
        total += grey * _blotches(chance, -(-size // pixels), size, size)
        total += colour * np.concatenate([_blotches(chance, -(-size // pixels), size, size) for _ in range(3)], axis=2)
    return total


def _blotches(chance: np.random.Generator, cells: int, height: int, width: int) -> Array:
    """A grid of random numbers drawn out to a surface, (height, width, 1)."""
    plane = Image.fromarray(chance.normal(size=(cells, cells)).astype(np.float32))
    return np.asarray(plane.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float64)[..., None]


def _clutter(chance: np.random.Generator, canvas: Array) -> None:
    """Draw lines, open corners and specks."""
    mean = canvas.mean((0, 1))
    side = len(canvas)
    for _ in range(int(chance.integers(3, 9) * side / SIZE)):
        start = chance.uniform(0, side, 2)
        kind = chance.integers(3)
        if kind == 2:  # a speck
            points, width = np.stack([start, start + 0.1]), chance.uniform(1.6, 4.0)
        else:
            steps = [chance.normal(0, 14, 2) for _ in range(1 + kind)]
            points, width = np.cumsum([start, *steps], axis=0), chance.uniform(1.0, 2.5)
        window, cover = _cover(points, side, width)
        colour = np.clip(mean + chance.normal(0, 0.25, 3), 0, 1)
        canvas[window] += cover * (colour - canvas[window])


def _fill(canvas: Array, points: Points, chance: np.random.Generator) -> None:
    """Fill a polygon with a surface that is plain, striped, chequered or blotched, and apart from what it covers."""
    window, cover = _cover(points, len(canvas))
    under = canvas[window]
    behind = (under * cover).sum((0, 1)) / cover.sum()
    colour = chance.uniform(0, 1, 3)
    while np.abs(colour - behind).max() < 0.3:
        colour = chance.uniform(0, 1, 3)
    canvas[window] += cover * (colour + _texture(chance, cover.shape[0], cover.shape[1]) - under)


def _texture(chance: np.random.Generator, height: int, width: int) -> Array:
    """What a surface adds to its colour, (height, width, 1)."""
    kind = chance.integers(4)
    if kind == 0:
        return np.zeros((height, width, 1))
    depth = chance.uniform(0.1, 0.25)
    if kind == 1:
        return depth * _blotches(chance, 6, height, width)
    down, across = np.mgrid[:height, :width]
    angle, wave = chance.uniform(0, np.pi), chance.uniform(4, 8)
    pattern = np.sign(np.sin(2 * np.pi * (np.cos(angle) * across + np.sin(angle) * down) / wave))
    if kind == 2:
        pattern = pattern * np.sign(np.sin(2 * np.pi * (np.cos(angle) * down - np.sin(angle) * across) / wave))
    return np.asarray(depth / 2 * pattern[..., None])


def _cover(points: Points, size: int, pen: float | None = None) -> tuple[tuple[slice, slice], Array]:
    """Share of each pixel that a polygon covers, or a line drawn with a pen of that width.

    Returns:
        Rows and columns of the window in which it is, and the shares there, (height, width, 1).
    """
    margin = 1 + int(pen or 0)
    low = np.clip(np.floor(points.min(axis=0)).astype(int) - margin, 0, size - 1)
    high = np.clip(np.ceil(points.max(axis=0)).astype(int) + margin, 1, size)
    width, height = (int(side) for side in high - low)
    fine = Image.new("L", (width * _FINE, height * _FINE))
    # PIL's coordinates are those of pixel centres.
    corners = [(float(x), float(y)) for x, y in (points - low) * _FINE - 0.5]
    if pen is None:
        ImageDraw.Draw(fine).polygon(corners, fill=255)
    else:
        ImageDraw.Draw(fine).line(corners, fill=255, width=round(pen * _FINE))
    shares = np.asarray(fine.reduce(_FINE), dtype=np.float64) / 255
    return (slice(low[1], high[1]), slice(low[0], high[0])), shares[..., None]
