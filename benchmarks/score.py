"""Play the Pointing Game: every method on every annotated test film, resumable and on any number of processes.

The films with annotations are cut into fixed batches by their position in the split. A batch is
computed as a whole, by one process, and random numbers are seeded from seed, method and batch;
so a run that was killed, or shared by several processes, ends with the rows of a plain one.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.config import Config
from benchmarks.data.object_cxr import FilmDataset, read_split
from benchmarks.errors import UserError
from benchmarks.film_batch import FilmBatch, Job, is_out_of_memory
from benchmarks.methods import Explain, Method, select_methods
from benchmarks.score_store import ScoreStore
from benchmarks.train import load_classifier
from benchmarks.training_films import training_films


def score(config: Config) -> None:
    """Score the methods of a configuration, going on where an earlier start stopped.

    Writes ``scores.sqlite`` while it works and ``scores.parquet`` at the end, both in the run
    directory. Runs on the devices and machines of the configuration through Lightning Fabric;
    several machines need a run directory that all of them see.

    Args:
        config: of the run; the classifier must be trained.

    Raises:
        UserError: no classifier, no annotated films, an unknown method, or a full disk.
    """
    select_methods(config.methods)  # before any work, so that a wrong name is told at once
    config.out.mkdir(parents=True, exist_ok=True)
    devices: Any = int(config.devices) if config.devices.lstrip("-").isdigit() else config.devices
    fabric = Fabric(
        accelerator=config.accelerator, devices=devices, num_nodes=config.num_nodes, strategy=config.strategy
    )
    fabric.launch(_score_on_process, config)  # type: ignore[arg-type]  # Lightning types its function too narrowly


def open_job(config: Config, device: torch.device | str = "cpu") -> Job:
    """Load what scoring needs.

    Raises:
        UserError: no classifier, or no annotated film.
    """
    records = read_split(config.data_root, "test", config.limit)
    positives = [position for position, record in enumerate(records) if record.shapes]
    if not positives:
        raise UserError(f"the test split of {config.data_root} has no annotated film, so there is nothing to point at")
    network = load_classifier(config.classifier_dir).to(device)
    films = FilmDataset(records, config.image_size, config.cache_dir)
    device = torch.device(device)
    training = partial(training_films, config, device)
    return Job(
        network, films, positives, config.score_batch_size, config.seed, config.truth, device, config.budget, training
    )


def open_store(config: Config, job: Job) -> ScoreStore:
    """Open the run's scores under the configuration of a job."""
    return ScoreStore(config.out / "scores.sqlite", job.digest())


def _score_on_process(fabric: Fabric, config: Config) -> None:
    with fabric.rank_zero_first(local=True):  # the first decodes the films, the others find them decoded
        job = open_job(config, fabric.device)
    methods = select_methods(config.methods)
    if fabric.is_global_zero:
        store = open_store(config, job)
        for leftover in sorted(config.out.glob("scores.rank*.sqlite")):  # of an earlier start that was killed
            store.absorb(leftover)
        store.forget_failures()
        store.close()
    fabric.barrier()
    store = open_store(config, job)
    finished = store.finished()
    fabric.barrier()  # everyone has the same view before anyone writes
    pending = pending_units(job, methods, finished)
    if not pending and fabric.is_global_zero:
        print(f"{config.out}: all {len(methods)} methods are scored on {len(job.positives)} films; nothing to do.")
    if fabric.world_size > 1:
        store.close()
        store = ScoreStore(config.out / f"scores.rank{fabric.global_rank}.sqlite", job.digest())
    mine = dict(list(pending.items())[fabric.global_rank :: fabric.world_size])
    score_units(job, mine, store, show=fabric.is_global_zero and not config.quiet)
    store.close()
    fabric.barrier()
    if fabric.is_global_zero:
        store = open_store(config, job)
        for part in sorted(config.out.glob("scores.rank*.sqlite")):
            store.absorb(part)
        write_parquet(store, config.out / "scores.parquet")
        for method, reason in store.failures().items():
            print(f"{method} could not run: {reason}")
        store.close()
    fabric.barrier()


def pending_units(job: Job, methods: list[Method], finished: set[tuple[int, str]]) -> dict[int, list[Method]]:
    """The methods that each batch still needs; batches that need none are left out."""
    pending = {
        batch: [method for method in methods if (batch, method.name) not in finished] for batch in range(job.batches)
    }
    return {batch: wanted for batch, wanted in pending.items() if wanted}


def score_units(job: Job, pending: dict[int, list[Method]], store: ScoreStore, *, show: bool = False) -> None:
    """Compute units and write each as soon as it is there.

    A method that cannot be built, or that fails on a batch even with one image at a time when
    memory runs out, is noted with its reason and not tried on further batches.

    Args:
        job: network and films.
        pending: methods to run for each batch.
        store: where scores go.
        show: draw a progress bar with the time left.
    """
    context = job.context()
    ready: dict[str, Explain] = {}
    failed: set[str] = set()
    progress = Progress(
        TextColumn("Scoring {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not show,
    )
    with progress:
        task = progress.add_task("", total=sum(len(methods) for methods in pending.values()))
        for batch, methods in pending.items():
            films = FilmBatch(job, batch)
            store.write_chance(films.chance())
            for method in methods:
                progress.update(task, description=method.name)
                if method.name not in failed:
                    try:
                        if method.name not in ready:
                            ready[method.name] = method.prepare(context)
                        rows = films.play(method, ready[method.name])
                    except Exception as error:
                        failed.add(method.name)
                        store.write_failure(method.name, _reason(error))
                    else:
                        store.write_unit(batch, method.name, rows)
                progress.advance(task)


def _reason(error: Exception) -> str:
    if isinstance(error, (MemoryError, RuntimeError)) and is_out_of_memory(error):
        return "out of memory even with one image at a time"
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"[:300]


def write_parquet(store: ScoreStore, path: Path) -> None:
    """Write all scores, whole or not at all."""
    partial = path.with_suffix(".partial")
    try:
        store.scores().to_parquet(partial, index=False)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error}): free space and start the same command again") from error
    partial.replace(path)
