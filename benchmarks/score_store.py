"""Scores on disk while they are being made: one SQLite file, one transaction for each unit of work.

A unit is one method on one batch. SQLite makes a unit whole or absent, whatever kills the process.
All rows carry the digest of the configuration they were made under, so that scores of two
configurations may lie in one file and are never mixed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from benchmarks.errors import UserError

_TABLES = {
    "units": "digest TEXT, batch INTEGER, method TEXT, PRIMARY KEY (digest, batch, method)",
    "scores": (
        "digest TEXT, batch INTEGER, image TEXT, method TEXT, protocol TEXT, x INTEGER, y INTEGER, distance REAL, "
        "target INTEGER, probability REAL, seconds REAL, label INTEGER, status TEXT, "
        "PRIMARY KEY (digest, image, method, protocol)"
    ),
    "chance": "digest TEXT, image TEXT, tolerance INTEGER, chance REAL, PRIMARY KEY (digest, image, tolerance)",
    "failures": "digest TEXT, method TEXT, reason TEXT, PRIMARY KEY (digest, method)",
}

_DTYPES = {"x": "Int64", "y": "Int64", "distance": "float64"}

SCORE_COLUMNS = (
    "image", "method", "protocol", "x", "y", "distance", "target", "probability", "seconds", "label", "status", "batch",
)  # fmt: skip
"""Columns of ``scores.parquet``.

``x``, ``y`` and ``distance`` are pixels of the frame and missing for a map that is not finite;
``target`` is the class that was explained, ``probability`` the network's for it; ``seconds`` is the
time of the batch divided by its images; ``status`` is ``ok``, ``constant`` or ``non_finite``.
"""


class ScoreStore:
    """One SQLite file of scores under one configuration.

    Args:
        path: of the file, made when missing.
        digest: of the configuration; rows of others are kept and not seen.

    Raises:
        UserError: the file is no database, or cannot be written.
    """

    def __init__(self, path: Path, digest: str) -> None:
        self.path = path
        self.digest = digest
        with _plain_errors(path):
            # Another process may hold the file for the length of a transaction.
            self._connection = sqlite3.connect(path, timeout=60)
            with self._connection:
                for name, columns in _TABLES.items():
                    self._connection.execute(f"CREATE TABLE IF NOT EXISTS {name} ({columns})")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def finished(self) -> set[tuple[int, str]]:
        """The units that are there, as (batch, method)."""
        rows = self._connection.execute("SELECT batch, method FROM units WHERE digest = ?", (self.digest,))
        return {(batch, method) for batch, method in rows}

    def write_unit(self, batch: int, method: str, rows: Sequence[dict[str, object]]) -> None:
        """Write the scores of one method on one batch, in one transaction.

        Args:
            batch: number of the batch.
            method: name of the method.
            rows: one a film and protocol, with the keys of :data:`SCORE_COLUMNS` apart from ``batch``.
        """
        with _plain_errors(self.path), self._connection:
            self._connection.execute("INSERT INTO units VALUES (?, ?, ?)", (self.digest, batch, method))
            self._connection.executemany(
                f"INSERT INTO scores (digest, {', '.join(SCORE_COLUMNS)}) VALUES (?{', ?' * len(SCORE_COLUMNS)})",
                [(self.digest, *(row[name] for name in SCORE_COLUMNS[:-1]), batch) for row in rows],
            )

    def write_chance(self, rows: Sequence[tuple[str, int, float]]) -> None:
        """Write chance levels as (image, tolerance, chance); writing them again changes nothing."""
        with _plain_errors(self.path), self._connection:
            self._connection.executemany(
                "INSERT OR IGNORE INTO chance VALUES (?, ?, ?, ?)",
                [(self.digest, *row) for row in rows],
            )

    def write_failure(self, method: str, reason: str) -> None:
        """Note why a method could not run."""
        with _plain_errors(self.path), self._connection:
            self._connection.execute("INSERT OR REPLACE INTO failures VALUES (?, ?, ?)", (self.digest, method, reason))

    def forget_failures(self) -> None:
        """Give methods that could not run another chance."""
        with _plain_errors(self.path), self._connection:
            self._connection.execute("DELETE FROM failures WHERE digest = ?", (self.digest,))

    def absorb(self, other: Path) -> None:
        """Take over everything from the file of another process, in one transaction, and delete that file."""
        with _plain_errors(other):
            self._connection.execute("ATTACH DATABASE ? AS other", (str(other),))
            try:
                with self._connection:
                    present = {name for (name,) in self._connection.execute("SELECT name FROM other.sqlite_master")}
                    for name in _TABLES.keys() & present:
                        self._connection.execute(f"INSERT OR IGNORE INTO {name} SELECT * FROM other.{name}")
            finally:
                self._connection.execute("DETACH DATABASE other")
        other.unlink()

    def scores(self) -> pd.DataFrame:
        """All rows, sorted by image, method and protocol, with the columns of ``scores.parquet``."""
        return self._frame("scores", SCORE_COLUMNS, "image, method, protocol").astype(_DTYPES)

    def chance(self) -> pd.DataFrame:
        """Chance levels with the columns image, tolerance, chance, sorted."""
        return self._frame("chance", ("image", "tolerance", "chance"), "image, tolerance")

    def failures(self) -> dict[str, str]:
        """Methods that could not run, with the reason."""
        query = "SELECT method, reason FROM failures WHERE digest = ? ORDER BY method"
        return dict(self._connection.execute(query, (self.digest,)).fetchall())

    def _frame(self, table: str, columns: Sequence[str], order: str) -> pd.DataFrame:
        query = f"SELECT {', '.join(columns)} FROM {table} WHERE digest = ? ORDER BY {order}"
        return pd.DataFrame(self._connection.execute(query, (self.digest,)).fetchall(), columns=list(columns))


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
