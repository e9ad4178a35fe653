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
from normgrad_attr._tape import ConstantError, NotKeptError, Tape, differentiable

#: Torch numbers hooks with a counter that two threads could read at once.
_REGISTERING = threading.Lock()


@dataclass(frozen=True)
class Captured:
    """What one layer did in one pass.

    Args:
        activations: The layer's output tensors, or input tensors, detached unless the graph was asked for.
        gradients: ``d target / d activation``, same shapes.
        edges: Where each tensor, as the layer made it, stands in the graph; None if it was made without one.
        inputs: The layer's first input tensor, if it was asked for.
    """

    activations: tuple[Tensor, ...]
    gradients: tuple[Tensor, ...]
    edges: tuple[GradientEdge | None, ...]
    inputs: Tensor | None = None


@dataclass(frozen=True)
class _Kept:
    """A layer's tensors as they were when the layer was left, and where their gradients arrive in the graph."""

    values: tuple[Tensor, ...]
    edges: tuple[GradientEdge | None, ...]
    inputs: Tensor | None = None


class Recorder:
    """What the layers give in one forward, by layer and device.

    Args:
        forward_func: Model, or a function around one, for the names in messages.
        layers: Modules; repeated and nested ones are fine.
        tape: Switched on by the first of the layers.
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
        tape: Tape,
        layer_input: bool,
        keep_input: bool,
        keep_graph: bool,
        parallel: bool,
    ) -> None:
        self.forward_func = forward_func
        self.tape = tape
        self.layer_input = layer_input
        self.keep_input = keep_input
        self.keep_graph = keep_graph
        # Hooks are seen by all threads: what others do with the same model meanwhile is none of this pass's business.
        self.thread = None if parallel else threading.get_ident()
        self.kept: dict[nn.Module, dict[torch.device, _Kept]] = {layer: {} for layer in layers}
        self.reused: dict[nn.Module, None] = {}
        self.elsewhere: dict[nn.Module, None] = {}
        #: Views that were handed on as they are, and tensors in whose place another was.
        self.views: list[tuple[nn.Module, Tensor, int]] = []
        self.replaced: list[tuple[nn.Module, Tensor, int]] = []

    @contextlib.contextmanager
    def hooked(self) -> Iterator[None]:
        """Watch the layers while the model runs."""
        with contextlib.ExitStack() as stack:
            with _REGISTERING:
                for layer in self.kept:
                    stack.callback(self._hook(layer).remove)
            stack.enter_context(torch.enable_grad())
            stack.enter_context(self.tape.recording())
            yield

    def check_calls(self) -> None:
        """Raise unless every layer ran, once only, and left a tensor whose gradient can be told."""
        silent = [layer for layer in self.kept if not self.kept[layer]]
        if any(layer in self.elsewhere for layer in silent):
            raise ValueError(
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
        spoilt = [layer for layer, t, version in self.replaced if t._version != version]
        if spoilt:
            raise RuntimeError(
                f"The memory of what layer {self._names(spoilt)} gave is overwritten later in the forward pass by way "
                "of another tensor that shares it; choose the layer before or behind it."
            )
        if any(t._version != version for _, t, version in self.views):
            raise NotKeptError("An in-place operation on a view leaves it out of the graph.")

    def gradients(self, score: Tensor, grad_kwargs: dict[str, Any]) -> dict[nn.Module, dict[torch.device, Captured]]:
        """One partial backward for everything that was kept."""
        everything = [kept for by_device in self.kept.values() for kept in by_device.values()]
        edges = [edge for kept in everything for edge in kept.edges if edge is not None]
        options = {**grad_kwargs, "allow_unused": True}
        zeros_allowed = options.pop("materialize_grads", False) or grad_kwargs.get("allow_unused")
        found: Sequence[Tensor | None] = [None] * len(edges)
        if score.requires_grad and edges:
            found = torch.autograd.grad(score, edges, **options)
        remaining = iter(found)
        result: dict[nn.Module, dict[torch.device, Captured]] = {}
        for layer, by_device in self.kept.items():
            result[layer] = {}
            for device, kept in by_device.items():
                grads = [None if edge is None else next(remaining) for edge in kept.edges]
                unused = [i for i, g in enumerate(grads) if g is None]
                if unused and not zeros_allowed:
                    part = f"tensor {unused[0]} (counted from 0) of the {len(grads)} that it gives"
                    raise RuntimeError(
                        f"Layer {name_of(self.forward_func, layer)} ran, but the target does not depend on "
                        f"{'it' if len(unused) == len(grads) else part} (or the model detaches it, as in "
                        "torch.no_grad()); choose another layer, or pass grad_kwargs={'materialize_grads': True} to "
                        "get a map of zeros."
                    )
                filled = tuple(torch.zeros_like(x) if g is None else g for g, x in zip(grads, kept.values, strict=True))
                result[layer][device] = Captured(kept.values, filled, kept.edges, kept.inputs)
        return result

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
            # None stands where a block could give more, as the attention weights of a transformer's, and did not.
            kept = iter(self._keep(layer, [t for t in output if t is not None], received))
            passed_on: list[Any] = [None if t is None else next(kept) for t in output]
            if all(new is old for new, old in zip(passed_on, output, strict=True)):
                return None
            # A named tuple takes its fields one by one.
            return type(output)(*passed_on) if hasattr(output, "_fields") else type(output)(passed_on)

        # What the layer itself computes counts for its weights, whatever hooks of the user make of it.
        return layer.register_forward_hook(after, with_kwargs=True, prepend=self.keep_input)

    def _own_thread(self, layer: nn.Module) -> bool:
        own = self.thread in (None, threading.get_ident())
        if not own:
            self.elsewhere[layer] = None
        return own

    def _keep(self, layer: nn.Module, tensors: Sequence[Any], received: Sequence[Any]) -> list[Tensor]:
        """Keep the layer's tensors and return what the forward goes on with."""
        if torch.is_inference_mode_enabled() or any(isinstance(t, Tensor) and t.is_inference() for t in tensors):
            raise RuntimeError(
                f"Layer {name_of(self.forward_func, layer)} runs in a torch.inference_mode() of the model's or "
                "forward_func's own, in which nothing is recorded; take that out, or use torch.no_grad() around the "
                "call of attribute()."
            )
        if any(isinstance(t, Tensor) and torch._C._functorch.is_functorch_wrapped_tensor(t) for t in tensors):
            raise RuntimeError(
                f"Layer {name_of(self.forward_func, layer)} runs inside of a transform of torch.func, such as vmap, in "
                "which nothing is captured; let forward_func run the layer on the whole batch, outside of it."
            )
        wrong = next((t for t in tensors or [None] if not (differentiable(t) and _dense(t))), tensors)
        if wrong is not tensors:
            kind = type(wrong).__name__
            if isinstance(wrong, Tensor):
                kind = f"{wrong.dtype}" if _dense(wrong) else f"{wrong.layout}"
            raise TypeError(
                f"The {'input' if self.layer_input else 'output'} of layer {name_of(self.forward_func, layer)} holds a "
                f"{kind}, but an attribution needs floating-point tensors only; choose a layer inside or behind it "
                "that gives plain tensors."
            )
        device = tensors[0].device
        if device in self.kept[layer]:
            self.reused[layer] = None
        values, edges, passed_on = [], [], []
        for t in tensors:
            # A copy, and the edge of the tensor as it is now, for an in-place operation may follow.
            values.append(t.clone() if self.keep_graph else _copy(t))
            edge, on = self._begin(layer, t)
            edges.append(edge)
            passed_on.append(on)
        self.kept[layer][device] = _Kept(tuple(values), tuple(edges), self._input_of(layer, received))
        self.tape.on = True
        return passed_on

    def _begin(self, layer: nn.Module, t: Tensor) -> tuple[GradientEdge | None, Tensor]:
        """Where a tensor's gradient arrives, and what the forward goes on with: the tensor itself, if possible."""
        if not t.requires_grad:
            if not torch.is_grad_enabled():  # the model's own torch.no_grad() is respected
                return None, t
            if not self.tape.constants:
                raise ConstantError
            if not (t._is_view() or isinstance(t, nn.Parameter)):
                self.tape.begin_at(t)
                return _edge(t), t
            leaf = _copy(t).requires_grad_()
            self.replaced.append((layer, t, t._version))
            return _edge(leaf), leaf.clone()
        if t._is_view():
            # An in-place operation on a view is recorded for the whole, and passes the view's edge by.
            if self.tape.copies:
                self.replaced.append((layer, t, t._version))
                with torch.enable_grad():
                    return _edge(t), t.clone()
            self.views.append((layer, t, t._version))
        return _edge(t), t

    def _input_of(self, layer: nn.Module, received: Sequence[Any]) -> Tensor | None:
        if not self.keep_input:
            return None
        first = next((r for r in received if differentiable(r)), None)
        if first is None:
            raise TypeError(
                f"Layer {name_of(self.forward_func, layer)} was called without a floating-point tensor, which "
                "extract='layer' needs."
            )
        return first.clone() if self.keep_graph else _copy(first)

    def _names(self, layers: Sequence[nn.Module] | dict[nn.Module, None]) -> str:
        return ", ".join(name_of(self.forward_func, layer) for layer in layers)


def _dense(t: Tensor) -> bool:
    return t.layout is torch.strided and not t.is_nested


@torch.no_grad()
def _copy(t: Tensor) -> Tensor:
    return t.clone()


def _edge(t: Tensor) -> GradientEdge:
    with torch.enable_grad():  # the node of a leaf is found by an operation on it
        return get_gradient_edge(t)
