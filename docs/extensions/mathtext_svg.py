"""Formulas as SVG inside the page, drawn by matplotlib's mathtext: no scripts, no fonts, no network.

mathtext knows a subset of LaTeX; a formula outside of it stops the build.
"""

from __future__ import annotations

import html
from typing import Any

import matplotlib as mpl
import numpy as np
from docutils import nodes
from matplotlib.font_manager import FontProperties
from matplotlib.mathtext import MathTextParser
from matplotlib.path import Path
from matplotlib.textpath import TextToPath
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

_EX = 4.3  # points per ex of the surrounding text, for a font of SIZE points
_SIZE = 10.0
_COMMANDS = {Path.MOVETO: "M", Path.LINETO: "L", Path.CURVE3: "Q", Path.CURVE4: "C", Path.CLOSEPOLY: "Z"}


def render(latex: str) -> str:
    """The formula as an ``<svg>`` element that sits on the baseline of the text and has its colour.

    Raises:
        ExtensionError: mathtext does not understand the formula.
    """
    source = " ".join(latex.split())
    with mpl.rc_context({"mathtext.fontset": "cm"}):
        font = FontProperties(size=_SIZE)
        try:
            width, height, depth, *_ = MathTextParser("path").parse(f"${source}$", 72, font)
        except ValueError as error:
            raise ExtensionError(f"mathtext cannot draw the formula {latex!r}: {error}") from error
        # TextToPath draws at its own font size.
        drawer = TextToPath()
        vertices, codes = drawer.get_text_path(font, f"${source}$", ismath=True)
    scale = _SIZE / drawer.FONT_SCALE
    path = Path(np.asarray(vertices) * scale, codes)
    pieces = []
    for points, code in path.iter_segments(curves=True, simplify=False):
        pieces.append(_COMMANDS[code] + ("" if code == Path.CLOSEPOLY else " ".join(f"{v:.2f}" for v in points)))
    margin = 0.5
    box = f"{-margin:.2f} {-(height - depth) - margin:.2f} {width + 2 * margin:.2f} {height + 2 * margin:.2f}"
    return (
        f'<svg class="formula" role="img" aria-label="{html.escape(source, quote=True)}" viewBox="{box}" '
        f'style="width:{(width + 2 * margin) / _EX:.2f}ex;height:{(height + 2 * margin) / _EX:.2f}ex;'
        f'vertical-align:{-(depth + margin) / _EX:.2f}ex">'
        f'<path transform="scale(1,-1)" fill="currentColor" d="{"".join(pieces)}"/></svg>'
    )


def visit_math(self: Any, node: nodes.math) -> None:
    """Write a formula in a line of text."""
    self.body.append(render(node.astext()))
    raise nodes.SkipNode


def visit_displaymath(self: Any, node: nodes.math_block) -> None:
    """Write formulas on lines of their own; an empty line in the source begins a new one."""
    lines = [part for part in node.astext().split("\n\n") if part.strip()]
    label = f' id="{html.escape(node["ids"][0])}"' if node.get("ids") else ""
    self.body.append(f'<div class="formula-block"{label}>' + "<br>".join(map(render, lines)) + "</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer with Sphinx."""
    app.add_html_math_renderer(
        "mathtext_svg", inline_renderers=(visit_math, None), block_renderers=(visit_displaymath, None)
    )
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
