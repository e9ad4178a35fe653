"""Where the canonical body lies on a film.

Canonical coordinates: x = 0 is the midline, positive to the right of the film (the patient's left), y runs from 0 at
the top to 1 at the bottom, and one unit is one side of the film.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from benchmarks.synthetic.strokes import Array, Points

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Frame:
    """Placement of the canonical body on a film of some size."""

    width: int
    height: int
    scale: tuple[float, float] = (1, 1)
    shift: tuple[float, float] = (0, 0)
    angle: float = 0

    def place(self, points: Points | list[tuple[float, float]]) -> Points:
        """Pixels (n, 2) of canonical points (n, 2)."""
        x, y = np.asarray(points, dtype=np.float64).T
        x, y = x * self.scale[0], (y - 0.5) * self.scale[1]
        c, s = np.cos(self.angle), np.sin(self.angle)
        return np.stack(
            [(0.5 + self.shift[0] + c * x - s * y) * self.width, (0.5 + self.shift[1] + s * x + c * y) * self.height],
            axis=1,
        )

    def mask(self, outlines: list[Points]) -> Mask:
        """Pixels inside some canonical outlines."""
        image = Image.new("1", (self.width, self.height))
        for outline in outlines:
            ImageDraw.Draw(image).polygon([tuple(p) for p in self.place(outline).tolist()], fill=1)
        return np.array(image)

    def enlarge(self, coarse: Array) -> Array:
        """A coarse image at the size of the film."""
        image = Image.fromarray(np.asarray(coarse, dtype=np.float32))
        return np.asarray(image.resize((self.width, self.height), Image.Resampling.BICUBIC))
