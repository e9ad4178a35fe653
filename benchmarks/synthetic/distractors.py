"""What shines on a film and is nobody's fault: side markers, support devices, clips, chalk, folds, never annotated.

They fall on films of both classes at the same rates.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.synthetic.body_frame import Frame
from benchmarks.synthetic.strokes import Array, Points, Stroke, draw, ellipse, ribbon, smooth, to_attenuation, to_grey

RATES = {
    "marker": 0.9, "leads": 0.2, "pacemaker": 0.08, "line": 0.15, "tube": 0.08, "wires": 0.1,
    "clips": 0.12, "calcification": 0.3, "fold": 0.25,
}  # fmt: skip
"""Chance of each on any film."""

FINER = 4
"""Pixels across which a marker is drawn for each of the film."""


def draw_distractors(
    rng: np.random.Generator, grey: Array, frame: Frame, *, marker: bool = True
) -> tuple[Array, tuple[str, ...]]:
    """Put markers and support devices on a film.

    Args:
        rng: Source of all chance.
        grey: Film (height, width), 0 black to 1 white.
        frame: Where the body lies.
        marker: Also side markers; off for real films, which have theirs.

    Returns:
        The film, and the names of what was drawn.
    """
    attenuation = to_attenuation(grey)
    drawn = tuple(name for name, rate in RATES.items() if rng.random() < rate)
    blur = rng.uniform(0.0013, 0.0022) * grey.shape[1]
    for name in drawn:
        if name == "marker":
            continue
        draw(attenuation, DEVICES[name](rng, frame), blur=blur)
    grey = to_grey(attenuation).astype(np.float32)
    if "marker" in drawn and marker:
        _stamp(grey, rng)
    return grey, drawn


def _stamp(grey: Array, rng: np.random.Generator) -> None:
    """Lead letters in an upper corner, outside the lungs: bold, and whiter than all else."""
    height, width = grey.shape
    side = rng.random() < 0.8
    text = ("L" if side else "R") + ("" if rng.random() < 0.6 else " " + "".join(rng.choice(list("ABCDGHJKMRSTV"), 2)))
    # Drawn large and made smaller, for a font's strokes are bold in steps of whole pixels.
    size = FINER * max(rng.uniform(0.04, 0.07) * width, 6)
    font, bold = ImageFont.load_default(size=size), round(0.04 * size)
    left, top, right, bottom = (int(v) for v in font.getbbox(text, stroke_width=bold))
    tile = Image.new("L", (right - left + 2 * FINER, bottom - top + 2 * FINER))
    ImageDraw.Draw(tile).text((FINER - left, FINER - top), text, fill=255, font=font, stroke_width=bold)
    tile = tile.rotate(rng.normal(0, 12), expand=True, resample=Image.Resampling.BICUBIC).reduce(FINER)
    x = rng.uniform(0.82, 0.94) if side else rng.uniform(0.06, 0.18)
    ink = Image.new("L", (width, height))
    ink.paste(tile, (int(x * width - tile.width / 2), int(rng.uniform(0.03, 0.14) * height - tile.height / 2)))
    share = np.asarray(ink, dtype=np.float32) / 255
    np.maximum(grey, share * rng.uniform(0.95, 1), out=grey)


def _leads(rng: np.random.Generator, frame: Frame) -> list[Stroke]:
    """ECG electrodes, each with its wire leaving the film downwards or sideways."""
    unit = frame.width
    mu, strokes = rng.uniform(0.35, 0.8), []
    spots = [(-0.27, 0.2), (0.27, 0.2), (0.33, 0.62), (-0.3, 0.68), (0.05, 0.45)]
    for at in rng.permutation(len(spots))[: rng.integers(2, 5)]:
        x, y = spots[at] + rng.normal(0, 0.03, 2)
        end = (rng.normal(0.1, 0.15), 1.08) if rng.random() < 0.6 else (np.sign(x) * 0.6, y + rng.uniform(0.1, 0.4))
        path = [
            (x, y),
            (x + rng.normal(0, 0.05), y + 0.08),
            ((x + end[0]) / 2 + rng.normal(0, 0.05), (y + end[1]) / 2),
            end,
        ]
        spot = frame.place([(x, y)])[0]
        strokes += [
            Stroke(frame.place(smooth(path, 40)), 0.7 * mu, 0.0045 * unit),
            Stroke(ellipse(0.017 * unit, 0.017 * unit, *spot), 0.15 * mu),
            Stroke(ellipse(0.008 * unit, 0.008 * unit, *spot), 1.3 * mu),
        ]
    return strokes


def _pacemaker(rng: np.random.Generator, frame: Frame) -> list[Stroke]:
    """Generator below a clavicle with one or two leads through the vein into the heart."""
    unit = frame.width
    sign = 1 if rng.random() < 0.8 else -1
    x, y = sign * rng.normal(0.25, 0.015), rng.normal(0.27, 0.015)
    w, h = 0.05, 0.042
    box = [(-w, -h), (0, -h * 1.1), (w, -h), (w * 1.1, 0), (w * 0.8, h), (0, h * 1.1), (-w * 0.8, h), (-w * 1.1, 0)]
    can = smooth(np.add(box, (x, y)), 50, closed=True)
    strokes = [
        Stroke(frame.place(can), rng.uniform(0.9, 1.5)),
        Stroke(frame.place(ellipse(w * 0.5, h * 0.5, x, y + 0.008)), 2.2),
    ]
    for end in ([(0.14, 0.68)], [(-0.06, 0.55), (0.14, 0.68)])[rng.integers(2)]:
        path = smooth([(x, y - h), (sign * 0.15, 0.19), (-0.03, 0.26), (-0.05, 0.42), (-0.045, 0.55), end], 60)
        strokes.append(Stroke(frame.place(path), 0.6, 0.005 * unit))
        strokes.append(Stroke(frame.place(path[-3:]), 1.2, 0.008 * unit))
    return strokes


def _line(rng: np.random.Generator, frame: Frame) -> list[Stroke]:
    """Central venous line from neck, collar bone or arm to the superior vena cava, or a port."""
    side = rng.choice([-1, 1])
    start = [[(side * 0.07, -0.02), (side * 0.06, 0.12)], [(side * 0.3, 0.17), (side * 0.16, 0.2)]][rng.integers(2)]
    path = smooth([*start, (-0.02, 0.27), (-0.05, 0.36), (-0.05, rng.uniform(0.42, 0.52))], 50)
    strokes = [Stroke(frame.place(path), rng.uniform(0.18, 0.4), 0.005 * frame.width)]
    if rng.random() < 0.3:
        port = frame.place(ellipse(0.022, 0.022, *path[0]) if path[0][1] > 0.1 else ellipse(0.022, 0.022, -0.25, 0.3))
        strokes.append(Stroke(port, 0.5, 0.008 * frame.width))
    return strokes


def _tube(rng: np.random.Generator, frame: Frame) -> list[Stroke]:
    """Breathing tube and feeding tube, or a drain, each with its radiopaque stripe."""
    if rng.random() < 0.6:
        wobble = rng.normal(0, 0.006, 6)
        stomach: Points = smooth(
            [(0.01 + d, y) for d, y in zip(wobble, (-0.05, 0.15, 0.35, 0.55, 0.72, 0.8), strict=True)] + [(0.14, 0.86)],
            60,
        )
        airway = smooth([(0, -0.05), (wobble[0], 0.12), (wobble[1], rng.uniform(0.24, 0.32))], 30)
        return [
            Stroke(frame.place(stomach), 0.3, 0.005 * frame.width),
            Stroke(ribbon(frame.place(airway), 0.022 * frame.width), 0.28, 0.0035 * frame.width),
        ]
    side = rng.choice([-1, 1])
    drain = smooth(
        [
            (side * 0.55, rng.uniform(0.5, 0.7)),
            (side * 0.35, 0.55),
            (side * 0.25, 0.35),
            (side * 0.18, rng.uniform(0.15, 0.25)),
        ],
        50,
    )
    return [
        Stroke(ribbon(frame.place(drain), 0.018 * frame.width), 0.22, 0.003 * frame.width),
        Stroke(frame.place(drain), 0.3, 0.003 * frame.width),
    ]


def _wires(rng: np.random.Generator, frame: Frame) -> list[Stroke]:
    """Wires that closed a breastbone, in a column on the midline."""
    strokes = []
    for y in np.linspace(0.24, rng.uniform(0.56, 0.64), rng.integers(4, 7)):
        x = rng.normal(0, 0.004)
        loop = ellipse(0.017, 0.012, x, y + rng.normal(0, 0.004), 0.3, 5.8)
        strokes.append(Stroke(frame.place(loop), 0.9, 0.0035 * frame.width))
    return strokes


def _clips(rng: np.random.Generator, frame: Frame) -> list[Stroke]:
    """Clips of an operation: a few short bars close together."""
    unit, mu = frame.width, rng.uniform(0.5, 1.0)
    middle = np.array([rng.choice([-1, 1]) * rng.uniform(0.05, 0.32), rng.uniform(0.3, 0.75)])
    bar = Stroke(np.array([(-0.005, 0), (0.005, 0)]) * unit, mu, 0.003 * unit)
    spots = frame.place(middle + rng.normal(0, 0.02, (int(rng.integers(2, 6)), 2)))
    return [bar.moved(rng.uniform(0, np.pi), x, y) for x, y in spots]


def _calcification(rng: np.random.Generator, frame: Frame) -> list[Stroke]:
    """Chalk of healed lesions: a few dense grains in a lung, no two of one shape."""
    strokes = []
    for _ in range(rng.integers(1, 4)):
        at = (rng.choice([-1, 1]) * rng.uniform(0.08, 0.3), rng.uniform(0.2, 0.68))
        radius = rng.uniform(0.002, 0.006)
        rough = ellipse(radius, radius) * rng.lognormal(0, 0.2, (len(ellipse(radius, radius)), 1)) + at
        strokes.append(Stroke(frame.place(rough), rng.uniform(0.15, 0.5)))
    return strokes


def _fold(rng: np.random.Generator, frame: Frame) -> list[Stroke]:
    """Fold of skin or of a shirt: a long, faint, straight border, one side of it denser."""
    x, y = rng.uniform(-0.35, 0.35), rng.uniform(0.2, 0.7)
    length, bend = rng.uniform(0.12, 0.3), rng.normal(0, 0.02)
    line = smooth([(-length, bend), (0, 0), (length, bend)], 30)
    side = np.concatenate([line, line[::-1] + np.array([0, rng.uniform(0.01, 0.03)])])
    c, s = np.cos(angle := rng.normal(np.pi / 2, 0.5)), np.sin(angle)
    return [Stroke(frame.place(side @ np.array([[c, s], [-s, c]]) + (x, y)), rng.uniform(0.03, 0.1))]


DEVICES = {
    "leads": _leads,
    "pacemaker": _pacemaker,
    "line": _line,
    "tube": _tube,
    "wires": _wires,
    "clips": _clips,
    "calcification": _calcification,
    "fold": _fold,
}
