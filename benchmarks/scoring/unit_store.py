"""Results on disk while they are being made: one SQLite file, one transaction for each unit of work.

A unit is one method on one batch. SQLite makes a unit whole or absent, whatever kills the process, and a sum over its
rows tells whether it still is: a unit whose rows are not those that were written is not seen, and is computed again.
All rows carry the key of what they depend on, so that results of two configurations, or of two versions of a
package, may lie in one file and are never mixed.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import sqlite3
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
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
"""The name under which a batch keeps what is known of its films whatever the method."""

Unit = tuple[str, int]
"""Key and batch."""

OWN_TABLES = {
    "keys": "key TEXT, method TEXT, facts TEXT, PRIMARY KEY (key)",
    "units": "key TEXT, batch INTEGER, method TEXT, rows_sum INTEGER, PRIMARY KEY (key, batch)",
    "failures": "key TEXT, method TEXT, reason TEXT, PRIMARY KEY (key)",
}
"""Columns and keys of the tables that every file has, in SQL."""


class UnitStore:
    """One SQLite file of results; subclasses name their tables.

    Args:
        path: of the file.
        facts: what rows depend on; rows that depended on something else are kept and not seen.
        create: whether the file is made when missing; if not, nothing is in it, and nothing stays.

    Attributes:
        tables: columns and keys of each table of results, in SQL; all begin with the columns ``key`` and ``batch``.

    Raises:
        UserError: the file is no database, or cannot be written.
    """

    tables: ClassVar[Mapping[str, str]] = {}

    def __init__(self, path: Path, facts: Facts, *, create: bool = True) -> None:
        self.path = path
        self._facts = facts
        self._keys: dict[str, str] = {}
        self._damaged_now: set[Unit] | None = None
        with _plain_errors(path):
            # Another process may hold the file for the length of a transaction. Of this one's threads several may use
            # it, one after the other.
            place = path if create or path.exists() else ":memory:"
            self._connection = sqlite3.connect(place, timeout=60, check_same_thread=False)
            try:
                self._make_tables()
            except BaseException:
                self._connection.close()
                raise

    def _make_tables(self) -> None:
        # Text that a damage left is no error: the sum over the rows tells.
        self._connection.text_factory = partial(str, encoding="utf-8", errors="replace")
        with self._connection:
            for name, columns in self.all_tables().items():
                self._connection.execute(f"CREATE TABLE IF NOT EXISTS {name} ({columns})")
            for name in self.tables:  # else a unit would be looked for among the rows of all films
                self._connection.execute(f"CREATE INDEX IF NOT EXISTS {name}_units ON {name} (key, batch)")

    @classmethod
    def all_tables(cls) -> dict[str, str]:
        """Columns and keys of all tables of the file, in SQL."""
        return {**OWN_TABLES, **{name: f"key TEXT, batch INTEGER, {rest}" for name, rest in cls.tables.items()}}

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def key(self, method: str = EVERY) -> str:
        """Key of a method's rows."""
        if method not in self._keys:
            self._keys[method] = digest({"of": method, **self._facts(method)})
        return self._keys[method]

    def finished(self) -> set[tuple[int, str]]:
        """The units that are there and whole, as (batch, method)."""
        return set(self.whole_rows("SELECT key, batch, batch, method FROM units"))

    def complete(self, batches: int) -> set[str]:
        """Methods whose units are all there and whole, of so many batches."""
        finished = self.finished()
        return {name for _, name in finished if all((batch, name) in finished for batch in range(batches))}

    def units(self) -> Iterator[tuple[int, str]]:
        """All units that are there, as (batch, method), one by one and without a look at their rows."""
        yield from self._rows("SELECT batch, method FROM units")

    def state(self) -> str:
        """Tells whether the rows of the units that are whole are those that were there before."""
        found = hashlib.sha256()
        for unit in self.whole_rows("SELECT key, batch, key, batch, rows_sum FROM units", "ORDER BY key, batch"):
            found.update(repr(unit).encode())
        return found.hexdigest()

    def write_unit(self, batch: int, method: str, results: Mapping[str, Sequence[Row]]) -> None:
        """Write the results of one method on one batch, in one transaction.

        Args:
            batch: number of the batch.
            method: name of the method.
            results: rows by table, each with the same columns.
        """
        key = self.key(method)
        with self.writing():
            values = (key, method, json.dumps(dict(self._facts(method))))
            self._connection.execute("INSERT OR IGNORE INTO keys VALUES (?, ?, ?)", values)
            self._delete(key, batch)
            for table, rows in results.items():
                self._insert(table, key, batch, rows)
            total = self._sums(key, batch)[batch]  # of what a later start will read
            self._connection.execute("INSERT INTO units VALUES (?, ?, ?, ?)", (key, batch, method, total))

    def delete_damaged(self) -> dict[str, int]:
        """Delete the units whose rows are not those that were written, and rows of no unit.

        Returns:
            How many units of which method.
        """
        methods = self._current()
        found: dict[str, int] = defaultdict(int)
        with self.writing():
            for unit in self._damaged():
                self._delete(*unit)
                found[methods[unit[0]]] += 1
        return dict(sorted(found.items()))

    @contextmanager
    def writing(self) -> Iterator[None]:
        """One transaction; what keeps it from being written is a sentence."""
        with _plain_errors(self.path), self._connection:
            yield

    @contextmanager
    def reading(self, *, mended: bool = False) -> Iterator[None]:
        """One moment: whatever is read inside fits together, though another process may be writing.

        Args:
            mended: whether all units are known to be whole.
        """
        with _plain_errors(self.path):
            self._connection.execute("BEGIN")
            try:
                self._damaged_now = set() if mended else self._damaged()
                yield
            finally:
                self._damaged_now = None
                self._connection.rollback()

    def write_failure(self, method: str, reason: str) -> None:
        """Note why a method could not run."""
        with self.writing():
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
                then, now = _read_facts(earlier[-1][1]), self._facts(method)
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
                    for name in self.all_tables().keys() & present:
                        self._connection.execute(f"INSERT OR IGNORE INTO {name} SELECT * FROM other.{name}")
            finally:
                self._connection.execute("DETACH DATABASE other")
        other.unlink()

    def frame(self, table: str, columns: Sequence[str], order: str, batch: int | None = None) -> pd.DataFrame:
        """Rows of a table in units that are whole, sorted; of one batch, or of all."""
        rows = self.whole_rows(f"SELECT key, batch, {', '.join(columns)} FROM {table}", f"ORDER BY {order}", batch)
        return pd.concat(frames(rows, columns), ignore_index=True)

    def whole_rows(self, select: str, order: str = "", batch: int | None = None) -> Iterator[tuple[Any, ...]]:
        """Rows in units that are whole, one by one.

        Args:
            select: beginning with the columns ``key`` and ``batch``, which are left out of what is found.
            order: how they are sorted, if at all.
            batch: that alone.
        """
        yield from self.only_whole(self._rows(select, order, batch), batch)  # lazily: sorting is not for nothing

    def only_whole(self, rows: Iterable[tuple[Any, ...]], batch: int | None = None) -> Iterator[tuple[Any, ...]]:
        """Those of some rows whose unit, their first two columns, is whole; without these columns."""
        damaged = self._damaged(batch)
        yield from (row[2:] for row in rows if row[:2] not in damaged)

    def _damaged(self, batch: int | None = None) -> set[Unit]:
        """Units whose rows are not those that were written, and those of rows of no unit."""
        if self._damaged_now is not None:
            return self._damaged_now
        damaged: set[Unit] = set()
        for key in self._current():
            sums = self._sums(key, batch)
            for number, total in self._rows("SELECT batch, rows_sum FROM units", "", batch, [key]):
                if sums.pop(number, 0) != total:
                    damaged.add((key, number))
            damaged.update((key, number) for number in sums)
        return damaged

    def _sums(self, key: str, batch: int | None = None) -> dict[int, int]:
        """By batch, a sum that tells whether its rows are the same."""
        sums: dict[int, int] = defaultdict(int)
        for table in self.tables:
            for row in self._rows(f"SELECT * FROM {table}", "", batch, [key]):
                sums[row[1]] += zlib.crc32(repr((table, row)).encode())
        return sums

    def _rows(
        self,
        select: str,
        order: str = "",
        batch: int | None = None,
        keys: Iterable[str] | None = None,
    ) -> sqlite3.Cursor:
        """Rows of some keys, by default of today's; of one batch, or of all. There may be more than memory holds."""
        values: list[object] = list(self._current() if keys is None else keys)
        where = f"key IN ({', '.join('?' * len(values))})"
        if batch is not None:
            where += " AND batch = ?"
            values.append(batch)
        return self._connection.execute(f"{select} WHERE {where} {order}", values)

    def _current(self) -> dict[str, str]:
        """Today's keys, with their methods."""
        known = " UNION ".join(f"SELECT key, method FROM {name}" for name in OWN_TABLES)
        return {key: method for key, method in self._connection.execute(known) if key == self.key(method)}

    def _delete(self, key: str, batch: int) -> None:
        for table in ("units", *self.tables):
            self._connection.execute(f"DELETE FROM {table} WHERE key = ? AND batch IS ?", (key, batch))

    def _insert(self, table: str, key: str, batch: int, rows: Sequence[Row]) -> None:
        for row in rows[:1]:
            columns = ("key", "batch", *row)
            places = ", ".join(f":{column}" for column in columns)
            self._connection.executemany(
                f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})",
                [{"key": key, "batch": batch, **row} for row in rows],
            )


def frames(rows: Iterator[tuple[Any, ...]], columns: Sequence[str]) -> Iterator[pd.DataFrame]:
    """A table of some rows from top to bottom in parts, so that few rows at once are objects of Python.

    Args:
        rows: of all parts.
        columns: their names.
    """
    some = list(itertools.islice(rows, PART))
    while True:  # once at least: columns are told where there are no rows
        yield pd.DataFrame(some, columns=list(columns))
        some = list(itertools.islice(rows, PART))
        if not some:
            return


def _read_facts(text: str) -> dict[str, str]:
    try:
        return {name: str(value) for name, value in dict(json.loads(text)).items()}
    except (TypeError, ValueError):  # damaged: nothing is known of them
        return {}


_DAMAGED = (
    "{path} is damaged ({error}): `python -m benchmarks run --out {run}` keeps it under another name and computes its "
    "results anew."
)


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
