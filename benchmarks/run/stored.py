"""How files of a run directory are read: JSON, tables, arrays, databases, and which of them are damaged."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import numpy as np

from benchmarks.run.choices import Explained, Outputs, ToleranceIn
from benchmarks.run.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=0)]


@dataclass(frozen=True)
class Measured:
    """``classifier.json``, as far as it is read again.

    Attributes:
        auc: On the test films.
        accuracy: On the test films.
        split: What it was measured on.
        unsure: Probabilities between which a verdict is unsure.
        weights: Digest of the weights that were measured.
        dev_auc: On the dev films.
        dev_n: Number of dev films.
        dev_positives: Those of them with objects.
    """

    auc: Share
    accuracy: Share
    split: str
    unsure: tuple[Share, Share] | None = None
    weights: str | None = None
    dev_auc: Share | None = None
    dev_n: Count = 0
    dev_positives: Count = 0


@dataclass(frozen=True)
class Summary:
    """``summary.json``, as far as it is read again.

    Attributes:
        classifier: AUC and accuracy; None for a network of the user's.
        images: Number of annotated films.
        truth: Ground truth.
        chance: Chance level by tolerance.
        drawn_from: Digest of the results that are shown.
        files: Digest of each file of the report by its name.
    """

    classifier: Measured | None
    images: Count
    truth: str
    chance: dict[str, Share]
    drawn_from: str = ""
    files: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluated:
    """``evaluation.json``, as far as it is read again.

    Attributes:
        model: Name of the network.
        input: Channels, height and width of its input.
        outputs: What makes probabilities of its scores.
        classes: Names of its outputs.
        data: File or folder of the annotations.
        format: Theirs.
        images: Number of images that are asked about.
        explain: The class that maps are for; None where grids alone were played.
        tolerance_in: What distances are counted in.
        grid: Cells in a row of the grids that were played.
        told: What was noticed on the way.
        own_methods: What is known of methods of the user's, by name.
        settings: As of ``config.json``.
        facts: By what was played and by method, what the results depend on.
    """

    model: str
    input: tuple[Count, Count, Count]
    outputs: Outputs
    classes: tuple[str, ...]
    data: Path
    format: str
    images: Count
    explain: Explained | None
    tolerance_in: ToleranceIn
    grid: Count | None
    told: tuple[str, ...]
    own_methods: dict[str, dict[str, str]]
    settings: dict[str, Any]
    facts: dict[str, dict[str, dict[str, str]]]


Environment = dict[str, str | int | float | bool | None]
"""``environment.json``."""


class DamagedError(UserError):
    """A file that does not hold what it should."""


def read_json(path: Path, kind: Any = dict[str, Any], remedy: str = "the step that wrote it makes it again") -> Any:
    """Read a JSON file.

    Args:
        path: The file.
        kind: What it holds.
        remedy: What makes it again, for the sentence.

    Raises:
        DamagedError: The file holds something else, or cannot be read.
    """
    try:
        return convert(json.loads(path.read_bytes()), kind)
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, NotOfKindError) else "it is no JSON"
    except OSError as error:
        reason = error.strerror or str(error)
    raise DamagedError(f"{path} is damaged ({reason}): {remedy}.")


class NotOfKindError(ValueError):
    """A value is not of the kind that it should be."""


def convert(value: Any, kind: Any) -> Any:
    """A value of JSON as the kind that it should be.

    Raises:
        NotOfKindError: It is of another kind, or out of range.
    """
    try:
        return msgspec.convert(value, kind, dec_hook=_path)
    except msgspec.ValidationError as error:
        raise NotOfKindError(str(error).replace("`", "").replace("$.", "")) from None


def _path(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise msgspec.ValidationError(f"Expected str, got {type(value).__name__}")


def read_array(path: Path, mode: Literal["r", "r+"] | None = None) -> Any:
    """Read the array of a file .npy, or those of a file .npz by their names.

    Args:
        path: The file.
        mode: Map it into memory, for reading or for writing; ``None`` reads it.

    Raises:
        DamagedError: It is not there, or not whole.
    """
    try:
        if mode is not None:
            return np.load(path, mmap_mode=mode)
        with path.open("rb") as stream:  # NumPy leaves a file open that is no whole archive
            loaded = np.load(stream)
            return loaded if isinstance(loaded, np.ndarray) else dict(loaded)
    except Exception as error:  # NumPy reads a header as Python, and what is wrong with that can be anything
        raise DamagedError(f"{path} is gone or damaged ({error}): the step that wrote it makes it again.") from None


def database_fault(path: Path, tables: Mapping[str, str]) -> str:
    """What is wrong with a database of SQLite's that is there.

    Args:
        path: The file.
        tables: Columns and keys of the tables that it should have, in SQL, by their names.

    Returns:
        Why it cannot be used; empty where it can, or holds nothing yet.
    """
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


WORDS = frozenset({"image", "class", "method", "protocol", "measure", "better", "check", "variant", "status"})
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
    import pandas as pd  # late: settings are read by this module too, and --help must answer at once

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
        if name not in WORDS and len(table) and table[name].dtype.kind not in "biuf":
            return f"its column {name!r} holds something other than numbers"
    return "two of its rows are about the same" if table.duplicated(list(keys)).any() else ""
