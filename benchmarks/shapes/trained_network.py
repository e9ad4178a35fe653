"""Trains the network of shapes and keeps it, with pictures that it has not seen, in the user's cache.

It is told which kinds a picture shows, never where. First it sees small pictures of one shape, from which it learns
what the kinds look like, then whole ones.
"""

from __future__ import annotations

import hashlib
import pickle
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.run.files import user_cache, write_json, write_torch
from benchmarks.shapes.coco_set import write_coco
from benchmarks.shapes.draw_picture import SIZE, draw_picture
from benchmarks.shapes.outlines import KINDS
from benchmarks.shapes.shapes_network import build_shapes_network

BATCH = 32


@dataclass(frozen=True)
class Lesson:
    """A part of the training.

    Attributes:
        seed: Of its pictures.
        pictures: Their number.
        epochs: How often each is seen.
        shapes: In each picture; None for one to four.
        size: Side of the pictures.
        rate: Highest learning rate.
    """

    seed: int
    pictures: int
    epochs: int
    shapes: int | None = None
    size: int = SIZE
    rate: float = 5e-3


LESSONS = (Lesson(seed=1, pictures=3000, epochs=8, shapes=1, size=SIZE // 2), Lesson(seed=2, pictures=3000, epochs=4))

TEST_SEED, TEST_PICTURES = 4, 400
"""Of the pictures that the network is judged by, which the training has not seen."""


def shapes_folder() -> Path:
    """Where the network and its pictures are kept, whether they are there or not.

    The name depends on the programs of this folder, so that a changed recipe is never mistaken for an earlier one.
    """
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return user_cache(f"shapes-{digest.hexdigest()[:12]}")


def trained_network(seed: int = 0) -> nn.Sequential:
    """The network of :func:`~benchmarks.shapes.shapes_network.build_shapes_network`, trained, in eval mode.

    The first call trains it, in a minute on two cores, and says so; one that was stopped goes on at its epoch. Later
    calls load ``network_SEED.pt`` from :func:`shapes_folder`.

    Args:
        seed: Of the weights before the training, and of the order and the turns of its pictures.

    Raises:
        UserError: The cache cannot be written.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_shapes_network().to(memory_format=torch.channels_last)
    path = shapes_folder() / f"network_{seed}.pt"
    state = _load(path)
    if state is None:
        print(f"shapes: training a small network first, once for all runs, into {path.parent}", flush=True)
        started, checkpoint = time.perf_counter(), path.with_name(f"training_{seed}.pt")
        fit(network, LESSONS, checkpoint, seed)
        write_json(path.with_suffix(".json"), measure(network))
        write_torch(path, network.state_dict())
        checkpoint.unlink(missing_ok=True)
        print(f"shapes: done in {time.perf_counter() - started:.0f} seconds", flush=True)
    else:
        network.load_state_dict(state)
    return network.eval()


def test_pictures() -> Path:
    """The COCO file ``test.json`` of the test pictures, which are drawn where they are not there yet.

    Its pictures lie in the folder ``test`` beside it.

    Raises:
        UserError: The cache cannot be written.
    """
    path = shapes_folder() / "test.json"
    return path if path.exists() else write_coco(path.parent, "test", seed=TEST_SEED, count=TEST_PICTURES)


def draw_batch(seed: int, count: int, shapes: int | None = None, size: int = SIZE) -> tuple[Tensor, Tensor]:
    """Pictures as the network takes them.

    Args:
        seed: Of the set.
        count: Number of pictures.
        shapes: As in :func:`~benchmarks.shapes.draw_picture.draw_picture`, like the next.
        size: See there.

    Returns:
        Pictures uint8 (count, 3, size, size), to be divided by 255, and labels float (count, K): 1 for kinds that are
        there.
    """
    pictures = [draw_picture(seed, number, shapes, size) for number in range(count)]
    pixels = torch.from_numpy(np.stack([picture.pixels for picture in pictures]))
    labels = torch.tensor([[float(kind in picture.kinds) for kind in KINDS] for picture in pictures])
    return pixels.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last), labels


def fit(
    network: nn.Module, lessons: tuple[Lesson, ...] = LESSONS, checkpoint: Path | None = None, seed: int = 0
) -> None:
    """Train a network on pictures of shapes, mirrored and turned at random.

    Args:
        network: Gives logits (N, K).
        lessons: What it sees, in this order.
        checkpoint: Where the state is kept after each epoch; a training that finds one goes on from there.
        seed: Of the order of the pictures, and how they are turned.

    Raises:
        UserError: The checkpoint cannot be written.
    """
    saved = _load(checkpoint) if checkpoint else None
    reached = (-1, -1)
    if saved is not None:
        network.load_state_dict(saved["network"])
        reached = saved["reached"]
    network.train()
    for number, lesson in enumerate(lessons):
        if (number, lesson.epochs - 1) <= reached:
            continue
        pixels, labels = draw_batch(lesson.seed, lesson.pictures, lesson.shapes, lesson.size)
        optimiser = torch.optim.AdamW(network.parameters(), weight_decay=0.05)
        steps = lesson.epochs * (lesson.pictures // BATCH)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lesson.rate, total_steps=steps)
        if saved is not None and number == reached[0]:
            optimiser.load_state_dict(saved["optimiser"])
            schedule.load_state_dict(saved["schedule"])
        for epoch in range(lesson.epochs):
            if (number, epoch) <= reached:
                continue
            generator = torch.Generator().manual_seed(1000 * seed + epoch)
            order = torch.randperm(lesson.pictures, generator=generator)
            for rows in order[: steps // lesson.epochs * BATCH].view(-1, BATCH):
                turned = _turned(pixels[rows].float() / 255, int(torch.randint(8, (1,), generator=generator)))
                loss = F.binary_cross_entropy_with_logits(network(turned), labels[rows])
                optimiser.zero_grad()
                torch.autograd.backward(loss)
                optimiser.step()
                schedule.step()
            if checkpoint:
                reached = (number, epoch)
                states = {"optimiser": optimiser.state_dict(), "schedule": schedule.state_dict()}
                write_torch(checkpoint, {"reached": reached, "network": network.state_dict(), **states})
    network.eval()


def measure(network: nn.Module) -> dict[str, Any]:
    """How well the network names the kinds on the test pictures.

    Returns:
        Average precision and accuracy (score above 0) of each kind, their means, and the number of pictures.
    """
    from torchmetrics.functional.classification import multilabel_average_precision

    pixels, labels = draw_batch(TEST_SEED, TEST_PICTURES)
    with torch.no_grad():
        scores = torch.cat([network.eval()(some.float() / 255) for some in torch.split(pixels, BATCH)])
    precision = multilabel_average_precision(scores, labels.long(), len(KINDS), average="none").tolist()
    right = ((scores > 0) == (labels > 0)).float().mean(0).tolist()
    return {
        "pictures": len(pixels),
        "mean_average_precision": sum(precision) / len(precision),
        "mean_accuracy": sum(right) / len(right),
        "average_precision": dict(zip(KINDS, precision, strict=True)),
        "accuracy": dict(zip(KINDS, right, strict=True)),
    }


def _turned(pictures: Tensor, way: int) -> Tensor:
    """One of the eight ways to lay a square on itself."""
    turned = pictures.flip([dimension for dimension, bit in ((2, 1), (3, 2)) if way & bit])
    return (turned.transpose(2, 3) if way & 4 else turned).contiguous(memory_format=torch.channels_last)


def _load(path: Path) -> dict[str, Any] | None:
    """What was saved; None where there is nothing, or nothing that can be read."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError):
        return None
    return state
