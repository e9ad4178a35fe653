"""Captum's methods that switch features off and on, with superpixels for features.

Single pixels are too many and too small for any budget. Superpixels by SLIC follow the edges of the film, so that an
object, or a part of it, is a feature by itself, which a cell of a plain grid seldom is. They differ from film to film,
so the films of a batch are explained one after the other; a forward holds as many changed films as the batch has.
A superpixel that is off shows grey, zero in the network's normalised input.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from captum._utils.models.linear_model import SkLearnRidge
from captum.attr import FeatureAblation, KernelShap, Lime, ShapleyValueSampling
from torch import Tensor

from benchmarks.methods.context import Context
from benchmarks.methods.method import Explain, Method

MOST_SAMPLED = 64
"""Most superpixels of methods that need several samples for each: about an eighth of the side, as large as objects."""
MOST_ABLATED = 256
"""Most superpixels of feature ablation, which takes one forward for each."""


def superpixels(image: Tensor, most: int) -> Tensor:
    """Cut a film into superpixels.

    Args:
        image: Float ``(1, 3, H, W)``.
        most: There are never more than this.

    Returns:
        Long ``(1, 1, H, W)`` with numbers from 0, none left out. A plain grid where SLIC finds less than half of
        what it is asked for, as on noise.
    """
    from skimage.segmentation import slic  # late: `explain` starts without it

    height, width = image.shape[-2:]
    grey = image[0].mean(dim=0).double().cpu()
    film = ((grey - grey.min()) / (grey.max() - grey.min()).clamp(min=1e-12)).numpy()
    wanted = most
    while True:  # SLIC finds about as many as it is asked for
        segments = slic(film, n_segments=wanted, compactness=0.1, start_label=0, channel_axis=None)
        numbers, numbered = torch.unique(torch.from_numpy(segments), return_inverse=True)
        if len(numbers) <= most:
            break
        wanted = min(wanted - 1, wanted * most // len(numbers))
    if len(numbers) < max(2, most // 2):
        numbered = plain_grid(height, width, most)
    labels: Tensor = numbered.long().view(1, 1, height, width)
    return labels.to(image.device)


def plain_grid(height: int, width: int, most: int) -> Tensor:
    """Cells of a grid, at most ``most`` of them, numbered by rows: long ``(height, width)``."""
    rows = math.isqrt(most)
    columns = most // rows
    down = torch.arange(height, device="cpu") * rows // height
    right = torch.arange(width, device="cpu") * columns // width
    return down[:, None] * columns + right


def _feature_ablation(context: Context) -> Explain:
    method = FeatureAblation(context.network)
    most = min(MOST_ABLATED, context.budget - 1)
    return _film_by_film(method.attribute, most)


def _shapley_value_sampling(context: Context) -> Explain:
    def attribute(image: Tensor, *, target: Tensor, feature_mask: Tensor, perturbations_per_eval: int) -> Tensor:
        # Of superpixels that are shown, not of pixels: Captum walks through its input in Python at each permutation.
        method = ShapleyValueSampling(lambda shown: context.network(image * shown[:, feature_mask[0]]))
        count = int(feature_mask.max()) + 1
        contributions: Tensor = method.attribute(
            image.new_ones(1, count), target=target, n_samples=(context.budget - 1) // count,
            perturbations_per_eval=perturbations_per_eval,
        )  # fmt: skip
        return contributions[:, feature_mask[0]].expand_as(image)

    return _film_by_film(attribute, _sampled(context))


def _kernel_shap(context: Context) -> Explain:
    method = KernelShap(context.network)
    return _film_by_film(partial(method.attribute, n_samples=context.budget), _sampled(context))


def _lime(context: Context) -> Explain:
    # Ridge regression as in the authors' code; Captum's default, a lasso, leaves nothing of small effects.
    method = Lime(context.network, interpretable_model=SkLearnRidge(alpha=1.0))
    return _film_by_film(partial(method.attribute, n_samples=context.budget), _sampled(context))


def _sampled(context: Context) -> int:
    return min(MOST_SAMPLED, context.budget // 4)


def _film_by_film(attribute: Callable[..., Tensor], most: int) -> Explain:
    def explain(images: Tensor, targets: Tensor) -> Tensor:
        maps = []
        for image, target in zip(torch.split(images, 1), torch.split(targets, 1), strict=True):
            features = superpixels(image, most)
            attribution = attribute(image, target=target, feature_mask=features, perturbations_per_eval=len(images))
            maps.append(attribution.mean(dim=1, keepdim=True))
        return torch.cat(maps)

    return explain


def _entry(name: str, title: str, build: Callable[[Context], Explain], source: str, random: bool = True) -> Method:
    return Method(
        name, title, build, "perturbation", cost="perturbation", source=f"captum.attr.{source}", random=random,
        needs=("scikit-image", "scikit-learn"),
    )  # fmt: skip


METHODS = (
    _entry("feature_ablation", "Feature\nablation", _feature_ablation, "FeatureAblation", random=False),
    _entry("shapley_value_sampling", "Shapley value\nsampling", _shapley_value_sampling, "ShapleyValueSampling"),
    _entry("kernel_shap", "Kernel SHAP", _kernel_shap, "KernelShap"),
    _entry("lime", "LIME", _lime, "Lime"),
)
