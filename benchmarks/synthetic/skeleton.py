"""Bones of the chest: ribs, clavicles, scapulae, upper arms, spine with the airway before it."""

from __future__ import annotations

import numpy as np

from benchmarks.synthetic.body_frame import Frame
from benchmarks.synthetic.strokes import Array, Points, Stroke, draw, ellipse, ribbon, smooth

WALL = ((0.13, 0.16, 0.21, 0.27, 0.42, 0.58, 0.74, 0.9), (0.13, 0.19, 0.245, 0.295, 0.35, 0.382, 0.395, 0.395))
"""Inner chest wall: y, and its distance from the midline."""


def draw_ribs(total: Array, rng: np.random.Generator, frame: Frame, wide: float, strength: float) -> None:
    """Ten pairs of ribs: behind, falling outwards from the spine; in front, falling inwards, and fainter."""
    top, spacing = rng.normal(0.105, 0.008), rng.normal(0.069, 0.003)
    fall, rise = rng.normal(0.10, 0.02), rng.normal(0.15, 0.02)
    thick = rng.normal(0.024, 0.002) * frame.width
    back: list[Stroke] = []
    front: list[Stroke] = []
    for sign in (-1, 1):
        for k in range(10):
            y = top + spacing * k + rng.normal(0, 0.003)
            drop = fall * (0.4 + 0.1 * k)
            reach = wide * np.interp(y + drop, *WALL) + 0.006
            # Behind: up from the spine first, then around the wall; in front: down again.
            theta = np.linspace(0.1, 1.8, 34)
            bow = y + 0.012 - 0.022 * np.sin(2 * theta) + drop * (1 - np.cos(theta))
            curve = frame.place(np.stack([sign * reach * np.sin(theta), bow], axis=1))
            back += _rib(curve, thick * rng.normal(1, 0.05), 0.115 * strength * rng.normal(1, 0.1))
            if k < 7:
                theta = np.linspace(1.5, 2.45, 26)
                bow = y + 0.012 + drop - rise * (0.7 + 0.06 * k) * np.cos(theta)
                curve = frame.place(np.stack([sign * reach * np.sin(theta), bow], axis=1))
                front += _rib(curve, 1.15 * thick, 0.07 * strength * rng.normal(1, 0.15))
    draw(total, back, blur=0.0018 * frame.width, supersample=2)
    draw(total, front, blur=0.0026 * frame.width, supersample=2)


def _rib(curve: Points, width: float, attenuation: float) -> list[Stroke]:
    """A tube: marrow between two brighter cortical lines, the lower one sharper."""
    half = len(curve)
    outline = ribbon(curve, width * np.linspace(0.85, 1.1, half))
    return [
        Stroke(outline, attenuation),
        Stroke(outline[:half], 1.9 * attenuation, width * 0.16),
        Stroke(outline[half:], 1.7 * attenuation, width * 0.16),
    ]


def draw_shoulders(total: Array, rng: np.random.Generator, frame: Frame, shoulder: float, strength: float) -> None:
    """Clavicles, scapulae and humeri; ``shoulder`` is the height of the shoulders' outline."""
    lift = shoulder - 0.16
    unit = frame.width
    out = rng.normal(0, 0.015)
    for sign in (-1, 1):
        wobble = rng.normal(0, 0.006)
        mirror = (sign, 1)

        def placed(
            points: list[tuple[float, float]] | Points, mirror: tuple[int, int] = mirror, y: float = lift + wobble
        ) -> Points:
            return frame.place(np.asarray(points) * mirror + (0, y))

        clavicle = smooth(
            [(0.03, 0.215 - 0.7 * lift), (0.1, 0.195 - 0.5 * lift), (0.2, 0.172), (0.3, 0.148), (0.38, 0.155)], 40
        )
        widths = np.interp(np.arange(40), [0, 8, 20, 39], [0.032, 0.022, 0.018, 0.022]) * unit
        outline = ribbon(placed(clavicle), widths)
        bone = [
            Stroke(outline, 0.16 * strength),
            Stroke(outline[:40], 0.26 * strength, 0.004 * unit),
            Stroke(outline[40:], 0.26 * strength, 0.004 * unit),
        ]
        draw(total, bone, blur=0.002 * unit, supersample=2)
        blade = smooth(
            [
                (0.36 + out, 0.19),
                (0.3 + out, 0.21),
                (0.29 + out, 0.3),
                (0.345 + out, 0.46),
                (0.385 + out, 0.42),
                (0.40 + out, 0.27),
            ],
            60,
            closed=True,
        )
        draw(
            total,
            [Stroke(placed(blade), 0.08 * strength), Stroke(placed(blade[10:50]), 0.22 * strength, 0.004 * unit)],
            blur=0.003 * unit,
            supersample=2,
        )
        spine_of_scapula = smooth([(0.27 + out, 0.225), (0.34 + out, 0.17), (0.42 + out, 0.15)], 20)
        draw(total, [Stroke(placed(spine_of_scapula), 0.14 * strength, 0.014 * unit)], blur=0.003 * unit, supersample=2)
        x = 0.44 + out
        humerus = smooth([(x, 0.2), (x + 0.05, 0.33), (x + 0.10, 0.5), (x + 0.16, 0.8)], 30)
        outline = ribbon(placed(humerus), np.interp(np.arange(30), [0, 5, 12, 29], [0.055, 0.05, 0.04, 0.038]) * unit)
        head = frame.place(ellipse(0.042, 0.042, sign * x, 0.185 + lift + wobble))
        arm = [
            Stroke(outline, 0.17 * strength),
            Stroke(head, 0.2 * strength),
            Stroke(outline[6:30], 0.34 * strength, 0.006 * unit),
            Stroke(outline[30:54], 0.34 * strength, 0.006 * unit),
        ]
        draw(total, arm, blur=0.003 * unit, supersample=2)


def draw_spine(total: Array, rng: np.random.Generator, frame: Frame) -> None:
    """Vertebrae through the mediastinum, and the dark airway down to the carina."""
    unit = frame.width
    bend = rng.normal(0, 0.008)
    strength = rng.uniform(0.1, 0.24)
    bodies: list[Stroke] = []
    y, k = -0.05, 0
    while y < 1.05:
        step = 0.04 + 0.0012 * k
        half = 0.036 + 0.0008 * k
        x = bend * np.sin(y * 4)
        box = [
            (x - half, y),
            (x, y + 0.002),
            (x + half, y),
            (x + half * 0.88, y + step / 2),
            (x + half, y + step * 0.86),
        ]
        box += [(x, y + step * 0.83), (x - half, y + step * 0.86), (x - half * 0.88, y + step / 2)]
        outline = smooth(np.array(box), 24, closed=True)
        bodies.append(Stroke(frame.place(outline), strength))
        bodies.append(Stroke(frame.place(outline), 1.9 * strength, 0.003 * unit))
        pedicles = [ellipse(0.007, 0.009, x + side * half * 0.6, y + step * 0.4) for side in (-1, 1)]
        bodies += [Stroke(frame.place(pedicle), 2.0 * strength, 0.003 * unit) for pedicle in pedicles]
        bodies.append(Stroke(frame.place(ellipse(0.005, 0.011, x, y + step * 0.75)), 2.0 * strength))
        y, k = y + step, k + 1
    draw(total, bodies, blur=0.0035 * unit, supersample=2)
    shift = rng.normal(0.004, 0.005)
    carina = rng.normal(0.365, 0.012)
    windpipe = frame.place(smooth([(shift * 0.3, -0.1), (shift * 0.5, 0.1), (-shift, 0.25), (-shift, carina)], 30))
    air = [Stroke(windpipe, -0.34, 0.034 * unit)]
    for sign, length in ((-1, 0.06), (1, 0.085)):
        branch = smooth(
            [(-shift, carina - 0.01), (sign * length * 0.6, carina + 0.045), (sign * length, carina + 0.075)], 12
        )
        air.append(Stroke(frame.place(branch), -0.22, 0.024 * unit))
    draw(total, air, blur=0.004 * unit, supersample=2)
