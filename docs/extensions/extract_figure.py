"""The drawn figure of the two phases, extract and aggregate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Polygon, Rectangle

INK, BLUE, ORANGE, GREEN = "#26323d", "#4f86c6", "#e08a3c", "#5aa469"


def draw(path: Path) -> None:
    """Write the figure, made of one imaginary layer of 5 x 5 locations and four channels."""
    figure = Figure(figsize=(10.4, 4.3))
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(0, 104), ylim=(0, 43), aspect="equal")
    axis.axis("off")
    _title(axis, 13, "one pass")
    _title(axis, 52, "1. extract")
    _title(axis, 91, "2. aggregate")

    _stack(axis, 4, 25, BLUE)
    axis.text(21.5, 28.6, "$x$", fontsize=15, color=BLUE, ha="left", va="center")
    axis.text(13, 22.1, "activation, kept on the way forward", fontsize=8.5, color=INK, ha="center")
    _stack(axis, 4, 6, ORANGE)
    axis.text(21.5, 12.5, "$g$", fontsize=15, color=ORANGE, ha="left", va="center")
    axis.text(13, 3.1, "gradient of the score, on the way back", fontsize=8.5, color=INK, ha="center")

    # The vectors at one location, and their outer product.
    x, g = (0.9, 0.15, 0.55, 0.35), (0.85, -0.5, 0.25, -0.9)
    side, left, bottom = 3.2, 46.0, 15.5
    for i in range(4):
        _cell(axis, left + i * side, bottom + 4 * side + 1.6, side, x[i], BLUE)
        _cell(axis, left - side - 1.6, bottom + (3 - i) * side, side, g[i], ORANGE)
        for j in range(4):
            _cell(axis, left + j * side, bottom + (3 - i) * side, side, g[i] * x[j], GREEN)
    axis.text(left + 2 * side, bottom + 5 * side + 2.6, "$x_u$", fontsize=13, color=BLUE, ha="center")
    axis.text(left - side - 2.6, bottom + 2 * side, "$g_u$", fontsize=13, color=ORANGE, ha="right", va="center")
    axis.text(left + 4 * side + 1.4, bottom + 2 * side, "$g_u x_u^\\top$", fontsize=13, color=GREEN, va="center")
    for line, text in enumerate((
        "what location $u$ adds to the weight gradient of an",
        "identity layer imagined behind $x$; here a 1 x 1 convolution",
        "(bias: $g_u$;  scaling: $g_u \\odot x_u$;  3 x 3: $g_u\\, x_{N(u)}^\\top$)",
    )):  # fmt: skip
        axis.text(52, 11 - 3 * line, text, fontsize=8.5, color=INK, ha="center")
    axis.text(left + 4 * side + 1.4, bottom - 0.2, "hatched: negative", fontsize=8.5, color=INK, va="bottom")
    _arrow(axis, (10.8, 30.6), (left - 0.8, bottom + 4.5 * side + 1.6), BLUE)
    _arrow(axis, (10.8, 11.6), (left - side - 2.2, bottom + 0.6 * side), ORANGE)

    # One number per location.
    side = 3.2
    rows, columns = np.mgrid[0:5, 0:5]
    bump = np.exp(-((rows - 1.6) ** 2 + (columns - 2.6) ** 2) / 2.2)
    for i in range(5):
        for j in range(5):
            _cell(axis, 83 + j * side, 15.5 + (4 - i) * side, side, bump[i, j], GREEN)
    axis.add_patch(Rectangle((83 + 2 * side, 15.5 + 2 * side), side, side, fill=False, ec=INK, lw=1.8))
    axis.text(91, 33, "$m$", fontsize=13, color=GREEN, ha="center")
    for line, text in enumerate((
        "the size of that summand:",
        "$m_u = \\|g_u x_u^\\top\\| = \\|g_u\\|\\,\\|x_u\\|$",
        "(or its positive part, sum, maximum)",
    )):  # fmt: skip
        axis.text(91, 11 - 3 * line, text, fontsize=8.5, color=INK, ha="center")
    _arrow(axis, (69, bottom + 6.4), (82.0, bottom + 6.4), GREEN)
    figure.savefig(path)


def _title(axis: Axes, x: float, text: str) -> None:
    axis.text(x, 40, text, fontsize=12, fontweight="bold", color=INK, ha="center")


def _stack(axis: Axes, left: float, bottom: float, colour: str) -> None:
    """Four channels of 5 x 5 locations, seen from the front; one location is marked through all channels."""
    side, shift = 2.2, 1.5
    for channel in reversed(range(4)):
        front = 2 + (4 - channel) * 0.1
        x, y = left + channel * shift, bottom + channel * shift * 0.7
        corners = [(x, y), (x + 5 * side, y), (x + 5 * side, y + 5 * side), (x, y + 5 * side)]
        axis.add_patch(Polygon(corners, fc="white", ec=colour, lw=1.0, zorder=front))
        for k in range(1, 5):
            axis.plot([x + k * side] * 2, [y, y + 5 * side], color=colour, lw=0.35, zorder=front)
            axis.plot([x, x + 5 * side], [y + k * side] * 2, color=colour, lw=0.35, zorder=front)
        axis.add_patch(Rectangle((x + 2 * side, y + 2 * side), side, side, fc=colour, ec=INK, lw=0.8, zorder=front))


def _cell(axis: Axes, x: float, y: float, side: float, value: float, colour: str) -> None:
    """A square, the fuller the larger the value's size; hatched if negative."""
    axis.add_patch(Rectangle((x, y), side, side, fc=colour, alpha=min(0.12 + 0.88 * abs(value), 1.0), lw=0))
    hatch = "////" if value < 0 else None
    axis.add_patch(Rectangle((x, y), side, side, fill=False, ec="white" if hatch else INK, lw=0, hatch=hatch))
    axis.add_patch(Rectangle((x, y), side, side, fill=False, ec=INK, lw=0.6))


def _arrow(axis: Axes, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
    axis.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=11, color=colour, lw=1.1,
                                   connectionstyle="arc3,rad=-0.08", zorder=5))  # fmt: skip
