"""Classifiers from anywhere: a file of the user's, timm, torchvision, transformers; what each wants to see."""

from __future__ import annotations

from benchmarks.models.opened_model import OpenModel, open_model
from benchmarks.models.preparation import Preparation
from benchmarks.models.specification import load_model

__all__ = ["OpenModel", "Preparation", "load_model", "open_model"]
