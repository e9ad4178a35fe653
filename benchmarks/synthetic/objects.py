"""The foreign objects that Object-CXR annotates, as sketches of strokes about the origin.

Each function takes a source of chance, ``unit``, the pixels that stand for the width of a film, and ``line``, the
pixels of a thin line, and returns strokes. Size and line are drawn apart, for a large object may be made of thin wire.
``OBJECTS`` lists them with how often they occur.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.synthetic.strokes import Points, Stroke, ellipse, smooth

Sketch = list[Stroke]


def button(rng: np.random.Generator, unit: float, line: float) -> Sketch:
    """Shirt button of plastic or metal, with a rim and two or four holes."""
    r = rng.uniform(0.013, 0.025) * unit
    mu = rng.choice([rng.uniform(0.12, 0.3), rng.uniform(0.3, 0.7)], p=[0.6, 0.4])
    strokes = [Stroke(ellipse(r, r), mu), Stroke(ellipse(r * 0.92, r * 0.92), 1.6 * mu, line)]
    holes = rng.choice([2, 4])
    for angle in np.arange(holes) * 2 * np.pi / holes:
        hole = ellipse(r * 0.16, r * 0.16, 0.34 * r * np.cos(angle), 0.34 * r * np.sin(angle))
        strokes.append(Stroke(hole, 0.1 * mu))
    return strokes


def snap(rng: np.random.Generator, unit: float, line: float) -> Sketch:
    """Metal press stud or rivet: ring with a dense middle."""
    r = rng.uniform(0.011, 0.02) * unit
    mu = rng.uniform(0.4, 1.1)
    return [
        Stroke(ellipse(r, r), 0.45 * mu),
        Stroke(ellipse(r * 0.86, r * 0.86), mu, 1.2 * line),
        Stroke(ellipse(r * 0.35, r * 0.35), 1.2 * mu),
    ]


def hooks(rng: np.random.Generator, unit: float, line: float) -> Sketch:
    """Hook-and-eye closure: two or three bent wires in a column, each with its eye."""
    size, mu = rng.uniform(0.012, 0.019) * unit, rng.uniform(0.45, 1.1)
    strokes: Sketch = []
    for row in range(rng.integers(1, 4)):
        y = row * size * 1.7
        hook = smooth(
            [
                (-size, y - 0.45 * size),
                (0, y - 0.4 * size),
                (0.5 * size, y),
                (0, y + 0.4 * size),
                (-size, y + 0.45 * size),
            ],
            24,
        )
        strokes.append(Stroke(hook, mu, line))
        strokes.append(Stroke(ellipse(0.42 * size, 0.42 * size, 0.95 * size, y), mu, line))
    return strokes


def clasp(rng: np.random.Generator, unit: float, line: float) -> Sketch:
    """Strap adjuster or buckle: a ring, or a figure of eight with a bar."""
    w, h = rng.uniform(0.016, 0.026) * unit, rng.uniform(0.012, 0.022) * unit
    mu, wire = rng.uniform(0.25, 1.0), rng.uniform(1, 1.8) * line
    form = rng.random()
    if form < 0.3:
        return [Stroke(ellipse(w * 0.9, w * 0.9), mu, wire)]
    if form < 0.6:  # a flat clip that hooks into a slit
        plate = np.array([(-w, -h), (0.1 * w, -h), (0.1 * w, h), (-w, h), (-w, -h)])
        hook = np.array([(0.1 * w, 0), (w, 0), (w, -0.8 * h), (0.5 * w, -0.8 * h)])
        return [Stroke(plate, mu, wire), Stroke(hook, mu, wire)]
    frame = smooth(
        [(-w, -h), (0, -h * 1.05), (w, -h), (w * 1.05, 0), (w, h), (0, h * 1.05), (-w, h), (-w * 1.05, 0)],
        40,
        closed=True,
    )
    return [Stroke(frame, mu, wire), Stroke(np.array([(-w, 0.0), (w, 0.0)]), mu, wire)]


def necklace(rng: np.random.Generator, unit: float, line: float) -> Sketch:
    """Chain hanging from the neck, with or without a pendant; the origin is its lowest point."""
    half, depth = rng.uniform(0.08, 0.17) * unit, rng.uniform(0.1, 0.3) * unit
    mu, gauge = rng.uniform(0.35, 1.0), rng.uniform(1, 1.6) * line
    t = np.linspace(-1, 1, 400)
    chain = np.stack([half * t * (0.75 + 0.25 * t**2), -depth * np.abs(t) ** rng.uniform(1.3, 2.2)], axis=1)
    strokes = _links(rng, chain, mu, gauge)
    if rng.random() < 0.65:
        r = rng.uniform(0.009, 0.022) * unit
        outline = ellipse(r * rng.uniform(0.6, 1), r, 0, r)
        if rng.random() < 0.3:  # a cross
            strokes += [
                Stroke(np.array([(0, 0), (0, 2.6 * r)]), mu, 0.4 * r),
                Stroke(np.array([(-0.8 * r, 0.9 * r), (0.8 * r, 0.9 * r)]), mu, 0.4 * r),
            ]
        else:
            strokes += [Stroke(outline, mu * rng.uniform(0.3, 1)), Stroke(outline, 1.2 * mu, 0.2 * r)]
    return strokes


def _links(rng: np.random.Generator, curve: Points, mu: float, gauge: float) -> Sketch:
    """A chain along a curve: a cord with links or balls of some gauge on it, close or apart."""
    length = np.concatenate([[0], np.linalg.norm(np.diff(curve, axis=0), axis=1).cumsum()])
    at = np.arange(0, length[-1], gauge * rng.uniform(1.2, 2.6))
    links = np.stack([np.interp(at, length, curve[:, k]) for k in (0, 1)], axis=1)
    cord = Stroke(curve, 0.35 * mu, 0.5 * gauge)
    return [cord, *(Stroke(ellipse(gauge / 2, gauge / 2, x, y), mu) for x, y in links)]


def chain(rng: np.random.Generator, unit: float, line: float) -> Sketch:
    """Piece of a chain, of a bracelet or a strap: an arc of links, fallen anyhow."""
    rx, ry = rng.uniform(0.02, 0.09) * unit, rng.uniform(0.015, 0.06) * unit
    start = rng.uniform(0, 2 * np.pi)
    arc = ellipse(rx, ry, start=start, stop=start + rng.uniform(1.5, 6))
    t = np.linspace(0, len(arc) - 1, 200)
    curve = np.stack([np.interp(t, np.arange(len(arc)), arc[:, k]) for k in (0, 1)], axis=1)
    return _links(rng, curve, rng.uniform(0.3, 0.9), rng.uniform(1, 1.8) * line)


def wire(rng: np.random.Generator, unit: float, line: float) -> Sketch:
    """Loose wire, of a mask, a headset or a hair grip: one thin line that bends a few times."""
    reach = rng.uniform(0.02, 0.09) * unit
    bends = int(rng.integers(3, 7))
    along = np.linspace(-1, 1, bends) * reach
    across = rng.normal(0, rng.uniform(0.05, 0.6), bends) * reach
    path = smooth(np.stack([along, across], axis=1), 40)
    return [Stroke(path, rng.uniform(0.3, 0.9), rng.uniform(0.7, 1.3) * line)]


def underwire(rng: np.random.Generator, unit: float, line: float) -> Sketch:
    """Wire under one breast: a shallow arc, ends upwards."""
    rx, ry = rng.uniform(0.08, 0.125) * unit, rng.uniform(0.06, 0.11) * unit
    arc = ellipse(rx, ry, start=rng.uniform(-0.1, 0.35), stop=np.pi - rng.uniform(-0.2, 0.25))
    return [Stroke(arc, rng.uniform(0.35, 0.9), rng.uniform(1, 1.8) * line)]


def zipper(rng: np.random.Generator, unit: float, line: float) -> Sketch:
    """Zip: two columns of interlocking teeth, with a slider."""
    length, pitch = rng.uniform(0.06, 0.35) * unit, max(rng.uniform(0.006, 0.013) * unit, 1.3 * line)
    mu = rng.uniform(0.3, 0.9)
    strokes: Sketch = []
    for k, y in enumerate(np.arange(0, length, pitch) - length / 2):
        x = pitch * 0.55 * (1 if k % 2 else -1)
        strokes.append(Stroke(np.array([(x - pitch * 0.65, y), (x + pitch * 0.65, y)]), mu, min(line, 0.7 * pitch)))
    slider = rng.uniform(0.008, 0.012) * unit
    outline = np.array(
        [(-slider, -slider), (slider, -slider), (slider * 0.7, slider * 1.4), (-slider * 0.7, slider * 1.4)]
    )
    end = np.array([0, rng.choice([-1, 1]) * length / 2])
    strokes.append(Stroke(outline + end, 1.2 * mu))
    return strokes


def coin(rng: np.random.Generator, unit: float, line: float) -> Sketch:
    """Coin or medal in a pocket: a dense, almost even disc."""
    r, mu = rng.uniform(0.02, 0.034) * unit, rng.uniform(0.4, 1.0)
    return [Stroke(ellipse(r, r), mu), Stroke(ellipse(r * 0.95, r * 0.95), 1.15 * mu, r * 0.1)]


def pin(rng: np.random.Generator, unit: float, line: float) -> Sketch:
    """Needle with a head; safety pin or hairpin: two wires, a coil, a cap."""
    length, mu = rng.uniform(0.02, 0.07) * unit, rng.uniform(0.4, 1.0)
    gap, wire = length * rng.uniform(0.1, 0.16), rng.uniform(0.7, 1.2) * line
    if rng.random() < 0.45:
        head = wire * rng.uniform(1.2, 2.5)
        needle = np.array([(-length, 0), (length, 0)])
        return [Stroke(needle, mu, wire), Stroke(ellipse(head, head, length, 0), mu)]
    upper = smooth([(-length, 0), (0, -1.2 * gap), (length * 0.92, -gap * 0.8)], 16)
    lower = np.array([(-length, 0), (length * 0.92, gap * 0.4)])
    strokes = [Stroke(upper, mu, wire), Stroke(lower, mu, wire)]
    if rng.random() < 0.7:
        strokes.append(Stroke(ellipse(gap * 0.6, gap * 0.6, -length, 0), mu, wire))
        strokes.append(Stroke(ellipse(gap * 0.6, gap * 0.95, length * 0.95, -gap * 0.2), 1.1 * mu))
    return strokes


def letters(rng: np.random.Generator, unit: float, line: float) -> Sketch:
    """Print on a shirt: a letter or a word in paint, faint and large."""
    word = "".join(rng.choice(list("ABCDEFGHKLMNOPRSTUVXYZ0123456789"), rng.choice([1, 2, 3, 4, 5, 6])))
    font = ImageFont.load_default(size=40)
    left, top, right, bottom = font.getbbox(word)
    image = Image.new("L", (int(right) + 4, int(bottom) + 4))
    ImageDraw.Draw(image).text((0, 0), word, fill=255, font=font)
    pixel = rng.uniform(0.03, 0.1) * unit / 40
    mu = rng.uniform(0.12, 0.4)
    ink = np.asarray(image) > 127
    strokes: Sketch = []
    for y in range(ink.shape[0]):  # horizontal runs of ink become bars
        edges = np.flatnonzero(np.diff(np.concatenate([[0], ink[y].astype(np.int8), [0]])))
        for start, stop in edges.reshape(-1, 2):
            bar = np.array([(start, y), (stop, y), (stop, y + 1), (start, y + 1)], dtype=float)
            strokes.append(Stroke((bar - ((left + right) / 2, (top + bottom) / 2)) * pixel, mu))
    return strokes


def beads(rng: np.random.Generator, unit: float, line: float) -> Sketch:
    """Sequins or rhinestones sewn on: a loose figure of small dots."""
    reach, dot, mu = rng.uniform(0.035, 0.13) * unit, rng.uniform(0.8, 1.4) * line, rng.uniform(0.3, 0.9)
    count = int(rng.integers(6, 26))
    t = np.sort(rng.uniform(0, 2 * np.pi, count))
    radius = reach * (0.6 + 0.4 * np.cos(rng.integers(2, 6) * t + rng.uniform(0, 6)))
    spots = np.stack([radius * np.cos(t), radius * np.sin(t)], axis=1) + rng.normal(0, 0.06 * reach, (count, 2))
    return [Stroke(ellipse(dot, dot, x, y), mu * rng.uniform(0.6, 1.2)) for x, y in spots]


@dataclass(frozen=True)
class Kind:
    """How a kind of object occurs.

    Attributes:
        sketch: Draws one.
        weight: How often, relative to the others.
        place: Where: ``"field"`` anywhere over the lungs, ``"placket"`` in a column near the midline,
            ``"straps"`` at the upper lungs, ``"neck"``, ``"bust"``, or ``"back"`` at the spine.
        group: Most objects in one go.
        turn: Standard deviation of its rotation in radians.
    """

    sketch: Callable[[np.random.Generator, float, float], Sketch]
    weight: float
    place: str
    group: int
    turn: float


OBJECTS = {
    "button": Kind(button, 0.2, "placket", 5, 3.0),
    "snap": Kind(snap, 0.1, "field", 2, 3.0),
    "hooks": Kind(hooks, 0.08, "back", 1, 0.2),
    "clasp": Kind(clasp, 0.13, "straps", 2, 0.4),
    "necklace": Kind(necklace, 0.1, "neck", 1, 0.06),
    "chain": Kind(chain, 0.08, "field", 1, 3.0),
    "underwire": Kind(underwire, 0.1, "bust", 2, 0.05),
    "zipper": Kind(zipper, 0.06, "placket", 1, 0.06),
    "coin": Kind(coin, 0.03, "field", 2, 3.0),
    "pin": Kind(pin, 0.1, "field", 1, 3.0),
    "wire": Kind(wire, 0.08, "field", 1, 3.0),
    "letters": Kind(letters, 0.08, "field", 1, 0.08),
    "beads": Kind(beads, 0.06, "field", 1, 3.0),
}
"""The annotated kinds."""


def faded(strokes: Sketch, factor: float) -> Sketch:
    """The same sketch, weaker or stronger."""
    return [replace(stroke, attenuation=stroke.attenuation * factor) for stroke in strokes]


def outline_points(strokes: Sketch) -> Points:
    """Every vertex of a sketch, for its outline."""
    return np.concatenate([stroke.points for stroke in strokes])
