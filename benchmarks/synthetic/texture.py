"""Random fields: the cloudiness of tissue and the grain of the film."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage

from benchmarks.synthetic.strokes import Array


def fractal(rng: np.random.Generator, width: int, height: int, *, coarsest: int, roughness: float) -> Array:
    """Cloud of standard deviation 1: octaves from ``coarsest`` cells across to two pixels a cell.

    Args:
        rng: Source of chance.
        width: Width in pixels.
        height: Height in pixels.
        coarsest: Cells across the film of the first octave.
        roughness: Amplitude of an octave relative to the one before.

    Returns:
        float32 (height, width).
    """
    octaves = [coarsest]
    while octaves[-1] * 4 < width:
        octaves.append(octaves[-1] * 2)
    field = Image.new("F", (1, 1))
    for power, cells in enumerate([*octaves, width]):
        shape = (height, width) if cells == width else (max(cells * height // width, 2), cells)
        finer = np.asarray(field.resize(shape[::-1], Image.Resampling.BICUBIC))
        if cells < width:  # what is finer than two pixels is grain, not tissue
            finer = finer + roughness**power * rng.standard_normal(shape, dtype=np.float32)
        field = Image.fromarray(finer)
    cloud = np.asarray(field, dtype=np.float32)
    return cloud / max(float(cloud.std()), 1e-6)


def grain(rng: np.random.Generator, width: int, height: int) -> Array:
    """Quantum noise as a detector shows it: slightly correlated, standard deviation 1."""
    noise = ndimage.gaussian_filter(
        rng.standard_normal((height, width), dtype=np.float32), rng.uniform(0.4, 0.8), truncate=2
    )
    result: Array = noise / max(float(noise.std()), 1e-6)
    return result
