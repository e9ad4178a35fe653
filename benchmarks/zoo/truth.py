"""What a map should be: from a recording of the whole forward, and channels that are proved. No line of the library.

Where the channels are is proved by running the network at two sizes of its input: locations grow with the input, the
channels do not. The same tells the grid of tokens: ``others + rows * columns`` at two sizes has one solution. Which of
them lies where is found by changing the input there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn


@dataclass(frozen=True)
class Recorded:
    """A layer's activation and the target's gradient there."""

    activation: Tensor
    gradient: Tensor


def tensor_of(output: Any) -> Tensor:
    """The one tensor of a layer's output, also in a tuple, list or mapping of one or with a first that counts."""
    while not isinstance(output, Tensor):
        output = next(iter(output.values())) if hasattr(output, "values") else output[0]
    return torch.as_tensor(output)


def record(network: nn.Module, inputs: Tensor, names: Sequence[str], target: Tensor) -> dict[str, Recorded]:
    """Activations and gradients of some layers, from a graph that begins at the input and that nothing cuts.

    Args:
        network: In evaluation mode.
        inputs: A batch.
        names: Layers that run once.
        target: Index of the score, for each sample.
    """
    kept: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module, _: Any, output: Any) -> Any:
        tensor = tensor_of(output)
        if name in kept:
            raise RuntimeError(f"Layer {name} runs more than once.")
        if output is not tensor:  # a tuple
            kept[name] = tensor
            return output
        # A copy of the layer's own, for the output may be its input, which others use too; and what follows works on
        # another one, so that nothing can overwrite what is kept.
        kept[name] = tensor.clone()
        return kept[name].clone()

    with ExitStack() as undo, torch.enable_grad():
        for name in names:
            undo.callback(network.get_submodule(name).register_forward_hook(partial(keep, name)).remove)
        given = inputs.clone().requires_grad_() if inputs.dtype.is_floating_point else inputs
        scores = network(given)
        gradients = torch.autograd.grad(scores.gather(1, target[:, None]).sum(), [kept[name] for name in names])
    return {
        name: Recorded(kept[name].detach(), gradient.detach())
        for name, gradient in zip(names, gradients, strict=True)
    }  # fmt: skip


def shapes(network: nn.Module, inputs: Tensor, names: Sequence[str]) -> dict[str, torch.Size]:
    """Shapes of some layers' outputs."""
    found: dict[str, torch.Size] = {}

    def note(name: str, module: nn.Module, _: Any, output: Any) -> None:
        found[name] = tensor_of(output).shape

    with ExitStack() as undo, torch.no_grad():
        for name in names:
            undo.callback(network.get_submodule(name).register_forward_hook(partial(note, name)).remove)
        network(inputs)
    return found


def channel_dim(shape: Sequence[int], elsewhere: Sequence[int], samples: int) -> int | None:
    """The dimension of the channels: the only one that is as large with another size of the input.

    Args:
        shape: Of the layer's output.
        elsewhere: The same for an input of another size.
        samples: In both batches.

    Returns:
        None if the shapes do not tell, or the first dimension is not that of the samples.
    """
    if len(shape) != len(elsewhere) or {shape[0], elsewhere[0]} != {samples}:
        return None
    same = [d for d in range(1, len(shape)) if shape[d] == elsewhere[d] and shape[d] > 1]
    return same[0] if len(same) == 1 else None


def norm_map(recorded: Recorded, dim: int) -> Tensor:
    """NormGrad's map, (N, 1, ...), with the channels in dimension ``dim``: the product of two norms."""
    x, g = (torch.linalg.vector_norm(t.double(), dim=dim) for t in (recorded.activation, recorded.gradient))
    return torch.mul(x, g).unsqueeze(1)


def grad_cam(recorded: Recorded, dim: int) -> Tensor:
    """Grad-CAM's map before its ReLU, (N, 1, ...), with the channels in dimension ``dim``."""
    x, g = (t.double().movedim(dim, 1) for t in (recorded.activation, recorded.gradient))
    weights = g.mean(dim=tuple(range(2, g.dim())), keepdim=True)
    return (weights * x).sum(dim=1, keepdim=True)


def token_grid(
    tokens: int, tokens_elsewhere: int, sides: Sequence[int], sides_elsewhere: Sequence[int]
) -> tuple[int, ...] | None:
    """The grid of patches, from the numbers of tokens over two inputs: one size of patch, one number of other tokens.

    Patches are square, but may have a length of their own in the first of three dimensions, which may be time. They lie
    side by side, or overlap by up to a half.

    Args:
        tokens: Number of tokens over the input.
        tokens_elsewhere: The same for an input of another size.
        sides: Spatial size of the input.
        sides_elsewhere: That of the other input.

    Returns:
        None unless exactly one grid explains both; the more unusual only where no others do.
    """
    lengths = [range(1, side + 1) for side in sides]
    likely: list[set[tuple[int, ...]]] = [set(), set(), set()]  # of one length, of two, overlapping
    for time, step in product(lengths[0] if len(sides) == 3 else (0,), lengths[-1]):
        steps = [time or step, *[step] * (len(sides) - 1)]
        for overlap in range(1 if len(sides) == 3 else step + 1):
            here, there = (
                [(side - overlap) // one for side, one in zip(s, steps, strict=True)] for s in (sides, sides_elsewhere)
            )
            others = tokens - math.prod(here)
            if min(here) > 0 and others >= 0 and others == tokens_elsewhere - math.prod(there):
                likely[2 if overlap else time not in (0, step)].add(tuple(here))
    found = likely[0] or likely[1] or likely[2]
    return found.pop() if len(found) == 1 else None


def token_order(
    network: nn.Module, inputs: Tensor, name: str, dim: int, grid: Sequence[int], axes: Sequence[int]
) -> Tensor | None:
    """Which token stands for which cell of the grid: the one that changes most when that part of the input does.

    Where patches overlap, several change; each token is given to one cell, so that the changes together are largest.
    Raster order behind all other tokens is taken for true if it comes near that, and another order if it stands out.

    Args:
        network: In evaluation mode.
        inputs: A batch, of which the first sample is changed cell by cell.
        name: A layer that gives tokens.
        dim: Where its channels are.
        grid: Cells along each of ``axes``.
        axes: Spatial dimensions of the inputs.

    Returns:
        Indices of tokens for the cells in raster order; None if nothing tells.
    """
    best = None
    for part in ("cell", "corner"):  # padded patches overlap their neighbours' cells, but not their first corners
        change = _changes(network, inputs, name, dim, grid, axes, part)
        raster: Tensor = torch.arange(len(change)) + change.shape[1] - len(change)
        best = torch.from_numpy(linear_sum_assignment(change.numpy(), maximize=True)[1])
        of_raster, of_best = (change.gather(1, order[:, None])[:, 0] for order in (raster, best))
        if of_raster.sum() > 0.95 * of_best.sum():
            return raster
    stands_out = of_best > 2 * change.median(1).values
    return best if float(stands_out.float().mean()) > 0.9 else None


def _changes(
    network: nn.Module, inputs: Tensor, name: str, dim: int, grid: Sequence[int], axes: Sequence[int], part: str
) -> Tensor:
    """By cell and token, how much the token changes with the cell."""
    variants = [inputs[0]]
    for cell in product(*(range(number) for number in grid)):
        changed = inputs[0].clone()
        box = [slice(None)] * inputs.dim()
        for axis, place, number in zip(axes, cell, grid, strict=True):
            first, end = (p * inputs.shape[axis] // number for p in (place, place + 1))
            box[axis] = slice(first, end if part == "cell" else first + 1)
        changed[tuple(box[1:])] *= -1 if part == "cell" else -9
        variants.append(changed)
    given: list[Tensor] = []
    every = torch.stack(variants)
    with torch.no_grad():
        handle = network.get_submodule(name).register_forward_hook(lambda *call: given.append(tensor_of(call[2])))
        for start in range(0, len(every), 16):
            network(every[start : start + 16])
        handle.remove()
    tokens = torch.cat(given).movedim(dim, 2)
    change: Tensor = torch.linalg.vector_norm(tokens[1:] - tokens[:1], dim=2)
    return change


def contrast(maps: Sequence[Tensor]) -> float:
    """By how much scaling to [0, 1] enlarges roundings: the largest value over the range, of the flattest map."""
    worst = 1.0
    for one in maps:
        low, high = one.flatten(1).amin(1), one.flatten(1).amax(1)
        spans = (high / (high - low))[high - low > 1e-5 * high]
        worst = max([worst, *spans.tolist()])
    return worst


def combined(maps: Sequence[Tensor], size: Sequence[int]) -> Tensor:
    """The geometric mean of maps that are resized linearly and scaled to [0, 1], scaled again.

    Args:
        maps: (N, 1, ...) each; one that is constant for a sample does not take part for it.
        size: Spatial size of the result.
    """
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(size)]
    result = []
    for sample in range(len(maps[0])):
        scaled = []
        for one in maps:
            values = one[sample : sample + 1]
            if not is_constant(values):
                scaled.append(_unit(F.interpolate(values, size=tuple(size), mode=mode, align_corners=False)))
        mean = torch.stack(scaled).prod(0) ** (1 / len(maps)) if scaled else torch.zeros(1, 1, *size)
        result.append(_unit(mean.double()))
    return torch.cat(result)


def is_constant(values: Tensor) -> bool:
    """Whether a map says the same everywhere, but for the rounding of float32."""
    return bool(values.amax() - values.amin() <= 1e-5 * values.abs().amax())


def _unit(values: Tensor) -> Tensor:
    low, high = values.amin(), values.amax()
    return (values - low) / (high - low) if high > low else torch.zeros_like(values)
