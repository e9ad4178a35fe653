"""NormGrad of several layers in one map, as a Captum attribution class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from normgrad_attr._attribution import Layer, Maps, NormGrad, dtype_of
from normgrad_attr._captum import GradientAttribution, log_usage
from normgrad_attr._combine import check_combination, combine_maps, layer_weights, minmax
from normgrad_attr._layers import name_of
from normgrad_attr._smoothing import check_sigma, smooth
from normgrad_attr._tokens import infer_grid, tokens_to_map


class CombinedNormGrad(GradientAttribution):
    """NormGrad of several layers in one map at the input's resolution.

    All layers' maps come from one forward and one backward. Each is resized linearly to the input's size and scaled
    to [0, 1] for each sample by itself; then they are multiplied (each to the power of its weight) or added, and the
    result is scaled to [0, 1] again. Deep layers know what, early ones where: the product keeps what all agree on.

    A layer whose map is constant for a sample is left out of that sample's product, with a warning.

    Args:
        forward_func: The model, or a function around it.
        layers: Modules or dotted names, from early to late.
        device_ids: Order of the devices, only if ``forward_func`` hides a DataParallel model.
        extract: As in :class:`NormGrad`.
        aggregate: As in :class:`NormGrad`.
        combine: ``"product"`` (default) or ``"sum"``.
        weights: ``"uniform"`` (1/L each), ``"linear"`` (l/L normalised, later layers more), or one number for each
            layer, used as given; ones give the plain product.
        smoothing: Standard deviation, in pixels of the output, of a Gaussian that smooths the combined map
            (:func:`normgrad_attr.smooth`) before it is scaled to [0, 1] once more. Default: none.
        channel_dim: As in :class:`NormGrad`. With -1 and tokens (N, T, C), the patch grid is inferred from the input's
            size, and class and register tokens in front are dropped.

    Raises:
        ValueError: Unknown extract, aggregate, combination, weights or layer name.
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
        forward_func: Callable[..., Tensor],
        layers: Sequence[Layer],
        device_ids: list[int] | None = None,
        *,
        extract: str = "conv1x1",
        aggregate: str = "norm",
        combine: str = "product",
        weights: str | Sequence[float] = "uniform",
        smoothing: float | None = None,
        channel_dim: int | None = None,
    ) -> None:
        GradientAttribution.__init__(self, forward_func)
        if isinstance(layers, (str, nn.Module)):
            layers = [layers]
        self.normgrad = NormGrad(
            forward_func, list(layers), device_ids, extract=extract, aggregate=aggregate, channel_dim=channel_dim
        )
        check_combination(combine)
        layer_weights(weights, len(layers))
        if smoothing is not None:
            check_sigma(smoothing)
        self.combine = combine
        self.smoothing = smoothing
        self.weights = weights

    @log_usage()
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        target: Any = None,
        additional_forward_args: Any = None,
        attribute_to_layer_input: bool = False,
        output_size: Sequence[int] | None = None,
        expand_as_inputs: bool = False,
        grad_kwargs: dict[str, Any] | None = None,
    ) -> Maps:
        r"""Compute the combined map.

        Args:
            inputs: Input of ``forward_func``, (N, C, \*spatial), or a tuple of such.
            target: As in :meth:`NormGrad.attribute`.
            additional_forward_args: As in :meth:`NormGrad.attribute`.
            attribute_to_layer_input: Take the layers' inputs for ``x`` instead of their outputs.
            output_size: Spatial size of the map, by default the input's.
            expand_as_inputs: Repeat the map over the input's channels, as :func:`captum.metrics.infidelity` needs.
            grad_kwargs: Further arguments of :func:`torch.autograd.grad`.

        Returns:
            (N, 1, \*output_size) in [0, 1], contiguous, in the dtype of ``inputs``; (N, C, \*spatial) with
            ``expand_as_inputs``. A tuple with one map for each input if ``inputs`` is a tuple. Zeros for a sample
            whose maps are all constant.

        Raises:
            ValueError: Maps that cannot be resized to the input, ``expand_as_inputs`` with another ``output_size``,
                and whatever :meth:`NormGrad.attribute` raises.
        """
        tensors = inputs if isinstance(inputs, tuple) else (inputs,)
        cell = (self.normgrad.extract, self.normgrad.aggregate)
        # Full precision up to the end: half-precision maps would lose what the scaling brings out.
        precision = torch.float64 if any(getattr(t, "dtype", None) == torch.float64 for t in tensors) else torch.float32
        maps = self.normgrad._maps(
            [cell], inputs, target, additional_forward_args, attribute_to_layer_input, grad_kwargs, precision
        )[cell]
        results = tuple(self._fit(maps, t, output_size, expand_as_inputs, i) for i, t in enumerate(tensors))
        return results if isinstance(inputs, tuple) else results[0]

    def _fit(
        self, maps: Any, input_: Tensor, output_size: Sequence[int] | None, expand_as_inputs: bool, number: int
    ) -> Tensor:
        """The combined map at the size of one input."""
        if isinstance(output_size, int):
            raise TypeError(f"output_size is one number for each spatial dimension, as in ({output_size}, ...).")
        size = tuple(input_.shape[2:] if output_size is None else output_size)
        if any(side < 1 for side in size):
            raise ValueError(f"A map cannot have the size {size}; output_size takes pixels, 1 or more.")
        if not size:
            raise ValueError(
                f"Input {number} of shape {tuple(input_.shape)} has no spatial size to give the map; pass output_size, "
                "or move that input to additional_forward_args."
            )
        laid_out = [self._on_grid(m, layer, size, input_) for m, layer in zip(maps, self.layers, strict=True)]
        combined = combine_maps(laid_out, size, combine=self.combine, weights=self.weights)
        if self.smoothing is not None:
            combined = minmax(smooth(combined, self.smoothing))
        combined = combined.to(dtype_of(input_, maps[0]))
        if not expand_as_inputs:
            return combined
        if tuple(input_.shape[2:]) != size:
            raise ValueError(
                f"expand_as_inputs needs maps at the input's size {tuple(input_.shape[2:])}; leave output_size out."
            )
        return combined.expand_as(input_).contiguous()

    @property
    def layers(self) -> list[nn.Module]:
        """The layers whose maps are combined."""
        layers: list[nn.Module] = self.normgrad.layer
        return layers

    def _on_grid(self, layer_map: Any, layer: nn.Module, size: tuple[int, ...], input_: Tensor) -> Tensor:
        """A layer's map with as many spatial dimensions as the output."""
        name = name_of(self.forward_func, layer)
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
        if layer_map.dim() == 3 and len(size) >= 2 and self.normgrad.channel_dim is not None:
            return tokens_to_map(layer_map, infer_grid(layer_map.shape[2], tuple(input_.shape[2:])))
        if layer_map.dim() - 2 != len(size):
            raise ValueError(
                f"Layer {name} gives maps of shape {tuple(layer_map.shape)}, which do not lie on an output of size "
                f"{size}; choose layers with as many spatial dimensions (tokens: channel_dim=-1)."
            )
        return torch.as_tensor(layer_map)
