"""Image classifiers of transformers in a folder, with their image processor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from benchmarks.models.preparation import Preparation
from benchmarks.run.errors import UserError


def build(folder: Path) -> tuple[nn.Module, Preparation, tuple[str, ...], str]:
    """Load a classifier that ``save_pretrained`` wrote.

    Args:
        folder: With ``config.json``, weights and ``preprocessor_config.json``. Code in it is never run.

    Returns:
        The network, what its processor does (but for cropping), the names of its outputs, and ``"softmax"`` or
        ``"sigmoid"`` by its configuration.

    Raises:
        UserError: The package is missing, or the folder holds no image classifier.
    """
    if not (folder / "config.json").is_file():
        raise UserError(f"hf:{folder} holds no config.json: give a folder that save_pretrained wrote.")
    try:
        from transformers import AutoImageProcessor, AutoModelForImageClassification
    except ImportError:
        raise UserError(f"hf:{folder} needs the package transformers: pip install transformers.") from None
    try:
        network = AutoModelForImageClassification.from_pretrained(folder, local_files_only=True).float()
        processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # what the package raises on a folder that is not whole
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"hf:{folder} cannot be loaded as an image classifier ({reason}).") from None
    config = network.config
    names = tuple(str(config.id2label[i]) for i in range(len(config.id2label)))
    several = config.problem_type == "multi_label_classification" or len(names) == 1
    return network, _preparation(processor, config), names, "sigmoid" if several else "softmax"


def _preparation(processor: Any, config: Any) -> Preparation:
    def asked(name: str) -> Any:
        return getattr(processor, name, None)

    crop = asked("crop_size") if asked("do_center_crop") else None
    size = crop or asked("size") or getattr(config, "image_size", None) or 224
    scale = float(asked("rescale_factor") or 1 / 255) * 255 if asked("do_rescale") is not False else 255.0
    normalises = asked("do_normalize") is not False
    resampling = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
    return Preparation(
        _sides(size),
        tuple(asked("image_mean") or (0.0,)) if normalises else (0.0,),
        tuple(asked("image_std") or (1.0,)) if normalises else (1.0,),
        getattr(config, "num_channels", 3),
        (0.0, scale),
        resampling.get(int(asked("resample") or 2), "bilinear"),
    )


def _sides(size: Any) -> tuple[int, int]:
    """Height and width of what a processor calls a size."""
    if isinstance(size, int):
        return size, size
    known = dict(size)
    if "height" in known:
        return int(known["height"]), int(known["width"])
    side = int(known.get("shortest_edge") or known.get("longest_edge") or 224)
    return side, side
