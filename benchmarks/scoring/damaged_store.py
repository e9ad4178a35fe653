"""A file of results that is no sound database gives way to a new one, and is kept."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from benchmarks.scoring.unit_store import UnitStore


def set_damaged_aside(path: Path, store: type[UnitStore]) -> None:
    """Keep a file that is damaged, or has other tables, under another name, so that a new one can be begun.

    Args:
        path: of a file of results.
        store: what reads it.
    """
    problem = _damage(path, store.all_tables()) if path.is_file() else ""
    if problem:
        number = 1
        while (aside := path.with_name(f"{path.name}.damaged{number}")).exists():
            number += 1
        path.replace(aside)
        print(f"{path} is damaged ({problem}); it is kept as {aside.name}, and its results are computed anew.")


def _damage(path: Path, tables: Mapping[str, str]) -> str:
    try:
        with closing(sqlite3.connect(path, timeout=60)) as connection:
            (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
            if verdict != "ok":
                return str(verdict)
            there = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            for name, columns in tables.items() if there else ():
                found = [row[1] for row in connection.execute(f"PRAGMA table_info({name})")]
                if name not in there:
                    return f"it lacks the table {name}"
                if found != [part.split()[0] for part in columns.partition(", PRIMARY")[0].split(", ")]:
                    return f"its table {name} has other columns"
    except sqlite3.OperationalError:  # it is locked, or cannot be read at all, which writing will tell
        return ""
    except sqlite3.DatabaseError as error:
        return str(error)
    return ""
