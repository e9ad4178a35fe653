"""What an evaluation comes to: accuracies over all and by class, tests, and the report."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from benchmarks.analysis.breakdown import break_down
from benchmarks.analysis.measure_table import mean_table, overlap_values
from benchmarks.analysis.significance import significance_table
from benchmarks.analysis.tallies import summarise
from benchmarks.evaluation.questions import DIFFICULT_SHARE, Questions
from benchmarks.evaluation.step import Asked, write_scores
from benchmarks.formats.labelled import LabelledSet
from benchmarks.methods import METHODS
from benchmarks.metrics.frame import FRAME
from benchmarks.report.assemble import write_report
from benchmarks.report.results import Results, read_results
from benchmarks.report.subject import Subject, spoken
from benchmarks.run.config import Config
from benchmarks.run.files import write_csv
from benchmarks.scoring.job import Job

BREAKDOWNS = {
    "class": "class that is asked for",
    "difficult": (
        f"TorchRay's difficult questions: the class covers less than {100 * DIFFICULT_SHARE:.0f} % of the image, and "
        "the image shows another class too"
    ),
    "probability": "what the network gives to the class that is asked for",
}


@dataclass(frozen=True)
class Evaluation:
    """What a network's maps are worth on questions about images.

    Attributes:
        config: Where results are, and the settings of scoring.
        asked: The questions, and of which network.
        job: Network and questions as scored.
        data: The set that the questions are about.
        results: One row for each question, method and protocol.
        told: What was noticed on the way, such as categories without an output.
    """

    config: Config
    asked: Asked
    job: Job
    data: LabelledSet
    results: Results
    told: list[str]

    @classmethod
    def read(cls, config: Config, asked: Asked, job: Job, data: LabelledSet, told: list[str]) -> Evaluation:
        """The results that scoring left.

        Raises:
            UserError: No method could run.
        """
        return cls(config, asked, job, data, read_results(config, job), told)

    @cached_property
    def questions(self) -> pd.DataFrame:
        """By question, index ``image``: the columns ``file``, ``class`` and ``difficult``."""
        films = self.job.films
        assert isinstance(films, Questions)
        return films.table

    @property
    def _by_class(self) -> bool:
        return self.asked.explain == "labelled"

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row for each method, protocol and tolerance: the columns of ``summary.csv``.

        ``accuracy`` is the mean over classes where labelled classes are explained, and ``pooled`` that over questions;
        ``difficult`` is the accuracy on the difficult questions, missing where there are none. Intervals are from
        resamples of the images.
        """
        scores, seed, order = self.results.scores, self.config.seed, list(METHODS)
        keys = ["method", "protocol", "tolerance"]
        table = summarise(scores, seed, order, self.questions, by_class=self._by_class)
        table["questions"] = len(self.questions)
        parts = {"pooled": (self.questions, False)}
        difficult = self.questions[self.questions["difficult"]]
        if len(difficult):
            parts["difficult"] = (difficult, self._by_class)
        for name, (questions, by_class) in parts.items():
            part = summarise(scores, seed, order, questions, by_class=by_class)
            renamed = {"accuracy": name, "ci_low": f"{name}_low", "ci_high": f"{name}_high"}
            table = table.merge(part[[*keys, *renamed]].rename(columns=renamed), on=keys, how="left")
        table["difficult_questions"] = len(difficult)
        return table

    @cached_property
    def by_class(self) -> pd.DataFrame:
        """One row for each method, protocol, tolerance and class, with Wilson's interval: ``by_class.csv``."""
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
        """McNemar's tests of each method against the best, corrected by Holm: ``significance.csv``."""
        return significance_table(self.results.scores, self.config.seed, self._weighed)

    @property
    def _weighed(self) -> pd.DataFrame | None:
        """Questions as they are weighed: without classes of their own where these do not count alike."""
        return self.questions if self._by_class else self.questions.assign(**{"class": ""})

    @cached_property
    def measures(self) -> pd.DataFrame:
        """Means over questions of what else is measured on the maps: ``measures.csv``."""
        overlaps = overlap_values(self.results.scores, len(self.questions))
        return mean_table([overlaps], self.config.seed, self.questions)

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
        write_report(config, self.job, self.results, self._subject(), self.table)
        return config.out / "report.html"

    def _subject(self) -> Subject:
        model, questions = self.asked.model, self.questions
        images, classes = questions["file"].nunique(), questions["class"].nunique()
        size = f"{model.name} at {model.shape[2]} x {model.shape[1]} px"
        count = f"{len(questions)} questions, each a class and an image that shows it, about {images} images"
        mean = "the mean over classes" if self._by_class else "that over images"
        explained = "that is asked for" if self._by_class else "that the network predicts"
        verdicts = self.results.verdicts
        names = model.classes or tuple(map(str, range(int(verdicts["target"].max()) + 1)))
        said = spoken(verdicts, names)
        if self._by_class:
            shares = dict(zip(verdicts["image"], verdicts["label_probability"], strict=True))
            said = {name: f"the network gives the class {100 * share:.1f} %" for name, share in shares.items()}
        return Subject(
            title=f"Pointing Game on {len(questions)} questions",
            facts=(
                f"{size} · {self.data.source.name} ({self.data.format}) · {count}; {classes} classes · hit: the "
                f"annotated {self.config.scoring.truth}, in a frame of {FRAME} x {FRAME} px"
            ),
            lines=[f"Network {size}. {count}; {classes} classes. Accuracy is {mean}.", *self.told],
            hit=(
                f"The map for the class {explained} is stretched onto the frame, and its maximum is one point. It is a "
                f"hit in an annotation of the class, or strictly closer to one than the tolerance. Accuracy is {mean}; "
                "by class it is in the breakdown."
            ),
            unit="question",
            groups=self._groups(),
            breakdowns=BREAKDOWNS,
            verdicts=said,
            content={
                "model": model.name,
                "data": self.data.source.name,
                "format": self.data.format,
                "explain": self.asked.explain,
                "questions": len(questions),
                "classes": sorted(questions["class"].unique()),
            },
            questions=self._weighed,
            remarks=[("Data", text) for text in self.told],
        )

    def _groups(self) -> pd.DataFrame:
        questions = self.questions
        shares = self.results.verdicts.set_index("image")["label_probability"].reindex(questions.index)
        names = questions["class"]
        return pd.DataFrame(
            {
                "class": pd.Categorical(names, list(dict.fromkeys(names)), ordered=True),
                "difficult": pd.Categorical.from_codes(
                    (~questions["difficult"]).astype(int), ["difficult", "not difficult"], ordered=True
                ),
                "probability": pd.Categorical.from_codes(
                    (shares < 0.5).astype(int), ["at least 50 %", "below 50 %"], ordered=True
                ),
            },
            index=questions.index,
        )
