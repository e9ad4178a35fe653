"""Score-CAM and Ablation-CAM: the weight of a channel from what the score does with it or without it.

Both take one forward for each channel of the layer. Where the budget has not enough of them, the channels that vary
most over the film come first, and the others, whose share in the map is small, get no weight. pytorch-grad-cam has
both; its Score-CAM holds the films masked by all channels at once in memory, its Ablation-CAM divides by a score that
may be negative, which turns the map around, and neither has a budget.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.methods.context import Context
from benchmarks.methods.method import Explain, Method
from benchmarks.methods.target_scores import target_scores


def _score_cam(context: Context) -> Explain:
    network, layer = context.network, context.layer

    def explain(images: Tensor, targets: Tensor) -> Tensor:
        activations = layer_output(network, layer, images)
        chosen = most_varied(activations, context.budget - 1)
        scores = []
        for channel in chosen.T:
            masks = _of_channel(activations, channel)
            masks = F.interpolate(masks, size=images.shape[-2:], mode="bilinear", align_corners=True)
            low, high = masks.amin(dim=(2, 3), keepdim=True), masks.amax(dim=(2, 3), keepdim=True)
            scores.append(target_scores(network, images * (masks - low) / (high - low + 1e-8), targets))
        return weighted_sum(activations, chosen, torch.stack(scores, dim=1).softmax(dim=1))

    return explain


def _ablation_cam(context: Context) -> Explain:
    network, layer = context.network, context.layer

    def explain(images: Tensor, targets: Tensor) -> Tensor:
        activations = layer_output(network, layer, images)
        score = target_scores(network, images, targets)
        chosen = most_varied(activations, context.budget - 2)
        rows = torch.arange(len(images), device=images.device)
        drops = []
        for channel in chosen.T:

            def ablate(module: nn.Module, inputs: object, output: Tensor, channel: Tensor = channel) -> Tensor:
                output = output.clone()
                output[rows, channel] = 0
                return output

            handle = layer.register_forward_hook(ablate)
            try:
                drops.append(score - target_scores(network, images, targets))
            finally:
                handle.remove()
        whole = score.abs().where(score != 0, 1.0)  # an output that is always zero drops by nothing
        return weighted_sum(activations, chosen, torch.stack(drops, dim=1) / whole[:, None])

    return explain


def layer_output(network: nn.Module, layer: nn.Module, images: Tensor) -> Tensor:
    """Activation of a layer, (N, C, h, w), from one forward."""
    outputs: list[Tensor] = []
    # Cloned, for what follows may work in place.
    handle = layer.register_forward_hook(lambda module, inputs, output: outputs.append(output.detach().clone()))
    try:
        with torch.no_grad():
            network(images)
    finally:
        handle.remove()
    return outputs[0]


def most_varied(activations: Tensor, most: int) -> Tensor:
    """Channels of each film by the spread of their values, the widest first: long (N, at most ``most``)."""
    flat = activations.flatten(2)
    return (flat.amax(dim=2) - flat.amin(dim=2)).argsort(dim=1, descending=True, stable=True)[:, : max(most, 1)]


def weighted_sum(activations: Tensor, channels: Tensor, weights: Tensor) -> Tensor:
    """Sum of some channels times their weights, (N, 1, h, w)."""
    total = torch.zeros_like(activations[:, :1])
    for channel, weight in zip(channels.T, weights.T, strict=True):
        total += weight.view(-1, 1, 1, 1) * _of_channel(activations, channel)
    return total


def _of_channel(activations: Tensor, channel: Tensor) -> Tensor:
    """One channel of each film, (N, 1, h, w)."""
    return activations[torch.arange(len(channel), device=channel.device), channel][:, None]


METHODS = (
    Method("score_cam", "Score-CAM", _score_cam, "cam", "positive", "perturbation"),
    Method("ablation_cam", "Ablation-CAM", _ablation_cam, "cam", "positive", "perturbation"),
)
