"""Captum's methods that switch features off and on, with superpixels for features.

Single pixels are too many and too small for any budget. Superpixels by SLIC follow the edges of the film, so that an
object, or a part of it, is a feature by itself, which a cell of a plain grid seldom is. They differ from film to film,
so the films of a batch are explained one after the other; a forward holds as many changed films as the batch has.
A superpixel that is off shows grey, zero in the network's normalised input.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from captum._utils.models.linear_model import SkLearnRidge
from captum.attr import FeatureAblation, KernelShap, Lime, ShapleyValueSampling
from skimage.segmentation import slic
from torch import Tensor, nn

from benchmarks.methods.context import Context
from benchmarks.methods.method import Explain, Method

MOST = 64
"""Most superpixels of a film: about an eighth of its side each, as large as the objects."""


def superpixels(image: Tensor, most: int) -> Tensor:
    """Cut a film into superpixels.

    Args:
        image: Float ``(1, 3, H, W)``.
        most: There are never more than this.

    Returns:
        Long ``(1, 1, H, W)`` with numbers from 0, none left out.
    """
    film = image[0].mean(dim=0).double().cpu()
    film = ((film - film.min()) / (film.max() - film.min()).clamp(min=1e-12)).numpy()
    wanted = most
    while True:  # SLIC finds about as many as it is asked for
        labels = slic(film, n_segments=wanted, compactness=0.1, start_label=0, channel_axis=None)
        labels = torch.from_numpy(labels).long()
        numbers, labels = labels.unique(return_inverse=True)
        if len(numbers) <= most or wanted == 1:
            return labels.view(1, 1, *image.shape[-2:]).to(image.device)
        wanted = max(1, min(wanted - 1, wanted * most // len(numbers)))


Options = Callable[[int, int], dict[str, int]]
"""Options of a method from the budget and the number of superpixels."""


def _by_superpixels(make: Callable[[nn.Module], Any], options: Options, context: Context) -> Explain:
    method = make(context.network)
    most = max(2, min(MOST, context.budget // 4))

    def explain(images: Tensor, targets: Tensor) -> Tensor:
        maps = []
        for image, target in zip(images.split(1), targets.split(1), strict=True):
            features = superpixels(image, most)
            count = int(features.max()) + 1
            chosen = options(context.budget, count)
            attribution = method.attribute(
                image, target=target, feature_mask=features, perturbations_per_eval=len(images), **chosen
            )
            maps.append(attribution.mean(dim=1, keepdim=True))
        return torch.cat(maps)

    return explain


def _lime(network: nn.Module) -> Lime:
    # Ridge regression as in the authors' code; Captum's default, a lasso, leaves nothing of small effects.
    return Lime(network, interpretable_model=SkLearnRidge(alpha=1.0))


def _entry(name: str, title: str, make: Any, options: Options, source: str, random: bool = True) -> Method:
    return Method(
        name, title, partial(_by_superpixels, make, options), "perturbation", cost="perturbation",
        source=f"captum.attr.{source}", random=random,
    )  # fmt: skip


METHODS = (
    _entry(
        "feature_ablation", "Feature\nablation", FeatureAblation, lambda budget, count: {}, "FeatureAblation",
        random=False,
    ),
    _entry(
        "shapley_value_sampling", "Shapley value\nsampling", ShapleyValueSampling,
        lambda budget, count: {"n_samples": (budget - 1) // count}, "ShapleyValueSampling",
    ),
    _entry("kernel_shap", "Kernel SHAP", KernelShap, lambda budget, count: {"n_samples": budget}, "KernelShap"),
    _entry("lime", "LIME", _lime, lambda budget, count: {"n_samples": budget}, "Lime"),
)  # fmt: skip
