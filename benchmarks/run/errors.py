"""The one exception whose text is meant for the person at the keyboard."""

from __future__ import annotations

from benchmarks.run.printable import printable


class UserError(Exception):
    """Something the user can put right: one sentence that names the culprit and the remedy.

    The command line prints the sentence to stderr and exits with status 2, without a traceback. Names of files in it
    are others' words, so its text holds nothing that steers a terminal.
    """

    def __str__(self) -> str:
        """The sentence, harmless to print."""
        return printable(super().__str__())
