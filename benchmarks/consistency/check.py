"""Does a method say the same again: smoothed or not, with weights drawn anew, in other seeds and architectures?

The maps of some annotated films are computed with the trained network and with copies that forgot part of what
they learnt (:mod:`benchmarks.consistency.variants`); other runs enter by their scores
(:mod:`benchmarks.consistency.between_runs`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric

from benchmarks.analysis.tallies import bootstrap_interval, median_interval
from benchmarks.consistency.between_runs import between_runs
from benchmarks.consistency.check_tables import Row, write_consistency
from benchmarks.consistency.runs import check_repetitions, load_runs
from benchmarks.consistency.variants import SMOOTHED, TOLERANCE, TRAINED, Played, play_variants
from benchmarks.methods import Method, select_methods
from benchmarks.metrics.pointing_game import is_hit
from benchmarks.run.config import Config, check
from benchmarks.run.devices import plain_device_errors
from benchmarks.run.directory import saved_config
from benchmarks.run.errors import UserError
from benchmarks.run.files import write_json
from benchmarks.run.stored import ConsistencyRequest, read_json
from benchmarks.scoring.job import evenly_spaced
from benchmarks.scoring.score import open_job, open_store

FILMS = 32


def consistency(
    checkpoint: Path, others: Sequence[Path] = (), methods: Sequence[str] = (), films: int = FILMS, **settings: Any
) -> None:
    """Write ``consistency.csv``, ``.json``, ``.md``, ``.png`` and ``.svg`` into a run directory, and print a summary.

    What was computed is kept under ``cache/consistency`` and not computed again.

    Args:
        checkpoint: Run directory with a trained classifier.
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
    runs = load_runs([checkpoint, *others]) if others else []
    check_repetitions(runs)
    if config.devices.threads is not None:
        torch.set_num_threads(config.devices.threads)
    with plain_device_errors(config):
        device = Fabric(accelerator=config.devices.accelerator, devices=1).device
    job = open_job(config, device)
    if len(job.positives) < 2:
        raise UserError(f"the test split of {config.data_root} has one annotated film: consistency needs two or more.")
    with closing(open_store(config, job)) as scores:
        verdicts = scores.verdicts()
    # Batch normalisation is estimated anew on these batches, and one film has no variance.
    scoring = dataclasses.replace(job.scoring, score_batch_size=max(2, job.batch_size))
    job = dataclasses.replace(job, positives=evenly_spaced(job.positives, films), scoring=scoring)
    played, failures = play_variants(job, chosen, config.cache_dir / "consistency", verdicts, show=not config.quiet)
    rows = own_rows(played, config.seed)
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


def remake_consistency(config: Config) -> None:
    """Write the tables of the last :func:`consistency` of a run once more; what is in the cache is not computed again.

    Raises:
        UserError: Nobody has asked for them before, or what :func:`consistency` raises.
    """
    asked: ConsistencyRequest = read_json(config.out / "consistency.json", ConsistencyRequest, "start it once more")
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


def own_rows(played: Mapping[tuple[str, str], Played], seed: int) -> list[Row]:
    """Rows of the checks ``smoothing`` and ``randomised``; intervals are over films.

    Args:
        played: Results by variant and method.
        seed: Of the resampling.
    """
    rows: list[Row] = []
    for (variant, method), result in played.items():
        trained = played.get((TRAINED, method))
        if trained is None:
            continue
        if variant == TRAINED:
            rows += [_accuracy(check, variant, method, result, seed) for check in ("smoothing", "randomised")]
            continue
        check_name = "smoothing" if variant == SMOOTHED else "randomised"
        rows.append(_accuracy(check_name, variant, method, result, seed))
        rows.append(_difference(check_name, variant, method, result, trained, seed))
        if variant != SMOOTHED:
            rows.append(_correlation(check_name, variant, method, result, seed))
        rows.append(_moved(check_name, variant, method, result, trained, seed))
    return sorted(rows, key=lambda row: row[0] == "randomised")  # stable: smoothing first


def _accuracy(check_name: str, variant: str, method: str, result: Played, seed: int) -> Row:
    return (check_name, variant, method, "accuracy", *_mean(is_hit(result.distance, TOLERANCE), seed))


def _difference(check_name: str, variant: str, method: str, result: Played, trained: Played, seed: int) -> Row:
    hits = is_hit(result.distance, TOLERANCE).astype(float) - is_hit(trained.distance, TOLERANCE)
    return (check_name, variant, method, "accuracy_difference", *_mean(hits, seed))


def _correlation(check_name: str, variant: str, method: str, result: Played, seed: int) -> Row:
    defined = result.correlation[~np.isnan(result.correlation)]
    return (check_name, variant, method, "rank_correlation", *_mean(defined, seed))


def _moved(check_name: str, variant: str, method: str, result: Played, trained: Played, seed: int) -> Row:
    moved = np.linalg.norm(result.points - trained.points, axis=1)
    moved = moved[~np.isnan(moved)]
    return (check_name, variant, method, "moved_px", *median_interval(moved, seed), len(moved))


def _mean(values: np.ndarray, seed: int) -> tuple[float, float, float, int]:
    """Mean, interval and number of films."""
    if len(values) == 0:
        return np.nan, np.nan, np.nan, 0
    low, high = bootstrap_interval(values[:, None], seed)
    return float(values.mean()), float(low[0]), float(high[0]), len(values)
