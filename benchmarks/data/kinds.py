"""What the annotated objects are: an optional table beside the CSV of a split, for which Object-CXR has no place.

``test_kinds.csv`` lies beside ``test.csv``; ``kinds`` holds the objects of a film in the order of its annotation::

    image_name,kinds
    00002.jpg,button;button;necklace

Films that are not in it have objects of unknown kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.data.annotations import Shape
from benchmarks.data.csv_table import read_rows
from benchmarks.run.errors import UserError
from benchmarks.run.files import write_rows

HEADER = ["image_name", "kinds"]


def kinds_table(table: Path) -> Path:
    """Where the kinds of a split are, whose CSV is given."""
    return table.with_name(f"{table.stem}_kinds.csv")


def write_kinds(table: Path, films: Iterable[tuple[str, Iterable[Shape]]]) -> None:
    """Write the kinds of the films that have objects.

    Args:
        table: CSV of the split.
        films: Name and shapes of each film.
    """
    rows = ((name, ";".join(s.content for s in shapes)) for name, shapes in films if shapes)
    write_rows(kinds_table(table), HEADER, rows)


def read_kinds(table: Path) -> Iterator[tuple[int, str, str]]:
    """Read the kinds of a split.

    Args:
        table: CSV of the split.

    Yields:
        Number, film's name and kinds, joined by ``;``, of each row that tells some; of one film there may be several,
        one an object, as in the table of annotations. Nothing where the split has no kinds.

    Raises:
        UserError: The file is there but not readable.
    """
    path = kinds_table(table)
    if not path.is_file():
        return
    lines = read_rows(path)
    if [cell.strip() for cell in next(lines, (1, []))[1]] != HEADER:
        raise UserError(f'{path}, row 1: the header must be "{",".join(HEADER)}".')
    for number, cells in lines:
        if len(cells) != 2:
            raise UserError(f"{path}, row {number}: two cells are expected, not {len(cells)}.")
        if cells[1].strip():  # an empty cell says as much as no row
            yield number, cells[0].strip(), ";".join(kind.strip() for kind in cells[1].split(";"))


def with_kinds(table: Path, name: str, shapes: tuple[Shape, ...], kinds: str) -> tuple[Shape, ...]:
    """The shapes of a film with their kinds, which are joined by ``;``.

    Raises:
        UserError: There are more or fewer kinds than objects.
    """
    contents = kinds.split(";")
    if len(contents) != len(shapes):
        raise UserError(
            f"{kinds_table(table)}: {name} has {len(contents)} kinds for {len(shapes)} annotated objects; give one "
            "each."
        )
    return tuple(replace(shape, content=kind) for shape, kind in zip(shapes, contents, strict=True))
