"""Four images with red and green rectangles, and a network of which each output is the mean of one colour.

A rectangle is dim, and one bright pixel of its colour lies in it or right of it, so the maximum of the colour is known.
On images of 40 x 40 pixels a pixel is 15 x 15 of the frame, and the maximum of pixel p is at frame pixel 15 p + 7: from
the last annotated one it is 8 away in the next pixel, 23 in the one behind, then 38.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

SIDE = 40
CLASSES = ("red", "green", "blue")
#: Image, class, box (left, top, right, bottom, ends exclusive), how far right of its last column the bright pixel is.
OBJECTS = (
    (0, "red", (3, 4, 12, 14), 0),
    (0, "green", (20, 20, 30, 26), 1),
    (1, "red", (5, 5, 15, 15), 2),
    (2, "green", (8, 9, 36, 38), 0),
    (3, "red", (2, 3, 10, 9), 3),
    (3, "green", (22, 24, 31, 33), 0),
)
DISTANCES = {0: 0.0, 1: 8.0, 2: 23.0, 3: 38.0}
"""In the frame, by how far right the bright pixel is."""


class Colours(nn.Module):
    """Scores are the means of red, green and blue; ``colour`` is the layer whose channels these are."""

    def __init__(self) -> None:
        super().__init__()
        self.colour = nn.Conv2d(3, 3, 1, bias=False)
        nn.init.zeros_(self.colour.weight)
        with torch.no_grad():
            self.colour.weight[:, :, 0, 0] = torch.eye(3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.colour(images).mean(dim=(2, 3))


def channel_of_target(model, images, targets):
    """The method whose maps are known: the colour itself."""
    return images[torch.arange(len(images)), targets][:, None]


def write_colours(root: Path) -> Path:
    """Write the images and their annotation in COCO's format; returns its path."""
    pixels = np.zeros((4, SIDE, SIDE, 3), dtype=np.uint8)
    annotations = []
    for number, (image, name, (x1, y1, x2, y2), right) in enumerate(OBJECTS):
        channel = CLASSES.index(name)
        pixels[image, y1:y2, x1:x2, channel] = 90
        pixels[image, (y1 + y2) // 2, x2 - 1 + right, channel] = 250
        box = [x1, y1, x2 - x1, y2 - y1]
        annotations.append({"id": number, "image_id": image, "category_id": channel, "bbox": box, "iscrowd": 0})
    (root / "images").mkdir(parents=True)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(root / "images" / f"{number}.png")
    images = [{"id": i, "file_name": f"{i}.png", "width": SIDE, "height": SIDE} for i in range(len(pixels))]
    categories = [{"id": i, "name": name} for i, name in enumerate(CLASSES)]
    path = root / "instances.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path
