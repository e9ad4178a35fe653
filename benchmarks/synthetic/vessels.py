"""Pulmonary vessels: trees that leave the hila, branch, thin out and fade."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from benchmarks.synthetic.body_frame import Frame
from benchmarks.synthetic.strokes import Array, Points, Stroke, draw, ellipse

STEPS = 6
"""Straight pieces of a vessel."""

TRUNKS = 15
"""Vessels that leave a hilum."""

BRANCHES = 3
"""Vessels that leave a vessel that is wide enough to branch."""


def draw_vessels(
    total: Array, rng: np.random.Generator, frame: Frame, lungs: npt.NDArray[np.bool_], strength: float
) -> None:
    """Add both hila and their trees to an attenuation image, within the lungs."""
    layer = np.zeros_like(total)
    sides = np.repeat([-1, 1], TRUNKS)
    hila = np.where(sides[:, None] < 0, (-0.08, 0.42), (0.09, 0.40)) + np.repeat(
        rng.normal(0, 0.008, (2, 2)), TRUNKS, 0
    )
    blobs = [
        Stroke(frame.place(ellipse(rx, ry, x, y)), mu)
        for rx, ry, (x, y), mu in zip(
            rng.uniform(0.006, 0.017, 2 * TRUNKS),
            rng.uniform(0.008, 0.028, 2 * TRUNKS),
            hila + rng.normal(0, (0.016, 0.035), hila.shape),
            rng.uniform(0.06, 0.2, 2 * TRUNKS),
            strict=True,
        )
    ]
    draw(layer, blobs, blur=0.005 * frame.width, supersample=1)
    # Few of the trunks rise, most fan out and down.
    low, high = np.where(np.arange(2 * TRUNKS) % TRUNKS < 0.4 * TRUNKS, [[-1.55], [-0.3]], [[-0.3], [1.5]])
    angle = rng.uniform(low, high)
    start = hila + np.stack([np.zeros_like(angle), 0.02 * angle], axis=1) + rng.normal(0, (0.014, 0.02), hila.shape)
    width, length = rng.uniform(0.005, 0.0105, 2 * TRUNKS), rng.uniform(0.16, 0.34, 2 * TRUNKS)
    levels: list[list[Stroke]] = []
    while len(start):
        # A slow bend of its own and a little wandering.
        turn = angle[:, None] + rng.normal(0, 0.09, (len(start), 1)) * np.arange(STEPS)
        turn += rng.normal(0, 0.13, (len(start), STEPS)).cumsum(axis=1)
        hops = np.stack([sides[:, None] * np.cos(turn), np.sin(turn)], axis=2) * (length / STEPS)[:, None, None]
        path = start[:, None] + np.concatenate([np.zeros((len(start), 1, 2)), hops.cumsum(axis=1)], axis=1)
        taper = 1 - 0.8 * np.arange(STEPS) / STEPS
        levels.append(_strokes(frame, path, width[:, None] * taper))
        parent = np.repeat(np.flatnonzero(width > 0.0024), BRANCHES)
        at = rng.integers(1, STEPS, len(parent))
        sides, start = sides[parent], path[parent, at]
        angle = turn[parent, at - 1] + rng.choice([-1, 1], len(parent)) * rng.uniform(0.3, 0.85, len(parent))
        width = width[parent] * taper[at - 1] * rng.uniform(0.5, 0.75, len(parent))
        length = length[parent] * rng.uniform(0.3, 0.65, len(parent))
    # Thick ones last, for they replace the thin ones that they cross.
    vessels = [stroke for level in reversed(levels) for stroke in level]
    draw(layer, vessels, blur=0.0016 * frame.width, supersample=2)
    total += strength * layer * lungs


def _strokes(frame: Frame, path: Points, width: Points) -> list[Stroke]:
    """Strokes of vessels (n, STEPS + 1, 2) of piecewise width (n, STEPS), in canonical units."""
    pixels = frame.place(path.reshape(-1, 2)).reshape(path.shape)
    attenuation = np.minimum(20 * width, 0.22).tolist()
    gauge = np.maximum(width * frame.width, 0.5).tolist()
    return [
        Stroke(pixels[v, k : k + 2], attenuation[v][k], gauge[v][k]) for v in range(len(path)) for k in range(STEPS)
    ]
