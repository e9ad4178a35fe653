"""Results on disk while they are being made: one SQLite file, one transaction for each unit of work.

A unit is one method on one batch. SQLite makes a unit whole or absent, whatever kills the process.
All rows carry the key of what they depend on, so that results of two configurations, or of two versions of a
package, may lie in one file and are never mixed.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from benchmarks.run.errors import UserError
from benchmarks.run.files import PART
from benchmarks.scoring.job import digest

Row = Mapping[str, object]
Facts = Callable[[str], Mapping[str, str]]
"""By the name of a method, what its rows depend on; by :data:`EVERY`, what all rows depend on."""
EVERY = ""

_OWN_TABLES = {
    "keys": "key TEXT, method TEXT, facts TEXT, PRIMARY KEY (key)",
    "units": "key TEXT, batch INTEGER, method TEXT, PRIMARY KEY (key, batch)",
    "failures": "key TEXT, method TEXT, reason TEXT, PRIMARY KEY (key)",
}


class UnitStore:
    """One SQLite file of results; subclasses name their tables.

    Args:
        path: of the file, made when missing.
        facts: what rows depend on; rows that depended on something else are kept and not seen.

    Attributes:
        tables: columns and keys of each table of results, in SQL; the column ``key`` is in all of them.

    Raises:
        UserError: the file is no database, or cannot be written.
    """

    tables: ClassVar[Mapping[str, str]] = {}

    def __init__(self, path: Path, facts: Facts) -> None:
        self.path = path
        self._facts = facts
        self._keys: dict[str, str] = {}
        with _plain_errors(path):
            # Another process may hold the file for the length of a transaction. Of this one's threads several may use
            # it, one after the other.
            self._connection = sqlite3.connect(path, timeout=60, check_same_thread=False)
            with self._connection:
                for name, columns in {**_OWN_TABLES, **self.tables}.items():
                    self._connection.execute(f"CREATE TABLE IF NOT EXISTS {name} ({columns})")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def key(self, method: str = EVERY) -> str:
        """Key of a method's rows."""
        if method not in self._keys:
            self._keys[method] = digest({"of": method, **self._facts(method)})
        return self._keys[method]

    def finished(self) -> set[tuple[int, str]]:
        """The units that are there, as (batch, method)."""
        return set(self.each_finished())

    def each_finished(self) -> Iterator[tuple[int, str]]:
        """The same, one by one: of many films there are many."""
        return iter(self._found("SELECT batch, method FROM units"))

    def write_unit(self, batch: int, method: str, results: Mapping[str, Sequence[Row]]) -> None:
        """Write the results of one method on one batch, in one transaction.

        Args:
            batch: number of the batch.
            method: name of the method.
            results: rows by table, each with the same columns.
        """
        key = self.key(method)
        with self.writing():
            self._note_key(method)
            self._connection.execute("INSERT INTO units VALUES (?, ?, ?)", (key, batch, method))
            for table, rows in results.items():
                self._insert("INSERT", table, key, rows)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """One transaction; what keeps it from being written is a sentence."""
        with _plain_errors(self.path), self._connection:
            yield

    @contextmanager
    def reading(self) -> Iterator[None]:
        """One moment: whatever is read inside fits together, though another process may be writing."""
        with _plain_errors(self.path):
            self._connection.execute("BEGIN")
            try:
                yield
            finally:
                self._connection.rollback()

    def write_failure(self, method: str, reason: str) -> None:
        """Note why a method could not run."""
        with self.writing():
            self._note_key(method)
            values = (self.key(method), method, reason)
            self._connection.execute("INSERT OR REPLACE INTO failures VALUES (?, ?, ?)", values)

    def forget_failures(self) -> None:
        """Give methods that could not run another chance."""
        keys = self._current()
        with self.writing():
            self._connection.executemany("DELETE FROM failures WHERE key = ?", [(key,) for key in keys])

    def failures(self) -> dict[str, str]:
        """Methods that could not run, with the reason."""
        return dict(self._rows("SELECT method, reason FROM failures", "ORDER BY method"))

    def outdated(self, methods: Iterable[str]) -> dict[str, str]:
        """What the rows of methods depended on that is otherwise now, for methods that have none yet of today."""
        found: dict[str, str] = {}
        query = "SELECT key, facts FROM keys WHERE method = ? ORDER BY rowid"
        for method in methods:
            earlier = self._connection.execute(query, (method,)).fetchall()
            if earlier and self.key(method) not in {key for key, _ in earlier}:
                then, now = json.loads(earlier[-1][1]), self._facts(method)
                found[method] = ", ".join(
                    f"{name} {then.get(name, 'absent')}, now {now.get(name, 'absent')}" if len(value) < 24 else name
                    for name, value in {**now, **then}.items()
                    if then.get(name) != now.get(name)
                )
        return found

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
        rows = self._rows(f"SELECT {', '.join(columns)} FROM {table}", f"ORDER BY {order}")
        return pd.DataFrame(rows, columns=list(columns))

    def _rows(self, select: str, order: str = "", *values: str) -> list[tuple[Any, ...]]:
        """Rows of today's keys."""
        return self._found(select, order, *values).fetchall()

    def _found(self, select: str, order: str = "", *values: str) -> sqlite3.Cursor:
        """The same, to be fetched."""
        keys = self._current()
        query = f"{select} WHERE key IN ({', '.join('?' * len(keys))}) {order}"
        return self._connection.execute(query, (*values, *keys))

    def _current(self) -> list[str]:
        known = self._connection.execute("SELECT key, method FROM keys")
        return [key for key, method in known if key == self.key(method)]

    def _note_key(self, method: str) -> None:
        values = (self.key(method), method, json.dumps(dict(self._facts(method))))
        self._connection.execute("INSERT OR IGNORE INTO keys VALUES (?, ?, ?)", values)

    def _insert(self, how: str, table: str, key: str, rows: Sequence[Row]) -> None:
        for row in rows[:1]:
            columns = ("key", *row)
            places = ", ".join(f":{column}" for column in columns)
            self._connection.executemany(
                f"{how} INTO {table} ({', '.join(columns)}) VALUES ({places})", [{"key": key, **row} for row in rows]
            )


SCORE_COLUMNS = (
    "image", "method", "protocol", "x", "y", "distance", "energy", "iou", "target", "probability",
    "seconds", "label", "status", "batch",
)  # fmt: skip
"""Columns of ``scores.parquet``, and of ``scores_true.parquet``.

The maps of the first explain the class that the classifier predicts. The second has the films that it gets wrong,
with maps that explain the class that it should have predicted. ``x``, ``y`` and ``distance`` are pixels of the frame;
they, ``energy`` and ``iou`` (shares) are missing for a map that is not finite. ``target`` is the class that was
explained, ``probability`` the network's for it; ``seconds`` is the time of the batch divided by its images;
``status`` is ``ok``, ``constant`` or ``non_finite``.
"""
VERDICT_COLUMNS = ("image", "position", "label", "target", "probability", "label_probability")
"""The classifier's verdict on a film: its place in the split, its class, the class that is predicted, and the
probabilities of the two."""

_DTYPES = {"x": "Int64", "y": "Int64", "distance": "float64", "energy": "float64", "iou": "float64"}
_PLAYS = (
    "key TEXT, batch INTEGER, image TEXT, method TEXT, protocol TEXT, x INTEGER, y INTEGER, distance REAL, "
    "energy REAL, iou REAL, seconds REAL, status TEXT, PRIMARY KEY (key, image, protocol)"
)


class ScoreStore(UnitStore):
    """One SQLite file of scores; arguments as of :class:`UnitStore`."""

    tables: ClassVar[Mapping[str, str]] = {
        "plays": _PLAYS,
        "plays_true": _PLAYS,
        "verdicts": (
            "key TEXT, image TEXT, position INTEGER, label INTEGER, target INTEGER, probability REAL, "
            "label_probability REAL, PRIMARY KEY (key, image)"
        ),
        "chance": "key TEXT, image TEXT, tolerance INTEGER, chance REAL, PRIMARY KEY (key, image, tolerance)",
    }

    def write_films(self, verdicts: Sequence[Row], chance: Sequence[Row]) -> None:
        """Write what is known of films whatever the method; writing it again changes nothing."""
        with self.writing():
            self._note_key(EVERY)
            self._insert("INSERT OR IGNORE", "verdicts", self.key(), verdicts)
            self._insert("INSERT OR IGNORE", "chance", self.key(), chance)

    def scores(self) -> pd.DataFrame:
        """Rows for the predicted class, sorted by image, method and protocol, as in ``scores.parquet``."""
        return pd.concat(self.score_parts(), ignore_index=True)

    def true_scores(self) -> pd.DataFrame:
        """Rows for the true class of films that the classifier gets wrong, as in ``scores_true.parquet``."""
        return pd.concat(self.true_score_parts(), ignore_index=True)

    def score_parts(self) -> Iterator[pd.DataFrame]:
        """:meth:`scores` from top to bottom in parts, of which one after the other fits into memory."""
        return self._scores("plays", "target", "probability")

    def true_score_parts(self) -> Iterator[pd.DataFrame]:
        """The same of :meth:`true_scores`."""
        return self._scores("plays_true", "label", "label_probability")

    def state(self) -> str:
        """Tells whether the rows are those that were there before: their number, and the seconds of all."""
        query = "SELECT key, count(*), total(seconds) FROM {}"
        found = [self._rows(query.format(table), "GROUP BY key ORDER BY key") for table in ("plays", "plays_true")]
        return digest({"rows": repr(found)})

    def verdicts(self, images: Sequence[str] | None = None) -> pd.DataFrame:
        """Verdicts with the columns of :data:`VERDICT_COLUMNS`, sorted by position; of some films, or of all."""
        query = f"SELECT {', '.join(VERDICT_COLUMNS)} FROM verdicts WHERE key = ?"
        if images is not None:
            query += f" AND image IN ({', '.join('?' * len(images))})"
        rows = self._connection.execute(f"{query} ORDER BY position", (self.key(), *(images or ()))).fetchall()
        return pd.DataFrame(rows, columns=list(VERDICT_COLUMNS))

    def chance(self) -> pd.DataFrame:
        """Chance levels with the columns image, tolerance, chance, sorted."""
        return self.frame("chance", ("image", "tolerance", "chance"), "image, tolerance")

    def _scores(self, table: str, target: str, probability: str) -> Iterator[pd.DataFrame]:
        verdict = f"SELECT image, label, {target} AS target, {probability} AS probability FROM verdicts WHERE key = ?"
        found = self._found(
            f"WITH verdict AS ({verdict}) SELECT {', '.join(SCORE_COLUMNS)} FROM {table} JOIN verdict USING (image)",
            "ORDER BY image, method, protocol",
            self.key(),
        )
        rows = found.fetchmany(PART)
        while True:
            yield pd.DataFrame(rows, columns=list(SCORE_COLUMNS)).astype(_DTYPES)
            rows = found.fetchmany(PART)
            if not rows:
                return


MEASURE_COLUMNS = ("image", "method", "measure", "value")
"""``value`` is missing where a map is not finite or, for class sensitivity, constant."""
PEAK_COLUMNS = ("image", "method", "peak", "x", "y", "score", "object")
"""``x`` and ``y`` are pixels of the frame; a peak has one row for each object (its number on the film) that it lies
in, or one row with the object -1."""


class MeasureStore(UnitStore):
    """One SQLite file of measures; arguments as of :class:`UnitStore`."""

    tables: ClassVar[Mapping[str, str]] = {
        "measures": "key TEXT, image TEXT, method TEXT, measure TEXT, value REAL, PRIMARY KEY (key, image, measure)",
        "peaks": (
            "key TEXT, image TEXT, method TEXT, peak INTEGER, x INTEGER, y INTEGER, score REAL, object INTEGER, "
            "PRIMARY KEY (key, image, peak, object)"
        ),
    }

    def measures(self) -> pd.DataFrame:
        """One row for each film, method and measure, sorted, as in ``measures.parquet``."""
        return self.frame("measures", MEASURE_COLUMNS, "image, method, measure").astype({"value": "float64"})

    def peaks(self) -> pd.DataFrame:
        """All peaks, sorted."""
        return self.frame("peaks", PEAK_COLUMNS, "image, method, peak, object")


_DAMAGED = (
    "{path} is damaged ({error}): `python -m benchmarks run --out {run}` keeps it under another name and computes its "
    "results anew."
)


def set_damaged_aside(path: Path, tables: Mapping[str, str]) -> None:
    """Keep a file that is damaged, or has other tables, under another name, so that a new one can be begun.

    Args:
        path: of a file of results.
        tables: those that it should have, as of :class:`UnitStore`.
    """
    problem = _damage(path, {**_OWN_TABLES, **tables}) if path.is_file() else ""
    if problem:
        number = 1
        while (aside := path.with_name(f"{path.name}.damaged{number}")).exists():
            number += 1
        path.replace(aside)
        print(f"{path} is damaged ({problem}); it is kept as {aside.name}, and its results are computed anew.")


def _damage(path: Path, tables: Mapping[str, str]) -> str:
    try:
        with closing(sqlite3.connect(path, timeout=60)) as connection:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                return str(verdict)
            there = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            for name, columns in tables.items() if there else ():
                found = [row[1] for row in connection.execute(f"PRAGMA table_info({name})")]
                if name not in there:
                    return f"it lacks the table {name}"
                if found != [part.split()[0] for part in columns.partition(", PRIMARY")[0].split(", ")]:
                    return f"its table {name} has other columns"
                if name not in _OWN_TABLES and "method" in found:  # a unit and its rows come and go together
                    query = f"SELECT 1 FROM {name} WHERE key NOT IN (SELECT key FROM units) LIMIT 1"
                    if connection.execute(query).fetchone():
                        return f"its table {name} has rows of no unit"
    except sqlite3.OperationalError:  # it is locked, or cannot be read at all, which writing will tell
        return ""
    except sqlite3.DatabaseError as error:
        return str(error)
    return ""


@contextmanager
def _plain_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        if str(error).startswith("no such"):  # a table or a column
            raise UserError(_DAMAGED.format(path=path, error=error, run=path.parent)) from error
        raise UserError(
            f"{path} cannot be written ({error}): free space or permit writing, then start the same command again; "
            "nothing computed so far is lost."
        ) from error
    except sqlite3.DatabaseError as error:
        raise UserError(_DAMAGED.format(path=path, error=error, run=path.parent)) from error
