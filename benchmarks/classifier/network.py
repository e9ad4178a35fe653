"""The networks to train: torchvision's classifiers with a 2-way head, and a slim ResNet-18 for small machines."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.resnet import BasicBlock, ResNet

from benchmarks.models.weights_file import load_state, read_state
from benchmarks.run.directory import checkpoint_paths
from benchmarks.run.errors import UserError

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class SlimResNet18(ResNet):  # type: ignore[misc]
    """ResNet-18 with 24 to 192 channels instead of 64 to 512, and torchvision's layer names: a seventh of the work."""

    def __init__(self) -> None:
        super().__init__(BasicBlock, [2, 2, 2, 2], num_classes=2)
        self.inplanes = 24
        self.conv1 = nn.Conv2d(3, 24, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(24)
        self.layer1 = self._make_layer(BasicBlock, 24, 2)
        self.layer2 = self._make_layer(BasicBlock, 48, 2, stride=2)
        self.layer3 = self._make_layer(BasicBlock, 96, 2, stride=2)
        self.layer4 = self._make_layer(BasicBlock, 192, 2, stride=2)
        self.fc = nn.Linear(192, 2)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def build_network(arch: str, weights: str) -> nn.Module:
    """Build a classifier with two outputs: clean, has a foreign object.

    Args:
        arch: A torchvision classification model by name, or ``slim_resnet18``.
        weights: ``none`` for random numbers (seed torch before), ``imagenet`` for torchvision's default weights, else a
            file with a state dict, or a run directory, whose best checkpoint is taken. A head of another size in it is
            left out.

    Returns:
        A network for inputs of shape (N, 3, S, S), ImageNet-normalised.

    Raises:
        UserError: Unknown architecture; weights that cannot be had, read or fitted.
    """
    if arch == "slim_resnet18":
        network: nn.Module = SlimResNet18()
        if weights == "imagenet":
            raise UserError("slim_resnet18 has no ImageNet weights: pass --weights synthetic, none, or a file.")
    else:
        if arch not in models.list_models(module=models):
            raise UserError(
                f"torchvision has no classifier {arch!r}: --arch takes a name such as resnet18 or resnet34."
            )
        network = models.get_model(arch, weights=None)
        if weights == "imagenet":
            network.load_state_dict(_imagenet_weights(arch))
        _replace_head(network, arch)
    if weights not in ("none", "imagenet"):
        _load_body(network, Path(weights))
    return network


def check_network(network: nn.Module, arch: str, image_size: int) -> None:
    """Try a network on two empty images, in training and in evaluation; it is left as it was.

    Raises:
        UserError: It does not take images of that size, or gives something else than two scores for each.
    """
    trial = copy.deepcopy(network)
    images = torch.zeros(2, 3, image_size, image_size)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        for training in (True, False):
            try:
                output = trial.train(training)(images)
            except Exception as error:  # what a network raises is its own business
                reason = " ".join(str(error).split())
                raise UserError(
                    f"{arch} does not take {image_size} x {image_size} images ({reason}): choose another --image-size "
                    "or --arch."
                ) from None
            if not isinstance(output, Tensor) or output.shape != (2, 2):
                raise UserError(
                    f"{arch} gives more than the scores of the classes when it is trained: choose another --arch."
                )


def _imagenet_weights(arch: str) -> dict[str, Tensor]:
    try:
        return dict(models.get_model_weights(arch).DEFAULT.get_state_dict(progress=True, check_hash=True))
    except (OSError, RuntimeError):  # no network; a damaged download
        raise UserError(
            f"The ImageNet weights of {arch} are neither cached nor to be had from the network: pass --weights FILE "
            "with torchvision's state dict, --arch slim_resnet18 --weights synthetic to start from synthetic films, or "
            "--weights none to start from random numbers."
        ) from None


def _replace_head(network: nn.Module, arch: str) -> None:
    """Put a 2-way layer in the place of the last linear layer, which is the head of every torchvision classifier."""
    linear = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise UserError(f"{arch} has no linear head to replace: choose a network such as resnet34 with --arch.")
    name, old = linear[-1]
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, nn.Linear(old.in_features, 2, bias=old.bias is not None))


def _load_body(network: nn.Module, path: Path) -> None:
    state = read_state(checkpoint_paths(path)[0] if path.is_dir() else path)
    head = list(network.state_dict())[-1].rpartition(".")[0]
    load_state(network, state, path, (f"{head}.",))


def normalise(films: Tensor) -> Tensor:
    """Turn grey films into the input of a torchvision network.

    Args:
        films: uint8 in 0 to 255 or float in [0, 1], shape (N, 1, S, S).

    Returns:
        ImageNet-normalised float32, shape (N, 3, S, S), channels last in memory.
    """
    grey = films.float() / 255 if films.dtype == torch.uint8 else films
    mean = torch.tensor(MEAN, device=grey.device).view(1, 3, 1, 1)
    std = torch.tensor(STD, device=grey.device).view(1, 3, 1, 1)
    return ((grey - mean) / std).contiguous(memory_format=torch.channels_last)


def weights_digest(state: Mapping[str, Tensor]) -> str:
    """Digest of all parameters and buffers of a network, or of a checkpoint's, by their names in the network."""
    digest = hashlib.sha256()
    for name, value in state.items():
        digest.update(name.removeprefix("network.").encode())
        digest.update(value.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()
