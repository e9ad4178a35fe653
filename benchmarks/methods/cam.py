"""The CAM family by pytorch-grad-cam, at the last block before pooling.

That package scales each map to [0, 1], resizes it and cuts off what is negative. Here its map comes raw, at the layer's
resolution; what is cut off is each entry's reduction. It works on a copy of the network, because it leaves ``.grad``
on parameters, and its hooks are taken off after each batch.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from pytorch_grad_cam import EigenCAM, EigenGradCAM, FullGrad, GradCAMPlusPlus, HiResCAM, LayerCAM, XGradCAM
from pytorch_grad_cam.base_cam import BaseCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from benchmarks.methods.context import Context
from benchmarks.methods.method import FAST, Explain, Method
from benchmarks.run.errors import UserError


class _Raw(BaseCAM):  # type: ignore[misc]
    """Makes a class of pytorch-grad-cam return its map (N, h, w) as it is before scaling."""

    def compute_cam_per_layer(self, input_tensor: Tensor, targets: Any, eigen_smooth: bool) -> Any:
        recorded = self.activations_and_grads
        activations = recorded.activations[0].numpy()
        gradients = recorded.gradients[0].numpy() if self.uses_gradients else None
        return self.get_cam_image(input_tensor, self.target_layers[0], targets, activations, gradients, eigen_smooth)

    def aggregate_multi_layers(self, cam_per_target_layer: Any) -> Any:
        return cam_per_target_layer


class _FullGrad(FullGrad):  # type: ignore[misc]
    """FullGrad with the post-processing of its paper's code.

    pytorch-grad-cam scales every channel to [0, 1] by itself, so that a channel without influence counts as much as
    the strongest, and keeps all channels at the input's size in memory. In the paper's code the channels of a layer
    share one scale.
    """

    def compute_cam_per_layer(self, input_tensor: Tensor, targets: Any, eigen_smooth: bool) -> Any:
        gradients = self.activations_and_grads.gradients
        shapes = [tuple(activation.shape) for activation in self.activations_and_grads.activations]
        channels = [len(bias) for bias in self.bias_data]
        if [tuple(g.shape) for g in gradients] != shapes or [shape[1] for shape in shapes] != channels:
            raise UserError("FullGrad cannot tell which gradient belongs to which bias: layers run out of order")
        assert input_tensor.grad is not None  # the base class has just called backward
        total = _one_scale(input_tensor.grad * input_tensor.detach())
        for bias, gradient in zip(self.bias_data, gradients, strict=True):
            part = _one_scale(torch.from_numpy(bias)[:, None, None] * gradient).to(total)
            total = total + F.interpolate(part, size=total.shape[-2:], mode="bilinear", align_corners=False)
        return total[:, 0].cpu().numpy()

    def aggregate_multi_layers(self, cam_per_target_layer: Any) -> Any:
        return cam_per_target_layer


def _one_scale(contributions: Tensor) -> Tensor:
    """Absolute values of each sample scaled to [0, 1], (N, C, h, w), summed over channels to (N, 1, h, w)."""
    size = contributions.abs()
    low, high = size.amin(dim=(1, 2, 3), keepdim=True), size.amax(dim=(1, 2, 3), keepdim=True)
    span = torch.where(high > low, high - low, torch.ones_like(high))
    return ((size - low) / span).sum(dim=1, keepdim=True)


def _explained(cam: BaseCAM, images: Tensor, targets: Tensor) -> Any:
    """What a class of pytorch-grad-cam computes; afterwards its hooks are gone."""
    try:
        return cam(images.clone().requires_grad_(), [ClassifierOutputTarget(target) for target in targets.tolist()])
    finally:
        cam.activations_and_grads.release()


def _cam(base: type[BaseCAM], context: Context) -> Explain:
    raw = type(base.__name__, (_Raw, base), {})
    name = context.layers.single

    def explain(images: Tensor, targets: Tensor) -> Tensor:
        network = context.frozen_network
        maps = _explained(raw(network, [network.get_submodule(name)]), images, targets)
        return torch.from_numpy(np.asarray(maps, dtype=np.float32))[:, None]

    return explain


def _eigen_cam(base: type[BaseCAM], context: Context) -> Explain:
    """The first principal component, whose sign is arbitrary, turned so that its largest value is positive."""
    explain = _cam(base, context)

    def turned(images: Tensor, targets: Tensor) -> Tensor:
        maps = explain(images, targets)
        low, high = maps.amin(dim=(1, 2, 3), keepdim=True), maps.amax(dim=(1, 2, 3), keepdim=True)
        return torch.where(-low > high, -maps, maps)

    return turned


def _full_grad(context: Context) -> Explain:
    network = context.frozen_network
    biased = (nn.Conv2d, nn.BatchNorm2d)
    if not any(type(module) in biased and module.bias is not None for module in network.modules()):
        raise UserError("FullGrad adds the contributions of biases, and no convolution or batch norm here has any")

    def explain(images: Tensor, targets: Tensor) -> Tensor:
        return torch.from_numpy(np.asarray(_explained(_FullGrad(network, []), images, targets)))[:, None]

    return explain


def _entry(
    name: str, title: str, base: type[BaseCAM], reduction: str, build: Any = _cam, sets: frozenset[str] = FAST
) -> Method:
    source = f"pytorch_grad_cam.{base.__name__}"
    return Method(name, title, partial(build, base), "cam", reduction, sets=sets, source=source)


METHODS = (
    _entry("grad_cam_plus_plus", "Grad-CAM++", GradCAMPlusPlus, "positive"),
    _entry("xgrad_cam", "XGrad-CAM", XGradCAM, "positive"),
    _entry("layer_cam", "LayerCAM", LayerCAM, "positive"),
    _entry("hires_cam", "HiResCAM", HiResCAM, "positive"),
    _entry("eigen_cam", "EigenCAM", EigenCAM, "positive", _eigen_cam),
    _entry("eigen_grad_cam", "EigenGradCAM", EigenGradCAM, "positive", _eigen_cam),
    Method("full_grad", "FullGrad", _full_grad, "cam", sets=FAST, source="pytorch_grad_cam.FullGrad"),
)
