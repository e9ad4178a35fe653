"""The tables of scores and of measures, as they are written and as they are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

import pandas as pd

from benchmarks.scoring.unit_store import UnitStore, frames

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
    "image TEXT, method TEXT, protocol TEXT, x INTEGER, y INTEGER, distance REAL, energy REAL, iou REAL, "
    "seconds REAL, status TEXT, PRIMARY KEY (key, image, protocol)"
)


class ScoreStore(UnitStore):
    """One SQLite file of scores; arguments as of :class:`UnitStore`."""

    tables: ClassVar[Mapping[str, str]] = {
        "plays": _PLAYS,
        "plays_true": _PLAYS,
        "verdicts": (
            "image TEXT, position INTEGER, label INTEGER, target INTEGER, probability REAL, label_probability REAL, "
            "PRIMARY KEY (key, image)"
        ),
        "chance": "image TEXT, tolerance INTEGER, chance REAL, PRIMARY KEY (key, image, tolerance)",
    }

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

    def verdicts(self, batch: int | None = None) -> pd.DataFrame:
        """Verdicts with the columns of :data:`VERDICT_COLUMNS`, sorted by position; of one batch, or of all."""
        return self.frame("verdicts", VERDICT_COLUMNS, "position", batch)

    def chance(self) -> pd.DataFrame:
        """Chance levels with the columns image, tolerance, chance, sorted."""
        return self.frame("chance", ("image", "tolerance", "chance"), "image, tolerance")

    def _scores(self, table: str, target: str, probability: str) -> Iterator[pd.DataFrame]:
        verdicts = (
            f"SELECT key AS film_key, batch AS film_batch, image AS film, label, {target} AS target, "
            f"{probability} AS probability FROM verdicts WHERE key = '{self.key()}'"
        )
        rows = self.whole_rows(
            f"SELECT key, batch, film_key, film_batch, {', '.join(SCORE_COLUMNS)} "
            f"FROM {table} JOIN ({verdicts}) ON film = image",
            "ORDER BY image, method, protocol",
        )
        return (part.astype(_DTYPES) for part in frames(self.only_whole(rows), SCORE_COLUMNS))


MEASURE_COLUMNS = ("image", "method", "measure", "value")
"""``value`` is missing where a map is not finite or, for class sensitivity, constant."""
PEAK_COLUMNS = ("image", "method", "peak", "x", "y", "score", "object")
"""``x`` and ``y`` are pixels of the frame; a peak has one row for each object (its number on the film) that it lies
in, or one row with the object -1."""


class ValueStore(UnitStore):
    """One SQLite file of what is measured on each film or question; arguments as of :class:`UnitStore`."""

    tables: ClassVar[Mapping[str, str]] = {
        "measures": "image TEXT, method TEXT, measure TEXT, value REAL, PRIMARY KEY (key, image, measure)",
    }

    def measures(self) -> pd.DataFrame:
        """One row for each film or question, method and measure, sorted, as in ``measures.parquet``."""
        return self.frame("measures", MEASURE_COLUMNS, "image, method, measure").astype({"value": "float64"})


class MeasureStore(ValueStore):
    """The same of films, with peaks."""

    tables: ClassVar[Mapping[str, str]] = {
        **ValueStore.tables,
        "peaks": (
            "image TEXT, method TEXT, peak INTEGER, x INTEGER, y INTEGER, score REAL, object INTEGER, "
            "PRIMARY KEY (key, image, peak, object)"
        ),
    }

    def peaks(self) -> pd.DataFrame:
        """All peaks, sorted."""
        return self.frame("peaks", PEAK_COLUMNS, "image, method, peak, object")
