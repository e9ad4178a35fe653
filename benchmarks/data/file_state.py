"""What tells that a file is the one that was looked at before, without a look at what it holds."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path


def file_state(path: Path) -> str:
    """Place, size and time of change of a file.

    Args:
        path: The file; a link to it counts as a place of its own.

    Raises:
        OSError: There is none, or it cannot be reached.
    """
    status = os.stat(path)
    folder, name = os.path.split(path)
    return f"{_resolved(folder)}/{name} {status.st_size} {status.st_mtime_ns}"


@lru_cache(64)  # thousands of files lie in one folder
def _resolved(folder: str) -> str:
    return os.path.realpath(folder)
