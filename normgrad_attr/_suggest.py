"""A start for an unknown model: the last block of each resolution, found in one forward."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from normgrad_attr._capture import begun, forward
from normgrad_attr._guards import EVERY_MODULE_RUNS, check_call
from normgrad_attr._layers import owner
from normgrad_attr._layout import Layout, Layouts
from normgrad_attr._state import Arguments, ModelState, remembered_chance

#: A map whose values differ by less than this part of the largest says nothing of where.
_FLAT = 1e-3


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
    pooling makes is passed over, and so are modules that run more than once, maps of one location, maps of which the
    network does not tell how they lie on the input, and constant maps, such as behind the last block of a transformer
    whose head reads the class token only, or behind the last norm before average pooling. Where a transformer keeps one
    resolution throughout, ``count`` of its blocks are taken at even depths.

    Args:
        forward_func: The model, also inside DataParallel or compiled.
        inputs: A batch as for the model, (N, ...), any dtype that it takes, or a tuple of such; its size decides, and
            two samples of it are looked at (all if there are further arguments).
        additional_forward_args: Further arguments of the model.
        count: Most layers to propose.

    Returns:
        Dotted names, from early to late. Feature maps, tokens and channels-last features may be among them, which
        :class:`~normgrad_attr.NormGrad` and :class:`~normgrad_attr.CombinedNormGrad` tell apart by themselves.

    Raises:
        ValueError: ``forward_func`` is a plain function, ``count`` is not positive, an empty batch, or no layer has a
            spatial map.
        RuntimeError: Inference mode, or what the model itself raises.
        TypeError: An input that is no tensor.

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
    if len(chosen) == 1:
        chosen = _at_even_depths(composite or chosen, chosen[0].resolution, count)
    return [call.name for call in chosen]


@dataclass(frozen=True)
class _Call:
    """A module that ran once and gave one map: the order in which it finished, what it gave, whether it is a block."""

    name: str
    module: nn.Module
    order: int
    resolution: tuple[int, ...]
    atomic: bool

    @property
    def has_weights(self) -> bool:
        return next(self.module.parameters(), None) is not None


@dataclass(frozen=True)
class _Output:
    """One tensor that a module gave, and where it stands in the graph."""

    order: int
    value: Tensor
    edge: GradientEdge
    made_here: bool


def _trace(model: nn.Module, inputs: Any, additional_forward_args: Any) -> dict[nn.Module, _Call]:
    """All modules with one map that says something of where, from one pass in evaluation mode."""
    check_call(model, inputs)
    given: dict[nn.Module, list[_Output | None]] = {}
    finished, latest = 0, None

    def after(module: nn.Module, _: tuple[Any, ...], output: Any) -> None:
        nonlocal finished, latest
        finished += 1
        parts = [t for t in output if t is not None] if isinstance(output, (tuple, list)) else [output]
        single = parts[0] if len(parts) == 1 else output
        recorded = isinstance(single, Tensor) and single.requires_grad and single.dim() > 2
        found = (
            _Output(finished, single.detach(), get_gradient_edge(single), single is not latest) if recorded else None
        )
        given.setdefault(module, []).append(found)
        latest = single

    names = {module: name for name, module in model.named_modules()}
    set_chance_back = remembered_chance()
    with contextlib.ExitStack() as undo:
        undo.callback(set_chance_back)
        undo.enter_context(_evaluation_mode(model))
        undo.enter_context(ModelState(model).watched())
        undo.enter_context(EVERY_MODULE_RUNS)
        undo.enter_context(torch.enable_grad())
        for module in names:
            undo.callback(module.register_forward_hook(after).remove)
        sample = begun(_two(inputs) if additional_forward_args is None else inputs)
        further = Arguments(additional_forward_args, keep_graph=False).copies()  # a look changes nothing
        score = _any_score(forward(model, sample, further))
    first = sample[0] if isinstance(sample, tuple) else sample
    once = {module: outputs[0] for module, outputs in given.items() if len(outputs) == 1 and outputs[0] is not None}
    layouts = Layouts(None if score is None else score.grad_fn)
    classes = [type(module) for module in given]
    calls, maps = {}, {}
    for module, found in once.items():
        layout = layouts.of(found.edge)
        without_channels = layout.input_channel_dim(tuple(first.shape)) is None
        directions = max(first.dim() - (1 if without_channels else 2), 1)
        resolution = layout.grid(directions)
        if resolution is not None and torch.Size(resolution).numel() > 1:
            part = 2 * sum(1 for _ in module.modules()) < len(given)  # not a backbone in a wrapper
            atomic = classes.count(type(module)) > 1 or (found.made_here and part)
            calls[module] = _Call(names[module], module, found.order, resolution, atomic)
            maps[module] = (found, layout, directions)
    flat = _constant(maps, score)
    return {module: call for module, call in calls.items() if module not in flat}


def _two(inputs: Any) -> Any:
    """Two samples of a batch."""
    return tuple(map(_two, inputs)) if isinstance(inputs, tuple) else inputs[:2]


def _any_score(output: Any) -> Tensor | None:
    """A number that depends on all that a model puts out, each with a weight of its own; None if it is not recorded."""
    if isinstance(output, Tensor):
        if not output.requires_grad:
            return None
        weights = torch.linspace(1, 2, output.numel(), device=output.device).sin().view(output.shape)
        return (output * weights.to(output.dtype)).sum()
    parts = output.values() if isinstance(output, dict) else output if isinstance(output, (tuple, list)) else ()
    scores = [s for s in map(_any_score, parts) if s is not None]
    return torch.stack([s.real.double() if s.is_complex() else s.double() for s in scores]).sum() if scores else None


def _constant(maps: dict[nn.Module, tuple[_Output, Layout, int]], score: Tensor | None) -> set[nn.Module]:
    """The modules whose map is the same everywhere; none if no map says anything, as with a head of zeros."""
    if score is None or score.is_meta or not maps:
        return set()
    edges = [found.edge for found, _, _ in maps.values()]
    gradients = torch.autograd.grad(score, edges, allow_unused=True)
    flat = set()
    for (module, (found, layout, directions)), g in zip(maps.items(), gradients, strict=True):
        if g is not None:
            order = layout.order(None, tuple(g.shape), "")
            # In units of the largest values, whose squares neither overflow nor vanish.
            x, g = ((t / t.abs().amax()).nan_to_num().permute(order).float() for t in (found.value, g))
            on_grid = layout.laid_out(x.norm(dim=1, keepdim=True) * g.norm(dim=1, keepdim=True), None, directions)
            low, high = on_grid.flatten(1).aminmax(dim=1)
        if g is None or bool((high - low <= _FLAT * high).all()):
            flat.add(module)
    return flat if len(flat) < len(maps) else set()


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
    """The last block of each resolution that some weights work at."""
    worked_at = {b.resolution for b in blocks if b.has_weights}
    last = {b.resolution: b for b in blocks if b.resolution in worked_at}
    return sorted(last.values(), key=lambda call: call.order)


def _at_even_depths(blocks: list[_Call], resolution: tuple[int, ...], count: int) -> list[_Call]:
    """Some of the blocks of a resolution, of the kind that there are most of."""
    blocks = [b for b in blocks if b.resolution == resolution]
    classes = [type(b.module) for b in blocks]
    usable = [b for b in blocks if type(b.module) is max(classes, key=classes.count)]
    count = min(count, len(usable))
    return [usable[(i + 1) * len(usable) // count - 1] for i in range(count)]


@contextlib.contextmanager
def _evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, so that a look at the model leaves its statistics alone, and back again."""
    training = {module: module.training for module in model.modules()}
    try:
        for module in training:  # not by eval(), in which a user's own module may do more, such as to merge weights
            module.training = False
        yield
    finally:
        for module, mode in training.items():
            module.training = mode
