"""SmoothGrad and its kin: other methods averaged over noisy copies of the film, by Captum's NoiseTunnel.

Mean, mean square and variance come from the same copies, and so do methods that multiply one gradient by this or that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch.nn.functional as F
from captum.attr import (
    Attribution,
    GradientAttribution,
    GuidedBackprop,
    LayerGradCam,
    NoiseTunnel,
    Saliency,
)
from captum.log import log_usage
from torch import Tensor

from benchmarks.methods.context import Context
from benchmarks.methods.method import Explain, Method
from benchmarks.methods.normgrad import combined
from benchmarks.methods.shared_pass import Shareable

COPIES = 24
"""Most noisy copies of a film."""

DEVIATION = 0.15
"""Standard deviation of the noise, as a share of the range from black to white."""

KINDS = {"smoothgrad": "SmoothGrad", "smoothgrad_sq": "SmoothGrad²", "vargrad": "VarGrad"}

_SHARED: dict[str, tuple[int, Callable[[Context], Attribution], dict[str, object]]] = {
    "saliency": (1, lambda context: Saliency(context.network), {"abs": False}),
    "guided_backprop": (2, lambda context: GuidedBackprop(context.guided_network), {}),
    "normgrad_conv1x1_combined": (1, lambda context: combined(context, "conv1x1"), {}),
}
"""What is computed of each copy, by name: forwards of the dearest method that needs it, what makes it, and options of
its ``attribute``."""


def _film(context: Context) -> Explain:
    return lambda images, targets: images


def _grad_cam(context: Context) -> Explain:
    network = context.guided_network
    method = LayerGradCam(network, network.get_submodule(context.map_layer()))

    def stretched(images: Tensor, targets: Tensor) -> Tensor:
        maps = method.attribute(images, targets, relu_attributions=True)
        return F.interpolate(maps, images.shape[2:], mode="bilinear")

    return stretched


_BASES: dict[str, tuple[str, str, str, Callable[[Context], Explain] | None]] = {
    "saliency": ("Saliency", "gradient", "saliency", None),
    "input_x_gradient": ("Input x Gradient", "gradient", "saliency", _film),
    "guided_backprop": ("Guided Backprop", "gradient", "guided_backprop", None),
    "guided_grad_cam": ("Guided Grad-CAM", "gradient", "guided_backprop", _grad_cam),
    "normgrad_conv1x1_combined": ("NormGrad conv1x1", "normgrad", "normgrad_conv1x1_combined", None),
}
"""By name: title, family, what is computed of each copy, and what makes the factor that this is multiplied by."""


def _noisy(base: str, kind: str, context: Context) -> Shareable:
    _, _, shared, factor = _BASES[base]
    forwards, make, options = _SHARED[shared]
    attribute = partial(make(context).attribute, **options)
    copies, deviation = min(COPIES, context.budget // forwards), DEVIATION * context.contrast

    def together(parts: Sequence[tuple[str, Explain | None, str]], images: Tensor, targets: Tensor) -> list[Tensor]:
        factors = {base: factor for base, factor, _ in parts}
        method = NoiseTunnel(_WithSquares(context, attribute, list(factors.values())))
        found = method.attribute(images, nt_samples=copies, nt_samples_batch_size=1, stdevs=deviation, target=targets)
        moments = {base: found[2 * place : 2 * place + 2] for place, base in enumerate(factors)}
        return [_of_kind(kind, *moments[base]) for base, _, kind in parts]

    return Shareable(f"noise, {shared}", (base, factor and factor(context), kind), together)


def _of_kind(kind: str, mean: Tensor, squared: Tensor) -> Tensor:
    return {"smoothgrad": mean, "smoothgrad_sq": squared}[kind] if kind != "vargrad" else squared - mean * mean


class _WithSquares(GradientAttribution):  # type: ignore[misc]  # captum ships no types
    """An attribution times each of several factors, and the squares of that, which NoiseTunnel averages all at once."""

    def __init__(self, context: Context, attribute: Callable[..., Tensor], factors: Sequence[Explain | None]) -> None:
        super().__init__(context.network)
        self._attribute, self._factors = attribute, factors

    @log_usage()  # type: ignore[untyped-decorator]
    def attribute(self, inputs: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        found = self._attribute(inputs, target=target)
        products = [found if factor is None else found * factor(inputs, target) for factor in self._factors]
        return tuple(moment for product in products for moment in (product, product.square()))


def _entry(base: str, kind: str) -> Method:
    title, family, shared, _ = _BASES[base]
    name, draws_as = f"{base}_{kind.replace('_sq', '_squared')}", f"{shared}_smoothgrad"
    return Method(
        name, f"{title}\n{KINDS[kind]}", partial(_noisy, base, kind), family,
        # Squares and variances are positive already; of guided backpropagation the positive part counts, as it does
        # without noise.
        reduction="signed" if kind != "smoothgrad" or family == "normgrad"
        else "positive" if base == "guided_backprop" else "absolute",
        cost="many_passes", source="captum.attr.NoiseTunnel", random=True, draws_as=draws_as,
        version=3,
    )  # fmt: skip


METHODS = tuple(_entry(base, kind) for base in _BASES for kind in KINDS)
