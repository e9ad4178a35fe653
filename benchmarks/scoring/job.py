"""What a process needs to compute batches, and the digest of what the results depend on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from benchmarks.data.annotations import rasterize
from benchmarks.data.dataset import FilmDataset
from benchmarks.data.object_cxr import Record
from benchmarks.methods import BUDGET, Context, TrainingFilms
from benchmarks.metrics.frame import FRAME

FORMAT = 3
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
        budget: forward passes for a film that a method may spend.
        training: draws the training films for methods that learn from some.
    """

    network: nn.Module
    films: FilmDataset
    positives: list[int]
    batch_size: int
    seed: int
    truth: str
    device: torch.device
    budget: int = BUDGET
    training: TrainingFilms | None = None

    def context(self) -> Context:
        """What the methods share for the network."""
        return Context(self.network, self.films.size, self.budget, self.training)

    def annotated(self) -> list[tuple[Record, tuple[int, int]]]:
        """The annotated films, each with its width and height in pixels as stored."""
        return [(self.films.records[position], self.films.original_sizes[position]) for position in self.positives]

    @property
    def batches(self) -> int:
        """Number of batches."""
        return -(-len(self.positives) // self.batch_size)

    def digest(self) -> str:
        """Digest of everything that the scores depend on: settings, films, annotations, weights."""
        settings = (FORMAT, self.films.size, self.batch_size, self.seed, self.truth, self.budget)
        digest = hashlib.sha256(repr(settings).encode())
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


def evenly_spaced(positions: Sequence[int], most: int) -> list[int]:
    """At most so many of some positions, first and last included: a choice that knows nothing of results."""
    if len(positions) <= most:
        return list(positions)
    return [positions[i] for i in np.linspace(0, len(positions) - 1, most).round().astype(int)]
