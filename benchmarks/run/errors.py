"""The one exception whose text is meant for the person at the keyboard."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can put right: one sentence that names the culprit and the remedy.

    The command line prints the sentence to stderr and exits with status 2, without a traceback.
    """
