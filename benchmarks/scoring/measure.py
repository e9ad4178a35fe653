"""Measures beyond the Pointing Game, on a subset of the test films: FROC, insertion, deletion, class sensitivity.

Together with the two that scoring takes from the same maps as the game (energy, and intersection over
union), they end in one table, ``measures.csv``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd
import torch

from benchmarks.analysis.measure_table import FILM_MEASURES, froc_tables, in_order, mean_table, overlap_values
from benchmarks.methods import METHODS, Explain, Method
from benchmarks.metrics.faithfulness import BLUR, STEPS
from benchmarks.run.config import Config
from benchmarks.run.files import write_csv, write_parquet
from benchmarks.scoring.job import Job, evenly_spaced
from benchmarks.scoring.measure_batch import LEAST_PEAK, MOST_PEAKS, MeasureBatch
from benchmarks.scoring.score import ScoreStep, annotated_positions, open_job
from benchmarks.scoring.store import MeasureStore
from benchmarks.scoring.unit_store import Facts, Row
from benchmarks.scoring.units import Step

SETTINGS = {
    "steps": STEPS, "blur": BLUR, "most peaks": MOST_PEAKS, "least peak": LEAST_PEAK, "measures": tuple(FILM_MEASURES)
}  # fmt: skip
"""What measures depend on beside the job."""


def measure(config: Config) -> None:
    """Measure the methods of a configuration, going on where an earlier start stopped.

    Writes ``measures.sqlite`` while it works, and at the end ``measures.parquet`` (one row for each film,
    method and measure), ``measures.csv`` (one for each method and measure) and ``froc.csv`` into the run
    directory.

    Args:
        config: of the run; the classifier must be trained. Energy and intersection over union come from the scores,
            and are left out without.

    Raises:
        UserError: no classifier, no annotated films, an unknown method, or a full disk.
    """
    MeasureStep().run(config)


class MeasureStep(Step[MeasureStore, MeasureBatch]):
    """Maps of all methods for both classes, and what is measured on them."""

    name, doing, done = "measures", "Measuring", "measured"
    store = MeasureStore

    def open_job(self, config: Config, device: torch.device | str = "cpu") -> Job:
        """Load what measuring needs: annotated and clean films, as many of each where there are enough.

        Raises:
            UserError: no classifier, or no annotated film.
        """
        job = open_job(config, device)
        clean = annotated_positions(job.films.records, label=0)
        half = config.scoring.measure_films // 2
        chosen = [*evenly_spaced(job.positives, config.scoring.measure_films - half), *evenly_spaced(clean, half)]
        return replace(job, positives=sorted(chosen))

    @classmethod
    def facts(cls, job: Job) -> Facts:
        """What rows depend on."""
        return lambda method: {**job.method_facts(method), "measures": repr(SETTINGS)}

    def open_batch(self, job: Job, batch: int, store: MeasureStore) -> MeasureBatch:
        """Load a batch of annotated and clean films."""
        return MeasureBatch(job, batch)

    def compute(self, films: MeasureBatch, method: Method, explain: Explain) -> Mapping[str, Sequence[Row]]:
        """Measure."""
        return films.measure(method, explain)

    def finish(self, config: Config, job: Job, store: MeasureStore) -> None:
        """Write ``measures.parquet``, ``measures.csv`` and ``froc.csv``."""
        places = {name: place for place, name in enumerate(METHODS)}
        complete = sorted(store.complete(job.batches), key=places.__getitem__)
        records = job.films.records
        objects = {records[position].name: len(records[position].shapes) for position in job.positives}
        detection, curve = froc_tables(store.peaks(), objects, complete, config.seed)
        annotated = annotated_positions(records)
        with ScoreStep.reading(config, replace(job, positives=annotated)) as scores:
            overlaps = overlap_values(scores.scores(), len(annotated))
        if overlaps.empty:
            before = "`python -m benchmarks score` has run before"
            print(f"{config.out}: energy and iou will be in measures.csv when {before}.")
        films = store.measures()
        means = [mean_table([values], config.seed) for values in (overlaps, films[films["method"].isin(complete)])]
        table = pd.concat([part for part in (*means, detection) if len(part)] or [detection], ignore_index=True)
        table = in_order(table.sort_values("method", key=lambda names: names.map(places), kind="stable"))
        write_parquet(config.out / "measures.parquet", [films])
        write_csv(config.out / "measures.csv", table)
        write_csv(config.out / "froc.csv", curve)


def remake_tables(config: Config) -> None:
    """Write ``measures.parquet``, ``measures.csv`` and ``froc.csv`` once more, without measuring anything."""
    step = MeasureStep()
    job = step.open_job(config)
    with step.reading(config, job) as store:
        step.finish(config, job, store)
