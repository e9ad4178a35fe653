"""A frontal chest film without anything foreign on it: build, breath, exposure, grain.

The body is built up in attenuation, in the canonical coordinates of ``Frame``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from benchmarks.synthetic.body_frame import Frame, Mask
from benchmarks.synthetic.exposure import expose
from benchmarks.synthetic.skeleton import draw_ribs, draw_shoulders, draw_spine
from benchmarks.synthetic.strokes import Array, Points, Stroke, draw, ellipse, smooth
from benchmarks.synthetic.texture import fractal
from benchmarks.synthetic.vessels import draw_vessels


@dataclass(frozen=True)
class Film:
    """A film and what one must know to lay things on it.

    Attributes:
        grey: float32 (height, width), 0 black to 1 white.
        lungs: bool (height, width), the exposed lung field, with what heart and diaphragm cover.
        exposed: bool (height, width), what the collimator let through.
        frame: Where the body lies.
    """

    grey: Array
    lungs: Mask
    exposed: Mask
    frame: Frame


def draw_anatomy(rng: np.random.Generator, width: int, height: int) -> Film:
    """A patient who differs from every other in build, posture, exposure, and sometimes in health.

    Args:
        rng: Source of all chance.
        width: Width of the film in pixels.
        height: Height of the film in pixels.

    Returns:
        The film.
    """
    size = rng.normal(1.02, 0.06)
    scale = (size * rng.normal(1, 0.05), size * rng.normal(1.0, 0.05))
    frame = Frame(width, height, scale, (rng.normal(0, 0.015), rng.normal(0.01, 0.02)), rng.normal(0, 0.02))
    stout = rng.normal()
    soft = 1.75 + 0.2 * stout + rng.normal(0, 0.08)
    shoulder = rng.normal(0.15, 0.018)
    wide = rng.normal(1, 0.04)
    lungs, depth = _lungs(frame, _lung_outlines(rng, wide))
    # Heart and great vessels take the place of lung.
    depth *= 1 - rng.uniform(0.72, 0.92) * _mediastinum(rng, frame)

    total = soft * _body(rng, frame, shoulder, stout) * (1 - rng.uniform(0.74, 0.86) * depth)
    total += _abdomen(rng, frame, soft)
    draw_spine(total, rng, frame)
    draw_ribs(total, rng, frame, wide, strength=rng.uniform(0.7, 1.4))
    draw_shoulders(total, rng, frame, shoulder, strength=rng.uniform(0.7, 1.3))
    draw_vessels(total, rng, frame, lungs, strength=rng.uniform(0.7, 1.5))
    if rng.random() < 0.5:
        _draw_breasts(total, rng, frame)
    if rng.random() < 0.3:
        _draw_opacity(total, rng, lungs)
    total *= 1 + 0.05 * fractal(rng, width, height, coarsest=5, roughness=0.62)
    grey, exposed = expose(rng, np.maximum(total, 0), frame)
    return Film(grey, lungs & exposed, exposed, frame)


def _thickness(frame: Frame, mask: Mask, reach: float, edge: float) -> Array:
    """Path length through a round body: 0 at its outline, steep behind it, 1 at ``reach`` film widths inside.

    Worked out on a coarse grid, and on beyond the film's edges, where bodies go on; the outline itself is drawn from
    the mask, with a blur of ``edge`` pixels.
    """
    reduce, pad = 3, 40
    coarse = np.pad(mask[reduce // 2 :: reduce, reduce // 2 :: reduce], pad, mode="edge")
    inside = ndimage.distance_transform_edt(coarse)[pad:-pad, pad:-pad] * (reduce / (reach * frame.width))
    # Smoothed, or the coarse grid would show as steps along the outline.
    inside = ndimage.gaussian_filter(np.minimum(inside, 1).astype(np.float32), 1.5, truncate=2)
    outline: Array = ndimage.gaussian_filter(mask.astype(np.float32), edge, truncate=2.5)
    return np.maximum(frame.enlarge(np.sqrt(inside * (2 - inside))), 0) * outline


def _body(rng: np.random.Generator, frame: Frame, shoulder: float, stout: float) -> Array:
    """Thickness of neck, shoulders, trunk and arms, at most about 1."""
    trunk = 0.42 + 0.025 * stout + rng.normal(0, 0.01)
    neck = 0.105 + 0.012 * stout
    half = [
        (neck, -0.3),
        (neck, shoulder - 0.15),
        (neck + 0.02, shoulder - 0.1),
        (0.24, shoulder - 0.055),
        (0.40, shoulder - 0.03),
        (0.50, shoulder + 0.04),
        (0.56, shoulder + 0.13),
        (0.60, shoulder + 0.3),
        (0.62, 0.9),
        (0.62, 1.3),
    ]
    # The gap between arm and trunk, narrow in the stout.
    gap_top = rng.normal(0.42, 0.04)
    gap = np.clip(rng.normal(0.05, 0.03) - 0.015 * stout, 0.004, 0.12)
    outline = smooth(half, 60)
    whole = np.concatenate([outline, (outline * (-1, 1))[::-1]])
    mask = frame.mask([whole])
    for sign in (-1, 1):
        air = smooth([(trunk, gap_top), (trunk + gap, 0.7), (trunk + gap * 1.6, 1.3)], 20)
        inner = smooth([(trunk + 0.02, 1.3), (trunk + 0.005, 0.7), (trunk, gap_top)], 20)
        mask &= ~frame.mask([np.concatenate([air, inner]) * (sign, 1)])
    return _thickness(frame, mask, 0.24, 0.005 * frame.width)


def _lung_outlines(rng: np.random.Generator, wide: float) -> list[Points]:
    """The right and the left lung as closed canonical outlines."""
    breath = rng.normal(0, 0.03)
    apex = rng.normal(0.115, 0.012)
    right = [
        (-0.12, apex),
        (-0.2, apex + 0.04),
        (-0.29, 0.27),
        (-0.345, 0.42),
        (-0.375, 0.58),
        (-0.385, 0.72 + breath),
        (-0.375, 0.775 + breath),
        (-0.33, 0.715 + breath),
        (-0.23, 0.675 + breath),
        (-0.13, 0.685 + breath),
        (-0.055, 0.73 + breath),
        (-0.045, 0.6),
        (-0.045, 0.4),
        (-0.05, 0.25),
        (-0.065, apex + 0.04),
    ]
    left = [
        (0.12, apex),
        (0.2, apex + 0.04),
        (0.29, 0.27),
        (0.345, 0.42),
        (0.378, 0.58),
        (0.39, 0.74 + breath),
        (0.38, 0.80 + breath),
        (0.33, 0.745 + breath),
        (0.24, 0.70 + breath),
        (0.15, 0.70 + breath),
        (0.06, 0.73 + breath),
        (0.045, 0.6),
        (0.045, 0.4),
        (0.05, 0.25),
        (0.065, apex + 0.04),
    ]
    lift = rng.normal(0, 0.012)
    outlines = []
    for points in (right, left):
        jittered = np.array(points) * (wide, 1) + rng.normal(0, 0.005, (len(points), 2))
        jittered[6:10, 1] += lift
        lift = 0
        outlines.append(smooth(jittered, 140, closed=True))
    return outlines


def _lungs(frame: Frame, outlines: list[Points]) -> tuple[Mask, Array]:
    """Lung field, and the depth of air from 0 to 1."""
    mask = frame.mask(outlines)
    # The apices are thin.
    depth = _thickness(frame, mask, 0.11, 0.8) * np.linspace(0.86, 1, frame.height, dtype=np.float32)[:, None]
    return mask, np.clip(depth, 0, 1)


def _abdomen(rng: np.random.Generator, frame: Frame, soft: float) -> Array:
    """Liver, stomach and what lies behind the domes: denser downwards, with bubbles of gas."""
    rows = np.linspace(0, 1, frame.height // 4, dtype=np.float32)[:, None]
    columns = np.linspace(-0.5, 0.5, frame.width // 4, dtype=np.float32)[None, :]
    belly = 1 / (1 + np.exp(-(rows - 0.72) / 0.04)) * np.exp(-((columns / 0.42) ** 4))
    gas = np.zeros_like(belly)
    bubbles = [(rng.normal(0.17, 0.03), rng.normal(0.77, 0.015), 0.05, 0.018)] if rng.random() < 0.6 else []
    bubbles += [
        (rng.uniform(0.0, 0.3), rng.uniform(0.82, 0.98), rng.uniform(0.015, 0.05), rng.uniform(0.012, 0.03))
        for _ in range(rng.poisson(1.5))
    ]
    for x, y, rx, ry in bubbles:
        distance = np.minimum(((columns - x) / rx) ** 2 + ((rows - y) / ry) ** 2, 9)
        gas = np.maximum(gas, rng.uniform(0.2, 0.5) / (1 + np.exp((distance - 1) * 4)))
    return frame.enlarge(soft * (0.65 * belly - gas * (belly > 0.3)))


def _mediastinum(rng: np.random.Generator, frame: Frame) -> Array:
    """Share of the lung's depth that heart and great vessels take, 0 to 1."""
    big = np.clip(rng.normal(1, 0.1), 0.78, 1.35)
    knob = rng.normal(0.082, 0.012)
    low = 0.715 + rng.normal(0, 0.012)
    shape = [
        (-0.045, 0.13),
        (-0.055, 0.24),
        (-0.062, 0.33),
        (-0.07, 0.42),
        (-0.098 * big, 0.52),
        (-0.108 * big, 0.60),
        (-0.09 * big, 0.68),
        (-0.05, low + 0.01),
        (0.08, low + 0.05),
        (0.19 * big, low + 0.025),
        (0.222 * big, low - 0.03),
        (0.195 * big, 0.6),
        (0.145 * big, 0.51),
        (0.1, 0.44),
        (0.078, 0.39),
        (0.066, 0.355),
        (knob, 0.325),
        (knob, 0.285),
        (0.06, 0.245),
        (0.048, 0.2),
        (0.045, 0.13),
    ]
    outline = smooth(np.array(shape) + rng.normal(0, 0.003, (len(shape), 2)), 160, closed=True)
    mask = frame.mask([outline])
    result: Array = 0.7 * ndimage.gaussian_filter(mask.astype(np.float32), 1.0, truncate=2.5) + 0.3 * _thickness(
        frame, mask, 0.09, 1
    )
    return result


def _draw_breasts(total: Array, rng: np.random.Generator, frame: Frame) -> None:
    """Two overlapping veils over the lower lungs, each with a crisp lower border."""
    rx, ry = rng.uniform(0.13, 0.19), rng.uniform(0.13, 0.2)
    x, y = rng.normal(0.23, 0.015), rng.normal(0.66, 0.04)
    weight = rng.uniform(0.12, 0.38)
    rows = np.arange(frame.height // 2, dtype=np.float32)[:, None] * 2
    columns = np.arange(frame.width // 2, dtype=np.float32)[None, :] * 2
    veil = np.zeros((frame.height // 2, frame.width // 2), dtype=np.float32)
    for sign in (-1, 1):
        (cx, cy) = frame.place([(sign * x + rng.normal(0, 0.01), y + rng.normal(0, 0.01))])[0]
        radius = ((columns - cx) / (rx * frame.width)) ** 2 + ((rows - cy) / (ry * frame.height)) ** 2
        fade = np.clip((rows - cy) / (ry * frame.height) + 1, 0, 2) / 2  # grows downwards
        veil += np.sqrt(np.clip(1 - radius, 0, 1)) * fade
    total += frame.enlarge(weight * veil)


def _draw_opacity(total: Array, rng: np.random.Generator, lungs: Mask) -> None:
    """A mild finding: consolidation, nodule, atelectasis, or haze."""
    height, width = lungs.shape
    rows, columns = np.nonzero(lungs[::4, ::4])
    kind = rng.choice(["patch", "nodule", "band", "haze"])
    for _ in range(rng.integers(1, 4)):
        at = rng.integers(len(rows))
        x, y = float(columns[at]) * 4, float(rows[at]) * 4
        if kind == "nodule":
            radius = rng.uniform(0.006, 0.025) * width
            draw(total, [Stroke(ellipse(radius, radius, x, y), rng.uniform(0.08, 0.3))], blur=radius / 4)
        elif kind == "band":
            length = rng.uniform(0.04, 0.12) * width
            line = Stroke(
                smooth([(-length, 0), (0, length * 0.1), (length, 0)], 12), rng.uniform(0.05, 0.2), 0.006 * width
            )
            draw(total, [line.moved(rng.normal(0, 0.5), x, y)], blur=1.2)
        else:
            spread = rng.uniform(0.03, 0.09 if kind == "patch" else 0.2) * width
            r2 = (np.arange(height)[:, None] - y) ** 2 + (np.arange(width)[None, :] - x) ** 2
            cloud = np.exp(-r2 / (2 * spread**2)).astype(np.float32) * lungs
            total += rng.uniform(0.1, 0.4) * cloud * (1 + 0.5 * fractal(rng, width, height, coarsest=24, roughness=0.7))
