"""What nodes that move things do to dimensions: views, permutations, slices, joins, and what drops dimensions."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from normgrad_attr._axes import (
    FLIPPED,
    Dim,
    Dims,
    Factor,
    Piece,
    joined_parts,
    kind_of,
    moved,
    new,
    only_axis,
    places_of,
    regrouped,
    rejoined,
    resized,
    same_places,
    size_of,
    sliced,
    stacked,
    whole,
)
from normgrad_attr._merged import merged
from normgrad_attr._node import (
    INDEXED,
    WRITTEN,
    Operands,
    Rule,
    Shape,
    UnreadableError,
    dims_of,
    elsewhere,
    entries,
    fresh,
    recorded,
    replaced,
    signed,
)

# What moves, splits, joins and drops dimensions.


def _view(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    (source,), (shape,) = recorded(operands), shapes
    return [regrouped(source, shape) or fresh(shape, operands)]


def _strided(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    """A view that was overwritten, or pooling to one place: told by strides, those of a tensor as memory keeps it."""
    (source,), (shape,) = recorded(operands), shapes
    strides = tuple(node._saved_stride)
    if tuple(map(size_of, source)) == shape:
        last = (0, *range(2, len(shape)), 1)
        if all(s == 1 for s in shape[2:]) or strides in (_dense(shape, range(len(shape))), _dense(shape, last)):
            return [source]
    as_view = regrouped(source, shape) if strides == _dense(shape, range(len(shape))) else None
    return [as_view or elsewhere(shape, operands)]


def _dense(shape: Shape, order: Sequence[int]) -> Shape:
    """Strides of a tensor without gaps whose dimensions are kept in this order."""
    strides, reached = [0] * len(shape), 1
    for at in reversed(order):
        strides[at], reached = reached, reached * shape[at]
    return tuple(strides)


def _permute(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    (source,) = recorded(operands)
    return [tuple(source[d] for d in dims_of(node, len(source), "_saved_dims"))]


def _transpose(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    (source,) = recorded(operands)
    order = list(range(len(source)))
    one, other = (signed(getattr(node, f"_saved_dim{i}", i)) % len(order) for i in (0, 1))
    order[one], order[other] = other, one
    return [tuple(source[d] for d in order)]


def _expand(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    return [merged(recorded(operands), shapes[0])]


def _repeat(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    (source,), (shape,) = recorded(operands), shapes
    source = (*(() for _ in range(len(shape) - len(source))), *source)
    return [
        tuple(
            d if size_of(d) == s else moved(d, s) if size_of(d) > 1 else new(s, kind_of(d))
            for d, s in zip(source, shape, strict=True)
        )
    ]


def _reduce(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    source = recorded(operands)[0]
    gone = dims_of(node, len(source), "_saved_dim")
    if len(shapes[0]) == len(source):
        return [tuple(() if i in gone else d for i, d in enumerate(source)), *(fresh(s, operands) for s in shapes[1:])]
    return [tuple(d for i, d in enumerate(source) if i not in gone), *(fresh(s, operands) for s in shapes[1:])]


def _select(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    (source,) = recorded(operands)
    (at,) = dims_of(node, len(source), "_saved_dim")
    return [_taken(source, at, signed(node._saved_index) % size_of(source[at]))]


def _unbind(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    (source,) = recorded(operands)
    (at,) = dims_of(node, len(source), "_saved_dim")
    return [_taken(source, at, place) for place in range(len(shapes))]


def _taken(source: Dims, at: int, place: int) -> Dims:
    """One place of a dimension, which is dropped."""
    return Piece(source[:at] + source[at + 1 :], {**places_of([source]), source[at]: place})


def _slice(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    (source,), (shape,) = recorded(operands), shapes
    (at,) = dims_of(node, len(source), "_saved_dim")
    start = min(signed(node._saved_start) % (2 * size_of(source[at]) or 1), size_of(source[at]))
    start -= size_of(source[at]) if node._saved_start >= 2**63 else 0
    return [replaced(source, at, sliced(source[at], start, shape[at], node._saved_step))]


def _split(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    (source,) = recorded(operands)
    (at,) = dims_of(node, len(source), "_saved_dim")
    starts = [sum(s[at] for s in shapes[:i]) for i in range(len(shapes))]
    return [replaced(source, at, sliced(source[at], b, s[at])) for b, s in zip(starts, shapes, strict=True)]


def _cat(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    (shape,) = shapes
    (at,) = dims_of(node, len(shape), "_saved_dim")
    data = recorded(operands)
    sizes = [
        size_of(o[at]) if o is not None else _size_at(e, at) for o, e in zip(operands, node.next_functions, strict=True)
    ]
    rest = shape[at] - sum(size for size in sizes if size is not None)
    # Of constants, such as frozen class and register tokens, no size is known, but that of all of them together.
    runs = [list(run) for _, run in itertools.groupby(zip(operands, sizes, strict=True), lambda part: part[1] is None)]
    if sum(run[0][1] is None for run in runs) > 1:
        raise UnreadableError
    parts = []
    for run in runs:
        if run[0][1] is None:
            parts.append(new(rest))
        else:
            parts += [o[at] or new(1) if o is not None else new(size or 0) for o, size in run]
    dims = merged([replaced(d, at, ()) for d in data], replaced(shape, at, 1))
    joined = joined_parts(parts)
    if kind_of(joined) == "batch" or (at == 0 and kind_of(joined) != "space"):
        joined = rejoined(parts) or new(shape[at], "batch")
    if len(operands) == shape[at]:
        joined = stacked(operands) or joined
    return [replaced(dims, at, joined)]


def _size_at(edge: tuple[Any, int], at: int) -> int | None:
    node, index = edge
    if node is None:
        return None
    shape = node.variable.shape if hasattr(node, "variable") else node._input_metadata[index].shape
    return int(shape[at])


def _stack(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    (shape,) = shapes
    (at,) = dims_of(node, len(shape), "_saved_dim")
    dims = merged(recorded(operands), shape[:at] + shape[at + 1 :])
    return [(*dims[:at], stacked(operands) or new(shape[at]), *dims[at:])]


def _roll(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    (dims,) = recorded(operands)
    for at, shift in zip(node._saved_dims, node._saved_shifts, strict=True):
        at = signed(at) % len(dims)
        dims = replaced(dims, at, moved(dims[at], size_of(dims[at]), (1, -signed(shift))))
    return [dims]


def _flipped(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    (source,) = recorded(operands)
    gone = dims_of(node, len(source), "_saved_dims")
    return [tuple(moved(d, size_of(d), FLIPPED) if i in gone else d for i, d in enumerate(source))]


def _shuffled(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    """Places along some dimensions are other places afterwards: transformed, chosen."""
    source, (shape,) = recorded(operands)[0], shapes
    gone = dims_of(node, len(source), "_saved_dims", "_saved_dim")
    return [tuple(moved(d, s) if i in gone else d for i, (d, s) in enumerate(zip(source, shape, strict=True)))]


def _indexed(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    """``x[:, index]``: places along the dimension that was indexed lie in an order of their own; or along any."""
    source, (shape,) = recorded(operands)[0], shapes
    at = node.metadata.get(INDEXED)
    if len(shape) != len(source) or (at == 0 and shape[0] != size_of(source[0])):
        return [fresh(shape, operands)]
    return [
        tuple(
            moved(d, s) if at == i or (at is None and i) or size_of(d) != s else d
            for i, (d, s) in enumerate(zip(source, shape, strict=True))
        )
    ]


def _written(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    """A tensor into a part of which another was written: places of that one may lie elsewhere now."""
    base, *others = operands
    shape = shapes[0]
    result = list(base or fresh(shape, operands))
    for other in recorded(others):
        for at in range(1, len(shape)):
            back = at - len(shape)
            written = other[back] if len(other) >= -back else ()
            if base is None and size_of(written) == shape[at]:  # into constants, from end to end
                result[at] = written
            elif kind_of(result[at]) in (None, "space") and not same_places(result[at], written):
                result[at] = moved(result[at], shape[at])
        result[:1] = [_rows_written(node, dim, other) for dim in result[:1]]
    return [tuple(result), *(fresh(s, operands) for s in shapes[1:])]


def _rows_written(node: Any, rows: Dim, other: Dims) -> Dim:
    """The samples of a tensor that others are written into; moved if one is known to be put in another's place."""
    count, written = size_of(rows), node.metadata.get(WRITTEN)
    if len(other) == len(node._input_metadata[0].shape) and kind_of(other[0]) == "batch":
        axis, there = only_axis(other[0]), rows
        if written is not None and axis is not None and size_of(source := whole(axis.origin or axis)) == count:
            there = sliced(source, written.start, len(written), written.step)
        return rows if same_places(there, other[0]) else moved(rows, count)
    for dim, place in places_of([other]).items():
        # Of samples that are written among themselves it must be told; constants are filled one by one.
        if kind_of(dim) == "batch" and (rows == dim if written is None else list(written) != [place]):
            rows = moved(rows, count)
    return rows


def _scattered(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    """Like :func:`_written`, at places along one dimension, or along any, that an index tells."""
    (dims,) = _written(node, operands, shapes)
    if dims is None or not recorded(operands[1:]):
        return [dims]
    along = dims_of(node, len(dims), "_saved_dim")
    return [tuple(moved(d, size_of(d)) if at in along else d for at, d in enumerate(dims))]


def _rotated(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    """Quarter turns: one dimension flipped and both exchanged, as often as it takes."""
    (source,) = recorded(operands)
    one, other = dims_of(node, len(source), "_saved_dims")
    dims = list(source)
    for _ in range(signed(node._saved_k) % 4):
        dims[one], dims[other] = moved(dims[other], size_of(dims[other]), FLIPPED), dims[one]
    return [tuple(dims)]


def _sampled(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    """``grid_sample``: every place is taken from anywhere."""
    source, (shape,) = recorded(operands)[0], shapes
    return [(*source[:2], *(moved(d, s) for d, s in zip(source[2:], shape[2:], strict=True)))]


def _halves(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    source, (shape,) = recorded(operands)[0], shapes
    return [tuple(d if size_of(d) == s else new(s, kind_of(d)) for d, s in zip(source, shape, strict=True))]


def _sliding(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    """``Tensor.unfold``: windows along a dimension, their inside as a new last dimension."""
    (source,), (shape,) = recorded(operands), shapes
    (at,) = dims_of(node, len(source), "_saved_dimension")
    axis, size = only_axis(source[at]), node._saved_size
    if axis is not None and node._saved_step == size and shape[at] * size == axis.size:
        return [(*replaced(source, at, (Factor(axis, shape[at], size),)), (Factor(axis, size, 1),))]
    return [(*replaced(source, at, resized(source[at], shape[at])), new(size, "space"))]


MOVING: dict[str, Rule] = {
    **dict(entries(_view, "View UnsafeView ReshapeAlias Reshape Unflatten Flatten Squeeze Unsqueeze")),
    **dict(entries(_strided, "AsStrided")),
    **dict(entries(_permute, "Permute")),
    **dict(entries(_transpose, "Transpose T")),
    **dict(entries(_expand, "Expand")),
    **dict(entries(_repeat, "Repeat")),
    **dict(
        entries(
            _reduce,
            """Amax Amin Aminmax Argmax LinalgVectorNorm Logsumexp Max Mean Median Min Mode Nanmean Nanmedian Nansum
            Norm Prod Std StdMean Sum Var VarMean""",
        )
    ),
    **dict(entries(_select, "Select")),
    **dict(entries(_unbind, "Unbind")),
    **dict(entries(_slice, "Slice")),
    **dict(entries(_split, "Split SplitWithSizes UnsafeSplit UnsafeSplitWithSizes")),
    **dict(entries(_cat, "Cat")),
    **dict(entries(_stack, "Stack")),
    **dict(entries(_roll, "Roll")),
    **dict(entries(_flipped, "Flip")),
    **dict(entries(_shuffled, "FftR2C FftC2R FftC2C IndexSelect Sort Topk Gather")),
    **dict(entries(_rotated, "Rot90")),
    **dict(entries(_indexed, "Index")),
    **dict(entries(_written, "CopySlices SliceScatter SelectScatter DiagonalScatter")),
    **dict(
        entries(_scattered, "IndexPut IndexPutImpl IndexReduce Scatter ScatterAdd ScatterReduce IndexCopy IndexAdd")
    ),
    **dict(entries(_sampled, "GridSampler2D GridSampler2DCpuFallback GridSampler3D")),
    **dict(entries(_halves, "Glu")),
    **dict(entries(_sliding, "Unfold")),
}
