"""Reader of Object-CXR and of anything that is laid out like it.

Two layouts are known, and both headers ``image_name,annotation`` and ``image_path,annotation``::

    root/train.csv  root/train/00001.jpg ...                       (as the organisers ship it)
    root/object-CXR_train/train.csv  root/object-CXR_train/images/00001.jpg ...

Where each object has a row of its own, a film's rows are joined. What the objects are may be told in a table of its
own, see ``benchmarks.data.kinds``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from benchmarks.data.annotations import Shape, parse_annotation
from benchmarks.data.csv_table import read_rows
from benchmarks.data.kinds import read_kinds, with_kinds
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


@dataclass(frozen=True)
class Record:
    """One film of a split.

    Attributes:
        name: The film's name as the CSV gives it.
        path: Where the film is.
        shapes: Its annotated objects, in pixels of the original film.
        row: Line in the CSV of its first row, the header being line 1.
        table: The CSV.
        rows: Rows that it has in the CSV; more than one where each object has its own.
    """

    name: str
    path: Path
    shapes: tuple[Shape, ...]
    row: int
    table: Path
    rows: int = 1

    @property
    def lot(self) -> str:
        """What lots are drawn by where pixels of a map tie."""
        return self.name

    @property
    def label(self) -> int:
        """1 where a foreign object is annotated, else 0."""
        return int(bool(self.shapes))

    @property
    def where(self) -> str:
        """Table and row, for messages."""
        return f"{self.table}, row {self.row}"


def read_split(root: Path | str, split: str, limit: int | None = None) -> list[Record]:
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
    table, folder = _locate(Path(root), split)
    kinds = read_kinds(table)
    records: dict[str, Record] = {}
    faults: list[str] = []
    rows = read_rows(table)
    name_column, annotation_column = _columns(table, next(rows, (1, []))[1])
    for number, cells in rows:
        try:
            if len(cells) <= max(name_column, annotation_column):
                raise UserError(f"{len(cells)} cell(s) where a name and an annotation are expected")
            name = cells[name_column].strip()
            shapes = parse_annotation(cells[annotation_column])
            if name in records:
                records[name] = _joined(records[name], shapes)
            else:
                records[name] = Record(name, _film_path(folder, table, name), shapes, number, table)
        except (UserError, ValueError) as error:  # noqa: PERF203 - all faults are told at once
            faults.append(f"{table}, row {number}: {error}.")
    for name, record in records.items():
        if name in kinds:
            try:
                records[name] = replace(record, shapes=with_kinds(table, name, record.shapes, kinds[name]))
            except UserError as error:
                faults.append(str(error))
    if faults:
        raise FaultyTableError(faults)
    if not records:
        raise UserError(f"{table} lists no films.")
    return list(records.values()) if limit is None else _balanced(list(records.values()), limit)


def _joined(record: Record, shapes: tuple[Shape, ...]) -> Record:
    """The film with the objects of a further row."""
    if bool(shapes) != bool(record.shapes):
        raise UserError(f"{record.name} has objects on one row and none on another (row {record.row}): keep one")
    return replace(record, shapes=record.shapes + shapes, rows=record.rows + 1)


def split_tables(root: Path, split: str) -> list[Path]:
    """Find where the CSV of a split may be.

    Args:
        root: Data folder.
        split: Its name.

    Returns:
        Paths, of which any may be missing; the first that is there counts.
    """
    return [root / f"{split}.csv", *sorted(root.glob(f"*{split}/{split}.csv"))]


def _locate(root: Path, split: str) -> tuple[Path, Path]:
    """CSV and film folder of a split."""
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


def _columns(table: Path, header: list[str]) -> tuple[int, int]:
    names = [cell.strip() for cell in header]
    for name in ("image_name", "image_path"):
        if name in names and "annotation" in names:
            return names.index(name), names.index("annotation")
    raise UserError(f'{table}, row 1: the header must be "image_name,annotation", not "{",".join(names)}".')


def _film_path(folder: Path, table: Path, name: str) -> Path:
    """Path of a film, which must exist below the data folder."""
    parts = PurePosixPath(name.replace("\\", "/"))
    if not name or parts.is_absolute() or ":" in name or ".." in parts.parts or "\0" in name:
        raise UserError(f"the name {name[:200]!r} is not a path inside {folder}")
    # image_path may count from the folder of the CSV ("train/00001.jpg").
    try:
        for path in (folder / parts, table.parent / parts):
            if path.is_file():
                return path
    except OSError as error:
        raise UserError(f"the film {name[:200]!r} cannot be found ({error.strerror})") from None
    raise UserError(f"the film {folder / parts} is missing")


def _balanced(records: list[Record], limit: int) -> list[Record]:
    left = {0: limit // 2, 1: limit - limit // 2}
    chosen = []
    for record in records:
        if left[record.label]:
            left[record.label] -= 1
            chosen.append(record)
    return chosen
