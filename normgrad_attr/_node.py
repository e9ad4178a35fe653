"""What a node of autograd's graph is asked: its operands, the dimensions that it names, and what it leaves unknown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from normgrad_attr._axes import (
    Dims,
    displaced,
    kind_of,
    moved,
    new,
    size_of,
)

#: Key of a node's metadata: the one dimension that was indexed. The index itself is gone after the backward.
INDEXED = "normgrad_attr: dimension indexed"
#: Key of a node's metadata: the rows that were written, a range.
WRITTEN = "normgrad_attr: rows written"
Shape = tuple[int, ...]
#: Dimensions of each operand; None for a weight or a constant.
Operands = list[Dims | None]
Rule = Callable[[Any, Operands, list[Shape]], Sequence[Dims | None]]


class UnreadableError(Exception):
    """A node's rule does not fit what the node did."""


def fresh(shape: Shape, operands: Operands) -> Dims:
    """Dimensions of which nothing is known but, perhaps, that the batch is still the first.

    Where an operand covers a part of the input, or its places have changed their number, what comes out of it cannot be
    taken for all of the input.
    """
    data = recorded(operands) if shape else []
    batches = [o[0] for o in data if o and o[0] and kind_of(o[0]) == "batch" and size_of(o[0]) == shape[0]]
    kept = [
        not data or any(len(o) == len(shape) and size_of(o[i]) == size and not displaced(o[i]) for o in data)
        for i, size in enumerate(shape)
    ]
    kept[0:1] = [len(shape) > 1 or kept[0]] if shape else []
    dims = [new(size) if same else moved(new(size), size) for size, same in zip(shape, kept, strict=True)]
    return (batches[0], *dims[1:]) if batches else tuple(dims)


def elsewhere(shape: Shape, operands: Operands) -> Dims:
    """As :func:`fresh`, but of places that may have been moved around."""
    dims = fresh(shape, operands)
    return (*dims[:1], *(moved(d, s) for d, s in zip(dims[1:], shape[1:], strict=True)))


def recorded(operands: Operands) -> list[Dims]:
    """The operands that come from an input, not from weights and constants alone."""
    return [o for o in operands if o is not None]


def signed(value: int) -> int:
    """Autograd's nodes keep a dimension counted from the end as an unsigned number."""
    return value - 2**64 if value >= 2**63 else value


def dims_of(node: Any, count: int, *names: str) -> list[int]:
    """The dimensions that a node names, counted from the start; all where it names none."""
    for name in names:
        if hasattr(node, name):
            value = getattr(node, name)
            values = value if isinstance(value, (tuple, list)) else [value]
            return [signed(v) % count for v in values] or list(range(count))
    return list(range(count))


def replaced(values: tuple[Any, ...], at: int, value: Any) -> tuple[Any, ...]:
    """The values with another one at a place."""
    return (*values[:at], value, *values[at + 1 :])


def entries(rule: Rule, names: str) -> Iterator[tuple[str, Rule]]:
    """A rule for each of the kinds of nodes that it is for."""
    return ((name, rule) for name in names.split())
