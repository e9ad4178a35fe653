"""Tables of text, a header first: as Markdown, and for the terminal."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text


def markdown_table(rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> list[str]:
    """Lines of a Markdown table.

    Args:
        rows: Texts of the cells, a header first.
        left: Columns of words, set to the left; the others hold figures and go to the right.
    """
    head, *body = rows
    ruler = ["---" if i in left else "---:" for i in range(len(head))]
    # A name may hold what would end its cell.
    lines = ([" ".join(text.split()).replace("|", "\\|") for text in row] for row in (head, ruler, *body))
    return [f"| {' | '.join(line)} |" for line in lines]


def terminal_table(title: str, rows: Sequence[Sequence[str]], *, footer: bool = False) -> Table:
    """A table for a narrow terminal: figures stay whole, the names in the first column take two lines where they must.

    Args:
        title: Text above it.
        rows: Texts of the cells, a header first.
        footer: Set off the last row by a line.
    """
    head, *body = rows
    # Text, as brackets in a name are no markup.
    table = Table(title=Text(title, style="table.title"), title_justify="left", box=SIMPLE_HEAD)
    table.add_column(Text(head[0]), overflow="fold")
    for i, name in enumerate(head[1:], start=1):
        breakable = name.replace("_", "_ ")
        width = max(len(text) for text in (*breakable.split(), *(row[i] for row in body), " "))
        lines = textwrap.wrap(breakable, max(width, 9), break_long_words=False)
        header = "\n".join(line.replace("_ ", "_") for line in lines)
        table.add_column(Text(header), justify="right", no_wrap=True, min_width=width)
    for number, row in enumerate(body):
        table.add_row(*map(Text, row), end_section=footer and number == len(body) - 2)
    return table


def with_interval(cell: Sequence[float], digits: int, factor: int = 1, *, sign: bool = False) -> str:
    """A value with its interval as text, such as ``"47.5 [42.0, 52.5]"``.

    Args:
        cell: The value, and perhaps the ends of its interval, which is left out where they are NaN.
        digits: Behind the point.
        factor: What is multiplied first; 100 makes percent of shares.
        sign: Show a plus.
    """
    value, *ends = (format(factor * number, f"{'+' * sign}.{digits}f") for number in cell)
    return value if not ends or math.isnan(cell[1]) else f"{value} [{', '.join(ends)}]"


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun.

    Example:
        >>> counted(1, "film"), counted(2, "film"), counted(0, "class", "classes")
        ('1 film', '2 films', '0 classes')
    """
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def within(tolerance: int) -> str:
    """How near a maximum must come, in words."""
    return f"within {tolerance} px" if tolerance else "inside"
