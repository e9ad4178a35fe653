"""The kinds of shape and their outlines, polygons of radius 1 about the origin."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]
"""Corners of a polygon, ``(P, 2)``: x to the right and y downwards."""


def _on_circle(count: int, radius: float = 1.0, first: float = -0.25) -> Points:
    """Points at equal distances on a circle, clockwise; ``first`` in turns from the right, -1/4 being the top."""
    angle = 2 * np.pi * (first + np.arange(count) / count)
    return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _disc() -> Points:
    return _on_circle(40, radius=0.9)


def _ring() -> Points:
    """One polygon for outside and hole: along the outer circle, through a slit, and back along the inner one."""
    outer, inner = _on_circle(40), _on_circle(40, radius=0.58)
    return np.concatenate([outer, outer[:1], inner[:1], inner[:0:-1], inner[:1]])


def _star() -> Points:
    tips, notches = _on_circle(5), _on_circle(5, radius=0.42, first=-0.15)
    return np.stack([tips, notches], axis=1).reshape(-1, 2)


def _cross() -> Points:
    arm = 0.3
    corner = np.array([(-arm, -1.0), (arm, -1.0), (arm, -arm)])
    turned = [corner]
    for _ in range(3):
        turned.append(turned[-1] @ np.array([(0.0, 1.0), (-1.0, 0.0)]))
    return np.concatenate(turned)


OUTLINES: dict[str, Callable[[], Points]] = {
    "disc": _disc,
    "square": lambda: _on_circle(4, first=-0.125),
    "triangle": lambda: _on_circle(3),
    "star": _star,
    "cross": _cross,
    "ring": _ring,
}
KINDS = tuple(OUTLINES)
"""Names of the kinds, in the order of the network's outputs."""


def outline(kind: str, middle: tuple[float, float], radius: float, turn: float) -> Points:
    """The outline of one shape in a picture.

    Args:
        kind: One of :data:`KINDS`.
        middle: Column and row of its middle, in pixels.
        radius: Distance of its farthest point from there, in pixels.
        turn: Angle in radians, clockwise.

    Returns:
        Corners in pixels, float64 (P, 2). By the even-odd rule the hole of a ring lies outside.

    Example:
        >>> outline("square", (10, 10), 2**0.5, 0.0).round(6).tolist()
        [[11.0, 9.0], [11.0, 11.0], [9.0, 11.0], [9.0, 9.0]]
    """
    cosine, sine = np.cos(turn), np.sin(turn)
    rotation = np.array([(cosine, sine), (-sine, cosine)])
    turned: Points = np.asarray(middle) + radius * OUTLINES[kind]() @ rotation
    return turned
