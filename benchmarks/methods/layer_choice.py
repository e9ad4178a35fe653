"""Which layers of a classifier the layer methods look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import ResNet

from benchmarks.run.errors import UserError
from normgrad_attr import suggest_layers


@dataclass(frozen=True)
class Layers:
    """Dotted names of layers.

    Attributes:
        single: for methods that look at one layer: the last block before pooling.
        combined: for methods that combine layers, from early to late.
    """

    single: str
    combined: tuple[str, ...]


def choose_layers(network: nn.Module, example: Tensor) -> Layers:
    """Choose as the paper does: in ResNet-34, ``layer4.2`` and ``layer2.0, layer3.0, layer4.0, layer4.2``.

    For torchvision's ResNets by name: the first block of each of the last three resolutions, and the last block. For
    any other network those that :func:`normgrad_attr.suggest_layers` proposes, the last of which is the single one.

    Args:
        network: In eval mode.
        example: An input, ``(N, C, H, W)``.

    Raises:
        UserError: The network has no layer with a spatial map.
    """
    if isinstance(network, ResNet):
        last = f"layer4.{len(network.layer4) - 1}"
        return Layers(last, tuple(dict.fromkeys(("layer2.0", "layer3.0", "layer4.0", last))))
    try:
        names = suggest_layers(network, example)
    except ValueError as error:
        raise UserError(f"no layers are found by themselves ({error})") from None
    return named_layers(network, names)


def named_layers(network: nn.Module, names: Sequence[str]) -> Layers:
    """Layers by their names, from early to late; the last one is that of methods that look at one.

    Raises:
        UserError: The network has no such layer.
    """
    known = [name for name, _ in network.named_modules()]
    for name in names:
        if name not in known:
            near = ", ".join(get_close_matches(name, known)) or "none"
            raise UserError(f"--layers: the network has no layer {name!r}; near it are {near}")
    return Layers(names[-1], tuple(names))


def output_shape(network: nn.Module, name: str, example: Tensor) -> tuple[int, ...]:
    """Shape of what a layer gives; empty where that is no tensor, or where it does not run."""
    shapes: list[tuple[int, ...]] = []

    def note(module: nn.Module, inputs: Any, output: Any) -> None:
        shapes.append(tuple(output.shape) if isinstance(output, Tensor) else ())

    handle = network.get_submodule(name).register_forward_hook(note)
    try:
        with torch.no_grad():
            network(example)
    finally:
        handle.remove()
    return shapes[0] if shapes else ()
