"""The training of the classifier, with Lightning."""

from __future__ import annotations

import math
import time
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torchmetrics.functional.classification import binary_accuracy, binary_auroc

from benchmarks.classifier.augmentation import augment, draw
from benchmarks.classifier.calibration import unsure_range
from benchmarks.classifier.network import normalise
from benchmarks.classifier.twins import curriculum, draw_twins
from benchmarks.run.config import Config

_BATCHES = 64
"""Batches whose scores are kept as they come: tensors of a few numbers take more memory than their numbers."""
TWINS = 1
"""Tells the chance of drawn objects from that of the augmentation."""


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
        network: The network, as of :func:`benchmarks.classifier.network.build_network`.

    Attributes:
        history: One entry an epoch: ``epoch`` (from 1), ``train_loss``, ``dev_auc``, ``dev_accuracy``, ``unsure`` (see
            :func:`~benchmarks.classifier.calibration.unsure_range`, of the dev split), ``seconds``.
        record: What ``config.json`` says, which a checkpoint can restore.
        best: What a checkpoint keeps of the best one, see :mod:`benchmarks.classifier.checkpoints`.
        result: ``auc``, ``accuracy``, ``n`` and ``positives`` of the split tested last.
    """

    def __init__(self, config: Config, network: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.network = network.to(memory_format=torch.channels_last)
        self.history: list[dict[str, Any]] = []
        self.record: dict[str, Any] = {}
        self.best: dict[str, Any] = {}
        self.result: dict[str, float] = {}
        self._unsure = (0.0, 1.0)
        self._losses = torch.zeros(0)
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
        self._losses = torch.zeros(int(self.trainer.num_training_batches), device=self.device)

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> Tensor:
        """Cross-entropy of one augmented batch."""
        films, labels, indices = batch
        grey = self._with_twins(films, labels, indices).float() / 255
        grey = augment(grey, draw(self.config.seed, self.current_epoch, indices), self.config.augmentation)
        loss = F.cross_entropy(self(normalise(grey)), labels)
        self._losses[batch_idx] = loss.detach()
        self.log("loss", loss, prog_bar=True, logger=False)
        return loss

    def _with_twins(self, films: Tensor, labels: Tensor, indices: Tensor) -> Tensor:
        """The batch, in which some annotated films are replaced by clean ones with drawn objects."""
        strength = self.config.augmentation
        share, contrast = curriculum(
            strength.drawn, strength.drawn_contrast, progress=self.current_epoch / self.config.epochs
        )
        if not share:
            return films
        drawn = draw_twins(
            films[:, 0].cpu().numpy(), labels.cpu().numpy(), indices.cpu().numpy(),
            seed=(self.config.seed, self.current_epoch, TWINS), share=share, contrast=contrast,
        )  # fmt: skip
        return torch.from_numpy(drawn)[:, None].to(films.device)

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
        mean_loss = self._gather(self._losses.mean()).mean()
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
        """Put the history into the checkpoint, and what stands in for files that may be damaged."""
        checkpoint.update(history=self.history, record=self.record)
        if self.best:
            checkpoint["best"] = self.best

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the history from the checkpoint."""
        self.history = list(checkpoint["history"])
        self.best = checkpoint.get("best", {})

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
        self._outputs.append((self(normalise(films)).float().softmax(1)[:, 1], labels, indices))
        if len(self._outputs) == _BATCHES:
            self._outputs = [self._joined()]

    def _joined(self) -> tuple[Tensor, Tensor, Tensor]:
        scores, labels, indices = (torch.cat(column) for column in zip(*self._outputs, strict=True))
        return scores, labels, indices

    def _gather(self, values: Tensor) -> Tensor:
        gathered = self.all_gather(values)
        assert isinstance(gathered, Tensor)
        return gathered

    def _gathered(self) -> tuple[Tensor, Tensor]:
        """Probabilities and labels of the films of all devices, each film once."""
        scores, labels, indices = (self._gather(column).flatten() for column in self._joined())
        self._outputs.clear()
        # A distributed sampler repeats films until every device has as many: each film counts once.
        order = indices.argsort(stable=True)
        once = order[indices[order].diff(append=indices.new_tensor([-1])) != 0]
        return scores[once], labels[once].long()


def _measured(scores: Tensor, labels: Tensor) -> dict[str, float]:
    return {
        "auc": float(binary_auroc(scores, labels)),
        "accuracy": float(binary_accuracy(scores, labels)),
        "n": len(labels),
        "positives": int(labels.sum()),
    }
