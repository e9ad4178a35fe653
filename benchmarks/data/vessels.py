"""Pulmonary vessels: trees that leave the hila, branch, thin out and fade."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from benchmarks.data.skeleton import Placement
from benchmarks.data.strokes import Array, Points, Stroke, draw, ellipse

STEPS = 7
"""Straight pieces of a vessel."""


def draw_vessels(
    total: Array, rng: np.random.Generator, frame: Placement, lungs: npt.NDArray[np.bool_], strength: float
) -> None:
    """Add both hila and their trees to an attenuation image, within the lungs."""
    unit = frame.width
    layer = np.zeros_like(total)
    for sign, hilum in ((-1, (-0.08, 0.42)), (1, (0.09, 0.40))):
        x, y = hilum[0] + rng.normal(0, 0.006), hilum[1] + rng.normal(0, 0.012)
        blobs = [
            Stroke(frame.place(ellipse(rx, ry, bx, by)), mu)
            for rx, ry, bx, by, mu in zip(
                rng.uniform(0.006, 0.017, 14),
                rng.uniform(0.008, 0.028, 14),
                x + rng.normal(0, 0.016, 14),
                y + rng.normal(0, 0.035, 14),
                rng.uniform(0.06, 0.2, 14),
                strict=True,
            )
        ]
        draw(layer, blobs, blur=0.005 * unit, supersample=1)
        # Few of the trunks rise, most fan out and down.
        angle = np.concatenate([rng.uniform(-1.55, -0.3, 6), rng.uniform(-0.3, 1.5, 10)])
        start = np.stack([x + rng.normal(0, 0.014, 16), y + 0.02 * angle + rng.normal(0, 0.02, 16)], axis=1)
        _grow(layer, rng, frame, sign, start, angle, rng.uniform(0.005, 0.0105, 16), rng.uniform(0.16, 0.34, 16))
    total += strength * layer * lungs


def _grow(
    layer: Array,
    rng: np.random.Generator,
    frame: Placement,
    sign: int,
    start: Points,
    angle: Points,
    width: Points,
    length: Points,
) -> None:
    """Some vessels, then their branches; an angle of 0 points outwards, of pi / 2 down."""
    while len(start):
        # A slow bend of its own and a little wandering.
        turn = angle[:, None] + rng.normal(0, 0.09, (len(start), 1)) * np.arange(STEPS)
        turn += rng.normal(0, 0.13, (len(start), STEPS)).cumsum(axis=1)
        hops = np.stack([sign * np.cos(turn), np.sin(turn)], axis=2) * (length / STEPS)[:, None, None]
        path = start[:, None] + np.concatenate([np.zeros((len(start), 1, 2)), hops.cumsum(axis=1)], axis=1)
        pixels = frame.place(path.reshape(-1, 2)).reshape(path.shape)
        taper = 1 - 0.8 * np.arange(STEPS) / STEPS
        strokes = [
            Stroke(
                pixels[v, k : k + 2],
                min(20 * width[v] * taper[k], 0.22),
                max(width[v] * taper[k], 0.0012) * frame.width,
            )
            for v in range(len(start))
            for k in range(STEPS)
        ]
        draw(layer, strokes, blur=0.0016 * frame.width, supersample=2)
        bears = np.repeat(np.flatnonzero(width > 0.0024), 4)
        at = rng.integers(1, STEPS, len(bears))
        start = path[bears, at]
        angle = turn[bears, at - 1] + rng.choice([-1, 1], len(bears)) * rng.uniform(0.3, 0.85, len(bears))
        width = width[bears] * taper[at - 1] * rng.uniform(0.5, 0.75, len(bears))
        length = length[bears] * rng.uniform(0.3, 0.65, len(bears))
