"""Boxes in a CSV: NIH's, VinDr's and RSNA's by their names of columns, others by names that are told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.data.annotations import Shape
from benchmarks.data.csv_table import read_rows
from benchmarks.formats.coco import box_of_size
from benchmarks.formats.entries import Entry, Reading, number_in
from benchmarks.formats.image_files import ImageFiles, composed
from benchmarks.formats.labelled import LabelledObject
from benchmarks.run.errors import UserError

SUFFIXES = (".csv", ".tsv")
"""Of the names of tables; tabs are refused in a sentence of their own."""
CORNERS = ("x1", "y1", "x2", "y2")
SIZED = ("x", "y", "width", "height")


@dataclass(frozen=True)
class Preset:
    """A table that is known.

    Attributes:
        columns: The table's name of what is read: ``image``, ``category``, and ``CORNERS`` or ``SIZED``.
        size: Width and height of all its images, in pixels.
        nothing: Category of rows that say that there is nothing.
        categories: What the cells of ``category`` mean, where they are no names themselves.
    """

    columns: Mapping[str, str]
    size: tuple[int, int] | None = None
    nothing: str = ""
    categories: Mapping[str, str] | None = None


PRESETS = {
    # "Bbox [x,y,w,h]" is one name in NIH's header, but its commas are the file's.
    "nih": Preset(
        dict(
            zip(("image", "category", *SIZED), ("Image Index", "Finding Label", "Bbox [x", "y", "w", "h]"), strict=True)
        ),
        size=(1024, 1024),
    ),
    "vindr": Preset(
        dict(
            zip(
                ("image", "category", *CORNERS),
                ("image_id", "class_name", "x_min", "y_min", "x_max", "y_max"),
                strict=True,
            )
        ),
        nothing="No finding",
    ),
    "rsna": Preset(
        {"image": "patientId", "category": "Target", **{name: name for name in SIZED}},
        size=(1024, 1024),
        nothing="0",
        categories={"1": "Pneumonia"},
    ),
    "csv": Preset({name: name for name in ("image", "category", *CORNERS)}),
}
"""Known tables, the last with the names that are used here."""


def recognised(source: Path) -> str | None:
    """Which of ``PRESETS`` a file is by its header, if any."""
    if source.suffix.lower() not in SUFFIXES or not source.is_file():
        return None
    header = header_of(source)
    return next((name for name, preset in PRESETS.items() if set(preset.columns.values()) <= set(header)), None)


def read(source: Path, images: Path | None, preset: Preset) -> Reading:
    """Read a table; rows of one image are joined.

    Args:
        source: The table.
        images: Folder of the images; else ``images`` in or beside the table's folder, or that folder.
        preset: Its columns.

    Raises:
        UserError: A column is missing, or it is no table.
    """
    rows = read_rows(source)
    number, header = next(rows, (1, []))
    header = [cell.strip() for cell in header]
    known = ", ".join(filter(None, header)) or "nothing"
    for name in preset.columns.values():
        if name not in header:
            raise UserError(
                f"{source}, row {number}: there is no column {name!r} among {known}: name it with `columns`."
            )
        if header.count(name) > 1:
            raise UserError(f"{source}, row {number}: the column {name!r} is there twice: give each its own name.")
    places = {meaning: header.index(name) for meaning, name in preset.columns.items()}
    folder = source.parent
    files = ImageFiles(images, [folder, folder / "images", folder.parent / "images"])
    reading = Reading()
    entries: dict[str, Entry | None] = {}
    others = [header.index(side) for side in SIZED[2:] if side in header and side not in preset.columns.values()]
    stated: list[tuple[Entry, LabelledObject, tuple[int, int]]] = []
    for number, cells in rows:
        where = f"{source}, row {number}"
        with reading.at(where):
            row = {meaning: cells[place].strip() if place < len(cells) else "" for meaning, place in places.items()}
            name = composed(row["image"])
            if name not in entries:
                entries[name] = None  # an image that is missing is told once
                entries[name] = Entry(where, name, files.find(name), size=preset.size)
            found = _object(row, preset)
            entry = entries[name]
            if entry is None or found is None:
                continue
            if found.shapes:
                entry.objects.append((where, found))
                if len(others) == 2:
                    width, height = (_whole(cells[place]) if place < len(cells) else 0 for place in others)
                    stated.append((entry, found, (width, height)))
            else:
                entry.labels.append(found.category)
    _take_sizes(stated)
    reading.entries = [entry for entry in entries.values() if entry is not None]
    return reading.in_alphabet()


def _take_sizes(stated: Sequence[tuple[Entry, LabelledObject, tuple[int, int]]]) -> None:
    """Take columns ``width`` and ``height`` beside corners for those of images, unless they may be those of boxes."""
    rows = [(*size, *found.box) for _, found, size in stated]
    of_boxes = all(abs(w - (x2 - x1)) <= 1 and abs(h - (y2 - y1)) <= 1 for w, h, x1, y1, x2, y2 in rows)
    if not of_boxes and all(w >= x2 and h >= y2 for w, h, _, _, x2, y2 in rows):
        for entry, _, size in stated:
            entry.size = size


def _whole(text: str) -> int:
    """A number of pixels, 0 where it is none; pandas writes it as 640.0 where a row is blank."""
    digits = text.strip().removesuffix(".0")
    return int(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 10 else 0


def preset_of(columns: Mapping[str, str]) -> Preset:
    """A table with other names of columns.

    Args:
        columns: The table's name of each of ``image``, ``category``, and ``CORNERS`` or ``SIZED``.

    Raises:
        UserError: Another choice of names, or one column for two things.
    """
    choices = [{"image", "category", *sides} for sides in (CORNERS, SIZED)]
    if set(columns) not in choices:
        raise UserError(
            f"columns names {', '.join(columns) or 'nothing'}: it must name image, category and either "
            f"{', '.join(CORNERS)} or {', '.join(SIZED)}."
        )
    meanings: dict[str, str] = {}
    for meaning, name in columns.items():
        if (other := meanings.setdefault(name, meaning)) != meaning:
            raise UserError(f"columns gives {name!r} for both {other} and {meaning}: name a column for each.")
    return Preset(dict(columns))


def header_of(source: Path) -> list[str]:
    """Names of the columns of a CSV."""
    return [cell.strip() for cell in next(read_rows(source), (1, []))[1]]


def _object(row: Mapping[str, str], preset: Preset) -> LabelledObject | None:
    """The object of a row, without a shape where it has a category alone; None where there is nothing."""
    sides = SIZED if "width" in row else CORNERS
    *texts, category = ("" if row[name].lower() == "nan" else row[name] for name in (*sides, "category"))  # by pandas
    if preset.categories is not None:
        category = category.removesuffix(".0")  # as pandas writes a number beside a blank
    nothing = category == preset.nothing
    if any(texts) and nothing:
        raise ValueError(f"it has a box, but its {preset.columns['category']} is {category!r}")
    if nothing:
        return None
    if preset.categories is not None:
        if category not in preset.categories:
            values = " or ".join(map(repr, [preset.nothing, *preset.categories]))
            raise ValueError(f"its {preset.columns['category']} is {category!r} where {values} is expected")
        category = preset.categories[category]
        if not any(texts):
            raise ValueError(f"it has no box, but its {preset.columns['category']} is {row['category']!r}")
    if not any(texts):
        return LabelledObject(category, ())
    return LabelledObject(category, (_box(texts, [preset.columns[side] for side in sides], sides),))


def _box(texts: Sequence[str], names: Sequence[str], sides: Sequence[str]) -> Shape:
    a, b, c, d = (number_in(text, name) for text, name in zip(texts, names, strict=True))
    if sides == SIZED:
        return box_of_size(a, b, c, d)
    if c < a or d < b:
        raise ValueError(f"its box ends before it begins: {a:g} {b:g} {c:g} {d:g}")
    return Shape("rectangle", ((a, b), (c, d)))
