"""Reader of Object-CXR and of anything that is laid out like it.

Two layouts are known, and both headers ``image_name,annotation`` and ``image_path,annotation``::

    root/train.csv  root/train/00001.jpg ...                       (as the organisers ship it)
    root/object-CXR_train/train.csv  root/object-CXR_train/images/00001.jpg ...

Where each object has a row of its own, a film's rows are joined. What the objects are may be told in a table of its
own, see ``benchmarks.data.kinds``.
"""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.data.annotations import parse_annotation
from benchmarks.data.csv_table import read_rows
from benchmarks.data.kinds import kinds_table, read_kinds, with_kinds
from benchmarks.data.records import Split
from benchmarks.run.errors import UserError


class FaultyTableError(UserError):
    """Everything that is wrong with a table or a set; its text is the first fault and how many there are.

    Args:
        faults: A sentence each.
        listed_by: What lists them all.

    Attributes:
        faults: The same.
    """

    def __init__(self, faults: Sequence[str], listed_by: str = "`python -m benchmarks data`") -> None:
        self.faults = tuple(faults)
        more = f" ({len(faults)} faults in all; {listed_by} lists them)" if len(faults) > 1 else ""
        super().__init__(faults[0] + more)


def read_split(root: Path | str, split: str, limit: int | None = None) -> Split:
    r"""Read the rows of one split, in the order of its CSV; rows of one film are joined.

    Args:
        root: Data folder in either layout.
        split: ``"train"``, ``"dev"`` or ``"test"``.
        limit: Keep at most this many films, the first half of them of each class.

    Returns:
        One record a film. That the films exist is checked here; that they decode, by ``FilmDataset``.

    Raises:
        UserError: No such split, or a table of another kind.
        FaultyTableError: Malformed rows, missing films, names that leave the folder: all of them.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from PIL import Image
        >>> with TemporaryDirectory() as folder:
        ...     (Path(folder) / "test").mkdir()
        ...     Image.new("L", (40, 30)).save(Path(folder) / "test" / "1.png")
        ...     _ = (Path(folder) / "test.csv").write_text("image_name,annotation\n1.png,0 5 5 20 10\n")
        ...     (record,) = read_split(folder, "test")
        >>> record.label, record.shapes[0].box
        (1, (5.0, 5.0, 20.0, 10.0))
    """
    table, folder = locate(Path(root), split)
    films = Split(table)
    faults: list[str] = []
    columns, rows = _opened(table)
    for number, cells in rows:
        try:
            name, annotation = _chosen(cells, columns)
            shapes = parse_annotation(annotation)
            path, _ = _film(folder, table, name)
            first = films.add(name, path, annotation if shapes else "", number)
            if first is not None:
                raise UserError(f"{name} has objects on one row and none on another (row {first}): keep one")
        except (UserError, ValueError) as error:  # noqa: PERF203 - all faults are told at once
            faults.append(f"{table}, row {number}: {error}.")
    whole = not faults  # else a film may be unknown for a fault of its own
    for number, name, kinds in read_kinds(table):
        if not films.add_kinds(name, kinds) and whole:
            told = f"{name[:200]!r} is no film of {table.name}: name one as it does, or remove the row"
            faults.append(f"{kinds_table(table)}, row {number}: {told}.")
    for name, annotation, kinds in films.with_kinds():
        try:
            with_kinds(table, name, parse_annotation(annotation), kinds)
        except UserError as error:  # noqa: PERF203
            faults.append(str(error))
    if faults:
        raise FaultyTableError(faults)
    films.choose(limit)
    if not len(films.labels):
        raise UserError(f"{table} lists no films.")
    return films


def film_states(root: Path, split: str) -> Iterator[tuple[str, int, int]]:
    """What tells whether the films of a split are those of before, without a look at the annotations.

    Args:
        root: Data folder in either layout.
        split: Its name.

    Returns:
        For each row, one by one, the film's path, its size in bytes and its time of change in nanoseconds.

    Raises:
        UserError: As of :func:`read_split`, the first only, and without the row.
    """
    table, folder = locate(root, split)
    columns, rows = _opened(table)
    for _, cells in rows:
        path, status = _film(folder, table, _chosen(cells, columns)[0])
        yield path, status.st_size, status.st_mtime_ns


def split_tables(root: Path, split: str) -> list[Path]:
    """Find where the CSV of a split may be.

    Args:
        root: Data folder.
        split: Its name.

    Returns:
        Paths, of which any may be missing; the first that is there counts.
    """
    # Without a pattern for the table: Python 3.12 would list the folder's films.
    return [folder / f"{split}.csv" for folder in (root, *sorted(root.glob(f"*{split}")))]


def locate(root: Path, split: str) -> tuple[Path, Path]:
    """CSV and film folder of a split.

    Args:
        root: Data folder in either layout.
        split: Its name.

    Returns:
        The table, and the folder from which its films' names count.

    Raises:
        UserError: There is no such split.
    """
    for table in split_tables(root, split):
        if table.is_file():
            for folder in (table.parent / split, table.parent / "images"):
                if folder.is_dir():
                    return table, folder
            raise UserError(f"{table} has no folder {split}/ or images/ with its films beside it.")
    if not root.is_dir():
        raise UserError(f"--data: there is no folder {root}.")
    if split == "test" and any(path.is_file() for path in split_tables(root, "dev")):
        raise UserError(
            f"{root} holds no test.csv: make a test split from the others with `python -m benchmarks split --data "
            f"{root} --out FOLDER`, and give that folder."
        )
    raise UserError(
        f"{root} holds neither {split}.csv nor object-CXR_{split}/{split}.csv; "
        "give the folder of a set in Object-CXR layout."
    )


def _opened(table: Path) -> tuple[tuple[int, int], Iterator[tuple[int, list[str]]]]:
    """Columns of name and annotation, and the rows below the header."""
    rows = read_rows(table)
    header = [cell.strip() for cell in next(rows, (1, []))[1]]
    for name in ("image_name", "image_path"):
        if name in header and "annotation" in header:
            for column in (name, "annotation"):
                if header.count(column) > 1:
                    raise UserError(f"{table}, row 1: the column {column!r} is there twice: give each its own name.")
            return (header.index(name), header.index("annotation")), rows
    raise UserError(f'{table}, row 1: the header must be "image_name,annotation", not "{",".join(header)}".')


def _chosen(cells: list[str], columns: tuple[int, int]) -> tuple[str, str]:
    if len(cells) <= max(columns):
        raise UserError(f"{len(cells)} cell(s) where a name and an annotation are expected")
    return cells[columns[0]].strip(), cells[columns[1]]


def _film(folder: Path, table: Path, name: str) -> tuple[str, os.stat_result]:
    """Path and state of a film, which must exist below the data folder."""
    parts = name.replace("\\", "/")
    if not parts or parts.startswith("/") or ":" in name or ".." in parts.split("/") or "\0" in name:
        raise UserError(f"the name {name[:200]!r} is not a path inside {folder}")
    # image_path may count from the folder of the CSV ("train/00001.jpg"), and macOS takes letters and accents apart.
    forms = dict.fromkeys((parts, unicodedata.normalize("NFC", parts), unicodedata.normalize("NFD", parts)))
    for path in (f"{base}/{form}" for form in forms for base in (folder, table.parent)):
        try:
            status = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise UserError(f"the film {name[:200]!r} cannot be found ({error.strerror})") from None
        if stat.S_ISREG(status.st_mode):
            return path, status
    raise UserError(f"the film {folder / parts} is missing")
