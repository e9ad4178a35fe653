"""Lays foreign objects on a film and annotates them as loosely as the annotators of Object-CXR did."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.spatial import ConvexHull

from benchmarks.data.annotations import Shape
from benchmarks.synthetic.objects import OBJECTS, Kind, Sketch, faded, outline_points
from benchmarks.synthetic.strokes import Array, bounds, draw, to_attenuation, to_grey

Mask = npt.NDArray[np.bool_]

EPISODES = (0.66, 0.25, 0.09)
"""Chances of one, two and three kinds of objects on a positive film."""

TOGETHER = {"placket": 0.3, "bust": 0.75}
"""Chance that things worn in one place get one annotation about all of them."""

CONTRAST = (2.5, 0.5)
"""Contrast of what is worn on one film, on the scale of the sketches: median, and spread of its logarithm."""

VISIBLE = 0.1
"""Least mean difference in grey, from 0 to 1, that an object makes on the film: what nobody sees, nobody annotates."""

SIZE = (1.4, 0.35)
"""Size of the objects on the scale of the sketches: median, so that annotations are as large as the real ones, and
spread of the logarithm."""

LINE = (0.0044, 0.35)
"""Thin lines in units of the film's width: median, and spread of the logarithm."""

MARGIN = (0.021, 0.7)
"""Margin of an annotation on each side: median in units of the film's width, and spread of its logarithm."""


def draw_objects(
    rng: np.random.Generator, grey: Array, lungs: Mask, exposed: Mask, *, contrast: float = 1.0
) -> tuple[Array, tuple[Shape, ...]]:
    """Put foreign objects on any film.

    Args:
        rng: Source of all chance.
        grey: Film (height, width), 0 black to 1 white.
        lungs: Lung field: where the objects lie, at least with their middle.
        exposed: What the collimator let through; objects lie wholly inside of it.
        contrast: Of all that is drawn, on the scale of the set's.

    Returns:
        The film with the objects, and their annotations in pixels of the film; at least one. Each says of which of
        :data:`~benchmarks.synthetic.objects.OBJECTS` it is.
    """
    attenuation = to_attenuation(grey)
    # Nothing worn is whiter than the film shows what is dense; only lead, as of a marker, is.
    densest = to_attenuation(np.clip(np.percentile(grey, 98) + 0.02, 0.8, 1).astype(np.float32))
    shapes: list[Shape] = []
    names = list(OBJECTS)
    weights = np.array([kind.weight for kind in OBJECTS.values()])
    wanted = rng.choice([1, 2, 3], p=EPISODES)
    for _ in range(60):
        name = names[rng.choice(len(names), p=weights / weights.sum())]
        kind = OBJECTS[name]
        placed = _episode(rng, kind, lungs, exposed)
        if not placed:
            continue
        worn = contrast * CONTRAST[0] * rng.lognormal(0, CONTRAST[1])
        blur = rng.uniform(0.0012, 0.0022) * grey.shape[1]
        least = VISIBLE * min(contrast, 1)
        placed = [sketch for sketch in placed if _draw_visibly(attenuation, faded(sketch, worn), blur, least, densest)]
        if not placed:
            continue
        if rng.random() < TOGETHER.get(kind.place, 0):
            placed = [[stroke for sketch in placed for stroke in sketch]]
        shapes += [replace(_annotate(rng, sketch, grey.shape[1]), content=name) for sketch in placed]
        wanted -= 1
        if not wanted:
            break
    return to_grey(attenuation).astype(np.float32), tuple(shapes)


def _draw_visibly(attenuation: Array, sketch: Sketch, blur: float, least: float, densest: Array) -> bool:
    """Draw a sketch in place, unless it would hardly show, as over the middle of an overexposed film."""
    drawn = draw(attenuation.copy(), sketch, blur=blur)
    np.minimum(drawn, np.maximum(attenuation, densest), out=drawn)
    covered = drawn - attenuation > 0.25 * max(stroke.attenuation for stroke in sketch)
    if not covered.any() or (to_grey(drawn) - to_grey(attenuation))[covered].mean() < least:
        return False
    attenuation[:] = drawn
    return True


def _episode(rng: np.random.Generator, kind: Kind, lungs: Mask, exposed: Mask) -> list[Sketch]:
    """Objects of one kind that belong together, where such things are worn; empty when they do not fit.

    Only what lies in the lung field is annotated on real films, so nothing is put elsewhere.
    """
    width = lungs.shape[1]
    rows, columns = np.nonzero(lungs[::4, ::4])
    if not len(rows):
        return []
    top, bottom = rows.min() * 4, rows.max() * 4
    left, right = columns.min() * 4, columns.max() * 4
    middle, tall, wide = (left + right) / 2 + rng.normal(0, 0.01) * width, bottom - top, right - left
    count = 1 + int(rng.binomial(kind.group - 1, 0.5)) if kind.group > 2 else int(rng.integers(1, kind.group + 1))
    spots: list[tuple[float, float]] = []
    if kind.place == "placket":
        x, y, step = (
            middle + rng.normal(0, 0.1) * wide,
            top + rng.uniform(0.0, 0.75) * tall,
            rng.uniform(0.17, 0.27) * tall,
        )
        spots = [(x + rng.normal(0, 0.006) * width, y + k * step) for k in range(count)]
    elif kind.place == "straps":
        x, y = rng.uniform(0.16, 0.42) * wide, top + rng.uniform(-0.02, 0.4) * tall
        signs = rng.permutation([-1, 1])[:count]
        spots = [(middle + s * x + rng.normal(0, 0.015) * width, y + rng.normal(0, 0.02) * tall) for s in signs]
    elif kind.place == "neck":
        spots = [(middle + rng.normal(0, 0.02) * width, top + rng.uniform(0.1, 0.4) * tall)]
    elif kind.place == "bust":
        x, y = 0.25 * wide, top + rng.uniform(0.6, 0.82) * tall
        signs = rng.permutation([-1, 1])[:count]
        spots = [(middle + s * x + rng.normal(0, 0.01) * width, y + rng.normal(0, 0.01) * tall) for s in signs]
    elif kind.place == "back":
        spots = [(middle + rng.normal(0, 0.03) * width, top + rng.uniform(0.45, 0.8) * tall)]
    else:
        for _ in range(count):
            at = rng.integers(len(rows))
            spots.append((columns[at] * 4.0, rows[at] * 4.0))
    # Things that belong together are alike: the same seed draws each.
    seed = int(rng.integers(2**32))
    unit, line = (width * median * rng.lognormal(0, spread) for median, spread in (SIZE, LINE))
    sketches = []
    for x, y in spots:
        sketch = kind.sketch(np.random.default_rng(seed), unit, line)
        angle = rng.normal(0, kind.turn)
        sketch = [stroke.moved(angle, x, y) for stroke in sketch]
        if _fits(sketch, exposed) and (kind.place in ("neck", "bust") or lungs[int(y), int(x)]):
            sketches.append(sketch)
    return sketches


def _fits(sketch: Sketch, exposed: Mask) -> bool:
    height, width = exposed.shape
    x1, y1, x2, y2 = bounds(sketch)
    if x1 < 1 or y1 < 1 or x2 >= width - 1 or y2 >= height - 1:
        return False
    columns, rows = outline_points(sketch).astype(int).T
    return bool(exposed[rows, columns].all())


def _annotate(rng: np.random.Generator, sketch: Sketch, width: int) -> Shape:
    """A hand's rectangle, ellipse or polygon about an object."""
    x1, y1, x2, y2 = bounds(sketch)
    across, down = MARGIN[0] * width * rng.lognormal(0, MARGIN[1]) * rng.lognormal(0, 0.3, 2)
    sides = np.array([across, down, across, down]) * rng.uniform(0.6, 1.4, 4)
    x1, y1, x2, y2 = x1 - sides[0], y1 - sides[1], x2 + sides[2], y2 + sides[3]
    form = rng.choice(["rectangle", "ellipse", "polygon"], p=(0.6, 0.25, 0.15))
    corners = ((round(x1), round(y1)), (round(x2), round(y2)))
    if form == "polygon":
        points = outline_points(sketch)
        try:
            hull = points[ConvexHull(points).vertices]
        except RuntimeError:  # all points on one line
            return Shape("rectangle", corners)
        centre = hull.mean(0)
        away = hull - centre
        away *= 1 + sides.mean() / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1)
        # Few clicks: every so many vertices, at least four.
        picked = (centre + away)[:: max(len(hull) // int(rng.integers(5, 10)), 1)]
        return Shape("polygon", tuple((round(float(x)), round(float(y))) for x, y in picked))
    return Shape(form, corners)
