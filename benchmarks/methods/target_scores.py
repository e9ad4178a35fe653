"""Scores of the target class for changed films, without gradients."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.run.choices import Outputs


@torch.no_grad()
def target_scores(network: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """Logits of the target classes, float ``(N,)``."""
    scores: Tensor = network(images).gather(1, targets.view(-1, 1))[:, 0]
    return scores


@torch.no_grad()
def target_probabilities(network: nn.Module, images: Tensor, targets: Tensor, outputs: Outputs) -> Tensor:
    """Probabilities of the target classes, float ``(N,)``."""
    return probabilities(network(images), outputs).gather(1, targets.view(-1, 1))[:, 0]


def probabilities(logits: Tensor, outputs: Outputs) -> Tensor:
    """Probabilities of the classes, one an image (``"softmax"``) or several (``"sigmoid"``), ``(N, K)``."""
    return logits.sigmoid() if outputs == "sigmoid" else logits.softmax(dim=1)
