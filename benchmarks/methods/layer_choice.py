"""Which layers of a classifier the layer methods look at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import ResNet

from benchmarks.run.errors import UserError

_NOT_BLOCKS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Dropout)


@dataclass(frozen=True)
class Layers:
    """Dotted names of layers.

    Attributes:
        single: for methods that look at one layer: the last block before pooling.
        combined: for methods that combine layers: the first block of each of the last three
            resolutions, and the last block.
    """

    single: str
    combined: tuple[str, ...]


def choose_layers(network: nn.Module, image_size: int) -> Layers:
    """Choose as the paper does: in ResNet-34, ``layer4.2`` and ``layer2.0, layer3.0, layer4.0, layer4.2``.

    For ResNets by name. For any other network the blocks, which are the children of nested
    containers with maps of shape ``(N, C, h, w)``, are found by one traced
    forward, and the same rule is applied to their resolutions.

    Raises:
        UserError: the network has no such blocks, as in vision transformers.
    """
    if isinstance(network, ResNet):
        last = f"layer4.{len(network.layer4) - 1}"
        return Layers(last, tuple(dict.fromkeys(("layer2.0", "layer3.0", "layer4.0", last))))
    blocks = _trace_blocks(network, image_size)
    if not blocks:
        raise UserError("the network has no blocks with maps of shape (N, C, h, w), which layer methods need")
    first_at = {size: name for name, size in reversed(blocks.items())}
    smallest = sorted(first_at, key=lambda size: size[0] * size[1])[:3]
    last = list(blocks)[-1]
    return Layers(last, tuple(dict.fromkeys((*(first_at[size] for size in reversed(smallest)), last))))


def _trace_blocks(network: nn.Module, image_size: int) -> dict[str, tuple[int, int]]:
    """Names and map sizes of the blocks that return one map of more than one cell, in the order in which they run."""
    sizes: dict[str, tuple[int, int]] = {}
    handles = []
    for name, block in _blocks(network):

        def note(module: nn.Module, inputs: Any, output: Any, name: str = name) -> None:
            # The images are square, so a map that is not has its channels last (Swin).
            if isinstance(output, Tensor) and output.ndim == 4 and output.shape[-1] == output.shape[-2] > 1:
                sizes[name] = (output.shape[-2], output.shape[-1])

        handles.append(block.register_forward_hook(note))
    try:
        parameter = next(network.parameters())
        with torch.no_grad():
            network(torch.zeros(1, 3, image_size, image_size, device=parameter.device, dtype=parameter.dtype))
    finally:
        for handle in handles:
            handle.remove()
    return sizes


def _blocks(parent: nn.Module, path: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Children of nested containers; a convolution with its norm and ReLU stays one block."""
    for name, child in parent.named_children():
        compound = any(child.children())
        if isinstance(child, nn.ModuleList) or (isinstance(child, nn.Sequential) and (not path or _is_stage(child))):
            yield from _blocks(child, f"{path}{name}.")
        elif compound or (path and not isinstance(child, _NOT_BLOCKS)):
            yield f"{path}{name}", child


def _is_stage(module: nn.Sequential) -> bool:
    return all(any(child.children()) for child in module)
