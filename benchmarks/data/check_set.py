"""What would make a run fail, or its scores nonsense: found before, and all at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.data.annotations import Shape
from benchmarks.data.film_facts import FilmFacts, film_facts
from benchmarks.data.object_cxr import FaultyTableError, Record, read_split
from benchmarks.run.directory import SPLITS
from benchmarks.run.errors import UserError


@dataclass(frozen=True)
class Checked:
    """A set without faults.

    Attributes:
        splits: Records by split.
        remarks: What is odd, a sentence each, but may be meant.
    """

    splits: Mapping[str, Sequence[Record]]
    remarks: tuple[str, ...]


def check_set(root: Path, limit: int | None, cache_dir: Path) -> Checked:
    """Read all splits of a set through, with their films.

    Args:
        root: Data folder.
        limit: Films per split, as in ``read_split``.
        cache_dir: Where facts of the films are kept.

    Raises:
        FaultyTableError: Malformed rows, films that are missing, do not decode or are in several splits, objects off
            their film or without an area, coordinates that are shares, splits of one class: all of them.
    """
    faults: list[str] = []
    splits: dict[str, list[Record]] = {}
    for split in SPLITS:
        try:
            splits[split] = read_split(root, split, limit)
        except FaultyTableError as error:  # noqa: PERF203 - all faults are told at once
            faults += error.faults
        except UserError as error:
            faults.append(str(error))
    remarks = []
    for split, records in splits.items():
        faults += _classes(split, records)
        remarks += _joined(split, records)
    faults += _in_folders_of_others(splits)
    everything = [record for records in splits.values() for record in records]
    try:
        facts = dict(zip((record.path for record in everything), film_facts(everything, cache_dir), strict=True))
    except FaultyTableError as error:
        raise FaultyTableError([*faults, *error.faults]) from None
    for split, records in splits.items():
        for record in records:
            faults += _objects(record, facts[record.path])
        remarks += _corners(split, records, facts)
    twice, again = _twice(splits, facts)
    faults += twice
    remarks += again
    if faults:
        raise FaultyTableError(faults)
    return Checked(splits, tuple(remarks))


def _classes(split: str, records: Sequence[Record]) -> list[str]:
    labels = {record.label for record in records}
    if len(labels) == 2:
        return []
    kind = "with objects" if 1 in labels else "without objects"
    count = "one film" if len(records) == 1 else f"{len(records)} films"
    return [f"{records[0].table}: {split} holds {count}, {kind} only, and needs both classes."]


def _joined(split: str, records: Sequence[Record]) -> list[str]:
    extra = sum(record.rows - 1 for record in records)
    rows = "row was" if extra == 1 else "rows were"
    return [f"{split}: {extra} further {rows} joined with the first row of the same film."] if extra else []


def _objects(record: Record, facts: FilmFacts) -> list[str]:
    faults = filter(None, (_fault_of(shape, facts) for shape in record.shapes))
    return [f"{record.where}: {fault} (film {record.name})." for fault in faults]


def _fault_of(shape: Shape, facts: FilmFacts) -> str:
    x1, y1, x2, y2 = shape.box
    box = f"{x1:g} {y1:g} {x2:g} {y2:g}"
    size = f"{facts.width} x {facts.height} pixels"
    if max(map(abs, (x1, y1, x2, y2))) <= 1:
        return f"the object at {box} seems to be given in shares of the film: write pixels, of which it has {size}"
    if x1 == x2 or y1 == y2 or (shape.kind == "polygon" and _on_a_line(shape.points)):
        return f"the object at {box} has no area"
    if x2 <= 0 or y2 <= 0 or x1 >= facts.width or y1 >= facts.height:
        return f"the object at {box} lies off the film, which has {size}"
    return ""


def _on_a_line(points: Sequence[tuple[float, float]]) -> bool:
    x0, y0 = points[0]
    moved = [(x - x0, y - y0) for x, y in points]
    x1, y1 = max(moved, key=lambda point: math.hypot(*point))
    return all(abs(x * y1 - y * x1) <= 1e-9 * (x1**2 + y1**2) for x, y in moved)


def _corners(split: str, records: Sequence[Record], facts: Mapping[Path, FilmFacts]) -> list[str]:
    """Whether boxes look as if x, y, width and height had been written where two corners are expected."""
    turned = beyond = count = 0
    for record in records:
        size = facts[record.path]
        for shape in record.shapes:
            if shape.kind == "polygon":
                continue
            (x1, y1), (x2, y2) = shape.points
            count += 1
            turned += x2 < x1 or y2 < y1
            beyond += max(x1, x2) >= size.width or max(y1, y2) >= size.height
    question = "are they written as x y width height? The table wants two corners, x1 y1 x2 y2."
    if count >= 4 and 4 * turned >= count:
        return [f"{split}: {turned} of {count} boxes have their second corner left of or above their first: {question}"]
    if count >= 4 and 2 * beyond >= count:
        return [f"{split}: {beyond} of {count} boxes reach over the edge of their film: {question}"]
    return []


def _in_folders_of_others(splits: Mapping[str, Sequence[Record]]) -> list[str]:
    """Films that the table of one split takes from the folder of another, by a link or a path."""
    parents = {split: records[0].table.parent.resolve() for split, records in splits.items()}
    folders = {parent / split: split for split, parent in parents.items()}
    for split, parent in parents.items():
        if list(parents.values()).count(parent) == 1:  # else all splits may share it
            folders[parent / "images"] = split
    return [
        f"{record.where}: the film {record.name} is from the folder of {folders[folder]}."
        for split, records in splits.items()
        for record in records
        for folder in record.path.resolve().parents
        if folders.get(folder, split) != split
    ]


def _twice(splits: Mapping[str, Sequence[Record]], facts: Mapping[Path, FilmFacts]) -> tuple[list[str], list[str]]:
    """Films that show the same as another: faults where that is in another split, and remarks."""
    first: dict[str, tuple[str, Record]] = {}
    faults, remarks = [], []
    for split, records in splits.items():
        again = []
        for record in records:
            known, other = first.setdefault(facts[record.path].pixels, (split, record))
            if known != split:
                faults.append(
                    f"{record.where}: {record.name} is the same film as {other.name} ({other.where}): "
                    "keep it in one split only."
                )
            elif other is not record:
                again.append(f"{record.name} as {other.name}")
        if again:
            remarks.append(f"{split}: {len(again)} of the films show the same as another one, such as {again[0]}.")
    return faults, remarks
