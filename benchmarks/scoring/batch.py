"""One unit of scoring: a method on a fixed batch of films, from maps to rows."""

from __future__ import annotations

import gc
import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from benchmarks.classifier.network import normalise
from benchmarks.methods import Explain, Method
from benchmarks.metrics.frame import Stretched, clip_at_percentile, stretch
from benchmarks.metrics.overlap import area_matched_iou, energy_share
from benchmarks.metrics.pointing_game import PROTOCOLS, TOLERANCES, chance_level, choose_maxima, distance_to_mask
from benchmarks.scoring.job import Job, annotation_mask


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
            outputs = explain_within_memory(lambda images, _: job.network(images), self.images, self.images)
        self.probabilities = outputs.softmax(dim=1)
        self.targets = self.probabilities.argmax(dim=1)
        self.records = [job.films.records[position] for position in self.positions]
        self.masks = [annotation_mask(job, position) for position in self.positions]

    def choose(self, chosen: Sequence[int]) -> Tensor:
        """Some of the images, laid out in memory like all of them."""
        return self.images[list(chosen)].contiguous(memory_format=torch.channels_last)

    def chance(self) -> list[tuple[str, int, float]]:
        """Chance levels as (image, tolerance, chance)."""
        return [
            (record.name, tolerance, chance)
            for record, mask in zip(self.records, self.masks, strict=True)
            for tolerance, chance in zip(TOLERANCES, chance_level(mask), strict=True)
        ]

    def play(self, method: Method, explain: Explain) -> list[dict[str, object]]:
        """Compute a method's maps and play the game under both protocols.

        The maps explain the predicted class; where that is wrong, the film is also played with the true one.
        """
        rows = self._play(method, explain, range(len(self.records)), self.targets, "predicted")
        labels = torch.tensor([record.label for record in self.records], device=self.targets.device)
        wrong = (self.targets != labels).nonzero()[:, 0]
        if len(wrong):
            rows += self._play(method, explain, wrong.tolist(), labels[wrong], "true")
        return rows

    def _play(
        self, method: Method, explain: Explain, chosen: Sequence[int], targets: Tensor, explains: str
    ) -> list[dict[str, object]]:
        started = time.perf_counter()
        with seeded(self.job.seed, method.name, self.batch, self.job.device):
            maps = explain_within_memory(explain, self.choose(chosen), targets).cpu()
        seconds = (time.perf_counter() - started) / len(chosen)
        plain = stretch(maps)
        overlaps = self._overlaps(plain, chosen)
        rows: list[dict[str, object]] = []
        for protocol in PROTOCOLS:
            clip = protocol == "paper" and method.clipped
            frames = stretch(clip_at_percentile(maps)) if clip else plain
            energy_and_iou = self._overlaps(frames, chosen) if clip else overlaps
            ids = [self.image_ids[i] for i in chosen]
            maxima = choose_maxima(frames, protocol=protocol, seed=self.job.seed, image_ids=ids)
            for row, i in enumerate(chosen):
                x, y = (int(value) for value in maxima.points[row])
                finite = bool(maxima.finite[row])
                energy, iou = energy_and_iou[row]
                rows.append(
                    {
                        "image": self.records[i].name,
                        "method": method.name,
                        "protocol": protocol,
                        "explains": explains,
                        "x": x if finite else None,
                        "y": y if finite else None,
                        "distance": distance_to_mask(x, y, self.masks[i]) if finite else None,
                        "energy": energy,
                        "iou": iou,
                        "target": int(targets[row]),
                        "probability": round(float(self.probabilities[i, targets[row]]), 6),
                        "seconds": seconds,
                        "label": self.records[i].label,
                        "status": "non_finite" if not finite else "constant" if maxima.constant[row] else "ok",
                    }
                )
        return rows

    def _overlaps(self, frames: Stretched, chosen: Sequence[int]) -> list[tuple[float | None, float | None]]:
        """Energy and intersection over union of maps; None for those that are not finite."""
        return [
            (energy_share(plane, self.masks[i], zero), area_matched_iou(plane, self.masks[i]))
            if finite
            else (None, None)
            for i, plane, zero, finite in zip(chosen, frames.planes, frames.zero, frames.finite, strict=True)
        ]


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
def seeded(seed: int, method: str, batch: int, device: torch.device) -> Iterator[None]:
    """Seed torch for one unit; the random state outside is untouched."""
    unit = hashlib.sha256(f"{seed} {method} {batch}".encode()).digest()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int.from_bytes(unit[:7], "little"))
        yield
