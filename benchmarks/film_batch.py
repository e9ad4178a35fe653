"""One unit of scoring: a method on a fixed batch of films, from maps to rows."""

from __future__ import annotations

import gc
import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.classifier import normalise
from benchmarks.data.annotations import rasterize
from benchmarks.data.object_cxr import FilmDataset
from benchmarks.maps import FRAME, clip_at_percentile, stretch
from benchmarks.methods import Explain, Method
from benchmarks.pointing_game import PROTOCOLS, TOLERANCES, chance_level, choose_maxima, distance_to_mask

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
        digest.update(self.films.pixels.encode())
        for position in self.positives:
            record = self.films.records[position]
            digest.update(repr((record.name, record.shapes, self.films.original_sizes[position])).encode())
        for name, value in self.network.state_dict().items():
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


def annotation_mask(job: Job, position: int) -> np.ndarray:
    """Annotation of a film, bool ``(FRAME, FRAME)``."""
    width, height = job.films.original_sizes[position]
    return rasterize(job.films.records[position].shapes, width, height, frame=FRAME, truth=job.truth)


class FilmBatch:
    """The films of one batch, their annotations and the network's verdict on them."""

    def __init__(self, job: Job, batch: int) -> None:
        self.job = job
        self.batch = batch
        first = batch * job.batch_size
        self.positions = job.positives[first : first + job.batch_size]
        self.image_ids = range(first, first + len(self.positions))  # of the choice between ties
        films = torch.stack([job.films[position][0] for position in self.positions])
        self.images = normalise(films.to(job.device))
        with torch.no_grad():
            probabilities = job.network(self.images).softmax(dim=1)
        self.probabilities, self.targets = probabilities.max(dim=1)
        self.records = [job.films.records[position] for position in self.positions]
        self.masks = [annotation_mask(job, position) for position in self.positions]

    def chance(self) -> list[tuple[str, int, float]]:
        """Chance levels as (image, tolerance, chance)."""
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
        plain = stretch(maps)
        rows: list[dict[str, object]] = []
        for protocol in PROTOCOLS:
            clip = protocol == "paper" and method.clipped
            frames = stretch(clip_at_percentile(maps)) if clip else plain
            maxima = choose_maxima(frames, protocol=protocol, seed=self.job.seed, image_ids=self.image_ids)
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
        if len(images) == 1 or not is_out_of_memory(error):
            raise
    # Outside of the handler: the traceback that keeps the large tensors alive is gone here.
    gc.collect()
    if images.device.type == "cuda":
        torch.cuda.empty_cache()
    parts = zip(images.chunk(2), targets.chunk(2), strict=True)
    return torch.cat([explain_within_memory(explain, *part) for part in parts])


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error is a lack of memory, of the machine or of a device."""
    # torch reports a full CPU as a plain RuntimeError.
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "t allocate memory" in str(error)


@contextmanager
def _seeded(seed: int, method: str, batch: int, device: torch.device) -> Iterator[None]:
    """Seed torch for one unit; the random state outside is untouched."""
    unit = hashlib.sha256(f"{seed} {method} {batch}".encode()).digest()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int.from_bytes(unit[:7], "little"))
        yield
