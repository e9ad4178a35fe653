"""The pass: activations of the requested layers and the target's gradient for them, nothing else.

One forward and one partial backward whatever the number of layers. The forward runs without autograd up to the first
requested layer and with autograd from there, so nothing before that layer is kept for the backward. The model is left
exactly as it was found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from normgrad_attr._captum import run_forward, select_targets
from normgrad_attr._guards import check_call, eager, unchanged_buffers
from normgrad_attr._recorder import Captured, Recorder, differentiable


@dataclass(frozen=True)
class Pass:
    """One forward and one backward.

    Args:
        layers: For each layer, in the order asked for, what was captured on each device (one, but for DataParallel).
        output: The model's output, detached unless the graph was asked for.
    """

    layers: list[list[Captured]]
    output: Tensor


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
    choose_target: Callable[[Tensor], Any] | None = None,
) -> Pass:
    """Run the model once and take gradients of the target for the given layers' activations.

    The gradient for an activation counts all that the target depends on it by, as in a forward that is recorded from
    its beginning (two rare exceptions: :class:`~normgrad_attr._recorder.Recorder`). Should the shorter record not do, or
    fail, the forward is run again with everything recorded; inputs, buffers and random numbers are then those of the
    first time, but what a model keeps in other attributes has seen two passes.

    Other threads may use the model meanwhile, and attribute as well, while it is in evaluation mode.

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
    check_call(forward_func, inputs)
    # Everything must be recorded with create_graph, whose user wants derivatives by weights or inputs; for a layer's
    # input, which other layers may have used before; and in DataParallel, whose threads have grad modes of their own.
    keep_graph = bool(grad_kwargs.get("create_graph"))
    parallel = device_ids is not None or isinstance(forward_func, nn.DataParallel)

    outputs: list[Tensor] = []

    def run(*, lazy: bool) -> dict[nn.Module, dict[torch.device, Captured]] | None:
        recorder = Recorder(
            forward_func,
            layers,
            lazy=lazy,
            layer_input=attribute_to_layer_input,
            keep_input=keep_layer_input,
            keep_graph=keep_graph,
            parallel=parallel,
        )
        final = False
        try:
            with recorder.hooked():
                output = _forward(forward_func, _copied(inputs) if lazy else _recorded(inputs), additional_forward_args)
            recorder.check_calls()
            if recorder.incomplete:
                return None
            final = True  # a target that does not fit fits in no pass
            chosen = target if choose_target is None else choose_target(output.detach())
            outputs[:] = [output if keep_graph else output.detach()]
            with torch.enable_grad():
                score = _select(output, chosen).sum()
            final = False
            return recorder.gradients(score, grad_kwargs)
        except Exception as error:
            # In-place operations, checkpoints and fast paths may mind a graph that begins in the middle. If it was not
            # that, the recorded pass fails likewise.
            if lazy and not final and not isinstance(error, torch.cuda.OutOfMemoryError):
                return None
            raise
        finally:
            recorder.restore()

    with unchanged_buffers(forward_func, layers) as put_back, eager():
        captured = None
        if not (keep_graph or attribute_to_layer_input or parallel):
            random_state = _random_state()
            captured = run(lazy=True)
            if captured is None:  # as if it had not been
                put_back()
                _set_random_state(*random_state)
        if captured is None:
            captured = run(lazy=False)
    assert captured is not None
    order = device_ids if device_ids is not None else getattr(forward_func, "device_ids", None)
    return Pass([_sorted_by_device(captured[layer], order) for layer in layers], *outputs)


def _unwrapped(forward_func: Callable[..., Any]) -> Callable[..., Any]:
    """The module in DDP, whose reducer would wait for a backward that never comes, and in torch.compile's wrapper."""
    plain: Any = forward_func
    while isinstance(plain, nn.parallel.DistributedDataParallel) or hasattr(plain, "_orig_mod"):
        plain = plain._orig_mod if hasattr(plain, "_orig_mod") else plain.module
    return plain  # type: ignore[no-any-return]


def _copied(inputs: Any) -> Any:
    """Copies of the inputs, which a model may overwrite."""
    if isinstance(inputs, tuple):
        return tuple(map(_copied, inputs))
    return inputs.detach().clone() if isinstance(inputs, Tensor) else inputs


def _recorded(inputs: Any) -> Any:
    """Copies of the inputs at which the graph begins, even if all parameters are frozen."""

    def one(t: Any) -> Any:
        return t.detach().requires_grad_().clone() if differentiable(t) and not t.requires_grad else t

    return tuple(map(one, inputs)) if isinstance(inputs, tuple) else one(inputs)


def _random_state() -> tuple[Tensor, list[Tensor]]:
    """The state of torch's generators, those of GPUs where they are in use."""
    on_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    return torch.get_rng_state(), on_gpus


def _set_random_state(on_cpu: Tensor, on_gpus: list[Tensor]) -> None:
    torch.set_rng_state(on_cpu)
    if on_gpus:
        torch.cuda.set_rng_state_all(on_gpus)


def _forward(forward_func: Callable[..., Any], inputs: Any, additional_forward_args: Any) -> Tensor:
    try:
        output = run_forward(forward_func, inputs, None, additional_forward_args)
    except RuntimeError as error:
        if "Inference tensors cannot" in str(error):
            raise RuntimeError(
                f"A weight, buffer or argument was made in torch.inference_mode() and cannot take part in a backward "
                f"pass ({error}); make it outside of inference mode, or replace it by its .clone()."
            ) from error
        tensors = [t for t in (inputs if isinstance(inputs, tuple) else (inputs,)) if isinstance(t, Tensor)]
        integers = [str(t.dtype) for t in tensors if not differentiable(t)]
        if integers and "type" in str(error):
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
