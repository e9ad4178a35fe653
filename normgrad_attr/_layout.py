"""Where a layer's channels are, and how its map lies on the input: proved by the graph, or refused."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node

from normgrad_attr._axes import (
    Axis,
    Dim,
    Dims,
    Direction,
    Factor,
    cut,
    displaced,
    kind_of,
    only_axis,
    places_of,
    size_of,
)
from normgrad_attr._combine import resize
from normgrad_attr._graph_axes import GraphAxes
from normgrad_attr._tape import before

#: Pieces that a place is cut into at most, to put a map where it lies.
_FINEST = 8


class Layouts:
    """Layouts of the activations of one pass.

    Args:
        root: The node that sums the samples' scores: what consumes an activation tells as much as what made it.
        inputs: Where each of the network's inputs stands in the graph, None for one that does not.
    """

    def __init__(self, root: Node | None, inputs: Sequence[Node | None] = ()) -> None:
        self._axes = GraphAxes()
        self._inputs = inputs
        self._batch = self._axes.read_score(root) if root is not None else None

    def check_output(self, edge: GradientEdge | None, shape: tuple[int, ...]) -> None:
        """Raise ValueError if the model's output has the samples elsewhere than in its first dimension.

        Args:
            edge: Where the output stands in the graph.
            shape: Its shape.
        """
        dims = (self._axes.at(edge) if edge is not None else None) or ()
        inputs = [self._axes.at(GradientEdge(node, 0)) or () for node in self._inputs if node is not None]
        samples = [dim for of_input in inputs for dim in of_input if kind_of(dim) == "batch"]
        found = [d for d, dim in enumerate(dims) if dim in samples and size_of(dim) > 1]
        if found and found[0] > 0 and kind_of(dims[0]) is not None:
            raise ValueError(
                f"The model's output of shape {shape} has the samples in dimension {found[0]}, but scores are taken "
                f"along its first; let forward_func bring them there, as in lambda x: model(x).movedim({found[0]}, 0)."
            )

    def depends(self, edge: GradientEdge | None) -> bool:
        """Whether the activation at an edge depends on an input of the network."""
        return edge is not None and not before(edge.node).isdisjoint(n for n in self._inputs if n is not None)

    def of(self, edge: GradientEdge | None) -> Layout:
        """The layout of the activation at an edge."""
        dims = self._axes.at(edge) if edge is not None else None
        return Layout(dims or (), self._batch, frozenset() if edge is None else self._unseen(edge.node))

    def _unseen(self, node: Node) -> frozenset[int]:
        """Numbers of the inputs that a node does not depend on while it depends on others."""
        if len(self._inputs) < 2:
            return frozenset()
        found = before(node)
        unseen = frozenset(i for i, n in enumerate(self._inputs) if n is not None and n not in found)
        return unseen if len(unseen) < len(self._inputs) else frozenset()


@dataclass(frozen=True)
class Layout:
    """What the dimensions of one activation run over.

    Args:
        dims: Each dimension's factors; see :mod:`normgrad_attr._axes`. None at all if nothing recorded made it.
        batch: What the samples' scores run along, None if it is not known.
        unseen: Numbers of the inputs that the activation does not depend on.
    """

    dims: Dims
    batch: Axis | None = None
    unseen: frozenset[int] = frozenset()

    def order(self, channel_dim: int | None, shape: tuple[int, ...], name: object) -> list[int]:
        """The activation's dimensions with the batch first and the channels next.

        The channels are where the user says, or else where it is proved that they are.

        Args:
            channel_dim: What the user says, None for nothing.
            shape: The activation's shape.
            name: The layer's name for messages.

        Raises:
            ValueError: It cannot be told, or what the user says is wrong.
        """
        dims = len(shape)
        if dims < 2:
            raise ValueError(
                f"Layer {name} gives a tensor of shape {shape}, which has no channels; choose a layer with an "
                "activation of shape (N, C, ...)."
            )
        proved = self.channel_dim() if self.dims else 1 if dims == 2 else None
        if channel_dim is None:
            if proved is None:
                raise ValueError(
                    f"Layer {name} gives a tensor of shape {shape}, and the network does not tell which dimension its "
                    "channels are in; pass channel_dim=1 for feature maps, channel_dim=-1 for tokens and channels-last "
                    "features, or choose another layer."
                )
            channel_dim = proved
        # Any dimension but the batch's.
        elif channel_dim not in (*range(1 - dims, 0), *range(1, dims)):
            raise ValueError(
                f"channel_dim={channel_dim!r} does not fit the activation of shape {shape} of layer {name}; use 1 for "
                "feature maps or -1 for tokens."
            )
        elif proved not in (None, channel_dim % dims) and kind_of(self.dims[channel_dim % dims]) == "space":
            raise ValueError(
                f"channel_dim={channel_dim!r} is wrong for layer {name}: the channels of its activation of shape "
                f"{shape} are in dimension {proved}; leave channel_dim out, and it is found for each layer."
            )
        self.check_samples(name)
        first = [self.batch_dim(), channel_dim % dims]
        return first + [d for d in range(dims) if d not in first]

    def check_samples(self, name: object) -> None:
        """Raise ValueError, with the layer's name, if its samples lie in another order than the model's."""
        rows = self._batch()
        if any(f.axis.unmoved and (f.axis.kind == "batch" or len(rows) == 1) for f in rows):
            raise ValueError(
                f"Layer {name} gets the samples in another order than the model, and its maps would be in that order; "
                "choose a layer before they are moved around."
            )

    def channel_dim(self) -> int | None:
        """The dimension of the channels, None if it cannot be told."""
        if len(self.dims) == 2:
            return 1
        found = [d for d, dim in enumerate(self.dims) if kind_of(dim) == "channel" and d != self.batch_dim()]
        wide = [d for d in found if size_of(self.dims[d]) > 1] or found
        return wide[0] if len(wide) == 1 else None

    def batch_dim(self) -> int:
        """The dimension of the batch: the first, unless another is proved to be it."""
        found = [d for d, dim in enumerate(self.dims) if dim and kind_of(dim) == "batch"]
        found = [d for d in found if size_of(self.dims[d]) > 1] or found
        found = [d for d in found if any(f.axis is self.batch for f in self.dims[d])] or found
        if not found and self.dims and kind_of(self.dims[0]) in ("space", "channel"):
            # A batch of one may have been lost on the way, as places of size 1 are, but it has no other size.
            found = [d for d, dim in enumerate(self.dims) if size_of(dim) == 1 and kind_of(dim) is None]
        return found[0] if len(found) == 1 else 0

    def by_sample(self, maps: Tensor) -> Tensor:
        """Maps of the activation's rows as maps of samples, where the network folds windows or frames into the batch.

        Args:
            maps: (rows, 1, *places), a row for each place along the batch's dimension.

        Returns:
            (N, 1, *places), or (N, 1, windows, *places) where each sample has several rows.
        """
        dim = self._batch()
        at = next((i for i, factor in enumerate(dim) if factor.axis.kind == "batch"), 0)
        before, behind = size_of(dim[:at]), size_of(self._folded()) // size_of(dim[:at])
        if before * behind < 2 or len(maps) % (before * behind):
            return maps
        rows = maps.reshape(before, len(maps) // (before * behind), behind, *maps.shape[1:])
        return rows.movedim((1, 3), (0, 1)).reshape(rows.shape[1], 1, before * behind, *maps.shape[2:])

    def _batch(self) -> Dim:
        return self.dims[self.batch_dim()] if self.dims else ()

    def _folded(self) -> Dim:
        """What else runs along the batch's dimension: windows or frames."""
        others = tuple(f for f in self._batch() if f.axis.kind != "batch")
        return others if all(f.axis.kind or f.axis.along() for f in others) else ()

    def input_channel_dim(self, shape: tuple[int, ...]) -> int | None:
        """Dimension of the channels in the input of this shape: 1 unless the network takes it otherwise.

        None for an input that the network takes for one without channels, such as a spectrogram (N, time, frequency).
        """
        factors = [f for dim in self.dims for f in dim]
        for axis in (f.axis.origin or f.axis for f in factors):
            if axis.of_input is not None and axis.of_input[0].shape == shape:
                kinds = axis.of_input[0].kinds
                if len(kinds) > 2 and all(kind == "space" for kind in kinds[1:]):
                    return None
                return kinds.index("channel") if kinds.count("channel") == 1 else 1
        return 1

    def grid(self, directions: int) -> tuple[int, ...] | None:
        """Size of the grid on which its places lie on the input; None if that, or the channels, is not known."""
        at = self.channel_dim()
        first = self.dims[0] if self.dims else ()
        other = len(first) > 1 or kind_of(first) not in ("batch", None)  # frames or windows, perhaps with the batch
        if at is None or self.batch_dim() != 0 or (size_of(first) > 1 and other):
            return None
        places = [dim for d, dim in enumerate(self.dims) if d not in (0, at)]
        try:
            laid_out = self.laid_out(torch.empty(1, 1, *map(size_of, places), device="meta"), at, directions)
        except ValueError:
            return None
        return tuple(laid_out.shape[2:])

    def laid_out(self, layer_map: Tensor, channel_dim: int | None, directions: int) -> Tensor:
        """A map over the activation's places, laid out along the directions of the input.

        Args:
            layer_map: As :meth:`by_sample` gives it, with one dimension for each of the activation's that is neither
                batch nor channels.
            channel_dim: The activation's dimension of channels, by default the one that is proved.
            directions: Number of the input's spatial dimensions.

        Raises:
            ValueError: Why it cannot be laid out, as a clause.
        """
        at = self.channel_dim() if channel_dim is None else channel_dim % len(self.dims)
        places = [dim for d, dim in enumerate(self.dims) if d not in (self.batch_dim(), at)]
        places = [self._folded(), *places] if size_of(self._folded()) > 1 else places
        if tuple(map(size_of, places)) != layer_map.shape[2:]:  # a layer's own weights may work on another grid
            if layer_map.dim() - 2 == directions:
                return layer_map
            raise ValueError("it does not lie on the places of the layer's output")
        for at, dim in enumerate(places):
            start, inside = _patches(dim)
            layer_map = layer_map.narrow(2 + at, start, size_of(inside))
            places[at] = inside
        factors = [f for dim in places for f in dim if f.size > 1 or displaced((f,))]
        if any(f.axis.unmoved for f in factors):
            raise ValueError("its places have been chosen or moved around")
        known = [d for d in (f.axis.along() for f in factors) if d is not None]
        if len(known) < len(factors) or not places or any(of != directions for _, of in known):
            raise ValueError(f"it is not known how its {_times(places)} places lie there")
        order = sorted(range(len(factors)), key=lambda i: (known[i], -factors[i].stride))
        along = [[factors[i] for i in order if known[i][0] == d] for d in range(directions)]
        if not all(map(_one_grid, along)):
            raise ValueError(f"it is not known how its {_times(places)} places lie there")
        split = layer_map.reshape(*layer_map.shape[:2], *(f.size for f in factors))
        sides = (size_of(tuple(pieces)) for pieces in along)
        on_grid = split.permute(0, 1, *(2 + i for i in order)).reshape(*layer_map.shape[:2], *sides)
        for d, pieces in enumerate(along):
            on_grid = _placed(on_grid, 2 + d, pieces[0].axis.span if pieces else self._kept_of((d, directions)))
        return on_grid

    def _kept_of(self, direction: Direction) -> tuple[float, float]:
        """Where the one place lies that was kept of a direction, as of the frames of a video; or all of it."""
        for dim, place in places_of([self.dims]).items():
            axis = only_axis(dim)
            if axis is not None and place is not None and axis.along() == direction:
                return cut(dim, place, 1)[0].axis.span
        return 0.0, 1.0


def _patches(dim: Dim) -> tuple[int, Dim]:
    """Where in a dimension the places of the input begin, and they alone: without class and register tokens."""
    axis = only_axis(dim)
    if axis is None or not axis.parts:
        return 0, dim
    of_input = [i for i, part in enumerate(axis.parts) if kind_of(part) == "space"]
    if len(of_input) != 1:
        sizes = ", ".join(str(size_of(part)) for part in axis.parts)
        raise ValueError(f"its {axis.size} tokens are put together of several pieces ({sizes})")
    (at,) = of_input
    return sum(size_of(part) for part in axis.parts[:at]), axis.parts[at]


def _one_grid(factors: list[Factor]) -> bool:
    """Whether pieces of one direction, from coarse to fine, are all of its places, or of a coarser grid."""
    if not factors:
        return True
    same = len({f.axis for f in factors}) == 1
    nested = all(a.stride == b.stride * b.size for a, b in itertools.pairwise(factors))
    return same and nested and factors[0].size * factors[0].stride == factors[0].axis.size


def _placed(maps: Tensor, dim: int, span: tuple[float, float]) -> Tensor:
    """A map that covers a part of the input, or padding around it, on all of the input and nothing else.

    What the network has not seen is zero. Less than a quarter of a place at either end is rounding, as of windows that
    do not fit; elsewhere, parts of places are told apart by making them finer first.
    """
    begin, end = span
    place = (end - begin) / maps.shape[dim]
    if max(abs(begin), abs(1 - end)) < place / 4:
        return maps
    finer = next((n for n in range(1, _FINEST) if _whole(begin * n / place) and _whole((1 - end) * n / place)), _FINEST)
    if finer > 1:
        size = [s * finer if d == dim else s for d, s in enumerate(maps.shape)][2:]
        maps = resize(maps, size)
    before, behind = round(begin * finer / place), round((1 - end) * finer / place)
    ends = [0] * (2 * (maps.dim() - 1 - dim)) + [before, behind]
    return F.pad(maps, ends)


def _whole(number: float) -> bool:
    return abs(number - round(number)) < 0.1


def _times(dims: list[Dim]) -> str:
    return " x ".join(str(size_of(dim)) for dim in dims)
