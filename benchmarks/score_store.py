"""Scores of the Pointing Game on disk, one unit at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import pandas as pd

from benchmarks.unit_store import UnitStore

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
