"""What would make a run fail, or its scores nonsense: found before, and all at once."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from benchmarks.data.annotations import Shape
from benchmarks.data.film_facts import FilmFacts, FilmNotes, film_facts
from benchmarks.data.object_cxr import FaultyTableError, read_split
from benchmarks.data.records import Record, Split
from benchmarks.run.config import SPLITS
from benchmarks.run.errors import UserError


@dataclass(frozen=True)
class Checked:
    """A set without faults.

    Attributes:
        splits: Records by split.
        remarks: What is odd, a sentence each, but may be meant.
    """

    splits: Mapping[str, Split]
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
    splits: dict[str, Split] = {}
    for split in SPLITS:
        try:
            splits[split] = read_split(root, split, limit)
        except FaultyTableError as error:  # noqa: PERF203 - all faults are told at once
            faults += error.faults
        except UserError as error:
            faults.append(str(error))
    remarks = []
    for split, films in splits.items():
        faults += _classes(split, films)
        remarks += _joined(split, films)
    faults += _in_folders_of_others(splits)
    damaged: list[str] = []
    wrong: list[str] = []
    shown = array("Q")
    for split, films in splits.items():
        corners, notes = _Corners(), FilmNotes()
        try:
            for record, facts in film_facts(films, cache_dir):
                wrong += [f"{record.where}: {fault} (film {record.name})." for fault in _objects(record, facts)]
                corners.add(record, facts)
                notes.add(record.name, facts)
                shown.append(_number(facts))
        except FaultyTableError as error:
            damaged += error.faults
        remarks += [*corners.remarks(split), *(f"{split}: {told}" for told in notes.told("films"))]
    if damaged:
        raise FaultyTableError([*faults, *damaged])
    twice, again = _twice(splits, _repeated(shown), cache_dir)
    faults += [*wrong, *twice]
    remarks += again
    if faults:
        raise FaultyTableError(list(dict.fromkeys(faults)))  # a folder that is not there lacks all splits
    return Checked(splits, tuple(remarks))


def _classes(split: str, films: Split) -> list[str]:
    if films.has_both_classes:
        return []
    kind = "with objects" if films.labels.any() else "without objects"
    count = "one film" if len(films) == 1 else f"{len(films)} films"
    return [f"{films.table}: {split} holds {count}, {kind} only, and needs both classes."]


def _joined(split: str, films: Split) -> list[str]:
    extra = sum(record.rows - 1 for record in films)
    rows = "row was" if extra == 1 else "rows were"
    return [f"{split}: {extra} further {rows} joined with the first row of the same film."] if extra else []


def _objects(record: Record, facts: FilmFacts) -> Iterator[str]:
    return filter(None, (_fault_of(shape, facts) for shape in record.shapes))


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


class _Corners:
    """Whether boxes look as if x, y, width and height had been written where two corners are expected."""

    def __init__(self) -> None:
        self._turned = self._beyond = self._count = 0

    def add(self, record: Record, facts: FilmFacts) -> None:
        """Look at a film."""
        for shape in record.shapes:
            if shape.kind == "polygon":
                continue
            (x1, y1), (x2, y2) = shape.points
            self._count += 1
            self._turned += x2 < x1 or y2 < y1
            self._beyond += max(x1, x2) >= facts.width or max(y1, y2) >= facts.height

    def remarks(self, split: str) -> list[str]:
        """What is odd about all of them."""
        question = "are they written as x y width height? The table wants two corners, x1 y1 x2 y2."
        boxes = f"of {self._count} boxes"
        if self._count >= 4 and 4 * self._turned >= self._count:
            return [
                f"{split}: {self._turned} {boxes} have their second corner left of or above their first: {question}"
            ]
        if self._count >= 4 and 2 * self._beyond >= self._count:
            return [f"{split}: {self._beyond} {boxes} reach over the edge of their film: {question}"]
        return []


def _in_folders_of_others(splits: Mapping[str, Split]) -> list[str]:
    """Films that the table of one split takes from the folder of another, by a link or a path."""
    parents = {split: films.table.parent.resolve() for split, films in splits.items()}
    folders = {parent / split: split for split, parent in parents.items()}
    for split, parent in parents.items():
        if list(parents.values()).count(parent) == 1:  # else all splits may share it
            folders[parent / "images"] = split

    @lru_cache(64)  # thousands of films lie in one folder
    def owners(folder: Path) -> list[str]:
        place = folder.resolve()
        return [folders[above] for above in (place, *place.parents) if above in folders]

    return [
        f"{record.where}: the film {record.name} is from the folder of {owner}."
        for split, films in splits.items()
        for record in films
        for owner in owners((record.path.resolve() if record.path.is_symlink() else record.path).parent)
        if owner != split
    ]


def _number(facts: FilmFacts) -> int:
    """A number of what a film shows, the same for few others: digests of all films would take much memory."""
    return int(facts.pixels[:16], 16)


def _repeated(numbers: array[int]) -> set[int]:
    """Those that are there more than once."""
    ordered = np.sort(np.frombuffer(numbers, np.uint64))
    return set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())


def _twice(splits: Mapping[str, Split], repeated: set[int], cache_dir: Path) -> tuple[list[str], list[str]]:
    """Films that show the same as another: faults where that is in another split, and remarks."""
    first: dict[str, tuple[str, Record]] = {}
    faults: list[str] = []
    remarks: list[str] = []
    for split, films in splits.items() if repeated else ():
        counts, examples = {True: 0, False: 0}, dict[bool, str]()  # by whether the two agree on having objects
        for record, facts in film_facts(films, cache_dir):
            if _number(facts) not in repeated:
                continue
            known, other = first.setdefault(facts.pixels, (split, record))
            if known != split:
                faults.append(
                    f"{record.where}: {record.name} is the same film as {other.name} ({other.where}): "
                    "keep it in one split only."
                )
            elif other is not record:
                agree = other.label == record.label
                counts[agree] += 1
                examples.setdefault(agree, f"{record.name} as {other.name}")
        for agree, count in counts.items():
            if count:
                but = "" if agree else ", but only one of the two has objects: correct or remove it"
                told = f"{count} of the films show the same as another one, such as {examples[agree]}{but}"
                remarks.append(f"{split}: {told}.")
    return faults, remarks
