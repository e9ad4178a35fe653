"""The saliency methods of the benchmark: one table, one entry a method.

To add a method, write a builder (a function that gets a :class:`Context` and returns a function
from images and target classes to maps) and one entry in ``_METHODS``. Nothing else changes.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from captum.attr import GuidedBackprop, GuidedGradCam, InputXGradient, LayerGradCam
from torch import Tensor, nn

from benchmarks.errors import UserError
from benchmarks.layers import Layers, choose_layers
from normgrad_attr import CombinedNormGrad, NormGrad

Explain = Callable[[Tensor, Tensor], Tensor]
"""Images float ``(N, 3, S, S)`` and classes long ``(N,)`` to maps float ``(N, 1, h, w)``, any h and w."""


class Context:
    """What builders share for one network, made when first needed.

    Args:
        network: in eval mode; it is never changed.
        image_size: side of the square images.
    """

    def __init__(self, network: nn.Module, image_size: int) -> None:
        self.network = network
        self.image_size = image_size

    @cached_property
    def layers(self) -> Layers:
        """The layers that layer methods look at."""
        return choose_layers(self.network, self.image_size)

    @cached_property
    def guided_network(self) -> nn.Module:
        """A copy of the network whose ReLU modules do not work in place.

        Guided backpropagation replaces the gradient of ReLU modules through hooks, which an
        in-place ReLU may break; the caller's network keeps its ReLUs as they are.

        Raises:
            UserError: there is no ReLU module, so that nothing would be guided.
        """
        network = copy.deepcopy(self.network)
        rectifiers = [module for module in network.modules() if isinstance(module, nn.ReLU)]
        if not rectifiers:
            raise UserError("the network has no ReLU module, so guided backpropagation would be the plain gradient")
        for module in rectifiers:
            module.inplace = False
        return network


@dataclass(frozen=True)
class Method:
    """One entry of the registry.

    Attributes:
        name: as in ``--methods`` and in the tables.
        title: for figures, short.
        build: makes the function that computes maps; may raise :class:`UserError` with the
            reason when the method cannot run on the network.
        family: ``"baseline"``, ``"cam"``, ``"gradient"`` (input-sized; the protocol ``paper``
            clips these) or ``"normgrad"``.
        reduction: how an attribution becomes one map: ``"signed"`` (one channel, as it is),
            ``"absolute"`` (sum of absolute values over channels), ``"positive"`` (the same of
            the positive part).
        cost: ``"none"``, ``"one_pass"``, ``"many_passes"`` or ``"perturbation"``.
        sets: the named sets it belongs to; everything belongs to ``all``.
    """

    name: str
    title: str
    build: Callable[[Context], Explain]
    family: str
    reduction: str = "signed"
    cost: str = "one_pass"
    sets: frozenset[str] = frozenset({"paper", "fast", "all"})

    @property
    def clipped(self) -> bool:
        """Whether the protocol ``paper`` clips its maps at the 99th percentile."""
        return self.family == "gradient"

    def prepare(self, context: Context) -> Explain:
        """Build the method and put its reduction behind it.

        The returned function never changes its arguments, returns detached maps, and hides
        warnings that are expected here: that Captum sets hooks and ``requires_grad``, and that a
        layer with a constant map is left out of a combination.
        """
        attribute = self.build(context)

        def explain(images: Tensor, targets: Tensor) -> Tensor:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Setting backward hooks on ReLU")
                warnings.filterwarnings("ignore", message="Input Tensor .* did not already require gradients")
                warnings.filterwarnings("ignore", message="The map of layer .* is constant")
                # A new tensor object, so that requires_grad is never left on the caller's.
                return reduce_channels(attribute(images.detach(), targets), self.reduction)

        return explain


def reduce_channels(attribution: Tensor, reduction: str) -> Tensor:
    """Reduce an attribution ``(N, C, h, w)`` to one detached map an image, ``(N, 1, h, w)``."""
    attribution = attribution.detach()
    if reduction == "absolute":
        return attribution.abs().sum(dim=1, keepdim=True)
    if reduction == "positive":
        return attribution.clamp(min=0).sum(dim=1, keepdim=True)
    if reduction == "signed" and attribution.shape[1] == 1:
        return attribution
    raise ValueError(f"cannot reduce an attribution of {attribution.shape[1]} channels with {reduction!r}")


def _center(context: Context) -> Explain:
    def explain(images: Tensor, targets: Tensor) -> Tensor:
        n, _, height, width = images.shape
        y = torch.linspace(-1, 1, height, device=images.device).view(-1, 1)
        x = torch.linspace(-1, 1, width, device=images.device).view(1, -1)
        return (-(x**2) - y**2).expand(n, 1, height, width)

    return explain


def _random(context: Context) -> Explain:
    # Drawn on the CPU, so that every device plays the same points; the caller seeds torch.
    return lambda images, targets: torch.rand(len(images), 1, *images.shape[-2:])


def _grad_cam(context: Context) -> Explain:
    method = LayerGradCam(context.network, context.network.get_submodule(context.layers.single))
    return lambda images, targets: method.attribute(images, targets, relu_attributions=True)


def _guided_grad_cam(context: Context) -> Explain:
    network = context.guided_network
    method = GuidedGradCam(network, network.get_submodule(context.layers.single))
    return lambda images, targets: method.attribute(images, targets, interpolate_mode="bilinear")


def _input_x_gradient(context: Context) -> Explain:
    method = InputXGradient(context.network)
    return lambda images, targets: method.attribute(images, targets)


def _guided_backprop(context: Context) -> Explain:
    method = GuidedBackprop(context.guided_network)
    return lambda images, targets: method.attribute(images, targets)


def _normgrad_single(extract: str, context: Context) -> Explain:
    method = NormGrad(context.network, context.layers.single, extract=extract)
    return lambda images, targets: method.attribute(images, targets)


def _normgrad_combined(extract: str, context: Context) -> Explain:
    # Weights of one: the plain product of min-max maps, as in the paper.
    layers = list(context.layers.combined)
    method = CombinedNormGrad(context.network, layers, extract=extract, combine="product", weights=[1.0] * len(layers))
    return lambda images, targets: method.attribute(images, targets)


_METHODS = (
    Method("center", "Center", _center, "baseline", cost="none"),
    Method("random", "Random", _random, "baseline", cost="none"),
    Method("grad_cam", "Grad-CAM", _grad_cam, "cam"),
    Method("guided_grad_cam", "Guided Grad-CAM", _guided_grad_cam, "gradient", "absolute"),
    Method("input_x_gradient", "Input x Gradient", _input_x_gradient, "gradient", "absolute"),
    Method("guided_backprop", "Guided Backprop.", _guided_backprop, "gradient", "positive"),
    *(
        Method(f"normgrad_{extract}_{scope}", f"NormGrad {extract}\n{scope}", partial(build, extract), "normgrad")
        for extract in ("scaling", "conv1x1", "conv3x3")
        for scope, build in (("single", _normgrad_single), ("combined", _normgrad_combined))
    ),
)

METHODS: dict[str, Method] = {method.name: method for method in _METHODS}
SETS = ("paper", "fast", "all")


def select_methods(wanted: str | Iterable[str]) -> list[Method]:
    """Find methods by set or name, each once, in the order of the registry.

    Args:
        wanted: names and sets, as a sequence or as one string separated by commas.

    Raises:
        UserError: a name is unknown, or there is none.
    """
    names = [name.strip() for name in (wanted.split(",") if isinstance(wanted, str) else wanted)]
    chosen: set[str] = set()
    for name in filter(None, names):
        if name in SETS:
            chosen.update(method.name for method in _METHODS if name in method.sets)
        elif name in METHODS:
            chosen.add(name)
        else:
            known = ", ".join((*SETS, *METHODS))
            raise UserError(f"--methods: there is no method {name!r}; known sets and methods are {known}")
    if not chosen:
        raise UserError(f"--methods is empty: name a set ({', '.join(SETS)}) or methods ({', '.join(METHODS)})")
    return [method for method in _METHODS if method.name in chosen]
