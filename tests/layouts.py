"""Ways in which networks lay out samples, channels and places."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge

from normgrad_attr._layout import Layout, Layouts

IMAGE = (2, 3, 12, 20)  # patches of 4 make 3 rows and 5 columns
GRID = (3, 5)


def patches(x: Tensor, channels: int = 8, size: int = 4) -> Tensor:
    """Patch embedding as a map, (N, C, rows, columns)."""
    conv = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}[x.dim()]
    return conv(x, torch.randn(channels, x.shape[1], *[size] * (x.dim() - 2)), stride=size)


def tokens(x: Tensor) -> Tensor:
    return patches(x).flatten(2).mT


def linear(x: Tensor, out: int = 8) -> Tensor:
    return F.linear(x, torch.randn(out, x.shape[-1]), torch.randn(out))


def attention(t: Tensor) -> Tensor:
    q, k, v = linear(t / 10, 24).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
    return linear(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def attention_by_hand(t: Tensor) -> Tensor:
    q, k, v = linear(t / 10, 24).chunk(3, dim=-1)
    return (q @ k.mT).softmax(-1) @ v


def attention_over_channels(t: Tensor) -> Tensor:
    """XCiT's cross-covariance."""
    q, k, v = linear(t, 24).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 4, 1)
    return ((q @ k.mT).softmax(-1) @ v).permute(0, 3, 1, 2).flatten(2)


def with_class_token(t: Tensor, front: int = 1, behind: int = 0, frozen: bool = False) -> Tensor:
    def prefix(n: int) -> list[Tensor]:
        return [nn.Parameter(torch.randn(1, 1, t.shape[2]), not frozen).expand(len(t), -1, -1) for _ in range(n)]

    return torch.cat([*prefix(front), t, *prefix(behind)], 1)


def windows(x: Tensor, shift: int = 0) -> Tensor:
    """A Swin block's way: shift, cut windows of 2 x 2, work in them, and all the way back."""
    m = patches(x, size=2).permute(0, 2, 3, 1)  # 6 x 10
    n, h, w, c = m.shape
    y = F.layer_norm(m, (c,)).roll((-shift, -shift), (1, 2))
    y = y.view(n, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, c)
    y = attention(y).view(n, h // 2, w // 2, 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(n, h, w, c)
    return y.roll((shift, shift), (1, 2))


def pooled_in_windows(x: Tensor) -> Tensor:
    """Hiera's way: tokens sorted by windows once, so that pooling drops the first factor."""
    m = patches(x, size=2).permute(0, 2, 3, 1)  # 6 x 10
    n, h, w, c = m.shape
    t = m.view(n, h // 2, 2, w // 2, 2, c).permute(0, 2, 4, 1, 3, 5).reshape(n, h * w, c)
    return linear(t.view(n, 4, -1, c).amax(1))


def merged_patches(x: Tensor) -> Tensor:
    m = patches(x, size=2).permute(0, 2, 3, 1)
    parts = [m[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
    return linear(F.layer_norm(torch.cat(parts, -1), (32,)))


def patches_without_a_convolution(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    cut = x.view(n, c, h // 4, 4, w // 4, 4).permute(0, 2, 4, 3, 5, 1)
    return linear(cut.reshape(n, -1, 16 * c))


def through_a_class_token(x: Tensor) -> Tensor:
    """Prefix taken off, a convolution over the patches, prefix on again."""
    t = with_class_token(tokens(x), front=2)
    prefix, t = t[:, :2], t[:, 2:]
    m = t.mT.reshape(len(x), 8, *GRID)
    m = m + F.conv2d(m, torch.randn(8, 1, 3, 3), padding=1, groups=8)
    return linear(torch.cat([prefix, m.flatten(2).mT], 1))


def norm_over_channels_first(x: Tensor) -> Tensor:
    """ConvNeXt's LayerNorm2d."""
    return F.layer_norm(patches(x).permute(0, 2, 3, 1), (8,)).permute(0, 3, 1, 2)


def token_mixing(x: Tensor) -> Tensor:
    return linear(F.layer_norm(tokens(x), (8,)).mT, 24)


LAYOUTS: dict[str, tuple[Callable[[Tensor], Tensor], int, tuple[int, ...] | None]] = {
    "convolution": (patches, 1, GRID),
    "activation": (lambda x: patches(x).relu(), 1, GRID),
    "batch norm": (lambda x: F.batch_norm(patches(x), torch.zeros(8), torch.ones(8)), 1, GRID),
    "group norm": (lambda x: F.group_norm(patches(x), 2), 1, GRID),
    "instance norm": (lambda x: F.instance_norm(patches(x)), 1, GRID),
    "pooling": (lambda x: F.max_pool2d(patches(x, size=2), 2), 1, GRID),
    "resizing": (lambda x: F.interpolate(patches(x), scale_factor=2), 1, (6, 10)),
    "transposed convolution": (lambda x: F.conv_transpose2d(patches(x), torch.randn(8, 4, 2, 2), stride=2), 1, (6, 10)),
    "padding": (lambda x: F.pad(patches(x), (1, 1, 1, 1), mode="reflect"), 1, GRID),
    "pixel shuffle": (lambda x: F.pixel_shuffle(patches(x), 2), 1, (6, 10)),
    "gate": (lambda x: patches(x) * patches(x).mean((2, 3), keepdim=True).sigmoid(), 1, GRID),
    "a view in place": (lambda x: patches(x).view(len(x), 8, *GRID).mul_(2), 1, GRID),
    "another view in place": (lambda x: linear(patches(x).flatten(2).relu_().mT), 2, GRID),
    "in place": (lambda x: patches(x).mul_(2).relu_(), 1, GRID),
    "layer norm in dimension 1": (norm_over_channels_first, 1, GRID),
    "channels last": (lambda x: linear(patches(x).permute(0, 2, 3, 1)), 3, GRID),
    "tokens": (tokens, 2, GRID),
    "tokens of columns": (lambda x: patches(x).transpose(2, 3).flatten(2).mT, 2, GRID),
    "dropout on tokens": (lambda x: F.dropout(tokens(x)), 2, GRID),
    "token mixing": (token_mixing, 1, None),
    "token mixing by convolution": (lambda x: F.conv1d(tokens(x), torch.randn(24, 15, 1)), 2, None),
    "attention": (lambda x: attention(tokens(x)), 2, GRID),
    "attention by hand": (lambda x: attention_by_hand(tokens(x)), 2, GRID),
    "attention over channels": (lambda x: attention_over_channels(tokens(x)), 2, GRID),
    "class token": (lambda x: attention(with_class_token(tokens(x))), 2, GRID),
    "registers behind": (lambda x: linear(with_class_token(tokens(x), 1, 4)), 2, GRID),
    "frozen class tokens": (lambda x: linear(with_class_token(tokens(x), 2, frozen=True)), 2, GRID),
    "class token dropped": (lambda x: linear(with_class_token(tokens(x), 2)[:, 2:]), 2, GRID),
    "class token taken off and put on": (through_a_class_token, 2, GRID),
    "windows": (windows, 3, (6, 10)),
    "shifted windows": (lambda x: windows(x, 1), 3, (6, 10)),
    "pooled in windows": (pooled_in_windows, 2, GRID),
    "merged patches": (merged_patches, 3, GRID),
    "patches without a convolution": (patches_without_a_convolution, 2, GRID),
    "unfolded": (lambda x: linear(F.unfold(x, 4, stride=4).mT), 2, GRID),
    "sliding windows": (
        lambda x: linear(x.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).flatten(3)),
        3,
        GRID,
    ),
    "one direction": (lambda x: linear(patches(x).mean(2).mT), 2, (1, 5)),
    "rotated to channels last": (lambda x: linear(patches(x).rot90(1, (1, 3))), 3, None),
    "bilinear": (lambda x: F.bilinear(tokens(x), tokens(x).tanh(), torch.randn(6, 8, 8)), 2, GRID),
    "channels by a product": (lambda x: torch.einsum("nchw,dc->ndhw", patches(x), torch.randn(6, 8)), 1, GRID),
}


class Unknown(torch.autograd.Function):
    """Something of which the graph tells nothing."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:  # type: ignore[override]
        return g


def kept(t: Tensor) -> Tensor:
    """Token pruning: those with the largest norm."""
    chosen = t.norm(dim=-1).topk(9, dim=1).indices
    return t.gather(1, chosen[..., None].expand(-1, -1, t.shape[2]))


def layout_of(t: Tensor, score: Tensor | None = None) -> Layout:
    return Layouts(None if score is None else score.grad_fn).of(get_gradient_edge(t))


class Does(nn.Module):
    """A forward that is a function of the module and its input."""

    def __init__(self, does: Callable[..., Tensor], **parts: Any) -> None:
        super().__init__()
        self.does = does
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *inputs: Any) -> Tensor:
        return self.does(self, *inputs)
