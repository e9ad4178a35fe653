"""The pass: activations of the requested layers and the target's gradient for them, nothing else.

One forward and one partial backward whatever the number of layers. The whole forward is recorded, but nothing that was
computed before the first requested layer is kept for the backward. The model is left exactly as it was found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge
from torch.utils.checkpoint import CheckpointError

from normgrad_attr._captum import TargetError, as_torch, run_forward, select_targets
from normgrad_attr._guards import EVERY_MODULE_RUNS, check_call
from normgrad_attr._layers import unwrapped
from normgrad_attr._recorder import Captured, Recorder
from normgrad_attr._state import Arguments, ModelState, remembered_chance
from normgrad_attr._tape import ConstantError, NotKeptError, Tape, differentiable

NO_CLASS = "an index is out of bounds"


@dataclass(frozen=True)
class Pass:
    """One forward and one backward.

    Args:
        layers: For each layer, in the order asked for, what was captured on each device (one, but for DataParallel).
        output: The model's output, detached unless the graph was asked for.
        root: Where the summed target scores stand in the graph; None if they depend on nothing that is recorded.
        samples: Number of the target's scores; None for one score of the whole batch, without a dimension.
        inputs: Where each input stands in the graph; None for one of whole numbers.
        given: Where the output stands in the graph; None if it depends on nothing that is recorded.
        misfit: Whether each sample's target is none of the classes, where only the device knows so far.
    """

    layers: list[list[Captured]]
    output: Tensor
    root: Node | None
    samples: int | None
    inputs: list[Node | None]
    given: GradientEdge | None
    misfit: Tensor | None = None


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

    The gradient for an activation counts all that the target depends on it by. Where that needs something that was
    computed before the first of the layers was left, the model is run again, with everything kept. Inputs, arguments,
    buffers, random numbers and what the model's attributes hold are then those of the first time; a model that still
    gives another output is refused.

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
        choose_target: Gives the target for the model's output, in place of ``target``.

    Raises:
        RuntimeError: A layer did not run, ran twice, or has no influence on the target; inference mode; a model that
            would have to be run again and does not give the same output.
        TypeError: An input, a layer's output, or the model's, is not made of (floating-point) tensors.
        ValueError: Empty batch, scripted model, a target that does not fit the output or leaves several numbers for
            each sample, or devices without ``device_ids``.
    """
    grad_kwargs = dict(grad_kwargs or {})
    # DDP's reducer would wait for a backward that never comes.
    forward_func = unwrapped(forward_func, nn.parallel.DistributedDataParallel)
    check_call(forward_func, inputs)
    # With create_graph, its user wants derivatives by weights or inputs.
    keep_graph = bool(grad_kwargs.get("create_graph"))
    parallel = device_ids is not None or isinstance(forward_func, nn.DataParallel)
    state = ModelState(forward_func, layers)
    arguments = Arguments(additional_forward_args, keep_graph=keep_graph)
    given = inputs if isinstance(inputs, tuple) else (inputs,)
    tapes: list[Tape] = []
    outputs: list[Tensor] = []

    def run(*, again: bool, constants: bool, plain: bool = False) -> Pass:
        passing = state.memory if keep_graph else set()
        tape = Tape(on=keep_graph or again, copies=again, constants=constants, plain=plain, passing=passing)
        tapes.append(tape)
        recorder = Recorder(
            forward_func,
            layers,
            tape=tape,
            layer_input=attribute_to_layer_input,
            keep_input=keep_layer_input,
            keep_graph=keep_graph,
            parallel=parallel,
        )
        with torch.enable_grad():
            own = begun(inputs, keep_graph=keep_graph)
            starts = tape.starts = [t.grad_fn for t in (own if isinstance(own, tuple) else (own,))]
            with recorder.hooked():
                output = _tensor(forward(forward_func, own, arguments.copies()))
            del own
            outputs.append(output if keep_graph else output.detach())
            recorder.check_calls()
            chosen = target if choose_target is None else choose_target(output.detach())
            scores, misfit = _select(output, chosen)
            score = scores.sum()
        captured = recorder.gradients(score, grad_kwargs)
        order = device_ids if device_ids is not None else getattr(forward_func, "device_ids", None)
        return Pass(
            [_sorted_by_device(captured[layer], order) for layer in layers],
            outputs[-1],
            score.grad_fn,
            len(scores) if scores.dim() else None,
            starts,
            get_gradient_edge(output) if output.requires_grad else None,
            misfit,
        )

    with EVERY_MODULE_RUNS, state.watched():
        set_chance_back = remembered_chance()
        try:
            constants = not any(map(differentiable, given))
            try:
                result = run(again=False, constants=constants)
            except RuntimeError as reason:
                hooks_refused = "saved tensor hooks" in str(reason)  # by torch.func in the model
                if not (hooks_refused or isinstance(reason, (NotKeptError, CheckpointError))):
                    raise
                state.rewind()
                set_chance_back()
                constants |= isinstance(reason, ConstantError)
                result = run(again=True, constants=constants, plain=hooks_refused)
                _check_same(outputs)
            arguments.write_back()
        finally:
            for tape in () if keep_graph else tapes:
                tape.take_graphs_off()
    return result


def begun(inputs: Tensor | tuple[Tensor, ...], *, keep_graph: bool = False) -> Any:
    """Copies of the inputs, which a model may overwrite; the graph begins at them, even if all weights are frozen."""

    def one(t: Tensor) -> Tensor:
        if not keep_graph or not t.requires_grad:
            t = t.detach().requires_grad_(differentiable(t))
        return t.clone()

    return tuple(map(one, inputs)) if isinstance(inputs, tuple) else one(inputs)


def _check_same(outputs: list[Tensor]) -> None:
    """Raise unless the passes gave the same output, but for the order in which a GPU adds."""
    first, second = outputs[0].detach(), outputs[-1].detach()
    tolerance = torch.finfo(first.dtype).eps ** 0.5 if first.dtype.is_floating_point else 0.0
    if first.shape != second.shape or not torch.allclose(first, second, tolerance, tolerance, equal_nan=True):
        raise RuntimeError(
            "This layer needs a second forward pass, and the model did not give the same output again, as it keeps "
            "something of the first (a cache, a counter) outside of its modules' attributes; choose a layer whose "
            "output is used by nothing but what runs behind it, or let forward_func clear what is kept."
        )


def forward(forward_func: Callable[..., Any], inputs: Any, additional_forward_args: Any) -> Any:
    """What the model gives, or why it does not take images as bytes."""
    try:
        return run_forward(forward_func, inputs, additional_forward_args)
    except RuntimeError as error:
        given = inputs if isinstance(inputs, tuple) else (inputs,)
        if not isinstance(error, NotKeptError) and any(t.dtype == torch.uint8 for t in given):
            raise RuntimeError(
                f"The model failed on an input of type torch.uint8 ({error}); if it takes images as floating-point "
                "tensors, pass for example images.float() / 255."
            ) from error
        raise


def _tensor(output: Any) -> Tensor:
    if not isinstance(output, Tensor):
        raise TypeError(
            f"The model returned a {type(output).__name__}, not a tensor; wrap it, for example "
            "lambda x: model(x)['out'] or lambda x: model(x).logits."
        )
    return output


def _select(output: Tensor, target: Any) -> tuple[Tensor, Tensor | None]:
    """The target's score of each sample, by Captum's rules but with a sentence that helps; and ``Pass.misfit``."""
    target = as_torch(target)
    if isinstance(target, Tensor) and target.dtype == torch.uint8:  # which torch would take for a mask
        target = target.long()
    index = target
    if isinstance(target, list) and output.dim() == 2 and all(type(t) is int for t in target):
        index = torch.tensor(target, device="cpu") if len(target) == len(output) else target
    if isinstance(target, Tensor) and target.numel() == 1:
        index = target.item()
    misfit = None
    try:
        if isinstance(index, Tensor):
            index, misfit = _in_bounds(index, output)
            index = index.to(output.device, non_blocking=True)  # the forward need not be over
        score: Tensor = select_targets(output, index)
    except (AssertionError, IndexError, RuntimeError, TypeError) as error:
        raise target_error(target, output, error) from error
    numbers = score[0].numel() if score.dim() > 0 and len(score) > 0 else 1
    if numbers != 1:
        raise TargetError(
            f"Target not provided when necessary: with target={target!r} the model's output of shape "
            f"{tuple(output.shape)} gives {numbers} numbers for each sample; choose one, for example target=0 or "
            "target=(class, row, column), or let forward_func reduce them to one."
        )
    if score.is_complex():
        raise TypeError("The target's score is complex and has no gradient; let forward_func give its .abs() or .real.")
    return score, misfit


def target_error(target: Any, output: Tensor, reason: object) -> TargetError:
    """What is said of a target that does not fit the model's output."""
    return TargetError(
        f"Target {target!r} does not fit the model's output of shape {tuple(output.shape)} ({reason}); give a class "
        "index, a list or tensor with one index for each sample, or a tuple of indices."
    )


def _in_bounds(index: Tensor, output: Tensor) -> tuple[Tensor, Tensor | None]:
    """Each sample's class for a GPU, whose context is lost by a choice out of bounds; and ``Pass.misfit``."""
    if output.device.type == "cpu" or index.dim() != 1 or output.dim() != 2:
        return index, None
    misfit = (index < 0) | (index >= output.shape[1])
    if index.device.type != "cpu":
        return index.clamp(0, output.shape[1] - 1), misfit
    if misfit.any():
        raise IndexError(NO_CLASS)
    return index, None


def _sorted_by_device(by_device: dict[torch.device, Captured], order: list[int] | None) -> list[Captured]:
    if len(by_device) == 1:
        return list(by_device.values())
    if order is None:
        raise ValueError(
            f"The layer ran on {len(by_device)} devices, but their order in the batch is unknown; pass device_ids as "
            "to DataParallel."
        )
    unknown = [str(device) for device in by_device if device.index not in order]
    if unknown:
        raise ValueError(
            f"The layer ran on {', '.join(unknown)}, which is not among device_ids={order}; pass those of DataParallel."
        )
    return [by_device[device] for device in sorted(by_device, key=lambda d: order.index(d.index))]
