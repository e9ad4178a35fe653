"""Networks of timm, with the data configuration that timm keeps of them."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from benchmarks.models.preparation import Preparation
from benchmarks.models.weights_file import head_size
from benchmarks.run.errors import UserError


def build(name: str, state: dict[str, Tensor] | None, options: dict[str, Any]) -> nn.Module:
    """Build a network by its name.

    Args:
        name: As in timm, such as ``resnet18`` or ``hf-hub:...``.
        state: Weights that will be loaded; without any, timm's own are.
        options: ``classes`` (their number, if it is known), ``size``, ``channels`` and ``random``.

    Raises:
        UserError: timm is not installed, has no such network, or cannot get its weights.
    """
    try:
        import timm
    except ImportError:
        raise UserError(f"timm:{name} needs the package timm: pip install timm.") from None
    known: dict[str, Any] = {"pretrained": state is None and not options["random"]}
    if options["channels"]:
        known["in_chans"] = options["channels"]
    try:
        count = head_size(lambda: timm.create_model(name), state)
        if count is None and not known["pretrained"]:
            count = options["classes"]
        if count:
            known["num_classes"] = count
        sized = {**known, "img_size": options["size"]} if options["size"] else known
        try:
            network: nn.Module = timm.create_model(name, **sized)
        except TypeError:  # a network that takes any size has no such argument
            network = timm.create_model(name, **known)
    except Exception as error:  # what the package and its hub raise
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"timm:{name} cannot be built ({reason}): give the name of one of timm.list_models(), and --weights FILE, "
            "or --weights none for random numbers, where its own weights cannot be had."
        ) from None
    return network


def preparation(network: nn.Module) -> Preparation | None:
    """What a network of timm wants to see; None for any other network."""
    if not hasattr(network, "pretrained_cfg"):
        return None
    from timm.data import resolve_model_data_config

    config = resolve_model_data_config(network)
    channels, height, width = config["input_size"]
    wanted = Preparation((height, width), (0.0,), (1.0,), 3, resampling=config["interpolation"])
    return wanted.changed(mean=tuple(config["mean"]), std=tuple(config["std"])).changed(channels=channels)


def class_names(network: nn.Module) -> tuple[str, ...] | None:
    """Names of the outputs, where timm's configuration has them."""
    names = getattr(network, "pretrained_cfg", {}).get("label_names")
    return tuple(names) if names and len(names) == getattr(network, "num_classes", 0) else None
