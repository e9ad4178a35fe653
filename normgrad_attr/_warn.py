"""Warnings that point at the user's line."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from pathlib import Path

import captum.attr
import torch

# The package, what it derives from and what may call it back: none of these lines is the user's.
_PACKAGES = tuple(f"{Path(file).parent}{os.sep}" for file in (__file__, captum.__file__, torch.__file__))
_NOT_THE_USERS = (*_PACKAGES, contextlib.__file__)


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the innermost line that is neither this package's, nor Captum's, nor torch's."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_NOT_THE_USERS):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
