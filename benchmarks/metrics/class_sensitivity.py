"""Class sensitivity: does the map change with the class that is explained?"""

from __future__ import annotations

from benchmarks.metrics.explained_film import ExplainedFilm
from normgrad_attr.functional import spearman


def class_sensitivity(film: ExplainedFilm) -> float:
    """Rank correlation of the maps for the explained and for the least likely class; NaN where one is constant.

    References:
        Rebuffi, Fong, Ji, Vedaldi: There and Back Again: Revisiting Backpropagation Saliency Methods. CVPR 2020,
        arXiv:2004.02866, section 4.3.
    """
    return float(spearman(film.maps[film.explained][None], film.maps[film.least_likely][None]))
