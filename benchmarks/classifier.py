"""The classifier: a torchvision network with a 2-way head, trained with Lightning."""

from __future__ import annotations

import math
import pickle
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torchmetrics.functional.classification import binary_accuracy, binary_auroc
from torchvision import models
from torchvision.models.resnet import BasicBlock, ResNet

from benchmarks.augmentation import Augmentation, augment, draw
from benchmarks.calibration import unsure_range
from benchmarks.config import Config
from benchmarks.errors import UserError

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class SlimResNet18(ResNet):  # type: ignore[misc]
    """ResNet-18 with 24 to 192 channels instead of 64 to 512, and torchvision's layer names: a seventh of the work."""

    def __init__(self, num_classes: int = 2) -> None:
        super().__init__(BasicBlock, [2, 2, 2, 2], num_classes=num_classes)
        self.inplanes = 24
        self.conv1 = nn.Conv2d(3, 24, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(24)
        self.layer1 = self._make_layer(BasicBlock, 24, 2)
        self.layer2 = self._make_layer(BasicBlock, 48, 2, stride=2)
        self.layer3 = self._make_layer(BasicBlock, 96, 2, stride=2)
        self.layer4 = self._make_layer(BasicBlock, 192, 2, stride=2)
        self.fc = nn.Linear(192, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def build_network(arch: str, weights: str) -> nn.Module:
    """Build a classifier with two outputs: clean, has a foreign object.

    Args:
        arch: A torchvision classification model by name, or ``slim_resnet18``.
        weights: ``none`` for random numbers (seed torch before), ``imagenet`` for torchvision's default weights, else a
            file with a state dict. A head of another size in it is left out.

    Returns:
        A network for inputs of shape (N, 3, S, S), ImageNet-normalised.

    Raises:
        UserError: Unknown architecture; weights that cannot be had, read or fitted.
    """
    if arch == "slim_resnet18":
        network: nn.Module = SlimResNet18()
        if weights == "imagenet":
            raise UserError("slim_resnet18 has no ImageNet weights: pass --weights none or --weights FILE.")
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


def _imagenet_weights(arch: str) -> dict[str, Tensor]:
    try:
        return dict(models.get_model_weights(arch).DEFAULT.get_state_dict(progress=True, check_hash=True))
    except (OSError, RuntimeError):  # no network; a damaged download
        raise UserError(
            f"The ImageNet weights of {arch} are neither cached nor to be had from the network: pass --weights FILE "
            "with torchvision's state dict, or --weights none to start from random numbers."
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
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"--weights {path}: there is no such file.") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError):
        raise UserError(
            f"--weights {path} is not a file of plain tensors, the only kind that is safe to load."
        ) from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"--weights {path} holds no state dict: save one with torch.save(model.state_dict(), FILE).")
    own = network.state_dict()
    head = list(own)[-1].rpartition(".")[0]
    kept = {
        name: value
        for name, value in state.items()
        if not (name.startswith(head + ".") and value.shape != own[name].shape)
    }
    missing = [name for name in own if name not in kept and not name.startswith(head + ".")]
    wrong = [name for name, value in kept.items() if name not in own or own[name].shape != value.shape]
    if missing or wrong:
        raise UserError(
            f"--weights {path} does not fit the network: {(missing + wrong)[0]!r} is missing or has another shape."
        )
    network.load_state_dict(kept, strict=False)


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


def lr_factor(step: int, steps_per_epoch: int, config: Config) -> float:
    """The learning rate of an optimisation step as a share of the peak.

    The warm-up is linear from 0.001; ``step`` then divides by ten at epoch ``lr_drop``, ``cosine`` falls to zero.
    """
    epoch = step / steps_per_epoch
    warm = min(config.warmup_epochs, config.epochs / 2) * steps_per_epoch
    if step < warm:
        return 0.001 + 0.999 * step / warm
    if config.schedule == "step":
        return 0.1 if epoch >= config.lr_drop else 1.0
    done = (step - warm) / max(1, config.epochs * steps_per_epoch - warm)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


class Classifier(LightningModule):
    """Cross-entropy training with the AUC and accuracy of the dev split after every epoch.

    Args:
        config: The recipe.
        network: The network, as of :func:`build_network`.

    Attributes:
        history: One entry an epoch: ``epoch`` (from 1), ``train_loss``, ``dev_auc``, ``dev_accuracy``, ``unsure`` (see
            :func:`~benchmarks.calibration.unsure_range`, of the dev split), ``seconds``.
        result: ``auc``, ``accuracy``, ``n`` and ``positives`` of the split tested last.
    """

    def __init__(self, config: Config, network: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.network = network.to(memory_format=torch.channels_last)
        self.strength = Augmentation(
            config.brightness, config.contrast, config.rotate, config.translate, config.scale, config.shear
        )
        self.history: list[dict[str, Any]] = []
        self.result: dict[str, float] = {}
        self._unsure = (0.0, 1.0)
        self._losses: list[Tensor] = []
        self._outputs: list[tuple[Tensor, Tensor, Tensor]] = []
        self._started = 0.0

    def forward(self, images: Tensor) -> Tensor:
        """Scores of shape (N, 2) for normalised images of shape (N, 3, S, S)."""
        scores: Tensor = self.network(images)
        return scores

    def on_train_epoch_start(self) -> None:
        """Seed what is random inside a network (dropout) by the epoch, so that a resumed run draws the same numbers."""
        torch.manual_seed((self.config.seed * 1_000_003 + self.current_epoch) * 65_536 + self.global_rank)
        self._started = time.perf_counter()
        self._losses.clear()

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> Tensor:
        """Cross-entropy of one augmented batch."""
        films, labels, indices = batch
        grey = films.float() / 255
        if self.current_epoch < self.config.small_epochs:
            size = self.config.small_size
            grey = F.interpolate(grey, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
        grey = augment(grey, draw(self.config.seed, self.current_epoch, indices), self.strength)
        loss = F.cross_entropy(self(normalise(grey)), labels, label_smoothing=self.config.label_smoothing)
        self._losses.append(loss.detach())
        self.log("loss", loss, prog_bar=True, logger=False)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> None:
        """Keep the scores of a dev batch."""
        self._keep_scores(batch)

    def test_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> None:
        """Keep the scores of a test batch."""
        self._keep_scores(batch)

    def on_validation_epoch_end(self) -> None:
        """AUC and accuracy over the dev films of all devices."""
        scores, labels = self._gathered()
        self.result = _measured(scores, labels)
        self._unsure = unsure_range(scores.cpu().numpy(), labels.cpu().numpy())

    def on_test_epoch_end(self) -> None:
        """AUC and accuracy over the test films of all devices."""
        self.result = _measured(*self._gathered())

    def on_train_epoch_end(self) -> None:
        """Note and print the numbers of the epoch."""
        mean_loss = self._gather(torch.stack(self._losses).mean()).mean()
        entry = {
            "epoch": self.current_epoch + 1,
            "train_loss": float(mean_loss),
            "dev_auc": self.result["auc"],
            "dev_accuracy": self.result["accuracy"],
            "unsure": [round(end, 4) for end in self._unsure],
            "seconds": round(time.perf_counter() - self._started, 1),
        }
        self.history.append(entry)
        self.print(
            f"epoch {entry['epoch']}/{self.config.epochs}: train loss {entry['train_loss']:.3f}, dev AUC "
            f"{entry['dev_auc']:.4f}, dev accuracy {entry['dev_accuracy']:.3f}, {entry['seconds']:.0f} s"
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put the history into the checkpoint."""
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the history from the checkpoint."""
        self.history = list(checkpoint["history"])

    def configure_optimizers(self) -> Any:
        """The optimiser and its schedule, stepped every batch."""
        config = self.config
        if config.optimizer == "sgd":
            optimizer: torch.optim.Optimizer = torch.optim.SGD(
                self.parameters(), lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay
            )
        else:
            optimizer = torch.optim.AdamW(self.parameters(), lr=config.lr, weight_decay=config.weight_decay)
        steps = max(1, int(self.trainer.estimated_stepping_batches) // config.epochs)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: lr_factor(step, steps, config))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _keep_scores(self, batch: tuple[Tensor, Tensor, Tensor]) -> None:
        films, labels, indices = batch
        self._outputs.append((self(normalise(films)).softmax(1)[:, 1], labels, indices))

    def _gather(self, values: Tensor) -> Tensor:
        gathered = self.all_gather(values)
        assert isinstance(gathered, Tensor)
        return gathered

    def _gathered(self) -> tuple[Tensor, Tensor]:
        """Probabilities and labels of the films of all devices, each film once."""
        scores, labels, indices = (
            self._gather(torch.cat(column)).flatten() for column in zip(*self._outputs, strict=True)
        )
        self._outputs.clear()
        # A distributed sampler repeats films until every device has as many: each film counts once.
        by_film = {int(index): position for position, index in enumerate(indices)}
        first = torch.tensor([by_film[index] for index in sorted(by_film)], device=scores.device)
        return scores[first], labels[first].long()


def _measured(scores: Tensor, labels: Tensor) -> dict[str, float]:
    return {
        "auc": float(binary_auroc(scores, labels)),
        "accuracy": float(binary_accuracy(scores, labels)),
        "n": len(labels),
        "positives": int(labels.sum()),
    }
