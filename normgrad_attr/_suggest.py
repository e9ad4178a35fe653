"""A start for an unknown model: the last block of each resolution, found in one forward."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from normgrad_attr._captum import run_forward
from normgrad_attr._guards import EVERY_MODULE_RUNS
from normgrad_attr._layers import owner
from normgrad_attr._tokens import looks_like_tokens


def suggest_layers(
    forward_func: Callable[..., Any],
    inputs: Tensor | tuple[Tensor, ...],
    additional_forward_args: Any = None,
    *,
    count: int = 4,
) -> list[str]:
    r"""Propose layers for :class:`~normgrad_attr.CombinedNormGrad`: the last block of each of the last resolutions.

    The last block of a resolution has the largest receptive field and the most meaning that the resolution offers,
    and the product over several of them is robust: which single block points best differs from network to network,
    while the product stays near the best of them.

    Earlier resolutions than the last ``count`` are dropped. Near the input a unit sees a few pixels, so its map shows
    edges of all sorts whatever the target, and a product lets every layer veto. With four, torchvision's ResNets give
    the ends of ``layer1`` to ``layer4`` and VGG16 the layers that the NormGrad paper uses.

    What counts as a block: an instance of a class of which the model runs several (``BasicBlock``, ``MBConv``,
    ``EncoderBlock``), or a small part of the model that makes something of its children's outputs (a sum, a
    concatenation), but not a plain ``nn.Sequential``; where a model has none, its single layers. A resolution that only
    pooling makes is passed over, and so are maps of one location and modules that run more than once. Where a
    transformer keeps one resolution throughout, ``count`` of its blocks are taken at even depths, without the last:
    behind it a class token alone may reach the head, which leaves no gradient on the patches.

    Args:
        forward_func: The model, also inside DataParallel or compiled.
        inputs: A batch as for the model, (N, ...), any dtype that it takes, or a tuple of such; one sample is enough,
            but its size decides.
        additional_forward_args: Further arguments of the model.
        count: Most layers to propose.

    Returns:
        Dotted names, from early to late. All have their channels in the same place; if they are tokens or
        channels-last (ViT, Swin), pass ``channel_dim=-1`` along with them.

    Raises:
        ValueError: ``forward_func`` is a plain function, ``count`` is not positive, or no layer has a spatial map.

    Examples:
        >>> import torch
        >>> from torchvision.models import resnet50
        >>> from normgrad_attr import CombinedNormGrad, suggest_layers
        >>> model, images = resnet50().eval(), torch.rand(1, 3, 96, 96)
        >>> suggest_layers(model, images)
        ['layer1.2', 'layer2.3', 'layer3.5', 'layer4.2']
        >>> method = CombinedNormGrad(model, suggest_layers(model, images))

    References:
        Rebuffi et al., CVPR 2020, arXiv:2004.02866 (combination over layers).
    """
    model = owner(forward_func)
    if model is None:
        raise ValueError("suggest_layers looks at the modules of a model; pass the model itself, not a function.")
    if count < 1:
        raise ValueError(f"count must be at least 1, not {count}.")
    calls = _trace(model, inputs, additional_forward_args)
    blocks = sorted(_blocks(model, calls), key=lambda call: call.order)
    composite = [b for b in blocks if next(b.module.children(), None) is not None and b.has_weights]
    chosen = _last_of_each_resolution(composite or blocks)[-count:]
    if not chosen:
        raise ValueError(
            f"No layer of {type(model).__name__} gives a map of several locations for this input; pass a larger input, "
            "or name the layers yourself."
        )
    if len(chosen) == 1 and chosen[0].tokens:
        chosen = _at_even_depths([b for b in composite if type(b.module) is type(chosen[0].module)] or chosen, count)
    return [call.name for call in chosen]


@dataclass(frozen=True)
class _Call:
    """A module that ran once and gave one map: the order in which it finished, what it gave, whether it is a block."""

    name: str
    module: nn.Module
    order: int
    resolution: tuple[int, ...]
    tokens: bool
    atomic: bool

    @property
    def has_weights(self) -> bool:
        return next(self.module.parameters(), None) is not None


def _trace(model: nn.Module, inputs: Any, additional_forward_args: Any) -> dict[nn.Module, _Call]:
    """All modules with one map, from one forward in evaluation mode; the model is left as it was."""
    outputs: dict[nn.Module, list[tuple[int, Any, bool]]] = {}
    finished, latest = 0, None

    def after(module: nn.Module, _: tuple[Any, ...], output: Any) -> None:
        nonlocal finished, latest
        finished += 1
        single = output[0] if isinstance(output, (tuple, list)) and len(output) == 1 else output
        is_map = isinstance(single, Tensor) and single.dtype.is_floating_point
        # Only shapes are kept, but for the latest output, since the outputs of a whole network are large.
        shape = single.detach().to("meta") if is_map else None
        outputs.setdefault(module, []).append((finished, shape, single is not latest))
        latest = single

    names = {module: name for name, module in model.named_modules()}
    with contextlib.ExitStack() as undo:
        undo.enter_context(_evaluation_mode(model))
        undo.enter_context(torch.no_grad())
        undo.enter_context(EVERY_MODULE_RUNS)
        for module in names:
            undo.callback(module.register_forward_hook(after).remove)
        run_forward(model, inputs, None, additional_forward_args)
    classes = [type(module) for module in outputs]
    first = inputs[0] if isinstance(inputs, tuple) else inputs
    calls = {}
    for module, given in outputs.items():
        order, output, made_here = given[0]
        if len(given) > 1 or output is None or output.dim() < 3 or len(output) != len(first):
            continue
        tokens = looks_like_tokens(module, output)
        resolution = tuple(output.shape[1:-1] if tokens else output.shape[2:])
        if torch.Size(resolution).numel() > 1:
            part = 2 * sum(1 for _ in module.modules()) < len(outputs)  # not a backbone in a wrapper
            atomic = classes.count(type(module)) > 1 or (made_here and part)
            calls[module] = _Call(names[module], module, order, resolution, tokens, atomic)
    return calls


def _blocks(module: nn.Module, calls: dict[nn.Module, _Call], root: bool = True) -> Iterator[_Call]:
    """The blocks inside a module: itself, or those of its children."""
    call = calls.get(module)
    children = list(module.children())
    if call and not root and (not children or (call.atomic and type(module) is not nn.Sequential)):
        yield call
        return
    for child in children:
        yield from _blocks(child, calls, root=False)


def _last_of_each_resolution(blocks: list[_Call]) -> list[_Call]:
    """The last block of each resolution that some weights work at, all of one layout (that of the last)."""
    worked_at = {b.resolution for b in blocks if b.has_weights}
    blocks = [b for b in blocks if b.resolution in worked_at]
    last = {b.resolution: b for b in blocks if b.tokens == blocks[-1].tokens}
    return sorted(last.values(), key=lambda call: call.order)


def _at_even_depths(blocks: list[_Call], count: int) -> list[_Call]:
    usable = blocks[:-1] or blocks
    count = min(count, len(usable))
    return [usable[(i + 1) * len(usable) // count - 1] for i in range(count)]


@contextlib.contextmanager
def _evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, so that a look at the model leaves its statistics alone, and back again."""
    training = {module: module.training for module in model.modules()}
    try:
        model.eval()
        yield
    finally:
        for module, mode in training.items():
            module.training = mode
