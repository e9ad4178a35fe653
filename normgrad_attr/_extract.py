"""Phase one, "extract": which summands make up the gradient of the (virtual) layer's weights.

Every extract is the same thing: at each location u an outer product of the gradient ``g_u`` with the activation ``x``
seen through a window around u, formed inside channel groups (one group: a full convolution; as many groups as channels:
an elementwise product), and perhaps ``g_u`` itself for a bias. The summands are never built; :mod:`._aggregate`
computes what it needs of them in closed form.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import torch
from torch import Tensor

from normgrad_attr._window import Window

_CONV_NAME = re.compile(r"(depthwise_)?conv(\d+)x(\d+)")

#: The virtual-identity extracts by their usual names; any odd kernel size is understood beside 3.
EXTRACTS = ("bias", "scaling", "conv1x1", "conv3x3", "depthwise_conv3x3")


@dataclass(frozen=True)
class Summands:
    r"""The summands of a weight gradient, one set per location, in factored form.

    Args:
        gradient: ``g``, (N, C, \*spatial), float32 or float64. Its spatial grid is the grid of the map.
        activation: ``x``, (N, C', \*spatial'), same dtype, or None if the layer has no weight that multiplies it.
        window: How location u of ``gradient`` sees ``activation``.
        groups: Number of channel groups; products are formed inside a group only.
        bias: Whether ``g_u`` itself, the summand of a bias, counts as well.

    Raises:
        ValueError: Neither activation nor bias.

    Examples:
        >>> import torch
        >>> from normgrad_attr.functional import AGGREGATES, Summands, Window
        >>> x, g = torch.rand(2, 8, 7, 7), torch.randn(2, 8, 7, 7)
        >>> grouped_convolution = Summands(g, x, Window.centred(3, dims=2), groups=4, bias=True)
        >>> AGGREGATES["norm"](grouped_convolution).shape
        torch.Size([2, 1, 7, 7])
    """

    gradient: Tensor
    activation: Tensor | None = None
    window: Window = field(default_factory=Window)
    groups: int = 1
    bias: bool = False

    def __post_init__(self) -> None:
        if self.activation is None and not self.bias:
            raise ValueError("Summands without activation and bias are none; give an activation, or bias=True.")


def check_extract(name: str) -> None:
    """Raise ValueError, naming the choices, unless ``name`` is a virtual-identity extract."""
    if not isinstance(name, str) or (name not in ("bias", "scaling") and _kernel_size(name) is None):
        raise ValueError(
            f"Unknown extract {name!r}; choose 'bias', 'scaling', 'convKxK' or 'depthwise_convKxK' with an odd K "
            "such as 'conv1x1' or 'conv3x3' (and for the classes 'layer', which needs the layer itself)."
        )


def virtual_identity(activation: Tensor, gradient: Tensor, extract: str) -> Summands:
    r"""Summands of the weight gradient of a virtual identity layer that follows the activation.

    Args:
        activation: ``x``, (N, C, \*spatial) with 0 to 3 spatial dimensions, any floating dtype.
        gradient: ``d target / d x``, same shape.
        extract: ``"bias"``, ``"scaling"``, ``"convKxK"`` or ``"depthwise_convKxK"`` with odd K.

    Returns:
        The summands, in float32, or float64 if the activation is.

    Raises:
        ValueError: Unknown extract, or one with a window for an activation without spatial dimensions.
        TypeError: Something else than tensors.

    Examples:
        >>> import torch
        >>> from normgrad_attr.functional import virtual_identity
        >>> x, g = torch.rand(2, 8, 7, 7), torch.randn(2, 8, 7, 7)
        >>> summands = virtual_identity(x, g, "depthwise_conv3x3")
        >>> summands.window.size, summands.groups
        ((3, 3), 8)

    References:
        Rebuffi et al., CVPR 2020, arXiv:2004.02866.
    """
    check_extract(extract)
    check_tensors(activation, gradient)
    x, g = accumulation_dtype(activation), accumulation_dtype(gradient)
    if extract == "bias":
        return Summands(g, bias=True)
    channels, dims = x.shape[1], x.dim() - 2
    if extract == "scaling":
        return Summands(g, x, groups=channels)
    size = _kernel_size(extract)
    assert size is not None  # check_extract has seen to it
    if size > 1 and not 1 <= dims <= 3:
        raise ValueError(
            f"extract={extract!r} needs an activation with 1 to 3 spatial dimensions, this one has shape "
            f"{tuple(activation.shape)}; use 'bias', 'scaling' or 'conv1x1'."
        )
    window = Window.centred(size, dims) if size > 1 else Window()
    return Summands(g, x, window, groups=channels if extract.startswith("depthwise") else 1)


def check_tensors(*values: object) -> None:
    """Raise TypeError unless all values are tensors."""
    for value in values:
        if not isinstance(value, Tensor):
            raise TypeError(
                f"Activations, gradients and maps are tensors, not {type(value).__name__}; convert them, for example "
                "with torch.as_tensor."
            )


def accumulation_dtype(t: Tensor) -> Tensor:
    """``t`` as float32 at least: squares of half-precision gradients under- and overflow."""
    return t if t.dtype in (torch.float32, torch.float64) else t.float()


def _kernel_size(name: str) -> int | None:
    match = _CONV_NAME.fullmatch(name)
    if match is None or match[2] != match[3] or int(match[2]) % 2 == 0:
        return None
    return int(match[2])
