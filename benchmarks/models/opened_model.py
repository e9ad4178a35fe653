"""A network with all that must be known to ask it questions, and a trial of it before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from benchmarks.models import from_timm
from benchmarks.models.preparation import Preparation, option
from benchmarks.models.unwrapping import BeforeProbabilities, Scores, TwoClasses, are_probabilities, find_scores
from benchmarks.run.choices import Outputs
from benchmarks.run.errors import UserError

Prepare = Callable[[Image.Image], Tensor]
_STRIP = 16


@dataclass(frozen=True)
class OpenModel:
    """A network that gives scores, and what it wants to see.

    Attributes:
        network: In eval mode; gives scores before softmax or sigmoid, float ``(N, K)``, K at least 2.
        prepare: From an image to the network's input, float ``(C, H, W)``.
        shape: Of an input, (C, H, W).
        classes: Names of the outputs.
        outputs: What makes probabilities of the scores.
        inside: What names of the network's own layers begin with in ``network``.
        name: For reports.
    """

    network: nn.Module
    prepare: Prepare
    shape: tuple[int, int, int]
    classes: tuple[str, ...] | None
    outputs: Outputs = "softmax"
    inside: str = ""
    name: str = ""

    @property
    def contrast(self) -> float:
        """Between black and white, in units of the input, on average over its channels."""
        _, height, width = self.shape
        image = Image.new("RGB", (width, height))
        image.paste("white", (width // 2, 0, width, height))
        values = self.prepare(image)
        quarter = max(1, values.shape[-1] // 4)  # what lies in the middle is mixed by resizing
        return abs(float(values[..., -quarter:].mean() - values[..., :quarter].mean()))

    @property
    def same_size(self) -> bool:
        """Whether all inputs have one size, so that they fit into a batch."""
        return getattr(self.prepare, "same_size", True)


def open_model(
    network: nn.Module,
    preprocess: Prepare | None = None,
    *,
    classes: Sequence[str] | None = None,
    outputs: Outputs | None = None,
    name: str = "",
    **preparation: Any,
) -> OpenModel:
    """Make a network ready for questions, after one trial forward.

    Args:
        network: Any classifier for float32 inputs. It is put into eval mode; its weights are left as they are.
        preprocess: From a PIL image to the input, float ``(C, H, W)``; it must keep the whole image. Without any, a
            network of timm is given what its own configuration says, another one RGB in [0, 1] of 224 x 224 pixels.
        classes: Names of the outputs in their order; one for a network with one output.
        outputs: ``"softmax"`` or ``"sigmoid"``; by default softmax, and sigmoid for one output or for probabilities
            that do not add up to 1.
        name: For reports; by default that of the network's class.
        **preparation: What is otherwise than that: ``size``, ``mean``, ``std``, ``channels``, ``value_range``,
            ``resize``, as of :class:`~benchmarks.models.preparation.Preparation`.

    Returns:
        The model.

    Raises:
        UserError: The preprocess function crops or pads, the network does not take its images, gives no scores, or
            has another number of outputs than there are names.

    Example:
        >>> from torchvision.models import resnet18
        >>> model = open_model(resnet18(num_classes=3), classes=["cat", "dog", "fish"])
        >>> model.shape, model.outputs
        ((3, 224, 224), 'softmax')
    """
    given = {key: value for key, value in preparation.items() if value is not None}
    if outputs not in (None, *get_args(Outputs)):
        raise UserError(f"--outputs is {outputs!r}: choose softmax (one class an image) or sigmoid (several).")
    if preprocess is not None and not isinstance(preprocess, Preparation):
        if given:
            unused = option(next(iter(given)))
            raise UserError(f"the model has a preprocess function of its own, so {unused} has no effect: leave it out.")
        _check_whole(preprocess)
        prepare: Prepare = preprocess
    else:
        prepare = (preprocess or from_timm.preparation(network) or Preparation()).changed(**given)
    network = network.eval()
    name = name or type(network).__name__
    example = prepare(Image.new("RGB", (96, 96), (120, 110, 100)))
    shape = (int(example.shape[0]), int(example.shape[1]), int(example.shape[2]))
    scores, plain = _try(network, shape, name)
    if scores.shape[1] == 1 and outputs == "softmax":
        raise UserError(f"{name} has one output, of which softmax is always 1: leave out --outputs softmax.")
    names = tuple(classes) if classes else from_timm.class_names(network)
    inside = ""
    if are_probabilities(scores):
        of_one = bool(((scores.sum(dim=1) - 1).abs() < 1e-3).all()) and scores.shape[1] > 1
        outputs = outputs or ("softmax" if of_one else "sigmoid")
        network, inside = BeforeProbabilities(network, outputs), "network."
    elif not plain:
        network, inside = Scores(network), "network."
    if scores.shape[1] == 1:
        network, inside, outputs = TwoClasses(network), f"network.{inside}", "softmax"
        names = (f"not {names[0]}", names[0]) if names and len(names) == 1 else names
    count = max(2, scores.shape[1])
    if names is not None and len(names) != count:
        raise UserError(f"{name} has {scores.shape[1]} outputs and --classes names {len(names)}: name each, in order.")
    if names is not None and len(set(names)) < len(names):
        twice = next(one for one in names if names.count(one) > 1)
        raise UserError(f"two outputs of {name} are called {twice!r}: name the outputs in order with --classes.")
    return OpenModel(network.eval(), prepare, shape, names, outputs or "softmax", inside, name)


def _try(network: nn.Module, shape: tuple[int, int, int], name: str) -> tuple[Tensor, bool]:
    """Scores of two inputs of noise with their graph, and whether the network gives them as a plain tensor (N, K)."""
    parameter = next(network.parameters(), torch.zeros((), device="cpu"))
    if parameter.dtype != torch.float32:
        raise UserError(f"{name} has weights of {parameter.dtype}: give it as model.float(), since maps are float32.")
    if parameter.is_meta:
        raise UserError(f"{name} has its weights on torch's device meta, which holds no numbers: build it on the CPU.")
    generator = torch.Generator("cpu").manual_seed(0)  # one network sees one noise, whatever torch's default device is
    try:
        with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=[]):
            images = torch.rand(2, *shape, generator=generator, dtype=torch.float32, device="cpu").to(parameter.device)
            output = network(images.requires_grad_().clone())  # so that frozen weights have a graph, too
    except Exception as error:  # what a network raises is its own business
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{name} does not take images of {shape[0]} channels and {shape[1]} x {shape[2]} pixels ({reason}): choose "
            "others with --image-size and --channels, or give a preprocess function."
        ) from None
    scores = find_scores(output, name)
    if len(scores) != 2 or not bool(scores.isfinite().all()):
        what = f"{len(scores)} rows of scores for 2 images" if len(scores) != 2 else "scores that are not finite"
        raise UserError(f"{name} gives {what}.")
    return scores, scores is output


def _check_whole(preprocess: Prepare) -> None:
    """Refuse a function that crops, pads or turns: each edge of the image must be at the same edge of the input."""
    for width, height in ((384, 256), (256, 384)):
        pixels = np.random.default_rng(0).integers(60, 190, (height, width, 3), dtype=np.uint8)
        plain = _prepared(preprocess, pixels)
        for side, axis, place in (("top", 1, 0), ("bottom", 1, -1), ("left", 2, 0), ("right", 2, -1)):
            changed = pixels.copy()
            edge = np.moveaxis(changed, axis - 1, 0)
            edge[slice(0, _STRIP) if place == 0 else slice(-_STRIP, None)] = 255
            moved = (_prepared(preprocess, changed) - plain).abs().select(axis, place).mean()
            if not moved > 1e-3 * (plain.std() + 1e-12):
                raise UserError(
                    f"the preprocess function crops, pads or turns images of {width} x {height} pixels (the {side} "
                    "edge is not at that edge of its output): resize without, so that maps lie on the whole image."
                )


def _prepared(preprocess: Prepare, pixels: np.ndarray) -> Tensor:
    try:
        image = preprocess(Image.fromarray(pixels))
    except Exception as error:  # the user's code raises what it likes
        raise UserError(f"the preprocess function raises {type(error).__name__} on a PIL image: {error}") from None
    if not isinstance(image, Tensor) or image.ndim != 3 or not image.is_floating_point():
        what = f"a tensor of {image.dtype} and shape {tuple(image.shape)}" if isinstance(image, Tensor) else type(image)
        raise UserError(f"the preprocess function gives {what} where a float tensor (C, H, W) is expected.")
    return image.detach()
