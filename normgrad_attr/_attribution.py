"""NormGrad for one or several layers, as a Captum attribution class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, Literal, TypeVar, cast, overload

import torch
from torch import Tensor, nn

from normgrad_attr._aggregate import AGGREGATES, check_aggregate
from normgrad_attr._captum import ForwardFunc, GradientAttribution, LayerAttribution, Target, log_usage
from normgrad_attr._capture import capture
from normgrad_attr._extract import EXTRACTS, Summands, check_extract, virtual_identity
from normgrad_attr._findings import Findings
from normgrad_attr._layer_extract import layer_summands
from normgrad_attr._layers import Layer, Named, names_of, resolve, resolve_all
from normgrad_attr._layout import Layout, Layouts
from normgrad_attr._map_checks import check_batched, check_samples, note_cancelled, note_misfit, note_not_finite
from normgrad_attr._recorder import Captured

Inputs = Tensor | tuple[Tensor, ...]
Maps = Tensor | tuple[Tensor, ...]
Cell = tuple[str, str]  # extract and aggregate
#: What ``attribute`` returns: ``Tensor`` for one layer, ``list[Tensor]`` for several.
MapsT = TypeVar("MapsT")


class NormGrad(LayerAttribution, GradientAttribution, Generic[MapsT]):
    r"""NormGrad: how much each location of a layer contributes to the gradient of a (virtual) layer's weights.

    With activation ``x`` and gradient ``g`` of the target, an identity layer imagined behind the layer has a weight
    gradient that is a sum over locations; the map is the size of each location's summand. ``extract`` chooses the
    imagined layer, ``aggregate`` what is taken for size. The default, a 1x1 convolution and the Frobenius norm, is
    :math:`\|g_u\| \, \|x_u\|`.

    It is used like :class:`captum.attr.LayerGradCam`, and costs one forward and one backward down to the earliest
    layer, whatever the number of layers.

    Args:
        forward_func: The model, or a function around it.
        layer: A module or its dotted name (``"layer4.1"``), or a list of such; in a list a name may be a pattern,
            ``["layer*.1"]``, whose ``*``, ``?`` and ``[...]`` stand for letters between two dots.
        device_ids: Order of the devices, only if ``forward_func`` hides a DataParallel model.
        extract: ``"bias"``, ``"scaling"``, ``"conv1x1"`` (default), ``"conv3x3"``, ``"depthwise_conv3x3"`` (any odd
            kernel size), or ``"layer"`` for the layer's own weights, no virtual identity.
        aggregate: ``"norm"`` (default, NormGrad), ``"positive_norm"`` (selective NormGrad), ``"sum"`` (with
            ``"scaling"``: the linear approximation), ``"positive_sum"`` (its positive part) or ``"max"``.
        channel_dim: Dimension of the channels in the layers' outputs: 1 for feature maps, -1 for tokens. By default it
            is found for each layer from what made its output, or else from what uses it.

    Raises:
        ValueError: Unknown extract, aggregate or layer name.
        TypeError: A layer that is neither module nor name.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from normgrad_attr import NormGrad
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
        >>> model = model.eval()
        >>> images = torch.rand(4, 3, 32, 32)
        >>> NormGrad(model, "1").attribute(images, target=1).shape
        torch.Size([4, 1, 30, 30])

        Several layers, from one pass, by name:

        >>> method = NormGrad(model, ["[01]"])
        >>> maps = dict(zip(method.layer_names, method.attribute(images, target=1)))
        >>> maps["1"].shape
        torch.Size([4, 1, 30, 30])

    References:
        Rebuffi, Fong, Ji, Vedaldi: There and Back Again: Revisiting Backpropagation Saliency Methods. CVPR 2020,
        arXiv:2004.02866. On chest X-rays: Ozer, Oksuz: Explainable Image Quality Analysis of Chest X-Rays. MIDL 2021.
    """

    @overload
    def __init__(
        self: NormGrad[Tensor],
        forward_func: ForwardFunc,
        layer: Layer,
        device_ids: list[int] | None = None,
        *,
        extract: str = "conv1x1",
        aggregate: str = "norm",
        channel_dim: int | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self: NormGrad[list[Tensor]],
        forward_func: ForwardFunc,
        layer: Sequence[Layer],
        device_ids: list[int] | None = None,
        *,
        extract: str = "conv1x1",
        aggregate: str = "norm",
        channel_dim: int | None = None,
    ) -> None: ...

    def __init__(
        self,
        forward_func: ForwardFunc,
        layer: Layer | Sequence[Layer],
        device_ids: list[int] | None = None,
        *,
        extract: str = "conv1x1",
        aggregate: str = "norm",
        channel_dim: int | None = None,
    ) -> None:
        check_cell(extract, aggregate)
        resolved: nn.Module | list[nn.Module]
        if isinstance(layer, (list, tuple)):
            resolved = resolve_all(forward_func, layer)
        else:
            resolved = resolve(forward_func, cast(Layer, layer))
        LayerAttribution.__init__(self, forward_func, resolved, device_ids)
        GradientAttribution.__init__(self, forward_func)
        self.extract = extract
        self.aggregate = aggregate
        self.channel_dim = channel_dim

    @overload
    def attribute(
        self,
        inputs: Inputs,
        target: Target = None,
        additional_forward_args: object = None,
        attribute_to_layer_input: bool = False,
        grad_kwargs: dict[str, Any] | None = None,
        *,
        return_output: Literal[False] = False,
    ) -> MapsT: ...

    @overload
    def attribute(
        self,
        inputs: Inputs,
        target: Target = None,
        additional_forward_args: object = None,
        attribute_to_layer_input: bool = False,
        grad_kwargs: dict[str, Any] | None = None,
        *,
        return_output: Literal[True],
    ) -> tuple[MapsT, Tensor]: ...

    @log_usage()
    def attribute(
        self,
        inputs: Inputs,
        target: Target = None,
        additional_forward_args: object = None,
        attribute_to_layer_input: bool = False,
        grad_kwargs: dict[str, Any] | None = None,
        *,
        return_output: bool = False,
    ) -> MapsT | tuple[MapsT, Tensor]:
        r"""Compute the map of each layer.

        Args:
            inputs: Input of ``forward_func``, (N, ...), or a tuple of such.
            target: Which output to explain: an index for all samples, a list or 1-D tensor of one index for each, a
                tuple or list of tuples for outputs of more dimensions, or None if the output is one number for each
                sample.
            additional_forward_args: Further arguments of ``forward_func``.
            attribute_to_layer_input: Take the layer's input for ``x`` instead of its output.
            grad_kwargs: Further arguments of :func:`torch.autograd.grad`, such as ``{"create_graph": True}`` for maps
                that can be differentiated, or ``{"materialize_grads": True}`` to have zeros for a layer without
                influence.
            return_output: Return the model's output as well, so that it need not run a second time.

        Returns:
            (N, 1, \*spatial) at the layer's resolution; a tuple of them if the layer has several output tensors; a
            list of either, in the given order, if a list of layers was given. Where the network folds windows or frames
            into the batch, these come first, as in (N, 1, frames, \*spatial). Computed in float32 at least, returned in
            the dtype of ``inputs``, detached unless ``create_graph`` is set. With ``return_output`` a pair of that
            and the output, as the model gave it, detached likewise.

        Raises:
            RuntimeError: A layer that did not run, ran twice or does not influence the target; inference mode.
            TypeError: A layer or model output that is not made of floating-point tensors.
            ValueError: Empty batch; scripted model; a layout that cannot be told without ``channel_dim``; a target that
                does not fit the output (an AssertionError as well, as in Captum).
        """
        cell = (self.extract, self.aggregate)
        findings = Findings()
        by_layer, _, output = self._maps(
            [[cell]] * self._number_of_layers(),
            inputs,
            target,
            additional_forward_args,
            attribute_to_layer_input,
            grad_kwargs,
            findings=findings,
        )
        findings.tell()
        maps = self._as_given([of_layer[cell] for of_layer in by_layer])
        return (maps, output) if return_output else maps

    def attribute_grid(
        self,
        inputs: Inputs,
        target: Target = None,
        additional_forward_args: object = None,
        attribute_to_layer_input: bool = False,
        grad_kwargs: dict[str, Any] | None = None,
        *,
        extracts: Sequence[str] = EXTRACTS,
        aggregates: Sequence[str] | None = None,
    ) -> dict[Cell, MapsT]:
        """Compute many cells of the extract x aggregate grid from one pass.

        Args:
            inputs: As in :meth:`attribute`, like the next four.
            target: See there.
            additional_forward_args: See there.
            attribute_to_layer_input: See there.
            grad_kwargs: See there.
            extracts: Extracts to compute, all virtual ones by default.
            aggregates: Aggregates to compute, by default all of ``AGGREGATES``, those added to it too.

        Returns:
            What :meth:`attribute` returns, for each pair ``(extract, aggregate)``.

        Raises:
            ValueError: Unknown extract or aggregate, and whatever :meth:`attribute` raises.
            TypeError: A single name instead of a list.

        Examples:
            >>> import torch
            >>> from torch import nn
            >>> from normgrad_attr import NormGrad
            >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.LazyLinear(2)).eval()
            >>> maps = NormGrad(model, "0").attribute_grid(torch.rand(1, 3, 8, 8), target=0)
            >>> len(maps), maps["scaling", "sum"].shape
            (25, torch.Size([1, 1, 6, 6]))
        """
        if isinstance(extracts, str) or isinstance(aggregates, str):
            raise TypeError("extracts and aggregates are lists of names, as in extracts=['scaling'].")
        aggregates = tuple(AGGREGATES) if aggregates is None else aggregates
        cells = [(extract, aggregate) for extract in extracts for aggregate in aggregates]
        for cell in cells:
            check_cell(*cell)
        findings = Findings()
        by_layer, _, _ = self._maps(
            [cells] * self._number_of_layers(),
            inputs,
            target,
            additional_forward_args,
            attribute_to_layer_input,
            grad_kwargs,
            findings=findings,
        )
        findings.tell()
        return {cell: self._as_given([maps[cell] for maps in by_layer]) for cell in cells}

    @property
    def layer_names(self) -> list[str]:
        """The layers' dotted names, in the order of the maps.

        Raises:
            ValueError: ``forward_func`` is a function, which hides the names.
        """
        return names_of(self.forward_func, self.layer if isinstance(self.layer, list) else [self.layer])

    def _number_of_layers(self) -> int:
        return len(self.layer) if isinstance(self.layer, list) else 1

    def _as_given(self, of_layers: list[Maps]) -> MapsT:
        """A list if a list of layers was given."""
        return cast(MapsT, of_layers if isinstance(self.layer, list) else of_layers[0])

    def _maps(
        self,
        cells: Sequence[Sequence[Cell]],
        inputs: Inputs,
        target: Target,
        additional_forward_args: object,
        attribute_to_layer_input: bool,
        grad_kwargs: dict[str, Any] | None,
        dtype: torch.dtype | None = None,
        choose_target: Callable[[Tensor], Target] | None = None,
        *,
        findings: Findings,
    ) -> tuple[list[dict[Cell, Maps]], list[list[Layout]], Tensor]:
        """For each layer the maps of some cells of the grid and its tensors' layouts, and the model's output.

        Args:
            cells: Of each layer.
            inputs: As in :meth:`attribute`, like the next four.
            target: See there.
            additional_forward_args: See there.
            attribute_to_layer_input: See there.
            grad_kwargs: See there.
            dtype: Of the maps, by default that of the inputs.
            choose_target: From the model's output to the target, in place of ``target``.
            findings: Takes what there is to warn of.
        """
        own_weights = any(extract == "layer" for of_layer in cells for extract, _ in of_layer)
        if own_weights and attribute_to_layer_input:
            raise ValueError(
                "extract='layer' takes the layer's input and its output's gradient as they are; leave "
                "attribute_to_layer_input at False."
            )
        layers = self.layer if isinstance(self.layer, list) else [self.layer]
        one_pass = capture(
            self.forward_func,
            layers,
            inputs,
            target,
            additional_forward_args,
            device_ids=self.device_ids,
            attribute_to_layer_input=attribute_to_layer_input,
            keep_layer_input=own_weights,
            grad_kwargs=grad_kwargs,
            choose_target=choose_target,
        )
        note_misfit(findings, one_pass, target)
        graph = Layouts(one_pass.root, one_pass.inputs)
        graph.check_output(one_pass.given, tuple(one_pass.output.shape))
        layouts = [[graph.of(edge) for edge in by_device[0].edges] for by_device in one_pass.layers]
        results, names = [], {layer: Named(self.forward_func, layer) for layer in layers}
        broken = dict[nn.Module, list[Tensor]]()
        for layer, by_device, of_layer, laid in zip(layers, one_pass.layers, cells, layouts, strict=True):
            maps, name = {}, names[layer]
            for extract in dict.fromkeys(extract for extract, _ in of_layer):
                summands = [self._summands(extract, layer, name, one, laid) for one in by_device]
                for aggregate in dict.fromkeys(a for e, a in of_layer if e == extract):
                    tensors = _gather([tuple(AGGREGATES[aggregate](s) for s in on_device) for on_device in summands])
                    if extract == "scaling" and aggregate in ("sum", "positive_sum"):
                        norms = _gather([tuple(AGGREGATES["norm"](s) for s in on_device) for on_device in summands])
                        note_cancelled(findings, name, tensors, norms)
                    tensors = tuple(t.to(dtype or dtype_of(inputs, t)) for t in tensors)
                    broken.setdefault(layer, []).extend(~t.isfinite().all() for t in tensors)
                    tensors = tuple(layout.by_sample(t) for layout, t in zip(laid, tensors, strict=True))
                    check_samples(name, by_device[0], tensors, one_pass.samples, graph)
                    maps[extract, aggregate] = tensors[0] if len(tensors) == 1 else tensors
            results.append(maps)
        for layer, flags in broken.items():
            note_not_finite(findings, names[layer], flags)
        return results, layouts, one_pass.output

    def _summands(
        self, extract: str, layer: nn.Module, name: object, captured: Captured, layouts: Sequence[Layout]
    ) -> list[Summands]:
        """Summands of each of the layer's tensors, the batch in dimension 0 and channels in dimension 1."""
        check_batched(layer, captured.activations, name)
        if extract == "layer":
            layouts[0].check_samples(name)
            return [layer_summands(layer, captured, name, layouts[0].batch_dim())]
        summands = []
        for x, g, layout in zip(captured.activations, captured.gradients, layouts, strict=True):
            arranged = layout.order(self.channel_dim, tuple(x.shape), name)
            summands.append(virtual_identity(x.permute(arranged), g.permute(arranged), extract))
        return summands


def check_cell(extract: str, aggregate: str) -> None:
    """Raise ValueError, naming the choices, unless this is a cell of the grid."""
    if extract != "layer":
        check_extract(extract)
    check_aggregate(aggregate)


def dtype_of(inputs: Inputs, computed: Tensor) -> torch.dtype:
    """Dtype for the maps: that of the first floating-point input, else what they were computed in."""
    tensors = inputs if isinstance(inputs, tuple) else (inputs,)
    return next((t.dtype for t in tensors if t.dtype.is_floating_point), computed.dtype)


def _gather(by_device: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """Concatenate the parts of the batch that DataParallel's devices computed, on the first device."""
    if len(by_device) == 1:
        return by_device[0]
    return tuple(torch.cat([part.to(parts[0].device) for part in parts]) for parts in zip(*by_device, strict=True))
