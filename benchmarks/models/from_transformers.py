"""Image classifiers of transformers in a folder, with their image processor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from benchmarks.models.preparation import Preparation
from benchmarks.run.choices import Outputs
from benchmarks.run.errors import UserError


def build(folder: Path) -> tuple[nn.Module, Preparation, tuple[str, ...], Outputs]:
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
        network, loading = AutoModelForImageClassification.from_pretrained(
            folder, local_files_only=True, output_loading_info=True
        )
        processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # what the package raises on a folder that is not whole
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"hf:{folder} cannot be loaded as an image classifier ({reason}).") from None
    if missing := sorted(loading["missing_keys"]):  # which were drawn at random
        raise UserError(
            f"hf:{folder} lacks {missing[0]!r} ({len(missing)} such), as a network does that was not trained as a "
            "classifier: give the folder of one that was."
        )
    network = network.float()
    config = network.config
    names = tuple(str(config.id2label[i]) for i in range(len(config.id2label)))
    several = config.problem_type == "multi_label_classification" or len(names) == 1
    return network, _preparation(processor, config, folder), names, "sigmoid" if several else "softmax"


def _preparation(processor: Any, config: Any, folder: Path) -> Preparation:
    def asked(name: str) -> Any:
        return getattr(processor, name, None)

    crop = asked("crop_size") if asked("do_center_crop") else None
    size = crop or asked("size") or getattr(config, "image_size", None) or 224
    resampling = Image.Resampling.BILINEAR if asked("resample") is None else Image.Resampling(int(asked("resample")))
    channels = getattr(config, "num_channels", 3)
    return Preparation(
        _sides(size),
        *_mean_and_deviation(processor, channels, folder),
        channels,
        resampling=resampling.name.lower(),
    )


def _mean_and_deviation(processor: Any, channels: int, folder: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """What a processor makes of values from 0 to 1, seen from what it makes of images of one colour.

    How it is told to scale them has many names; here only what comes counts.

    Raises:
        UserError: It does something else to colours, such as swapping them.
    """

    def of_colour(*colour: int) -> Tensor:
        shades = colour[:channels] if channels > 1 else colour[0]
        image = Image.new("RGB" if channels > 1 else "L", (64, 64), shades)
        prepared = torch.from_numpy(np.asarray(processor(images=image)["pixel_values"][0], dtype=np.float64))
        return prepared[..., prepared.shape[-2] // 2, prepared.shape[-1] // 2]  # padded or cropped, the middle is there

    try:
        black, white, mixed = of_colour(0, 0, 0), of_colour(255, 255, 255), of_colour(51, 102, 204)
    except Exception as error:  # what the package raises
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"hf:{folder}: its image processor fails on an image of one colour ({reason}).") from None
    slope = white - black
    expected = black + slope * slope.new_tensor((0.2, 0.4, 0.8))[:channels]
    if not bool((slope > 0).all()) or not torch.allclose(mixed, expected, rtol=0, atol=1e-3 * float(slope.max())):
        raise UserError(
            f"hf:{folder}: its {type(processor).__name__} does more to colours than to scale each, as to swap "
            "red and blue, which is not done here: give --model FILE.py:FACTORY, whose network does that first."
        )
    mean, deviation = (tuple(float(f"{of:.6g}") for of in numbers.tolist()) for numbers in (-black / slope, 1 / slope))
    return mean, deviation


def _sides(size: Any) -> tuple[int, int]:
    """Height and width of what a processor calls a size."""
    if isinstance(size, int):
        return size, size
    known = dict(size)
    if "height" in known:
        return int(known["height"]), int(known["width"])
    side = int(known.get("shortest_edge") or known.get("longest_edge") or 224)
    return side, side
