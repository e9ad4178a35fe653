"""Results on disk while they are being made: one SQLite file, one transaction for each unit of work.

A unit is one method on one batch. SQLite makes a unit whole or absent, whatever kills the process.
All rows carry the digest of the configuration they were made under, so that results of two
configurations may lie in one file and are never mixed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import pandas as pd

from benchmarks.run.errors import UserError

_OWN_TABLES = {
    "units": "digest TEXT, batch INTEGER, method TEXT, PRIMARY KEY (digest, batch, method)",
    "failures": "digest TEXT, method TEXT, reason TEXT, PRIMARY KEY (digest, method)",
}


class UnitStore:
    """One SQLite file of results under one configuration; subclasses name their tables.

    Args:
        path: of the file, made when missing.
        digest: of the configuration; rows of others are kept and not seen.

    Attributes:
        tables: columns and keys of each table of results, in SQL; the column ``digest`` is in all of them.

    Raises:
        UserError: the file is no database, or cannot be written.
    """

    tables: ClassVar[Mapping[str, str]] = {}

    def __init__(self, path: Path, digest: str) -> None:
        self.path = path
        self.digest = digest
        with _plain_errors(path):
            # Another process may hold the file for the length of a transaction.
            self._connection = sqlite3.connect(path, timeout=60)
            with self._connection:
                for name, columns in {**_OWN_TABLES, **self.tables}.items():
                    self._connection.execute(f"CREATE TABLE IF NOT EXISTS {name} ({columns})")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def finished(self) -> set[tuple[int, str]]:
        """The units that are there, as (batch, method)."""
        rows = self._connection.execute("SELECT batch, method FROM units WHERE digest = ?", (self.digest,))
        return {(batch, method) for batch, method in rows}

    def write_results(
        self, batch: int, method: str, results: Mapping[str, tuple[Sequence[str], Sequence[tuple[object, ...]]]]
    ) -> None:
        """Write the results of one method on one batch, in one transaction.

        Args:
            batch: number of the batch.
            method: name of the method.
            results: by table, the names of its columns and its rows, without the digest.
        """
        with self.writing():
            self._connection.execute("INSERT INTO units VALUES (?, ?, ?)", (self.digest, batch, method))
            for table, (columns, rows) in results.items():
                self._connection.executemany(
                    f"INSERT INTO {table} (digest, {', '.join(columns)}) VALUES (?{', ?' * len(columns)})",
                    [(self.digest, *row) for row in rows],
                )

    @contextmanager
    def writing(self) -> Iterator[None]:
        """One transaction; what keeps it from being written is a sentence."""
        with _plain_errors(self.path), self._connection:
            yield

    def write_failure(self, method: str, reason: str) -> None:
        """Note why a method could not run."""
        with self.writing():
            self._connection.execute("INSERT OR REPLACE INTO failures VALUES (?, ?, ?)", (self.digest, method, reason))

    def forget_failures(self) -> None:
        """Give methods that could not run another chance."""
        with self.writing():
            self._connection.execute("DELETE FROM failures WHERE digest = ?", (self.digest,))

    def failures(self) -> dict[str, str]:
        """Methods that could not run, with the reason."""
        query = "SELECT method, reason FROM failures WHERE digest = ? ORDER BY method"
        return dict(self._connection.execute(query, (self.digest,)).fetchall())

    def absorb(self, other: Path) -> None:
        """Take over everything from the file of another process, in one transaction, and delete that file."""
        with _plain_errors(other):
            self._connection.execute("ATTACH DATABASE ? AS other", (str(other),))
            try:
                with self._connection:
                    present = {name for (name,) in self._connection.execute("SELECT name FROM other.sqlite_master")}
                    for name in {**_OWN_TABLES, **self.tables}.keys() & present:
                        self._connection.execute(f"INSERT OR IGNORE INTO {name} SELECT * FROM other.{name}")
            finally:
                self._connection.execute("DETACH DATABASE other")
        other.unlink()

    def frame(self, table: str, columns: Sequence[str], order: str) -> pd.DataFrame:
        """Rows of a table, sorted."""
        query = f"SELECT {', '.join(columns)} FROM {table} WHERE digest = ? ORDER BY {order}"
        return pd.DataFrame(self._connection.execute(query, (self.digest,)).fetchall(), columns=list(columns))


SCORE_COLUMNS = (
    "image", "method", "protocol", "explains", "x", "y", "distance", "energy", "iou", "target", "probability",
    "seconds", "label", "status", "batch",
)  # fmt: skip
"""Columns of ``scores.parquet``.

``explains`` is ``predicted``, or ``true`` for the additional rows of films that the classifier gets
wrong, whose maps explain the class that it should have predicted. ``x``, ``y`` and ``distance`` are
pixels of the frame; they, ``energy`` and ``iou`` (shares) are missing for a map that is not finite.
``target`` is the class that was explained, ``probability`` the network's for it; ``seconds`` is the
time of the batch divided by its images; ``status`` is ``ok``, ``constant`` or ``non_finite``.
"""

_DTYPES = {"x": "Int64", "y": "Int64", "distance": "float64", "energy": "float64", "iou": "float64"}


class ScoreStore(UnitStore):
    """One SQLite file of scores under one configuration; arguments as of :class:`UnitStore`."""

    # Named otherwise than before there were "explains", "energy" and "iou": a file may hold both.
    tables: ClassVar[Mapping[str, str]] = {
        "plays": (
            "digest TEXT, batch INTEGER, image TEXT, method TEXT, protocol TEXT, explains TEXT, x INTEGER, y INTEGER, "
            "distance REAL, energy REAL, iou REAL, target INTEGER, probability REAL, seconds REAL, label INTEGER, "
            "status TEXT, PRIMARY KEY (digest, image, method, protocol, explains)"
        ),
        "chance": "digest TEXT, image TEXT, tolerance INTEGER, chance REAL, PRIMARY KEY (digest, image, tolerance)",
    }

    def write_unit(self, batch: int, method: str, rows: Sequence[dict[str, object]]) -> None:
        """Write the scores of one method on one batch, in one transaction.

        Args:
            batch: number of the batch.
            method: name of the method.
            rows: one a film and protocol, with the keys of :data:`SCORE_COLUMNS` apart from ``batch``.
        """
        values = [(*(row[name] for name in SCORE_COLUMNS[:-1]), batch) for row in rows]
        self.write_results(batch, method, {"plays": (SCORE_COLUMNS, values)})

    def write_chance(self, rows: Sequence[tuple[str, int, float]]) -> None:
        """Write chance levels as (image, tolerance, chance); writing them again changes nothing."""
        with self.writing():
            self._connection.executemany(
                "INSERT OR IGNORE INTO chance VALUES (?, ?, ?, ?)",
                [(self.digest, *row) for row in rows],
            )

    def scores(self) -> pd.DataFrame:
        """All rows, sorted by image, method, protocol and what they explain, as in ``scores.parquet``."""
        return self.frame("plays", SCORE_COLUMNS, "image, method, protocol, explains").astype(_DTYPES)

    def chance(self) -> pd.DataFrame:
        """Chance levels with the columns image, tolerance, chance, sorted."""
        return self.frame("chance", ("image", "tolerance", "chance"), "image, tolerance")


MEASURE_COLUMNS = ("image", "method", "measure", "value")
PEAK_COLUMNS = ("image", "method", "peak", "x", "y", "score", "object")

Values = list[tuple[str, str, str, float | None]]
"""Rows of :data:`MEASURE_COLUMNS`; None where a map is not finite or, for class sensitivity, constant."""
Peaks = list[tuple[str, str, int, int, int, float, int]]
"""Rows of :data:`PEAK_COLUMNS`, with x and y in the frame; a peak has one row for each object (its number on the
film) that it lies in, or one row with the object -1."""


class MeasureStore(UnitStore):
    """One SQLite file of measures under one configuration; arguments as of :class:`UnitStore`."""

    tables: ClassVar[Mapping[str, str]] = {
        "measures": "digest TEXT, image TEXT, method TEXT, measure TEXT, value REAL, "
        "PRIMARY KEY (digest, image, method, measure)",
        "peaks": "digest TEXT, image TEXT, method TEXT, peak INTEGER, x INTEGER, y INTEGER, score REAL, "
        "object INTEGER, PRIMARY KEY (digest, image, method, peak, object)",
    }

    def write_unit(self, batch: int, method: str, results: tuple[Values, Peaks]) -> None:
        """Write the results of one method on one batch, in one transaction."""
        values, peaks = results
        self.write_results(batch, method, {"measures": (MEASURE_COLUMNS, values), "peaks": (PEAK_COLUMNS, peaks)})

    def measures(self) -> pd.DataFrame:
        """One row for each film, method and measure, sorted, as in ``measures.parquet``."""
        return self.frame("measures", MEASURE_COLUMNS, "image, method, measure").astype({"value": "float64"})

    def peaks(self) -> pd.DataFrame:
        """All peaks, sorted."""
        return self.frame("peaks", PEAK_COLUMNS, "image, method, peak, object")


@contextmanager
def _plain_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise UserError(
            f"{path} cannot be written ({error}): free space or permit writing, then start the same command again; "
            "nothing computed so far is lost."
        ) from error
    except sqlite3.DatabaseError as error:
        raise UserError(f"{path} is not a file of scores ({error}): move it away and start again.") from error
