"""Copies of a network that methods may hook and change, and networks rewritten without changing what they compute."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Without weights, so that a copy for each call computes the same.
_STATELESS = (nn.ReLU, nn.ELU, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.MaxPool2d)


def untouched_copy(network: nn.Module) -> nn.Module:
    """A deep copy whose activation modules do not work in place, so that hooks see what went in and what came out."""
    network = copy.deepcopy(network)
    for module in network.modules():
        if hasattr(module, "inplace"):
            module.inplace = False  # type: ignore[assignment]  # nn.Module types attributes as tensors
    return network


def rewritten(network: nn.Module, example: Tensor) -> nn.Module:
    """A copy that computes the same and in which each activation module runs once, and no pooling windows overlap.

    DeepLift attaches what it saw in a forward to the module that it saw it in. torchvision's residual blocks run one
    ReLU module two or three times, so each call gets a module of its own here. Captum's rule for max pooling drops
    contributions where windows overlap, as in the stem of a ResNet, so such windows are laid side by side first. And
    where one activation follows another, as pooling a ReLU in VGG, Captum 0.9 takes the gradient between them before
    the second one's rule has changed it, so each gets an input tensor of its own.

    Args:
        network: In eval mode.
        example: Input that shows how often each module runs, (N, C, H, W).

    Returns:
        A copy in eval mode.
    """
    network = untouched_copy(network)
    calls = _count_calls(network, example)
    separated = []
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if not isinstance(child, _STATELESS):
                continue
            new: nn.Module = _without_overlap(child) if isinstance(child, nn.MaxPool2d) else child
            new = nn.Sequential(_OwnInput(), new)
            if calls[child] > 1:
                new = _OneForEachCall(new, calls[child])
                separated.append(new)
            setattr(parent, name, new)

    def begin(module: nn.Module, inputs: Any) -> None:
        for one in separated:
            one.turn = 0

    network.register_forward_pre_hook(begin)
    return network.eval()


def _count_calls(network: nn.Module, example: Tensor) -> Counter[nn.Module]:
    calls: Counter[nn.Module] = Counter()
    handles = [m.register_forward_hook(lambda module, *_: calls.update([module])) for m in network.modules()]
    try:
        with torch.no_grad():
            network(example)
    finally:
        for handle in handles:
            handle.remove()
    return calls


class _OneForEachCall(nn.Module):
    """Stands for a module that runs several times in a forward, with a copy for each of its turns."""

    def __init__(self, module: nn.Module, calls: int) -> None:
        super().__init__()
        self.copies = nn.ModuleList(copy.deepcopy(module) for _ in range(calls))
        self.turn = 0

    def forward(self, x: Tensor) -> Tensor:
        self.turn += 1
        result: Tensor = self.copies[self.turn - 1](x)
        return result


class _OwnInput(nn.Module):
    """The same values as another tensor, whose hooks are not those of what made them."""

    def forward(self, x: Tensor) -> Tensor:
        return x.view_as(x)


def _without_overlap(pool: nn.MaxPool2d) -> nn.Module:
    kernel, stride, padding = (_pair(value) for value in (pool.kernel_size, pool.stride, pool.padding))
    plain = _pair(pool.dilation) == (1, 1) and not pool.ceil_mode
    if kernel == stride or not plain:
        return pool
    return nn.Sequential(_WindowsSideBySide(kernel, stride, padding), nn.MaxPool2d(kernel, kernel))


class _WindowsSideBySide(nn.Module):
    """Copies overlapping windows (N, C, H, W) into a larger map (N, C, rows * h, columns * w) where none overlap."""

    def __init__(self, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]) -> None:
        super().__init__()
        self.kernel, self.stride, self.padding = kernel, stride, padding

    def forward(self, x: Tensor) -> Tensor:
        (height, width), (down, right) = self.kernel, self.padding
        # Below everything else, as the padding of a max pooling is, but finite: differences of it are zero, not NaN.
        x = F.pad(x, (right, right, down, down), value=torch.finfo(x.dtype).min / 4)
        rows = (x.shape[2] - height) // self.stride[0] + 1
        columns = (x.shape[3] - width) // self.stride[1] + 1
        windows = x.unfold(2, height, self.stride[0]).unfold(3, width, self.stride[1])
        return windows.permute(0, 1, 2, 4, 3, 5).reshape(len(x), x.shape[1], rows * height, columns * width)


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)
