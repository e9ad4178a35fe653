"""Films on which a training takes seconds, and the settings for it."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.data.open_run import open_run
from benchmarks.run.config import Config
from benchmarks.run.presets import make_config


def write_films(root: Path) -> Path:
    """Noise with a bright square on every second film."""
    rng = np.random.default_rng(0)
    for split, count in {"train": 24, "dev": 8, "test": 10}.items():
        (root / split).mkdir()
        rows = []
        for number in range(count):
            film = rng.normal(100, 20, (48, 48))
            annotation = ""
            if number % 2:
                film[10:26, 12:28] = 250
                annotation = "0 12 10 28 26"
            name = f"{split}{number}.png"
            Image.fromarray(film.clip(0, 255).astype(np.uint8)).save(root / split / name)
            rows.append((name, annotation))
        with (root / f"{split}.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows([("image_name", "annotation"), *rows])
    return root


def tiny(films: Path, out: Path, **settings: object) -> Config:
    """A run directory with settings for three short epochs, not trained yet."""
    config = make_config(
        "synthetic",
        {"data": films, "out": out, "image_size": 32, "epochs": 3, "batch_size": 8, "quiet": True, **settings},
    )
    open_run(config)
    return config
