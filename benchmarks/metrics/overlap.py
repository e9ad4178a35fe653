"""How much of a map lies in the annotation: energy, and intersection over union at an equal area.

The Pointing Game looks at one pixel of a map. These two look at all of it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.metrics.annotated import Annotations
from benchmarks.metrics.frame import ROUNDING, Pieces, Stretched


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
    unit, size = stretched.unit, stretched.frame**2
    # Where nothing is positive, the frame's minimum takes the place of the zero.
    negative = (stretched.zero >= 1).nonzero()[:, 0]
    zero = (
        stretched.zero.index_put((negative,), stretched.choose(negative).lowest()) if len(negative) else stretched.zero
    )
    counts = torch.tensor(annotations.counts, dtype=torch.float64, device=unit.device)
    inside, whole = annotations.in_cells(*unit.shape[1:])
    # All that follows is a sum over the cells of the map, unless negative values have to be cut off in the frame.
    common = (unit * inside).sum(dim=(1, 2)) - zero * counts
    total = (unit * whole).sum(dim=(1, 2)) - zero * size
    for i in ((stretched.zero > 0) & (stretched.zero < 1)).nonzero()[:, 0]:
        plane = stretched.choose(i[None]).planes[0]
        energy = (plane - zero[i]).clamp(min=0)
        if energy.sum() <= ROUNDING * size:
            energy = plane - plane.min()
        common[i], total[i] = energy[annotations.masks[i]].sum(), energy.sum()
    share = torch.where(total > ROUNDING * size, common / total, counts / size)
    return share.where(stretched.finite, torch.nan)


def area_matched_iou(stretched: Stretched, annotations: Annotations, highest: Pieces | None = None) -> Tensor:
    """Intersection over union of the annotation and the map's highest pixels, as many as the annotation has.

    The threshold is thus set by the annotation. A fixed one, half of the maximum for instance, would compare how
    peaked maps are rather than where they are high: squaring a map changes it. Of pixels that tie for the last
    places, the expected number of a draw by chance counts.

    Args:
        stretched: N maps.
        annotations: of the N films.
        highest: pieces of the maps, if they are known already, with as many pixels as the annotations have.

    Returns:
        float64 ``(N,)``, between 0 and 1; 0 for an empty annotation, NaN for a map that is not finite.
    """
    counts = torch.tensor(annotations.counts, dtype=torch.float64, device=stretched.unit.device)
    pieces = stretched.highest(annotations.at_least_one) if highest is None else highest
    # Equal values come out of the interpolation with different rounding, which must not choose.
    above, reached = pieces.levels + ROUNDING, pieces.levels - ROUNDING
    found = []
    for i, (values, annotated) in enumerate(pieces.by_map(pieces.values, annotations.pieces(pieces))):
        for chosen in (values > above[i], values >= reached[i]):
            found += [chosen.count_nonzero(), (chosen & annotated).count_nonzero()]
    all_above, common_above, all_reached, common_reached = torch.stack(found).view(-1, 4).double().T
    # Expected, of as many pixels as there are in the annotation; of a constant map, which is one tie over the frame.
    drawn = (counts - all_above) * (common_reached - common_above) / (all_reached - all_above)
    common = torch.where(all_reached > 0, common_above + drawn, counts * counts / stretched.frame**2)
    iou = torch.where(counts > 0, common / (2 * counts - common), 0.0)
    return iou.where(stretched.finite, torch.nan)
