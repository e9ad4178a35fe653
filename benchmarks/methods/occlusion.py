"""Occlusion: what the score loses under a grey window that slides over the film."""

from __future__ import annotations

import math

from captum.attr import Occlusion

from benchmarks.methods.context import Context
from benchmarks.methods.method import Explain, Method


def window(image_size: int, budget: int) -> tuple[int, int]:
    """Side and stride of the window in pixels, for as many positions as the budget allows beside the whole film.

    The side is twice the stride, so that windows overlap by half.
    """
    positions = math.isqrt(budget - 1)
    stride = math.ceil(image_size / (positions + 1))
    return min(2 * stride, image_size), stride


def _occlusion(context: Context) -> Explain:
    method = Occlusion(context.network)
    side, stride = window(context.image_size, context.budget)
    channels = context.image_shape[0]
    return lambda images, targets: method.attribute(
        images, target=targets, sliding_window_shapes=(channels, side, side), strides=(channels, stride, stride)
    )


METHODS = (
    Method("occlusion", "Occlusion", _occlusion, "perturbation", cost="perturbation", source="captum.attr.Occlusion"),
)
