"""Play the Pointing Game: every method on every annotated test film, resumable and on any number of processes.

The films with annotations are cut into fixed batches by their position in the split. A batch is
computed as a whole, by one process, and random numbers are seeded from seed, method and batch;
so a run that was killed, or shared by several processes, ends with the rows of a plain one.
"""

from __future__ import annotations

import gc
import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from benchmarks.classifier import normalise
from benchmarks.config import Config
from benchmarks.data.annotations import rasterize
from benchmarks.data.object_cxr import FilmDataset, read_split
from benchmarks.errors import UserError
from benchmarks.methods import Context, Explain, Method, select_methods
from benchmarks.pointing_game import (
    FRAME,
    PROTOCOLS,
    TOLERANCES,
    chance_level,
    clip_at_percentile,
    distance_to_mask,
    find_maxima,
)
from benchmarks.score_store import ScoreStore
from benchmarks.train import load_classifier

FORMAT = 1
"""Raise it when scores of the same configuration would come out different."""


@dataclass
class Job:
    """What one process needs to compute batches.

    Attributes:
        network: the classifier, in eval mode, on ``device``.
        films: all films of the test split.
        positives: positions in ``films`` of those with annotations.
        batch_size: films in a batch.
        seed: of random methods and of ties.
        truth: ``"box"`` or ``"shape"``.
        device: where the network is.
    """

    network: nn.Module
    films: FilmDataset
    positives: list[int]
    batch_size: int
    seed: int
    truth: str
    device: torch.device

    @property
    def batches(self) -> int:
        """Number of batches."""
        return -(-len(self.positives) // self.batch_size)

    def digest(self) -> str:
        """Digest of everything that the scores depend on: settings, films, annotations, weights."""
        digest = hashlib.sha256(repr((FORMAT, self.films.size, self.batch_size, self.seed, self.truth)).encode())
        for position in self.positives:
            record = self.films.records[position]
            digest.update(repr((record.name, record.shapes, self.films.original_sizes[position])).encode())
        for name, value in self.network.state_dict().items():
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


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
    return Job(network, films, positives, config.score_batch_size, config.seed, config.truth, torch.device(device))


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
    context = Context(job.network, job.films.size)
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
            films = _Batch(job, batch)
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


def annotation_mask(job: Job, position: int) -> np.ndarray:
    """Annotation of a film, bool ``(FRAME, FRAME)``."""
    width, height = job.films.original_sizes[position]
    return rasterize(job.films.records[position].shapes, width, height, frame=FRAME, truth=job.truth)


class _Batch:
    """The films of one batch, their annotations and the network's verdict on them."""

    def __init__(self, job: Job, batch: int) -> None:
        self.job = job
        self.batch = batch
        self.positions = job.positives[batch * job.batch_size : (batch + 1) * job.batch_size]
        films = torch.stack([job.films[position][0] for position in self.positions])
        self.images = normalise(films.to(job.device))
        with torch.no_grad():
            probabilities = job.network(self.images).softmax(dim=1)
        self.probabilities, self.targets = probabilities.max(dim=1)
        self.records = [job.films.records[position] for position in self.positions]
        self.masks = [annotation_mask(job, position) for position in self.positions]

    def chance(self) -> list[tuple[str, int, float]]:
        return [
            (record.name, tolerance, chance)
            for record, mask in zip(self.records, self.masks, strict=True)
            for tolerance, chance in zip(TOLERANCES, chance_level(mask), strict=True)
        ]

    def play(self, method: Method, explain: Explain) -> list[dict[str, object]]:
        """Compute a method's maps and play the game under both protocols."""
        started = time.perf_counter()
        with _seeded(self.job.seed, method.name, self.batch, self.job.device):
            maps = explain_within_memory(explain, self.images, self.targets).cpu()
        seconds = (time.perf_counter() - started) / len(self.positions)
        rows: list[dict[str, object]] = []
        for protocol in PROTOCOLS:
            clipped = clip_at_percentile(maps) if protocol == "paper" and method.clipped else maps
            maxima = find_maxima(clipped, protocol=protocol, seed=self.job.seed, image_ids=self.positions)
            for i, record in enumerate(self.records):
                x, y = (int(value) for value in maxima.points[i])
                finite = bool(maxima.finite[i])
                rows.append(
                    {
                        "image": record.name,
                        "method": method.name,
                        "protocol": protocol,
                        "x": x if finite else None,
                        "y": y if finite else None,
                        "distance": distance_to_mask(x, y, self.masks[i]) if finite else None,
                        "target": int(self.targets[i]),
                        "probability": round(float(self.probabilities[i]), 6),
                        "seconds": seconds,
                        "label": record.label,
                        "status": "non_finite" if not finite else "constant" if maxima.constant[i] else "ok",
                    }
                )
        return rows


def explain_within_memory(explain: Explain, images: Tensor, targets: Tensor) -> Tensor:
    """Compute maps, halving the batch as often as memory runs out; one image that does not fit is an error."""
    try:
        return explain(images, targets)
    except (MemoryError, RuntimeError) as error:
        if len(images) == 1 or not _is_out_of_memory(error):
            raise
    # Outside of the handler: the traceback that keeps the large tensors alive is gone here.
    gc.collect()
    if images.device.type == "cuda":
        torch.cuda.empty_cache()
    parts = zip(images.chunk(2), targets.chunk(2), strict=True)
    return torch.cat([explain_within_memory(explain, *part) for part in parts])


def _is_out_of_memory(error: BaseException) -> bool:
    # torch reports a full CPU as a plain RuntimeError.
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "t allocate memory" in str(error)


def _reason(error: Exception) -> str:
    if isinstance(error, (MemoryError, RuntimeError)) and _is_out_of_memory(error):
        return "out of memory even with one image at a time"
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"[:300]


@contextmanager
def _seeded(seed: int, method: str, batch: int, device: torch.device) -> Iterator[None]:
    """Seed torch for one unit; the random state outside is untouched."""
    unit = hashlib.sha256(f"{seed} {method} {batch}".encode()).digest()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int.from_bytes(unit[:7], "little"))
        yield


def write_parquet(store: ScoreStore, path: Path) -> None:
    """Write all scores, whole or not at all."""
    partial = path.with_suffix(".partial")
    try:
        store.scores().to_parquet(partial, index=False)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error}): free space and start the same command again") from error
    partial.replace(path)
