"""Writes the embedded default set: synthetic films in exactly the layout of Object-CXR."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context, parent_process
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

from benchmarks.data.annotations import Shape, format_annotation
from benchmarks.data.kinds import write_kinds
from benchmarks.run.errors import UserError
from benchmarks.run.files import write_rows
from benchmarks.run.process import deaf_processes
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
        processes: Worker processes; all cores by default. They end with this one.

    Raises:
        UserError: One of them was ended.
    """
    # Spawned, not forked: the parent may hold threads of torch.
    pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_die_with_the_parent)
    try:
        with pool:
            _write_splits(pool, root, counts, size, seed)
    except BrokenProcessPool:
        raise UserError(
            "A process that draws films was ended, perhaps for want of memory: start the same command again."
        ) from None


def _die_with_the_parent() -> None:
    """End this process when the one that started it is gone, however that was ended."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _write_splits(pool: ProcessPoolExecutor, root: Path, counts: Mapping[str, int], size: int, seed: int) -> None:
    first = 1
    for split, count in counts.items():
        folder = root / split
        folder.mkdir(parents=True, exist_ok=True)
        numbers = range(first, first + count)
        # Which films are positive comes from the seed and the split's place alone.
        order = np.random.default_rng([seed, first]).permutation(count)
        jobs = [(number, bool(rank < count // 2)) for number, rank in zip(numbers, order, strict=True)]
        write = partial(_write_film, folder, seed, size)
        with deaf_processes():
            films = pool.map(write, jobs, chunksize=16)
        drawn = list(track(films, f"Drawing {split}", total=count, console=Console(stderr=True), transient=True))
        annotated = [(f"{number:05}.jpg", shapes) for number, shapes in zip(numbers, drawn, strict=True)]
        write_kinds(root / f"{split}.csv", annotated)
        rows = ((name, format_annotation(shapes)) for name, shapes in annotated)
        write_rows(root / f"{split}.csv", ("image_name", "annotation"), rows)
        first += count


def _write_film(folder: Path, seed: int, size: int, job: tuple[int, bool]) -> tuple[Shape, ...]:
    """Write one film; returns its annotations."""
    number, positive = job
    grey, shapes, _ = draw_film(seed, number, positive, size)
    pixels = np.round(grey * 255).astype(np.uint8)
    Image.fromarray(pixels).save(folder / f"{number:05}.jpg", quality=QUALITY)
    return shapes
