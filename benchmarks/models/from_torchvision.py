"""Networks of torchvision, with the transforms and the categories of their weights."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from benchmarks.models.preparation import Preparation
from benchmarks.models.weights_file import head_size
from benchmarks.run.errors import UserError


def build(
    name: str, state: dict[str, Tensor] | None, options: dict[str, Any]
) -> tuple[nn.Module, Preparation, tuple[str, ...] | None]:
    """Build a network by its name.

    Args:
        name: Of a classifier of torchvision, such as ``resnet18``.
        state: Weights that will be loaded; without any, torchvision's own are.
        options: ``classes`` (their number, if it is known) and ``random``.

    Returns:
        The network, what its weights want to see, and the categories of its own weights.

    Raises:
        UserError: torchvision has no such classifier, or cannot get its weights.
    """
    from torchvision import models

    if name not in models.list_models(module=models):
        raise UserError(f"torchvision has no classifier {name!r}: give one of torchvision.models.list_models().")
    weights = models.get_model_weights(name).DEFAULT
    transforms = weights.transforms()
    size = transforms.crop_size[0]
    wanted = Preparation(
        (size, size), tuple(transforms.mean), tuple(transforms.std), resampling=transforms.interpolation.value
    )
    if state is None and not options["random"]:
        try:
            return models.get_model(name, weights=weights).eval(), wanted, tuple(weights.meta["categories"])
        except Exception as error:  # no network, a damaged download
            reason = " ".join(str(error).split())[:160]
            raise UserError(
                f"torchvision:{name} cannot get its weights ({reason}): give --weights FILE, or --weights none for "
                "random numbers."
            ) from None
    known: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        known["init_weights"] = False  # drawing truncated normal numbers takes half a minute
        known["aux_logits"] = any("aux" in key.lower() for key in state or ())
    if count := head_size(lambda: models.get_model(name, weights=None, **known), state) or options["classes"]:
        known["num_classes"] = count
    return models.get_model(name, weights=None, **known), wanted, None
