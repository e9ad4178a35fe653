"""What is checked of a layer's maps: at once, or by what is read from the device when all maps are computed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from normgrad_attr._aggregate import is_cancelled
from normgrad_attr._captum import Target
from normgrad_attr._capture import NO_CLASS, Pass, target_error
from normgrad_attr._findings import Findings
from normgrad_attr._layers import Named
from normgrad_attr._layout import Layouts
from normgrad_attr._recorder import Captured
from normgrad_attr._warn import warn


def check_batched(layer: nn.Module, activations: tuple[Tensor, ...], name: object) -> None:
    """Raise for a layer that is given a single sample without the dimension of the batch, which torch allows."""
    if isinstance(layer, nn.modules.conv._ConvNd) and activations[0].dim() == len(layer.kernel_size) + 1:
        raise ValueError(
            f"Layer {name} works on a single sample, of shape {tuple(activations[0].shape)}, without a batch; let the "
            "model give it x.unsqueeze(0), or choose another layer."
        )


def check_samples(
    name: Named, captured: Captured, maps: tuple[Tensor, ...], samples: int | None, graph: Layouts
) -> None:
    """Raise unless there is a map for each sample, or one of what all samples share, such as a table of weights."""
    for activation, edge, t in zip(captured.activations, captured.edges, maps, strict=True):
        if samples is not None and len(t) != samples and (len(activation) > 1 or graph.depends(edge)):
            raise ValueError(
                f"Layer {name} gives {len(t)} maps for a batch of {samples}: its first dimension is not the batch, or "
                "it works on some of the samples or on copies of them; choose another layer."
            )


def note_misfit(findings: Findings, one_pass: Pass, target: Target) -> None:
    """Refuse later a target of which only the device knows whether it is one of the classes."""
    output = one_pass.output  # alone: activations and gradients are not to wait for the end

    def refuse(misfit: list[int]) -> None:
        if any(misfit):
            raise target_error(target, output, NO_CLASS)

    if one_pass.misfit is not None:
        findings.note(one_pass.misfit, refuse)


def note_cancelled(findings: Findings, name: Named, sums: tuple[Tensor, ...], norms: tuple[Tensor, ...]) -> None:
    """Warn later where the summands of a map cancel, so that it shows rounding."""

    def say(cancelled: list[int]) -> None:
        if any(cancelled):
            warn(
                f"Activation x gradient cancels out at layer {name}, so its map shows rounding: what reads this layer, "
                "such as a layer norm, does not depend on its scale; take the output of that norm, or aggregate='norm'."
            )

    findings.note(torch.stack(list(map(is_cancelled, sums, norms))), say)


def note_not_finite(findings: Findings, name: Named, flags: Sequence[Tensor]) -> None:
    """Warn later of values that are not finite: flags, bool without dimensions, say which tensors have some."""

    def say(counts: list[int]) -> None:
        if any(counts):
            warn(
                f"The map of layer {name} has values that are not finite; look for NaN or overflow in the model's "
                "activations and in the target's gradient."
            )

    findings.note(torch.stack(list(flags)), say)
