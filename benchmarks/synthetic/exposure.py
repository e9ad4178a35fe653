"""From attenuation to film."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage

from benchmarks.synthetic.body_frame import Frame, Mask
from benchmarks.synthetic.strokes import Array, to_grey
from benchmarks.synthetic.texture import grain


def expose(rng: np.random.Generator, total: Array, frame: Frame) -> tuple[Array, Mask]:
    """The film that some attenuation leaves: beam, processing, grain, film curve, collimator.

    Args:
        rng: Source of all chance.
        total: Attenuation (height, width), 0 or more.
        frame: Size of the film.

    Returns:
        Grey (height, width) from 0 to 1, and what the collimator let through.
    """
    width, height = frame.width, frame.height
    grey = to_grey(total * rng.uniform(0.7, 1.0))
    veil = np.asarray(Image.fromarray(grey).reduce(8))
    veil = frame.enlarge(ndimage.gaussian_filter(veil, width / 8 * 0.06))
    # Processing sharpens against the surroundings, as digital systems do.
    grey = grey + rng.uniform(0.0, 0.3) * (grey - veil)
    grey = grey + rng.uniform(0.4, 0.85) * 0.012 * grain(rng, width, height)
    grey = np.clip(grey, 0, 1) ** rng.uniform(0.85, 1.5)
    low, high = rng.uniform(0, 0.08), rng.uniform(0.86, 0.98)
    if rng.random() < 0.12:  # a flat film
        low, high = rng.uniform(0.1, 0.25), rng.uniform(0.65, 0.8)
    grey = low + (high - low) * grey
    exposed = np.ones((height, width), dtype=bool)
    if rng.random() < 0.35:
        # Collimated edges: usually one or two, often a little askew.
        rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
        tilt = rng.normal(0, 0.012)
        for axis, far in ((columns, False), (columns, True), (rows, False), (rows, True)):
            if rng.random() < 0.45:
                edge = abs(rng.normal(0, 0.025)) + 0.005
                other, side, long = (rows, width, height) if axis is columns else (columns, height, width)
                line = axis + tilt * (other - long / 2) * (1 if axis is columns else -1)
                exposed &= (line < side * (1 - edge)) if far else (line > side * edge)
        soft_edge = ndimage.gaussian_filter(exposed.astype(np.float32), 0.8, truncate=3)
        grey = grey * soft_edge + rng.uniform(0, 0.04) * (1 - soft_edge)
    return np.clip(grey, 0, 1).astype(np.float32), exposed
