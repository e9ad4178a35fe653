"""Token layers of transformers: telling them from feature maps, and laying their maps out on the image again."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_CHANNELS_LAST: tuple[type[nn.Module], ...] = (nn.Linear, nn.LayerNorm, nn.RMSNorm, nn.Embedding)
_CHANNELS_FIRST = (nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase, nn.GroupNorm)
#: Most class and register tokens that a grid is inferred behind; networks in use have up to five.
_MOST_PREFIX_TOKENS = 16


def looks_like_tokens(layer: nn.Module, activation: Tensor, *, of_input: bool = False) -> bool:
    """Whether the layer's activation clearly has its channels in the last dimension, not in dimension 1.

    True if the layer, or the modules inside it, are of the kind that works on the last dimension (linear, layer norm)
    and none is of the kind that works on dimension 1 (convolution, batch norm) with as many channels as there. Of a
    sequence only the last module with weights counts, for it makes the output; of the input, only the first.

    Args:
        layer: The layer. One without weights, such as a dropout, says nothing: False.
        activation: Its output, or input.
        of_input: Whether it is the input.
    """
    if activation.dim() < 3:
        return False
    end = 0 if of_input else -1
    while isinstance(layer, nn.Sequential) and len(layer) and next(layer[end].parameters(), None) is not None:
        layer = layer[end]
    last, first = activation.shape[-1], activation.shape[1]
    modules = list(layer.modules())
    if any(first in _widths(m, of_input) for m in modules if isinstance(m, _CHANNELS_FIRST) or _overrides_forward(m)):
        return False
    return any(isinstance(m, _CHANNELS_LAST) and last in _widths(m, of_input) for m in modules)


def tokens_to_map(
    token_map: Tensor, grid: tuple[int, ...] | None = None, *, prefix_tokens: int | None = None
) -> Tensor:
    """Lay a map over tokens out on the patch grid, without class and register tokens.

    Args:
        token_map: (N, C, T), any dtype, such as :class:`~normgrad_attr.NormGrad` gives with ``channel_dim=-1``.
            The patch tokens come last, in raster order, as in ViT and DeiT.
        grid: Rows and columns of patches. Default: a square one.
        prefix_tokens: Number of tokens to drop at the front. Default: as many as the grid leaves over; without a
            grid, the fewest that leave a square.

    Returns:
        (N, C, rows, columns).

    Raises:
        ValueError: The tokens do not fill the grid.

    Examples:
        >>> import torch
        >>> from normgrad_attr import tokens_to_map
        >>> tokens_to_map(torch.rand(2, 1, 197)).shape
        torch.Size([2, 1, 14, 14])
        >>> tokens_to_map(torch.rand(2, 1, 33), grid=(4, 8)).shape
        torch.Size([2, 1, 4, 8])

    References:
        Dosovitskiy et al.: An Image is Worth 16x16 Words. ICLR 2021, arXiv:2010.11929 (the order of tokens).
    """
    if token_map.dim() != 3:
        raise ValueError(f"A map over tokens has shape (N, C, T), this one {tuple(token_map.shape)}.")
    tokens = token_map.shape[2]
    if grid is None:
        prefixes = range(_MOST_PREFIX_TOKENS + 1) if prefix_tokens is None else (prefix_tokens,)
        sides = [round(max(tokens - p, 0) ** 0.5) for p in prefixes]
        side = next((s for s, p in zip(sides, prefixes, strict=True) if s > 0 and s * s == tokens - p), None)
        if side is None:
            raise ValueError(f"{tokens} tokens do not make a square grid of patches; pass grid=(rows, columns).")
        grid = (side, side)
    patches = int(torch.Size(grid).numel())
    prefix = tokens - patches if prefix_tokens is None else prefix_tokens
    if prefix < 0 or prefix + patches != tokens:
        raise ValueError(
            f"{tokens} tokens are not {max(prefix, 0)} prefix tokens and a grid of {' x '.join(map(str, grid))} "
            "patches; pass the grid of the patch embedding and the number of class and register tokens."
        )
    return token_map[:, :, prefix:].reshape(*token_map.shape[:2], *grid)


def infer_grid(tokens: int, spatial: tuple[int, ...]) -> tuple[int, ...]:
    """Patch grid of ``tokens`` tokens over an image: equal square patches and the fewest tokens left over.

    Args:
        tokens: Number of tokens, class and register tokens included.
        spatial: Size of the image in pixels.

    Raises:
        ValueError: No patch size leaves a plausible number of tokens over.
    """
    for prefix in range(_MOST_PREFIX_TOKENS + 1):
        for patch in range(1, min(spatial) + 1):
            grid = tuple(side // patch for side in spatial)
            if all(side % patch == 0 for side in spatial) and torch.Size(grid).numel() == tokens - prefix:
                return grid
    raise ValueError(
        f"Cannot tell how {tokens} tokens lie on an input of size {tuple(spatial)}; use NormGrad and tokens_to_map "
        "with the grid given, then normgrad_attr.functional.combine_maps."
    )


def _overrides_forward(module: nn.Module) -> bool:
    """Whether a linear layer or norm is a variant that may work on dimension 1, such as ConvNeXt's LayerNorm2d."""
    base = next((t for t in _CHANNELS_LAST if isinstance(module, t)), None)
    return base is not None and type(module).forward is not base.forward


def _widths(module: nn.Module, of_input: bool) -> tuple[int, ...]:
    """Channels that a module puts out, or takes in; for a norm they are the same."""
    own = ("in_channels", "in_features") if of_input else ("out_channels", "out_features", "embedding_dim")
    for attribute in (*own, "num_features", "num_channels"):
        if hasattr(module, attribute):
            return (getattr(module, attribute),)
    return tuple(getattr(module, "normalized_shape", ())[-1:])
