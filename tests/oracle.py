"""The slow, literal truth: insert the virtual identity layer, give each location its own weights, differentiate.

Nothing here shares code or algebra with the library. The weight gradient of location u is, by definition, the summand
that u contributes to the gradient of the shared weights.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

Head = Callable[[Tensor], Tensor]


def neighbours(x: Tensor, k: int) -> Tensor:
    """(N, C, *S) -> (N, C, k ** dims, locations), zeros outside, by indexing one entry at a time."""
    spatial = x.shape[2:]
    columns = []
    for u in itertools.product(*map(range, spatial)):
        entries = []
        for offset in itertools.product(*[range(-(k // 2), k // 2 + 1)] * len(spatial)):
            v = tuple(a + b for a, b in zip(u, offset, strict=True))
            inside = all(0 <= a < s for a, s in zip(v, spatial, strict=True))
            entries.append(x[(slice(None), slice(None), *v)] if inside else torch.zeros_like(x.flatten(2)[..., 0]))
        columns.append(torch.stack(entries, -1))
    return torch.stack(columns, -1)


def weight_gradients(x: Tensor, head: Head, extract: str) -> Tensor:
    """Gradient of the summed scores by each location's own weights: (N, entries, locations)."""
    n, c = x.shape[:2]
    flat = x.detach().reshape(n, c, -1)
    locations = flat.shape[-1]
    if extract == "bias":
        weights = torch.zeros_like(flat).requires_grad_()
        y = flat + weights
    elif extract == "scaling":
        weights = torch.ones_like(flat).requires_grad_()
        y = flat * weights
    else:
        k = int(extract[-1])
        patches = neighbours(x.detach(), k) if x.dim() > 2 else flat.unsqueeze(2)
        taps = patches.shape[2]
        centre = torch.zeros(taps, dtype=x.dtype)
        centre[taps // 2] = 1
        if extract.startswith("depthwise"):
            weights = centre.view(1, 1, taps, 1).repeat(n, c, 1, locations).requires_grad_()
            y = (weights * patches).sum(2)
        else:
            identity = torch.einsum("ij,t->ijt", torch.eye(c, dtype=x.dtype), centre)
            weights = identity[None, ..., None].repeat(n, 1, 1, 1, locations).requires_grad_()
            y = torch.einsum("nijtu,njtu->niu", weights, patches)
    torch.testing.assert_close(y.detach(), flat, rtol=0, atol=0)  # the inserted layer does nothing
    (gradient,) = torch.autograd.grad(head(y.reshape(x.shape)).sum(), weights)
    return gradient.reshape(n, -1, locations)


def aggregate(entries: Tensor, how: str) -> Tensor:
    """(N, entries, locations) -> (N, locations)."""
    if how == "norm":
        return entries.pow(2).sum(1).sqrt()
    if how == "positive_norm":
        return entries.clamp(min=0).pow(2).sum(1).sqrt()
    if how == "sum":
        return entries.sum(1)
    if how == "positive_sum":
        return entries.sum(1).clamp(min=0)
    assert how == "max"
    return entries.max(1).values


def normgrad(x: Tensor, head: Head, extract: str, how: str) -> Tensor:
    """The map, (N, 1, *S)."""
    return aggregate(weight_gradients(x, head, extract), how).reshape(x.shape[0], 1, *x.shape[2:])


def random_head(shape: tuple[int, ...], seed: int) -> Head:
    """A smooth nonlinear function of a whole sample, so that gradients differ everywhere and take both signs."""
    torch.manual_seed(seed)
    first = torch.randn(5, *shape[1:], dtype=torch.float64)
    second = torch.randn(5, dtype=torch.float64)

    def head(y: Tensor) -> Tensor:
        hidden = torch.tanh(torch.einsum("k...,n...->nk", first.to(y.dtype), y) / first[0].numel() ** 0.5)
        return hidden @ second.to(y.dtype)

    return head
