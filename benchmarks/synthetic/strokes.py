"""Drawing in attenuation: strokes and filled outlines that add to what the X-rays already crossed.

Everything on a synthetic film, bone, vessel or button, is a list of ``Stroke`` in pixels. They are drawn
supersampled, blurred by the imaging system and added in attenuation, so that a thing lies *in* the film
(its contrast sinks where the body is dense) instead of being pasted on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy import ndimage

Array = npt.NDArray[np.float32]
Points = npt.NDArray[np.float64]

_SATURATION = 0.97
"""Share of the beam that full white stands for: a film never shows infinite attenuation."""


@dataclass(frozen=True)
class Stroke:
    """A line, or a filled outline, of one attenuation.

    Within one call of ``draw`` a later stroke replaces what it covers (so that a hole is a weaker stroke);
    what is drawn adds to the film.

    Attributes:
        points: (n, 2) vertices x, y in pixels.
        attenuation: What it adds, in units of the mean free path.
        width: Width of the line in pixels; ``None`` fills the outline.
    """

    points: Points
    attenuation: float
    width: float | None = None

    def moved(self, angle: float, x: float, y: float) -> Stroke:
        """Rotated by ``angle`` radians about the origin, then shifted."""
        c, s = np.cos(angle), np.sin(angle)
        return replace(self, points=self.points @ np.array([[c, s], [-s, c]]) + (x, y))


def to_attenuation(grey: Array) -> Array:
    """Attenuation that a film of grey 0 (black) to 1 (white) shows."""
    attenuation: Array = -np.log1p(-_SATURATION * grey)
    return attenuation


def to_grey(attenuation: Array) -> Array:
    """Inverse of ``to_attenuation``."""
    grey: Array = np.clip(-np.expm1(-attenuation) / _SATURATION, 0, 1)
    return grey


def bounds(strokes: Sequence[Stroke]) -> tuple[float, float, float, float]:
    """Box x1, y1, x2, y2 of everything drawn."""
    points = np.concatenate([stroke.points for stroke in strokes])
    margin = np.repeat([(stroke.width or 0) / 2 for stroke in strokes], [len(stroke.points) for stroke in strokes])
    (x1, y1), (x2, y2) = (points - margin[:, None]).min(0), (points + margin[:, None]).max(0)
    return float(x1), float(y1), float(x2), float(y2)


def draw(target: Array, strokes: Sequence[Stroke], *, blur: float = 0.7, supersample: int = 3) -> Array:
    """Add strokes to an attenuation image, in place.

    Args:
        target: Attenuation (height, width).
        strokes: What to draw; parts off the image are cut.
        blur: Standard deviation in pixels of the imaging system's blur.
        supersample: Subpixels a side; even thin wires keep their weight.

    Returns:
        ``target``.
    """
    height, width = target.shape
    pad = int(np.ceil(3 * blur)) + 2
    x1, y1, x2, y2 = bounds(strokes)
    left, top = max(int(x1) - pad, 0), max(int(y1) - pad, 0)
    right, bottom = min(int(x2) + pad + 1, width), min(int(y2) + pad + 1, height)
    if right <= left or bottom <= top:
        return target
    patch = Image.new("F", ((right - left) * supersample, (bottom - top) * supersample))
    pen = ImageDraw.Draw(patch)
    vertex = iter(((np.concatenate([s.points for s in strokes]) - (left, top)) * supersample).ravel().tolist())
    for stroke in strokes:
        vertices = list(islice(vertex, 2 * len(stroke.points)))
        if stroke.width is None:
            pen.polygon(vertices, fill=stroke.attenuation)
            continue
        # PIL draws whole subpixels: a thinner line keeps its weight by attenuating less.
        wanted = stroke.width * supersample
        drawn = max(round(wanted), 1)
        pen.line(vertices, fill=stroke.attenuation * min(wanted / drawn, 1), width=drawn)
    layer = np.asarray(patch.reduce(supersample))
    target[top:bottom, left:right] += ndimage.gaussian_filter(layer, blur, truncate=2.5)
    return target


def ellipse(rx: float, ry: float, x: float = 0, y: float = 0, start: float = 0, stop: float = 2 * np.pi) -> Points:
    """Vertices of an ellipse or of an arc of it, angles in radians, clockwise on the film from the right."""
    angles = np.linspace(start, stop, max(int(8 + 2.5 * np.sqrt(max(rx, ry)) * (stop - start)), 6))
    return np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], axis=1)


def smooth(points: Sequence[tuple[float, float]] | Points, count: int = 60, *, closed: bool = False) -> Points:
    """Smooth curve (count, 2) through some points."""
    knots = np.asarray(points, dtype=np.float64)
    if closed:
        knots = np.concatenate([knots[-2:], knots, knots[:3]])
    t = np.arange(len(knots), dtype=np.float64)
    at = np.linspace(2, len(knots) - 3, count) if closed else np.linspace(0, len(knots) - 1, count)
    return _hermite(knots, t, at)


def _hermite(knots: Points, t: Points, at: Points) -> Points:
    slopes = np.gradient(knots, axis=0)
    i = np.clip(at.astype(int), 0, len(knots) - 2)
    s = (at - t[i])[:, None]
    curve: Points = (
        knots[i] * (1 + 2 * s) * (1 - s) ** 2
        + slopes[i] * s * (1 - s) ** 2
        + knots[i + 1] * s**2 * (3 - 2 * s)
        + slopes[i + 1] * s**2 * (s - 1)
    )
    return curve


def ribbon(curve: Points, width: float | Points) -> Points:
    """Outline (2n, 2) of a band of some width about a curve (n, 2)."""
    tangent = np.gradient(curve, axis=0)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    half = np.broadcast_to(np.asarray(width) / 2, (len(curve),))[:, None]
    return np.concatenate([curve + normal * half, (curve - normal * half)[::-1]])
