"""What an evaluation comes to: accuracies over all and by class, tests, and the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from torch import Tensor

from benchmarks.analysis.breakdown import break_down
from benchmarks.analysis.measure_table import MEASURES, TABLE_COLUMNS, overlap_values
from benchmarks.analysis.significance import significance_table
from benchmarks.analysis.tallies import hit_matrix, summarise
from benchmarks.analysis.true_positives import HIT_RATE, localisation_table
from benchmarks.evaluation.asked_subject import subject_of
from benchmarks.evaluation.measuring import masks_of, measure_means, tuned_values
from benchmarks.evaluation.network_verdicts import Verdicts
from benchmarks.evaluation.questions import Asked, AskedImages
from benchmarks.evaluation.step import kept_maps, write_scores
from benchmarks.formats.labelled import LabelledSet
from benchmarks.methods import METHODS
from benchmarks.metrics.pointing_game import MAIN_PROTOCOL
from benchmarks.report.assemble import write_report
from benchmarks.report.results import Results
from benchmarks.run.config import Config
from benchmarks.run.devices import in_full
from benchmarks.run.files import write_csv, write_text
from benchmarks.run.text_tables import counted, markdown_table, terminal_table, with_interval
from benchmarks.scoring.job import Job


@dataclass(frozen=True)
class Further:
    """What is measured beside the game.

    Attributes:
        measures: Of questions, as of :meth:`benchmarks.evaluation.measuring.QuestionStore.measures`.
        curves: Of questions, as of :meth:`benchmarks.evaluation.measuring.QuestionStore.curves`.
        dev: Curves of other images, with their classes.
        grids: The Grid Pointing Game, one row a method.
    """

    measures: pd.DataFrame
    curves: pd.DataFrame
    dev: pd.DataFrame | None = None
    grids: pd.DataFrame | None = None

    def of(self, methods: Sequence[str]) -> Further:
        """The same for some methods alone."""
        tables = {name: table for name, table in vars(self).items() if table is not None}
        return replace(self, **{name: table[table["method"].isin(methods)] for name, table in tables.items()})


@dataclass(frozen=True)
class Seen:
    """What the network says of the images.

    Attributes:
        verdicts: On those that are asked about, and on those that show none of its classes.
        tuned: By class, the probability from which on it says that the class is there, as other images tell.
    """

    verdicts: Verdicts
    tuned: Mapping[str, float]


@dataclass(frozen=True)
class Evaluation:
    """What a network's maps are worth on questions about images.

    Attributes:
        config: Where results are, and the settings of scoring.
        asked: The questions, and of which network.
        job: Network and questions as scored.
        data: The set that the questions are about.
        results: One row for each question, method and protocol.
        further: What is measured beside the game.
        seen: What the network says of the images.
        told: What was noticed on the way, such as categories without an output.
    """

    config: Config
    asked: Asked
    job: Job
    data: LabelledSet
    results: Results
    further: Further
    seen: Seen
    told: list[str]

    @cached_property
    def questions(self) -> pd.DataFrame:
        """Columns ``file``, ``class`` and ``difficult`` by question."""
        films = self.job.films
        assert isinstance(films, AskedImages)
        return films.table

    @property
    def mean_over_classes(self) -> bool:
        """Whether accuracies are means over classes, and not over questions."""
        return self.asked.explain == "labelled"

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row for each method, protocol and tolerance, with the columns of ``summary.csv``.

        ``accuracy`` is the mean over classes where labelled classes are explained, and ``pooled`` that over questions;
        ``difficult`` is the accuracy on the difficult questions, missing where there are none.
        """
        scores, order = self.results.scores, list(METHODS)
        keys = ["method", "protocol", "tolerance"]
        table = summarise(scores, order, self.questions, by_class=self.mean_over_classes)
        table["questions"] = len(self.questions)
        parts = {"pooled": (self.questions, False)}
        difficult = self.questions[self.questions["difficult"]]
        if len(difficult):
            parts["difficult"] = (difficult, self.mean_over_classes)
        for name, (questions, by_class) in parts.items():
            part = summarise(scores, order, questions, by_class=by_class)
            renamed = {"accuracy": name, "ci_low": f"{name}_low", "ci_high": f"{name}_high"}
            table = table.merge(part[[*keys, *renamed]].rename(columns=renamed), on=keys, how="left")
        table["difficult_questions"] = len(difficult)
        return table

    @cached_property
    def by_class(self) -> pd.DataFrame:
        """One row for each method, protocol, tolerance and class, with Wilson's interval, as in ``by_class.csv``."""
        names = self.questions["class"]
        groups = pd.DataFrame({"class": pd.Categorical(names, list(dict.fromkeys(names)))}, index=names.index)
        rows = self._broken_down(groups)
        rows = rows.rename(columns={"group": "class", "films": "questions"})
        return rows[[column for column in rows.columns if column != "breakdown"]]

    def _broken_down(self, groups: pd.DataFrame) -> pd.DataFrame:
        results = self.results
        return break_down(results.scores, results.true_scores.iloc[:0], results.chance, groups, least_groups=1)

    @cached_property
    def significance(self) -> pd.DataFrame:
        """McNemar's tests of each method against the best, corrected by Holm, as in ``significance.csv``.

        The questions of an image change sides together, which for one question an image is McNemar's exact test.
        """
        return significance_table(self.results.scores, self.config.seed, self.weighed)

    @property
    def weighed(self) -> pd.DataFrame | None:
        """Questions with what they are weighed by, without classes of their own where these do not count alike."""
        return self.questions if self.mean_over_classes else self.questions.assign(**{"class": ""})

    @cached_property
    def measures(self) -> pd.DataFrame:
        """Means over questions of what else is measured on the maps, as in ``measures.csv``."""
        values = pd.concat([overlap_values(self.results.scores, len(self.questions)), self._measured])
        table = measure_means(values, self.further.curves, self.questions, self.config.seed)
        return table if self.grid is None else pd.concat([table, grid_measures(self.grid)], ignore_index=True)

    @cached_property
    def _measured(self) -> pd.DataFrame:
        """Further measures of questions, those with tuned thresholds among them."""
        further = self.further
        masks = masks_of(further.curves, self.questions["class"])
        parts = [further.measures]
        if further.dev is not None and len(masks):
            parts.append(tuned_values(masks, further.dev))
        return pd.concat(parts, ignore_index=True)

    @cached_property
    def localisation(self) -> pd.DataFrame:
        """Hit rate and mIoU on true positives alone and on all, by class, as in ``localisation.csv``.

        On true positives the network says that the class is there, and it is. On all, a mask is empty where the network
        does not say so, and wrong where it says so of an image without that label; a hit asks for an annotation.
        """
        hits = hit_matrix(self.results.scores, MAIN_PROTOCOL, 0).astype(float)
        rates = hits.rename_axis("image").reset_index().melt("image", var_name="method").assign(measure=HIT_RATE)
        measured = self._measured
        masks = measured[measured["measure"].isin(["otsu_iou", "tuned_iou"])]
        values = pd.concat([rates, masks], ignore_index=True)
        verdicts, tuned = self.seen.verdicts, self.seen.tuned
        rows = verdicts.rows(self.questions, tuned)
        return localisation_table(
            values, rows, verdicts.thresholds(tuned), self.config.seed, by_class=self.mean_over_classes
        )

    @property
    def grid(self) -> pd.DataFrame | None:
        """The Grid Pointing Game, one row a method, as in ``grid.csv``; None where it was not asked for."""
        return self.further.grids

    def maps(self, method: str) -> np.ndarray:
        """The kept maps of a method for the class of each question, scaled to [0, 1].

        Args:
            method: Its name.

        Returns:
            A memory map, float16 ``(N, h, w)``, one row for each of the N questions in the order of ``maps/index.csv``;
            NaN where a map is not finite.

        Raises:
            UserError: Maps were not kept.
        """
        return kept_maps(self.config, self.job).read(self.job, method)

    def inputs(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """What the network was shown for some questions, for measures of others.

        Args:
            rows: Numbers of questions, as in ``maps/index.csv``.

        Returns:
            Images float ``(N, C, H, W)``, and the classes asked for, long ``(N,)``.
        """
        found = [self.job.films[row] for row in rows]
        labels = torch.tensor([label for _, label, _ in found], device="cpu")
        return torch.stack([image for image, *_ in found]), labels

    @in_full()
    def report(self, path: Path | str | None = None) -> Path:
        """Write the tables, the figures and the page into a folder.

        Args:
            path: The folder; by default where the results are.

        Returns:
            The page, ``report.html``.
        """
        config = self.config if path is None else self.config.replace(out=Path(path))
        config.out.mkdir(parents=True, exist_ok=True)
        write_scores(config.out, self.asked.questions, self.results.scores, self.results.true_scores)
        write_csv(config.out / "by_class.csv", self.by_class)
        write_csv(config.out / "measures.csv", self.measures)
        write_csv(config.out / "localisation.csv", self.localisation)
        if self.grid is None:
            (config.out / "grid.csv").unlink(missing_ok=True)  # of an earlier call
        else:
            write_csv(config.out / "grid.csv", self.grid)
        write_report(config, self.job, self.results, subject_of(self), self.table)
        return config.out / "report.html"


@dataclass(frozen=True)
class GridEvaluation:
    """What a network's maps are worth on labelled images without annotated objects.

    Attributes:
        config: Where results are.
        table: The Grid Pointing Game, one row a method: ``grid.csv``.
        side: Cells in a row.
    """

    config: Config
    table: pd.DataFrame
    side: int

    def report(self, path: Path | str | None = None) -> Path:
        """Write ``grid.csv`` and ``grid.md`` into a folder, and print the table.

        Args:
            path: The folder; by default where the results are.

        Returns:
            Path of ``grid.md``.
        """
        out = self.config.out if path is None else Path(path)
        write_csv(out / "grid.csv", self.table)
        rows = [["method", "energy in the right cell, %", "maximum in the right cell, %", "DiFull, %"]]
        for row in self.table.sort_values("energy", ascending=False).itertuples():
            energy = with_interval((row.energy, row.energy_low, row.energy_high), 1, 100)
            maximum = with_interval((row.maximum, row.maximum_low, row.maximum_high), 1, 100)
            rows.append([str(row.method), energy, maximum, "" if pd.isna(row.difull) else f"{100 * row.difull:.1f}"])
        rows.append(["(chance)", *[f"{100 / self.side**2:.1f}"] * 2, ""])
        title = (
            f"Grid Pointing Game, {self.side} x {self.side} images, {counted(int(self.table['grids'].max()), 'grid')}"
        )
        write_text(out / "grid.md", "\n".join([f"# {title}", "", *markdown_table(rows), ""]))
        Console().print(terminal_table(title, rows, footer=True))
        return out / "grid.md"


def grid_measures(grids: pd.DataFrame) -> pd.DataFrame:
    """The Grid Pointing Game in the rows of ``measures.csv``."""
    rows: list[tuple[object, ...]] = []
    for row in grids.itertuples():
        cells = int(row.grids / row.chance)
        for name, value in {
            "grid_energy": (row.energy, row.energy_low, row.energy_high),
            "grid_maximum": (row.maximum, row.maximum_low, row.maximum_high),
            "grid_difull": (row.difull, np.nan, np.nan),
        }.items():
            rows.append((row.method, name, *value, cells, MEASURES[name].better))
    return pd.DataFrame(rows, columns=list(TABLE_COLUMNS)).sort_values("measure", kind="stable")
