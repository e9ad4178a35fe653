"""How tables of a run directory are read: one that lacks a column, or has words for numbers, is damaged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from benchmarks.run.json_files import DamagedError

WORDS = frozenset({"image", "method", "protocol", "measure", "better", "check", "variant", "status"})
"""Columns of words in all tables; the others hold numbers."""


def read_table(path: Path, columns: Sequence[str], keys: Sequence[str], remedy: str) -> pd.DataFrame:
    """Read a table, CSV or Parquet by its name.

    Args:
        path: The file.
        columns: That it must have.
        keys: Columns that tell its rows apart.
        remedy: What makes it again, for the sentence.

    Raises:
        DamagedError: The file holds something else, or cannot be read.
    """
    try:
        table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
        problem = _problem(table, columns, keys)
    except (ValueError, OSError) as error:  # pandas and pyarrow say all else by these
        problem = " ".join(str(error).split())[:100] or type(error).__name__
    if problem:
        raise DamagedError(f"{path} is damaged ({problem}): {remedy}.")
    return table


def _problem(table: pd.DataFrame, columns: Sequence[str], keys: Sequence[str]) -> str:
    for name in columns:
        if name not in table:
            return f"it has no column {name!r}"
        if name in WORDS and not table[name].map(lambda value: isinstance(value, str)).all():
            return f"its column {name!r} holds something other than words"
        if name not in WORDS and len(table) and not pd.api.types.is_numeric_dtype(table[name]):
            return f"its column {name!r} holds something other than numbers"
    return "two of its rows are about the same" if table.duplicated(list(keys)).any() else ""
