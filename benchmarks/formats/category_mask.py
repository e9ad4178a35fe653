"""Where the objects of one category lie, as a mask on a frame."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from benchmarks.data.annotations import Shape, rasterize
from benchmarks.formats.labelled import LabelledImage, LabelledObject
from benchmarks.formats.run_lengths import RunLengths


def category_mask(
    image: LabelledImage, category: str, frame: tuple[int, int], truth: str = "box"
) -> npt.NDArray[np.bool_]:
    """Mask of the pixels of one category, on an image that is stretched onto a frame.

    Args:
        image: With its objects; to leave some out, give it without them (``dataclasses.replace``).
        category: Whose objects count, crowds and difficult ones too.
        frame: Height and width of the frame in pixels; those of the image for its own pixels.
        truth: ``"box"`` for the bounding box of each object, ``"shape"`` for its outline, see
            :func:`~benchmarks.data.annotations.rasterize`.

    Returns:
        Boolean array (frame height, frame width); all false where the image has no such object.

    Raises:
        ValueError: Unknown ``truth``.

    Example:
        >>> from pathlib import Path
        >>> cat = LabelledObject("cat", (Shape("rectangle", ((20, 10), (40, 30))),))
        >>> image = LabelledImage("1", Path("1.png"), (cat,), ("cat",), (80, 40), "cats.json, image 1")
        >>> category_mask(image, "cat", frame=(4, 4)).astype(int)
        array([[0, 0, 0, 0],
               [0, 1, 0, 0],
               [0, 1, 0, 0],
               [0, 0, 0, 0]])
    """
    mask = np.zeros(frame, dtype=bool)
    for found in image.objects:
        if found.category == category:
            mask |= object_mask(found, image.size, frame, truth)
    return mask


def object_mask(
    found: LabelledObject, size: tuple[int, int], frame: tuple[int, int], truth: str = "box"
) -> npt.NDArray[np.bool_]:
    """Mask of one object.

    Args:
        found: The object.
        size: Width and height of its image in pixels.
        frame: Height and width of the frame in pixels.
        truth: As in ``category_mask``.

    Returns:
        Boolean array (frame height, frame width), with at least one pixel marked.

    Raises:
        ValueError: Unknown ``truth``.

    Example:
        >>> line = LabelledObject("line", (RunLengths((0, 2, 4), height=2, width=3),))
        >>> object_mask(line, (3, 2), frame=(2, 3), truth="shape").astype(int)
        array([[1, 0, 0],
               [1, 0, 0]])
    """
    x1, y1, x2, y2 = found.box
    outlines = [shape for shape in found.shapes if isinstance(shape, Shape)]
    if truth == "box":
        outlines = [Shape("rectangle", ((x1, y1), (x2, y2)))]
    mask = rasterize(outlines, *size, frame=frame, truth=truth)
    if truth == "shape":
        for shape in found.shapes:
            if isinstance(shape, RunLengths):
                mask |= _sampled(shape, frame)
    return mask


def _sampled(runs: RunLengths, frame: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """The frame's pixels whose centre lies in a marked pixel, as for outlines."""
    rows, columns = (
        ((np.arange(target) + 0.5) * source / target).astype(int)
        for target, source in zip(frame, (runs.height, runs.width), strict=True)
    )
    mask: npt.NDArray[np.bool_] = runs.mask[np.ix_(rows, columns)]
    if not mask.any():  # thinner than the grid: keep the middle, so that no object is lost
        x1, y1, x2, y2 = runs.box
        row, column = (y1 + y2) / 2 * frame[0] / runs.height, (x1 + x2) / 2 * frame[1] / runs.width
        mask[min(math.floor(row), frame[0] - 1), min(math.floor(column), frame[1] - 1)] = True
    return mask
