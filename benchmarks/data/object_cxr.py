"""Reader of Object-CXR and of anything that is laid out like it.

Two layouts are known, and both headers ``image_name,annotation`` and ``image_path,annotation``::

    root/train.csv  root/train/00001.jpg ...                       (as the organisers ship it)
    root/object-CXR_train/train.csv  root/object-CXR_train/images/00001.jpg ...

What the objects are may be told in a table of its own, see ``benchmarks.data.kinds``.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from benchmarks.data.annotations import Shape, parse_annotation
from benchmarks.data.kinds import read_kinds, with_kinds
from benchmarks.run.errors import UserError


@dataclass(frozen=True)
class Record:
    """One row of a split.

    Attributes:
        name: The film's name as the CSV gives it.
        path: Where the film is.
        shapes: Its annotated objects, in pixels of the original film.
        row: Line in the CSV, the header being line 1.
        table: The CSV.
    """

    name: str
    path: Path
    shapes: tuple[Shape, ...]
    row: int
    table: Path

    @property
    def label(self) -> int:
        """1 where a foreign object is annotated, else 0."""
        return int(bool(self.shapes))


def read_split(root: Path | str, split: str, limit: int | None = None) -> list[Record]:
    r"""Read the rows of one split, in the order of its CSV.

    Args:
        root: Data folder in either layout.
        split: ``"train"``, ``"dev"`` or ``"test"``.
        limit: Keep at most this many films, the first half of them of each class.

    Returns:
        One record a film. That the films exist is checked here; that they decode, by ``FilmDataset``.

    Raises:
        UserError: No such split, a malformed row or table of kinds, a missing film, or a name that leaves the folder.

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
    records = []
    seen: dict[str, int] = {}
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream, strict=True)
            name_column, annotation_column = _columns(table, next(reader, []))
            for cells in reader:
                if not cells:
                    continue
                where = f"{table}, row {reader.line_num}"
                if len(cells) <= max(name_column, annotation_column):
                    raise UserError(f"{where}: {len(cells)} cell(s) where a name and an annotation are expected.")
                name = cells[name_column].strip()
                try:
                    shapes = parse_annotation(cells[annotation_column])
                except ValueError as error:
                    raise UserError(f"{where}: {error}.") from None
                if name in seen:
                    raise UserError(f"{where}: {name} is already on row {seen[name]}; remove one of the two.")
                seen[name] = reader.line_num
                if name in kinds:
                    shapes = with_kinds(table, name, shapes, kinds[name])
                path = _film_path(folder, table, name, where)
                records.append(Record(name, path, shapes, reader.line_num, table))
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{table}, after row {len(records) + 1}: not readable as CSV ({error}).") from None
    if not records:
        raise UserError(f"{table} lists no films.")
    return records if limit is None else _balanced(records, limit)


def _locate(root: Path, split: str) -> tuple[Path, Path]:
    """CSV and film folder of a split."""
    tables = [root / f"{split}.csv", *sorted(root.glob(f"*{split}/{split}.csv"))]
    for table in tables:
        if table.is_file():
            for folder in (table.parent / split, table.parent / "images"):
                if folder.is_dir():
                    return table, folder
            raise UserError(f"{table} has no folder {split}/ or images/ with its films beside it.")
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


def _film_path(folder: Path, table: Path, name: str, where: str) -> Path:
    """Path of a film, which must exist below the data folder."""
    parts = PurePosixPath(name.replace("\\", "/"))
    if not name or parts.is_absolute() or ":" in name or ".." in parts.parts:
        raise UserError(f"{where}: the name {name!r} is not a path inside {folder}.")
    # image_path may count from the folder of the CSV ("train/00001.jpg").
    for path in (folder / parts, table.parent / parts):
        if path.is_file():
            return path
    raise UserError(f"{where}: the film {folder / parts} is missing.")


def _balanced(records: list[Record], limit: int) -> list[Record]:
    left = {0: limit // 2, 1: limit - limit // 2}
    chosen = []
    for record in records:
        if left[record.label]:
            left[record.label] -= 1
            chosen.append(record)
    return chosen
