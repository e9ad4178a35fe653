"""What a process needs to compute batches, and what the results depend on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.classifier.network import normalise
from benchmarks.methods import METHODS, Context, Layers, TrainingFilms
from benchmarks.methods.context import CONTRAST
from benchmarks.metrics.frame import FRAME
from benchmarks.run.choices import Explained, Outputs
from benchmarks.run.config import Scoring
from benchmarks.run.directory import version

FORMAT = 4
"""Raise it when the same films, settings and packages would give other numbers whatever the method."""


T = TypeVar("T")
Keep = Callable[[str, Sequence[int], Tensor], None]
"""The name of a method, positions of films, and their maps float ``(N, 1, h, w)``."""


class FilmRecord(Protocol):
    """What is known of a film, or of one question about an image.

    Attributes:
        name: that its rows bear.
        lot: what its lots are drawn by where pixels tie.
        path: of its file.
        label: number of the annotated class.
        shapes: what a map should point at.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def lot(self) -> str: ...  # noqa: D102
    @property
    def path(self) -> Path: ...  # noqa: D102
    @property
    def label(self) -> int: ...  # noqa: D102
    @property
    def shapes(self) -> tuple[Any, ...]: ...  # noqa: D102


class Films(Protocol):
    """Films that can be scored, as :class:`benchmarks.data.dataset.FilmDataset` has them.

    Attributes:
        size: side of the network's input.
        pixels: digest of the films at that size.
    """

    size: int
    pixels: str

    @property
    def records(self) -> Sequence[FilmRecord]:
        """One for each film."""

    @property
    def original_sizes(self) -> Sequence[tuple[int, int]]:
        """Width and height of each film, to which its shapes refer."""

    def __getitem__(self, position: int) -> tuple[Tensor, int, int]:
        """Film, label and position."""

    def picture(self, position: int, at_least: int | None = None) -> np.ndarray:
        """A film as it is shown, uint8, grey ``(h, w)`` or colour ``(h, w, 3)``, both sides ``at_least`` so long."""

    def mask(self, position: int, frame: tuple[int, int], truth: str) -> np.ndarray:
        """Annotation of a film in a frame of that height and width, bool."""


@dataclass
class Job:
    """What one process needs to compute batches.

    Attributes:
        network: the classifier, in eval mode, on ``device``.
        weights: digest of its weights.
        films: all films of the test split.
        positives: positions in ``films`` of those with annotations, in rising order.
        scoring: the settings.
        seed: of random methods and of ties.
        device: where the network is.
        training: draws the training films for methods that learn from some.
        to_input: makes the network's input of films.
        outputs: what makes probabilities of the network's scores.
        explain: the class that maps are for.
        shape: of an input, (C, H, W); where None, that of films of three equal channels.
        layers: those that layer methods look at, where they are not to be found.
        contrast: between black and white, in units of the network's input.
        own_pixels: whether distances are in pixels of the films as they are, instead of the frame's.
        keep: gets the maps for the predicted or labelled class, as soon as they are there.
    """

    network: nn.Module
    weights: str
    films: Films
    positives: Sequence[int]
    scoring: Scoring
    seed: int
    device: torch.device
    training: TrainingFilms | None = None
    to_input: Callable[[Tensor], Tensor] = normalise
    outputs: Outputs = "softmax"
    explain: Explained = "predicted"
    shape: tuple[int, int, int] | None = None
    layers: Layers | None = None
    contrast: float = CONTRAST
    own_pixels: bool = False
    keep: Keep | None = None

    explains: ClassVar[bool] = True
    """Whether maps can be computed: not where results alone are read again."""

    def context(self) -> Context:
        """What the methods share for the network."""
        return Context(
            self.network, self.shape or self.films.size, self.scoring.budget, self.training,
            layers=self.layers, outputs=self.outputs, contrast=self.contrast,
        )  # fmt: skip

    def annotated(self) -> Iterator[tuple[FilmRecord, tuple[int, int]]]:
        """The annotated films, each with its width and height in pixels as stored."""
        return ((self.films.records[position], self.films.original_sizes[position]) for position in self.positives)

    @property
    def batch_size(self) -> int:
        """Films in a batch."""
        return self.scoring.score_batch_size

    @property
    def batches(self) -> int:
        """Number of batches."""
        return -(-len(self.positives) // self.batch_size)

    def batch(self, number: int) -> list[int]:
        """Positions of the films of a batch."""
        return list(self.positives[number * self.batch_size : (number + 1) * self.batch_size])

    def image_id(self, position: int) -> int:
        """What a film's lots are drawn by: a number made of its own, whatever other films are played."""
        lot = self.films.records[position].lot
        return int.from_bytes(hashlib.sha256(lot.encode()).digest()[:6], "little")

    @cached_property
    def facts(self) -> dict[str, str]:
        """What all rows depend on, by name."""
        scoring = self.scoring
        settings = (
            self.shape or self.films.size, self.batch_size, self.seed, scoring.truth, scoring.budget, self.outputs,
            self.explain, self.layers, self.own_pixels,
        )  # fmt: skip
        annotations = hashlib.sha256()
        for record, size in self.annotated():
            annotations.update(repr((record.name, record.shapes, size)).encode())
        return {
            "format": str(FORMAT),
            "settings": repr(settings),
            "films": self.films.pixels,
            "annotations": annotations.hexdigest(),
            "weights": self.weights,
            **_versions("torch", "torchvision"),
        }

    def method_facts(self, name: str) -> dict[str, str]:
        """What the rows of a method depend on, by name; of a method that there is no more, what all depend on."""
        method = METHODS.get(name)
        if method is None:
            return self.facts
        return {**self.facts, "method": f"{name} {method.version}", **_versions(*method.packages)}

    def kept_as(self, name: str) -> str:
        """What files of a method are called: by its name, and by all that their content depends on."""
        return f"{name}.{digest(self.method_facts(name))[:8]}"


def digest(facts: Mapping[str, str]) -> str:
    """A short name for facts."""
    return hashlib.sha256(repr(sorted(facts.items())).encode()).hexdigest()[:24]


def annotation_mask(job: Job, position: int) -> np.ndarray:
    """Annotation of a film, bool ``(FRAME, FRAME)``."""
    return job.films.mask(position, (FRAME, FRAME), job.scoring.truth)


def evenly_spaced(items: Sequence[T], most: int | None) -> list[T]:
    """At most so many of some items, first and last included: a choice that knows nothing of results."""
    if most is None or len(items) <= most:
        return list(items)
    return [items[i] for i in np.linspace(0, len(items) - 1, most).round().astype(int)]


def _versions(*packages: str) -> dict[str, str]:
    return {package: version(package) or "absent" for package in packages}
