"""What nodes that compute do to dimensions: those that keep every place, and those that mix channels or places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from torch.nn.modules._functions import BackwardHookFunction

from normgrad_attr._axes import (
    Axis,
    Dim,
    Dims,
    Input,
    Kind,
    as_grid,
    bind,
    cut,
    kind_of,
    moved,
    new,
    only_axis,
    resized,
    size_of,
    whole,
)
from normgrad_attr._merged import merged
from normgrad_attr._node import Operands, Rule, Shape, UnreadableError, elsewhere, entries, fresh, recorded, signed
from normgrad_attr._tape import Begun, Overwritten

_V = TypeVar("_V")

# What keeps every place where it is.


def unknown(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    """Something that has no rule here: what torch's own leave in place has one, so its places may lie anywhere."""
    return [elsewhere(shape, operands) for shape in shapes]


def written_by_the_user(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    """A function of someone's own, such as a straight-through estimator: taken to leave places where they are."""
    return [fresh(shape, operands) for shape in shapes]


def _elementwise(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    return [merged(recorded(operands), shape) for shape in shapes]


def _handed_on(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    """What comes out is what goes in, one by one, as where a module has a backward hook."""
    return list(operands)


def _begun(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    """Where the graph begins at what was made of constants."""
    return [fresh(shape, []) for shape in shapes]


def _chosen(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    """``torch.where``: places of the one or the other, so that they are moved if those of one are."""
    (shape,) = shapes
    result = list(merged(recorded(operands), shape))
    for dims in recorded(operands):
        for back in range(-min(len(dims), len(shape)), 0):
            axis = only_axis(dims[back])
            if axis is not None and axis.unmoved and size_of(dims[back]) == shape[back]:
                result[back] = dims[back]
    return [tuple(result)]


def _first(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    """The first operand; what else comes out is of no interest."""
    return [operands[0] or fresh(shapes[0], operands), *(fresh(shape, operands) for shape in shapes[1:])]


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


def _channels_shuffled(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    (dims,), (shape,) = recorded(operands), shapes
    return [(dims[0], new(shape[1], "channel"), *dims[2:])]


def _complex_pairs(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    (dims,) = recorded(operands)
    return [dims[:-1] if len(dims) > len(shapes[0]) else (*dims, new(2))]


# What mixes the channels, or places, of one dimension.


def _may_be_channels(dims: Dims, at: int) -> bool:
    others = [d for d in dims if d is not dims[at]]
    return kind_of(dims[at]) != "space" and not any(kind_of(d) == "channel" for d in others)


def _mixed(dims: Dims, at: int, size: int) -> Dim:
    """What a weight makes of a dimension: new channels, or mixed places if those are what it runs over."""
    dim, others = dims[at], [d for i, d in enumerate(dims) if i != at % len(dims)]
    if kind_of(dim) == "space" and any(kind_of(d) == "channel" for d in others):
        return moved(new(size, "space"), size)
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
    seen = source is not None and len(source) == len(shape)
    if source is None or not seen:
        source = (new(shape[0], "batch"), (), *(new(s, "space") for s in shape[2:]))
    _bind_places(source)
    channels = _mixed(source, 1, shape[1])
    known = any(f.axis.kind == "batch" for dim in source for f in dim)
    known |= any(f.axis.unmoved or f.axis.along() is not None for f in source[0])
    batch = source[0] if known else new(shape[0], "batch")
    grid = as_grid(source[2:])
    if node._saved_transposed:
        grid = tuple(map(resized, grid, shape[2:]))
    elif seen:
        stride, padding = _for_each(node._saved_stride, grid), _for_each(node._saved_padding, grid)
        grid = tuple(map(_convolved, grid, shape[2:], stride, padding))
    return [(batch, channels, *grid)]


def _for_each(values: Sequence[_V], grid: Dims) -> Sequence[_V]:
    """A value for each of the places' dimensions: one may stand for all, such as that of ``padding="valid"``."""
    return list(values) * len(grid) if len(values) == 1 else values


def _convolved(dim: Dim, size: int, stride: int, padding: int) -> Dim:
    """As after padding by itself, if there is more of it than windows at either end need to lie on the input."""
    if stride * (size - 1) > size_of(dim):
        dim = cut(dim, -padding, size_of(dim) + 2 * padding)
    return resized(dim, size, stride)


def _pooling(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    source, shape = recorded(operands)[0], shapes[0]
    if len(source) != len(shape):
        raise UnreadableError
    _bind_places(source)
    if _may_be_channels(source, 1):
        bind(source[1:2], "channel")
    strides = getattr(node, "_saved_stride", ()) or getattr(node, "_saved_kernel_size", ())
    grid = as_grid(source[2:])
    pooled = map(resized, grid, shape[2:], _for_each(strides or [None], grid))
    return [(*source[:2], *pooled), *(fresh(s, operands) for s in shapes[1:])]


def _bind_places(source: Dims) -> None:
    """The dimensions behind the second are spatial ones, unless the channels are known to be among them."""
    if not any(kind_of(d) == "channel" for d in source[2:]):
        bind(source[2:], "space")


def _padding(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    source, (shape,) = recorded(operands)[0], shapes
    ends = list(getattr(node, "_saved_pad", None) or node._saved_padding)  # of the last dimension first
    before = ([0] * (2 * len(shape) - len(ends)) + ends[::-1])[1::2]
    return [
        tuple(
            d if (size_of(d), signed(b)) == (s, 0) else _padded(d, signed(b), s) if d else new(s)
            for d, s, b in zip(source, shape, before, strict=True)
        )
    ]


def _padded(dim: Dim, before: int, size: int) -> Dim:
    # One place more mends an odd size, as where two resolutions meet, and moves nothing by more than that.
    return resized(dim, size) if size == size_of(dim) + 1 else cut(dim, -before, size)


def _shuffling(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    (*batch, _, height, width), (shape,) = recorded(operands)[0], shapes
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
    source = operands[0] or fresh((*shape[:-1], 1), operands)
    return [(*source[:-1], _mixed(source, -1, shape[-1]))]


def _recurrent(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    """A whole recurrent layer: a state for each step, and what is left at the end."""
    return [*_linear(node, operands, shapes[:1]), *unknown(node, operands, shapes[1:])]


def _distances(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    """Of each of some points to each of others, such as prototypes."""
    (shape,), (left, right) = shapes, operands[:2]
    batch = merged([d[:-2] for d in (left, right) if d is not None], shape[:-2])
    rows, columns = (None if d is None else d[-2] for d in (left, right))
    return [(*batch, rows or new(shape[-2], "channel"), columns or new(shape[-1], "channel"))]


def _bilinear(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    """``nn.Bilinear``: rows of both, and of their channels new ones."""
    (shape,) = shapes
    left, weight, right = operands
    if weight is not None:
        raise UnreadableError
    data = recorded([left, right])
    *_, mixed = [_mixed(d, -1, shape[-1]) for d in data]
    return [(*merged([d[:-1] for d in data], shape[:-1]), mixed)]


def _attention(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    query, _, value = operands[:3]
    if value is None:
        raise UnreadableError
    rows = query[-2] if query is not None else new(shapes[0][-2], "space")
    batch = merged([d[:-2] for d in (query, value) if d is not None], shapes[0][:-2])
    return [(*batch, rows, value[-1]), *(fresh(s, operands) for s in shapes[1:])]


def _embedding(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    *ids, channels = shapes[0]
    # Of a single dimension it is not known whether it is samples or, for positions, places.
    kinds: list[Kind | None] = ["space" for _ in ids]
    kinds[:1] = ["batch" if len(ids) > 1 else None]
    source = Input(tuple(ids), kinds)
    return [(*(whole(Axis(size, of_input=(source, i))) for i, size in enumerate(ids)), new(channels, "channel"))]


def _windows(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    """``nn.Unfold``: a window's values as channels, the windows in raster order."""
    (source,), (shape,) = recorded(operands), shapes
    bind(source[1:2], "channel")
    bind(source[2:], "space")
    geometry = (node._saved_kernel_size, node._saved_stride, node._saved_padding, node._saved_dilation)
    places: Dim = ()
    for dim, kernel, stride, padding, dilation in zip(source[-2:], *geometry, strict=True):
        places += resized(dim, (size_of(dim) + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1)
    return [(*source[:-3], new(shape[-2], "channel"), places)]


def _from_windows(node: Any, operands: Operands, shapes: list[Shape]) -> list[Dims | None]:
    (source,), (shape,) = recorded(operands), shapes
    places = [(f,) for f in source[-1]] if len(source[-1]) == 2 else [(), ()]
    return [
        (*source[:-2], new(shape[-3], "channel"), *(resized(d, s) for d, s in zip(places, shape[-2:], strict=True)))
    ]


COMPUTING: dict[str, Rule] = {
    **dict(
        entries(
            _elementwise,
            """Abs Acos Acosh Add Addcdiv Addcmul Alias Angle Asin Asinh Atan Atan2 Atanh Bernoulli Ceil Celu Clamp
            ClampMax ClampMin Clone Complex Conj ConjPhysical Copy CopyBackwards Copysign Cos Cosh Cummax Cummin Cumprod
            Cumsum Deg2Rad Digamma Div Elu EluBackward Erf Erfc Erfinv Exp Exp2 Expm1
            FakeQuantizeLearnablePerChannelAffine FakeQuantizeLearnablePerTensorAffine
            FakeQuantizePerChannelAffineCachemask FakeQuantizePerTensorAffineCachemask
            FakeQuantizePerTensorAffineCachemaskTensorQparams Fill Floor Fmax Fmin Fmod Frac Frexp FusedDropout
            FusedMovingAvgObsFqHelper Gelu GeluBackward Hardshrink HardshrinkBackward Hardsigmoid Hardswish
            HardswishBackward Hardtanh HardtanhBackward HuberLoss Hypot I0 Igamma Igammac Imag IndexFill LazyClone Ldexp
            LeakyRelu LeakyReluBackward Lerp Lgamma Lift LiftFresh LinalgCross Log Log10 Log1P Log2 LogSigmoid
            LogSigmoidBackward LogSoftmax LogSoftmaxBackwardData Logaddexp Logaddexp2 Logcumsumexp Logit MaskedFill
            MaskedSoftmax Maximum Minimum Mish MseLoss Mul NanToNum NativeDropout NativeDropoutBackward Neg NegView
            Nextafter PinMemory Polar Polygamma Pow Prelu PreluKernel Rad2Deg Real Reciprocal Relu Remainder Renorm
            Round Rrelu RreluWithNoise RreluWithNoiseFunctional Rsqrt Rsub SafeSoftmax Sgn Sigmoid SigmoidBackward Sign
            Silu Sin Sinc Sinh SmoothL1Loss Softmax SoftmaxBackwardData Softplus SoftplusBackward Softshrink
            SoftshrinkBackward SpecialEntr SpecialErfcx SpecialI0E SpecialI1 SpecialI1E SpecialLogNdtr SpecialNdtri
            SpecialXlog1Py SpecialZeta Sqrt Square Sub Tan Tanh TanhBackward Threshold ThresholdBackward ToCopy Tril
            Triu Trunc Xlogy""",
        )
    ),
    **dict(entries(_chosen, "Where")),
    **dict(
        entries(
            _norm_over_first,
            """BatchNormNoUpdate BatchNormWithUpdate CudnnBatchNorm MiopenBatchNorm NativeBatchNorm NativeBatchNormLegit
            NativeBatchNormLegitNoTraining NativeGroupNorm""",
        )
    ),
    **dict(entries(_norm_over_last, "NativeLayerNorm FusedRmsNorm")),
    **dict(entries(_complex_pairs, "ViewAsReal ViewAsComplex ViewAsRealPhysical")),
    **dict(entries(_convolution, "Convolution ConvolutionOverrideable CudnnConvolution MkldnnConvolution")),
    **dict(
        entries(
            _pooling,
            """AdaptiveAvgPool2D AdaptiveAvgPool3D AdaptiveMaxPool2D AdaptiveMaxPool3D AvgPool2D AvgPool3D
            FractionalMaxPool2D FractionalMaxPool3D MaxPool2D MaxPool2DWithIndices MaxPool3DWithIndices MaxUnpool2D
            MaxUnpool3D MkldnnAdaptiveAvgPool2D MkldnnMaxPool2D MkldnnMaxPool3D UpsampleBicubic2D UpsampleBicubic2DAa
            UpsampleBilinear2D UpsampleBilinear2DAa UpsampleLinear1D UpsampleNearest1D UpsampleNearest2D
            UpsampleNearest3D UpsampleNearestExact1D UpsampleNearestExact2D UpsampleNearestExact3D
            UpsampleTrilinear3D""",
        )
    ),
    **dict(
        entries(
            _padding,
            """ConstantPadNd ReflectionPad1D ReflectionPad2D ReflectionPad3D ReplicationPad1D ReplicationPad2D
            ReplicationPad3D""",
        )
    ),
    **dict(entries(_shuffling, "PixelShuffle PixelUnshuffle")),
    **dict(entries(_channels_shuffled, "ChannelShuffle")),
    **dict(entries(_product, "Mm Addmm Bmm Baddbmm")),
    **dict(entries(_linear, "Linear")),
    **dict(entries(_bilinear, "Trilinear")),
    **dict(entries(_recurrent, "CudnnRnn LstmMps MiopenRnn MkldnnRnnLayer")),
    **dict(entries(_distances, "Cdist")),
    **dict(
        entries(
            _attention,
            """ScaledDotProductFlashAttention ScaledDotProductFlashAttentionForCpu ScaledDotProductEfficientAttention
            ScaledDotProductCudnnAttention ScaledDotProductFusedAttentionOverrideable""",
        )
    ),
    **dict(entries(_embedding, "Embedding")),
    **dict(entries(_windows, "Im2Col")),
    **dict(entries(_from_windows, "Col2Im")),
}

#: Functions that are written in Python, by their class.
IN_PYTHON: dict[type, Rule] = {BackwardHookFunction: _handed_on, Begun: _begun, Overwritten: _elementwise}
