"""Copies of a network with weights drawn anew, from the head down.

The sanity check of Adebayo et al. ("Sanity checks for saliency maps", NeurIPS 2018, arXiv 1810.03292): a map that
stays the same when the network forgets what it learnt does not show what it learnt.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def blocks_from_the_top(network: nn.Module, image: Tensor) -> list[str]:
    """Names of the blocks of a network that hold weights, the one that runs last (the head) first.

    A block is the outermost numbered part of a network: ``layer4.2``, ``features.7``,
    ``encoder.layers.encoder_layer_11``; what has no number, such as ``fc``, is a block of its own. Parts that
    do not run in evaluation mode (auxiliary heads) are left out.

    Args:
        network: in eval mode.
        image: a batch that it takes.
    """
    order: list[str] = []
    handles = []
    for name, module in _owners(network).items():

        def note(*_: Any, name: str = name) -> None:
            order.append(name)

        handles.append(module.register_forward_pre_hook(note))
    try:
        with torch.no_grad():
            network(image)
    finally:
        for handle in handles:
            handle.remove()
    return list(dict.fromkeys(_block(network, name) for name in order))[::-1]


def randomised(network: nn.Module, blocks: Sequence[str], seed: int, batches: Iterable[Tensor]) -> nn.Module:
    """A copy of a network in which the weights of some blocks are drawn anew; everything else is as it was.

    Every module draws by its own ``reset_parameters``. A bare parameter, for which torch knows no
    initialisation (class token, position embedding, layer scale), has its entries shuffled.
    Each block is seeded by itself, so the head is the same whatever else is drawn.

    The running statistics of the batch normalisations in these blocks are estimated anew, as the old
    ones belong to features that are gone: with them, or with torch's mean 0 and variance 1, activations fade
    or explode from layer to layer, and the check would be about that.

    Args:
        network: in eval mode; not changed.
        blocks: of :func:`blocks_from_the_top`.
        seed: of the draws.
        batches: images to estimate the statistics from, each a batch of two or more.

    Returns:
        The copy in eval mode, on the same device.
    """
    device = next(network.parameters()).device
    network = copy.deepcopy(network).cpu()  # random numbers of the CPU are the same on every machine
    owners = [(_block(network, name), module) for name, module in _owners(network).items()]
    norms = []
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        for block in blocks:
            torch.manual_seed(int.from_bytes(hashlib.sha256(f"{seed} {block}".encode()).digest()[:7], "little"))
            for module in (module for own, module in owners if own == block):
                _draw(module)
                if isinstance(module, _BatchNorm) and module.track_running_stats:
                    norms.append(module)
    network.to(device)
    _estimate_statistics(network, norms, batches)
    return network


def _owners(network: nn.Module) -> dict[str, nn.Module]:
    """Modules with parameters of their own, by name."""
    return {name: module for name, module in network.named_modules() if any(True for _ in module.parameters(False))}


def _block(network: nn.Module, name: str) -> str:
    parts = name.split(".")
    for depth, part in enumerate(parts, start=1):
        if any(character.isdigit() for character in part):
            # layer4 is a stage of the blocks layer4.0, layer4.1, ...; a numbered convolution is part of its block.
            inner = ".".join(parts[: depth + 1])
            is_stage = depth < len(parts) and parts[depth].isdigit() and any(network.get_submodule(inner).children())
            return inner if is_stage else ".".join(parts[:depth])
    return name or ", ".join(own for own, _ in network.named_parameters(recurse=False))


def _draw(module: nn.Module) -> None:
    # nn.MultiheadAttention is the one module of torch that hides the method.
    reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
    if callable(reset):
        reset()
        return
    for parameter in module.parameters(recurse=False):
        flat = parameter.flatten()
        parameter.copy_(flat[torch.randperm(len(flat))].view_as(parameter))


def _estimate_statistics(network: nn.Module, norms: list[_BatchNorm], batches: Iterable[Tensor]) -> None:
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = None  # the plain mean over batches
        norm.train()
    with torch.no_grad():
        for images in batches:
            network(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
