"""Scores of the target class for changed films, without gradients."""

from __future__ import annotations

import torch
from torch import Tensor, nn


@torch.no_grad()
def target_scores(network: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """Logits of the target classes, float ``(N,)``."""
    scores: Tensor = network(images).gather(1, targets.view(-1, 1))[:, 0]
    return scores


@torch.no_grad()
def target_probabilities(network: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """Probabilities of the target classes, float ``(N,)``."""
    probabilities: Tensor = network(images).softmax(dim=1).gather(1, targets.view(-1, 1))[:, 0]
    return probabilities
