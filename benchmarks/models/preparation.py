"""How an image becomes a network's input: its size, its channels, the range and normalisation of its values."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.run.config import MOST_PIXELS, flag
from benchmarks.run.errors import UserError

RESAMPLINGS = {way.name.lower(): way for way in Image.Resampling}
SHORTER, STRETCH = "shorter", "stretch"


def option(name: str) -> str:
    """The command line's spelling of an attribute of :class:`Preparation`.

    Args:
        name: Of the attribute.

    Returns:
        An option.

    Example:
        >>> option("size"), option("value_range")
        ('--image-size', '--value-range')
    """
    return "--image-size" if name == "size" else flag(name)


@dataclass(frozen=True)
class Preparation:
    """A function from an image to a network's input.

    The whole image is resized, never cropped: what is cropped away cannot be pointed at.

    Attributes:
        size: Height and width of the input in pixels.
        mean: Subtracted from each channel, in units of ``value_range``.
        std: Each channel is divided by it, in units of ``value_range``.
        channels: 3 for colour, 1 for grey.
        value_range: What black and white become before mean and deviation count.
        resampling: ``"nearest"``, ``"bilinear"``, ``"bicubic"`` or another of Pillow's.
        resize: ``"stretch"`` onto ``size``, or the ``"shorter"`` side to the smaller number of ``size``, the aspect
            kept, as TorchRay does.

    Example:
        >>> grey = Preparation((4, 4), channels=1, value_range=(-1024.0, 1024.0))
        >>> image = grey(Image.new("RGB", (8, 6), "white"))
        >>> tuple(image.shape), float(image.max())
        ((1, 4, 4), 1024.0)
    """

    size: tuple[int, int] = (224, 224)
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    channels: int = 3
    value_range: tuple[float, float] = (0.0, 1.0)
    resampling: str = "bilinear"
    resize: str = STRETCH

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            UserError: They fit no image.
        """
        if self.channels not in (1, 3):
            raise UserError(f"--channels is {self.channels}: an image has 1 (grey) or 3 (colour).")
        if min(self.size) < 1:
            raise UserError(f"--image-size is {min(self.size)}: it must be at least 1.")
        if max(self.size) > MOST_PIXELS:
            raise UserError(f"--image-size is {max(self.size)}: it must be at most {MOST_PIXELS}.")
        for name in ("mean", "std", "value_range"):
            for number in getattr(self, name):
                if not math.isfinite(number):
                    raise UserError(f"{flag(name)} has the number {number}: give finite ones.")
        for name, values in (("--mean", self.mean), ("--std", self.std)):
            if len(values) not in (1, self.channels):
                raise UserError(f"{name} has {len(values)} numbers: give 1, or {self.channels}, one a channel.")
        if min(self.std) <= 0:
            raise UserError(f"--std is {self.std}: it must be above 0.")
        if len(self.value_range) != 2:
            count = len(self.value_range)
            raise UserError(f"--value-range has {count} number{'s' * (count != 1)}: give 2, of black and of white.")
        if self.value_range[0] >= self.value_range[1]:
            raise UserError(f"--value-range is {self.value_range}: its first number must be the smaller one.")
        if self.resize not in (STRETCH, SHORTER):
            raise UserError(f"--resize is {self.resize!r}: choose {STRETCH} or {SHORTER}.")

    def __call__(self, image: Image.Image) -> Tensor:
        """Prepare an image, float ``(channels, H, W)``."""
        resized = image.convert("L" if self.channels == 1 else "RGB").resize(
            self._target(image.size), RESAMPLINGS.get(self.resampling, Image.Resampling.BILINEAR)
        )
        pixels = torch.from_numpy(np.array(resized)).float().view(resized.height, resized.width, -1).permute(2, 0, 1)
        low, high = self.value_range
        values = pixels / 255 * (high - low) + low
        mean, std = (values.new_tensor(numbers).view(-1, 1, 1) for numbers in (self.mean, self.std))
        return (values - mean) / std

    def _target(self, size: tuple[int, int]) -> tuple[int, int]:
        """Width and height of an image after resizing."""
        if self.resize == STRETCH:
            return self.size[1], self.size[0]
        scale = min(self.size) / min(size)
        width, height = (max(1, round(side * scale)) for side in size)
        return width, height

    @property
    def same_size(self) -> bool:
        """Whether all inputs have one size, so that they fit into a batch."""
        return self.resize == STRETCH

    def changed(self, **settings: Any) -> Preparation:
        """Change some settings.

        Args:
            **settings: By the names of the attributes; those that are None are left as they are.

        Returns:
            The changed preparation. Of three channels that become one, mean and deviation are the first one's.

        Raises:
            UserError: The numbers fit no image.
        """
        given = {name: value for name, value in settings.items() if value is not None}
        if given.get("channels", self.channels) == 1 and self.channels == 3:  # one channel of what three had
            middle = {name: getattr(self, name)[:1] for name in ("mean", "std")}
            given = {**middle, **given}
        return replace(self, **given)
