"""Saliency methods scored on annotated images: ``python -m benchmarks``."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.evaluation.evaluate import evaluate as evaluate
    from benchmarks.formats.load import load_dataset as load_dataset

_HOMES = {"evaluate": "benchmarks.evaluation.evaluate", "load_dataset": "benchmarks.formats.load"}
"""Where each name lives: nothing is imported before it is used."""

__all__ = ["evaluate", "load_dataset"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
