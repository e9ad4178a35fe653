"""A few labelled training films, for methods that learn from some: probes of layers, references of DeepLiftShap."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from benchmarks.classifier.network import normalise
from benchmarks.data.dataset import FilmDataset
from benchmarks.data.object_cxr import read_split
from benchmarks.data.records import Record, labels_of
from benchmarks.run.config import Config

MOST = 128
"""Most films, half of them of each class."""


def draw_records(records: Sequence[Record], seed: int, most: int = MOST) -> list[Record]:
    """Draw records without replacement, as many of each class as there are, up to half of ``most``."""
    generator = np.random.default_rng(seed)
    labels = labels_of(records)
    drawn: list[int] = []
    for label in (0, 1):
        of_class = np.flatnonzero(labels == label)
        count = min(len(of_class), most // 2)
        drawn += of_class[generator.choice(len(of_class), count, replace=False)].tolist()
    return [records[drawn[i]] for i in generator.permutation(len(drawn))]


def training_films(config: Config, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of training films, drawn by the seed of the run.

    Yields:
        Images float (N, 3, S, S) as the network takes them, on ``device``, and labels long (N,), on the CPU.

    Raises:
        UserError: There is no training split, or a film does not decode.
    """
    records = draw_records(read_split(config.data_root, "train", config.limit), config.seed)
    films = FilmDataset(records, config.image_size, config.cache_dir)
    for start in range(0, len(films), config.scoring.score_batch_size):
        items = [films[i] for i in range(start, min(start + config.scoring.score_batch_size, len(films)))]
        yield normalise(torch.stack([film for film, _, _ in items]).to(device)), torch.tensor([y for _, y, _ in items])
