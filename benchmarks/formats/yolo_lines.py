"""Lines of YOLO's text: a class, and a box, an outline, or a box with key points, in shares of the image's sides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.data.annotations import Shape
from benchmarks.formats.entries import Entry, Reading, number_in, text_of
from benchmarks.formats.labelled import LabelledObject
from benchmarks.run.text_tables import counted

_LEEWAY = 1e-3
"""How far a share may lie outside of the image, as rounding and boxes at its edge do."""
_MOST = 0.9
"""Share of outlines from which on all may be key points in a box: some of those lie outside of their box."""
_SEEN = (0, 1, 2)
"""What the third number of a key point says: not there, hidden, or seen."""


class Lines:
    """Reads lines, and remembers whether their outlines may be boxes with key points.

    Args:
        names: Of the classes.
        content: Of the YAML file, whose ``kpt_shape`` tells of key points.
    """

    def __init__(self, names: Sequence[str], content: Mapping[str, Any]) -> None:
        self._names = names
        self._told, self._pose = "kpt_shape" in content, bool(content.get("kpt_shape"))
        self._outlines: Counter[tuple[int, bool]] = Counter()

    def read(self, path: Path, entry: Entry, reading: Reading) -> None:
        """Add the objects of a file to an entry."""
        lines: list[str] = []
        with reading.at(str(path)):
            lines = text_of(path).splitlines()
        for number, line in enumerate(lines, start=1):
            if words := line.split():
                where = f"{path}, line {number}"
                with reading.at(where):
                    entry.objects.append((where, self._object(words)))

    def question(self, source: Path) -> list[str]:
        """What must be asked about all lines together; nothing where it is told, or plain."""
        lengths, count = {length for length, _ in self._outlines}, self._outlines.total()
        alike = sum(self._outlines[length, True] for length in lengths)
        if self._told or len(lengths) != 1 or alike < _MOST * count:
            return []
        points = (lengths.pop() - 4) // 2
        return [
            f"{source}: {counted(count, 'line')} may be an outline or a box with {counted(points, 'key point')}: write "
            f"`kpt_shape: [{points}, 2]` into data.yaml for key points, and `kpt_shape: null` for outlines."
        ]

    def _object(self, words: list[str]) -> LabelledObject:
        names = self._names
        if not words[0].isascii() or not words[0].isdigit() or int(words[0]) >= len(names):
            raise ValueError(f"its class is {words[0][:40]!r} where a number from 0 to {len(names) - 1} is expected")
        values = [number_in(word, "share") for word in words[1 : 5 if self._pose else None]]
        if not self._told and _may_have_points(values, 3):
            raise ValueError("it seems to be a box with key points: tell of them in data.yaml by `kpt_shape`")
        shape = _shape(values)
        if shape.kind == "polygon":
            self._outlines[len(values), _may_have_points(values, 2) and not _is_turned_box(values)] += 1
        return LabelledObject(names[int(words[0])], (shape,))


def _shape(values: list[float]) -> Shape:
    if len(values) == 5:
        raise ValueError("it has five numbers behind its class: leave out the last, if it is a confidence")
    if len(values) < 4 or len(values) % 2:
        raise ValueError(f"it has {len(values)} numbers where a box has 4 and a polygon 6 or more, two a point")
    if not all(-_LEEWAY <= value <= 1 + _LEEWAY for value in values):
        worst = max(values, key=lambda value: abs(value - 0.5))
        raise ValueError(f"{worst:g} is no share of the image: YOLO counts from 0 to 1")
    if len(values) > 4:
        return Shape("polygon", tuple(zip(values[::2], values[1::2], strict=True)))
    x, y, width, height = values
    if width < 0 or height < 0:
        raise ValueError(f"its box has the size {width:g} x {height:g}: a width and a height are not negative")
    return Shape("rectangle", ((x - width / 2, y - height / 2), (x + width / 2, y + height / 2)))


def _may_have_points(values: list[float], size: int) -> bool:
    """Whether numbers may be a box on the image and key points: of two numbers and in it, or of three."""
    if len(values) <= 4 or (len(values) - 4) % size:
        return False
    x, y, width, height = values[:4]
    points = [values[first : first + size] for first in range(4, len(values), size)]
    if not (0 < width / 2 <= min(x, 1 - x) + _LEEWAY and 0 < height / 2 <= min(y, 1 - y) + _LEEWAY):
        return False
    if size == 3:
        return all(seen in _SEEN for _, _, seen in points)
    inside = (abs(a - x) <= width / 2 + _LEEWAY and abs(b - y) <= height / 2 + _LEEWAY for a, b in points)
    return all(there or not any(point) for there, point in zip(inside, points, strict=True))  # 0 0 is not there


def _is_turned_box(values: list[float]) -> bool:
    """Whether an outline has four corners and diagonals that share their middle, as oriented boxes have."""
    if len(values) != 8:
        return False
    x1, y1, x2, y2 = (a + b for a, b in zip(values[:4], values[4:], strict=True))
    return abs(x1 - x2) < _LEEWAY and abs(y1 - y2) < _LEEWAY
