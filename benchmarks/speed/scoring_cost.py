"""What scoring costs beside the maps: the game and the measures on each map, films, verdicts, rows on disk."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.classifier.network import build_network
from benchmarks.data.dataset import FilmDataset
from benchmarks.data.object_cxr import read_split
from benchmarks.methods import METHODS, prepare_together, select_methods
from benchmarks.run.config import Scoring
from benchmarks.scoring.batch import FilmBatch
from benchmarks.scoring.job import Job
from benchmarks.scoring.score import ScoreStep
from benchmarks.speed.timing import Seconds, interleave
from benchmarks.synthetic.write import write_synthetic

ARCH = "slim_resnet18"
CHEAPEST = "normgrad_conv1x1_single"
"""A method of one pass that is not dearer than any other of them."""


def beside_the_map(size: int, films: int, repeats: int) -> Seconds:
    """Seconds of the cheapest map of a batch of films, and of everything that scoring makes of it.

    Of the processor, on one thread, as what is behind the map gains nothing by several.

    Args:
        size: side of the films in pixels.
        films: number of annotated films.
        repeats: rounds.
    """
    with synthetic_job(size, films, (CHEAPEST,)) as job:
        batch, method = FilmBatch(job, 0), METHODS[CHEAPEST]
        explain = method.prepare(job.context())
        maps = explain(batch.images, batch.targets)
        # The classifier is a made-up one: its verdict is to be right, or films would be played for two classes.
        batch.targets = torch.ones_like(batch.targets)

        def known(images: Tensor, targets: Tensor) -> Tensor:
            return maps

        calls = {"map": lambda: explain(batch.images, batch.targets), "rest": lambda: batch.play(method, known)}
        return interleave(calls, repeats, clock=time.process_time)


def shared_pass(size: int, films: int, repeats: int) -> Seconds:
    """Seconds of the processor for one NormGrad method of ``fast``, and for all of them that share a pass.

    Meta-saliency is none of those: it takes a step for each film.

    Args:
        size: side of the films in pixels.
        films: number of annotated films.
        repeats: rounds.
    """
    with synthetic_job(size, films, ("fast",)) as job:
        batch, context = FilmBatch(job, 0), job.context()
        ready, _, _ = prepare_together(select_methods(("fast",)), context)
        shared = ready["normgrad_conv1x1_combined"].shared
        assert shared is not None
        sharing = [explain for explain in ready.values() if explain.shared is shared]
        one = METHODS["normgrad_conv1x1_combined"].prepare(context)

        def together() -> None:
            shared.forget()
            for explain in sharing:
                explain(batch.images, batch.targets)

        calls = {"one": lambda: one(batch.images, batch.targets), "together": together}
        return interleave(calls, repeats, clock=time.process_time)


def whole_step(size: int, films: int) -> tuple[float, float]:
    """Seconds of scoring the methods of ``paper``.

    Returns:
        As a multiple of the seconds of their maps, each method by itself; and of those of the maps as they are
        computed, from passes that methods share.
    """
    with synthetic_job(size, films, ("paper",)) as job, tempfile.TemporaryDirectory() as folder:
        step, methods = ScoreStep(), select_methods(("paper",))
        with closing(step.open_store(Path(folder) / "scores.sqlite", job)) as store:
            started = time.perf_counter()
            step.compute_units(job, step.pending(job, methods, set()), store)
            whole = time.perf_counter() - started
            rows = [table[table["protocol"] == "fair"] for table in (store.scores(), store.true_scores())]
            alone, context, batch = 0.0, job.context(), FilmBatch(job, 0, store.verdicts())
            for method in methods:
                played = batch.play(method, method.prepare(context)).values()
                alone += sum(float(str(row["seconds"])) for rows in played for row in rows if row["protocol"] == "fair")
        return whole / alone, float(whole / sum(table["seconds"].sum() for table in rows))


@contextmanager
def synthetic_job(size: int, films: int, methods: tuple[str, ...]) -> Iterator[Job]:
    """Synthetic films, all in one batch, and a network with random weights; on one thread."""
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        try:
            torch.set_num_threads(1)
            root = Path(folder)
            write_synthetic(root / "data", counts={"test": 2 * films}, size=size)
            dataset = FilmDataset(read_split(root / "data", "test"), size, root / "cache")
            positives = [i for i, record in enumerate(dataset.records) if record.shapes]
            torch.manual_seed(0)
            network = build_network(ARCH, "none").to(memory_format=torch.channels_last).eval()
            scoring = Scoring(methods=methods, score_batch_size=len(positives))
            yield Job(network, "random", dataset, positives, scoring, 0, torch.device("cpu"))
        finally:
            torch.set_num_threads(threads)
