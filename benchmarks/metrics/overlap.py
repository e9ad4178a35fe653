"""How much of a map lies in the annotation: energy, and intersection over union at an equal area.

The Pointing Game looks at one pixel of a map. These two look at all of it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_ROUNDING = 1e-12  # of an interpolation in float64 of maps scaled to [0, 1]


def energy_share(plane: npt.NDArray[np.floating], mask: npt.NDArray[np.bool_], zero: float = 0.0) -> float:
    """Share of a map's positive values that lies in the annotation: the energy-based Pointing Game.

    Negative values count as zero. Where a map has nothing but these, its height above its minimum counts
    instead; a constant map is spread evenly, so that it gets the share of the frame that is annotated.

    Args:
        plane: float ``(height, width)``, scaled to [0, 1].
        mask: bool ``(height, width)``.
        zero: where the value 0 of the map lies on the scale of ``plane``.

    Returns:
        Between 0 and 1.

    References:
        Wang et al.: Score-CAM: Score-Weighted Visual Explanations for Convolutional Neural Networks. CVPR
        workshops 2020, arXiv:1910.01279, section 4.3.
    """
    for origin in (zero, plane.min()):
        energy = np.maximum(plane - origin, 0)
        total = float(energy.sum())
        if total > _ROUNDING * plane.size:
            return float(energy[mask].sum()) / total
    return float(mask.mean())


def area_matched_iou(plane: npt.NDArray[np.floating], mask: npt.NDArray[np.bool_]) -> float:
    """Intersection over union of the annotation and the map's highest pixels, as many as the annotation has.

    The threshold is thus set by the annotation. A fixed one, half of the maximum for instance, would compare how
    peaked maps are rather than where they are high: squaring a map changes it. Of pixels that tie for the last
    places, the expected number of a draw by chance counts.

    Args:
        plane: float ``(height, width)``, scaled to [0, 1].
        mask: bool ``(height, width)``.

    Returns:
        Between 0 and 1; 0 for an empty annotation.
    """
    count = int(mask.sum())
    if count == 0:
        return 0.0
    threshold = np.partition(plane, plane.size - count, axis=None)[plane.size - count]
    # Equal values come out of the interpolation with different rounding, which must not choose.
    above = plane > threshold + _ROUNDING
    tied = ~above & (plane >= threshold - _ROUNDING)
    places = count - int(above.sum())
    common = int((above & mask).sum()) + places * int((tied & mask).sum()) / int(tied.sum())
    return common / (2 * count - common)
