"""Object-CXR, or what is laid out like it: one split, read by the reader that the Object-CXR run has."""

from __future__ import annotations

from pathlib import Path

from benchmarks.data.object_cxr import FaultyTableError, read_split, split_tables
from benchmarks.formats.entries import Entry, Reading
from benchmarks.formats.labelled import LabelledObject
from benchmarks.run.config import SPLITS
from benchmarks.run.errors import UserError

CATEGORY = "foreign object"


def recognises(source: Path, images: Path | None) -> bool:
    """Whether it is the table of a split or a folder with one."""
    return any(b"annotation" in table.read_bytes().partition(b"\n")[0] for table in _tables(source))


def read(source: Path, images: Path | None) -> Reading:
    """Read a split.

    Args:
        source: Its table, or a folder that holds one of them.
        images: Must be None.

    Raises:
        UserError: There is no table, or there are several splits.
    """
    tables = _tables(source)
    if images is not None:
        raise UserError(f"Object-CXR has its images beside its table ({source}): leave `images` out.")
    if len(tables) > 1:
        raise UserError(f"{source} holds {', '.join(map(str, tables))}: give one of them.")
    if not tables:
        raise UserError(
            f"{source} is neither train.csv, dev.csv or test.csv in Object-CXR layout nor a folder with one."
        )
    (table,) = tables
    reading = Reading(categories=[CATEGORY])
    try:
        records = read_split(table.parent, table.stem)
    except FaultyTableError as error:
        reading.faults += error.faults
        return reading
    for record in records:
        objects = [(record.where, LabelledObject(CATEGORY, (shape,))) for shape in record.shapes]
        reading.entries.append(Entry(record.where, record.name, record.path, objects))
    return reading


def _tables(source: Path) -> list[Path]:
    if source.is_file():
        return [source] if source.suffix == ".csv" and source.stem in SPLITS else []
    found = ([path for path in split_tables(source, split) if path.is_file()][:1] for split in SPLITS)
    return [path for paths in found for path in paths]
