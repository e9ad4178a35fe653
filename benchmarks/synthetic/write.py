"""Writes the embedded default set: synthetic films in exactly the layout of Object-CXR."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

from benchmarks.data.annotations import Shape, format_annotation
from benchmarks.data.kinds import write_kinds
from benchmarks.synthetic.anatomy import draw_anatomy
from benchmarks.synthetic.distractors import draw_distractors
from benchmarks.synthetic.placing import draw_objects
from benchmarks.synthetic.strokes import Array

COUNTS = {"train": 1200, "dev": 200, "test": 400}
"""Films of the default set, half of each split with objects."""

SIZE = 320
"""Longer side of its films in pixels."""

QUALITY = 92
"""JPEG quality, as films come from archives."""


def draw_film(
    seed: int, number: int, positive: bool, size: int = SIZE
) -> tuple[Array, tuple[Shape, ...], tuple[str, ...]]:
    """One film, from its seed and number alone.

    Patient and distractors come from sources of chance of their own, so that a film with objects and the film
    of the same number without them differ by the objects only.

    Args:
        seed: Seed of the set.
        number: Number of the film.
        positive: Whether foreign objects lie on it.
        size: Longer side in pixels; the shape differs from film to film.

    Returns:
        Grey float (height, width) from 0 to 1, the annotations in pixels, and the names of the distractors.

    Example:
        >>> clean, none, _ = draw_film(seed=0, number=1, positive=False, size=64)
        >>> spoilt, shapes, _ = draw_film(seed=0, number=1, positive=True, size=64)
        >>> clean.shape == spoilt.shape, len(none), len(shapes) > 0
        (True, 0, True)
    """
    patient, devices, foreign = (np.random.default_rng([seed, number, part]) for part in range(3))
    aspect = patient.uniform(0.82, 1.14)
    film = draw_anatomy(patient, round(size * min(aspect, 1)), round(size / max(aspect, 1)))
    grey, drawn = draw_distractors(devices, film.grey, film.frame)
    if not positive:
        return grey, (), drawn
    grey, shapes = draw_objects(foreign, grey, film.lungs, film.exposed)
    return grey, shapes, drawn


def write_synthetic(
    root: Path, *, counts: Mapping[str, int] = COUNTS, size: int = SIZE, seed: int = 0, processes: int | None = None
) -> None:
    """Write a set: ``root/train.csv``, ``root/train/00001.jpg`` and so on, numbered through all splits.

    What the objects are is in ``root/train_kinds.csv`` and so on. The CSV of a split is written last, so that a split
    with a CSV is complete.

    Args:
        root: Folder of the set; created when missing.
        counts: Films per split, half of them (rounded down) with objects.
        size: Longer side of the films in pixels.
        seed: The same seed writes the same bytes.
        processes: Worker processes; all cores by default.
    """
    first = 1
    # Spawned, not forked: the parent may hold threads of torch.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for split, count in counts.items():
            folder = root / split
            folder.mkdir(parents=True, exist_ok=True)
            numbers = range(first, first + count)
            # Which films are positive comes from the seed and the split's place alone.
            order = np.random.default_rng([seed, first]).permutation(count)
            jobs = [(number, bool(rank < count // 2)) for number, rank in zip(numbers, order, strict=True)]
            write = partial(_write_film, folder, seed, size)
            films = pool.map(write, jobs, chunksize=16)
            drawn = list(track(films, f"Drawing {split}", total=count, console=Console(stderr=True), transient=True))
            annotated = [(f"{number:05}.jpg", shapes) for number, shapes in zip(numbers, drawn, strict=True)]
            write_kinds(root / f"{split}.csv", annotated)
            with (root / f"{split}.csv").open("w", newline="") as stream:
                writer = csv.writer(stream, lineterminator="\n")
                writer.writerow(["image_name", "annotation"])
                writer.writerows((name, format_annotation(shapes)) for name, shapes in annotated)
            first += count


def _write_film(folder: Path, seed: int, size: int, job: tuple[int, bool]) -> tuple[Shape, ...]:
    """Write one film; returns its annotations."""
    number, positive = job
    grey, shapes, _ = draw_film(seed, number, positive, size)
    pixels = np.round(grey * 255).astype(np.uint8)
    Image.fromarray(pixels).save(folder / f"{number:05}.jpg", quality=QUALITY)
    return shapes
