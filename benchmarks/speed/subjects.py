"""The networks whose attributions are timed, and the layers that are asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torchvision
from torch import Tensor, nn

from benchmarks.run.errors import UserError

_RESNET_EARLY = ("layer2.0", "layer3.0", "layer4.0")
_VIT = "encoder.layers.encoder_layer_"


@dataclass(frozen=True)
class Subject:
    """A network and its layers, by dotted name.

    Attributes:
        build: Makes the network, with random weights.
        last: For one layer: the last block before pooling.
        four: For several layers: the paper's choice in a ResNet, equally spread elsewhere.
        weighted: A late layer with weights of its own, for ``extract="layer"``.
        channel_dim: As in :class:`normgrad_attr.NormGrad`; -1 for tokens.
        classes: Number of outputs.
        fixed_size: The only image size that the network takes, if there is one.
        blocks: From the first to the last, for the cost against the number of layers; ``four`` if not given.
    """

    build: Callable[[], nn.Module]
    last: str
    four: tuple[str, ...]
    weighted: str
    channel_dim: int | None = None
    classes: int = 1000
    fixed_size: int | None = None
    blocks: tuple[str, ...] = ()


def _torchvision(name: str) -> Callable[[], nn.Module]:
    return lambda: torchvision.models.get_model(name, weights=None)


def _vit_b_16() -> nn.Module:
    """With a head drawn at random: torchvision's is zero before training, and so would be every gradient."""
    network = _torchvision("vit_b_16")()
    nn.init.normal_(network.get_parameter("heads.head.weight"), std=0.02)
    return network


def _tiny() -> nn.Module:
    """Few enough operations that a thousand attributions take seconds; for the search for leaks, and for tests."""
    layers = [nn.Sequential(nn.Conv2d(c, 8, 3, padding=1), nn.ReLU(inplace=True)) for c in (3, 8, 8, 8)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))


SUBJECTS: dict[str, Subject] = {
    "resnet18": Subject(
        _torchvision("resnet18"),
        "layer4.1",
        (*_RESNET_EARLY, "layer4.1"),
        "layer4.1.conv2",
        blocks=tuple(f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1)),
    ),
    "resnet34": Subject(_torchvision("resnet34"), "layer4.2", (*_RESNET_EARLY, "layer4.2"), "layer4.2.conv2"),
    "resnet50": Subject(_torchvision("resnet50"), "layer4.2", (*_RESNET_EARLY, "layer4.2"), "layer4.2.conv3"),
    "efficientnet_b0": Subject(
        _torchvision("efficientnet_b0"),
        "features.8",
        ("features.3", "features.4", "features.6", "features.8"),
        "features.8.0",
    ),
    # Behind the last block only the class token has a gradient, so the last layer is the norm at its entrance.
    "vit_b_16": Subject(
        _vit_b_16,
        f"{_VIT}11.ln_1",
        (f"{_VIT}2", f"{_VIT}5", f"{_VIT}8", f"{_VIT}11.ln_1"),
        f"{_VIT}11.ln_1",
        channel_dim=-1,
        fixed_size=224,
    ),
    "convnext_tiny": Subject(
        _torchvision("convnext_tiny"),
        "features.7.2",
        ("features.1.2", "features.3.2", "features.5.8", "features.7.2"),
        "features.7.2.block.0",
    ),
    # Behind the last block comes a norm and then a mean over all places, so the last layer lies before that norm.
    "swin_t": Subject(
        _torchvision("swin_t"),
        "features.7.1",
        ("features.1.1", "features.3.1", "features.5.5", "features.7.1"),
        "features.7.1.norm1",
        channel_dim=-1,
    ),
    "tiny": Subject(_tiny, "3", ("0", "1", "2", "3"), "3.0", classes=2),
}


def subject(name: str) -> Subject:
    """Look a network up.

    Raises:
        UserError: No such network.
    """
    if name not in SUBJECTS:
        raise UserError(f"there is no network {name!r}: choose from {', '.join(SUBJECTS)}")
    return SUBJECTS[name]


def check_size(name: str, size: int) -> None:
    """Refuse a network that is unknown, or does not take images of such a size."""
    fixed = subject(name).fixed_size
    if fixed not in (None, size):
        raise UserError(f"{name} takes images of {fixed} pixels only, not {size}: leave it out of --networks")


def make_case(name: str, batch: int, size: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A network in eval mode, (N, 3, S, S) standard normal images, and a target class for each of them.

    Raises:
        UserError: Unknown network, or one that does not take images of this size.
    """
    check_size(name, size)
    chosen = subject(name)
    torch.manual_seed(0)
    network = chosen.build().eval()
    return network, torch.randn(batch, 3, size, size), torch.arange(batch) % chosen.classes
