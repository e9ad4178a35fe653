from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from benchmarks.metrics.frame import clip_at_percentile, stretch


def maps_of_all_kinds(shape: tuple[int, int]) -> torch.Tensor:
    """Noise, a few levels with plateaus, a lone peak, a slope, a constant map and one with a NaN."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(shape, generator=generator)
    levels = torch.randint(0, 4, shape, generator=generator).float()
    peak = torch.zeros(shape)
    peak[shape[0] // 2, shape[1] // 3] = 1
    slope = torch.linspace(0, 1, shape[0])[:, None].expand(shape)
    return torch.stack([noise, levels, peak, slope, torch.ones(shape), torch.full(shape, torch.nan)])[:, None]


@pytest.mark.parametrize("shape", [(1, 4), (7, 7), (40, 60), (90, 70)])
@pytest.mark.parametrize("frame", [60, 53])
def test_the_highest_pixels_are_those_of_the_whole_frame(shape, frame):
    maps = maps_of_all_kinds(shape)
    counts = [1, 300, 25, 60, 40, 10]
    stretched = stretch(maps, frame)
    whole = F.interpolate(maps.double(), size=(frame, frame), mode="bilinear", align_corners=False)[:, 0]
    pieces = stretched.highest(counts)
    for i, (values, found) in enumerate(pieces.by_map(pieces.values, pieces.pixels)):
        if stretched.constant[i] or not stretched.finite[i]:
            assert len(values) == len(pieces.ties[i]) == 0
            assert torch.equal(stretched.planes[i], torch.zeros(frame, frame, dtype=torch.float64))
            continue
        unit = (whole[i] - maps[i].min()) / (maps[i].max() - maps[i].min())
        torch.testing.assert_close(stretched.planes[i], unit, rtol=0, atol=1e-12)
        unit = unit.flatten()
        wanted = (unit >= unit.sort(descending=True).values[counts[i] - 1] - 1e-12).nonzero()[:, 0]
        assert set(wanted.tolist()) <= set(found.tolist())
        torch.testing.assert_close(values, unit[found], rtol=0, atol=1e-12)
        assert pieces.ties[i].tolist() == (unit >= unit.max() - 1e-12).nonzero()[:, 0].tolist()


def test_few_more_pixels_are_made_than_are_asked_for():
    away = torch.linspace(-1, 1, 14)
    saliency = torch.exp(-((away[:, None] - 0.3) ** 2 + (away - 0.2) ** 2) * 9)
    pieces = stretch(saliency[None, None]).highest([5000])
    assert 5000 <= pieces.values.numel() < 11000


def test_maps_are_left_as_they_are():
    maps = maps_of_all_kinds((7, 7))[:4].double()
    before = maps.clone()
    stretch(maps)
    clip_at_percentile(maps)
    assert torch.equal(maps, before)
