"""Annotations of Object-CXR: their text form, their shapes and the masks that they stand for.

One cell of the organisers' CSV holds the objects of one film, joined by ``;``. An object is
``TYPE x1 y1 x2 y2 ...`` in pixels of the original film, origin top left. TYPE 0 is a rectangle and
1 an ellipse, both given by two corners of their bounding box, and 2 is a polygon.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from benchmarks.run.errors import printable

KINDS = ("rectangle", "ellipse", "polygon")
"""Names of the type codes of the files, whose position is the code."""

LARGEST = 1e6
"""Coordinate beyond any film, either way, in pixels."""

_CROSSINGS = 2**20


@dataclass(frozen=True)
class Shape:
    """One annotated object.

    Attributes:
        kind: ``"rectangle"``, ``"ellipse"`` or ``"polygon"``.
        points: (x, y) in pixels of the original film; two opposite corners of the bounding box for a
            rectangle and an ellipse, three or more vertices for a polygon. May lie off the film.
        content: What lies there, such as ``"button"``; empty where unknown. The annotation's text has no place for
            it, so it takes no part in comparisons.
    """

    kind: str
    points: tuple[tuple[float, float], ...]
    content: str = field(default="", compare=False, repr=False)

    def __post_init__(self) -> None:
        """Check the kind and the number of points."""
        if self.kind not in KINDS:
            raise ValueError(f"{self.kind!r} is not one of the shapes {', '.join(KINDS)}")
        if self.kind == "polygon" and len(self.points) < 3:
            raise ValueError(f"a polygon needs at least 3 points, not {len(self.points)}")
        if self.kind != "polygon" and len(self.points) != 2:
            raise ValueError(f"a {self.kind} needs exactly 2 points, not {len(self.points)}")

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Bounding box (x1, y1, x2, y2) with x1 <= x2 and y1 <= y2, in original pixels, unclipped."""
        xs, ys = zip(*self.points, strict=True)
        return min(xs), min(ys), max(xs), max(ys)


def parse_annotation(text: str) -> tuple[Shape, ...]:
    """Shapes in one annotation cell; an empty cell gives none.

    Args:
        text: The cell, e.g. ``"0 10 20 110 220;2 1 1 5 1 3 4"``.

    Returns:
        The shapes in the order of the text.

    Raises:
        ValueError: The text is malformed; the message is a fragment that fits behind "row 7: ".

    Example:
        >>> parse_annotation("1 10 20 30 60")[0].box
        (10.0, 20.0, 30.0, 60.0)
    """
    return tuple(_parse_shape(part) for part in text.split(";") if part.strip())


def _parse_shape(text: str) -> Shape:
    try:
        return _shape(*text.split())
    except ValueError as error:
        raise ValueError(f"object {printable(repr(text.strip()), 80)} {error}") from None


def _shape(code: str, *numbers: str) -> Shape:
    if code not in ("0", "1", "2"):
        raise ValueError(f"has type {code[:20]!r} where 0, 1 or 2 is expected")
    try:
        values = [_coordinate(number) for number in numbers]
    except ValueError:
        raise ValueError("has a coordinate that is not a number") from None
    if not all(math.isfinite(value) for value in values):
        raise ValueError("has a coordinate that is not finite")
    if any(abs(value) > LARGEST for value in values):
        raise ValueError("has a coordinate beyond any film")
    if len(values) % 2:
        raise ValueError("has an odd number of coordinates")
    try:
        return Shape(KINDS[int(code)], tuple(zip(values[::2], values[1::2], strict=True)))
    except ValueError as error:
        raise ValueError(f"is incomplete: {error}") from None


def _coordinate(text: str) -> float:
    if "_" in text:  # which Python allows in numbers
        raise ValueError
    return float(text)


def format_annotation(shapes: Iterable[Shape]) -> str:
    """The cell for some shapes, such that ``parse_annotation`` returns equal ones.

    Args:
        shapes: Shapes in pixels of the original film.

    Returns:
        The text. Whole coordinates are written without a decimal point, as in the organisers' files.

    Example:
        >>> format_annotation(parse_annotation("0 1 2 3.5 4;"))
        '0 1 2 3.5 4'
    """
    return ";".join(
        " ".join([str(KINDS.index(shape.kind)), *(_number(value) for point in shape.points for value in point)])
        for shape in shapes
    )


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def rasterize(
    shapes: Iterable[Shape], width: int, height: int, frame: int | tuple[int, int] = 600, truth: str = "box"
) -> npt.NDArray[np.bool_]:
    """Mask of the annotated pixels of a film that is stretched onto a frame.

    The aspect is not kept, as in the published protocol. With ``truth="box"`` a pixel belongs to an
    object when ``floor(x1) <= column < ceil(x2)`` in coordinates of the frame, and the same for rows;
    with ``truth="shape"`` an ellipse or polygon holds the pixels whose centre lies in it (even-odd rule).
    Whatever lies off the film is clipped to it, and every shape marks at least one pixel.

    Args:
        shapes: Shapes in pixels of the original film.
        width: Width of the original film in pixels.
        height: Height of the original film in pixels.
        frame: Height and width of the frame in pixels, or the side of a square one.
        truth: ``"box"`` for bounding boxes (the paper's choice) or ``"shape"`` for the true outlines.

    Returns:
        Boolean array (frame height, frame width).

    Raises:
        ValueError: Unknown ``truth``.

    Example:
        >>> button = Shape("ellipse", ((500, 250), (600, 350)))
        >>> mask = rasterize([button], width=1000, height=500, frame=100)
        >>> bool(mask[50:70, 50:60].all()), int(mask.sum())
        (True, 200)
    """
    if truth not in ("box", "shape"):
        raise ValueError(f'truth must be "box" or "shape", not {truth!r}')
    down, across = (frame, frame) if isinstance(frame, int) else frame
    mask = np.zeros((down, across), dtype=bool)
    for shape in shapes:
        x1, y1, x2, y2 = shape.box
        left, right = _span(x1 * across / width, x2 * across / width, across)
        top, bottom = _span(y1 * down / height, y2 * down / height, down)
        window = mask[top:bottom, left:right]
        if truth == "box" or shape.kind == "rectangle":
            window[:] = True
            continue
        # Centres of the window's pixels, in original pixels: outlines need no conversion then.
        columns = (np.arange(left, right) + 0.5)[None, :] * width / across
        rows = (np.arange(top, bottom) + 0.5)[:, None] * height / down
        inside = _in_ellipse(shape, columns, rows) if shape.kind == "ellipse" else _in_polygon(shape, columns, rows)
        if not inside.any():  # thinner than the grid: keep the middle, so that no object is lost
            inside[inside.shape[0] // 2, inside.shape[1] // 2] = True
        window |= inside
    return mask


def _span(low: float, high: float, frame: int) -> tuple[int, int]:
    """First and one-past-last pixel of an interval, clipped to the frame and never empty."""
    first = min(max(math.floor(low), 0), frame - 1)
    return first, max(min(math.ceil(high), frame), first + 1)


def _in_ellipse(shape: Shape, columns: npt.NDArray[np.float64], rows: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    x1, y1, x2, y2 = shape.box
    x_radius, y_radius = max((x2 - x1) / 2, 1e-9), max((y2 - y1) / 2, 1e-9)
    return ((columns - (x1 + x2) / 2) / x_radius) ** 2 + ((rows - (y1 + y2) / 2) / y_radius) ** 2 <= 1


def _in_polygon(shape: Shape, columns: npt.NDArray[np.float64], rows: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Even-odd rule: an edge that crosses a row's line turns over every pixel to the left of the crossing."""
    across, down = columns[0], rows[:, 0]
    points = np.array(shape.points, dtype=np.float64)
    xa, ya = points.T
    xb, yb = np.roll(points, -1, axis=0).T
    first = np.searchsorted(down, np.minimum(ya, yb))
    count = np.searchsorted(down, np.maximum(ya, yb)) - first
    turns = np.zeros((len(down), len(across) + 1), dtype=np.int64)
    for some in np.array_split(np.arange(len(points)), 1 + int(count.sum()) // _CROSSINGS):  # bounds the memory
        edge = np.repeat(some, count[some])
        row = np.arange(len(edge)) - np.repeat(np.cumsum(count[some]) - count[some], count[some]) + first[edge]
        x = xa[edge] + (down[row] - ya[edge]) * (xb[edge] - xa[edge]) / (yb[edge] - ya[edge])
        np.add.at(turns, (row, np.searchsorted(across, x)), 1)
    turned: npt.NDArray[np.bool_] = turns[:, :0:-1].cumsum(axis=1)[:, ::-1] % 2 == 1
    return turned
