"""The rows of the table: everything whose cost is measured, each as a function of a batch of images."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import util
from typing import Any

import torch
from captum.attr import LayerGradCam
from torch import Tensor, nn

from benchmarks.speed.subjects import Subject
from normgrad_attr import CombinedNormGrad, NormGrad, explain, suggest_layers
from normgrad_attr.functional import AGGREGATES, EXTRACTS

Call = Callable[[], Any]


@dataclass(frozen=True)
class Contender:
    """One row.

    Attributes:
        title: For tables.
        prepare: (network, subject, images, targets) -> the call that is measured.
        package: To import, if it is not one that the benchmarks need anyway.
        pip: What to install for it.
    """

    title: str
    prepare: Callable[[nn.Module, Subject, Tensor, Tensor], Call]
    package: str | None = None
    pip: str | None = None

    @property
    def missing(self) -> str | None:
        """Why the row cannot be measured here, if so."""
        if self.package is not None and util.find_spec(self.package) is None:
            return f"not installed: pip install {self.pip}"
        return None


def minimal_pass(network: nn.Module, names: Sequence[str], images: Tensor, targets: Tensor | None) -> Call:
    """What nothing can do without: a forward that records from the first layer on, and one ``autograd.grad``.

    Without norms, checks, clones and any care for the model's state: the layers are known to be in their order of
    execution, and to be followed by nothing that works in place. Parameters need no freezing, since gradients are
    asked for the activations only. Without targets, the predicted classes are explained.
    """
    layers = [network.get_submodule(name) for name in names]
    first = layers[0]

    def call() -> tuple[list[Tensor], Sequence[Tensor]]:
        kept: list[Tensor] = []

        def hook(module: nn.Module, _: Any, output: Tensor) -> Tensor:
            if module is first:
                torch.set_grad_enabled(True)
                output = output.detach().requires_grad_()
            kept.append(output)
            return output

        handles = [layer.register_forward_hook(hook) for layer in layers]
        with torch.no_grad():
            scores = network(images)
        for handle in handles:
            handle.remove()
        with torch.enable_grad():
            chosen = scores.argmax(1) if targets is None else targets
            score = scores.gather(1, chosen[:, None]).sum()
        return kept, torch.autograd.grad(score, kept)

    return call


def inference(network: nn.Module, subject: Subject, images: Tensor, targets: Tensor) -> Call:
    """The forward without gradients."""

    def call() -> Tensor:
        with torch.no_grad():
            return torch.as_tensor(network(images))

    return call


def _minimal(network: nn.Module, subject: Subject, images: Tensor, targets: Tensor) -> Call:
    return minimal_pass(network, [subject.last], images, targets)


def _minimal_four(network: nn.Module, subject: Subject, images: Tensor, targets: Tensor) -> Call:
    return minimal_pass(network, subject.four, images, targets)


def _cell(extract: str = "conv1x1", aggregate: str = "norm") -> Callable[[nn.Module, Subject, Tensor, Tensor], Call]:
    def prepare(network: nn.Module, subject: Subject, images: Tensor, targets: Tensor) -> Call:
        layer = subject.weighted if extract == "layer" else subject.last
        channel_dim = None if extract == "layer" else subject.channel_dim
        method = NormGrad(network, layer, extract=extract, aggregate=aggregate, channel_dim=channel_dim)
        return lambda: method.attribute(images, target=targets)

    return prepare


def _grid(network: nn.Module, subject: Subject, images: Tensor, targets: Tensor) -> Call:
    method = NormGrad(network, subject.last, channel_dim=subject.channel_dim)
    return lambda: method.attribute_grid(images, target=targets)


def combined(network: nn.Module, subject: Subject, images: Tensor, targets: Tensor) -> Call:
    """CombinedNormGrad over the subject's four layers."""
    method = CombinedNormGrad(network, subject.four, channel_dim=subject.channel_dim)
    return lambda: method.attribute(images, target=targets)


def _explain(network: nn.Module, subject: Subject, images: Tensor, targets: Tensor) -> Call:
    return lambda: explain(network, images)


def _minimal_explain(network: nn.Module, subject: Subject, images: Tensor, targets: Tensor) -> Call:
    return minimal_pass(network, suggest_layers(network, images[:1]), images, None)


def _captum(network: nn.Module, subject: Subject, images: Tensor, targets: Tensor) -> Call:
    method = LayerGradCam(network, network.get_submodule(subject.last))
    return lambda: method.attribute(images, target=targets)


def captum_each(network: nn.Module, subject: Subject, images: Tensor, targets: Tensor) -> Call:
    """One LayerGradCam after the other for each of the four layers."""
    methods = [LayerGradCam(network, network.get_submodule(name)) for name in subject.four]
    return lambda: [method.attribute(images, target=targets) for method in methods]


def _grad_cam(network: nn.Module, names: Sequence[str], subject: Subject, images: Tensor, targets: Tensor) -> Call:
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    network = copy.deepcopy(network)  # its hooks stay, and would slow the other rows down
    method = GradCAM(
        model=network,
        target_layers=[network.get_submodule(name) for name in names],
        reshape_transform=_tokens_to_map if subject.channel_dim == -1 else None,
    )
    chosen = [ClassifierOutputTarget(int(target)) for target in targets]
    return lambda: method(input_tensor=images, targets=chosen)


def _grad_cam_last(network: nn.Module, subject: Subject, images: Tensor, targets: Tensor) -> Call:
    return _grad_cam(network, [subject.last], subject, images, targets)


def _grad_cam_four(network: nn.Module, subject: Subject, images: Tensor, targets: Tensor) -> Call:
    return _grad_cam(network, subject.four, subject, images, targets)


def _torchcam(network: nn.Module, subject: Subject, images: Tensor, targets: Tensor) -> Call:
    from torchcam.methods import GradCAM

    network = copy.deepcopy(network)
    options: dict[str, Any] = {"reshape_transform": _tokens_to_map} if subject.channel_dim == -1 else {}
    method = GradCAM(network, subject.last, **options)
    chosen = targets.tolist()
    return lambda: method(chosen, network(images))


def _tokens_to_map(tokens: Tensor) -> Tensor:
    """(N, 1 + s * s, C) -> (N, C, s, s), as both packages ask it of the user."""
    side = int((tokens.shape[1] - 1) ** 0.5)
    return tokens[:, 1:].transpose(1, 2).reshape(len(tokens), -1, side, side)


def cell_name(extract: str, aggregate: str) -> str:
    """Key of the row of one cell of the grid."""
    return f"cell_{extract}_{aggregate}"


#: Rows by key, in the order of the table.
CONTENDERS: dict[str, Contender] = {
    "inference": Contender("plain inference (no_grad)", inference),
    "minimal": Contender("hand-written minimal pass, last layer", _minimal),
    "normgrad": Contender("NormGrad, last layer", _cell()),
    "own_weights": Contender('NormGrad, extract="layer"', _cell("layer")),
    "grid": Contender("NormGrad, all cells of the grid in one call", _grid),
    "captum": Contender("Captum LayerGradCam, last layer", _captum),
    "torchcam": Contender("torchcam GradCAM, last layer", _torchcam, "torchcam", "torchcam"),
    "grad_cam": Contender("pytorch-grad-cam GradCAM, last layer", _grad_cam_last, "pytorch_grad_cam", "grad-cam"),
    "minimal_four": Contender("hand-written minimal pass, 4 layers", _minimal_four),
    "combined": Contender("CombinedNormGrad, 4 layers", combined),
    "minimal_explain": Contender("hand-written minimal pass, suggested layers, predicted class", _minimal_explain),
    "explain": Contender("explain, with nothing said", _explain),
    "captum_four": Contender("4 x Captum LayerGradCam", captum_each),
    "grad_cam_four": Contender("pytorch-grad-cam GradCAM, 4 layers", _grad_cam_four, "pytorch_grad_cam", "grad-cam"),
    **{
        cell_name(extract, aggregate): Contender(f"NormGrad, {extract}, {aggregate}", _cell(extract, aggregate))
        for extract in EXTRACTS
        for aggregate in AGGREGATES
    },
}

#: Rows of single cells, which differ in their arithmetic on one activation only.
CELLS = tuple(name for name in CONTENDERS if name.startswith("cell_"))
