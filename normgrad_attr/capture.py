"""The pass: activations of the requested layers and the target's gradient for them, nothing else.

One forward and one partial backward whatever the number of layers. The forward runs without autograd up to the first
requested layer and with autograd from there, so nothing before that layer is kept for the backward. The model is left
exactly as it was found.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.utils.checkpoint import CheckpointError
from torch.utils.hooks import RemovableHandle

from normgrad_attr._captum import run_forward, select_targets
from normgrad_attr.layers import name_of, owner


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


def capture(
    forward_func: Callable[..., Any],
    layers: Sequence[nn.Module],
    inputs: Tensor | tuple[Tensor, ...],
    target: Any = None,
    additional_forward_args: Any = None,
    *,
    device_ids: list[int] | None = None,
    attribute_to_layer_input: bool = False,
    keep_layer_input: bool = False,
    grad_kwargs: dict[str, Any] | None = None,
) -> list[list[Captured]]:
    """Run the model once and take gradients of the target for the given layers' activations.

    Args:
        forward_func: Model, or a function around one.
        layers: Modules; repeated and nested ones are fine.
        inputs: As for ``forward_func``, (N, ...) each.
        target: As in Captum.
        additional_forward_args: As in Captum.
        device_ids: Order of the devices, if ``forward_func`` hides a DataParallel model.
        attribute_to_layer_input: Capture the layers' inputs instead of their outputs.
        keep_layer_input: Keep each layer's first input tensor beside its output.
        grad_kwargs: Further arguments of :func:`torch.autograd.grad`.

    Returns:
        For each layer, in the given order, what was captured on each device (one, but for DataParallel).

    Raises:
        RuntimeError: A layer did not run, ran twice, or has no influence on the target; inference mode.
        TypeError: A layer's output, or the model's, is not made of floating-point tensors.
        ValueError: Empty batch, scripted model, or a target that leaves several numbers for each sample.
        AssertionError, IndexError: The target does not fit the output (as in Captum).
    """
    grad_kwargs = dict(grad_kwargs or {})
    forward_func = _unwrapped(forward_func)
    _check_call(forward_func, inputs)
    recorder = _Recorder(
        forward_func, layers, attribute_to_layer_input, keep_layer_input, bool(grad_kwargs.get("create_graph"))
    )
    # Everything must be recorded with create_graph, whose user wants derivatives by weights or inputs; for a layer's
    # input, which other layers may have used before; and in DataParallel, whose threads have grad modes of their own.
    parallel = device_ids is not None or isinstance(forward_func, nn.DataParallel)
    lazy = not (grad_kwargs.get("create_graph") or attribute_to_layer_input or parallel)
    with _unchanged_buffers(forward_func, layers), _eager():
        captured = recorder.run(inputs, target, additional_forward_args, grad_kwargs, lazy=True) if lazy else None
        if captured is None:
            captured = recorder.run(inputs, target, additional_forward_args, grad_kwargs, lazy=False)
    assert captured is not None
    order = device_ids if device_ids is not None else getattr(forward_func, "device_ids", None)
    return [_sorted_by_device(captured[layer], order) for layer in layers]


@dataclass(frozen=True)
class _Kept:
    """A layer's tensors as they were when the layer was left, and where their gradients arrive in the graph."""

    values: tuple[Tensor, ...]
    edges: tuple[GradientEdge, ...]
    inputs: Tensor | None = None


class _Recorder:
    """Hooks that keep the activations of one forward, by layer and device."""

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layers: Sequence[nn.Module],
        layer_input: bool,
        keep_input: bool,
        keep_graph: bool,
    ) -> None:
        self.forward_func = forward_func
        self.layers = list(dict.fromkeys(layers))
        self.layer_input = layer_input
        self.keep_input = keep_input
        self.keep_graph = keep_graph

    def run(
        self, inputs: Any, target: Any, additional_forward_args: Any, grad_kwargs: dict[str, Any], *, lazy: bool
    ) -> dict[nn.Module, dict[torch.device, Captured]] | None:
        """One forward and one backward; None if a lazily opened graph turns out to lack a part."""
        self.kept: dict[nn.Module, dict[torch.device, _Kept]] = {layer: {} for layer in self.layers}
        self.reused: dict[nn.Module, None] = {}
        self.unopened = lazy
        self.incomplete = False
        with contextlib.ExitStack() as stack:
            for layer in self.layers:
                stack.callback(self._hook(layer).remove)
            if lazy:
                # Autocast would go on using the casts of weights that it made without a graph.
                stack.callback(torch.clear_autocast_cache)
            stack.enter_context(torch.set_grad_enabled(not lazy))
            output = _forward(self.forward_func, inputs if lazy else _recorded(inputs), additional_forward_args)
            # A context of the model's own that was entered before the first layer and left behind it has switched
            # recording off again: what followed is missing from the graph.
            closed = lazy and not self.unopened and not torch.is_grad_enabled()
        self._check_calls()
        if closed or (lazy and self.incomplete):
            return None
        with torch.enable_grad():
            score = _select(output, target).sum()
        try:
            return self._gradients(score, grad_kwargs)
        except CheckpointError:
            # A checkpointed block that was entered without recording is not computed anew as it was.
            if lazy:
                return None
            raise

    def _check_calls(self) -> None:
        silent = [name_of(self.forward_func, layer) for layer in self.layers if not self.kept[layer]]
        if silent:
            raise RuntimeError(
                f"Layer {', '.join(silent)} did not run in the forward pass, so it has no activation; choose a layer "
                "that the model calls for this input (and if forward_func hides a compiled or scripted model, pass "
                "the eager one)."
            )
        if self.reused:
            raise RuntimeError(
                f"Layer {', '.join(name_of(self.forward_func, layer) for layer in self.reused)} ran more than once in "
                "one forward pass, and a map would describe one of the calls only; give each call a module of its own "
                "(such as one ReLU each), or choose the block around it."
            )

    def _gradients(self, score: Tensor, grad_kwargs: dict[str, Any]) -> dict[nn.Module, dict[torch.device, Captured]]:
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

    def _hook(self, layer: nn.Module) -> RemovableHandle:
        if self.layer_input:

            def before(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
                if not args:
                    raise TypeError(
                        f"Layer {name_of(self.forward_func, layer)} was called without positional arguments, so its "
                        "input cannot be captured; attribute to its output, or to the output of the layer before."
                    )
                return tuple(self._keep(layer, args, args))

            return layer.register_forward_pre_hook(before)

        def after(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
            received = (*args, *kwargs.values())
            if not isinstance(output, (tuple, list)):
                return self._keep(layer, (output,), received)[0]
            passed_on = self._keep(layer, output, received)
            # A named tuple takes its fields one by one.
            return type(output)(*passed_on) if hasattr(output, "_fields") else type(output)(passed_on)

        return layer.register_forward_hook(after, with_kwargs=True)

    def _keep(self, layer: nn.Module, tensors: Sequence[Any], received: Sequence[Any]) -> list[Tensor]:
        """Keep the layer's tensors and return what the forward goes on with."""
        wrong = next((t for t in tensors or [None] if not _differentiable(t)), tensors)
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
        if self.unopened:
            # Once only: a torch.no_grad() of the model's own around a later layer is to be respected.
            self.unopened = False
            torch.set_grad_enabled(True)
        in_place = bool(getattr(layer, "inplace", False))
        values, edges, passed_on = [], [], []
        for t in tensors:
            if t.requires_grad:
                # Copies, and the edge of the tensor as it is now, for an in-place operation may follow. Behind an
                # in-place layer the tensor itself goes on, for its caller need not use what it returns.
                values.append(t.clone() if self.keep_graph else t.detach().clone())
                edges.append(get_gradient_edge(t))
                passed_on.append(t if in_place else t.clone())
            else:
                # If the layer hands its own input on, the model may use it elsewhere as well, out of the graph.
                self.incomplete |= not in_place and any(_same_memory(t, r) for r in received)
                leaf = t.detach().clone().requires_grad_()
                values.append(leaf if self.keep_graph else leaf.detach())
                edges.append(get_gradient_edge(leaf))
                passed_on.append(leaf.clone())
        self.kept[layer][device] = _Kept(tuple(values), tuple(edges), self._input_of(layer, received))
        return passed_on

    def _input_of(self, layer: nn.Module, received: Sequence[Any]) -> Tensor | None:
        if not self.keep_input:
            return None
        first = next((r for r in received if _differentiable(r)), None)
        if first is None:
            raise TypeError(
                f"Layer {name_of(self.forward_func, layer)} was called without a floating-point tensor, which "
                "extract='layer' needs."
            )
        kept: Tensor = first.clone() if self.keep_graph else first.detach().clone()
        return kept


def _unwrapped(forward_func: Callable[..., Any]) -> Callable[..., Any]:
    """The module in DDP, whose reducer would wait for a backward that never comes, and in torch.compile's wrapper."""
    plain: Any = forward_func
    while isinstance(plain, nn.parallel.DistributedDataParallel) or hasattr(plain, "_orig_mod"):
        plain = plain._orig_mod if hasattr(plain, "_orig_mod") else plain.module
    return plain  # type: ignore[no-any-return]


def _recorded(inputs: Any) -> Any:
    """Copies of the inputs at which the graph begins, even if all parameters are frozen."""

    def one(t: Any) -> Any:
        return t.detach().requires_grad_().clone() if _differentiable(t) and not t.requires_grad else t

    return tuple(map(one, inputs)) if isinstance(inputs, tuple) else one(inputs)


def _same_memory(a: Tensor, b: Any) -> bool:
    return isinstance(b, Tensor) and a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()


def _differentiable(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype.is_floating_point


def _tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _check_call(forward_func: Callable[..., Any], inputs: Any) -> None:
    tensors = [t for t in _tuple(inputs) if isinstance(t, Tensor)]
    if torch.is_inference_mode_enabled():
        raise RuntimeError(
            "An attribution needs gradients, which torch.inference_mode() forbids; call attribute() outside of it "
            "(torch.no_grad() is fine)."
        )
    for i, t in enumerate(tensors):
        if t.is_inference():
            raise RuntimeError(
                f"Input {i} was made in torch.inference_mode() and cannot take part in a backward pass; pass its "
                ".clone(), made outside of inference mode."
            )
        if t.dim() > 0 and t.shape[0] == 0:
            raise ValueError(f"Input {i} of shape {tuple(t.shape)} is an empty batch; pass at least one sample.")
    scripted = (torch.jit.ScriptModule, torch.jit.ScriptFunction, torch.ScriptMethod)
    if isinstance(owner(forward_func) or forward_func, scripted):
        raise ValueError(
            "forward_func is a scripted or traced module, in which hooks on layers do not run; pass the eager model."
        )


def _forward(forward_func: Callable[..., Any], inputs: Any, additional_forward_args: Any) -> Tensor:
    try:
        output = run_forward(forward_func, inputs, None, additional_forward_args)
    except RuntimeError as error:
        if "Inference tensors cannot" in str(error):
            raise RuntimeError(
                f"A weight, buffer or argument was made in torch.inference_mode() and cannot take part in a backward "
                f"pass ({error}); make it outside of inference mode, or replace it by its .clone()."
            ) from error
        integers = [str(t.dtype) for t in _tuple(inputs) if isinstance(t, Tensor) and not _differentiable(t)]
        if integers:
            raise RuntimeError(
                f"The model failed on an input of type {integers[0]} ({error}); images must be floating-point "
                "tensors, for example images.float() / 255."
            ) from error
        raise
    if not isinstance(output, Tensor):
        raise TypeError(
            f"The model returned a {type(output).__name__}, not a tensor; wrap it, for example "
            "lambda x: model(x)['out'] or lambda x: model(x).logits."
        )
    return output


def _select(output: Tensor, target: Any) -> Tensor:
    """The target's score of each sample, with Captum's rules and error types but a sentence that helps."""
    if isinstance(target, Tensor):
        target = target.to(output.device)
    try:
        score: Tensor = select_targets(output, target)
    except (AssertionError, IndexError, RuntimeError, TypeError) as error:
        raise type(error)(
            f"Target {target!r} does not fit the model's output of shape {tuple(output.shape)} ({error}); give a class "
            "index, a list or tensor with one index for each sample, or a tuple of indices."
        ) from error
    numbers = score[0].numel() if score.dim() > 0 and len(score) > 0 else 1
    if numbers != 1:
        raise AssertionError(
            f"Target not provided when necessary: with target={target!r} the model's output of shape "
            f"{tuple(output.shape)} gives {numbers} numbers for each sample; choose one, for example target=0 or "
            "target=(class, row, column), or let forward_func reduce them to one."
        )
    return score


@contextlib.contextmanager
def _unchanged_buffers(forward_func: Callable[..., Any], layers: Sequence[nn.Module]) -> Iterator[None]:
    """Warn of a model in training mode, and undo what its forward does to buffers such as BatchNorm statistics."""
    saved: dict[nn.Module, list[tuple[str, Tensor, Tensor]]] = {}
    thread = threading.get_ident()

    def save(module: nn.Module, *_: Any) -> None:
        if module.training and module not in saved and threading.get_ident() == thread:
            buffers = module.named_buffers(recurse=False)
            saved[module] = [(name, buffer, buffer.detach().clone()) for name, buffer in buffers]

    model = owner(forward_func)
    for module in model.modules() if model is not None else ():
        save(module)
    # A model inside a function shows itself only when it runs.
    hidden = model is None and any(layer.training for layer in layers)
    watch = nn.modules.module.register_module_forward_pre_hook(save) if hidden else None
    try:
        yield
    finally:
        if watch is not None:
            watch.remove()
        with torch.no_grad():
            for module, buffers in saved.items():
                for name, buffer, value in buffers:
                    module._buffers[name] = buffer.copy_(value)
    sensitive = next(filter(_depends_on_mode, saved), None)
    if sensitive is not None:
        warnings.warn(
            f"The model is in training mode: {name_of(forward_func, sensitive)} makes the maps depend on the batch or "
            "on chance; call model.eval() first.",
            stacklevel=7,  # the user's call of attribute(), behind contextlib's, captum's and our own frames
        )


def _depends_on_mode(module: nn.Module) -> bool:
    """Whether a module is of a kind that works differently in training; the last two are torchvision's and timm's."""
    kinds = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd, nn.RReLU)
    return isinstance(module, kinds) or type(module).__name__ in ("StochasticDepth", "DropPath")


def _eager() -> contextlib.AbstractContextManager[Any]:
    """Run compiled models eagerly: a compiled graph does not see hooks that are added after its first call."""
    if "torch._dynamo" in sys.modules and hasattr(torch.compiler, "set_stance"):
        eager: contextlib.AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
        return eager
    return contextlib.nullcontext()


def _sorted_by_device(by_device: dict[torch.device, Captured], order: list[int] | None) -> list[Captured]:
    if len(by_device) == 1:
        return list(by_device.values())
    if order is None:
        raise AssertionError(
            f"The layer ran on {len(by_device)} devices, but their order in the batch is unknown; pass device_ids as "
            "to DataParallel."
        )
    unknown = [str(device) for device in by_device if device.index not in order]
    if unknown:
        raise AssertionError(
            f"The layer ran on {', '.join(unknown)}, which is not among device_ids={order}; pass those of DataParallel."
        )
    return [by_device[device] for device in sorted(by_device, key=lambda d: order.index(d.index))]
