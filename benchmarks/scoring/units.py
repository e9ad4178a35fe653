"""Work in units of one method on one batch of films: resumable, and on any number of processes.

The films are cut into fixed batches by their position in the split. A unit is computed as a whole, by
one process, and random numbers are seeded from seed, method and batch; so a run that was killed, or
shared by several processes, ends with the results of a plain one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch
from lightning.fabric import Fabric
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.methods import Explain, Method, select_methods
from benchmarks.run.config import Config
from benchmarks.run.devices import plain_device_errors
from benchmarks.run.directory import write_environment
from benchmarks.run.errors import UserError
from benchmarks.scoring.batch import FilmBatch, is_out_of_memory
from benchmarks.scoring.job import Job
from benchmarks.scoring.store import UnitStore

S = TypeVar("S", bound=UnitStore)
B = TypeVar("B", bound=FilmBatch)
R = TypeVar("R")


@dataclass(frozen=True)
class Step(Generic[S]):
    """A step of the benchmark that works through units; functions of modules only, which processes can hand on.

    Attributes:
        name: stem of its files in the run directory.
        done: what is said of methods that need no more work, as in "all methods are scored".
        open_job: makes the job of a configuration on a device.
        open_store: opens a file of results for a job.
        work: computes pending units into a store, with a progress bar or without.
        finish: writes the tables, when all units are in the store.
    """

    name: str
    done: str
    open_job: Callable[[Config, torch.device], Job]
    open_store: Callable[[Path, Job], S]
    work: Callable[[Job, dict[int, list[Method]], S, bool], None]
    finish: Callable[[Config, Job, S], None]


def run_step(step: Step[S], config: Config) -> None:
    """Work through a step, going on where an earlier start stopped.

    Runs on the devices and machines of the configuration through Lightning Fabric; several machines
    need a run directory that all of them see.

    Raises:
        UserError: an unknown method, a full disk, or what the step raises.
    """
    select_methods(config.scoring.methods)  # before any work, so that a wrong name is told at once
    config.out.mkdir(parents=True, exist_ok=True)
    with plain_device_errors(config):
        fabric = Fabric(**config.devices.for_lightning())
    fabric.launch(_on_process, step, config)  # type: ignore[arg-type]  # Lightning types its function too narrowly


def _on_process(fabric: Fabric, step: Step[S], config: Config) -> None:
    with fabric.rank_zero_first(local=True):  # the first decodes the films, the others find them decoded
        job = step.open_job(config, fabric.device)
    methods = select_methods(config.scoring.methods)
    path = config.out / f"{step.name}.sqlite"
    if fabric.is_global_zero:
        store = step.open_store(path, job)
        for leftover in sorted(config.out.glob(f"{step.name}.rank*.sqlite")):  # of an earlier start that was killed
            store.absorb(leftover)
        store.forget_failures()
        store.close()
    fabric.barrier()
    store = step.open_store(path, job)
    finished = store.finished()
    fabric.barrier()  # everyone has the same view before anyone writes
    pending = pending_units(job, methods, finished)
    if pending and fabric.is_global_zero:
        write_environment(config)
    elif fabric.is_global_zero:
        films = len(job.positives)
        print(f"{config.out}: all {len(methods)} methods are {step.done} on {films} films; nothing to do.")
    if fabric.world_size > 1:
        store.close()
        store = step.open_store(config.out / f"{step.name}.rank{fabric.global_rank}.sqlite", job)
    mine = dict(list(pending.items())[fabric.global_rank :: fabric.world_size])
    step.work(job, mine, store, fabric.is_global_zero and not config.quiet)
    store.close()
    fabric.barrier()
    if fabric.is_global_zero:
        store = step.open_store(path, job)
        for part in sorted(config.out.glob(f"{step.name}.rank*.sqlite")):
            store.absorb(part)
        step.finish(config, job, store)
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


def compute_units(
    job: Job,
    pending: dict[int, list[Method]],
    store: UnitStore,
    open_batch: Callable[[int], B],
    compute: Callable[[B, Method, Explain], R],
    write: Callable[[int, str, R], None],
    *,
    doing: str,
    show: bool = False,
) -> None:
    """Compute units, each stored as soon as it is there.

    A method that cannot be built, or that fails on a batch even with one image at a time when
    memory runs out, is noted with its reason and not tried on further batches.

    Args:
        job: network and films.
        pending: methods to run for each batch.
        store: where failures go.
        open_batch: loads a batch by its number.
        compute: computes a method on a batch.
        write: stores what ``compute`` returned, with the number of the batch and the name of the method.
        doing: for the progress bar, as in "Scoring".
        show: draw a progress bar with the time left.
    """
    context = job.context()
    ready: dict[str, Explain] = {}
    failed: set[str] = set()
    progress = Progress(
        TextColumn(f"{doing} {{task.description}}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not show,
    )
    with progress:
        task = progress.add_task("", total=sum(len(methods) for methods in pending.values()))
        for batch, methods in pending.items():
            films = open_batch(batch)
            for method in methods:
                progress.update(task, description=method.name)
                if method.name not in failed:
                    try:
                        if method.name not in ready:
                            ready[method.name] = method.prepare(context)
                        result = compute(films, method, ready[method.name])
                    except Exception as error:
                        failed.add(method.name)
                        store.write_failure(method.name, _reason(error))
                    else:
                        write(batch, method.name, result)
                progress.advance(task)


def _reason(error: Exception) -> str:
    if isinstance(error, (MemoryError, RuntimeError)) and is_out_of_memory(error):
        return "out of memory even with one image at a time"
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"[:300]
