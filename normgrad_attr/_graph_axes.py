"""Reading off autograd's graph what the dimensions of its tensors run over.

Every node says what it did: which dimensions it permuted, how it split or joined them, or that it works on channels in
a place of its own (a convolution in dimension 1, a linear layer in the last). Followed from the inputs on, that tells
for each tensor where its channels are and how its places lie on the input. What a node of an unknown kind puts out
starts anew, unknown, until something that takes it in tells. Only the nodes' plain attributes and the shapes of
their outputs are read, never a saved tensor, so it works on a graph that has been used up.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import nn
from torch.autograd.graph import GradientEdge, Node

from normgrad_attr._axes import (
    Axis,
    Dim,
    Dims,
    Factor,
    Input,
    as_grid,
    bind,
    joined_parts,
    kind_of,
    merged,
    moved,
    new,
    only_axis,
    regrouped,
    resized,
    size_of,
    sliced,
    whole,
)

Shape = tuple[int, ...]
#: Dimensions of each operand; None for a weight or a constant.
Operands = list[Dims | None]
Rule = Callable[[Any, Operands, list[Shape]], Sequence[Dims | None]]


class GraphAxes:
    """What the dimensions of the tensors of one graph run over, found as far as it is asked for.

    Examples:
        >>> import torch
        >>> from torch.autograd.graph import get_gradient_edge
        >>> from normgrad_attr._graph_axes import GraphAxes
        >>> x = torch.rand(2, 3, 32, 32, requires_grad=True)
        >>> tokens = torch.nn.Conv2d(3, 8, 8, 8)(x).flatten(2).mT
        >>> dims = GraphAxes().at(get_gradient_edge(tokens))
        >>> [[(f.axis.kind, f.size, f.axis.along()) for f in dim] for dim in dims]
        [[('batch', 2, None)], [('space', 4, (0, 2)), ('space', 4, (1, 2))], [('channel', 8, None)]]
    """

    def __init__(self) -> None:
        self._found: dict[Node, list[Dims | None]] = {}

    def at(self, edge: GradientEdge) -> Dims | None:
        """The dimensions of the tensor at an edge; None if it is made of weights and constants alone."""
        self.read(edge.node)
        return self._found[edge.node][edge.output_nr]

    def read(self, root: Node) -> None:
        """Follow the graph from the inputs up to a node."""
        waiting = [root]
        while waiting:
            node = waiting[-1]
            if node in self._found:
                waiting.pop()
                continue
            found = self._found
            missing = [n for n, _ in node.next_functions if n is not None and n not in found]
            if missing:
                waiting += missing
                continue
            waiting.pop()
            self._found[node] = self._apply(node)

    def _apply(self, node: Any) -> list[Dims | None]:
        name = _kind_of_node(node)
        if name == "AccumulateGrad":
            return [None if isinstance(node.variable, nn.Parameter) else _input(tuple(node.variable.shape))]
        shapes = [tuple(m.shape) for m in node._input_metadata]
        operands = [None if n is None else self._found[n][i] for n, i in node.next_functions]
        made = name in _MAKERS or (name in _PRODUCTS and any(n is None for n, _ in node.next_functions))
        if all(o is None for o in operands) and not made:
            return [None] * len(shapes)
        rule = _RULES.get(name, _unknown)
        try:
            result = list(rule(node, operands, shapes))
        except (AttributeError, IndexError, TypeError, _UnreadableError):
            result = list(_unknown(node, operands, shapes))
        return [
            d if d is None or tuple(map(size_of, d)) == shape else _fresh(shape, operands)
            for d, shape in zip(result, shapes, strict=True)
        ]


class _UnreadableError(Exception):
    """A node's rule does not fit what the node did."""


def _kind_of_node(node: Node) -> str:
    """``Convolution`` for ``ConvolutionBackward0``, ``AccumulateGrad`` for ``torch::autograd::AccumulateGrad``."""
    return _without_suffix(node.name())


@functools.cache
def _without_suffix(name: str) -> str:
    return re.sub(r"Backward\d*$", "", name.rsplit("::", 1)[-1])


def _input(shape: Shape) -> Dims:
    source = Input(shape, ["batch" if i == 0 else None for i in range(len(shape))])
    return tuple(whole(Axis(size, of_input=(source, i))) for i, size in enumerate(shape))


def _fresh(shape: Shape, operands: Operands) -> Dims:
    """Dimensions of which nothing is known but, perhaps, that the batch is still the first."""
    batches = [o[0] for o in operands if o and o[0] and kind_of(o[0]) == "batch" and size_of(o[0]) == shape[0]]
    return tuple(batches[0] if i == 0 and batches else new(size) for i, size in enumerate(shape))


def _data(operands: Operands) -> list[Dims]:
    return [o for o in operands if o is not None]


def _signed(value: int) -> int:
    """Autograd's nodes keep a dimension counted from the end as an unsigned number."""
    return value - 2**64 if value >= 2**63 else value


def _dims_of(node: Any, count: int, *names: str) -> list[int]:
    """The dimensions that a node names, counted from the start; all where it names none."""
    for name in names:
        if hasattr(node, name):
            value = getattr(node, name)
            values = value if isinstance(value, (tuple, list)) else [value]
            return [_signed(v) % count for v in values] or list(range(count))
    return list(range(count))


# What keeps every place where it is.


def _unknown(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    return [_fresh(shape, operands) for shape in shapes]


def _elementwise(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    return [merged(_data(operands), shape) for shape in shapes]


def _first(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    """The first operand, changed in places; what else comes out is of no interest."""
    return [operands[0] or _fresh(shapes[0], operands), *(_fresh(shape, operands) for shape in shapes[1:])]


def _norm_over_first(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    result = _first(node, operands, shapes)
    dims = result[0]
    if dims is not None and len(dims) > 1 and _may_be_channels(dims, 1):
        bind(dims[1:2], "channel")
        _bind_places(dims)
        result[0] = (*dims[:2], *as_grid(dims[2:]))
    return result


def _norm_over_last(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    result = _first(node, operands, shapes)
    dims = result[0]
    if dims is not None and len(node._saved_normalized_shape) == 1 and _may_be_channels(dims, -1):
        bind(dims[-1:], "channel")
    return result


def _complex_pairs(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    (dims,) = _data(operands)
    return [dims[:-1] if len(dims) > len(shapes[0]) else (*dims, new(2))]


# What mixes the channels, or places, of one dimension.


def _may_be_channels(dims: Dims, at: int) -> bool:
    others = [d for d in dims if d is not dims[at]]
    return kind_of(dims[at]) != "space" and not any(kind_of(d) == "channel" for d in others)


def _mixed(dims: Dims, at: int, size: int) -> Dim:
    """What a weight makes of a dimension: new channels, or mixed places if those are what it runs over."""
    dim, others = dims[at], [d for i, d in enumerate(dims) if i != at % len(dims)]
    if kind_of(dim) == "space" and any(kind_of(d) == "channel" for d in others):
        return new(size, "space")
    outside = {f.axis for d in others for f in d}
    unknown = [f for f in dim if f.axis.kind is None]
    cut = [f for f in unknown if f.axis in outside]
    bind([(f,) for f in cut], "space")  # patches: what is left of a direction outside of them is a direction
    located = any(f.axis.kind != "batch" and f.size > 1 for d in others for f in d)
    if located or len(dim) == 1:
        bind([(f,) for f in unknown], "channel")
    return new(size, "channel")


def _convolution(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    (shape,) = shapes
    source = operands[0]
    if source is None or len(source) != len(shape):
        source = (new(shape[0], "batch"), (), *(new(s, "space") for s in shape[2:]))
    _bind_places(source)
    channels = _mixed(source, 1, shape[1])
    known = any(f.axis.kind == "batch" or f.axis.along() is not None for f in source[0])
    batch = source[0] if known else new(shape[0], "batch")
    return [(batch, channels, *map(resized, as_grid(source[2:]), shape[2:]))]


def _pooling(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    source, shape = _data(operands)[0], shapes[0]
    if len(source) != len(shape):
        raise _UnreadableError
    _bind_places(source)
    if _may_be_channels(source, 1):
        bind(source[1:2], "channel")
    pooled = map(resized, as_grid(source[2:]), shape[2:])
    return [(*source[:2], *pooled), *(_fresh(s, operands) for s in shapes[1:])]


def _bind_places(source: Dims) -> None:
    """The dimensions behind the second are spatial ones, unless the channels are known to be among them."""
    if not any(kind_of(d) == "channel" for d in source[2:]):
        bind(source[2:], "space")


def _padding(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    source, (shape,) = _data(operands)[0], shapes
    return [tuple(resized(d, s) if d else new(s) for d, s in zip(source, shape, strict=True))]


def _shuffling(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    (*batch, _, height, width), (shape,) = _data(operands)[0], shapes
    return [(*batch, new(shape[-3], "channel"), resized(height, shape[-2]), resized(width, shape[-1]))]


def _product(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    """A matrix product: of data and a weight, or of data and data as in attention."""
    (shape,) = shapes
    left, right = operands[-2:]
    if left is None and right is None:
        return [(*(new(s) for s in shape[:-1]), new(shape[-1], "channel"))]
    if left is None or right is None:
        data, at = (left, -1) if left is not None else (right, -2)
        assert data is not None
        batch = data[:-2] if len(data) == len(shape) else tuple(new(s) for s in shape[:-2])
        mixed = _mixed(data, at, shape[at])
        return [(*batch, data[-2], mixed) if at == -1 else (*batch, mixed, data[-1])]
    return [(*merged([left[:-2], right[:-2]], shape[:-2]), left[-2], right[-1])]


def _linear(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    (shape,) = shapes
    source = operands[0] or _fresh((*shape[:-1], 1), operands)
    return [(*source[:-1], _mixed(source, -1, shape[-1]))]


def _attention(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    query, _, value = operands[:3]
    if value is None:
        raise _UnreadableError
    rows = query[-2] if query is not None else new(shapes[0][-2], "space")
    batch = merged([d[:-2] for d in (query, value) if d is not None], shapes[0][:-2])
    return [(*batch, rows, value[-1]), *(_fresh(s, operands) for s in shapes[1:])]


def _embedding(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    (shape,) = shapes
    places = (new(s, "space", (i, len(shape) - 2)) for i, s in enumerate(shape[1:-1]))
    return [(*(new(s, "batch") for s in shape[:1]), *places, new(shape[-1], "channel"))]


def _windows(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    """``nn.Unfold``: a window's values as channels, the windows in raster order."""
    (source,), (shape,) = _data(operands), shapes
    bind(source[1:2], "channel")
    bind(source[2:], "space")
    geometry = (node._saved_kernel_size, node._saved_stride, node._saved_padding, node._saved_dilation)
    places: Dim = ()
    for dim, kernel, stride, padding, dilation in zip(source[-2:], *geometry, strict=True):
        places += resized(dim, (size_of(dim) + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1)
    return [(*source[:-3], new(shape[-2], "channel"), places)]


def _from_windows(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    (source,), (shape,) = _data(operands), shapes
    places = [(f,) for f in source[-1]] if len(source[-1]) == 2 else [(), ()]
    return [
        (*source[:-2], new(shape[-3], "channel"), *(resized(d, s) for d, s in zip(places, shape[-2:], strict=True)))
    ]


# What moves, splits, joins and drops dimensions.


def _view(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    (source,), (shape,) = _data(operands), shapes
    return [regrouped(source, shape) or _fresh(shape, operands)]


def _strided(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    """Pooling to one place ends in a view of its own kind."""
    (source,), (shape,) = _data(operands), shapes
    same = tuple(map(size_of, source)) == shape and all(s == 1 for s in shape[2:])
    return [source if same else _fresh(shape, operands)]


def _permute(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    (source,) = _data(operands)
    return [tuple(source[d] for d in _dims_of(node, len(source), "_saved_dims"))]


def _transpose(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    (source,) = _data(operands)
    order = list(range(len(source)))
    one, other = (_signed(getattr(node, f"_saved_dim{i}", i)) % len(order) for i in (0, 1))
    order[one], order[other] = other, one
    return [tuple(source[d] for d in order)]


def _expand(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    return [merged(_data(operands), shapes[0])]


def _repeat(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    (source,), (shape,) = _data(operands), shapes
    source = (*(() for _ in range(len(shape) - len(source))), *source)
    return [tuple(d if size_of(d) == s else new(s, kind_of(d)) for d, s in zip(source, shape, strict=True))]


def _reduce(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    source = _data(operands)[0]
    gone = _dims_of(node, len(source), "_saved_dim")
    if len(shapes[0]) == len(source):
        return [tuple(() if i in gone else d for i, d in enumerate(source)), *(_fresh(s, operands) for s in shapes[1:])]
    return [tuple(d for i, d in enumerate(source) if i not in gone), *(_fresh(s, operands) for s in shapes[1:])]


def _select(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    (source,) = _data(operands)
    (at,) = _dims_of(node, len(source), "_saved_dim")
    kept = tuple(d for i, d in enumerate(source) if i != at)
    return [kept] * len(shapes)


def _slice(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    (source,), (shape,) = _data(operands), shapes
    (at,) = _dims_of(node, len(source), "_saved_dim")
    start = min(_signed(node._saved_start) % (2 * size_of(source[at]) or 1), size_of(source[at]))
    start -= size_of(source[at]) if node._saved_start >= 2**63 else 0
    return [_replaced(source, at, sliced(source[at], start, shape[at], node._saved_step))]


def _split(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    (source,) = _data(operands)
    (at,) = _dims_of(node, len(source), "_saved_dim")
    starts = [sum(s[at] for s in shapes[:i]) for i in range(len(shapes))]
    return [_replaced(source, at, sliced(source[at], b, s[at])) for b, s in zip(starts, shapes, strict=True)]


def _cat(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    (shape,) = shapes
    (at,) = _dims_of(node, len(shape), "_saved_dim")
    data = _data(operands)
    sizes = [
        size_of(o[at]) if o is not None else _size_at(e, at) for o, e in zip(operands, node.next_functions, strict=True)
    ]
    rest = shape[at] - sum(size for size in sizes if size is not None)
    # Of constants, such as frozen class and register tokens, no size is known, but that of all of them together.
    runs = [list(run) for _, run in itertools.groupby(zip(operands, sizes, strict=True), lambda part: part[1] is None)]
    if sum(run[0][1] is None for run in runs) > 1:
        raise _UnreadableError
    parts = []
    for run in runs:
        if run[0][1] is None:
            parts.append(new(rest))
        else:
            parts += [o[at] or new(1) if o is not None else new(size or 0) for o, size in run]
    dims = merged([_replaced(d, at, ()) for d in data], _replaced(shape, at, 1))
    return [_replaced(dims, at, joined_parts(parts) if at else new(shape[at], "batch"))]


def _size_at(edge: tuple[Any, int], at: int) -> int | None:
    node, index = edge
    if node is None:
        return None
    shape = node.variable.shape if hasattr(node, "variable") else node._input_metadata[index].shape
    return int(shape[at])


def _stack(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    (shape,) = shapes
    (at,) = _dims_of(node, len(shape), "_saved_dim")
    dims = merged(_data(operands), shape[:at] + shape[at + 1 :])
    return [(*dims[:at], new(shape[at]), *dims[at:])]


def _roll(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    (dims,) = _data(operands)
    for at, shift in zip(node._saved_dims, node._saved_shifts, strict=True):
        at = _signed(at) % len(dims)
        dims = _replaced(dims, at, moved(dims[at], size_of(dims[at]), _signed(shift)))
    return [dims]


def _shuffled(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    """Places along some dimensions are other places afterwards: flipped, transformed, chosen."""
    source, (shape,) = _data(operands)[0], shapes
    gone = _dims_of(node, len(source), "_saved_dims", "_saved_dim")
    return [tuple(moved(d, s) if i in gone else d for i, (d, s) in enumerate(zip(source, shape, strict=True)))]


def _halves(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    source, (shape,) = _data(operands)[0], shapes
    return [tuple(d if size_of(d) == s else new(s, kind_of(d)) for d, s in zip(source, shape, strict=True))]


def _sliding(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    """``Tensor.unfold``: windows along a dimension, their inside as a new last dimension."""
    (source,), (shape,) = _data(operands), shapes
    (at,) = _dims_of(node, len(source), "_saved_dimension")
    axis, size = only_axis(source[at]), node._saved_size
    if axis is not None and node._saved_step == size and shape[at] * size == axis.size:
        return [(*_replaced(source, at, (Factor(axis, shape[at], size),)), (Factor(axis, size, 1),))]
    return [(*_replaced(source, at, resized(source[at], shape[at])), new(size, "space"))]


def _replaced(values: tuple[Any, ...], at: int, value: Any) -> tuple[Any, ...]:
    return (*values[:at], value, *values[at + 1 :])


def _entries(rule: Rule, names: str) -> Iterator[tuple[str, Rule]]:
    return ((name, rule) for name in names.split())


#: Products that make data of a constant, if one of their operands is not recorded.
_PRODUCTS = {"Mm", "Addmm", "Bmm", "Baddbmm", "Linear"}
#: What makes data even of operands that are not recorded.
_MAKERS = {"Convolution", "Embedding"}

_RULES: dict[str, Rule] = {
    **dict(
        _entries(
            _elementwise,
            """Abs Acos Add Addcdiv Addcmul Alias Angle Asin Atan Atan2 Bernoulli Ceil Celu Clamp ClampMax ClampMin
            Clone Conj Copy CopyBackwards Copysign Cos Cosh Cumprod Cumsum Div Elu Erf Erfc Erfinv Exp Exp2 Expm1 Floor
            Fmax Fmin Fmod FusedDropout Gelu Hardshrink Hardsigmoid Hardswish Hardtanh HardtanhBackward Hypot Imag
            LeakyRelu Lerp Log Log10 Log1P Log2 LogSigmoid LogSoftmax Logaddexp Logcumsumexp Logit MaskedFill Maximum
            Minimum Mish Mul NanToNum NativeDropout Neg Pow PreluKernel Prelu Real Reciprocal Relu Remainder Round
            Rrelu RreluWithNoise Rsqrt Rsub Sigmoid Sign Silu Sin Sinc Sinh Softmax Softplus Softshrink Sqrt Square
            Sub Tan Tanh Threshold ToCopy Trunc Where Xlogy Fill Frac _Overwritten""",
        )
    ),
    **dict(_entries(_first, "CopySlices")),
    **dict(
        _entries(
            _norm_over_first,
            "NativeBatchNorm CudnnBatchNorm MiopenBatchNorm NativeGroupNorm",
        )
    ),
    **dict(_entries(_norm_over_last, "NativeLayerNorm FusedRmsNorm")),
    **dict(_entries(_complex_pairs, "ViewAsReal ViewAsComplex ViewAsRealPhysical")),
    **dict(_entries(_convolution, "Convolution ConvolutionOverrideable CudnnConvolution MkldnnConvolution")),
    **dict(
        _entries(
            _pooling,
            """AdaptiveAvgPool2D AdaptiveAvgPool3D AdaptiveMaxPool2D AdaptiveMaxPool3D AvgPool2D AvgPool3D
            FractionalMaxPool2D FractionalMaxPool3D MaxPool2DWithIndices MaxPool3DWithIndices MaxUnpool2D MaxUnpool3D
            MkldnnAdaptiveAvgPool2D MkldnnMaxPool2D UpsampleBicubic2D UpsampleBicubic2DAa UpsampleBilinear2D
            UpsampleBilinear2DAa UpsampleLinear1D UpsampleNearest1D UpsampleNearest2D UpsampleNearest3D
            UpsampleNearestExact1D UpsampleNearestExact2D UpsampleNearestExact3D UpsampleTrilinear3D""",
        )
    ),
    **dict(
        _entries(
            _padding,
            """ConstantPadNd ReflectionPad1D ReflectionPad2D ReflectionPad3D ReplicationPad1D ReplicationPad2D
            ReplicationPad3D""",
        )
    ),
    **dict(_entries(_shuffling, "PixelShuffle PixelUnshuffle")),
    **dict(_entries(_product, "Mm Addmm Bmm Baddbmm")),
    **dict(_entries(_linear, "Linear")),
    **dict(
        _entries(
            _attention,
            """ScaledDotProductFlashAttention ScaledDotProductFlashAttentionForCpu ScaledDotProductEfficientAttention
            ScaledDotProductCudnnAttention ScaledDotProductFusedAttentionOverrideable""",
        )
    ),
    **dict(_entries(_embedding, "Embedding")),
    **dict(_entries(_windows, "Im2Col")),
    **dict(_entries(_from_windows, "Col2Im")),
    **dict(_entries(_view, "View UnsafeView ReshapeAlias Reshape Unflatten Flatten Squeeze Unsqueeze")),
    **dict(_entries(_strided, "AsStrided")),
    **dict(_entries(_permute, "Permute")),
    **dict(_entries(_transpose, "Transpose T")),
    **dict(_entries(_expand, "Expand")),
    **dict(_entries(_repeat, "Repeat")),
    **dict(
        _entries(
            _reduce,
            """Mean Sum Amax Amin Max Min Median Mode Nansum Nanmean Norm LinalgVectorNorm Logsumexp Prod Std Var
            StdMean VarMean Argmax""",
        )
    ),
    **dict(_entries(_select, "Select Unbind")),
    **dict(_entries(_slice, "Slice")),
    **dict(_entries(_split, "Split SplitWithSizes UnsafeSplit UnsafeSplitWithSizes")),
    **dict(_entries(_cat, "Cat")),
    **dict(_entries(_stack, "Stack")),
    **dict(_entries(_roll, "Roll")),
    **dict(_entries(_shuffled, "Flip FftR2C FftC2R FftC2C IndexSelect Sort Gather")),
    **dict(_entries(_halves, "Glu")),
    **dict(_entries(_sliding, "Unfold")),
}
