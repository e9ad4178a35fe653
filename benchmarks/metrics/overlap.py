"""How much of a map lies in the annotation: energy, and intersection over union at an equal area.

The Pointing Game looks at one pixel of a map. These two look at all of it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.metrics.annotated import Annotations
from benchmarks.metrics.frame import ROUNDING, Pixels, Stretched


def energy_share(stretched: Stretched, annotations: Annotations) -> Tensor:
    """Share of a map's positive values that lies in the annotation: the energy-based Pointing Game.

    Negative values count as zero. Where a map has nothing but these, its height above its minimum counts
    instead; a constant map is spread evenly, so that it gets the share of the frame that is annotated.

    Args:
        stretched: N maps.
        annotations: of the N films.

    Returns:
        float64 ``(N,)``, between 0 and 1; NaN for a map that is not finite.

    References:
        Wang et al.: Score-CAM: Score-Weighted Visual Explanations for Convolutional Neural Networks. CVPR
        workshops 2020, arXiv:1910.01279, section 4.3.
    """
    unit, zero, size = stretched.unit, stretched.zero, stretched.frame**2
    counts = torch.tensor(annotations.counts, dtype=torch.float64, device=unit.device)
    inside, whole = annotations.in_cells(*unit.shape[1:])
    # All that follows is a sum over the cells of the map, unless negative values have to be cut off in the frame.
    common = (unit * inside).sum(dim=(1, 2)) - zero * counts
    total = (unit * whole).sum(dim=(1, 2)) - zero * size
    for i in (zero > 0).nonzero()[:, 0]:
        plane = stretched.choose(i[None]).planes[0]
        energy = (plane - zero[i]).clamp(min=0)
        if energy.sum() <= ROUNDING * size:
            energy = plane - plane.min()
        common[i], total[i] = energy[annotations.masks[i]].sum(), energy.sum()
    share = torch.where(total > ROUNDING * size, common / total, counts / size)
    return share.where(stretched.finite, torch.nan)


def area_matched_iou(stretched: Stretched, annotations: Annotations, highest: Pixels | None = None) -> Tensor:
    """Intersection over union of the annotation and the map's highest pixels, as many as the annotation has.

    The threshold is thus set by the annotation. A fixed one, half of the maximum for instance, would compare how
    peaked maps are rather than where they are high: squaring a map changes it. Of pixels that tie for the last
    places, the expected number of a draw by chance counts.

    Args:
        stretched: N maps.
        annotations: of the N films.
        highest: pixels of the maps, if they are known already, as many as the annotations have.

    Returns:
        float64 ``(N,)``, between 0 and 1; 0 for an empty annotation, NaN for a map that is not finite.
    """
    counts = torch.tensor(annotations.counts, dtype=torch.float64, device=stretched.unit.device)
    pixels = stretched.highest([max(count, 1) for count in annotations.counts]) if highest is None else highest
    films, of, value = len(counts), pixels.of, pixels.value
    thresholds = torch.zeros_like(counts)
    for i, values in enumerate(torch.split(value, torch.bincount(of, minlength=films).tolist())):
        if 0 < annotations.counts[i] <= len(values):
            thresholds[i] = values.kthvalue(len(values) - annotations.counts[i] + 1).values
    inside = annotations.masks.flatten(1)[of, pixels.index]
    above = value > thresholds[of] + ROUNDING
    tied = ~above & (value >= thresholds[of] - ROUNDING)

    def number(chosen: Tensor) -> Tensor:
        return torch.bincount(of[chosen], minlength=films).double()

    common = number(above & inside) + (counts - number(above)) * number(tied & inside) / number(tied).clamp(min=1)
    # A constant map is one tie over the frame.
    common = torch.where(stretched.constant, counts * counts / stretched.frame**2, common)
    iou = torch.where(counts > 0, common / (2 * counts - common), 0.0)
    return iou.where(stretched.finite, torch.nan)
