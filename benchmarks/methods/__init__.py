"""The saliency methods of the benchmark: one entry a method, in a table for each family.

To add a method, write a builder (a function that gets a :class:`Context` and returns a function from images and target
classes to maps) and one entry in the ``METHODS`` of the module where it belongs. Nothing else changes.
"""

from __future__ import annotations

from benchmarks.methods.context import BUDGET, Context, TrainingFilms
from benchmarks.methods.layer_choice import Layers
from benchmarks.methods.method import Explain, Method, Prepared, prepare_together, reduce_channels
from benchmarks.methods.registry import METHODS, SETS, near_names, register, select_methods

__all__ = [
    "BUDGET",
    "METHODS",
    "SETS",
    "Context",
    "Explain",
    "Layers",
    "Method",
    "Prepared",
    "TrainingFilms",
    "near_names",
    "prepare_together",
    "reduce_channels",
    "register",
    "select_methods",
]
