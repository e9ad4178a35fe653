"""One architecture: what the library says and does there beside the truth, and what others do on the same layers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.zoo import verdicts
from benchmarks.zoo.architecture import Architecture
from benchmarks.zoo.peers import PEERS, judge
from benchmarks.zoo.truth import (
    Recorded,
    channel_dim,
    combined,
    contrast,
    is_constant,
    norm_map,
    record,
    shapes,
    token_grid,
    token_order,
)
from normgrad_attr import CombinedNormGrad, NormGrad, explain, suggest_layers


def examine(architecture: Architecture) -> Iterator[dict[str, Any]]:
    """Try the library on an architecture.

    Yields:
        Parts of the record, one after the other; ``stage`` says what is being done until the next.
    """
    torch.set_num_threads(1)
    yield {"stage": "building the network"}
    network = build(architecture, architecture.size)
    inputs, elsewhere = architecture.inputs(), architecture.inputs(architecture.other_size)
    with torch.no_grad():
        scores = network(inputs)
    if scores.dim() != 2 or len(scores) != len(inputs) or not bool(scores.isfinite().all()):
        raise ValueError(f"{architecture.key} gives no finite scores (N, K), but {tuple(scores.shape)}.")
    target = scores.argmax(1)
    yield {"input": list(inputs.shape), "parameters": sum(p.numel() for p in network.parameters())}

    before = state(network, inputs)
    yield {"stage": verdicts.SUGGESTING}
    layers, verdict = verdicts.attempt(lambda: suggest_layers(network, inputs))
    yield {"suggest_layers": verdict, "layers": layers or []}
    if layers is None:
        return
    ends = list(dict.fromkeys((layers[0], layers[-1])))

    yield {"stage": "recording the truth"}
    other, axes = build(architecture, architecture.other_size), architecture.axes(inputs)

    def known(names: Sequence[str]) -> tuple[dict[str, Recorded], dict[str, int | None], tuple[Tensor, float] | str]:
        recorded, there = record(network, inputs, names, target), shapes(other, elsewhere, names)
        places = {name: channel_dim(recorded[name].activation.shape, there[name], len(inputs)) for name in names}
        return recorded, places, combined_truth(network, inputs, elsewhere, axes, recorded, places, there)

    truth, dims, want = known(layers)
    yield {
        "channels": [dims[name] for name in layers],
        "shapes": [list(truth[name].activation.shape) for name in layers],
        "constant": [n for n, d in dims.items() if d is not None and all(map(is_constant, norm_map(truth[n], d)))],
    }

    yield {"stage": verdicts.COLUMNS["normgrad"]}
    found = []
    with Calls(network) as calls:
        for name in ends:
            maps, verdict = attempt_map(partial(NormGrad, network, name), inputs, target)
            found.append(verdicts.judge_map(maps, verdict, truth[name], dims[name]))
    yield {"normgrad": verdicts.worst(found), "forwards": calls.count / len(ends)}

    yield {"stage": verdicts.COLUMNS["combined"]}
    with Calls(network) as calls:
        maps, verdict = attempt_map(partial(CombinedNormGrad, network, layers), inputs, target)
    yield {"combined": verdicts.judge_combined(maps, verdict, want, len(layers)), "forwards_combined": calls.count}

    if architecture.kind in ("image", "film"):
        yield {"stage": verdicts.COLUMNS["explain"]}
        with Calls(network) as calls:
            result, verdict = verdicts.attempt(partial(explain, network, inputs))
        if result is not None and list(result.layers) != layers:  # it looks at one sample, not at the batch
            layers = list(result.layers)
            want = known(layers)[2]
        maps = None if result is None else result.maps
        yield {"explain": verdicts.judge_combined(maps, verdict, want, len(layers)), "forwards_explain": calls.count}

    yield {"stage": verdicts.COMPARING}
    yield {"changed": changes(before, state(network, inputs))}
    yield {"stage": verdicts.TIMING}
    yield timing(network, inputs, target, layers)
    yield from beside_peers(network, inputs, target, {name: (truth[name], dims[name]) for name in ends})


def attempt_map(make: Callable[[], Any], inputs: Tensor, target: Tensor) -> tuple[Any, verdicts.Verdict]:
    """Make a method of the library and have it explain: its maps and no complaint, or None with how that failed."""
    method, verdict = verdicts.attempt(make)
    return (None, verdict) if method is None else verdicts.attempt(partial(method.attribute, inputs, target))


def beside_peers(
    network: nn.Module, inputs: Tensor, target: Tensor, layers: Mapping[str, tuple[Recorded, int | None]]
) -> Iterator[dict[str, Any]]:
    """What the other packages make of some layers, by the worst of them, and what they leave behind.

    Args:
        network: In evaluation mode.
        inputs: The batch.
        target: Index of the score, for each sample.
        layers: By name, the truth and where the channels are.
    """
    order = ("right", "unproved", "fail", "wrong")
    for key, (_, peer) in PEERS.items():
        yield {"stage": key}
        before = state(network, inputs)
        found = [judge(peer, network, name, inputs, target, *known) for name, known in layers.items()]
        yield {
            key: max(found, key=lambda verdict: order.index(verdict["verdict"])),
            f"{key}_changed": changes(before, state(network, inputs)),
        }
        network.zero_grad(set_to_none=True)


def build(architecture: Architecture, size: int) -> nn.Module:
    """The network in evaluation mode, with random weights that let every part of it take part.

    Weights that begin as constants (heads and residual branches of zeros, layer scales of 1e-6) get some noise, and
    batch norms the statistics of the input; otherwise gradients would vanish on the way and every map would be right.
    """
    torch.manual_seed(0)
    network = architecture.build(size).eval()
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.is_floating_point() and bool((parameter == parameter.flatten()[:1]).all()):
                parameter.add_(0.1 * torch.randn_like(parameter))
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.train()
            norm.momentum = 1.0
        network(architecture.inputs(size))
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.eval()
            norm.momentum = momentum
    return network


def combined_truth(
    network: nn.Module,
    inputs: Tensor,
    elsewhere: Tensor,
    axes: Sequence[int],
    truth: dict[str, Recorded],
    dims: dict[str, int | None],
    there: dict[str, torch.Size],
) -> tuple[Tensor, float] | str:
    """The combined map of all layers and how exactly it can be known, or why it is not.

    Args:
        network: In evaluation mode.
        inputs: The batch.
        elsewhere: One of another size.
        axes: Spatial dimensions of both.
        truth: Activations and gradients of the layers.
        dims: Where their channels are.
        there: Their shapes for ``elsewhere``.
    """
    sides, other_sides = ([batch.shape[axis] for axis in axes] for batch in (inputs, elsewhere))
    laid = []
    for name, recorded in truth.items():
        dim, shape = dims[name], tuple(recorded.activation.shape)
        if dim is None:
            return f"nothing tells where the channels of {name} are in {shape}"
        values = norm_map(recorded, dim)
        if values.dim() != 2 + len(sides):
            tokens = 3 - dim
            found = token_grid(shape[tokens], there[name][tokens], sides, other_sides) if len(shape) == 3 else None
            order = None if found is None else token_order(network, inputs, name, dim, found, axes)
            if found is None or order is None:
                return f"nothing tells how {name} of shape {shape} lies on the input"
            values = values[:, :, order].reshape(len(inputs), 1, *found)
        laid.append(values)
    return combined(laid, sides), contrast(laid)


class Calls:
    """Counts the forwards of a network: one is what a map needs, a second is a replay."""

    def __init__(self, network: nn.Module) -> None:
        self._network, self.count = network, 0

    def __enter__(self) -> Calls:
        self._handle = self._network.register_forward_pre_hook(self._add)
        return self

    def _add(self, *_: Any) -> None:
        self.count += 1

    def __exit__(self, *_: object) -> None:
        self._handle.remove()


def state(network: nn.Module, inputs: Tensor) -> dict[str, Any]:
    """Everything about a network that an attribution must leave alone."""
    modules = dict(network.named_modules())
    return {
        "weights or buffers": {name: value.clone() for name, value in network.state_dict().items()},
        "training flags": {name: module.training for name, module in modules.items()},
        "requires_grad": {name: p.requires_grad for name, p in network.named_parameters()},
        ".grad": {name: p.grad is not None for name, p in network.named_parameters()},
        "hooks": {
            name: [len(h) for h in (m._forward_hooks, m._forward_pre_hooks, m._backward_hooks, m._backward_pre_hooks)]
            for name, m in modules.items()
        },
        "attributes": {name: sorted(vars(module)) for name, module in modules.items()},
        "the input": {"": inputs.clone(), "requires_grad": inputs.requires_grad},
    }


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What differs between two states."""
    return [what for what in before if not _same(before[what], after[what])]


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    if one.keys() != other.keys():
        return False
    return all(
        torch.equal(a.nan_to_num(), other[name].nan_to_num()) if isinstance(a, Tensor) else a == other[name]
        for name, a in one.items()
    )


def timing(network: nn.Module, inputs: Tensor, target: Tensor, layers: Sequence[str]) -> dict[str, Any]:
    """Processor time of inference in seconds, and of attributions in units of it: the best of three rounds."""

    def inference() -> None:
        with torch.no_grad():
            network(inputs)

    calls: dict[str, Callable[[], Any]] = {
        "inference": inference,
        "cost": lambda: NormGrad(network, layers[-1]).attribute(inputs, target),
        "cost_combined": lambda: CombinedNormGrad(network, layers).attribute(inputs, target),
    }
    best: dict[str, float] = {}
    for _ in range(3):
        for name, call in list(calls.items()):
            start = time.process_time()
            _, verdict = verdicts.attempt(call)
            if verdict["verdict"] != "right":
                del calls[name]
                continue
            best[name] = min(best.get(name, float("inf")), time.process_time() - start)
    unit = best["inference"]
    return {name: round(seconds if name == "inference" else seconds / unit, 4) for name, seconds in best.items()}
