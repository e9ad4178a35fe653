"""Reads tables as people's programs write them, or says how to have them written otherwise."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator
from pathlib import Path

from benchmarks.run.errors import UserError

csv.field_size_limit(2**24)  # an outline of 16,000 corners is longer than Python's own limit

_AS = "save it as CSV in UTF-8 with commas (in a spreadsheet: CSV UTF-8)"


def read_rows(table: Path) -> Iterator[tuple[int, list[str]]]:
    """Rows of a CSV in UTF-8 with commas; rows of blanks and Excel's line ``sep=,`` are left out.

    Args:
        table: The file.

    Yields:
        The number of the row's (last) line, and its cells.

    Raises:
        UserError: Another encoding or separator (names it and the cure), a cell behind the last that has a name, or no
            CSV.
    """
    number = 0
    names: list[str] = []
    _refuse_no_text(table)
    try:
        with table.open(encoding="utf-8-sig", newline="") as stream:
            # Blanks before a cell count nowhere, and before quotes they would make the quotes a part of it.
            reader = csv.reader(stream, strict=True, skipinitialspace=True)
            for cells in reader:
                number = reader.line_num
                if len(cells) == 1:
                    _check_separator(table, number, cells[0])
                if not any(cell.strip() for cell in cells) or (number == 1 and ",".join(cells).strip() == "sep=,"):
                    continue
                names = names or cells
                _check_length(table, number, cells, names)
                yield number, cells
    except csv.Error as error:
        raise UserError(f"{table}, after row {number}: not readable as CSV ({error}).") from None
    except UnicodeDecodeError:
        row = _first_other_row(table)
        raise UserError(f"{table}, row {row}: not in UTF-8, but perhaps in Latin-1: {_AS}.") from None


def _refuse_no_text(table: Path) -> None:
    with table.open("rb") as stream:
        start = stream.read(100)
    if start.startswith(b"PK\x03\x04"):
        raise UserError(f"{table} is a spreadsheet's own file, whatever its name: {_AS}.")
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in start:
        raise UserError(f"{table} is in UTF-16, or no text at all: {_AS}.")


def _first_other_row(table: Path) -> int:
    """Number of the first row that is not in UTF-8: the reader looks further than the row at which it stops."""
    with table.open("rb") as stream:
        rows = enumerate(stream, start=1)
        return next(row for row, line in rows if line != line.decode(errors="ignore").encode())


def _check_length(table: Path, number: int, cells: list[str], names: list[str]) -> None:
    """Refuse what stands in no column: where a comma is part of a cell, all behind it has moved."""
    named = max(place for place, name in enumerate(names, start=1) if name.strip())
    if behind := [cell for cell in cells[named:] if cell.strip()]:
        raise UserError(
            f"{table}, row {number}: {behind[0].strip()[:40]!r} is behind the last of {named} columns: put cells with "
            "commas in quotes, write decimal points, or give the column a name."
        )


def _check_separator(table: Path, number: int, cell: str) -> None:
    """Refuse a header whose names are separated by something else."""
    for separator, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if number == 1 and separator in cell:
            raise UserError(f"{table} has its columns separated by {name}: {_AS}.")
