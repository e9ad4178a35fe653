"""A trained classifier with one attribution method, applied to films."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.classifier.checkpoints import load_classifier
from benchmarks.classifier.network import normalise
from benchmarks.classifier.training_films import training_films
from benchmarks.explain.verdict import UNSURE, Explanation
from benchmarks.films.grey import Film, at_size
from benchmarks.methods import METHODS, Context, Explain, near_names
from benchmarks.run.config import Config
from benchmarks.run.directory import checkpoint_paths, read_measured, saved_config
from benchmarks.run.errors import UserError
from benchmarks.run.files import file_digest
from normgrad_attr.functional import Peak, find_peaks

DEFAULT_METHOD = "normgrad_conv1x1_combined_uniform"
"""Its maximum is where the plain product has it, but lower peaks stay visible, so that further objects are marked."""

BATCH_PIXELS = 8 * 224 * 224
"""Pixels of the network's input that are explained at once: what fits a gigabyte."""


class Explainer:
    """A trained classifier with one attribution method.

    Args:
        run: Run directory with the classifier.
        method: Name in the registry of methods.

    Attributes:
        config: Settings of the run.
        measured: The run's ``classifier.json``.
        checkpoint: SHA-256 of the file with the weights.
        batch_size: Most films that are worth giving at once.

    Raises:
        UserError: No classifier, an unknown method, or one that cannot run on the network.
    """

    def __init__(self, run: Path, method: str = DEFAULT_METHOD) -> None:
        if method not in METHODS or METHODS[method].family == "baseline":
            near = [name for name in near_names(method) if METHODS[name].family != "baseline"]
            raise UserError(
                f"--method: there is no method {method!r} that explains a film; choose one such as "
                f"{', '.join(near or [DEFAULT_METHOD])}."
            )
        self.method = method
        self.config: Config = saved_config(run)
        self.network = load_classifier(run)
        self.measured = read_measured(run)
        self.checkpoint = file_digest(checkpoint_paths(run)[0])
        films = partial(training_films, replace(self.config, out=run), torch.device("cpu"))
        context = Context(self.network, self.config.image_size, self.config.scoring.budget, films)
        self._explain: Explain = METHODS[method].prepare(context)
        low, high = self.measured.unsure or UNSURE
        self.unsure_range = (float(low), float(high))
        # What draws by chance must not depend on a film's neighbours.
        self.batch_size = 1 if METHODS[method].random else max(1, BATCH_PIXELS // self.config.image_size**2)

    def __call__(self, films: Sequence[Film]) -> list[Explanation]:
        """Explain some films at once, ``batch_size`` of them at most."""
        size = self.config.image_size
        small = np.stack([at_size(film.grey, size) for film in films])
        images = normalise(torch.from_numpy(small)[:, None])
        with torch.no_grad():
            probabilities = self.network(images).softmax(dim=1)[:, 1].tolist()
        torch.manual_seed(self.config.seed)
        maps = self._explain(images, torch.ones(len(films), dtype=torch.long)).float()
        saliency = F.interpolate(maps, size=(size, size), mode="bilinear", align_corners=False)[:, 0].numpy()
        return [
            Explanation(film, probability, heat, self._places(film, probability, heat), self.unsure_range)
            for film, probability, heat in zip(films, probabilities, saliency, strict=True)
        ]

    def _places(self, film: Film, probability: float, saliency: np.ndarray) -> tuple[Peak, ...]:
        if probability <= self.unsure_range[0]:
            return ()
        (height, width), size = film.grey.shape, self.config.image_size
        return tuple(
            _to_film(peak, width / size, height / size)
            for peak in find_peaks(torch.from_numpy(saliency)[None, None])[0]
        )


def _to_film(peak: Peak, x_scale: float, y_scale: float) -> Peak:
    """A peak of the network's frame in pixels of the film; the middle of a pixel stays the middle."""
    x1, y1, x2, y2 = peak.box
    box = (round(x1 * x_scale), round(y1 * y_scale), round(x2 * x_scale), round(y2 * y_scale))
    return Peak(int((peak.x + 0.5) * x_scale), int((peak.y + 0.5) * y_scale), peak.score, box)
