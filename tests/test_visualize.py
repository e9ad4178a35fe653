from __future__ import annotations

import io
import subprocess
import sys
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor

from normgrad_attr.visualize import overlay


def drawn(figure: Figure) -> list[list[np.ndarray[Any, Any]]]:
    """For each panel, the arrays shown in it; and check that it can be written."""
    figure.savefig(io.BytesIO())
    return [[np.ma.filled(image.get_array().astype(float), np.nan) for image in axes.images] for axes in figure.axes]


@pytest.mark.parametrize("image", [(2, 3, 16, 12), (2, 1, 16, 12)])
def test_a_batch_has_one_row_per_sample_and_one_column_per_method(image: tuple[int, ...]) -> None:
    images, maps = torch.randn(image), {"a": torch.rand(2, 1, 4, 3), "b": torch.rand(2, 3, 16, 12)}
    figure = overlay(images, maps, titles=["first", "second"])
    panels = drawn(figure)
    assert len(panels) == 6
    assert [axes.get_title() for axes in figure.axes] == ["first", "a", "b", "second", "", ""]
    for panel in panels:
        assert panel[0].shape == (16, 12, 3)
        assert panel[0].min() == 0
        assert panel[0].max() == 1
    np.testing.assert_allclose(panels[5][1], maps["b"][1].sum(0), rtol=1e-5)
    assert panels[4][1].shape == (16, 12)


@pytest.mark.parametrize("image", [(3, 8, 8), (1, 8, 8), (8, 8), (1, 3, 8, 8)])
@pytest.mark.parametrize("shape", [(1, 1, 4, 4), (1, 4, 4), (4, 4)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_single_images_and_maps_of_any_shape(
    image: tuple[int, ...], shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    images = torch.randint(0, 255, image, dtype=torch.uint8)
    panels = drawn(overlay(images, torch.rand(shape, requires_grad=True).to(dtype)))
    assert [len(p) for p in panels] == [1, 2]
    assert panels[1][1].shape == (8, 8)


@pytest.mark.parametrize(
    ("values", "note"),
    [
        (torch.zeros(4, 4), "constant"),
        (torch.full((4, 4), -2.0), "constant"),
        (torch.full((4, 4), torch.nan), "not finite"),
        (torch.full((4, 4), torch.inf), "not finite"),
        (torch.tensor([[1.0, torch.nan], [torch.inf, 2.0]]), "partly not finite"),
    ],
)
def test_constant_maps_and_maps_that_are_not_finite(values: Tensor, note: str) -> None:
    figure = overlay(torch.rand(3, 4, 4), {"map": values})
    panel = drawn(figure)[1]
    assert figure.axes[1].get_title() == f"map ({note})"
    holes = torch.nn.functional.interpolate((~values.isfinite()).float()[None, None], (4, 4))[0, 0].bool()
    assert (np.isnan(panel[1]) == holes.numpy()).all()


def test_signed_maps_are_symmetrical_about_zero() -> None:
    values = torch.tensor([[-3.0, 0.0], [1.0, 2.0]])
    image = overlay(torch.rand(2, 2), values).axes[1].images[1]
    assert image.get_clim() == (-3, 3)
    assert image.get_cmap().name == "RdBu_r"
    image = overlay(torch.rand(2, 2), values + 4, cmap="viridis").axes[1].images[1]
    assert image.get_clim() == (1, 6)
    assert image.get_cmap().name == "viridis"


def test_outliers_are_cut_off() -> None:
    values = torch.arange(100.0).reshape(10, 10)
    values[9, 9] = 1e6
    low, high = overlay(torch.rand(10, 10), values, outliers=0.02).axes[1].images[1].get_clim()
    assert low == 0
    assert 96 < high < 99


def test_images_that_are_constant_or_not_finite() -> None:
    for image in (torch.full((3, 4, 4), 7.0), torch.full((3, 4, 4), torch.nan)):
        assert (drawn(overlay(image, torch.rand(4, 4)))[0][0] == 0).all()


def test_pyplot_and_its_settings_are_left_alone() -> None:
    before = dict(mpl.rcParams)
    overlay(torch.rand(4, 4), torch.rand(4, 4))
    assert dict(mpl.rcParams) == before
    program = "import normgrad_attr.visualize, sys; v = normgrad_attr.visualize; import torch; n = set(sys.modules)\n"
    program += "v.overlay(torch.rand(4, 4), torch.rand(4, 4)); assert 'matplotlib.figure' in sys.modules\n"
    program += "assert 'matplotlib.pyplot' not in set(sys.modules) - n"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: overlay(torch.rand(2, 4, 4), torch.rand(4, 4)), r"Images have shape .* these \(2, 4, 4\)"),
        (lambda: overlay(torch.rand(0, 3, 4, 4), torch.rand(0, 1, 4, 4)), "Images have shape"),
        (lambda: overlay(torch.rand(2, 3, 4, 4), torch.rand(1, 1, 4, 4)), "do not belong to 2 images"),
        (lambda: overlay(torch.rand(3, 4, 4), {"a": torch.rand(1, 1, 17, 3, 2)}), r"Maps a of shape .*tokens_to_map"),
        (lambda: overlay(torch.rand(3, 4, 4), torch.rand(4, 4), titles=["a", "b"]), "2 titles"),
        (lambda: overlay(torch.rand(3, 4, 4), torch.rand(4, 4), outliers=1.0), "outliers"),
    ],
)
def test_errors(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
