"""A file of results that is no sound database gives way to a new one, and is kept."""

from __future__ import annotations

from pathlib import Path

from benchmarks.run.stored import database_fault
from benchmarks.scoring.unit_store import UnitStore


def set_damaged_aside(path: Path, store: type[UnitStore]) -> None:
    """Keep a file that is damaged, or has other tables, under another name, so that a new one can be begun.

    Args:
        path: of a file of results.
        store: what reads it.
    """
    problem = database_fault(path, store.all_tables()) if path.is_file() else ""
    if problem:
        number = 1
        while (aside := path.with_name(f"{path.name}.damaged{number}")).exists():
            number += 1
        path.replace(aside)
        print(f"{path} is damaged ({problem}); it is kept as {aside.name}, and its results are computed anew.")
