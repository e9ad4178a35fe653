"""A run directory with films, annotations and an untrained classifier, made in a second."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.classifier.network import build_network
from benchmarks.data.open_run import open_run
from benchmarks.run.config import Config

SIZE = 64
POSITIVES = 5


def make_run(folder: Path, **settings: object) -> Config:
    """Write 5 annotated and 2 clean test films of 90 x 60 pixels, and a small network with random weights."""
    generator = np.random.default_rng(0)
    films = folder / "data" / "test"
    films.mkdir(parents=True)
    rows = ["image_name,annotation"]
    for number in range(POSITIVES + 2):
        film = generator.integers(0, 120, (60, 90), dtype=np.uint8)
        annotation = ""
        if number < POSITIVES:
            left, top = generator.integers(0, 60), generator.integers(0, 40)
            film[top : top + 15, left : left + 20] = 250
            annotation = f"0 {left} {top} {left + 20} {top + 15}"
        Image.fromarray(film).save(films / f"{number:05d}.png")
        rows.append(f"{number:05d}.png,{annotation}")
    for split in ("train", "dev", "test"):
        (folder / "data" / f"{split}.csv").write_text("\n".join(rows) + "\n")
        if split != "test":  # other films, for no film may be in two splits
            (folder / "data" / split).mkdir()
            for film_path in films.iterdir():
                other = np.asarray(Image.open(film_path)) // 2 + (5 if split == "dev" else 0)
                Image.fromarray(other).save(folder / "data" / split / film_path.name)
    config = Config().replace(
        preset="synthetic",
        out=folder / "run",
        data=folder / "data",
        arch="slim_resnet18",
        weights="none",
        image_size=SIZE,
        score_batch_size=2,
        accelerator="cpu",
        quiet=True,
    )
    config = config.replace(**settings)
    torch.manual_seed(0)
    network = build_network(config.arch, "none")
    (config.out / "checkpoints").mkdir(parents=True)
    state = {f"network.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": state}, config.out / "checkpoints" / "best.ckpt")
    (config.out / "classifier.json").write_text(json.dumps({"auc": 0.5, "accuracy": 0.5, "split": "test"}))
    open_run(config)
    return config
