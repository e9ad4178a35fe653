"""Hooks that keep what the requested layers give in one forward, and the target's gradient for it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.utils.hooks import RemovableHandle

from normgrad_attr._layers import name_of

#: Torch numbers hooks with a counter that two threads could read at once.
_REGISTERING = threading.Lock()


@dataclass(frozen=True)
class Captured:
    """What one layer did in one pass.

    Args:
        activations: The layer's output tensors, or input tensors, detached unless the graph was asked for.
        gradients: ``d target / d activation``, same shapes.
        inputs: The layer's first input tensor, if it was asked for.
    """

    activations: tuple[Tensor, ...]
    gradients: tuple[Tensor, ...]
    inputs: Tensor | None = None


@dataclass(frozen=True)
class _Kept:
    """A layer's tensors as they were when the layer was left, and where their gradients arrive in the graph."""

    values: tuple[Tensor, ...]
    edges: tuple[GradientEdge, ...]
    inputs: Tensor | None = None


class Recorder:
    """What the layers give in one forward, by layer and device.

    With ``lazy``, nothing is recorded before the first of the layers. The graph begins at that layer's output, so
    whatever was computed from it *before* the layer was left is missing. Where that can be seen, ``incomplete`` is set,
    and the pass is to be made again, fully recorded: a layer with several outputs, which may depend on each other; one
    that hands a tensor of its caller's on, which the caller may have used already; an output that is overwritten by way
    of another view of its memory; a grad mode of the model's own that closes the graph again. What cannot be seen is a
    value that the layer, or a hook on it, works out from its output and keeps, and that reaches the target by another
    way than through the output; and a layer that returns a tensor which it has from elsewhere than its arguments, and
    which the model has used before.

    Args:
        forward_func: Model, or a function around one, for the names in messages.
        layers: Modules; repeated and nested ones are fine.
        lazy: Begin the graph at the first of the layers.
        layer_input: Keep the layers' inputs instead of their outputs.
        keep_input: Keep each layer's first input tensor beside its output.
        keep_graph: Keep activations with their graph.
        parallel: The model runs in threads of its own, one for each device.
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layers: Sequence[nn.Module],
        *,
        lazy: bool,
        layer_input: bool,
        keep_input: bool,
        keep_graph: bool,
        parallel: bool,
    ) -> None:
        self.forward_func = forward_func
        self.lazy = lazy
        self.layer_input = layer_input
        self.keep_input = keep_input
        self.keep_graph = keep_graph
        # Hooks are seen by all threads: what others do with the same model meanwhile is none of this pass's business.
        self.thread = None if parallel else threading.get_ident()
        self.kept: dict[nn.Module, dict[torch.device, _Kept]] = {layer: {} for layer in layers}
        self.reused: dict[nn.Module, None] = {}
        self.elsewhere: dict[nn.Module, None] = {}
        self.begun: list[tuple[Tensor, int]] = []
        self.unopened = lazy
        self.incomplete = False

    @contextlib.contextmanager
    def hooked(self) -> Iterator[None]:
        """Watch the layers while the model runs."""
        with contextlib.ExitStack() as stack:
            with _REGISTERING:
                for layer in self.kept:
                    stack.callback(self._hook(layer).remove)
            if self.lazy:
                # Autocast would go on using the casts of weights that it made without a graph.
                stack.callback(torch.clear_autocast_cache)
            stack.enter_context(torch.set_grad_enabled(not self.lazy))
            yield
            # A context of the model's own that was entered before the first layer and left behind it has switched
            # recording off again: what followed is missing from the graph.
            closed = not self.unopened and not torch.is_grad_enabled()
            # What was overwritten by way of another view of its memory should have become a part of that one's history.
            overwritten = any(t._version != version for t, version in self.begun)
            self.incomplete |= self.lazy and (closed or overwritten)

    def check_calls(self) -> None:
        """Raise unless every layer ran, and once only."""
        silent = [layer for layer in self.kept if not self.kept[layer]]
        if any(layer in self.elsewhere for layer in silent):
            raise AssertionError(
                f"Layer {self._names(silent)} ran in another thread than attribute(), as in a DataParallel model that "
                "forward_func hides; pass device_ids as to DataParallel."
            )
        if silent:
            raise RuntimeError(
                f"Layer {self._names(silent)} did not run in the forward pass, so it has no activation; choose a layer "
                "that the model calls for this input (and if forward_func hides a compiled or scripted model, pass "
                "the eager one)."
            )
        if self.reused:
            raise RuntimeError(
                f"Layer {self._names(self.reused)} ran more than once in one forward pass, and a map would describe "
                "one of the calls only; give each call a module of its own (such as one ReLU each), or choose the "
                "block around it."
            )

    def gradients(self, score: Tensor, grad_kwargs: dict[str, Any]) -> dict[nn.Module, dict[torch.device, Captured]]:
        """One partial backward for everything that was kept."""
        edges = [edge for by_device in self.kept.values() for kept in by_device.values() for edge in kept.edges]
        options = {**grad_kwargs, "allow_unused": True}
        zeros_allowed = options.pop("materialize_grads", False) or grad_kwargs.get("allow_unused")
        found: Sequence[Tensor | None] = [None] * len(edges)
        if score.requires_grad:
            found = torch.autograd.grad(score, edges, **options)
        remaining = iter(found)
        result: dict[nn.Module, dict[torch.device, Captured]] = {}
        for layer, by_device in self.kept.items():
            result[layer] = {}
            for device, kept in by_device.items():
                grads = [next(remaining) for _ in kept.values]
                if any(g is None for g in grads) and not zeros_allowed:
                    raise RuntimeError(
                        f"Layer {name_of(self.forward_func, layer)} ran, but the target does not depend on it (or the "
                        "model detaches it, as in torch.no_grad()); choose another layer, or pass "
                        "grad_kwargs={'materialize_grads': True} to get a map of zeros."
                    )
                filled = tuple(torch.zeros_like(x) if g is None else g for g, x in zip(grads, kept.values, strict=True))
                result[layer][device] = Captured(kept.values, filled, kept.inputs)
        return result

    def restore(self) -> None:
        """Take back the flags of tensors at which the graph began; the model may keep them."""
        for t, _ in self.begun:
            t.requires_grad_(False)

    def _hook(self, layer: nn.Module) -> RemovableHandle:
        if self.layer_input:

            def before(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
                if not self._own_thread(layer):
                    return None
                if not args:
                    raise TypeError(
                        f"Layer {name_of(self.forward_func, layer)} was called without positional arguments, so its "
                        "input cannot be captured; attribute to its output, or to the output of the layer before."
                    )
                return tuple(self._keep(layer, args, args))

            return layer.register_forward_pre_hook(before)

        def after(_: nn.Module, args: tuple[Any, ...], *rest: Any) -> Any:
            if not self._own_thread(layer):
                return None
            kwargs, output = rest
            received = (*args, *kwargs.values())
            if not isinstance(output, (tuple, list)):
                return self._keep(layer, (output,), received)[0]
            passed_on = self._keep(layer, output, received)
            # A named tuple takes its fields one by one.
            return type(output)(*passed_on) if hasattr(output, "_fields") else type(output)(passed_on)

        return layer.register_forward_hook(after, with_kwargs=True)

    def _own_thread(self, layer: nn.Module) -> bool:
        own = self.thread in (None, threading.get_ident())
        if not own:
            self.elsewhere[layer] = None
        return own

    def _keep(self, layer: nn.Module, tensors: Sequence[Any], received: Sequence[Any]) -> list[Tensor]:
        """Keep the layer's tensors and return what the forward goes on with."""
        wrong = next((t for t in tensors or [None] if not differentiable(t)), tensors)
        if wrong is not tensors:
            kind = wrong.dtype if isinstance(wrong, Tensor) else type(wrong).__name__
            raise TypeError(
                f"The {'input' if self.layer_input else 'output'} of layer {name_of(self.forward_func, layer)} holds a "
                f"{kind}, but an attribution needs floating-point tensors only; choose a layer inside or behind it "
                "that gives plain tensors."
            )
        device = tensors[0].device
        if device in self.kept[layer]:
            self.reused[layer] = None
        in_place = _works_in_place(layer)
        self._begin(tensors, received, in_place)
        values, edges, passed_on = [], [], []
        for t in tensors:
            if t.requires_grad:
                # Copies, and the edge of the tensor as it is now, for an in-place operation may follow. Behind an
                # in-place layer the tensor itself goes on, for its caller need not use what it returns.
                values.append(t.clone() if self.keep_graph else t.detach().clone())
                edges.append(_edge(t))
                passed_on.append(t if in_place else t.clone())
            else:
                leaf = t.detach().clone().requires_grad_()
                values.append(leaf if self.keep_graph else leaf.detach())
                edges.append(_edge(leaf))
                passed_on.append(leaf.clone())
        self.kept[layer][device] = _Kept(tuple(values), tuple(edges), self._input_of(layer, received))
        return passed_on

    def _begin(self, tensors: Sequence[Tensor], received: Sequence[Any], in_place: bool) -> None:
        """Let the graph begin at those of a layer's tensors that were computed without one."""
        first, self.unopened = self.unopened, False
        if first:
            # Once only: a torch.no_grad() of the model's own around a later layer is to be respected.
            torch.set_grad_enabled(True)
        without = [t for t in tensors if not t.requires_grad]
        if self.lazy:
            used_before = [t for t in tensors if first or not t.requires_grad or t.is_leaf]
            # What a recorded layer did in place is new, and nobody can have used it.
            given = () if in_place and torch.is_grad_enabled() else received
            several = bool(without) and len(tensors) > 1
            self.incomplete |= several or any(t.is_nested or _shares_memory(t, given) for t in used_before)
        if torch.is_grad_enabled() and not self.incomplete:
            # The very tensors, for the model may have kept a reference to one, and use it by another way.
            self.begun += [(t.requires_grad_(), t._version) for t in without]

    def _input_of(self, layer: nn.Module, received: Sequence[Any]) -> Tensor | None:
        if not self.keep_input:
            return None
        first = next((r for r in received if differentiable(r)), None)
        if first is None:
            raise TypeError(
                f"Layer {name_of(self.forward_func, layer)} was called without a floating-point tensor, which "
                "extract='layer' needs."
            )
        kept: Tensor = first.clone() if self.keep_graph else first.detach().clone()
        return kept

    def _names(self, layers: Sequence[nn.Module] | dict[nn.Module, None]) -> str:
        return ", ".join(name_of(self.forward_func, layer) for layer in layers)


def differentiable(value: Any) -> bool:
    """Whether a gradient by it can be taken."""
    return isinstance(value, Tensor) and value.dtype.is_floating_point


def _edge(t: Tensor) -> GradientEdge:
    with torch.enable_grad():  # torch 2.4 finds the node of a leaf by an operation on it
        return get_gradient_edge(t)


def _works_in_place(layer: nn.Module) -> bool:
    """Whether a layer overwrites its input, which is why nobody can have used what it returns before."""
    return bool(getattr(layer, "inplace", False)) and not isinstance(layer, nn.modules.dropout._DropoutNd)


def _shares_memory(t: Tensor, with_: Any) -> bool:
    """Whether a tensor lies in the memory of another one, or of one in a container."""
    if isinstance(with_, Tensor):
        return t.untyped_storage().data_ptr() == with_.untyped_storage().data_ptr()
    parts = with_.values() if isinstance(with_, dict) else with_ if isinstance(with_, (list, tuple)) else ()
    return any(_shares_memory(t, part) for part in parts)
