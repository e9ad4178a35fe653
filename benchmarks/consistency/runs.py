"""Finished runs, read from their directories: their reports for side by side, their scores for film by film."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.run.config import FREE_SETTINGS, flag
from benchmarks.run.directory import read_json
from benchmarks.run.errors import UserError

# Settings that may differ between runs that count as repetitions of one recipe.
_REPEATS = FREE_SETTINGS | {"seed", "preset", "score_batch_size"}


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        label: short and unique among the compared runs.
        folder: the run directory.
        table: ``summary.csv``.
        facts: ``summary.json``.
        settings: ``config.json``.
    """

    label: str
    folder: Path
    table: pd.DataFrame
    facts: dict[str, Any]
    settings: dict[str, Any]


def load_runs(folders: list[Path]) -> list[Run]:
    """Read what the reports of runs wrote.

    Raises:
        UserError: see :func:`compare`.
    """
    if len({folder.resolve() for folder in folders}) < 2:
        raise UserError("compare needs at least two different run directories.")
    for folder in folders:
        if not (folder / "summary.csv").is_file() or not (folder / "summary.json").is_file():
            raise UserError(f"{folder} holds no report: run `python -m benchmarks report --out {folder}` first.")
    runs = [
        Run(
            label,
            folder,
            pd.read_csv(folder / "summary.csv"),
            read_json(folder / "summary.json"),
            read_json(folder / "config.json"),
        )
        for label, folder in zip(_labels(folders), folders, strict=True)
    ]
    if not set.intersection(*(set(run.table["method"]) for run in runs)):
        raise UserError(f"{' and '.join(map(str, folders))} have no method in common: score the same --methods.")
    return runs


def _labels(folders: list[Path]) -> list[str]:
    """The shortest ends of the paths that tell the runs apart."""
    paths = [folder.resolve() for folder in folders]
    for depth in range(1, max(len(path.parts) for path in paths) + 1):
        labels = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(labels)) == len(labels):
            return labels
    raise UserError("compare was given the same run directory twice.")


@dataclass(frozen=True)
class Finished:
    """A scored run.

    Attributes:
        folder: The run directory.
        settings: ``config.json``; the seed is that of the training.
        scores: ``scores.parquet``.
    """

    folder: Path
    settings: dict[str, Any]
    scores: pd.DataFrame

    @property
    def arch(self) -> str:
        """Name of the architecture."""
        return str(self.settings["arch"])

    @property
    def label(self) -> str:
        """Architecture and seed."""
        return f"{self.arch} seed {self.settings['seed']}"


def load_finished(folders: Sequence[Path]) -> list[Finished]:
    """Read runs that are to be compared.

    Raises:
        UserError: A run has no scores, was made on other data, is there twice, or differs from another of
            its architecture in more than the seed.
    """
    runs: list[Finished] = []
    for folder in folders:
        if not (folder / "config.json").is_file() or not (folder / "scores.parquet").is_file():
            raise UserError(f"{folder} holds no scores: run `python -m benchmarks run --out {folder}` first.")
        run = Finished(folder, _settings(folder), pd.read_parquet(folder / "scores.parquet"))
        for other in runs:
            _check_pair(other, run)
        runs.append(run)
    return runs


def _settings(folder: Path) -> dict[str, Any]:
    settings: dict[str, Any] = read_json(folder / "config.json")
    trained = Path(settings.get("checkpoint") or folder) / "config.json"
    return {**settings, "seed": read_json(trained)["seed"]} if trained.is_file() else settings


def _check_pair(a: Finished, b: Finished) -> None:
    if a.settings.get("annotations") != b.settings.get("annotations"):
        raise UserError(
            f"{b.folder} was made with other films or annotations than {a.folder}: --others takes runs on the same "
            "data and with the same --limit."
        )
    if a.settings["truth"] != b.settings["truth"]:
        raise UserError(f"{b.folder} was scored with another --truth than {a.folder}: score one of them anew.")
    if a.arch != b.arch:
        return
    for name in sorted(a.settings.keys() | b.settings.keys()):
        if name not in _REPEATS and a.settings.get(name) != b.settings.get(name):
            raise UserError(
                f"{b.folder} differs from {a.folder} in {flag(name)} ({b.settings.get(name)}, not "
                f"{a.settings.get(name)}), so they are no repetitions of one recipe: leave it out of --others."
            )
    if a.settings["seed"] == b.settings["seed"]:
        raise UserError(f"{b.folder} and {a.folder} have the same architecture and seed: leave one out of --others.")
