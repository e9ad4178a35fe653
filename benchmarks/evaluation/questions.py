"""Questions: one image and one class that is explained on it. They take the place that films have in a run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from benchmarks.classifier.network import weights_digest
from benchmarks.data.film_facts import film_facts
from benchmarks.data.object_cxr import FaultyTableError
from benchmarks.films.decode import decode
from benchmarks.formats.category_mask import category_mask
from benchmarks.formats.labelled import LabelledImage
from benchmarks.methods import Layers
from benchmarks.models import OpenModel, Preparation
from benchmarks.run.choices import Explained
from benchmarks.run.config import Config
from benchmarks.run.errors import UserError
from benchmarks.scoring.job import Job

DIFFICULT_SHARE = 0.25
"""TorchRay's difficult questions: the class covers less of the image, and the image shows another class too."""


@dataclass(frozen=True)
class Question:
    """Where is this class on this image?

    Attributes:
        image: The image.
        category: The class, as the data call it.
        label: Number of the network's output that is it.
        name: That its rows bear: of the image and the class, or of the image where there is one question about each.
    """

    image: LabelledImage
    category: str
    label: int
    name: str

    @property
    def lot(self) -> str:
        """What lots are drawn by where pixels of a map tie: the file's name, as formats call images differently."""
        return f"{self.path.name}{self.name.removeprefix(self.image.name)}"

    @property
    def path(self) -> Path:
        """Of the image."""
        return self.image.path

    @property
    def where(self) -> str:
        """Entry of the annotation, for messages."""
        return self.image.where

    @property
    def shapes(self) -> tuple[Any, ...]:
        """Where the class is, all shapes of all its objects."""
        return tuple(shape for found in self.image.objects if found.category == self.category for shape in found.shapes)


class AskedImages:
    """Questions with their images as people see them, and the places where the classes are.

    Args:
        questions: Those of an image one behind the other.
        size: The longer side of the network's input.
        pixels: Digest of the images and of what is made of them for the network.
        colour: Whether the images are shown in colour.

    Attributes:
        records: The questions.
    """

    def __init__(self, questions: Sequence[Question], size: int, pixels: str, *, colour: bool) -> None:
        self.records = list(questions)
        self.size = size
        self.pixels = pixels
        self.colour = colour

    @property
    def original_sizes(self) -> list[tuple[int, int]]:
        """Width and height of each question's image."""
        return [question.image.size for question in self.records]

    def __len__(self) -> int:
        """Number of questions."""
        return len(self.records)

    def __getitem__(self, position: int) -> tuple[Tensor, int, int]:
        """Inputs take a network."""
        raise UserError(
            "the network of this evaluation is not here, so there are no inputs of it: evaluate once more with the "
            "same arguments, which computes nothing anew."
        )

    def mask(self, position: int, frame: tuple[int, int], truth: str) -> np.ndarray:
        """Where the class is, in a frame of that height and width, bool."""
        question = self.records[position]
        return category_mask(question.image, question.category, frame, truth)

    def boxes(self, position: int, frame: int) -> list[tuple[float, float, float, float]]:
        """The box of each object of the class, in pixels of a square frame, ends exclusive."""
        question = self.records[position]
        width, height = question.image.size
        across, down = frame / width, frame / height
        found = [thing.box for thing in question.image.objects if thing.category == question.category]
        return [(x1 * across, y1 * down, x2 * across, y2 * down) for x1, y1, x2, y2 in found]

    def picture(self, position: int, at_least: int | None = None) -> np.ndarray:
        """The image as it is shown, uint8, grey or colour."""
        return _pixels(self.records[position].image, at_least, colour=self.colour)

    @cached_property
    def table(self) -> pd.DataFrame:
        """Index ``image``, the question's name; columns ``file``, ``class`` and ``difficult``."""
        rows = []
        for position, question in enumerate(self.records):
            covered = self.mask(position, (100, 100), "box").mean()
            several = len({found.category for found in question.image.objects}) > 1
            rows.append((question.name, question.image.name, question.category, covered < DIFFICULT_SHARE and several))
        return pd.DataFrame(rows, columns=["image", "file", "class", "difficult"]).set_index("image")


class Questions(AskedImages):
    """Questions as a job takes films: with the inputs of a network.

    Args:
        questions: Those of an image one behind the other.
        model: That prepares the images.
        cache_dir: For what is known of the images' files.

    Raises:
        FaultyTableError: Images do not decode: all of them.
    """

    def __init__(self, questions: Sequence[Question], model: OpenModel, cache_dir: Path) -> None:
        super().__init__(questions, max(model.shape[1:]), "", colour=model.shape[0] == 3)
        self._prepare = model.prepare
        # A JPEG may be decoded at a part of its size where it is made smaller anyway.
        self._at_least = 2 * self.size if isinstance(model.prepare, Preparation) else None
        self._last: tuple[Path, Tensor] | None = None
        images = list({question.path: question.image for question in self.records}.values())
        try:
            shown = [facts.pixels for _, facts in film_facts(images, cache_dir, colour=self.colour)]
        except FaultyTableError as error:
            raise FaultyTableError(error.faults, "`evaluate --check`") from None
        digest = hashlib.sha256(repr(shown).encode())
        digest.update(self._input(images[0]).numpy().tobytes())  # what the function is, its result says
        self.pixels = digest.hexdigest()

    def __getitem__(self, position: int) -> tuple[Tensor, int, int]:
        """The network's input, the class and the position."""
        question = self.records[position]
        if self._last is None or self._last[0] != question.path:
            self._last = question.path, self._input(question.image)
        return self._last[1], question.label, position

    def _input(self, image: LabelledImage) -> Tensor:
        pixels = _pixels(image, self._at_least, colour=self.colour)
        prepared: Tensor = self._prepare(Image.fromarray(pixels))
        return prepared.detach().float()


def _pixels(image: LabelledImage, at_least: int | None, *, colour: bool) -> np.ndarray:
    return decode(image.path, at_least, colour=colour, placed=image.placed)[0]


@dataclass(frozen=True)
class Asked:
    """What an evaluation asks of which network.

    Attributes:
        model: The network, and what it wants to see.
        questions: In the order of the images.
        explain: The class that maps are for.
        layers: Those that layer methods look at, where they are named.
        own_pixels: Whether tolerances are in pixels of the images as they are.
    """

    model: OpenModel
    questions: list[Question]
    explain: Explained
    layers: Layers | None
    own_pixels: bool = False

    def job(self, config: Config, device: torch.device | str = "cpu") -> Job:
        """What scoring needs."""
        network, device = self.model.network, torch.device(device)
        questions = Questions(self.questions, self.model, config.cache_dir)
        weights = weights_digest(network.state_dict())
        return Job(
            network.to(device), weights, questions, list(range(len(questions))), config.scoring, config.seed, device,
            to_input=channels_last, outputs=self.model.outputs, explain=self.explain, shape=self.model.shape,
            layers=self.layers, contrast=self.model.contrast, own_pixels=self.own_pixels,
        )  # fmt: skip


def channels_last(images: Tensor) -> Tensor:
    """Inputs as convolutions are fastest on them."""
    return images.contiguous(memory_format=torch.channels_last)


def ask(images: Sequence[LabelledImage], outputs: Mapping[str, int], explain: Explained) -> list[Question]:
    """The questions that a set and a network allow.

    Args:
        images: Of the set.
        outputs: Number of the network's output by category.
        explain: ``"labelled"``, a question for each class that an image is annotated with; ``"predicted"``, one for
            each image, whose annotated class is the label. A class all of whose objects are difficult is not asked
            for, as in TorchRay's Pointing Game; where others are there, they count with them.

    Raises:
        UserError: There are none, or an image has several classes where one is asked for.
    """
    questions = []
    for image in images:
        plain = [found.category for found in image.objects if not found.difficult]
        there = [category for category in dict.fromkeys(plain) if category in outputs]
        if explain == "predicted" and len(there) > 1:
            raise UserError(
                f"{image.where}: the image shows {len(there)} classes ({', '.join(there[:3])}), and --explain "
                "predicted is for one class an image: leave it out, and each of them is explained."
            )
        for category in there:
            name = image.name if explain == "predicted" else f"{image.name}: {category}"
            questions.append(Question(image, category, outputs[category], name))
    if not questions:
        raise UserError(
            "no image has an annotated object of a class that the model knows, but for difficult ones, so there is "
            "nothing to ask; --grid 2 plays with labels alone."
        )
    return questions
