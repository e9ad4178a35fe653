"""Captum's methods that look at one layer: the last block before pooling, as Grad-CAM does."""

from __future__ import annotations

from captum.attr import InternalInfluence, LayerGradCam, LayerGradientXActivation, LayerIntegratedGradients

from benchmarks.methods.context import Context
from benchmarks.methods.gradients import STEPS
from benchmarks.methods.method import FAST, PAPER, Explain, Method


def _grad_cam(context: Context) -> Explain:
    method = LayerGradCam(context.network, context.layer)
    return lambda images, targets: method.attribute(images, targets, relu_attributions=True)


def _gradient_x_activation(context: Context) -> Explain:
    method = LayerGradientXActivation(context.network, context.layer)
    return lambda images, targets: method.attribute(images, targets)


def _internal_influence(context: Context) -> Explain:
    """A stage's first block, the last but one of the combined layers.

    Behind the last block of most networks come average pooling and a linear layer, so the gradient there is the same
    everywhere.
    """
    method = InternalInfluence(context.network, context.network.get_submodule(context.map_layer(-2)))
    steps = min(STEPS, context.budget)
    return lambda images, targets: method.attribute(
        images, target=targets, n_steps=steps, internal_batch_size=len(images)
    )


def _layer_integrated_gradients(context: Context) -> Explain:
    method = LayerIntegratedGradients(context.network, context.layer)
    steps = min(STEPS, context.budget - 2)  # two forwards find the ends of the path
    return lambda images, targets: method.attribute(
        images, target=targets, n_steps=steps, internal_batch_size=len(images)
    )


METHODS = (
    Method("grad_cam", "Grad-CAM", _grad_cam, "cam", sets=PAPER, source="captum.attr.LayerGradCam"),
    Method(
        "layer_gradient_x_activation", "Layer gradient\nx activation", _gradient_x_activation, "cam", sets=FAST,
        source="captum.attr.LayerGradientXActivation",
    ),
    Method(
        "internal_influence", "Internal\ninfluence", _internal_influence, "cam", "absolute", "many_passes",
        source="captum.attr.InternalInfluence",
    ),
    Method(
        "layer_integrated_gradients", "Layer integrated\ngradients", _layer_integrated_gradients, "cam",
        cost="many_passes", source="captum.attr.LayerIntegratedGradients",
    ),
)  # fmt: skip
