"""The start in one line: where did this model see what it says it sees?"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from normgrad_attr._combined import CombinedNormGrad
from normgrad_attr._evidence import evidence_layer
from normgrad_attr._extract import accumulation_dtype
from normgrad_attr._peaks import Peak, find_peaks
from normgrad_attr._suggest import suggest_layers
from normgrad_attr.visualize import overlay

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Explanation:
    """What a model says of some images, and where it saw it.

    Attributes:
        images: (N, C, H, W), what the model was given, prepared.
        maps: (N, 1, H, W) in [0, 1], each image's by itself, float, detached.
        logits: (N, K), what the model gave; (N, 1) for a single score.
        targets: (N,) int64, the class that each map explains.
        layers: Names of the layers whose maps are combined, from early to late.

    Examples:
        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from normgrad_attr import explain
        >>> result = explain(resnet18(num_classes=5).eval(), torch.rand(2, 3, 64, 64))
        >>> result.probabilities.shape
        torch.Size([2, 5])

    References:
        Rebuffi et al., CVPR 2020, arXiv:2004.02866 (the maps).
    """

    images: Tensor = field(repr=False)  # a notebook that ends in explain(...) would print all pixels
    maps: Tensor = field(repr=False)
    logits: Tensor = field(repr=False)
    targets: Tensor
    layers: tuple[str, ...]

    @property
    def probabilities(self) -> Tensor:
        """Softmax of the logits, (N, K) float; sigmoid of a single one.

        Of a model for several labels at once take ``logits.sigmoid()``, and of one that ends in probabilities the
        ``logits`` as they are: the numbers alone do not tell.
        """
        logits = accumulation_dtype(self.logits)
        return logits.softmax(1) if logits.shape[1] > 1 else logits.sigmoid()

    def boxes(self, *, most: int = 5, least: float = 0.3) -> list[list[Peak]]:
        """The places where each map is high, the highest first.

        Args:
            most: Largest number of places in one image.
            least: Lowest score of a place, between 0 and 1.

        Returns:
            The places of each image with their maximum, score and box, in pixels of ``images``
            (:func:`normgrad_attr.functional.find_peaks`).

        Raises:
            ValueError: Numbers out of range, or maps of other than two dimensions.
        """
        return find_peaks(self.maps, most=most, least=least)

    def show(self) -> Figure:
        """Draw the images, and beside them the maps over them, one row for each.

        Returns:
            The figure, which a notebook displays (:func:`normgrad_attr.visualize.overlay`). Its titles name the classes
            explained and their probabilities.

        Raises:
            ValueError: Volumes, or images of other than one or three channels, which are drawn by slices.
        """
        if self.images.dim() != 4 or self.images.shape[1] not in (1, 3):
            raise ValueError(
                f"What is drawn are images of one or three channels, these have the shape {tuple(self.images.shape)}; "
                "draw a slice of them with visualize.overlay, such as overlay(result.images[:, :1, depth], "
                "result.maps[:, :, depth]) of volumes, or overlay(result.images[:, :3], result.maps) of many channels."
            )
        rows = torch.arange(len(self.targets), device=self.logits.device)
        probabilities = self.probabilities[rows, self.targets].tolist()
        titles = [f"class {t}: {100 * p:.0f} %" for t, p in zip(self.targets.tolist(), probabilities, strict=True)]
        return overlay(self.images, self.maps, titles=titles)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the drawing of :meth:`show` to a file.

        Args:
            path: Its ending says the format, such as ``.png`` or ``.pdf``.

        Raises:
            ValueError: As :meth:`show`.
        """
        self.show().savefig(path)


def explain(
    model: nn.Module,
    images: Tensor | Any,
    target: int | Sequence[int] | Tensor | None = None,
    *,
    class_sensitive: bool = False,
    preprocess: Callable[[Any], Tensor] | None = None,
) -> Explanation:
    """Explain what a model says of some images: which class, and where it saw it.

    The layers are those that :func:`suggest_layers` proposes, the maps those of :class:`CombinedNormGrad`; its
    arguments are for those who want to choose. The model runs once, on the whole batch. The first time that it meets
    images of some size it runs on one of them beforehand, to see its layers (and for the first class-sensitive maps
    once more); they are remembered with the model.

    Args:
        model: A classifier that gives (N, K) logits, (N,) or (N, 1) for a single score, or an object that holds
            ``logits``. In evaluation mode.
        images: (N, C, H, W), any floating dtype, prepared as the model wants it; with ``preprocess`` whatever it takes,
            one such as a PIL image or a list of them.
        target: Class to explain: one index for all images, or (N,) int64, one for each. Default: the predicted one,
            which has the largest logit. With a single score there is none to choose, and what speaks for it is
            explained.
        class_sensitive: Show what speaks for this class and not for others
            (:meth:`CombinedNormGrad.class_sensitive`). Default: show all that the score depends on, which small
            objects survive best.
        preprocess: From one image to a tensor (C, H, W), such as a transform of torchvision. The tensors are stacked
            and moved to where the model is.

    Returns:
        Maps, logits, targets, layers; the maps lie on the images as they were prepared.

    Raises:
        ValueError: Images of another shape, a target that the model does not have, a model that gives no such logits
            or in which no layer has a map.
        TypeError: A model that is no module, or images that are not tensors without ``preprocess``.
        RuntimeError: As :meth:`NormGrad.attribute`.

    Examples:
        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from normgrad_attr import explain
        >>> model, images = resnet18().eval(), torch.rand(2, 3, 64, 64)
        >>> result = explain(model, images)
        >>> result.maps.shape, result.layers
        (torch.Size([2, 1, 64, 64]), ('layer1.1', 'layer2.1', 'layer3.1', 'layer4.1'))
        >>> bool((result.targets == model(images).argmax(1)).all())
        True

    References:
        Rebuffi et al., CVPR 2020, arXiv:2004.02866.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"explain looks for layers in a torch.nn.Module, not in a {type(model).__name__}; pass the model itself, "
            "or use CombinedNormGrad with layers of your choice."
        )
    batch = _batch(model, images, preprocess)
    layers = _layers(model, batch, class_sensitive)
    method = CombinedNormGrad.class_sensitive(model, layers) if class_sensitive else CombinedNormGrad(model, layers)
    targets: list[Tensor] = []

    def choose_target(output: Tensor) -> Tensor | None:
        targets[:] = [_targets(output, target, len(batch))]
        return _target_of(output, targets[0])

    maps, output = method._maps_and_output(batch, choose_target=choose_target)
    return Explanation(batch, maps, output.view(len(batch), -1), targets[0], tuple(layers))


def _batch(model: nn.Module, images: Any, preprocess: Callable[[Any], Tensor] | None) -> Tensor:
    """The images as one tensor."""
    several = isinstance(images, (list, tuple))
    if preprocess is None and isinstance(images, Tensor):
        batch = images
    else:
        prepared = [_prepared(image, preprocess) for image in (images if several or _is_batch(images) else [images])]
        shapes = list(dict.fromkeys(tuple(t.shape) for t in prepared))
        if len(shapes) != 1:
            raise ValueError(
                f"Prepared images must have one shape, these have {shapes}; let preprocess bring them to one size, or "
                "explain them one by one."
                if shapes
                else "There are no images; pass at least one."
            )
        batch = torch.stack(prepared)
        like = next((p for p in model.parameters() if p.dtype.is_floating_point), batch)
        batch = batch.to(like.device, like.dtype)
    if batch.dim() < 4:
        raise ValueError(
            f"Images have shape (N, C, H, W), these {tuple(batch.shape)}; pass images[None] for a single one, and use "
            "CombinedNormGrad for what has no image's shape."
        )
    return batch


def _is_batch(images: Any) -> bool:
    return isinstance(images, Tensor) and images.dim() > 3


def _prepared(image: Any, preprocess: Callable[[Any], Tensor] | None) -> Tensor:
    prepared = image if preprocess is None else preprocess(image)
    if isinstance(prepared, Tensor):
        return prepared
    if preprocess is None:
        raise TypeError(
            f"Images of type {type(image).__name__} must be prepared; pass preprocess, which makes a tensor (C, H, W) "
            "of one as the model was trained on, such as weights.transforms() of torchvision."
        )
    raise TypeError(f"preprocess returned a {type(prepared).__name__} for an image; it must give a tensor (C, H, W).")


#: Layers for models, by what they are for and the size of the images; forgotten with the model, or when its modules
#: change.
_CHOSEN: WeakKeyDictionary[nn.Module, dict[tuple[object, ...], tuple[object, list[str]]]] = WeakKeyDictionary()


def _layers(model: nn.Module, batch: Tensor, class_sensitive: bool) -> list[str]:
    """The layers for this model and size, looked for once."""
    of_model = _CHOSEN.setdefault(model, {})
    modules = [(name, type(module)) for name, module in model.named_modules()]
    key = (class_sensitive, *batch.shape[1:])
    known = of_model.get(key)
    if known is not None and known[0] == modules:
        return known[1]
    if class_sensitive:
        *early, last = _layers(model, batch, class_sensitive=False)
        layers = [*early, evidence_layer(model, last, batch[:1], lambda y: _target_of(y, _targets(y, None, 1)))]
    else:
        layers = suggest_layers(model, batch[:1])
    of_model[key] = (modules, layers)
    return layers


def _target_of(output: Tensor, targets: Tensor) -> Tensor | None:
    """Captum's target: none for a model that gives one number for each image."""
    return None if output.dim() == 1 else targets


def _targets(output: Tensor, target: int | Sequence[int] | Tensor | None, count: int) -> Tensor:
    """(N,) the class to explain for each image."""
    if output.dim() not in (1, 2) or len(output) != count or output.numel() == 0:
        raise ValueError(
            f"explain needs one score a class for each image, (N, K), and the model gives {tuple(output.shape)} for "
            f"{count} images; use CombinedNormGrad with a target for such outputs."
        )
    classes = output.shape[1] if output.dim() == 2 else 1
    if target is None:
        return output.view(count, classes).argmax(1)
    try:
        targets = torch.as_tensor(target, device=output.device)
    except (TypeError, ValueError, RuntimeError):
        targets = torch.tensor(torch.nan)
    if targets.dtype not in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64):
        raise TypeError(f"A target is the index of a class, not {target!r}.")
    if targets.numel() not in (1, count) or targets.dim() > 1:
        raise ValueError(f"{targets.numel()} targets were given for {count} images; give one, or one for each.")
    targets = targets.long().expand(count)
    if not bool(((targets >= 0) & (targets < classes)).all()):
        raise ValueError(f"Target {target!r} is not one of the model's {classes} classes, 0 to {classes - 1}.")
    return targets
