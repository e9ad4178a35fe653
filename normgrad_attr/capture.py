"""The pass: activations of the requested layers and the target's gradient for them, nothing else.

One forward and one partial backward whatever the number of layers. The forward runs without autograd up to the first
requested layer and with autograd from there, so nothing before that layer is kept for the backward. The model is left
exactly as it was found.
"""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

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
    _check_call(forward_func, inputs)
    recorder = _Recorder(forward_func, layers, attribute_to_layer_input, keep_layer_input)
    # With create_graph the user wants derivatives by weights or inputs, so everything must be recorded; DataParallel
    # runs the layers in threads, each with a grad mode of its own.
    lazy = not grad_kwargs.get("create_graph") and device_ids is None and not isinstance(forward_func, nn.DataParallel)
    with _unchanged_buffers(forward_func), _eager():
        score = recorder.run(inputs, target, additional_forward_args, lazy=lazy)
        if score is None:
            score = recorder.run(inputs, target, additional_forward_args, lazy=False)
    assert score is not None
    captured = recorder.gradients(score, grad_kwargs)
    order = _device_order(forward_func, device_ids)
    return [_sorted_by_device(captured[layer], order) for layer in layers]


class _Recorder:
    """Hooks that keep the activations of one forward, by layer and device."""

    def __init__(
        self, forward_func: Callable[..., Any], layers: Sequence[nn.Module], layer_input: bool, keep_input: bool
    ) -> None:
        self.forward_func = forward_func
        self.layers = list(dict.fromkeys(layers))
        self.layer_input = layer_input
        self.keep_input = keep_input
        self.kept: dict[nn.Module, dict[torch.device, tuple[Tensor, ...]]] = {}
        self.kept_inputs: dict[tuple[nn.Module, torch.device], Tensor] = {}
        self.reused: dict[nn.Module, None] = {}
        self.lazy = False

    def run(self, inputs: Any, target: Any, additional_forward_args: Any, *, lazy: bool) -> Tensor | None:
        """Forward under hooks; the target's score, or None if a lazily opened graph was closed by the model."""
        self.kept = {layer: {} for layer in self.layers}
        self.kept_inputs = {}
        self.lazy = lazy
        handles = [self._hook(layer) for layer in self.layers]
        try:
            with torch.set_grad_enabled(not lazy):
                output = _forward(self.forward_func, inputs, additional_forward_args)
                # A context manager of the model's own that was entered before the first layer and left behind it has
                # switched recording off again: what followed is missing from the graph.
                if lazy and any(self.kept.values()) and not torch.is_grad_enabled():
                    return None
        finally:
            for handle in handles:
                handle.remove()
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
        with torch.enable_grad():
            return _select(output, target)

    def gradients(self, score: Tensor, grad_kwargs: dict[str, Any]) -> dict[nn.Module, dict[torch.device, Captured]]:
        """One partial backward for everything that was kept."""
        flat = [t for by_device in self.kept.values() for tensors in by_device.values() for t in tensors]
        options = {**grad_kwargs, "allow_unused": True}
        options.pop("materialize_grads", None)
        found: Sequence[Tensor | None] = [None] * len(flat)
        if score.requires_grad:
            found = torch.autograd.grad(score.sum(), flat, **options)
        keep_graph = bool(grad_kwargs.get("create_graph"))
        zeros_allowed = grad_kwargs.get("materialize_grads") or grad_kwargs.get("allow_unused")
        remaining = iter(found)
        result: dict[nn.Module, dict[torch.device, Captured]] = {}
        for layer, by_device in self.kept.items():
            result[layer] = {}
            for device, tensors in by_device.items():
                grads = [next(remaining) for _ in tensors]
                if any(g is None for g in grads) and not zeros_allowed:
                    raise RuntimeError(
                        f"Layer {name_of(self.forward_func, layer)} ran, but the target does not depend on it (or the "
                        "model detaches it); choose another layer, or pass grad_kwargs={'materialize_grads': True} to "
                        "get a map of zeros."
                    )
                filled = tuple(torch.zeros_like(t) if g is None else g for g, t in zip(grads, tensors, strict=True))
                kept = tensors if keep_graph else tuple(t.detach() for t in tensors)
                result[layer][device] = Captured(kept, filled, self.kept_inputs.get((layer, device)))
        return result

    def _hook(self, layer: nn.Module) -> Any:
        if self.layer_input:

            def before(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
                return tuple(self._keep(layer, args, "input"))

            return layer.register_forward_pre_hook(before)

        def after(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
            several = isinstance(output, (tuple, list))
            passed_on = self._keep(layer, output if several else (output,), "output")
            if self.keep_input:
                self._keep_input(layer, (*args, *kwargs.values()), passed_on[0].device)
            if not several:
                return passed_on[0]
            # A named tuple takes its fields one by one.
            return type(output)(*passed_on) if hasattr(output, "_fields") else type(output)(passed_on)

        return layer.register_forward_hook(after, with_kwargs=True)

    def _keep(self, layer: nn.Module, tensors: Sequence[Any], side: str) -> list[Tensor]:
        """Keep the tensors and return what the forward goes on with."""
        name = name_of(self.forward_func, layer) if not tensors or not all(map(_differentiable, tensors)) else ""
        if not tensors:
            raise TypeError(
                f"Layer {name} was called without positional arguments, so its {side} cannot be captured; attribute "
                "to its output, or to the output of the layer before."
            )
        for t in tensors:
            if not _differentiable(t):
                kind = str(t.dtype) if isinstance(t, Tensor) else type(t).__name__
                raise TypeError(
                    f"The {side} of layer {name} holds a {kind}, but an attribution needs floating-point tensors "
                    "only; choose a layer inside or behind it that gives plain tensors."
                )
        device = tensors[0].device
        if device in self.kept[layer]:
            self.reused[layer] = None
        if self.lazy:
            torch.set_grad_enabled(True)
        kept = tuple(t if t.requires_grad else t.detach().requires_grad_() for t in tensors)
        self.kept[layer][device] = kept
        # The forward goes on with copies, for an in-place operation that follows would overwrite what is kept.
        return [t.clone() for t in kept]

    def _keep_input(self, layer: nn.Module, args: Sequence[Any], device: torch.device) -> None:
        first = next((a for a in args if _differentiable(a)), None)
        if first is None:
            raise TypeError(
                f"Layer {name_of(self.forward_func, layer)} was called without a floating-point tensor, which "
                "extract='layer' needs."
            )
        self.kept_inputs[layer, device] = first.clone() if first.requires_grad else first.detach().clone()


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
    if isinstance(forward_func, torch.jit.ScriptModule):
        raise ValueError(
            "forward_func is a scripted or traced module, in which hooks on layers do not run; pass the eager model."
        )


def _forward(forward_func: Callable[..., Any], inputs: Any, additional_forward_args: Any) -> Tensor:
    try:
        output = run_forward(forward_func, inputs, None, additional_forward_args)
    except RuntimeError as error:
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
def _unchanged_buffers(forward_func: Callable[..., Any]) -> Iterator[None]:
    """Warn of a model in training mode, and undo what its forward does to buffers such as BatchNorm statistics."""
    model = owner(forward_func)
    training = [m for m in model.modules() if m.training] if model is not None else []
    sensitive = [m for m in training if isinstance(m, (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd))]
    if model is None or not sensitive:
        yield
        return
    warnings.warn(
        f"The model is in training mode: {name_of(forward_func, sensitive[0])} makes the maps depend on the batch or "
        "on chance; call model.eval() first.",
        stacklevel=5,
    )
    saved = [(b, b.clone()) for m in training for b in m.buffers(recurse=False)]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in saved:
                buffer.copy_(value)


def _eager() -> contextlib.AbstractContextManager[Any]:
    """Run compiled models eagerly: a compiled graph does not see hooks that are added after its first call."""
    if "torch._dynamo" in sys.modules and hasattr(torch.compiler, "set_stance"):
        eager: contextlib.AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
        return eager
    return contextlib.nullcontext()


def _device_order(forward_func: Callable[..., Any], device_ids: list[int] | None) -> list[int] | None:
    return device_ids if device_ids is not None else getattr(forward_func, "device_ids", None)


def _sorted_by_device(by_device: dict[torch.device, Captured], order: list[int] | None) -> list[Captured]:
    if len(by_device) == 1:
        return list(by_device.values())
    if order is None:
        raise AssertionError(
            f"The layer ran on {len(by_device)} devices, but their order in the batch is unknown; pass device_ids as "
            "to DataParallel."
        )
    return sorted(by_device.values(), key=lambda c: order.index(c.activations[0].device.index))
