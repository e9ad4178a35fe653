"""Captum's methods that end in a map of the input's size: gradients, DeepLift, LRP, and their averages.

Where a method compares with a reference, that is zero in the network's normalised input, a grey film, unless clean
training films are asked for. No forward holds more films than the batch it was given (DeepLift: twice as many; with
several references: as many as those), so that halving the batch halves the memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from captum.attr import (
    LRP,
    Deconvolution,
    DeepLift,
    DeepLiftShap,
    GradientShap,
    GuidedBackprop,
    GuidedGradCam,
    InputXGradient,
    IntegratedGradients,
    Saliency,
)
from torch import Tensor, nn

from benchmarks.methods.chain import check_chain
from benchmarks.methods.context import REFERENCES, Context
from benchmarks.methods.method import FAST, PAPER, Explain, Method
from benchmarks.run.errors import UserError

STEPS = 32
"""Most gradients on a path from the reference to the film, by Gauss-Legendre quadrature."""

SUMS_TO_DIFFERENCE = 0.05
"""Largest part of a difference of scores that DeepLift's contributions may miss or exceed."""


def _saliency(context: Context) -> Explain:
    method = Saliency(context.network)
    return lambda images, targets: method.attribute(images, targets, abs=False)


def _input_x_gradient(context: Context) -> Explain:
    method = InputXGradient(context.network)
    return lambda images, targets: method.attribute(images, targets)


def _guided_backprop(context: Context) -> Explain:
    method = GuidedBackprop(context.guided_network)
    return lambda images, targets: method.attribute(images, targets)


def _deconvolution(context: Context) -> Explain:
    method = Deconvolution(context.guided_network)
    return lambda images, targets: method.attribute(images, targets)


def _guided_grad_cam(context: Context) -> Explain:
    network = context.guided_network
    method = GuidedGradCam(network, network.get_submodule(context.map_layer()))
    return lambda images, targets: method.attribute(images, targets, interpolate_mode="bilinear")


def _integrated_gradients(context: Context) -> Explain:
    method = IntegratedGradients(context.network)
    steps = min(STEPS, context.budget)
    return lambda images, targets: method.attribute(
        images, target=targets, n_steps=steps, internal_batch_size=len(images)
    )


def _lrp(context: Context) -> Explain:
    check_chain(context.network)
    network = context.frozen_network
    return lambda images, targets: LRP(network).attribute(images, targets)


def _deep_lift(context: Context) -> Explain:
    method = DeepLift(_checked_for_deep_lift(context))
    return lambda images, targets: method.attribute(images, target=targets)


def _deep_lift_shap(context: Context) -> Explain:
    method = DeepLiftShap(_checked_for_deep_lift(context))
    references = context.references[: min(REFERENCES, context.budget // 2)]

    def explain(images: Tensor, targets: Tensor) -> Tensor:
        pairs = zip(torch.split(images, 1), torch.split(targets, 1), strict=True)
        return torch.cat([method.attribute(image, references, target=target) for image, target in pairs])

    return explain


def _gradient_shap(context: Context) -> Explain:
    method = GradientShap(context.network)
    references = context.references
    samples = min(STEPS, context.budget)

    def explain(images: Tensor, targets: Tensor) -> Tensor:
        total = torch.zeros_like(images)
        with _numpy_follows_torch():
            for _ in range(samples):
                total += method.attribute(images, references, n_samples=1, target=targets).detach()
        return total / samples

    return explain


def _checked_for_deep_lift(context: Context) -> nn.Module:
    """The rewritten network, if DeepLift's contributions add up on it.

    Contributions sum to the difference between the film's score and the reference's: the definition. They do not where
    a network has activations that are no modules, or of a kind without a rule, which DeepLift passes over in silence.

    Raises:
        UserError: They do not.
    """
    network = context.rewritten_network
    films = context.noise()
    with torch.no_grad():
        difference = (network(films) - network(torch.zeros_like(films)))[:, 0]
    contributions = DeepLift(network).attribute(films, target=0).detach().flatten(1).sum(dim=1)
    missed = float((contributions - difference).abs().sum() / difference.abs().sum())
    if not missed <= SUMS_TO_DIFFERENCE:
        raise UserError(
            f"DeepLift's contributions miss the difference of scores that they should sum to by {missed:.0%}: the "
            "network has activations that are no modules, or of a kind that Captum has no rule for"
        )
    return network


@contextmanager
def _numpy_follows_torch() -> Iterator[None]:
    """Seed NumPy's global generator, which GradientShap draws from, by torch's; it is put back afterwards."""
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(int(torch.randint(2**31, (), device="cpu")))  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


def _captum(
    name: str, title: str, build: Any, reduction: str, cost: str, sets: frozenset[str], source: str, version: int = 1
) -> Method:
    return Method(name, title, build, "gradient", reduction, cost, sets, f"captum.attr.{source}", version=version)


_SHAP = partial(Method, family="gradient", reduction="absolute", cost="many_passes")

METHODS = (
    _captum("guided_grad_cam", "Guided Grad-CAM", _guided_grad_cam, "absolute", "one_pass", PAPER, "GuidedGradCam"),
    _captum("input_x_gradient", "Input x Gradient", _input_x_gradient, "absolute", "one_pass", PAPER, "InputXGradient"),
    _captum("guided_backprop", "Guided Backprop", _guided_backprop, "positive", "one_pass", PAPER, "GuidedBackprop"),
    _captum("saliency", "Saliency", _saliency, "absolute", "one_pass", FAST, "Saliency"),
    _captum("deconvolution", "Deconvolution", _deconvolution, "positive", "one_pass", FAST, "Deconvolution"),
    _captum("deep_lift", "DeepLift", _deep_lift, "absolute", "one_pass", FAST, "DeepLift", 2),
    _captum("lrp", "LRP", _lrp, "signed", "one_pass", FAST, "LRP"),
    _captum(
        "integrated_gradients", "Integrated\ngradients", _integrated_gradients, "absolute", "many_passes",
        frozenset({"all"}), "IntegratedGradients",
    ),
    _SHAP("deep_lift_shap", "DeepLiftShap", _deep_lift_shap, source="captum.attr.DeepLiftShap", version=2),
    _SHAP("gradient_shap", "GradientShap", _gradient_shap, source="captum.attr.GradientShap", random=True),
)  # fmt: skip
