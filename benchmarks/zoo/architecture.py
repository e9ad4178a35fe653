"""What an entry of the zoo is: how to build a network that gives scores (N, K), and what to feed it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

CLASSES = 5
SAMPLES = 2

#: What pip calls the packages that are imported by another name.
PIP = {
    "open_clip": "open-clip-torch",
    "segmentation_models_pytorch": "segmentation-models-pytorch",
}


@dataclass(frozen=True)
class Architecture:
    """One network of the zoo.

    Attributes:
        package: The package that defines it, as it is imported.
        name: Its name there, or that of its class.
        build: Size of the input -> the network, with random weights; its output is (N, K).
        size: Side of the input, or its length.
        other_size: Another one that the network takes. What changes with the size of the input are locations; what
            stays is the channels. The library is never run at this size.
        kind: What the input is: a key of :data:`INPUTS`.
    """

    package: str
    name: str
    build: Callable[[int], nn.Module]
    size: int
    other_size: int
    kind: str = "image"

    @property
    def key(self) -> str:
        """The entry's name in the table and on the command line."""
        return f"{self.package}/{self.name}"

    @property
    def missing(self) -> str | None:
        """Why the entry cannot be run here, if so."""
        if importlib.util.find_spec(self.package) is None:
            return f"{self.package} is not installed: pip install {PIP.get(self.package, self.package)}"
        return None

    def inputs(self, size: int | None = None) -> Tensor:
        """A batch, the same at every call."""
        return INPUTS[self.kind](size or self.size, torch.Generator().manual_seed(0))

    def axes(self, inputs: Tensor) -> tuple[int, ...]:
        """Spatial dimensions of a batch, time being one of them: those that a map at the input's resolution has."""
        first = 1 if self.kind in _WITHOUT_CHANNELS else 2
        return (1, 3, 4) if self.kind == "frames" else tuple(range(first, inputs.dim()))


def _noise(channels: int, dimensions: int) -> Callable[[int, torch.Generator], Tensor]:
    return lambda size, seed: torch.randn(SAMPLES, channels, *[size] * dimensions, generator=seed)


#: Kinds of input: size -> batch. All spatial dimensions grow with the size, that of time too.
INPUTS: dict[str, Callable[[int, torch.Generator], Tensor]] = {
    "image": _noise(3, 2),
    "film": _noise(1, 2),
    "volume": _noise(1, 3),
    "video": lambda size, seed: torch.randn(SAMPLES, 3, size // 8, size, size, generator=seed),
    "clip": lambda size, seed: torch.randn(SAMPLES, 3, size // 14, size, size, generator=seed),  # large and short
    "frames": lambda size, seed: torch.randn(SAMPLES, size // 8, 3, size, size, generator=seed),
    "spectrogram": lambda size, seed: torch.randn(SAMPLES, size, 32, generator=seed),
    "waveform": lambda size, seed: torch.randn(SAMPLES, size, generator=seed),
    "text": lambda size, seed: torch.randint(4, 90, (SAMPLES, size), generator=seed),
}


_WITHOUT_CHANNELS = ("spectrogram", "waveform", "text")


class Scores(nn.Module):
    """A network whose output is turned into scores (N, K) by a function: what users write in a line of their own."""

    def __init__(self, network: nn.Module, scores: Callable[[Any], Tensor], **arguments: Any) -> None:
        super().__init__()
        self.network = network
        self._scores = scores
        self._arguments = arguments

    def forward(self, inputs: Tensor) -> Tensor:
        """Scores (N, K) of a batch."""
        return self._scores(self.network(inputs, **self._arguments))


def logits(output: Any) -> Tensor:
    """Of transformers' classifiers."""
    return torch.as_tensor(output.logits)


def sum_over_own_pixels(output: Any) -> Tensor:
    """Of a segmentation, (N, K, ...): a class's scores, summed over the pixels that are given to it."""
    if isinstance(output, dict):
        output = output["out"]
    if isinstance(output, (tuple, list)):
        output = output[0]
    kinds = torch.arange(output.shape[1], device=output.device)
    chosen = output.argmax(1, keepdim=True) == kinds.view(1, -1, *[1] * (output.dim() - 2))
    return torch.mul(output, chosen).flatten(2).sum(2)


def sum_over_boxes(detections: list[dict[str, Tensor]]) -> Tensor:
    """Of torchvision's detectors: the scores of a class's boxes, summed."""
    return torch.stack(
        [found["scores"].new_zeros(CLASSES).index_add(0, found["labels"], found["scores"]) for found in detections]
    )
