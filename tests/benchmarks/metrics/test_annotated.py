from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt

from benchmarks.metrics.annotated import Annotations


@pytest.fixture
def masks():
    """A box and a lone pixel; a ring with a hole; a box at the border; nothing; everything."""
    masks = torch.zeros(5, 40, 40, dtype=torch.bool)
    masks[0, 5:14, 20:32] = True
    masks[0, 39, 0] = True
    masks[1, 10:30, 10:30] = True
    masks[1, 14:26, 14:26] = False
    masks[2, 0:3, 33:40] = True
    masks[4] = True
    return masks


def test_distances_are_those_of_a_distance_transform(masks):
    annotations = Annotations(masks)
    expected = [distance_transform_edt(~mask) for mask in masks.numpy()]
    for x, y in torch.randint(0, 40, (200, 2), generator=torch.Generator().manual_seed(0)).tolist():
        found = annotations.distances(torch.tensor([[x, y]] * 5)).tolist()
        for i in (0, 1, 2, 4):
            assert found[i] == pytest.approx(float(expected[i][y, x]), abs=1e-12)
        assert found[3] == float("inf")


def test_counts(masks):
    assert Annotations(masks).counts == [109, 256, 21, 0, 1600]


@pytest.mark.parametrize("shape", [(7, 7), (3, 11), (40, 40), (64, 50)])
def test_sums_over_cells_are_sums_over_annotated_pixels(masks, shape):
    maps = torch.randn(5, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    planes = F.interpolate(maps[:, None], size=(40, 40), mode="bilinear", align_corners=False)[:, 0]
    inside, whole = Annotations(masks).in_cells(*shape)
    torch.testing.assert_close((maps * inside).sum(dim=(1, 2)), (planes * masks).sum(dim=(1, 2)), rtol=0, atol=1e-10)
    torch.testing.assert_close((maps * whole).sum(dim=(1, 2)), planes.sum(dim=(1, 2)), rtol=0, atol=1e-10)
