"""NormGrad as pure functions of tensors, for those who capture activations and gradients themselves."""

from __future__ import annotations

from torch import Tensor

from normgrad_attr._aggregate import AGGREGATES, check_aggregate, max_, norm, positive_norm, positive_sum, sum_
from normgrad_attr._combine import combine_maps, is_constant, minmax
from normgrad_attr._extract import EXTRACTS, Summands, check_tensors, virtual_identity
from normgrad_attr._peaks import Peak, find_peaks, find_points
from normgrad_attr._sensitivity import spearman
from normgrad_attr._tokens import tokens_to_map
from normgrad_attr._window import Window

__all__ = [
    "AGGREGATES",
    "EXTRACTS",
    "Peak",
    "Summands",
    "Window",
    "combine_maps",
    "find_peaks",
    "find_points",
    "is_constant",
    "max_",
    "minmax",
    "norm",
    "normgrad_map",
    "positive_norm",
    "positive_sum",
    "spearman",
    "sum_",
    "tokens_to_map",
    "virtual_identity",
]


def normgrad_map(
    activation: Tensor,
    gradient: Tensor,
    *,
    extract: str = "conv1x1",
    aggregate: str = "norm",
    channel_dim: int = 1,
) -> Tensor:
    r"""NormGrad's map from a layer's activation and the target's gradient for it.

    Args:
        activation: ``x``, (N, C, \*spatial), any floating dtype; 0 to 3 spatial dimensions.
        gradient: ``d target / d x``, same shape.
        extract: ``"bias"``, ``"scaling"``, ``"convKxK"`` or ``"depthwise_convKxK"`` with odd K.
        aggregate: ``"norm"``, ``"positive_norm"``, ``"sum"``, ``"positive_sum"`` or ``"max"``.
        channel_dim: Dimension of the channels, -1 for tokens and channels-last layers.

    Returns:
        (N, 1, \*spatial), computed in float32 at least and returned in the activation's dtype; differentiable by both
        tensors.

    Raises:
        ValueError: Unknown extract or aggregate, shapes that differ, or a window without spatial dimensions.
        TypeError: Something else than tensors.

    Examples:
        >>> import torch
        >>> from normgrad_attr.functional import normgrad_map
        >>> x, g = torch.rand(2, 8, 7, 7), torch.randn(2, 8, 7, 7)
        >>> normgrad_map(x, g, extract="conv3x3").shape
        torch.Size([2, 1, 7, 7])

    References:
        Rebuffi, Fong, Ji, Vedaldi: There and Back Again: Revisiting Backpropagation Saliency Methods. CVPR 2020,
        arXiv:2004.02866.
    """
    check_aggregate(aggregate)
    check_tensors(activation, gradient)
    if activation.shape != gradient.shape:
        raise ValueError(
            f"Activation and gradient must have the same shape, these have {tuple(activation.shape)} and "
            f"{tuple(gradient.shape)}."
        )
    activation, gradient = (t.movedim(channel_dim, 1) for t in (activation, gradient))
    return AGGREGATES[aggregate](virtual_identity(activation, gradient, extract)).to(activation.dtype)
