"""Class sensitivity: does the map change with the class that is explained?"""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.metrics.explained_film import ExplainedFilm
from normgrad_attr.functional import is_constant, spearman


def class_sensitivity(film: ExplainedFilm) -> float:
    """Rank correlation of the maps for the explained and for the least likely class; NaN where one is constant.

    References:
        Rebuffi, Fong, Ji, Vedaldi: There and Back Again: Revisiting Backpropagation Saliency Methods. CVPR 2020,
        arXiv:2004.02866, section 4.3.
    """
    return float(rank_correlation(film.maps[film.explained][None], film.maps[film.least_likely][None]))


def rank_correlation(a: Tensor, b: Tensor) -> Tensor:
    """Spearman's correlation of the maps of each film.

    Args:
        a: Float ``(N, 1, h, w)``.
        b: Same shape.

    Returns:
        Float64 ``(N,)``; NaN where one is constant, as the noise of its rounding has no order, or not finite.
    """
    return spearman(a, b).masked_fill(is_constant(a) | is_constant(b), torch.nan)
