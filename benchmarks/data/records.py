"""The films of a split: they lie on the disk, as objects for all of them would fill the memory."""

from __future__ import annotations

import sqlite3
import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, overload

import numpy as np
import numpy.typing as npt

from benchmarks.data.annotations import Shape, parse_annotation
from benchmarks.data.kinds import with_kinds

_COLUMNS = "name, path, annotation, row, rows, kinds"


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

    @property
    def placed(self) -> bool:
        """Always, for the films of a set are read alike, those without objects too."""
        return True


class Split(Sequence[Record]):
    """Films in the order of their table, which :func:`benchmarks.data.object_cxr.read_split` fills.

    They lie in a file of SQLite's that has no name and goes with the process; few films stay in its cache.

    Args:
        table: The CSV.

    Attributes:
        labels: Of each film, uint8; what is asked of all films without a need for their objects.
    """

    def __init__(self, table: Path) -> None:
        self.table = table
        self.labels: npt.NDArray[np.uint8] = np.zeros(0, np.uint8)
        self._chosen: Sequence[int] = ()
        self._lock = threading.Lock()
        self._films = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        weakref.finalize(self, self._films.close)
        self._films.execute("PRAGMA cache_size = -1000")  # KiB
        self._films.execute(
            "CREATE TABLE films (number INTEGER PRIMARY KEY, name TEXT UNIQUE, path TEXT, annotation TEXT, "
            "row INTEGER, rows INTEGER DEFAULT 1, kinds TEXT)"
        )
        self._films.execute("PRAGMA journal_mode = OFF")  # there is nothing to go back to
        self._films.execute("BEGIN")

    def add(self, name: str, path: str, annotation: str, row: int) -> int | None:
        """Add a row of the table; a further one of a film adds its objects.

        Args:
            name: Of the film.
            path: Of the film.
            annotation: Its objects; empty without.
            row: Number of the row.

        Returns:
            None; where the film is there already, and only one of the rows has objects, the number of its first row.
        """
        new = "INSERT INTO films (name, path, annotation, row) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
        if self._films.execute(new, (name, path, annotation, row)).rowcount:
            return None
        found = self._films.execute("SELECT row, annotation FROM films WHERE name = ?", (name,)).fetchone()
        if bool(found[1]) != bool(annotation):
            return int(found[0])
        joined = ";".join(filter(None, (found[1], annotation)))
        self._films.execute("UPDATE films SET annotation = ?, rows = rows + 1 WHERE name = ?", (joined, name))
        return None

    def add_kinds(self, name: str, kinds: str) -> bool:
        """Tell what objects of a film are, behind those that are told already; whether there is such a film."""
        more = "UPDATE films SET kinds = CASE WHEN kinds IS NULL THEN ? ELSE kinds || ';' || ? END WHERE name = ?"
        return bool(self._films.execute(more, (kinds, kinds, name)).rowcount)

    def with_kinds(self) -> Iterator[tuple[str, str, str]]:
        """Name, objects and kinds of the films whose kinds are told."""
        yield from self._films.execute(
            "SELECT name, annotation, kinds FROM films WHERE kinds IS NOT NULL ORDER BY number"
        )

    def choose(self, limit: int | None) -> None:
        """Keep all films, or at most so many, the first half of them of each class; none is added later."""
        self._films.execute("COMMIT")
        rows = self._films.execute("SELECT annotation != '' FROM films ORDER BY number")
        self.labels = np.fromiter((label for (label,) in rows), np.uint8)
        self._chosen = range(1, len(self.labels) + 1)
        if limit is not None:
            clean, annotated = (np.flatnonzero(self.labels == label) for label in (0, 1))
            chosen = np.sort(np.concatenate([clean[: limit // 2], annotated[: limit - limit // 2]]))
            self.labels, self._chosen = self.labels[chosen], (chosen + 1).tolist()

    @property
    def has_both_classes(self) -> bool:
        """Whether there are films with objects, and films without."""
        return bool(self.labels.any() and not self.labels.all())

    def __len__(self) -> int:
        """Number of films."""
        return len(self._chosen)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        """A film, or several."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        query = f"SELECT {_COLUMNS} FROM films WHERE number = ?"
        with self._lock:  # films are decoded by several threads
            row = self._films.execute(query, (self._chosen[index],)).fetchone()
        return self._record(row)

    def __iter__(self) -> Iterator[Record]:
        """All films, in less time than one by one."""
        if not isinstance(self._chosen, range):
            yield from (self[i] for i in range(len(self)))
            return
        for row in self._films.execute(f"SELECT {_COLUMNS} FROM films ORDER BY number"):
            yield self._record(row)

    def _record(self, row: tuple[Any, ...]) -> Record:
        name, path, annotation, number, rows, kinds = row
        shapes = parse_annotation(annotation) if annotation else ()
        if kinds is not None:
            shapes = with_kinds(self.table, name, shapes, kinds)
        return Record(name, Path(path), shapes, number, self.table, rows)


class LabelledFilm(Protocol):
    """A film, or a question about an image."""

    @property
    def label(self) -> int:
        """The annotated class."""


def labels_of(records: Sequence[LabelledFilm]) -> npt.NDArray[np.uint8]:
    """Label of each of some films, uint8."""
    if isinstance(records, Split):
        return records.labels
    return np.array([record.label for record in records], np.uint8)
