"""One unit of scoring: a method on a fixed batch of films, from maps to rows."""

from __future__ import annotations

import gc
import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from benchmarks.methods import Explain, Method, Prepared
from benchmarks.methods.target_scores import probabilities
from benchmarks.metrics.annotated import Annotations
from benchmarks.metrics.frame import FRAME, Stretched, clip_at_percentile, stretch
from benchmarks.metrics.overlap import area_matched_iou, energy_share
from benchmarks.metrics.own_pixels import point_on_image
from benchmarks.metrics.pointing_game import PROTOCOLS, TOLERANCES, chance_level, choose_maxima
from benchmarks.run.devices import is_out_of_memory
from benchmarks.scoring.job import Job, Keep, annotation_mask
from benchmarks.scoring.unit_store import Row

AT_ONCE = 2**19
"""Values of maps, stretched to the side, that a CPU looks at together: what it works on should stay in its caches."""


class FilmBatch:
    """The films of one batch, their annotations and the network's verdict on them.

    Args:
        job: network and films.
        batch: number of the batch.
        verdicts: of films that the network has judged before, as of
            :meth:`benchmarks.scoring.store.ScoreStore.verdicts`. A batch that is not whole among them is judged here.

    Attributes:
        verdicts: rows of the table ``verdicts``.
        targets: predicted classes, long ``(N,)``.
        masks: annotations, bool ``(N, FRAME, FRAME)``.
    """

    def __init__(self, job: Job, batch: int, verdicts: pd.DataFrame | None = None) -> None:
        self.job = job
        self.batch = batch
        self.positions = job.batch(batch)
        self.image_ids = [job.image_id(position) for position in self.positions]  # of the choice between ties
        self.records = [job.films.records[position] for position in self.positions]
        masks = np.stack([annotation_mask(job, position) for position in self.positions])
        # Maps are judged where they are computed, unless there is no float64 there.
        self.masks = torch.from_numpy(masks).to("cpu" if job.device.type == "mps" else job.device)
        self._annotations: dict[tuple[int, ...], Annotations] = {}
        self._chosen: dict[tuple[int, ...], Tensor] = {}
        self.images = film_images(job, self.positions)
        names = [record.name for record in self.records]
        known = {} if verdicts is None else {row["image"]: row for row in verdicts.to_dict("records")}
        whole = all(name in known for name in names)
        self.verdicts: list[dict[str, Any]] = [known[name] for name in names] if whole else self._judge()
        self.targets = torch.tensor([row["target"] for row in self.verdicts], device=job.device)

    @cached_property
    def probabilities(self) -> Tensor:
        """The network's, float ``(N, K)``."""
        return class_probabilities(self.job, self.images)

    def _judge(self) -> list[dict[str, Any]]:
        rows = []
        for record, position, shares in zip(self.records, self.positions, self.probabilities.tolist(), strict=True):
            target = shares.index(max(shares)) if self.job.explain == "predicted" else record.label
            film = {"image": record.name, "position": position, "label": record.label, "target": target}
            rows.append({**film, "probability": shares[target], "label_probability": shares[record.label]})
        return rows

    def choose(self, chosen: Sequence[int]) -> Tensor:
        """Some of the images, laid out in memory like all of them; the same tensor each time."""
        if len(chosen) == len(self.images):
            return self.images
        if (key := tuple(chosen)) not in self._chosen:
            self._chosen[key] = self.images[list(key)].contiguous(memory_format=torch.channels_last)
        return self._chosen[key]

    def chance(self) -> list[Row]:
        """Rows of the table ``chance``."""
        own = self.job.own_pixels
        masks = map(self._own_mask, range(len(self.records))) if own else self.masks.cpu().numpy()
        return [
            {"image": record.name, "tolerance": tolerance, "chance": chance}
            for record, mask in zip(self.records, masks, strict=True)
            for tolerance, chance in zip(TOLERANCES, chance_level(mask), strict=True)
        ]

    def play(self, method: Method, explain: Explain) -> dict[str, list[Row]]:
        """Compute a method's maps and play the game under both protocols.

        The maps explain the predicted class; where that is wrong, the film is also played with the true one.

        Returns:
            Rows of the tables ``plays`` and ``plays_true``.
        """
        wrong, labels = self._wrong
        return {
            "plays": self._play(method, explain, range(len(self.records)), self.targets, self.job.keep),
            "plays_true": self._play(method, explain, wrong, labels) if wrong else [],
        }

    @cached_property
    def _wrong(self) -> tuple[list[int], Tensor]:
        """Places of the films that the network gets wrong, and their true classes."""
        labels = [record.label for record in self.records]
        wrong = [
            i for i, (label, target) in enumerate(zip(labels, self.targets.tolist(), strict=True)) if label != target
        ]
        return wrong, torch.tensor([labels[i] for i in wrong], device=self.targets.device)

    def _play(
        self, method: Method, explain: Explain, chosen: Sequence[int], targets: Tensor, keep: Keep | None = None
    ) -> list[Row]:
        started = time.perf_counter()
        with seeded(self.job.seed, method, self.batch, self.job.device):
            maps = explain_within_memory(explain, self.choose(chosen), targets).to(self.masks.device)
            if maps.device.type == "cuda":
                torch.cuda.synchronize(maps.device)
        seconds = time.perf_counter() - started
        if isinstance(explain, Prepared) and explain.shared is not None:
            seconds = explain.shared.settle(seconds)
        if keep is not None:
            keep(method.name, [self.positions[i] for i in chosen], maps)
        rows: list[Row] = []
        at_once = len(chosen) if maps.device.type == "cuda" else max(AT_ONCE // (maps.shape[2] * FRAME), 1)
        for first in range(0, len(chosen), at_once):
            films = tuple(chosen[first : first + at_once])
            part = maps[first : first + at_once]
            plain = self._played(stretch(part), films, ("fair",) if method.clipped else PROTOCOLS)
            clipped = self._played(stretch(clip_at_percentile(part)), films, ("paper",)) if method.clipped else []
            rows += [{"method": method.name, "seconds": seconds / len(chosen), **row} for row in (*plain, *clipped)]
        return rows

    def _played(self, stretched: Stretched, films: tuple[int, ...], protocols: Sequence[str]) -> list[Row]:
        """Rows of maps of some films, without the method's name and time."""
        annotations = self.annotations(films)
        highest = stretched.highest(annotations.at_least_one)
        energy = energy_share(stretched, annotations).tolist()
        iou = area_matched_iou(stretched, annotations, highest).tolist()
        finite, constant = stretched.finite.tolist(), stretched.constant.tolist()
        ids = [self.image_ids[i] for i in films]
        rows: list[Row] = []
        points: list[list[int]] = []
        for protocol in protocols:
            maxima = choose_maxima(stretched, protocol=protocol, seed=self.job.seed, image_ids=ids, highest=highest)
            if self.job.own_pixels:
                points, distances = self._on_the_image(stretched, films, protocol)
            elif points != (points := maxima.points.tolist()):  # protocols choose alike where no pixels tie
                distances = maxima.distances(annotations).tolist()
            for n, i in enumerate(films):
                numbers = (*points[n], distances[n], energy[n], iou[n])
                found = dict(zip(("x", "y", "distance", "energy", "iou"), numbers, strict=True))
                rows.append(
                    {
                        "image": self.records[i].name,
                        "protocol": protocol,
                        **(found if finite[n] else dict.fromkeys(found)),
                        "status": "non_finite" if not finite[n] else "constant" if constant[n] else "ok",
                    }
                )
        return rows

    def _on_the_image(
        self, stretched: Stretched, films: tuple[int, ...], protocol: str
    ) -> tuple[list[list[int]], list[float]]:
        """Points in the frame, and distances in pixels of the images as they are."""
        points: list[list[int]] = []
        distances: list[float] = []
        for n, i in enumerate(films):
            x, y, distance = point_on_image(
                stretched.unit[n], self._own_mask(i), protocol=protocol, seed=self.job.seed, image_id=self.image_ids[i],
                constant=bool(stretched.constant[n]),
            )  # fmt: skip
            width, height = self.job.films.original_sizes[self.positions[i]]
            points.append([x * FRAME // width, y * FRAME // height])
            distances.append(distance)
        return points, distances

    def _own_mask(self, i: int) -> np.ndarray:
        width, height = self.job.films.original_sizes[self.positions[i]]
        return self.job.films.mask(self.positions[i], (height, width), self.job.scoring.truth)

    def annotations(self, films: tuple[int, ...]) -> Annotations:
        """Annotations of some films of the batch, by their places in it; made once."""
        if films not in self._annotations:
            self._annotations[films] = Annotations(self.masks[list(films)])
        return self._annotations[films]


def film_images(job: Job, positions: Sequence[int]) -> Tensor:
    """Films as the network takes them, float ``(N, C, H, W)`` on its device."""
    films = torch.stack([job.films[position][0] for position in positions])
    return job.to_input(films.to(job.device))


def class_probabilities(job: Job, images: Tensor) -> Tensor:
    """Probabilities of the classes, float ``(N, K)``, in batches that the network is known to cope with."""
    with torch.no_grad():
        parts = [
            explain_within_memory(lambda part, _: job.network(part), part, part)
            for part in torch.split(images, job.batch_size)
        ]
    return probabilities(torch.cat(parts), job.outputs)


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


@contextmanager
def seeded(seed: int, method: Method, batch: int, device: torch.device) -> Iterator[None]:
    """Seed torch for one unit; the random state outside is untouched.

    A method draws its numbers for all films of a batch at once, so they cannot be seeded film by film without
    explaining film by film, which would leave a GPU idle.
    """
    unit = hashlib.sha256(f"{seed} {method.draws_as or method.name} {batch}".encode()).digest()
    number = int.from_bytes(unit[:7], "little")
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        # torch.manual_seed would seed all kinds of devices, those that are not there too, in milliseconds.
        torch.default_generator.manual_seed(number)
        if device.type != "cpu":
            torch.get_device_module(device).manual_seed(number)
        yield
