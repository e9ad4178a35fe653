"""NormGrad of several layers in one map, as a Captum attribution class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar, overload

import torch
from torch import Tensor, nn

from normgrad_attr._attribution import Cell, Maps, NormGrad, check_cell, dtype_of
from normgrad_attr._captum import ForwardFunc, GradientAttribution, Target, log_usage
from normgrad_attr._combine import (
    Combination,
    Weights,
    check_combination,
    combined_map,
    layer_weights,
    minmax,
    spatial_size,
)
from normgrad_attr._findings import Findings
from normgrad_attr._layers import Layer, Named, resolve_all
from normgrad_attr._layout import Layout
from normgrad_attr._smoothing import check_sigma, smooth

#: A tensor for a tensor, a tuple for a tuple.
InputsT = TypeVar("InputsT", Tensor, tuple[Tensor, ...])


class CombinedNormGrad(GradientAttribution):
    """NormGrad of several layers in one map at the input's resolution.

    All layers' maps come from one forward and one backward. Each is resized linearly to the input's size and scaled
    to [0, 1] for each sample by itself; then they are multiplied (each to the power of its weight) or added, and the
    result is scaled to [0, 1] again. Deep layers know what, early ones where: the product keeps what all agree on.

    A layer whose map is constant for a sample is left out of that sample's product, with a warning; but where a
    ``"positive_sum"`` is zero everywhere, nothing speaks for the target, and the product is zero.

    Args:
        forward_func: The model, or a function around it.
        layers: Modules, dotted names or patterns, as in a list for :class:`NormGrad`, from early to late.
        device_ids: Order of the devices, only if ``forward_func`` hides a DataParallel model.
        extract: As in :class:`NormGrad`; one name, or a list of one for each layer.
        aggregate: Likewise. All layers' maps come from one pass whatever the choice.
        combine: ``"product"`` (default) or ``"sum"``.
        weights: ``"uniform"`` (1/L each), ``"linear"`` (l/L normalised, later layers more), or one number for each
            layer, used as given; ones give the plain product.
        smoothing: Standard deviation, in pixels of the output, of a Gaussian that smooths the combined map
            (:func:`normgrad_attr.smooth`) before it is scaled to [0, 1] once more. Default: none.
        channel_dim: As in :class:`NormGrad`. Tokens are laid out on the grid that they come from, which the network's
            graph tells, class and register tokens dropped.

    Raises:
        ValueError: Unknown extract, aggregate, combination, weights or layer name, or not one of them for each layer.
        TypeError: A layer that is neither module nor name.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from normgrad_attr import CombinedNormGrad
        >>> features = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3), nn.ReLU())
        >>> model = nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2)).eval()
        >>> method = CombinedNormGrad(model, ["0.1", "0.4"])
        >>> method.attribute(torch.rand(4, 3, 32, 32), target=1).shape
        torch.Size([4, 1, 32, 32])

    References:
        Rebuffi, Fong, Ji, Vedaldi: There and Back Again: Revisiting Backpropagation Saliency Methods. CVPR 2020,
        arXiv:2004.02866.
    """

    def __init__(
        self,
        forward_func: ForwardFunc,
        layers: Layer | Sequence[Layer],
        device_ids: list[int] | None = None,
        *,
        extract: str | Sequence[str] = "conv1x1",
        aggregate: str | Sequence[str] = "norm",
        combine: Combination = "product",
        weights: Weights = "uniform",
        smoothing: float | None = None,
        channel_dim: int | None = None,
    ) -> None:
        GradientAttribution.__init__(self, forward_func)
        layers = [layers] if isinstance(layers, (str, nn.Module)) else list(layers)
        self.normgrad = NormGrad(forward_func, layers, device_ids, channel_dim=channel_dim)
        self.extract = extract
        self.aggregate = aggregate
        self._cells()
        check_combination(combine)
        layer_weights(weights, len(self.layers))
        if smoothing is not None:
            check_sigma(smoothing)
        self.combine = combine
        self.smoothing = smoothing
        self.weights = weights

    @classmethod
    def class_sensitive(
        cls,
        forward_func: ForwardFunc,
        layers: Layer | Sequence[Layer],
        device_ids: list[int] | None = None,
        *,
        power: float = 1.0,
        channel_dim: int | None = None,
    ) -> CombinedNormGrad:
        """The recipe for a map that is sharp and knows the class.

        A norm says where activation and gradient are large, for the class or against it. So the last layer, the one
        that knows most of classes, gives its evidence for the class alone, the positive part of activation x gradient
        (``extract="scaling"``, ``aggregate="positive_sum"``), and all layers before it give NormGrad's norm
        (``"conv1x1"``, ``"norm"``), which keeps small objects. Their plain product is taken, from one pass.

        The norms and the product over layers are Rebuffi et al.'s, activation x gradient is their linear
        approximation, and its positive part is near to LayerCAM. That a factor which knows the class is multiplied with
        one which is sharp is the idea of Guided Grad-CAM. To take norms for the sharp one, from the same pass, is ours.

        Args:
            forward_func: As for the class, like the next two.
            layers: See there. The last one decides where the class is; if it is read by a layer norm alone, as in many
                transformers, activation x gradient cancels out there (a warning says so), and that norm is the layer
                to take, ``"blocks.11.norm1"`` for a ViT. :func:`explain` sees to it by itself.
            device_ids: See there.
            power: Weight of the last layer, the others having 1. More leaves less of what speaks for other classes.
            channel_dim: As for the class.

        Returns:
            The method, ready for :meth:`attribute`.

        Raises:
            ValueError: As for the class; a power that is not positive.

        Examples:
            >>> import torch
            >>> from torchvision.models import resnet18
            >>> from normgrad_attr import CombinedNormGrad
            >>> method = CombinedNormGrad.class_sensitive(resnet18().eval(), ["layer[234].1"])
            >>> method.extract, method.aggregate
            (['conv1x1', 'conv1x1', 'scaling'], ['norm', 'norm', 'positive_sum'])
            >>> method.attribute(torch.rand(2, 3, 64, 64), target=7).shape
            torch.Size([2, 1, 64, 64])

        References:
            Rebuffi et al., CVPR 2020, arXiv:2004.02866. LayerCAM: Jiang et al., IEEE TIP 2021. Guided Grad-CAM:
            Selvaraju et al., ICCV 2017, arXiv:1610.02391.
        """
        if not 0 < power < float("inf"):
            raise ValueError(f"The power of the last layer must be positive and finite, not {power}.")
        found = resolve_all(forward_func, [layers] if isinstance(layers, (str, nn.Module)) else layers)
        before = len(found) - 1
        return cls(
            forward_func,
            found,
            device_ids,
            extract=["conv1x1"] * before + ["scaling"],
            aggregate=["norm"] * before + ["positive_sum"],
            weights=[1.0] * before + [power],
            channel_dim=channel_dim,
        )

    @overload
    def attribute(
        self,
        inputs: InputsT,
        target: Target = None,
        additional_forward_args: object = None,
        attribute_to_layer_input: bool = False,
        output_size: Sequence[int] | None = None,
        expand_as_inputs: bool = False,
        grad_kwargs: dict[str, Any] | None = None,
        *,
        return_output: Literal[False] = False,
    ) -> InputsT: ...

    @overload
    def attribute(
        self,
        inputs: InputsT,
        target: Target = None,
        additional_forward_args: object = None,
        attribute_to_layer_input: bool = False,
        output_size: Sequence[int] | None = None,
        expand_as_inputs: bool = False,
        grad_kwargs: dict[str, Any] | None = None,
        *,
        return_output: Literal[True],
    ) -> tuple[InputsT, Tensor]: ...

    @log_usage()
    def attribute(
        self,
        inputs: InputsT,
        target: Target = None,
        additional_forward_args: object = None,
        attribute_to_layer_input: bool = False,
        output_size: Sequence[int] | None = None,
        expand_as_inputs: bool = False,
        grad_kwargs: dict[str, Any] | None = None,
        *,
        return_output: bool = False,
    ) -> InputsT | tuple[InputsT, Tensor]:
        r"""Compute the combined map.

        Args:
            inputs: Input of ``forward_func``, (N, C, \*spatial), or a tuple of such.
            target: As in :meth:`NormGrad.attribute`.
            additional_forward_args: As in :meth:`NormGrad.attribute`.
            attribute_to_layer_input: Take the layers' inputs for ``x`` instead of their outputs.
            output_size: Spatial size of the map, by default the input's.
            expand_as_inputs: Repeat the map over the input's channels, as :func:`captum.metrics.infidelity` needs.
            grad_kwargs: As in :meth:`NormGrad.attribute`.
            return_output: Return the model's output as well, so that it need not run a second time.

        Returns:
            (N, 1, \*output_size) in [0, 1], contiguous, in the dtype of ``inputs``; (N, C, \*spatial) with
            ``expand_as_inputs``. A tuple with one map for each input if ``inputs`` is a tuple. Zeros for a sample
            whose maps are all constant. With ``return_output`` a pair of that and the output, as the model gave it.

        Raises:
            ValueError: Maps that cannot be resized to the input, an input that a layer does not depend on,
                ``expand_as_inputs`` with another ``output_size``, and whatever :meth:`NormGrad.attribute` raises.
        """
        maps, output = self._maps_and_output(
            inputs,
            target,
            additional_forward_args,
            attribute_to_layer_input,
            output_size,
            expand_as_inputs,
            grad_kwargs,
        )
        return (maps, output) if return_output else maps

    def _maps_and_output(
        self,
        inputs: InputsT,
        target: Target = None,
        additional_forward_args: object = None,
        attribute_to_layer_input: bool = False,
        output_size: Sequence[int] | None = None,
        expand_as_inputs: bool = False,
        grad_kwargs: dict[str, Any] | None = None,
        choose_target: Callable[[Tensor], Target] | None = None,
    ) -> tuple[InputsT, Tensor]:
        """What :meth:`attribute` returns; ``choose_target`` makes the target from the output, in its place."""
        tensors = inputs if isinstance(inputs, tuple) else (inputs,)
        cells = self._cells()
        # Full precision up to the end: half-precision maps would lose what the scaling brings out.
        precision = torch.float64 if any(getattr(t, "dtype", None) == torch.float64 for t in tensors) else torch.float32
        findings = Findings()
        by_layer, layouts, output = self.normgrad._maps(
            [[cell] for cell in cells],
            inputs,
            target,
            additional_forward_args,
            attribute_to_layer_input,
            grad_kwargs,
            precision,
            choose_target,
            findings=findings,
        )
        maps = [of_layer[cell] for of_layer, cell in zip(by_layer, cells, strict=True)]
        results = tuple(
            self._fit(maps, layouts, t, output_size, expand_as_inputs, i, findings) for i, t in enumerate(tensors)
        )
        findings.tell()
        return (results, output) if isinstance(inputs, tuple) else (results[0], output)

    def _cells(self) -> list[Cell]:
        """Extract and aggregate of each layer."""
        extracts = _one_for_each("extract", self.extract, len(self.layers))
        aggregates = _one_for_each("aggregate", self.aggregate, len(self.layers))
        cells = list(zip(extracts, aggregates, strict=True))
        for cell in cells:
            check_cell(*cell)
        return cells

    def _fit(
        self,
        maps: Sequence[Maps],
        layouts: Sequence[Sequence[Layout]],
        input_: Tensor,
        output_size: Sequence[int] | None,
        expand_as_inputs: bool,
        number: int,
        findings: Findings,
    ) -> Tensor:
        """The combined map at the size of one input."""
        shape = tuple(input_.shape)
        channels = layouts[0][0].input_channel_dim(shape)
        own_size = shape[1:] if channels is None else shape[1:channels] + shape[channels + 1 :]
        size = spatial_size(own_size if output_size is None else output_size)
        if not size:
            raise ValueError(
                f"Input {number} of shape {tuple(input_.shape)} has no spatial size to give the map; pass output_size, "
                "or move that input to additional_forward_args."
            )
        if own_size and len(size) != len(own_size):
            raise ValueError(
                f"output_size={size} is not one number for each of the {len(own_size)} spatial dimensions of input "
                f"{number}, of shape {shape}."
            )
        laid_out = [
            self._on_grid(m, layer, of_layer, len(size), input_, number)
            for m, layer, of_layer in zip(maps, self.layers, layouts, strict=True)
        ]
        evidence = [i for i, (_, aggregate) in enumerate(self._cells()) if aggregate == "positive_sum"]
        powers = layer_weights(self.weights, len(laid_out))
        combined = combined_map(laid_out, size, self.combine, powers, evidence, findings)
        if self.smoothing is not None:
            combined = minmax(smooth(combined, self.smoothing))
        combined = combined.to(dtype_of(input_, laid_out[0]))
        if not expand_as_inputs:
            return combined
        if own_size != size:
            raise ValueError(f"expand_as_inputs needs maps at the input's size {own_size}; leave output_size out.")
        arranged = combined.squeeze(1) if channels is None else combined.movedim(1, channels)
        return arranged.expand_as(input_).contiguous()

    @property
    def layers(self) -> list[nn.Module]:
        """The layers whose maps are combined."""
        layers: list[nn.Module] = self.normgrad.layer
        return layers

    @property
    def layer_names(self) -> list[str]:
        """Their dotted names, as :attr:`NormGrad.layer_names`."""
        return self.normgrad.layer_names

    def _on_grid(
        self,
        layer_map: Maps,
        layer: nn.Module,
        layouts: Sequence[Layout],
        directions: int,
        input_: Tensor,
        number: int,
    ) -> Tensor:
        """A layer's map with as many spatial dimensions as the input."""
        name = Named(self.forward_func, layer)
        if isinstance(layer_map, tuple):
            raise ValueError(
                f"Layer {name} has {len(layer_map)} tensors, so it is not clear which map to combine; choose a layer "
                "with one, or combine NormGrad's maps with functional.combine_maps."
            )
        if len(layer_map) != len(input_):
            raise ValueError(
                f"Layer {name} gives {len(layer_map)} maps for a batch of {len(input_)}; its first dimension "
                "is not the batch, so choose another layer."
            )
        if number in layouts[0].unseen:
            raise ValueError(
                f"Layer {name} does not depend on input {number}, so its map tells nothing of it; choose layers that "
                "all inputs reach, or move that input to additional_forward_args."
            )
        try:
            return layouts[0].laid_out(layer_map, self.normgrad.channel_dim, directions)
        except ValueError as error:
            raise ValueError(
                f"The map of layer {name}, of shape {tuple(layer_map.shape)}, cannot be laid out on the input of shape "
                f"{tuple(input_.shape)}: {error}; choose another layer, or lay NormGrad's map out with tokens_to_map "
                "and combine with functional.combine_maps."
            ) from None


def _one_for_each(argument: str, names: str | Sequence[str], layers: int) -> list[str]:
    """One name for each layer."""
    if not isinstance(names, (list, tuple)):
        return [names] * layers  # type: ignore[list-item]
    if len(names) != layers:
        raise ValueError(
            f"{argument} has {len(names)} names for {layers} layers; give one name for all, or one for each layer."
        )
    return list(names)
