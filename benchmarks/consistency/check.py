"""Does a method say the same again: smoothed or not, with weights drawn anew, in other seeds and architectures?

The maps of some annotated films are computed with the trained network and with copies that forgot part of what
they learnt (:mod:`benchmarks.consistency.variants`); other runs enter by their scores
(:mod:`benchmarks.consistency.between_runs`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import pandas as pd
import torch

from benchmarks.analysis.hierarchical import mean_interval, share_over_seeds
from benchmarks.analysis.tallies import median_interval
from benchmarks.consistency.between_runs import between_runs
from benchmarks.consistency.check_tables import Row, write_consistency
from benchmarks.consistency.runs import check_repetitions, load_runs
from benchmarks.consistency.variants import CHANCE, SMOOTHED, TRAINED, Played, play_variants
from benchmarks.methods import Method, select_methods
from benchmarks.metrics.pointing_game import MAIN_TOLERANCE, TOLERANCES, chance_level, is_hit
from benchmarks.run.config import Config, check
from benchmarks.run.devices import one_device, use_threads
from benchmarks.run.directory import saved_config
from benchmarks.run.errors import UserError
from benchmarks.run.files import write_json
from benchmarks.run.stored import read_json
from benchmarks.scoring.job import Job, annotation_mask, evenly_spaced
from benchmarks.scoring.score import ScoreStep, open_job

FILMS = 32
CHECKED = ("smoothing", "randomised")


@dataclass(frozen=True)
class Request:
    """``consistency.json``: what ``consistency.csv`` was asked to compare, so that it can be made again.

    Attributes:
        others: Finished runs.
        methods: Names or sets; empty for those of the run.
        films: Most annotated films.
        data: Folder of the films, where it is not the run's own.
    """

    others: tuple[Path, ...]
    methods: tuple[str, ...]
    films: Annotated[int, msgspec.Meta(ge=2)]
    data: Path | None = None


def consistency(
    checkpoint: Path, others: Sequence[Path] = (), methods: Sequence[str] = (), films: int = FILMS, **settings: Any
) -> None:
    """Write ``consistency.csv``, ``.json``, ``.md``, ``.png`` and ``.svg`` into a run directory, and print a summary.

    What was computed is kept under ``cache/consistency`` and not computed again.

    Args:
        checkpoint: Run directory with a trained classifier, or of several seeds: then all is over films and seeds, and
            the seeds are compared with each other.
        others: Finished runs on the same data, with other seeds or architectures.
        methods: Names or sets; by default those of the run without baselines, which know no network, and
            without perturbation methods, which would take hours.
        films: Annotated test films, evenly spaced in the split, or all where there are fewer.
        **settings: Of :class:`benchmarks.run.config.Config`, in the place of the run's: ``data``, ``accelerator``,
            ``threads``, ``quiet``.

    Raises:
        UserError: No classifier, too few films, an unknown method, or runs that cannot be compared.
    """
    if films < 2:
        raise UserError(f"--films is {films}: it must be at least 2.")
    config = saved_config(checkpoint).replace(out=checkpoint, **settings)
    check(config)
    chosen = choose_methods(config, methods)
    seeds = config.of_each_seed()
    runs = load_runs([checkpoint, *others]) if others or len(seeds) > 1 else []
    check_repetitions(runs)
    use_threads(config.devices.threads)
    device = one_device(config)
    played: list[dict[tuple[str, str], Played]] = []
    failures: dict[str, str] = {}
    for one in seeds:
        if len(seeds) > 1:
            print(f"seed {one.seed}, {len(played) + 1} of {len(seeds)}", flush=True)
        job, verdicts = _open_job(one, device, films)
        own, failed = play_variants(job, chosen, one.cache_dir / "consistency", verdicts, show=not config.quiet)
        played.append(own)
        failures.update(failed)
    levels = [chance_level(annotation_mask(job, position)) for position in job.positives]  # the same for all seeds
    chance = float(np.mean(levels, axis=0)[TOLERANCES.index(MAIN_TOLERANCE)])
    rows = own_rows(played, config.seed, chance, len(levels))
    if runs:
        rows += between_runs(runs, [method.name for method in chosen], config.seed)
    request = {
        "others": [str(other.absolute()) for other in others],
        "methods": list(methods),
        "films": films,
        "data": str(settings["data"].absolute()) if settings.get("data") else None,
    }
    write_json(checkpoint / "consistency.json", request)
    write_consistency(checkpoint, rows, failures)


def _open_job(config: Config, device: torch.device, films: int) -> tuple[Job, pd.DataFrame]:
    """The job on some films, and the verdicts of those that were scored."""
    job = open_job(config, device)
    if len(job.positives) < 2:
        raise UserError(f"the test split of {config.data_root} has one annotated film: consistency needs two or more.")
    with ScoreStep.reading(config, job) as scores:
        verdicts = scores.verdicts()
    # Batch normalisation is estimated anew on these batches, and one film has no variance.
    scoring = replace(job.scoring, score_batch_size=max(2, job.batch_size))
    return replace(job, positives=evenly_spaced(job.positives, films), scoring=scoring), verdicts


def remake_consistency(config: Config) -> None:
    """Write the tables of the last :func:`consistency` of a run once more; what is in the cache is not computed again.

    Raises:
        UserError: Nobody has asked for them before, or what :func:`consistency` raises.
    """
    asked: Request = read_json(config.out / "consistency.json", Request, "start it once more")
    data = {} if asked.data is None else {"data": asked.data}
    consistency(config.out, asked.others, asked.methods, asked.films, quiet=True, **data)


def choose_methods(config: Config, methods: Sequence[str] = ()) -> list[Method]:
    """Methods that look at a network: those named, or those of the run without the slow ones.

    Raises:
        UserError: An unknown name, or nothing is left.
    """
    chosen = [method for method in select_methods(methods or config.scoring.methods) if method.family != "baseline"]
    if not methods:
        slow = [method.name for method in chosen if method.cost == "perturbation"]
        if slow:
            print(f"Left out for the time they take; name them in --methods to have them: {', '.join(slow)}.")
        chosen = [method for method in chosen if method.name not in slow]
    if not chosen:
        raise UserError("--methods leaves only methods that know no network or take too long: name others, or fast.")
    return chosen


def own_rows(played: Sequence[Mapping[tuple[str, str], Played]], seed: int, chance: float, films: int) -> list[Row]:
    """Rows of the checks ``smoothing`` and ``randomised``; intervals are over films, and seeds where there are several.

    Args:
        played: For each seed, results by variant and method; what some seeds lack is left out.
        seed: Of the resampling.
        chance: What a random point scores on these films.
        films: How many they are.
    """
    keys = [key for key in played[0] if all(key in own and (TRAINED, key[1]) in own for own in played)]
    if not keys:
        return []
    hits = [
        np.stack([is_hit(own[key].distance, MAIN_TOLERANCE) for key in keys], axis=1).astype(float) for own in played
    ]
    trained = [keys.index((TRAINED, method)) for _, method in keys]
    correlation = [np.stack([own[key].correlation for key in keys], axis=1) for own in played]
    there = [~np.isnan(matrix) for matrix in correlation]
    known = np.any(there, axis=0).sum(axis=0)
    accuracy = share_over_seeds(hits, seed)
    difference = mean_interval([matrix - matrix[:, trained] for matrix in hits], seed, bounds=(-1, 1))
    ranks = mean_interval([np.nan_to_num(matrix) for matrix in correlation], seed, there=there, bounds=(-1, 1))
    rows: list[Row] = []
    for i, (variant, method) in enumerate(keys):
        if variant == TRAINED:
            rows += [(check, variant, method, "accuracy", *_at(accuracy, i), films) for check in CHECKED]
            continue
        check_name = CHECKED[variant != SMOOTHED]
        rows.append((check_name, variant, method, "accuracy", *_at(accuracy, i), films))
        rows.append((check_name, variant, method, "accuracy_difference", *_at(difference, i), films))
        if variant != SMOOTHED:
            rows.append((check_name, variant, method, "rank_correlation", *_at(ranks, i), int(known[i])))
        rows.append(_moved(check_name, variant, method, played, seed))
    rows.append((CHECKED[1], TRAINED, CHANCE, "accuracy", chance, np.nan, np.nan, films))
    return sorted(rows, key=lambda row: row[0] == CHECKED[1])  # stable: smoothing first


def _at(interval: tuple[np.ndarray, np.ndarray, np.ndarray], column: int) -> tuple[float, float, float]:
    value, low, high = (float(part[column]) for part in interval)
    return value, low, high


def _moved(
    check_name: str, variant: str, method: str, played: Sequence[Mapping[tuple[str, str], Played]], seed: int
) -> Row:
    """With several seeds, of a film's mean, so that films are what is drawn."""
    by_seed = np.stack(
        [np.linalg.norm(own[variant, method].points - own[TRAINED, method].points, axis=1) for own in played]
    )
    moved = by_seed[:, ~np.isnan(by_seed).all(axis=0)]
    moved = np.nanmean(moved, axis=0) if moved.size else moved[0]
    return (check_name, variant, method, "moved_px", *median_interval(moved, seed), len(moved))
