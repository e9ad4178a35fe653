"""The maps of one network in variants: as they are, smoothed, and with weights drawn anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from benchmarks.consistency.randomise import blocks_from_the_top, randomised
from benchmarks.methods import Explain, Method
from benchmarks.metrics.class_sensitivity import rank_correlation
from benchmarks.metrics.frame import stretch
from benchmarks.metrics.pointing_game import MAIN_PROTOCOL, choose_maxima
from benchmarks.run.files import whole_file
from benchmarks.run.stored import DamagedError, read_array
from benchmarks.scoring.batch import FilmBatch, explain_within_memory, seeded
from benchmarks.scoring.job import Job

TRAINED, SMOOTHED, HEAD, ALL = "trained", "smoothed", "head only", "all weights"
CHANCE = "(chance)"
"""In the place of a method: what a random point scores on the films of the check."""


@dataclass(frozen=True)
class Played:
    """A method's maps of N films under one variant.

    Attributes:
        points: float64 ``(N, 2)``, column and row of the maximum in the frame; NaN for a map that is not finite.
        distance: float64 ``(N,)``, from there to the annotation.
        correlation: float64 ``(N,)``, Spearman's, signs kept, with the map of the trained network.
    """

    points: npt.NDArray[np.float64]
    distance: npt.NDArray[np.float64]
    correlation: npt.NDArray[np.float64]


def variants(blocks: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The blocks drawn anew in each variant, of the blocks from the top.

    ``head only`` and ``all weights`` are the ends of the cascade; ``cascade 02 layer4.1`` and the like lie between.
    """
    between = {f"cascade {k:02d} {blocks[k - 1]}": tuple(blocks[:k]) for k in range(2, len(blocks))}
    return {HEAD: tuple(blocks[:1]), **between, ALL: tuple(blocks)}


def play_variants(
    job: Job, methods: Sequence[Method], folder: Path, verdicts: pd.DataFrame | None = None, *, show: bool = False
) -> tuple[dict[tuple[str, str], Played], dict[str, str]]:
    """Play every variant with every method, keeping each result as soon as it is there.

    Methods of many passes skip the cascade between its ends. The class explained is the one that the trained network
    predicts. Random numbers are seeded from seed, method and batch, the same in all variants.

    Args:
        job: Network and films.
        methods: Without baselines.
        folder: Where results are kept, those of a method in a folder that is named by all that they depend on.
        verdicts: Of films that the network has judged before, as of
            :meth:`benchmarks.scoring.store.ScoreStore.verdicts`; the others are judged here.
        show: Draw a progress bar with the time left.

    Returns:
        Results by variant and method, variants in their order; and why a method could not run, by its name or by its
        name and variant.
    """
    places = {method: folder / job.kept_as(method.name) for method in methods}
    blank = torch.zeros(1, 3, job.films.size, job.films.size, device=job.device)
    drawn = variants(blocks_from_the_top(job.network, blank))
    wanted = [
        (variant, method)
        for variant in (TRAINED, SMOOTHED, *drawn)
        for method in methods
        if method.cost == "one_pass" or variant in (TRAINED, SMOOTHED, HEAD, ALL)
    ]
    played = {of: result for of in wanted if (result := _kept(places, *of)) is not None}
    pending = [of for of in wanted if of not in played]
    failures: dict[str, str] = {}
    if pending:
        films = [FilmBatch(job, batch, verdicts) for batch in range(job.batches)]
        failures = _compute(films, drawn, pending, places, show)
        played |= {of: result for of in pending if (result := _kept(places, *of)) is not None}
    else:
        print(f"{len(methods)} methods are checked on {len(job.positives)} films already; nothing to do.")
    return {
        (variant, method.name): played[variant, method] for variant, method in wanted if (variant, method) in played
    }, failures


def play(films: Sequence[FilmBatch], maps: Tensor, reference: Tensor, *, smooth: bool = False) -> Played:
    """Find the maxima of maps and compare the maps with others.

    Args:
        films: The films in batches.
        maps: float ``(N, 1, h, w)``.
        reference: Maps of the same films and size.
        smooth: Smooth with a Gaussian in the frame first, see :func:`benchmarks.metrics.frame.stretch`.
    """
    points, distances = [], []
    for batch, part in zip(films, torch.split(maps, [len(batch.positions) for batch in films]), strict=True):
        frames = stretch(part.to(batch.masks.device), smooth=smooth)
        maxima = choose_maxima(frames, protocol=MAIN_PROTOCOL, seed=batch.job.seed, image_ids=batch.image_ids)
        points.append(maxima.points.double().where(maxima.finite[:, None], torch.nan))
        annotations = batch.annotations(tuple(range(len(batch.positions))))
        distances.append(maxima.distances(annotations))
    correlation = rank_correlation(maps, reference).numpy()
    return Played(torch.cat(points).cpu().numpy(), torch.cat(distances).cpu().numpy(), correlation)


def _compute(
    films: Sequence[FilmBatch],
    drawn: dict[str, tuple[str, ...]],
    pending: list[tuple[str, Method]],
    places: Mapping[Method, Path],
    show: bool,
) -> dict[str, str]:
    """Keep what can be computed; why the rest could not, as of :func:`play_variants`."""
    job, failures = films[0].job, dict[str, str]()
    # Batch normalisation has no variance of one film.
    several = [batch.images for batch in films if len(batch.images) > 1]
    bar = (TextColumn("Checking {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*bar, console=Console(stderr=True), disable=not show) as progress:
        task = progress.add_task("", total=len(pending))
        made_for, context = None, job.context()
        for variant, method in pending:
            progress.update(task, description=f"{method.name}, {variant}")
            blocks = drawn.get(variant, ())
            if variant != TRAINED and not _maps_path(places[method]).exists():
                progress.advance(task)  # it failed on the trained network
                continue
            if made_for != blocks:
                network = randomised(job.network, blocks, job.seed, several) if blocks else job.network
                made_for, context = blocks, replace(job, network=network).context()
            try:
                if variant == TRAINED:
                    maps = trained = _maps(films, method, method.prepare(context))
                else:
                    trained = torch.from_numpy(read_array(_maps_path(places[method])))
                    maps = trained if variant == SMOOTHED else _maps(films, method, method.prepare(context))
                result = play(films, maps, trained, smooth=variant == SMOOTHED)
            except OSError:  # the disk, which no other method will find any better
                raise
            except Exception as error:
                name = method.name if variant == TRAINED else f"{method.name}, {variant}"
                failures[name] = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
            else:
                if variant == TRAINED:
                    _write(_maps_path(places[method]), maps.numpy())
                _write(_path(places[method], variant), result)
            progress.advance(task)
    return failures


def _maps(films: Sequence[FilmBatch], method: Method, explain: Explain) -> Tensor:
    """Maps of all films on the CPU, float32 (N, 1, h, w)."""
    parts = []
    for batch in films:
        with seeded(batch.job.seed, method, batch.batch, batch.job.device):
            parts.append(explain_within_memory(explain, batch.images, batch.targets).cpu().float())
    return torch.cat(parts)


def _kept(places: Mapping[Method, Path], variant: str, method: Method) -> Played | None:
    """A result that was kept, and for the trained network its maps; None where one is not there, or not whole."""
    try:
        if variant == TRAINED:
            read_array(_maps_path(places[method]), "r")
        return Played(**read_array(_path(places[method], variant)))
    except (DamagedError, TypeError):
        return None


def _path(place: Path, variant: str) -> Path:
    return place / f"{variant.replace(' ', '_')}.npz"


def _maps_path(place: Path) -> Path:
    return place / "maps.npy"


def _write(path: Path, content: Played | npt.NDArray[Any]) -> None:
    with whole_file(path) as stream:
        if isinstance(content, Played):
            np.savez(stream, **asdict(content))
        else:
            np.save(stream, content)
