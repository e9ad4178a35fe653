"""A batch taken apart into its samples, and the results put together again."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


def of_sample(value: Any, n: int, batch: int) -> Any:
    """Row n of all tensors that have one row for each sample; everything else as it is."""
    if isinstance(value, tuple):
        return tuple(of_sample(v, n, batch) for v in value)
    return value[n : n + 1] if isinstance(value, Tensor) and _has_rows(value, batch) else value


def rows(arguments: Any, own: tuple[int, ...], n: int) -> Any:
    """The further arguments for sample n, which has its own row of those at the places ``own``."""
    if not own:
        return arguments
    return tuple(a[n : n + 1] if i in own else a for i, a in enumerate(_as_tuple(arguments)))


def own_arguments(output: Callable[[Any, Any], Tensor], inputs: Any, arguments: Any, batch: int) -> tuple[int, ...]:
    """Places of the further arguments of which each sample has a row of its own.

    An argument that all samples share, such as the texts of some classes, may happen to have as many rows. What is what
    shows in the output: with its own rows and all that is shared, a sample gets the output that it gets in the batch.

    Args:
        output: From inputs and further arguments to the model's output.
        inputs: A batch of them.
        arguments: The further arguments for the whole batch; a tuple, or a single one.
        batch: Number of samples.

    Raises:
        ValueError: The output does not tell.
    """
    if batch == 1 or not _has_rows(arguments, batch):
        return ()
    unclear = [i for i, a in enumerate(_as_tuple(arguments)) if isinstance(a, Tensor) and _has_rows(a, batch)]
    together = output(inputs, arguments)
    choices = [own for size in range(len(unclear) + 1) for own in itertools.combinations(unclear, size)]
    for n in range(batch):
        x, expected = of_sample(inputs, n, batch), together[n : n + 1] if together.dim() else together
        choices = [own for own in choices if _gives(expected, output, x, rows(arguments, own, n))]
    if len(choices) != 1:
        raise ValueError(
            f"A further argument has as many rows as there are samples, {batch}, and the output does not tell whether "
            "each sample has its own or all share it; pass what each sample has its own of among the inputs, bind what "
            "is shared in forward_func, or call attribute() for one sample at a time."
        )
    return choices[0]


def copied(value: Any) -> Any:
    """Copies of the tensors in a tuple, list or dict, for a model that may overwrite them."""
    if type(value) in (list, tuple):
        return type(value)(map(copied, value))
    if type(value) is dict:
        return {k: copied(v) for k, v in value.items()}
    return value.clone() if isinstance(value, Tensor) else value


def concatenate(results: Sequence[Any]) -> Any:
    """One result from those of the samples, which may be tensors or tuples or lists of them."""
    first = results[0]
    if isinstance(first, (tuple, list)):
        return type(first)(concatenate(parts) for parts in zip(*results, strict=True))
    return torch.cat(list(results)) if isinstance(first, Tensor) else first


def _as_tuple(arguments: Any) -> tuple[Any, ...]:
    return arguments if isinstance(arguments, tuple) else (arguments,)


def _has_rows(value: Any, batch: int) -> bool:
    """Whether a tensor, or one somewhere in a container, has one row for each sample."""
    if isinstance(value, Mapping):
        return any(_has_rows(v, batch) for v in value.values())
    if isinstance(value, (list, tuple)):
        return any(_has_rows(v, batch) for v in value)
    return isinstance(value, Tensor) and value.dim() > 0 and len(value) == batch


def _gives(expected: Tensor, output: Callable[[Any, Any], Tensor], inputs: Any, arguments: Any) -> bool:
    """Whether that is the output, up to rounding."""
    try:
        found = output(inputs, arguments)
    except Exception:  # arguments that do not belong together fail in any way
        return False
    if found.shape != expected.shape:
        return False
    rounding = torch.finfo(expected.dtype).eps ** 0.5
    return bool((found - expected).abs().max() <= rounding * expected.abs().max())
