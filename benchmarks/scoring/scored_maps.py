"""The maps that were scored, once more."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from benchmarks.methods import Context, Method
from benchmarks.scoring.batch import explain_within_memory, film_images, seeded
from benchmarks.scoring.job import Job


def scored_maps(
    job: Job, method: Method, positions: Sequence[int], verdicts: pd.DataFrame, context: Context | None = None
) -> list[Tensor]:
    """Compute maps for the predicted class, as scoring did.

    Random numbers are drawn for a whole batch, so the batches of the films are computed whole where a method draws
    some. Other maps depend on their film alone, up to the rounding that the size of a batch changes.

    Args:
        job: the one that was scored.
        method: whose maps.
        positions: annotated films.
        verdicts: as of :meth:`benchmarks.scoring.store.ScoreStore.verdicts`.
        context: of the network, where several methods share it.

    Returns:
        Float ``(1, h, w)`` each, on the CPU, in the order of ``positions``; images of several sizes may have maps of
        several sizes.
    """
    explain = method.prepare(context or job.context())
    targets = dict(zip(verdicts["image"], verdicts["target"], strict=True))
    found: dict[int, Tensor] = {}
    wanted = set(positions)
    for batch, films in _computed(job, method, positions):
        classes = torch.tensor([targets[job.films.records[position].name] for position in films], device=job.device)
        with seeded(job.seed, method, batch, job.device):
            maps = explain_within_memory(explain, film_images(job, films), classes).cpu().float()
        kept = [i for i, position in enumerate(films) if position in wanted]
        found.update(zip((films[i] for i in kept), maps[kept], strict=True))  # a copy: the batch goes
    return [found[position] for position in positions]


def scored_cost(job: Job, method: Method, positions: Sequence[int]) -> int:
    """Number of films that :func:`scored_maps` has to compute."""
    return sum(len(films) for _, films in _computed(job, method, positions))


def _computed(job: Job, method: Method, positions: Sequence[int]) -> list[tuple[int, list[int]]]:
    """What :func:`scored_maps` computes: numbers of batches, and positions."""
    if method.random:
        places = {bisect_left(job.positives, position) for position in positions}
        return [(batch, job.batch(batch)) for batch in sorted({place // job.batch_size for place in places})]
    starts = range(0, len(positions), job.batch_size)
    return [(0, list(positions[start : start + job.batch_size])) for start in starts]
