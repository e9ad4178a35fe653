"""The CAM family by pytorch-grad-cam, at the last block before pooling.

That package scales each map to [0, 1], resizes it and cuts off what is negative. Here its map comes raw, at the layer's
resolution; what is cut off is each entry's reduction. It works on a copy of the network, because it leaves ``.grad``
on parameters, and its hooks are taken off after each batch. It is imported when one of its methods is built: that takes
longer than to explain a film by another.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.methods.context import Context
from benchmarks.methods.method import FAST, Explain, Method
from benchmarks.run.errors import UserError


class _Raw:
    """Makes a class of pytorch-grad-cam return its map (N, h, w) as it is before scaling."""

    activations_and_grads: Any
    uses_gradients: bool
    target_layers: list[nn.Module]
    get_cam_image: Callable[..., Any]

    def compute_cam_per_layer(self, input_tensor: Tensor, targets: Any, eigen_smooth: bool) -> Any:
        recorded = self.activations_and_grads
        activations = recorded.activations[0].numpy()
        gradients = recorded.gradients[0].numpy() if self.uses_gradients else None
        return self.get_cam_image(input_tensor, self.target_layers[0], targets, activations, gradients, eigen_smooth)

    def aggregate_multi_layers(self, cam_per_target_layer: Any) -> Any:
        return cam_per_target_layer


class _Principal(_Raw):
    """EigenCAM and EigenGradCAM without a decomposition of which all but one vector goes unused."""

    def get_cam_image(
        self, images: Tensor, layer: nn.Module, targets: Any, activations: Any, gradients: Any, eigen_smooth: bool
    ) -> Any:
        return first_component(activations if gradients is None else gradients * activations)


def first_component(values: np.ndarray) -> np.ndarray:
    """Where each sample's places lie along the first principal component of their channels.

    Args:
        values: ``(N, C, h, w)``; a NaN counts as zero.

    Returns:
        float32 ``(N, h, w)``, each sample with one sign or the other.
    """
    cells = torch.from_numpy(np.where(np.isnan(values), 0, values)).double().flatten(2).mT
    cells = cells - cells.mean(dim=1, keepdim=True)
    wide = cells.shape[2] > cells.shape[1]
    products = cells @ cells.mT if wide else cells.mT @ cells  # the fewer of the two
    # By torch: NumPy's and SciPy's take many times as long where they share processors with torch's threads.
    variances, vectors = torch.linalg.eigh(products)
    along = vectors[:, :, -1:]
    projected = variances[:, None, -1:].clamp(min=0).sqrt() * along if wide else cells @ along
    return np.asarray(projected.reshape(len(values), *values.shape[2:]).float())


def _one_scale(contributions: Tensor) -> Tensor:
    """Absolute values of each sample scaled to [0, 1], (N, C, h, w), summed over channels to (N, 1, h, w)."""
    size = contributions.abs()
    low, high = size.amin(dim=(1, 2, 3), keepdim=True), size.amax(dim=(1, 2, 3), keepdim=True)
    span = torch.where(high > low, high - low, torch.ones_like(high))
    return ((size - low) / span).sum(dim=1, keepdim=True)


def _package_class(name: str, changes: type) -> Any:
    """A class of pytorch-grad-cam with some of its methods replaced."""
    import pytorch_grad_cam

    return type(name, (changes, getattr(pytorch_grad_cam, name)), {})


def _explained(cam: Any, images: Tensor, targets: Tensor) -> Any:
    """What a class of pytorch-grad-cam computes; afterwards its hooks are gone."""
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    handle = cam.target_layers[0].register_forward_hook(_begin_gradients, prepend=True)  # the package's see its output
    try:
        return cam(images, [ClassifierOutputTarget(target) for target in targets.tolist()])
    finally:
        handle.remove()
        cam.activations_and_grads.release()


def _begin_gradients(layer: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    """The same output; what led to it gets no gradients, which are most of a backward pass and no CAM looks at."""
    if output.requires_grad:  # the layer runs once more
        return output
    return output.detach().requires_grad_().clone()  # no leaf, on which what follows could not work in place


def _cam(base: str, context: Context, changes: type = _Raw) -> Explain:
    raw = _package_class(base, changes)
    name = context.map_layer()

    def explain(images: Tensor, targets: Tensor) -> Tensor:
        network = context.frozen_network
        maps = _explained(raw(network, [network.get_submodule(name)]), images, targets)
        return torch.from_numpy(np.asarray(maps, dtype=np.float32))[:, None]

    return explain


def _eigen_cam(base: str, context: Context) -> Explain:
    """The first principal component, whose sign is arbitrary, turned so that its largest value is positive."""
    explain = _cam(base, context, _Principal)

    def turned(images: Tensor, targets: Tensor) -> Tensor:
        maps = explain(images, targets)
        low, high = maps.amin(dim=(1, 2, 3), keepdim=True), maps.amax(dim=(1, 2, 3), keepdim=True)
        return torch.where(-low > high, -maps, maps)

    return turned


def _full_grad(context: Context) -> Explain:
    """FullGrad as its paper's code has it: what the input and each bias add, the channels of a layer by one scale.

    pytorch-grad-cam scales every channel by itself, so that one without influence counts as much as the strongest, and
    pairs biases with gradients by the order in which layers are named, which need not be that in which they run.
    """
    network = context.frozen_network
    biased = [module for module in network.modules() if type(module) in (nn.Conv2d, nn.BatchNorm2d)]
    biases = {module: _bias(module)[:, None, None] for module in biased if module.bias is not None}
    if not biases:
        raise UserError("FullGrad adds the contributions of biases, and no convolution or batch norm here has any")

    def explain(images: Tensor, targets: Tensor) -> Tensor:
        images = images.clone().requires_grad_()
        parts: list[Tensor] = []

        def watch(layer: nn.Module, inputs: Any, output: Any) -> None:
            if output.requires_grad:
                output.register_hook(lambda gradient: parts.append(_one_scale(biases[layer] * gradient)))

        handles = [module.register_forward_hook(watch) for module in biases]
        try:
            scores = network(images).gather(1, targets.view(-1, 1)).sum()
        finally:
            for handle in handles:
                handle.remove()
        (gradient,) = torch.autograd.grad(scores, images)
        total = _one_scale(gradient * images.detach())
        for part in reversed(parts):
            total = total + F.interpolate(part, size=total.shape[-2:], mode="bilinear", align_corners=False)
        return total

    return explain


def _bias(layer: Any) -> Any:
    """What a convolution, or a batch norm by its running statistics, adds to each channel, ``(C,)``."""
    if not isinstance(layer, nn.BatchNorm2d):
        return layer.bias
    mean, variance = layer.running_mean, layer.running_var
    if mean is None or variance is None:
        raise UserError("FullGrad needs the running statistics of batch norms, and one here keeps none")
    return -(mean * layer.weight / torch.sqrt(variance + layer.eps)) + layer.bias


def _entry(name: str, title: str, base: str, build: Any = _cam) -> Method:
    source = f"pytorch_grad_cam.{base}"
    return Method(name, title, partial(build, base), "cam", "positive", sets=FAST, source=source)


METHODS = (
    _entry("grad_cam_plus_plus", "Grad-CAM++", "GradCAMPlusPlus"),
    _entry("xgrad_cam", "XGrad-CAM", "XGradCAM"),
    _entry("layer_cam", "LayerCAM", "LayerCAM"),
    _entry("hires_cam", "HiResCAM", "HiResCAM"),
    _entry("eigen_cam", "EigenCAM", "EigenCAM", _eigen_cam),
    _entry("eigen_grad_cam", "EigenGradCAM", "EigenGradCAM", _eigen_cam),
    Method("full_grad", "FullGrad", _full_grad, "cam", sets=FAST),
)
