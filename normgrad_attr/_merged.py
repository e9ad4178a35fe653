"""What is known of the dimensions of something that was computed place by place, such as a sum, from its operands'."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from normgrad_attr._axes import (
    Axis,
    Dim,
    Dims,
    before_moves,
    bind,
    kind_of,
    moved,
    new,
    only_axis,
    same_places,
    size_of,
)


def merged(candidates: Sequence[Dims], shape: Sequence[int]) -> Dims:
    """The dimensions of an elementwise result of broadcast operands: for each, what is known best."""
    if len(candidates) == 1 and tuple(map(size_of, candidates[0])) == tuple(shape):
        return candidates[0]
    result = []
    for back, size in zip(range(-len(shape), 0), shape, strict=True):
        dims = [c[back] for c in candidates if len(c) >= -back and size_of(c[back]) == size]
        if len(dims) > 1 and all(d == dims[0] for d in dims):
            dims = dims[:1]
        if len(dims) == 1:
            result.append(dims[0])
            continue
        kinds = {kind_of(d) for d in dims} - {None}
        best = max(dims, key=_certainty, default=new(size) if size > 1 else ())
        if {"channel", "space"} <= kinds:
            best = new(size)
        elif any(_contradict(one, other) for one, other in itertools.combinations(dims, 2)):
            best = moved(best, size)
        elif len(kinds) == 1:
            bind((d for d in dims if d is not best and only_axis(d)), next(iter(kinds)))  # type: ignore[arg-type]
        result.append(best)
    return tuple(result)


def _contradict(dim: Dim, other: Dim) -> bool:
    """Whether two dimensions are known to be different places: halves, or one straight and one flipped or turned."""
    (base, order), (of_other, its_order) = before_moves(dim), before_moves(other)
    if same_places(base, of_other):
        return order is not None and its_order is not None and order != its_order
    one, two = only_axis(dim), only_axis(other)
    sources = [axis.of_input[0] for axis in (one, two) if axis is not None and axis.of_input is not None]
    if len(sources) == 2 and sources[0] is sources[1]:  # of which they are two dimensions
        return True
    along, its = ([f.axis.along() for f in d if f.size > 1] for d in (dim, other))
    if None not in (*along, *its) and along != its:
        return True
    if one is None or two is None or one.origin is None or one.origin is not two.origin:
        return False
    least = (one.span[1] - one.span[0]) / one.size / 2  # half a place, for rounding
    return one.span[1] <= two.span[0] + least or two.span[1] <= one.span[0] + least


def _certainty(dim: Dim) -> int:
    """How much is known of a dimension: nothing, what it is, or also where its places lie."""
    return min((_certainty_of(f.axis) for f in dim), default=0)


def _certainty_of(axis: Axis) -> int:
    if axis.parts:
        return max(_certainty(part) for part in axis.parts)
    if axis.kind == "space":
        return 2 if axis.along() is not None else 1
    return 2 if axis.kind else 0
