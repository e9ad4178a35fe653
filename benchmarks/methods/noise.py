"""SmoothGrad and its kin: other methods averaged over noisy copies of the film, by Captum's NoiseTunnel."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from captum.attr import Attribution, GuidedBackprop, GuidedGradCam, InputXGradient, NoiseTunnel, Saliency

from benchmarks.methods.context import Context
from benchmarks.methods.method import Explain, Method
from benchmarks.methods.normgrad import combined

COPIES = 24
"""Most noisy copies of a film."""

DEVIATION = 0.15
"""Standard deviation of the noise, as a share of the range from black to white."""

KINDS = {"smoothgrad": "SmoothGrad", "smoothgrad_sq": "SmoothGrad²", "vargrad": "VarGrad"}


def _guided_grad_cam(context: Context) -> Attribution:
    network = context.guided_network
    return GuidedGradCam(network, network.get_submodule(context.map_layer()))


_BASES: dict[str, tuple[str, str, int, Callable[[Context], Attribution], dict[str, object]]] = {
    "saliency": ("Saliency", "gradient", 1, lambda context: Saliency(context.network), {"abs": False}),
    "input_x_gradient": ("Input x Gradient", "gradient", 1, lambda context: InputXGradient(context.network), {}),
    "guided_backprop": ("Guided Backprop", "gradient", 1, lambda context: GuidedBackprop(context.guided_network), {}),
    "guided_grad_cam": ("Guided Grad-CAM", "gradient", 2, _guided_grad_cam, {"interpolate_mode": "bilinear"}),
    "normgrad_conv1x1_combined": ("NormGrad conv1x1", "normgrad", 1, lambda context: combined(context, "conv1x1"), {}),
}
"""By name: title, family, forwards for a film, what makes the method, and options of its ``attribute``."""


def _noisy(base: str, kind: str, context: Context) -> Explain:
    _, _, forwards, make, options = _BASES[base]
    method = NoiseTunnel(make(context))
    copies, deviation = min(COPIES, context.budget // forwards), DEVIATION * context.contrast
    return lambda images, targets: method.attribute(
        images, nt_type=kind, nt_samples=copies, nt_samples_batch_size=1, stdevs=deviation, target=targets, **options
    )


METHODS = tuple(
    Method(
        f"{base}_{kind.replace('_sq', '_squared')}", f"{title}\n{KINDS[kind]}", partial(_noisy, base, kind), family,
        # Squares and variances are positive already; of guided backpropagation the positive part counts, as it does
        # without noise.
        reduction="signed" if kind != "smoothgrad" or family == "normgrad"
        else "positive" if base == "guided_backprop" else "absolute",
        cost="many_passes", source="captum.attr.NoiseTunnel", random=True, version=2,
    )
    for base, (title, family, *_) in _BASES.items()
    for kind in KINDS
)  # fmt: skip
