"""NormGrad saliency maps as Captum-compatible attribution classes."""

from __future__ import annotations

from normgrad_attr.attribution import NormGrad
from normgrad_attr.combined import CombinedNormGrad
from normgrad_attr.layer_extract import LAYER_EXTRACTS
from normgrad_attr.meta import MetaSaliency
from normgrad_attr.probe import probe_weights
from normgrad_attr.sensitivity import class_sensitivity
from normgrad_attr.smoothing import smooth
from normgrad_attr.suggest import suggest_layers
from normgrad_attr.tokens import tokens_to_map

__version__ = "0.1.0"

__all__ = [
    "LAYER_EXTRACTS",
    "CombinedNormGrad",
    "MetaSaliency",
    "NormGrad",
    "class_sensitivity",
    "probe_weights",
    "smooth",
    "suggest_layers",
    "tokens_to_map",
]
