"""The one exception whose text is meant for the person at the keyboard, and text that is harmless to show."""

from __future__ import annotations

import unicodedata

_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode's categories of what steers a terminal or the direction of writing, or has no glyph."""


def printable(text: object, most: int | None = None) -> str:
    r"""Show control characters, directions of writing and bytes that are no text by their escapes.

    Args:
        text: Anything; its ``str``.
        most: Letters after which the middle is left out.

    Returns:
        The text, of which every letter has a glyph.

    Example:
        >>> printable("a\x1b[2Jb")
        'a\\x1b[2Jb'
        >>> printable("n" * 300, 11)
        'nnnnn…nnnnn'
    """
    shown = "".join(repr(letter)[1:-1] if unicodedata.category(letter) in _HIDDEN else letter for letter in str(text))
    if most is not None and len(shown) > most:
        half = (most - 1) // 2
        shown = f"{shown[: most - 1 - half]}…{shown[-half:]}"
    return shown


class UserError(Exception):
    """Something the user can put right: one sentence that names the culprit and the remedy.

    The command line prints the sentence to stderr and exits with status 2, without a traceback. Names of files in it
    are others' words, so its text holds nothing that steers a terminal.
    """

    def __str__(self) -> str:
        """The sentence, harmless to print."""
        return printable(super().__str__())
