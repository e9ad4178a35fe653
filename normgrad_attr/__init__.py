"""NormGrad saliency maps as Captum-compatible attribution classes."""

from __future__ import annotations

from normgrad_attr import functional as functional
from normgrad_attr import visualize as visualize
from normgrad_attr._attribution import NormGrad
from normgrad_attr._combined import CombinedNormGrad
from normgrad_attr._explain import Explanation, explain
from normgrad_attr._layer_extract import LAYER_EXTRACTS
from normgrad_attr._meta import MetaSaliency
from normgrad_attr._probe import probe_weights
from normgrad_attr._sensitivity import class_sensitivity
from normgrad_attr._smoothing import smooth
from normgrad_attr._suggest import suggest_layers
from normgrad_attr._together import attribute_together
from normgrad_attr._tokens import tokens_to_map

__version__ = "0.1.0"

__all__ = [
    "LAYER_EXTRACTS",
    "CombinedNormGrad",
    "Explanation",
    "MetaSaliency",
    "NormGrad",
    "attribute_together",
    "class_sensitivity",
    "explain",
    "probe_weights",
    "smooth",
    "suggest_layers",
    "tokens_to_map",
]
