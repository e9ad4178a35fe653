from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from torch import nn
from torchvision.transforms.functional import gaussian_blur

from normgrad_attr import CombinedNormGrad, smooth


@given(sides=st.lists(st.integers(9, 14), min_size=1, max_size=3), sigma=st.floats(0.3, 2), radius=st.integers(0, 8))
def test_equals_scipy(sides: list[int], sigma: float, radius: int) -> None:
    x = torch.rand(2, 3, *sides, dtype=torch.float64)
    axes = tuple(range(2, x.dim()))
    expected = gaussian_filter(x.numpy(), sigma, mode="mirror", radius=radius, axes=axes)
    np.testing.assert_allclose(smooth(x, sigma, 2 * radius + 1).numpy(), expected, rtol=1e-10)


def test_the_default_is_the_kernel_of_the_paper() -> None:
    x = torch.rand(2, 1, 20, 17)
    torch.testing.assert_close(smooth(x, 1), gaussian_blur(x, 11, 1.0))
    assert smooth(x, 1).equal(smooth(x, 1.0, 11))


def test_small_maps_are_smoothed_as_far_as_they_can_be_reflected() -> None:
    x = torch.rand(1, 1, 3, 3)
    assert smooth(x, 2).equal(smooth(x, 2, 5))
    assert smooth(x[..., :1, :1], 2).allclose(x[..., :1, :1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_keeps_dtype_and_range(dtype: torch.dtype) -> None:
    x = torch.rand(1, 2, 16, 16).to(dtype)
    found = smooth(x, 3)
    assert found.dtype == dtype
    assert found.amin() >= x.amin()
    assert found.amax() <= x.amax()
    assert smooth(torch.ones(1, 1, 9, 9, dtype=dtype), 1).sub(1).abs().amax() < 1e-6


@pytest.mark.parametrize(
    ("shape", "sigma", "kernel", "message"),
    [
        ((9, 9), 1, None, "shape .N, C"),
        ((1, 1, 9, 9), 0, None, "must be positive"),
        ((1, 1, 9, 9), float("nan"), None, "must be positive"),
        ((1, 1, 9, 9), 1, 4, "odd and positive, not 4"),
        ((1, 1, 9, 9), 1, -1, "odd and positive, not -1"),
        ((1, 1, 9, 5), 1, 11, "at most 9"),
    ],
)
def test_errors(shape: tuple[int, ...], sigma: float, kernel: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        smooth(torch.rand(shape), sigma, kernel)


def test_combined_maps_are_smoothed_at_the_size_of_the_input_and_fill_the_range_again() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3), nn.Flatten())
    x = torch.randn(2, 3, 16, 16)
    rough = CombinedNormGrad(model, ["0", "3"]).attribute(x, target=5)
    found = CombinedNormGrad(model, ["0", "3"], smoothing=1.5).attribute(x, target=5)
    expected = smooth(rough, 1.5).flatten(1)
    low, high = expected.amin(1, keepdim=True), expected.amax(1, keepdim=True)
    torch.testing.assert_close(found.flatten(1), (expected - low) / (high - low))
    with pytest.raises(ValueError, match="must be positive"):
        CombinedNormGrad(model, ["0"], smoothing=0)
