"""What other packages make of the same layers: each one's Grad-CAM, with nothing said about the layout."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO

import torch
import torch.nn.functional as F
from scipy.ndimage import zoom
from torch import Tensor, nn

from benchmarks.zoo.truth import Recorded, grad_cam
from benchmarks.zoo.verdicts import Verdict, distance

#: Of a map whose largest value is 1; two of the packages resize and scale in float32.
TOLERANCE = 2e-3

#: Of the sum of absolute values: a map below it is made of roundings.
ROUNDING = 1e-4

Peer = Callable[[nn.Module, str, Tensor, Tensor], Tensor]


def captum(network: nn.Module, layer: str, inputs: Tensor, target: Tensor) -> Tensor:
    """Captum's LayerGradCam: (N, 1, ...) at the layer's resolution, signed."""
    from captum.attr import LayerGradCam

    maps = LayerGradCam(network, network.get_submodule(layer)).attribute(inputs, target, relu_attributions=True)
    return torch.as_tensor(maps).detach()


def pytorch_grad_cam(network: nn.Module, layer: str, inputs: Tensor, target: Tensor) -> Tensor:
    """pytorch-grad-cam's GradCAM: scaled to [0, 1] at the input's size."""
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    targets = [ClassifierOutputTarget(int(one)) for one in target]
    with redirect_stdout(StringIO()), GradCAM(network, [network.get_submodule(layer)]) as method:
        return torch.from_numpy(method(inputs, targets)).unsqueeze(1)


def torchcam(network: nn.Module, layer: str, inputs: Tensor, target: Tensor) -> Tensor:
    """torch-cam's GradCAM: the positive part at the layer's resolution."""
    from torchcam.methods import GradCAM

    logging.getLogger("torchcam").setLevel(logging.ERROR)
    with GradCAM(network, layer) as method:
        return torch.as_tensor(method(target.tolist(), network(inputs), normalized=False)[0]).unsqueeze(1)


#: Packages by their key in the record, with the name that they go by.
PEERS: dict[str, tuple[str, Peer]] = {
    "captum": ("Captum LayerGradCam", captum),
    "pytorch_grad_cam": ("pytorch-grad-cam", pytorch_grad_cam),
    "torchcam": ("torch-cam", torchcam),
}


def judge(
    peer: Peer, network: nn.Module, layer: str, inputs: Tensor, target: Tensor, truth: Recorded, dim: int | None
) -> Verdict:
    """Let a package explain a layer, and compare with Grad-CAM over the proved channels.

    Returns:
        ``right``; ``wrong``, which is silent; ``fail``, an exception; ``unproved`` if the channels are not proved.
    """
    try:
        got = peer(network, layer, inputs, target)
    except Exception as error:  # whatever it is, it is the result
        return {"verdict": "fail", "detail": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
    if dim is None:
        return {"verdict": "unproved"}
    bound = grad_cam(Recorded(truth.activation.abs(), truth.gradient.abs()), dim)
    if bool((grad_cam(truth, dim).abs().flatten(1).amax(1) <= ROUNDING * bound.flatten(1).amax(1)).any()):
        return {
            "verdict": "unproved",
            "detail": "before an instance norm the mean gradient is zero, and Grad-CAM noise",
        }
    if any(distance(_scaled(got), want) <= TOLERANCE for want in _forms(grad_cam(truth, dim), got)):
        return {"verdict": "right"}
    return {"verdict": "wrong", "detail": "wrong layout" if dim != 1 else "wrong values"}


def _forms(cam: Tensor, got: Tensor) -> list[Tensor]:
    """The true map as a package may return it: at the layer's size, or from its lowest value on at the input's size."""
    positive = cam.relu()
    forms = [_scaled(positive)]
    spatial = got.shape[2:]
    if cam.dim() == got.dim() == 5:  # splines, which swing below zero
        scale = [1, 1, *(there / here for there, here in zip(spatial, cam.shape[2:], strict=True))]
        resized = torch.from_numpy(zoom(_from_lowest(positive).numpy(), scale)).relu()
        forms.append(_scaled(_from_lowest(resized)))
    elif cam.dim() == got.dim() == 4:
        resized = F.interpolate(_from_lowest(positive), size=spatial, mode="bilinear", align_corners=False)
        forms.append(_scaled(_from_lowest(resized)))
    return forms


def _from_lowest(maps: Tensor) -> Tensor:
    """Each sample without its lowest value, which leaves nothing of a constant map but its roundings."""
    ones = [1] * (maps.dim() - 1)
    low, high = (end.view(-1, *ones) for end in (maps.flatten(1).amin(1), maps.flatten(1).amax(1)))
    return torch.where(high - low > 1e-6 * high, maps - low, 0.0)


def _scaled(maps: Tensor) -> Tensor:
    """Each sample divided by its largest value; units that packages choose differently do not matter then."""
    maps = maps.double()
    largest = maps.abs().flatten(1).amax(1).view(-1, *[1] * (maps.dim() - 1))
    return torch.where(largest > 0, maps / largest, maps)
