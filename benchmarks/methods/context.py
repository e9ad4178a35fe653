"""What the methods share for one network."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property

import torch
from torch import Tensor, nn

from benchmarks.classifier.network import STD
from benchmarks.methods.copies import rewritten, untouched_copy
from benchmarks.methods.layer_choice import Layers, choose_layers, output_shape
from benchmarks.run.choices import Outputs
from benchmarks.run.config import Scoring
from benchmarks.run.errors import UserError
from normgrad_attr import probe_weights, suggest_layers

TrainingFilms = Callable[[], Iterable[tuple[Tensor, Tensor]]]
"""A function that makes batches of images float ``(N, 3, S, S)``, as the network takes them, and labels ``(N,)``."""

BUDGET = Scoring.budget
"""Forward passes for a film that a method may spend, where nothing else is said."""

CONTRAST = 1 / STD[1]
"""Between black and white on films that are normalised as the classifier takes them."""

REFERENCES = 8
"""Most clean training films that serve as references of a method."""


class Context:
    """What builders share for one network, made when first needed.

    Args:
        network: In eval mode; it is never changed.
        image_size: Side of the square images, or their channels, height and width.
        budget: Forward passes for a film that a method may spend.
        training: Draws the training films for methods that learn from some; None where there are none.
        layers: The layers that layer methods look at, where they are not to be found.
        outputs: What makes probabilities of its scores.
        contrast: Between black and white, in units of the network's input.
    """

    def __init__(
        self,
        network: nn.Module,
        image_size: int | tuple[int, int, int],
        budget: int = BUDGET,
        training: TrainingFilms | None = None,
        *,
        layers: Layers | None = None,
        outputs: Outputs = "softmax",
        contrast: float = CONTRAST,
    ) -> None:
        self.network = network
        self.image_shape = (3, image_size, image_size) if isinstance(image_size, int) else image_size
        self.budget = budget
        self.outputs = outputs
        self.contrast = contrast
        self._training = training
        self._layers = layers
        self._shapes: dict[str, tuple[int, ...]] = {}

    @property
    def image_size(self) -> int:
        """The longer side of the images."""
        return max(self.image_shape[1:])

    @cached_property
    def layers(self) -> Layers:
        """The layers that layer methods look at."""
        return self._layers or choose_layers(self.network, self.noise())

    @property
    def layer(self) -> nn.Module:
        """The layer of methods that look at one, a map of channels."""
        return self.network.get_submodule(self.map_layer())

    def map_layer(self, place: int = -1) -> str:
        """Name of one of the layers, the last by default, for methods that take its dimension 1 for the channels.

        Args:
            place: Of the layer among those that are combined, from the end.

        Returns:
            Its dotted name.

        Raises:
            UserError: Its output is something else: tokens, or a map with the channels behind.
        """
        layers = self.layers
        name = layers.single if place == -1 else layers.combined[max(place, -len(layers.combined))]
        if name not in self._shapes:
            self._shapes[name] = output_shape(self.network, name, self.noise())
        shape, (height, width) = self._shapes[name], self.image_shape[1:]
        if len(shape) != 4 or abs(shape[2] * width - shape[3] * height) > max(height, width) or shape[2:] == (1, 1):
            raise UserError(f"the method needs maps (N, C, h, w), and the layer {name} gives {shape}")
        return name

    @cached_property
    def suggested_layers(self) -> list[str]:
        """The layers that :func:`normgrad_attr.suggest_layers` proposes for a film's size."""
        return suggest_layers(self.network, self.noise())

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
        return rewritten(self.network, self.noise(1))

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

    def noise(self, count: int = 2) -> Tensor:
        """The same noise each time, as the network takes it: an example on which no map is constant by chance.

        Args:
            count: Images.

        Returns:
            ``(N, C, H, W)`` of ``count`` images, in the dtype of the weights and where they are.
        """
        parameter = next(self.network.parameters(), torch.zeros((), device="cpu"))
        generator = torch.Generator("cpu").manual_seed(0)
        return torch.randn(count, *self.image_shape, generator=generator, device="cpu").to(parameter)
