"""NormGrad in all variants: extracts, aggregates, one layer or several and how they are combined.

Names are ``normgrad_EXTRACT_SCOPE`` and, for what differs from the paper, a suffix: the aggregate if it is not the
norm, the combination if it is not the plain product, ``suggested`` for other layers, ``meta`` for meta-saliency, and
the kinds of :mod:`benchmarks.methods.noise`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

from captum.attr import Attribution
from torch import Tensor, nn

from benchmarks.methods.context import Context
from benchmarks.methods.method import ALL, FAST, PAPER, Method, NormGradMethod
from benchmarks.methods.shared_pass import Shareable
from benchmarks.run.errors import UserError
from normgrad_attr import CombinedNormGrad, MetaSaliency, NormGrad, attribute_together, explain

Combination = Literal["product", "sum"]

EXTRACTS = ("scaling", "conv1x1", "conv3x3", "bias", "depthwise_conv3x3")
AGGREGATES = ("norm", "positive_norm", "sum", "max")
COMBINATIONS: dict[str, tuple[Combination, str]] = {
    "uniform": ("product", "uniform"),  # the root of the plain product: its maximum is in the same place
    "linear": ("product", "linear"),
    "probe": ("product", "probe"),
    "added": ("sum", "uniform"),  # not "sum", which is an aggregate
    "added_linear": ("sum", "linear"),
    "added_probe": ("sum", "probe"),
}
"""What else than the paper's plain product: combination and weights of the layers by the suffix of the name."""

LEARNING_RATE = 1e-3
"""Step of meta-saliency; the paper tries 1e-4 to 2.5e-3."""


def _single(extract: str, aggregate: str, context: Context) -> NormGradMethod:
    return NormGrad(context.network, context.layers.single, extract=extract, aggregate=aggregate)


def _own_weights(aggregate: str, context: Context) -> NormGradMethod:
    """The last convolution of the block that the other entries look at, since a block has no weight of its own."""
    single = context.layers.single
    name = last_convolution(context.network.get_submodule(single), single)
    return NormGrad(context.network, name, extract="layer", aggregate=aggregate)


def last_convolution(block: nn.Module, name: str) -> str:
    """Name of a block's last convolution, shortcuts aside.

    Raises:
        UserError: There is none.
    """
    names = [
        f"{name}.{inner}" if inner else name
        for inner, module in block.named_modules()
        if isinstance(module, nn.Conv2d) and "downsample" not in inner
    ]
    if not names:
        raise UserError(f"the block {name} has no convolution whose weights could be looked at")
    return names[-1]


def combined(
    context: Context, extract: str, aggregate: str = "norm", combine: Combination = "product", weighting: str = "ones"
) -> CombinedNormGrad:
    """NormGrad of the paper's layers; ``"ones"`` for weights is the plain product of min-max maps, as in the paper."""
    layers = list(context.layers.combined)
    weights: Any = {"ones": [1.0] * len(layers)}.get(weighting, weighting)
    if weighting == "probe":
        weights = context.probe_weights
    return CombinedNormGrad(
        context.network, layers, extract=extract, aggregate=aggregate, combine=combine, weights=weights
    )


def _suggested(extract: str, context: Context) -> NormGradMethod:
    layers = context.suggested_layers
    return CombinedNormGrad(context.network, layers, extract=extract, weights=[1.0] * len(layers))


def _class_sensitive(context: Context) -> NormGradMethod:
    return CombinedNormGrad.class_sensitive(context.network, context.layers.combined)


def _class_sensitive_suggested(context: Context) -> NormGradMethod:
    layers = explain(context.network, context.noise(), class_sensitive=True).layers
    return CombinedNormGrad.class_sensitive(context.network, layers)


def _meta(extract: str, scope: str, context: Context) -> Shareable:
    single = scope == "single"
    inner = _single(extract, "norm", context) if single else combined(context, extract)
    return Shareable("meta", inner, _meta_together)


def _meta_together(methods: Sequence[NormGradMethod], images: Tensor, targets: Tensor) -> list[Tensor]:
    """Maps of several methods, all at the weights that one step on each film gives."""
    maps: list[Tensor] = MetaSaliency(_Together(methods), lr=LEARNING_RATE).attribute(images, targets)
    return maps


class _Together(Attribution):  # type: ignore[misc]  # captum ships no types
    """NormGrad methods of one network as one method that gives the maps of all."""

    def __init__(self, methods: Sequence[NormGradMethod]) -> None:
        super().__init__(methods[0].forward_func)
        self._methods = methods

    def attribute(self, inputs: Tensor, target: int) -> list[Tensor]:
        return attribute_together(self._methods, inputs, target)


def _sets(extract: str, aggregate: str) -> frozenset[str]:
    if aggregate == "norm":
        return PAPER if extract in ("scaling", "conv1x1", "conv3x3") else FAST
    return FAST if extract == "conv1x1" and aggregate == "positive_norm" else ALL


def _entry(parts: tuple[str, ...], build: Any, sets: frozenset[str], source: str) -> Method:
    name = "_".join(("normgrad", *parts))
    first, *rest = (part.replace("_", " ") for part in parts)
    title = f"NormGrad {first}\n{' '.join(rest)}"
    return Method(name, title, build, "normgrad", sets=sets, source=f"normgrad_attr.{source}")


def _suffix(aggregate: str) -> tuple[str, ...]:
    return () if aggregate == "norm" else (aggregate,)


METHODS = (
    *(
        _entry((extract, scope, *_suffix(aggregate)), build, _sets(extract, aggregate), source)
        for extract in EXTRACTS
        for aggregate in AGGREGATES
        for scope, build, source in (
            ("single", partial(_single, extract, aggregate), "NormGrad"),
            ("combined", partial(combined, extract=extract, aggregate=aggregate), "CombinedNormGrad"),
        )
    ),
    *(
        _entry((extract, "combined", suffix), partial(combined, extract=extract, combine=combine, weighting=weighting),
               ALL, "CombinedNormGrad")
        for extract in EXTRACTS
        for suffix, (combine, weighting) in COMBINATIONS.items()
    ),
    *(
        _entry(("layer", "single", *_suffix(aggregate)), partial(_own_weights, aggregate),
               FAST if aggregate == "norm" else ALL, "NormGrad")
        for aggregate in AGGREGATES
    ),
    *(
        _entry((extract, "combined", "suggested"), partial(_suggested, extract),
               FAST if extract == "conv1x1" else ALL, "CombinedNormGrad")
        for extract in EXTRACTS
    ),
    *(
        _entry((extract, scope, "meta"), partial(_meta, extract, scope),
               FAST if extract == "conv1x1" else ALL, "MetaSaliency")
        for extract in EXTRACTS
        for scope in ("single", "combined")
    ),
    _entry(("class_sensitive", "combined"), _class_sensitive, FAST, "CombinedNormGrad"),
    _entry(("class_sensitive", "combined", "suggested"), _class_sensitive_suggested, FAST, "explain"),
)  # fmt: skip
