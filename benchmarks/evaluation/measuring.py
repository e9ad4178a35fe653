"""Further measures of the maps of some questions: faithfulness, and masks and boxes at many thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch

from benchmarks.analysis.measure_table import FILM_MEASURES, MEASURES, TABLE_COLUMNS, in_order, mean_table
from benchmarks.analysis.tallies import percentile_interval
from benchmarks.analysis.weighing import Weighing
from benchmarks.evaluation.questions import Asked, Questions
from benchmarks.methods import Explain, Method
from benchmarks.metrics.box_accuracy import MATCH, box_ious
from benchmarks.metrics.explained_film import least_likely_class
from benchmarks.metrics.faithfulness import BLUR, STEPS
from benchmarks.metrics.frame import stretch
from benchmarks.metrics.threshold_iou import THRESHOLDS, otsu_threshold, threshold_ious
from benchmarks.run.config import Config
from benchmarks.scoring.batch import explain_within_memory, seeded
from benchmarks.scoring.explained_batch import ExplainedBatch, measure_row
from benchmarks.scoring.job import Job, evenly_spaced
from benchmarks.scoring.store import MEASURE_COLUMNS, ValueStore
from benchmarks.scoring.unit_store import Facts, Row
from benchmarks.scoring.units import Step

SETTINGS = (STEPS, BLUR, THRESHOLDS, tuple(FILM_MEASURES))
"""What measures depend on beside the job."""
CURVE_SIDE = 150
"""Side of the frame in which masks and boxes are compared at many thresholds, in pixels."""
CURVE_COLUMNS = ("image", "method", "curve", "threshold", "value")


class QuestionStore(ValueStore):
    """One SQLite file of measures of questions, with curves."""

    tables: ClassVar[Mapping[str, str]] = {
        **ValueStore.tables,
        "curves": (
            "image TEXT, method TEXT, curve TEXT, threshold REAL, value REAL, "
            "PRIMARY KEY (key, image, curve, threshold)"
        ),
    }

    def curves(self) -> pd.DataFrame:
        """One row for each question, method, curve (``mask`` or ``box``) and threshold: intersection over union."""
        return self.frame("curves", CURVE_COLUMNS, "image, method, curve, threshold").astype({"value": "float64"})


class QuestionBatch(ExplainedBatch):
    """The questions of one batch, with what all methods share."""

    def __init__(self, job: Job, batch: int) -> None:
        super().__init__(job, batch)
        films = job.films
        assert isinstance(films, Questions)
        self.small = [
            torch.from_numpy(films.mask(p, (CURVE_SIDE, CURVE_SIDE), job.scoring.truth)) for p in self.positions
        ]
        self.boxes = [films.boxes(p, CURVE_SIDE) for p in self.positions]
        of = zip(self.probabilities, self.targets.tolist(), strict=True)
        self.least = self.targets.new_tensor([least_likely_class(*known) for known in of])

    def measure(self, method: Method, explain: Explain) -> dict[str, list[Row]]:
        """Compute a method's maps for the class that is asked for and for the least likely other one.

        Returns:
            Rows of the tables ``measures`` and ``curves``.
        """
        targets, least = self.targets.tolist(), self.least.tolist()
        with seeded(self.job.seed, method, self.batch, self.job.device):
            asked = explain_within_memory(explain, self.images, self.targets).cpu()
            other = explain_within_memory(explain, self.images, self.least).cpu()
        values: list[Row] = []
        curves: list[Row] = []
        planes = stretch(asked, CURVE_SIDE)
        for i, record in enumerate(self.records):
            of = {"image": record.name, "method": method.name}
            film = self.explained(i, {targets[i]: asked[i], least[i]: other[i]}, targets[i])
            found = {name: of_film(film) for name, of_film in FILM_MEASURES.items()}
            if bool(planes.finite[i]):
                plane = planes.choose(torch.tensor([i], device="cpu")).planes[0]
                threshold = otsu_threshold(plane)
                found["otsu_iou"] = float(threshold_ious(plane, self.small[i], (threshold,))[0])
                by_curve = {
                    "mask": threshold_ious(plane, self.small[i]).tolist(),
                    "box": box_ious(plane.numpy(), self.boxes[i]).tolist(),
                }
                curves += [
                    {**of, "curve": curve, "threshold": threshold, "value": value}
                    for curve, along in by_curve.items()
                    for threshold, value in zip(THRESHOLDS, along, strict=True)
                ]
            values += [measure_row(**of, measure=measure, value=value) for measure, value in found.items()]
        return {"measures": values, "curves": curves}


class EvaluationMeasureStep(Step[QuestionStore, QuestionBatch]):
    """Further measures of questions.

    Args:
        asked: The questions.
    """

    name, doing, done, unit = "measures", "Measuring", "measured", "question"
    store = QuestionStore

    def __init__(self, asked: Asked) -> None:
        self.asked = asked

    def open_job(self, config: Config, device: torch.device | str = "cpu") -> Job:
        """Questions that are evenly spaced, as many as are measured at most."""
        job = self.asked.job(config, device)
        return replace(job, positives=evenly_spaced(job.positives, config.scoring.measure_films))

    @classmethod
    def facts(cls, job: Job) -> Facts:
        """What rows depend on."""
        return lambda method: {**job.method_facts(method), "measures": repr(SETTINGS)}

    def open_batch(self, job: Job, batch: int, store: QuestionStore) -> QuestionBatch:
        """Load a batch of questions."""
        return QuestionBatch(job, batch)

    def compute(self, films: QuestionBatch, method: Method, explain: Explain) -> Mapping[str, Sequence[Row]]:
        """Measure."""
        return films.measure(method, explain)

    def finish(self, config: Config, job: Job, store: QuestionStore) -> None:
        """Nothing: the tables are made of measures and scores together."""


def read_measures(config: Config, job: Job) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measures and curves of the methods that were measured on all of the questions of a job."""
    with EvaluationMeasureStep.reading(config, job) as store:
        whole, measures, curves = store.complete(job.batches), store.measures(), store.curves()
    return measures[measures["method"].isin(whole)], curves[curves["method"].isin(whole)]


def masks_of(curves: pd.DataFrame, classes: Any) -> pd.DataFrame:
    """Curves of masks, with the class of each question.

    Args:
        curves: As of :meth:`QuestionStore.curves`.
        classes: By the question's name.
    """
    masks = curves[curves["curve"] == "mask"]
    return masks.assign(**{"class": masks["image"].map(classes)})


def measure_means(values: pd.DataFrame, curves: pd.DataFrame, questions: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Means of all measures over questions.

    Args:
        values: Columns ``image``, ``method``, ``measure``, ``value``.
        curves: As of :meth:`QuestionStore.curves`.
        questions: By name, the columns ``file`` and ``class``.
        seed: Of the bootstrap.

    Returns:
        The columns of ``measures.csv``, in the order of the table of measures.
    """
    table = mean_table([values], seed, questions)
    boxes = box_table(curves[curves["curve"] == "box"], questions, seed)
    return in_order(pd.concat([table, boxes], ignore_index=True) if len(boxes) else table)


def tuned_values(masks: pd.DataFrame, dev: pd.DataFrame) -> pd.DataFrame:
    """Intersection over union of each question at the threshold that is best for its class and method on other images.

    Args:
        masks: Curves of masks, with a column ``class``.
        dev: The same of other images. Of a class that they do not show, the threshold that is best over all counts.

    Returns:
        Columns ``image``, ``method``, ``measure`` and ``value``.
    """
    best = {}
    for by in (["method", "class"], ["method"]):
        means = dev.groupby([*by, "threshold"])["value"].mean().reset_index()
        rows = means.loc[means.groupby(by)["value"].idxmax()]
        best.update({tuple(row[name] for name in by): row["threshold"] for _, row in rows.iterrows()})
    chosen = [best.get((m, c), best.get((m,))) for m, c in zip(masks["method"], masks["class"], strict=True)]
    at = masks[np.isclose(masks["threshold"].astype(float), np.array(chosen, dtype=float))]
    return at[["image", "method", "value"]].assign(measure="tuned_iou")[list(MEASURE_COLUMNS)]


def box_table(boxes: pd.DataFrame, questions: pd.DataFrame, seed: int) -> pd.DataFrame:
    """MaxBoxAcc of each method: the best threshold is chosen anew on each resample."""
    rows: list[tuple[object, ...]] = []
    for method, own in boxes.groupby("method"):
        wide = own.pivot(index="image", columns="threshold", values="value")
        right = (wide.to_numpy(float) >= MATCH).astype(float)
        weighing = Weighing.of(wide.index, questions, by_class=False)
        low, high = percentile_interval(weighing.resampled(right, seed).max(axis=1))
        measure = MEASURES["max_box_accuracy"]
        rows.append((method, "max_box_accuracy", right.mean(axis=0).max(), low, high, len(wide), measure.better))
    return pd.DataFrame(rows, columns=list(TABLE_COLUMNS))
