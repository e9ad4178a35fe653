"""Laying a map over tokens out on the patch grid by hand, where the grid is said."""

from __future__ import annotations

import torch
from torch import Tensor

#: Most class and register tokens that a grid is inferred behind; networks in use have up to five.
_MOST_PREFIX_TOKENS = 16


def tokens_to_map(
    token_map: Tensor, grid: tuple[int, ...] | None = None, *, prefix_tokens: int | None = None
) -> Tensor:
    """Lay a map over tokens out on the patch grid, without class and register tokens.

    :class:`~normgrad_attr.CombinedNormGrad` does so by itself, with the grid and the prefix that the network's graph
    tells. Here they are said, or inferred from the number of tokens alone.

    Args:
        token_map: (N, C, T), any dtype, such as :class:`~normgrad_attr.NormGrad` gives for tokens. The patch tokens
            come last, in raster order, as in ViT and DeiT.
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
