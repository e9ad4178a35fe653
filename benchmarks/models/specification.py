"""What a word on the command line means: ``FILE.py:FACTORY``, ``timm:NAME``, ``torchvision:NAME`` or ``hf:FOLDER``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.models import from_file, from_timm, from_torchvision, from_transformers
from benchmarks.models.opened_model import OpenModel, open_model
from benchmarks.models.preparation import Preparation
from benchmarks.models.weights_file import load_state, read_state
from benchmarks.run.choices import Outputs
from benchmarks.run.errors import UserError

FORMS = "FILE.py:FACTORY, timm:NAME, torchvision:NAME or hf:FOLDER"
RANDOM = "none"


def load_model(
    specification: str,
    weights: str | Path | None = None,
    *,
    classes: Sequence[str] | None = None,
    outputs: Outputs | None = None,
    **preparation: Any,
) -> OpenModel:
    """Load a model by a word.

    Args:
        specification: ``FILE.py:FACTORY`` (a function without arguments that returns a network, or a network and a
            preprocess function), ``timm:NAME``, ``torchvision:NAME``, or ``hf:FOLDER`` (an image classifier of
            transformers that ``save_pretrained`` wrote).
        weights: A file with a state dict (``.safetensors``, or by ``torch.save``); ``"none"`` for random numbers, where
            a package would fetch its own. Files that would run code are refused.
        classes: As of :func:`~benchmarks.models.opened_model.open_model`.
        outputs: As of :func:`~benchmarks.models.opened_model.open_model`.
        **preparation: As of :func:`~benchmarks.models.opened_model.open_model`.

    Returns:
        The model.

    Raises:
        UserError: The word is of none of the forms, the model or its weights cannot be had, or as of ``open_model``.

    Example:
        >>> model = load_model("torchvision:resnet18", "none", classes=["cat", "dog"], size=(64, 64))
        >>> model.shape, model.classes
        ((3, 64, 64), ('cat', 'dog'))
    """
    if not all(specification.rpartition(":")):
        raise UserError(f"--model {specification}: give {FORMS}.")
    Preparation().changed(**preparation)  # refuses a senseless size before a network of that size is built
    random = weights == RANDOM
    path = None if weights is None or random else Path(weights)
    state = read_state(path) if path is not None else None
    options = {
        "classes": len(classes) if classes else None,
        "size": preparation.get("size"),
        "channels": preparation.get("channels"),
        "random": random,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # random weights are the same ones in each process, and when a run goes on
        network, preprocess, classes, outputs, name = _built(specification, state, options, classes, outputs)
    if state is not None and path is not None:
        load_state(network, state, path)
    return open_model(network, preprocess, classes=classes, outputs=outputs, name=name, **preparation)


def _built(
    specification: str, state: Any, options: dict[str, Any], classes: Any, outputs: Outputs | None
) -> tuple[nn.Module, Any, Any, Outputs | None, str]:
    """Network, preparation, names and kind of the outputs, and its name."""
    preprocess: Any = None
    kind, _, name = specification.rpartition(":")  # a name of timm may hold a colon, a path of Windows too
    head, _, tail = specification.partition(":")
    if head == "timm":
        name, network = tail, from_timm.build(tail, state, options)
    elif head == "torchvision":
        network, preprocess, own = from_torchvision.build(tail, state, options)
        classes = classes or own
    elif head == "hf":
        network, preprocess, own, found = from_transformers.build(Path(tail))
        classes, outputs, name = classes or own, outputs or found, Path(tail).name
    elif kind.endswith(".py"):
        made = from_file.build(Path(kind), name)
        network, preprocess = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
        if not isinstance(network, nn.Module):
            raise UserError(
                f"--model {specification} returns {type(network).__name__}: it must return a torch.nn.Module, or one "
                "and a preprocess function."
            )
    else:
        raise UserError(f"--model {specification}: {head!r} is none of the kinds: give {FORMS}.")
    return network, preprocess, classes, outputs, name
