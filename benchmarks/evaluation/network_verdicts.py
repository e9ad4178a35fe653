"""What the network says of images whether or not they show a class: what makes a question a true positive."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from benchmarks.analysis.true_positives import youden_threshold
from benchmarks.classifier.network import weights_digest
from benchmarks.evaluation.questions import Question, Questions
from benchmarks.formats.labelled import LabelledImage
from benchmarks.methods.target_scores import probabilities
from benchmarks.models import OpenModel
from benchmarks.run.config import Config
from benchmarks.run.devices import one_device
from benchmarks.run.errors import UserError
from benchmarks.run.files import whole_file
from benchmarks.run.stored import DamagedError, read_array
from benchmarks.scoring.job import evenly_spaced

MOST_WITHOUT = 1000
"""Most images without an object that are looked at: a set may have a hundred thousand, and all must be decoded."""
HALF = 0.5
"""Probability from which on a network of several classes an image says that one is there, where no other is tuned."""


@dataclass(frozen=True)
class Verdicts:
    """What a network says of N images about C classes.

    Attributes:
        images: Names.
        classes: As the data call them.
        labelled: Whether an image shows a class, bool ``(N, C)``.
        probabilities: float32 ``(N, C)``.
        stands_for: How many images each stands for, float64 ``(N,)``.
        chosen: Whether a class is the most likely of all, bool ``(N, C)``; None for a network of several classes an
            image.
    """

    images: tuple[str, ...]
    classes: tuple[str, ...]
    labelled: npt.NDArray[np.bool_]
    probabilities: npt.NDArray[np.float32]
    stands_for: npt.NDArray[np.float64]
    chosen: npt.NDArray[np.bool_] | None

    def tuned(self) -> dict[str, float]:
        """The threshold of each class that has the largest sum of sensitivity and specificity here, else a half."""
        if self.chosen is not None:
            return {}
        columns = zip(self.classes, self.labelled.T, self.probabilities.T, strict=True)
        found = {name: youden_threshold(present, shares) for name, present, shares in columns}
        return {name: HALF if threshold is None else threshold for name, threshold in found.items()}

    def thresholds(self, tuned: Mapping[str, float]) -> dict[str, float]:
        """By class: those that are tuned on other images, else a half; none where one class an image is said."""
        return {} if self.chosen is not None else {name: tuned.get(name, HALF) for name in self.classes}

    def rows(self, questions: pd.DataFrame, tuned: Mapping[str, float]) -> pd.DataFrame:
        """One row for each image and class that is asked for, and for each that the network wrongly says is there.

        Args:
            questions: By name, the columns ``file`` and ``class``.
            tuned: As of :meth:`thresholds`.

        Returns:
            Columns ``file``, ``class``, ``question`` (None where the class is not there), ``says`` and ``stands_for``.
            A label without a place is neither.
        """
        thresholds = self.thresholds(tuned)
        edges = np.array([thresholds.get(name, HALF) for name in self.classes])
        says = self.probabilities.astype(np.float64) >= edges if self.chosen is None else self.chosen
        found = set(zip(questions["file"], questions["class"], strict=True))
        places = np.argwhere(says & ~self.labelled)
        numbers = {name: number for number, name in enumerate(self.images)}
        classes = {name: number for number, name in enumerate(self.classes)}
        rows = [
            (file, of, name, bool(says[numbers[file], classes[of]]), 1.0)
            for name, file, of in zip(questions.index, questions["file"], questions["class"], strict=True)
        ]
        rows += [
            (self.images[i], self.classes[j], None, True, self.stands_for[i])
            for i, j in places
            if (self.images[i], self.classes[j]) not in found
        ]
        return pd.DataFrame(rows, columns=["file", "class", "question", "says", "stands_for"])

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "images": self.images,
            "classes": self.classes,
            "labelled": [np.flatnonzero(row).tolist() for row in self.labelled],
            "probabilities": [[float(f"{value:.9g}") for value in row] for row in self.probabilities],
            "stands_for": self.stands_for.tolist(),
            "chosen": None if self.chosen is None else [np.flatnonzero(row).tolist() for row in self.chosen],
        }

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Verdicts:
        """From JSON values.

        Raises:
            ValueError, KeyError, TypeError, IndexError: They are no verdicts.
        """
        images, classes, chosen = tuple(plain["images"]), tuple(plain["classes"]), plain["chosen"]
        shape = (len(images), len(classes))
        shares = np.array(plain["probabilities"], dtype=np.float32).reshape(shape)
        stands_for = np.array(plain["stands_for"], dtype=np.float64).reshape(len(images))
        marks = None if chosen is None else _marks(chosen, shape)
        return cls(images, classes, _marks(plain["labelled"], shape), shares, stands_for, marks)


def _marks(places: Sequence[Sequence[int]], shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    marks = np.zeros(shape, dtype=bool)
    for row, found in zip(marks, places, strict=True):
        row[list(found)] = True
    return marks


def look(
    model: OpenModel,
    images: Sequence[LabelledImage],
    without: Sequence[LabelledImage],
    outputs: Mapping[str, int],
    config: Config,
) -> Verdicts:
    """Let a network judge images, once.

    Args:
        model: The network.
        images: That are asked about.
        without: Others of the set, without an object that the network knows. Of many, some stand for all.
        outputs: Number of the network's output by category.
        config: Where to keep what it says, and what computes.
    """
    some = [without[i] for i in evenly_spaced(range(len(without)), MOST_WITHOUT)]
    stands_for = np.repeat([1.0, len(without) / max(1, len(some))], [len(images), len(some)])
    images = [*images, *some]
    films = Questions([Question(image, "", 0, image.name) for image in images], model, config.cache_dir)
    what = repr((weights_digest(model.network.state_dict()), films.pixels, model.outputs, sorted(outputs.items())))
    path = config.cache_dir / f"verdicts.{hashlib.sha256(what.encode()).hexdigest()[:24]}.npz"
    shares, chosen = _kept(path, len(images)) or _judged(model, films, list(outputs.values()), config, path)
    labelled = np.array([[name in image.labels for name in outputs] for image in images], dtype=bool)
    names = tuple(image.name for image in images)
    return Verdicts(names, tuple(outputs), labelled, shares, stands_for, None if model.outputs == "sigmoid" else chosen)


Judged = tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]


def _judged(model: OpenModel, films: Questions, outputs: list[int], config: Config, path: Path) -> Judged:
    device = one_device(config)
    network = model.network.to(device)
    parts = []
    size = config.scoring.score_batch_size
    with torch.no_grad():
        for first in range(0, len(films), size):
            some = films.records[first : first + size]
            images = torch.stack([films[first + i][0] for i in range(len(some))])
            scores = network(images.to(device)).cpu()
            check_finite(scores, [question.path for question in some], model.name)
            parts.append(probabilities(scores, model.outputs))
    shares = torch.cat(parts)
    chosen = shares.argmax(dim=1, keepdim=True) == torch.tensor(outputs, device="cpu")
    judged = shares[:, outputs].numpy().astype(np.float32), chosen.numpy()
    with whole_file(path) as stream:
        np.savez(stream, shares=judged[0], chosen=judged[1])
    return judged


def check_finite(scores: Tensor, images: Sequence[Path], model: str) -> None:
    """Refuse a network that gives some images no scores, before maps are computed that mean nothing.

    Args:
        scores: Float ``(N, K)``.
        images: Files of the N images.
        model: Name of the network.

    Raises:
        UserError: Names the first such image.
    """
    for path, finite in zip(images, scores.isfinite().all(dim=1).tolist(), strict=True):
        if not finite:
            raise UserError(
                f"{model} gives scores that are not finite for {path}: mend the network, or leave the image out."
            )


def _kept(path: Path, images: int) -> Judged | None:
    """What was said before; None where that is not there, or not whole."""
    try:
        judged = read_array(path)
        shares, chosen = judged["shares"], judged["chosen"]
    except (DamagedError, KeyError):
        return None
    whole = len(shares) == len(chosen) == images and np.isfinite(shares).all()
    return (shares, chosen) if whole else None
