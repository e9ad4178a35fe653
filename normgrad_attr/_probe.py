"""Layer weights from linear probes: how well each layer's features alone tell the classes apart."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge, saved_tensors_hooks

from normgrad_attr._capture import begun
from normgrad_attr._guards import EVERY_MODULE_RUNS
from normgrad_attr._layers import name_of, owner, resolve, unwrapped
from normgrad_attr._layout import Layouts
from normgrad_attr._state import ModelState


def probe_weights(
    forward_func: Callable[..., Any],
    layers: Sequence[nn.Module | str],
    loader: Iterable[Any],
    *,
    validation: float = 0.25,
    ridge: float = 1e-2,
    channel_dim: int | None = None,
    seed: int = 0,
) -> list[float]:
    """Accuracy of a linear classifier on the features of each layer, for ``CombinedNormGrad(weights=...)``.

    The features of a sample are the layer's activation, averaged over all locations. A ridge regression onto the
    one-hot labels, in closed form, is fitted to one part of the samples, and its accuracy is measured on the rest, the
    same split for all layers. One forward per batch serves all layers. Use data that the maps are not judged on.

    Args:
        forward_func: The model, in evaluation mode.
        layers: Modules or dotted names.
        loader: Batches ``(inputs, labels, ...)``: inputs (N, ...), or a tuple of such, and labels (N,) of integers. A
            DataLoader, or any iterable; it is gone through once.
        validation: Part of each class's samples on which the accuracy is measured, between 0 and 1.
        ridge: Penalty on the weights of standardised features, relative to the number of samples.
        channel_dim: Dimension of the channels, as in :class:`~normgrad_attr.NormGrad`; found for each layer by default.
        seed: Of the split.

    Returns:
        One accuracy in [0, 1] for each layer, in the given order.

    Raises:
        ValueError: No batches, labels that are not integers of shape (N,), fewer than two classes, a class with a
            single sample, an unknown layer.
        RuntimeError: A layer that did not run once for each batch.
        TypeError: A layer that does not give one tensor, batches that are not tuples, layers that are not a list.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from normgrad_attr import CombinedNormGrad, probe_weights
        >>> model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Flatten()).eval()
        >>> labels = torch.arange(40) % 2
        >>> images = torch.rand(40, 1, 8, 8) + labels.view(-1, 1, 1, 1)
        >>> weights = probe_weights(model, ["0", "2"], [(images, labels)])
        >>> len(weights)
        2
        >>> method = CombinedNormGrad(model, ["0", "2"], weights=weights)

    References:
        Rebuffi, Fong, Ji, Vedaldi: There and Back Again: Revisiting Backpropagation Saliency Methods. CVPR 2020,
        arXiv:2004.02866; Alain, Bengio: Understanding Intermediate Layers Using Linear Classifier Probes.
        2016, arXiv:1610.01644.
    """
    if not 0 < validation < 1:
        raise ValueError(f"validation must lie between 0 and 1, not {validation}.")
    if isinstance(layers, (str, nn.Module)):
        raise TypeError("layers is a list of modules or names, one weight for each, as in [model.layer3, 'layer4'].")
    modules = [resolve(forward_func, layer) for layer in layers]
    features, labels = _features(forward_func, modules, loader, channel_dim)
    held_out = _split(labels, validation, seed)
    return [_accuracy(features[module], labels, held_out, ridge) for module in modules]


def _features(
    forward_func: Callable[..., Any], modules: Sequence[nn.Module], loader: Iterable[Any], channel_dim: int | None
) -> tuple[dict[nn.Module, Tensor], Tensor]:
    """Activations of all samples averaged over space, (samples, channels) float64 by layer, and the labels."""
    pooled: dict[nn.Module, list[Tensor]] = {module: [] for module in modules}
    labels: list[Tensor] = []

    def after(module: nn.Module, _: tuple[Any, ...], output: Any) -> None:
        if not isinstance(output, Tensor) or output.dim() < 2:
            raise TypeError(
                f"Layer {name_of(forward_func, module)} does not give one tensor of shape (N, C, ...); choose another."
            )
        edge = get_gradient_edge(output) if output.requires_grad else None
        order = Layouts(None).of(edge).order(channel_dim, tuple(output.shape), name_of(forward_func, module))
        pooled[module].append(output.detach().permute(order).double().flatten(2).mean(2).cpu())

    model, run = owner(forward_func), unwrapped(forward_func, nn.parallel.DistributedDataParallel)
    device = next((p.device for p in model.parameters()), None) if model is not None else None
    with contextlib.ExitStack() as undo:
        # The graph tells where the channels are; none of its tensors is kept.
        undo.enter_context(torch.enable_grad())
        undo.enter_context(saved_tensors_hooks(lambda _: None, lambda _: torch.empty(0, device="cpu")))
        undo.enter_context(ModelState(forward_func).watched())
        undo.enter_context(EVERY_MODULE_RUNS)
        for module in pooled:
            undo.callback(module.register_forward_hook(after).remove)
        for batch in loader:
            if not isinstance(batch, (tuple, list)) or len(batch) < 2:
                raise TypeError(
                    f"The loader gave a {type(batch).__name__}, but a batch is a tuple (inputs, labels); pass for "
                    "example ((batch['image'], batch['label']) for batch in loader)."
                )
            inputs, target, *_ = batch
            tensors = inputs if isinstance(inputs, (tuple, list)) else (inputs,)
            run(*begun(tuple(t if device is None else t.to(device) for t in tensors)))
            labels.append(_checked(target if isinstance(target, Tensor) else torch.as_tensor(target, device="cpu")))
            for module, rows in pooled.items():
                if len(rows) != len(labels) or len(rows[-1]) != len(labels[-1]):
                    raise RuntimeError(
                        f"Layer {name_of(forward_func, module)} did not run exactly once on each sample of a batch; "
                        "choose a layer that does."
                    )
    if not labels:
        raise ValueError("The loader gave no batches; a probe needs labelled samples.")
    return {module: torch.cat(rows) for module, rows in pooled.items()}, torch.cat(labels)


def _checked(labels: Tensor) -> Tensor:
    if labels.dim() != 1 or labels.is_floating_point() or labels.is_complex():
        raise ValueError(
            f"Labels are one integer for each sample, of shape (N,); these are {labels.dtype} of shape "
            f"{tuple(labels.shape)} (one-hot labels: pass labels.argmax(1))."
        )
    return labels.long().cpu()


def _split(labels: Tensor, validation: float, seed: int) -> Tensor:
    """Which samples are held out: the same part of each class, drawn at a fixed seed."""
    generator = torch.Generator("cpu").manual_seed(seed)
    held_out = torch.zeros_like(labels, dtype=torch.bool)
    classes = sorted(set(labels.tolist()))
    if len(classes) < 2:
        raise ValueError(f"A probe tells classes apart, but all labels are {classes[0]}; pass samples of two or more.")
    for c in classes:
        members = (labels == c).nonzero().flatten()
        if len(members) < 2:
            raise ValueError(f"Class {c} has a single sample; a probe needs one to fit and one to test at least.")
        count = min(max(round(validation * len(members)), 1), len(members) - 1)
        held_out[members[torch.randperm(len(members), generator=generator, device=generator.device)[:count]]] = True
    return held_out


def _accuracy(features: Tensor, labels: Tensor, held_out: Tensor, ridge: float) -> float:
    """Held-out accuracy of a ridge regression onto the one-hot labels."""
    classes = torch.tensor(sorted(set(labels.tolist())), device=labels.device)
    fit = ~held_out
    mean, scale = features[fit].mean(0), features[fit].std(0, correction=0)
    x = (features - mean) / torch.where(scale > 0, scale, 1.0)
    y = F.one_hot(torch.searchsorted(classes, labels[fit])).double()
    centre = y.mean(0)
    penalty = ridge * len(y) * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    weight = torch.linalg.solve(x[fit].mT @ x[fit] + penalty, x[fit].mT @ (y - centre))
    predicted = classes[(x[held_out] @ weight + centre).argmax(1)]
    return float((predicted == labels[held_out]).double().mean())
