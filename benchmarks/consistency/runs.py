"""Finished runs and evaluations, read from their directories, and whether they may be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.analysis.measure_table import TABLE_COLUMNS
from benchmarks.analysis.tallies import SUMMARY_COLUMNS, summarise
from benchmarks.run.config import EVALUATION, FREE_SETTINGS, flag, from_dict
from benchmarks.run.directory import evaluated, refuse_evaluation, saved_config
from benchmarks.run.errors import UserError
from benchmarks.run.stored import DamagedError, Evaluated, Measured, Summary, read_json, read_table
from benchmarks.run.text_tables import counted
from benchmarks.scoring.unit_store import EVERY

# Settings that may differ between runs that count as repetitions of one recipe.
_REPEATS = FREE_SETTINGS | {"seed", "preset", "score_batch_size"}


@dataclass(frozen=True)
class Run:
    """A finished run; its files are read when they are asked for.

    Attributes:
        folder: The run directory.
        label: Short and unique among the runs that were loaded together.
        without: Names of films that do not count.

    Raises:
        UserError: When a file is asked for that the run does not have.
    """

    folder: Path
    label: str
    without: frozenset[str] = frozenset()

    @cached_property
    def settings(self) -> dict[str, Any]:
        """``config.json``; the seed is that of the training."""
        path = self._file("config.json", "run")
        record = read_json(path, remedy="choose another run")
        settings = {**from_dict(record, path).to_dict(), **record}
        trained = Path(settings["checkpoint"] or self.folder) / "config.json"
        if trained.is_file():
            settings["seed"] = read_json(trained, remedy="choose another run").get("seed")
        return settings

    @cached_property
    def scores(self) -> pd.DataFrame:
        """``scores.parquet``, as far as its films count."""
        scores = self._table("scores.parquet", ("image", "method", "protocol", "distance"), 3, "report")
        return scores[~scores["image"].isin(self.without)] if self.without else scores

    @property
    def questions(self) -> pd.DataFrame | None:
        """By name, the columns ``file`` and ``class``, where rows are questions; None where they are films."""
        return None

    @property
    def played_on(self) -> object:
        """What two runs share where they can be compared film by film; None where that is not known."""
        annotations = self.settings.get("annotations")
        return annotations and (annotations, self.facts.truth)

    @property
    def films(self) -> frozenset[str]:
        """Names of the annotated films that count."""
        return frozenset(self.scores["image"].unique())

    @cached_property
    def table(self) -> pd.DataFrame:
        """``summary.csv``; where films do not count, the same of the others."""
        table = self._table("summary.csv", SUMMARY_COLUMNS, 3, "report")
        if not self.without:
            return table
        return summarise(self.scores, list(table["method"].unique()), self.questions)

    @cached_property
    def measures(self) -> pd.DataFrame | None:
        """``measures.csv``; None of a run that was not measured."""
        there = (self.folder / "measures.csv").is_file()
        return self._table("measures.csv", TABLE_COLUMNS, 2, "measure") if there else None

    @cached_property
    def film_measures(self) -> pd.DataFrame:
        """``measures.parquet``."""
        return self._table("measures.parquet", ("image", "method", "measure", "value"), 3, "measure")

    @cached_property
    def facts(self) -> Summary:
        """``summary.json``."""
        facts: Summary = read_json(self._file("summary.json", "report"), Summary, self._remedy("report"))
        return facts

    @cached_property
    def classifier(self) -> Measured:
        """How good the classifier is.

        Raises:
            DamagedError: ``summary.json`` does not tell.
        """
        if self.facts.classifier is None:
            path, remedy = self.folder / "summary.json", self._remedy("report")
            raise DamagedError(f"{path} is damaged (it tells of no classifier): {remedy}.")
        return self.facts.classifier

    @property
    def about(self) -> dict[str, str]:
        """What a reader should know of it, by what it is called."""
        return {
            "classifier": f"{self.arch} at {self.settings['image_size']} px",
            "AUC": f"{self.classifier.auc:.3f}",
            "annotated films": str(self.facts.images),
            "ground truth": self.facts.truth,
        }

    @property
    def arch(self) -> str:
        """Name of the architecture."""
        return str(self.settings["arch"])

    @property
    def recipe(self) -> str:
        """Architecture and seed."""
        return f"{self.arch} seed {self.settings['seed']}"

    def _table(self, name: str, columns: Sequence[str], keys: int, command: str) -> pd.DataFrame:
        return read_table(self._file(name, command), columns, columns[:keys], self._remedy(command))

    def _remedy(self, command: str) -> str:
        return f"`python -m benchmarks {command} --out {self.folder}` makes it again"

    def _file(self, name: str, command: str) -> Path:
        if not (self.folder / name).is_file():
            raise UserError(f"{self.folder} holds no {name}: run `python -m benchmarks {command} --out {self.folder}`.")
        return self.folder / name


@dataclass(frozen=True)
class EvaluatedRun(Run):
    """An evaluation of a classifier of the user's, whose rows are questions; arguments as of :class:`Run`."""

    @cached_property
    def record(self) -> Evaluated:
        """``evaluation.json``."""
        return evaluated(self.folder)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """As of ``config.json`` of a run."""
        return self.record.settings

    @cached_property
    def scores(self) -> pd.DataFrame:
        """``scores.parquet`` with the name of the question as ``image``, as far as its image counts."""
        scores = self._table("scores.parquet", ("image", "class", "method", "protocol", "distance"), 4, "report")
        scores = scores.assign(file=scores["image"])
        if self.record.explain == "labelled":
            scores["image"] = scores["file"] + ": " + scores["class"]
        else:
            scores["class"] = ""  # the mean is over questions then
        return scores[~(scores["file"].isin(self.without) | scores["image"].isin(self.without))]

    @cached_property
    def questions(self) -> pd.DataFrame:
        """By name, the columns ``file`` and ``class``."""
        return self.scores.drop_duplicates("image").set_index("image")[["file", "class"]]

    @property
    def played_on(self) -> object:
        """Which questions, and what is a hit."""
        record = self.record
        return record.facts["scores"][EVERY]["annotations"], record.explain, self.facts.truth, record.tolerance_in

    @property
    def films(self) -> frozenset[str]:
        """Names of the images that count, and of the questions about them."""
        return frozenset([*self.questions.index, *self.questions["file"]])

    @property
    def about(self) -> dict[str, str]:
        """What a reader should know of it, by what it is called."""
        record = self.record
        return {
            "classifier": f"{record.model} at {record.input[2]} x {record.input[1]} px",
            "questions": f"{self.facts.images} about {counted(record.images, 'image')}",
            "explained": f"the {record.explain} class",
            "ground truth": self.facts.truth,
            "tolerances in pixels of": "the image" if record.tolerance_in == "image" else "the frame",
        }


def load_runs(folders: Sequence[Path], without: frozenset[str] = frozenset()) -> list[Run]:
    """The runs of some directories, labelled by the shortest ends of the paths that tell them apart.

    Args:
        folders: Run directories; one of several seeds stands for the runs of its seeds. Or folders of evaluations.
        without: Names of films that do not count.

    Raises:
        UserError: There are fewer than two, or one is there twice.
    """
    folders = [run for folder in folders for run in _seeds_of(folder)]
    paths = [folder.resolve() for folder in folders]
    if len(set(paths)) < max(2, len(paths)):
        raise UserError("Runs are compared with others: give at least two different run directories, each once.")
    for depth in range(1, max(len(path.parts) for path in paths) + 1):
        labels = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(labels)) == len(labels):
            break
    for folder in folders:
        if (folder / EVALUATION).exists() and evaluated(folder).explain is None:
            raise UserError(f"{folder} holds the Grid Pointing Game alone, whose table is grid.csv: leave it out.")
    kinds = [EvaluatedRun if (folder / EVALUATION).exists() else Run for folder in folders]
    return [kind(folder, label, without) for kind, folder, label in zip(kinds, folders, labels, strict=True)]


def _seeds_of(folder: Path) -> list[Path]:
    """The run directories of the seeds of a run, which is itself one where it has one seed."""
    try:
        seeds = read_json(folder / "config.json").get("seeds", 1)
    except DamagedError:  # or absent, which is told when a setting is asked for
        return [folder]
    return [one.out for one in saved_config(folder).replace(out=folder).of_each_seed()] if seeds != 1 else [folder]


def check_repetitions(runs: Sequence[Run]) -> None:
    """See to it that runs may be compared film by film.

    Raises:
        UserError: A run was made on other data, or differs from another of its architecture in more than the seed, or
            not even in that.
    """
    for i, run in enumerate(runs):
        refuse_evaluation(run.folder)
        for other in runs[:i]:
            _check_pair(other, run)


def _check_pair(a: Run, b: Run) -> None:
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
