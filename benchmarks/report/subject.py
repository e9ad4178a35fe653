"""What a report is about: films of a run, or questions about images, and the words for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from benchmarks.analysis.breakdown import BREAKDOWNS, annotation_facts, film_groups
from benchmarks.analysis.by_verdict import by_verdict, missed_share
from benchmarks.metrics.frame import FRAME
from benchmarks.report.results import Results
from benchmarks.run.config import Config
from benchmarks.run.directory import read_measured, run_record
from benchmarks.scoring.job import Job


@dataclass(frozen=True)
class Subject:
    """Of a report.

    Attributes:
        title: Head of the tables.
        facts: A line on classifier and data.
        lines: The same in sentences, for Markdown.
        hit: What a hit is, for the page's notes.
        unit: What a row is about, a film or a question.
        groups: By film or question one column a breakdown, as of :func:`benchmarks.analysis.breakdown.film_groups`.
        breakdowns: What each of these is, by name.
        verdicts: What the classifier says, by film or question.
        content: Of ``summary.json``, beside the numbers.
        questions: By name, the columns ``file`` and ``class``, where rows are questions whose classes count alike.
        remarks: Further notes, a term and a text each.
        notes: Notes of the page that are otherwise than for films, by the id of their place.
        mean: How accuracies are one, behind the number of films or questions.
        classifier: How good it is, in a sentence; empty where that is not known.
        localisation: As of :func:`benchmarks.analysis.true_positives.localisation_table`, where that is known.
        by_verdict: As of :func:`benchmarks.analysis.by_verdict.by_verdict`, where the maps explain what is predicted.
    """

    title: str
    facts: str
    lines: list[str]
    hit: str
    unit: str
    groups: pd.DataFrame
    breakdowns: dict[str, str]
    verdicts: dict[str, str]
    content: dict[str, Any]
    questions: pd.DataFrame | None = None
    remarks: list[tuple[str, str]] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)
    mean: str = ""
    classifier: str = ""
    localisation: pd.DataFrame | None = None
    by_verdict: pd.DataFrame | None = None


def of_run(config: Config, job: Job, results: Results) -> Subject:
    """Films of a run with a classifier of its own."""
    measured = read_measured(config.classifier_dir)
    records = [run_record(run) or {} for run in (config.out, config.classifier_dir)]
    same = records[0].get("annotations") == records[1].get("annotations")
    split = "the test films" if same else "other films, the test split of the set that it was trained on"
    images = len(job.positives)
    excluded = len(job.films.records) - images
    size = f"{config.arch} at {config.image_size}"
    (missed,) = missed_share([results.scores])
    quality = f"AUC {measured.auc:.3f}, accuracy {measured.accuracy:.3f} on {split}"
    return Subject(
        title=f"Pointing Game on {images} annotated test films",
        facts=(
            f"{size} x {config.image_size} px, {quality} · {images} annotated test films ({excluded} without "
            f"annotation are left out) · hit: the annotated {config.scoring.truth}, in a frame of {FRAME} x {FRAME} px"
        ),
        lines=[
            f"Classifier {size} x {config.image_size}: {quality}. {excluded} test films without annotation are left "
            "out."
        ],
        hit=(
            "The map for the class that the classifier predicts is stretched onto the frame, and its maximum is one "
            "point. It is a hit in an annotation, or strictly closer to one than the tolerance. Films without "
            "annotation do not count; a film that the classifier calls clean does, and then the map explains the wrong "
            "class."
        ),
        unit="film",
        groups=film_groups(annotation_facts(job.annotated())),
        breakdowns=BREAKDOWNS,
        verdicts=spoken(results.verdicts, ("clean", "object")),
        content={
            "classifier": {"auc": measured.auc, "accuracy": measured.accuracy, "split": split, "missed": missed},
            "films_without_annotation_excluded": excluded,
        },
        classifier=(
            f"The classifier has AUC {measured.auc:.3f} on {split}, and misses the object on {100 * missed:.1f} % of "
            "the annotated films."
        ),
        by_verdict=by_verdict([results.scores], config.seed, results.complete),
    )


def spoken(verdicts: pd.DataFrame, classes: tuple[str, ...]) -> dict[str, str]:
    """What the classifier says of each film, which its map explains."""
    found = {}
    for row in verdicts.itertuples():
        wrong = "" if row.target == row.label else ", which is wrong"
        found[str(row.image)] = f"the classifier says {classes[int(row.target)]} ({100 * row.probability:.1f} %){wrong}"
    return found
