"""Random changes of training films, drawn for each film and epoch from the seed alone.

Nothing here depends on the order of films, on workers or on devices, so that a resumed training sees the very films
that an uninterrupted one sees.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.run.config import Augmentation


def draw(seed: int, epoch: int, indices: Tensor) -> Tensor:
    """Draw ten uniform numbers for each film.

    Args:
        seed: Seed of the run.
        epoch: Epoch, from zero.
        indices: Positions of the films in their split, shape (N,), integer.

    Returns:
        Numbers in [0, 1), shape (N, 10), float32, on the CPU.
    """
    rows = [np.random.default_rng((seed, epoch, int(index))).random(10, dtype=np.float32) for index in indices]
    return torch.from_numpy(np.stack(rows))


def augment(films: Tensor, draws: Tensor, strength: Augmentation) -> Tensor:
    """Flip, jitter and warp grey films as torchvision's flip, ``ColorJitter`` and ``RandomAffine`` do.

    Saturation and hue, the other half of ``ColorJitter``, leave a grey film as it is and are left out.

    Args:
        films: Values in [0, 1], shape (N, 1, S, S), float.
        draws: Numbers of :func:`draw`, shape (N, 10).
        strength: How strong each change may be.

    Returns:
        Changed films, same shape; what comes from outside a film is black.
    """
    draws = draws.to(films)
    films = _jitter(films, draws[:, :3], strength)
    grid = F.affine_grid(_inverse_affine(draws[:, 3:], strength), list(films.shape), align_corners=False)
    return F.grid_sample(films, grid, align_corners=False)


def _jitter(films: Tensor, draws: Tensor, strength: Augmentation) -> Tensor:
    column = draws.reshape(-1, 3, 1, 1, 1).unbind(1)
    bright = 1 + (2 * column[0] - 1) * strength.brightness
    contrast = 1 + (2 * column[1] - 1) * strength.contrast
    bright_first = (films * bright).clamp(0, 1)
    bright_first = _contrast(bright_first, contrast)
    contrast_first = (_contrast(films, contrast) * bright).clamp(0, 1)
    return torch.where(column[2] < 0.5, bright_first, contrast_first)


def _contrast(films: Tensor, factor: Tensor) -> Tensor:
    mean = films.mean(dim=(1, 2, 3), keepdim=True)
    return (mean + factor * (films - mean)).clamp(0, 1)


def _inverse_affine(draws: Tensor, strength: Augmentation) -> Tensor:
    """Maps from output to input coordinates in [-1, 1], shape (N, 2, 3): flip, rotation, shear, scale and shift."""
    signed = 2 * draws - 1
    angle = torch.deg2rad(signed[:, 0] * strength.rotate)
    shear = torch.tan(torch.deg2rad(signed[:, 1] * strength.shear))
    size = 1 / (1 + signed[:, 2] * strength.scale)
    shift = 2 * strength.translate * signed[:, 3:5]
    flip = torch.where(draws[:, 5] < 0.5, -1.0, 1.0)
    cos, sin = size * angle.cos(), size * angle.sin()
    first_row = torch.stack([flip * (cos - sin * shear), flip * (sin + cos * shear)], 1)
    linear = torch.stack([first_row, torch.stack([-sin, cos], 1)], 1)
    return torch.cat([linear, -linear @ shift.unsqueeze(2)], dim=2)
