"""Random fields: the cloudiness of tissue and the grain of the film."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage

from benchmarks.data.strokes import Array


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
    field = np.zeros((height, width), dtype=np.float32)
    cells, amplitude = coarsest, 1.0
    while cells * 2 < width:
        shape = (max(cells * height // width, 2) + 2, cells + 2)
        octave = Image.fromarray(rng.standard_normal(shape, dtype=np.float32))
        field += amplitude * np.asarray(octave.resize((width, height), Image.Resampling.BICUBIC))
        cells, amplitude = cells * 2, amplitude * roughness
    return field / max(float(field.std()), 1e-6)


def grain(rng: np.random.Generator, width: int, height: int) -> Array:
    """Quantum noise as a detector shows it: slightly correlated, standard deviation 1."""
    noise = ndimage.gaussian_filter(
        rng.standard_normal((height, width), dtype=np.float32), rng.uniform(0.4, 0.9), truncate=2
    )
    return noise / max(float(noise.std()), 1e-6)
