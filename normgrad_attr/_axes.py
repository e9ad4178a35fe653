"""What the dimensions of a tensor run over: the algebra of axes that are split, merged, sliced and put together.

A dimension is a product of *factors*, the first running slowest, and a factor is a piece of an *axis*: the batch, the
channels, or a direction of the input. ``flatten`` makes one dimension of the factors of several, ``view`` takes it
apart again, and a window of a Swin block is the inner factor of two axes. So the layout of tokens on the image is known
at any time from where their dimension came from, without a guess from its size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

Kind = Literal["batch", "channel", "space"]
#: Number of a spatial dimension of the input, and how many that input has.
Direction = tuple[int, int]
#: (sign, shift): place i of a dimension is place sign * i + shift of another, round its end.
Order = tuple[int, int]
STRAIGHT, FLIPPED = (1, 0), (-1, -1)


@dataclass(eq=False)
class Input:
    """An input of the network: its shape, and what its dimensions turn out to be."""

    shape: tuple[int, ...]
    kinds: list[Kind | None]

    def directions(self) -> list[int]:
        """Its spatial dimensions, as soon as it is known which they are."""
        rest = [d for d, kind in enumerate(self.kinds) if kind in ("space", None)]
        known = "channel" in self.kinds or all(self.kinds[d] == "space" for d in rest)
        return rest if known else []

    def note_batch(self, number: int) -> None:
        """Note that this dimension is the batch, and not the first, which it was taken to be."""
        if self.kinds[number] in ("space", None):
            self.kinds = ["space" if kind == "batch" else kind for kind in self.kinds]
            self.kinds[number] = "batch"


class Axis:
    """A direction of the data.

    Args:
        size: Number of places along it.
        kind: What it is, None as long as nothing has told.
        direction: The input's spatial dimension that it runs along, None if it does not or nothing tells.
        origin: The axis that it came from by a convolution, pooling, a cut or the like, and so runs along.
        span: Where it begins and ends on the origin, which lies from 0 to 1: it is cut inside, and padded outside.
        parts: Dimensions that it is a concatenation of, such as a class token and the patches.
        unmoved: The dimension before its places were moved around, and their order now, None for one without a name.
        of_input: The input that it is a dimension of, and its number there.
    """

    def __init__(
        self,
        size: int,
        kind: Kind | None = None,
        direction: Direction | None = None,
        *,
        origin: Axis | None = None,
        span: tuple[float, float] = (0.0, 1.0),
        parts: tuple[Dim, ...] = (),
        unmoved: tuple[Dim, Order | None] | None = None,
        of_input: tuple[Input, int] | None = None,
    ) -> None:
        self.size, self.direction, self.origin, self.parts, self.unmoved = size, direction, origin, parts, unmoved
        self.of_input, self.span = of_input, span
        self._kind = kind

    @property
    def kind(self) -> Kind | None:
        """What it is, None as long as nothing has told."""
        if self.of_input is None:
            return self._kind or (None if self.origin is None else self.origin.kind)
        source, number = self.of_input
        return source.kinds[number] or ("space" if number in source.directions() else None)

    @kind.setter
    def kind(self, kind: Kind) -> None:
        if self.of_input is None:
            self._kind = kind
            if self.origin is not None and self.origin.kind is None:
                self.origin.kind = kind
        else:
            self.of_input[0].kinds[self.of_input[1]] = kind

    def note_batch(self) -> None:
        """Note that the output's rows run along it."""
        if self.of_input is not None:
            self.of_input[0].note_batch(self.of_input[1])
        else:
            self._kind = self._kind or "batch"

    def number(self) -> int | None:
        """The dimension of an input that it runs along."""
        of_input = (self.origin or self).of_input
        return None if of_input is None else of_input[1]

    def along(self) -> Direction | None:
        """The input's spatial dimension that it runs along."""
        if self.unmoved or self.kind in ("batch", "channel"):
            return None
        if self.origin is not None:
            return self.origin.along()
        if self.of_input is None:
            return self.direction
        directions, (_, number) = self.of_input[0].directions(), self.of_input
        return (directions.index(number), len(directions)) if number in directions else None


class Factor(NamedTuple):
    """A piece of an axis: ``size`` places that lie ``stride`` apart."""

    axis: Axis
    size: int
    stride: int


Dim = tuple[Factor, ...]
Dims = tuple[Dim, ...]
#: Of dimensions that were dropped, the place that was kept; None for several places.
Places = dict[Dim, int | None]


class Piece(tuple[Dim, ...]):
    """The dimensions of what was made of one place of others, as ``x[i]`` is and what is computed of it."""

    places: Places

    def __new__(cls, dims: Dims, places: Places) -> Piece:
        piece = super().__new__(cls, dims)
        piece.places = places
        return piece


def new(size: int, kind: Kind | None = None, direction: Direction | None = None) -> Dim:
    """A dimension along an axis that nothing else runs along."""
    return whole(Axis(size, kind, direction))


def whole(axis: Axis) -> Dim:
    """A dimension along all of an axis."""
    return (Factor(axis, axis.size, 1),)


def only_axis(dim: Dim) -> Axis | None:
    """The axis that the dimension runs along from end to end, if it is that simple."""
    return dim[0].axis if len(dim) == 1 and dim[0].size == dim[0].axis.size else None


def size_of(dim: Dim) -> int:
    """Number of places along a dimension."""
    return dim[0].size if len(dim) == 1 else math.prod(f.size for f in dim)


def kind_of(dim: Dim) -> Kind | None:
    """What a dimension runs over; channels if they are a part of it, None if a part is unknown."""
    if len(dim) == 1:
        return dim[0].axis.kind
    kinds = {f.axis.kind for f in dim}
    if "channel" in kinds:
        return "channel"
    if None in kinds or not kinds:
        return None
    return "space" if "space" in kinds else "batch"


def bind(dims: Iterable[Dim], kind: Kind) -> None:
    """Note what the axes of dimensions are, where nothing has told so far."""
    for factor in (f for dim in dims for f in dim):
        factor.axis.kind = factor.axis.kind or kind


def resized(dim: Dim, size: int, stride: int | None = None) -> Dim:
    """The dimension after a convolution, pooling or resizing along it: coarser or finer, but along the same axis.

    What padding has added at the ends is used up by a window that moves in steps of ``stride`` without padding.
    """
    if size == size_of(dim):
        return dim
    axis = only_axis(dim)
    kind: Kind = "channel" if kind_of(dim) == "channel" else "space"
    if axis is None or axis.parts:
        return moved(dim, size) if kind == "space" else new(size, kind)
    begin, end = axis.span
    used = max(0, axis.size - stride * size) * (end - begin) / axis.size if stride else 0
    front, back = max(0.0, -begin), max(0.0, end - 1)
    left = max(0.0, 1 - used / (front + back)) if front + back else 0.0
    span = (max(begin, -left * front), min(end, 1 + left * back))
    unmoved = axis.unmoved and (axis.unmoved[0], None)
    return whole(Axis(size, kind, origin=axis.origin or axis, span=span, unmoved=unmoved))


def cut(dim: Dim, start: int, size: int, step: int = 1) -> Dim:
    """The dimension of ``size`` places from ``start`` on, which may lie outside: there it was padded."""
    axis = only_axis(dim)
    if axis is None or axis.parts:
        return moved(dim, size)
    begin, end = axis.span
    place, first = (end - begin) / axis.size, start - start % step
    span = (begin + first * place, begin + (first + size * step) * place)
    unmoved = axis.unmoved and (axis.unmoved[0], None)
    return whole(Axis(size, axis.kind, origin=axis.origin or axis, span=span, unmoved=unmoved))


def as_grid(dims: Dims) -> Dims:
    """The spatial dimensions of a convolution: those of the input, in this order, if nothing is known of any.

    Dimensions of an input whose channels are gone, as by a mean over its second, are these if they are all behind that.
    """
    axes = [f.axis for dim in dims for f in dim]
    known = any(axis.along() is not None or axis.parts or axis.unmoved for axis in axes)
    if known or not axes or any(kind_of(dim) == "channel" for dim in dims):
        return dims
    if any(axis.number() is not None for axis in axes):
        numbers = [None if axis is None else axis.number() for axis in map(only_axis, dims)]
        if numbers != list(range(2, 2 + len(dims))):
            return dims
    return tuple(new(size_of(dim), "space", (i, len(dims))) for i, dim in enumerate(dims))


def regrouped(dims: Dims, shape: Sequence[int]) -> Dims | None:
    """The dimensions of a view with another shape; None if it cuts an axis where it has no seam."""
    factors = [f for dim in dims for f in dim][::-1]
    result: list[Dim] = []
    for size in shape:
        taken: list[Factor] = []
        reached = 1
        if size == 1 and factors and factors[-1].size == 1:
            taken.append(factors.pop())
        while reached < size:
            if not factors:
                return None
            axis, have, stride = factors.pop()
            take = min(have, size // reached)
            if have % take or (take < have and reached * take != size):
                return None
            if take < have:
                factors.append(Factor(axis, have // take, stride))
            taken.append(Factor(axis, take, stride * (have // take)))
            reached *= take
        if reached != size:
            return None
        result.append(_joined(taken))
    if any(f.size > 1 for f in factors):
        return None
    if factors and result:
        result[-1] += tuple(factors[::-1])
    return tuple(result)


def _joined(factors: list[Factor]) -> Dim:
    """Neighbouring pieces of an axis as one."""
    joined: list[Factor] = []
    for factor in factors:
        if joined and joined[-1].axis is factor.axis and joined[-1].stride == factor.size * factor.stride:
            factor = Factor(factor.axis, joined.pop().size * factor.size, factor.stride)
        joined.append(factor)
    return tuple(joined)


def sliced(dim: Dim, start: int, size: int, step: int = 1) -> Dim:
    """The dimension of ``size`` of its places, from ``start`` on."""
    if size == size_of(dim):
        return dim
    kind, axis = kind_of(dim), only_axis(dim)
    if kind == "channel" or (kind == "batch" and (axis is None or axis.parts)):
        return new(size, kind)
    if axis is None or not axis.parts:
        return cut(dim, start, size, step)
    parts, at = [], 0
    for part in axis.parts:
        if start <= at and at + size_of(part) <= start + size:
            parts.append(part)
        at += size_of(part)
    return joined_parts(parts) if step == 1 and sum(map(size_of, parts)) == size else moved(dim, size)


def joined_parts(parts: Sequence[Dim]) -> Dim:
    """The dimension of a concatenation."""
    if len(parts) == 1:
        return parts[0]
    flat: list[Dim] = []
    for part in parts:
        axis = only_axis(part)
        flat += axis.parts if axis is not None and axis.parts else [part]
    kinds = {kind_of(part) for part in flat}
    kind = next((k for k in ("batch", "space", "channel") if k in kinds), None)
    return whole(Axis(sum(map(size_of, flat)), kind, parts=tuple(flat) if kind in ("space", None) else ()))


def rejoined(parts: Sequence[Dim]) -> Dim | None:
    """The dimension of which these are all the parts, moved if they are in another order; None if they are not."""
    axes = [axis for part in parts if (axis := only_axis(part)) is not None and axis.origin is not None]
    origin = axes[0].origin if axes else None
    if origin is None or len(axes) < len(parts) or any(axis.origin is not origin for axis in axes):
        return None
    if sum(axis.size for axis in axes) != origin.size:
        return None
    ends = [0.0, *(axis.span[1] for axis in axes)]
    follow = all(abs(axis.span[0] - end) * origin.size < 0.5 for axis, end in zip(axes, ends, strict=False))
    in_order = follow and not any(axis.unmoved for axis in axes)
    return whole(origin) if in_order else moved(whole(origin), origin.size)


def places_of(operands: Iterable[Dims | None]) -> Places:
    """The places that all operands together were made of."""
    result: Places = {}
    for operand in operands:
        for dim, place in operand.places.items() if isinstance(operand, Piece) else ():
            result[dim] = place if result.get(dim, place) == place else None
    return result


def stacked(pieces: Sequence[Dims | None]) -> Dim | None:
    """The dimension of which single places are put together again; None if they are not that."""
    places = [piece.places if isinstance(piece, Piece) else {} for piece in pieces]
    along = {dim: [of_piece.get(dim) for of_piece in places] for dim in places[0]}
    varying = [(dim, order) for dim, order in along.items() if None not in order and len(set(order)) > 1]
    if len(varying) != 1:
        return None
    ((dim, order),) = varying
    count = size_of(dim)
    if order == list(range(count)):
        return dim
    return moved(dim if len(order) == count else new(len(order), kind_of(dim)), len(order))


def displaced(dim: Dim) -> bool:
    """Whether its places are known not to be those of all of an axis in their order."""
    return any(f.axis.unmoved or f.axis.span != (0.0, 1.0) for f in dim)


def moved(dim: Dim, size: int, order: Order | None = None) -> Dim:
    """The dimension after its places were shifted or flipped, or, without an order, changed places in another way."""
    base, before = before_moves(dim)
    now = (before[0] * order[0], (before[0] * order[1] + before[1]) % size) if before and order else None
    return base if now == STRAIGHT else whole(Axis(size, kind_of(dim), unmoved=(base, now)))


def before_moves(dim: Dim) -> tuple[Dim, Order | None]:
    """The dimension before its places were moved around, and their order now."""
    axis = only_axis(dim)
    return (axis.unmoved if axis is not None else None) or (dim, STRAIGHT)


def same_places(dim: Dim, other: Dim) -> bool:
    """Whether the places of two dimensions lie alike."""
    if dim == other:
        return True
    one, two = only_axis(dim), only_axis(other)
    if one is None or two is None or one.unmoved or two.unmoved:
        return False
    return (one.size, one.span) == (two.size, two.span) and (one.origin or one) is (two.origin or two)
