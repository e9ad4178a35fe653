"""What changes between finished runs on the same films: other training seeds, other architectures.

Everything is paired: all runs play on the same films, so a film that is hard for all of them does not widen a
difference.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.analysis.hierarchical import drawn_means, share_over_seeds
from benchmarks.analysis.tallies import hit_matrix, median_interval
from benchmarks.consistency.check_tables import Row
from benchmarks.consistency.runs import Run
from benchmarks.metrics.pointing_game import MAIN_PROTOCOL, MAIN_TOLERANCE
from benchmarks.run.errors import UserError


def between_runs(runs: Sequence[Run], methods: Sequence[str], seed: int) -> list[Row]:
    """Compare runs by seed and by architecture.

    Intervals resample the films, the same ones for all runs, and the seeds of an architecture where there are
    several. ``moved_px`` is the median over films of the distance between the maxima of two runs that explain the same
    class there; with several such pairs, of a film's mean.

    Args:
        runs: Two or more that pass :func:`benchmarks.consistency.runs.check_repetitions`.
        methods: Which are compared, as far as all runs have scored them.
        seed: Of the resampling.

    Returns:
        Rows of the checks ``seed`` and ``architecture``.

    Raises:
        UserError: The runs have scored no method in common.
    """
    hits = [hit_matrix(run.scores, MAIN_PROTOCOL, MAIN_TOLERANCE) for run in runs]
    names = [name for name in methods if all(name in matrix for matrix in hits)]
    if not names:
        raise UserError("the runs have scored no method in common: score the same --methods in all of them.")
    films = hits[0].index
    values = {run.recipe: matrix.loc[films, names].to_numpy(float) for run, matrix in zip(runs, hits, strict=True)}
    compared = _Compared(names, values, {run.recipe: _points(run, names, films) for run in runs}, seed)
    by_arch: dict[str, list[str]] = {}
    for run in runs:
        by_arch.setdefault(run.arch, []).append(run.recipe)
    draws = {  # seeds of two architectures have nothing in common
        arch: drawn_means([values[label] for label in labels], seed, lot=number)
        for number, (arch, labels) in enumerate(by_arch.items(), start=1)
    }
    means = {
        arch: np.mean([values[label].mean(axis=0) for label in labels], axis=0) for arch, labels in by_arch.items()
    }
    rows: list[Row] = []
    for arch, labels in by_arch.items():
        if len(labels) > 1:
            rows += compared.rows("seed", arch, "accuracy", means[arch], draws[arch])
            rows += compared.seed_rows(arch, labels)
            rows += compared.moved_rows("seed", arch, itertools.combinations(labels, 2))
    if len(by_arch) > 1:
        for arch in by_arch:
            rows += compared.rows("architecture", arch, "accuracy", means[arch], draws[arch])
        for a, b in itertools.combinations(by_arch, 2):
            pair = f"{b} - {a}"
            rows += compared.rows("architecture", pair, "accuracy_difference", means[b] - means[a], draws[b] - draws[a])
            rows += compared.moved_rows("architecture", pair, itertools.product(by_arch[a], by_arch[b]))
    return rows


@dataclass(frozen=True)
class _Compared:
    """Hits, (films, methods), and points of each run, by its recipe."""

    names: Sequence[str]
    values: dict[str, npt.NDArray[np.float64]]
    points: dict[str, dict[str, npt.NDArray[np.float64]]]
    seed: int

    @property
    def films(self) -> int:
        return len(next(iter(self.values.values())))

    def rows(
        self, check: str, variant: str, measure: str, means: npt.NDArray[np.float64], draws: npt.NDArray[np.float64]
    ) -> list[Row]:
        low, high = np.quantile(draws, [0.025, 0.975], axis=0).clip(0.0 if measure == "accuracy" else -1.0, 1.0)
        return [
            (check, variant, name, measure, float(means[i]), float(low[i]), float(high[i]), self.films)
            for i, name in enumerate(self.names)
        ]

    def seed_rows(self, arch: str, labels: Sequence[str]) -> list[Row]:
        of_runs = [share_over_seeds([self.values[label]], self.seed) for label in labels]
        by_run = np.stack([shares for shares, _, _ in of_runs])
        # Two or three seeds say too little of their spread to resample it.
        rows: list[Row] = [
            ("seed", arch, name, "accuracy_sd", float(sd), np.nan, np.nan, self.films)
            for name, sd in zip(self.names, by_run.std(axis=0, ddof=1), strict=True)
        ]
        for label, (means, low, high) in zip(labels, of_runs, strict=True):
            rows += [
                ("seed", label, name, "accuracy", float(means[i]), float(low[i]), float(high[i]), self.films)
                for i, name in enumerate(self.names)
            ]
        return rows

    def moved_rows(self, check: str, variant: str, pairs: Iterable[tuple[str, str]]) -> list[Row]:
        pairs = list(pairs)
        rows: list[Row] = []
        for name in self.names:
            by_pair = np.stack([_moved(self.points[a][name], self.points[b][name]) for a, b in pairs], axis=1)
            defined = ~np.isnan(by_pair).all(axis=1)
            moved = np.nanmean(by_pair[defined], axis=1)  # one number a film, so that films are what is drawn
            rows.append((check, variant, name, "moved_px", *median_interval(moved, self.seed), len(moved)))
        return rows


def _points(run: Run, names: Sequence[str], films: pd.Index) -> dict[str, npt.NDArray[np.float64]]:
    """Maxima and class by method, (films, 3): x, y, target."""
    chosen = run.scores[run.scores["protocol"] == MAIN_PROTOCOL]
    return {
        name: chosen[chosen["method"] == name]
        .set_index("image")
        .loc[films, ["x", "y", "target"]]
        .to_numpy(float, na_value=np.nan)
        for name in names
    }


def _moved(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    distance = np.hypot(a[:, 0] - b[:, 0], a[:, 1] - b[:, 1])
    return np.where(a[:, 2] == b[:, 2], distance, np.nan)
