"""What the methods share for one network."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property

import torch
from torch import Tensor, nn

from benchmarks.methods.copies import rewritten, untouched_copy
from benchmarks.methods.layer_choice import Layers, choose_layers
from benchmarks.run.errors import UserError
from normgrad_attr import probe_weights, suggest_layers

TrainingFilms = Callable[[], Iterable[tuple[Tensor, Tensor]]]
"""A function that makes batches of images float ``(N, 3, S, S)``, as the network takes them, and labels ``(N,)``."""

BUDGET = 300
"""Forward passes for a film that a method may spend, where nothing else is said."""

REFERENCES = 8
"""Most clean training films that serve as references of a method."""


class Context:
    """What builders share for one network, made when first needed.

    Args:
        network: In eval mode; it is never changed.
        image_size: Side of the square images.
        budget: Forward passes for a film that a method may spend.
        training: Draws the training films for methods that learn from some; None where there are none.
    """

    def __init__(
        self, network: nn.Module, image_size: int, budget: int = BUDGET, training: TrainingFilms | None = None
    ) -> None:
        self.network = network
        self.image_size = image_size
        self.budget = budget
        self._training = training

    @cached_property
    def layers(self) -> Layers:
        """The layers that layer methods look at."""
        return choose_layers(self.network, self.image_size)

    @property
    def layer(self) -> nn.Module:
        """The layer of methods that look at one."""
        return self.network.get_submodule(self.layers.single)

    @cached_property
    def suggested_layers(self) -> list[str]:
        """The layers that :func:`normgrad_attr.suggest_layers` proposes for a film's size."""
        return suggest_layers(self.network, self._blank())

    @cached_property
    def guided_network(self) -> nn.Module:
        """A copy of the network whose ReLU modules do not work in place.

        Guided backpropagation replaces the gradient of ReLU modules through hooks, which an in-place ReLU may break;
        the caller's network keeps its ReLUs as they are.

        Raises:
            UserError: There is no ReLU module, so that nothing would be guided.
        """
        network = untouched_copy(self.network)
        if not any(isinstance(module, nn.ReLU) for module in network.modules()):
            raise UserError("the network has no ReLU module, so guided backpropagation would be the plain gradient")
        return network

    @cached_property
    def frozen_network(self) -> nn.Module:
        """A copy that computes no gradients of weights, for libraries that leave hooks or ``.grad`` behind."""
        return untouched_copy(self.network).requires_grad_(False)

    @cached_property
    def rewritten_network(self) -> nn.Module:
        """The same function, written as DeepLift needs it by ``benchmarks.methods.copies.rewritten``."""
        return rewritten(self.network, self._blank())

    def training_films(self) -> Iterable[tuple[Tensor, Tensor]]:
        """Batches of a bounded number of labelled training films, the same each time.

        Returns:
            Images float ``(N, 3, S, S)``, normalised, and labels long ``(N,)``, batch by batch.

        Raises:
            UserError: There are no training films here.
        """
        if self._training is None:
            raise UserError("the method learns from training films, and there are none here")
        return self._training()

    @cached_property
    def references(self) -> Tensor:
        """Clean training films, float ``(R, 3, S, S)``, that stand for the absence of an object.

        Raises:
            UserError: There are fewer than two.
        """
        clean = torch.cat([images[labels == 0] for images, labels in self.training_films()])[:REFERENCES]
        if len(clean) < 2:
            raise UserError("the method compares with clean training films and needs two at least")
        return clean

    @cached_property
    def probe_weights(self) -> list[float]:
        """Accuracy of a linear probe on each of the combined layers, measured on training films."""
        return probe_weights(self.network, list(self.layers.combined), self.training_films())

    def _blank(self) -> Tensor:
        parameter = next(self.network.parameters())
        size = self.image_size
        return torch.zeros(1, 3, size, size, device=parameter.device, dtype=parameter.dtype)
