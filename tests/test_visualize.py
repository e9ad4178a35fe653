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
from PIL import Image
from torch import Tensor

from normgrad_attr.visualize import heat, overlay


def drawn(figure: Figure) -> list[list[np.ndarray[Any, Any]]]:
    """For each panel, the arrays shown in it; and check that it can be written."""
    figure.savefig(io.BytesIO())
    return [[np.asarray(image.get_array()) for image in axes.images] for axes in figure.axes]


def coloured(values: Tensor, low: float, high: float, cmap: str, alpha: float = 0.5) -> np.ndarray[Any, Any]:
    """What matplotlib itself makes of the values, uint8 RGBA."""
    scale = mpl.cm.ScalarMappable(mpl.colors.Normalize(low, high), cmap)
    return np.asarray(scale.to_rgba(values.double().numpy(), alpha=alpha, bytes=True))


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
    last = maps["b"][1].sum(0)
    np.testing.assert_allclose(panels[5][1], coloured(last, last.min().item(), last.max().item(), "inferno"), atol=2)
    assert panels[4][1].shape == (16, 12, 4)


@pytest.mark.parametrize("image", [(3, 8, 8), (1, 8, 8), (8, 8), (1, 3, 8, 8)])
@pytest.mark.parametrize("shape", [(1, 1, 4, 4), (1, 4, 4), (4, 4)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_single_images_and_maps_of_any_shape(
    image: tuple[int, ...], shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    images = torch.randint(0, 255, image, dtype=torch.uint8)
    panels = drawn(overlay(images, torch.rand(shape, requires_grad=True).to(dtype)))
    assert [len(p) for p in panels] == [1, 2]
    assert panels[1][1].shape == (8, 8, 4)


def test_a_list_of_maps_has_one_column_each() -> None:
    images, maps = torch.rand(2, 3, 8, 8), [torch.rand(2, 1, 8, 8), torch.rand(2, 1, 4, 4)]
    for given in (maps, tuple(maps), [m.numpy() for m in maps]):
        figure = overlay(images, given)
        assert [axes.get_title() for axes in figure.axes] == ["", "map 1", "map 2", "", "", ""]
        np.testing.assert_array_equal(drawn(figure)[4][1], heat(maps[0][1, 0]))
    # Captum draws arrays with their channels last, so that is how some have their maps.
    last = np.moveaxis(maps[0].numpy(), 1, -1)
    np.testing.assert_array_equal(drawn(overlay(images, last))[3][1], heat(maps[0][1, 0]))
    np.testing.assert_array_equal(drawn(overlay(images[1], last[1]))[1][1], heat(maps[0][1, 0]))


def test_arrays_and_pil_images_and_lists_of_images() -> None:
    picture = torch.randint(0, 255, (5, 7, 3), dtype=torch.uint8).numpy()
    channels_first = torch.from_numpy(picture).movedim(-1, 0)
    expected = drawn(overlay(channels_first, torch.rand(4, 4)))[0][0]
    np.testing.assert_allclose(expected, (picture - picture.min()) / np.ptp(picture).astype(float), rtol=1e-5)
    red_last = np.stack([picture[..., i] for i in (2, 1, 0)], -1)
    palette = Image.fromarray(picture).quantize(256)
    for given in (
        picture,
        picture[:, ::-1][:, ::-1],
        channels_first.numpy(),
        Image.fromarray(picture),
        red_last[..., ::-1],
    ):
        np.testing.assert_array_equal(drawn(overlay(given, torch.rand(4, 4).numpy()))[0][0], expected)
    assert drawn(overlay(palette, torch.rand(4, 4)))[0][0].shape == (5, 7, 3)
    for given in ([picture, Image.fromarray(picture)], np.stack([picture] * 2), [channels_first, channels_first[None]]):
        panels = drawn(overlay(given, torch.rand(2, 1, 4, 4)))
        for row in (0, 2):
            np.testing.assert_array_equal(panels[row][0], expected)
    for mode, values in (("I;16", np.uint16), ("L", np.uint8), ("F", np.float32)):
        grey = Image.fromarray(picture[..., 0].astype(values))
        assert grey.mode == mode
        ours = drawn(overlay(grey, torch.rand(4, 4)))[0][0]
        np.testing.assert_allclose(ours[..., 0], drawn(overlay(channels_first[0], torch.rand(4, 4)))[0][0][..., 0])


def test_rounding_noise_of_a_constant_map_is_not_drawn() -> None:
    values = torch.full((4, 4), 3.0)
    values[1] += 1e-6
    figure = overlay(torch.rand(3, 4, 4), values)
    assert (drawn(figure)[1][1] == heat(torch.zeros(4, 4)).numpy()).all()
    assert figure.axes[1].get_title() == "(constant)"


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
    assert ((panel[1][..., 3] == 0) == holes.numpy()).all()


def test_signed_maps_are_symmetrical_about_zero() -> None:
    values = torch.tensor([[-3.0, 0.0], [1.0, 2.0]])
    np.testing.assert_allclose(heat(values), coloured(values, -3, 3, "RdBu_r"), atol=1)
    np.testing.assert_allclose(heat(values + 4, cmap="viridis"), coloured(values + 4, 1, 6, "viridis"), atol=1)


def test_outliers_are_cut_off() -> None:
    values = torch.arange(100.0).reshape(10, 10)
    values[9, 9] = 1e6
    top = np.quantile(values, 0.98)
    np.testing.assert_allclose(heat(values, outliers=0.02), coloured(values, 0, top, "inferno"), atol=1)
    spike = torch.zeros(10, 10)
    spike[3, 4] = 7.0  # all else is alike, so there is no other top
    assert heat(spike, outliers=0.02, fade=True)[..., 3].nonzero().tolist() == [[3, 4]]


def test_a_map_that_fades_hides_the_image_where_it_is_high() -> None:
    values = torch.tensor([[-1.0, 0.0], [3.0, torch.nan]])
    colours = heat(values, alpha=0.8, fade=True)
    assert colours[..., 3].tolist() == [[0, round(255 * 0.8 * 0.5)], [round(255 * 0.8), 0]]
    assert colours[1, 0, :3].tolist() == coloured(torch.ones(1), 0, 1, "inferno")[0, :3].tolist()
    assert not heat(torch.full((3, 3), 7.0) + 1e-6 * torch.rand(3, 3), fade=True)[..., 3].any()


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
        (lambda: overlay(torch.rand(3, 4, 4), torch.rand(4, 4), titles=["a", "b"]), "titles has 2 for 1 images"),
        (lambda: overlay(torch.rand(3, 4, 4), torch.rand(4, 4), titles="a"), "titles has one string for 1 images"),
        (lambda: overlay(torch.rand(3, 4, 4), torch.rand(4, 4), outliers=1.0), "outliers"),
        (lambda: overlay(torch.rand(3, 4, 4), []), "no maps"),
        (lambda: overlay([], torch.rand(4, 4)), "at least one"),
        (lambda: overlay([torch.rand(3, 4, 4), torch.rand(3, 4, 5)], torch.rand(2, 1, 4, 4)), "same shape"),
        (lambda: overlay(torch.rand(3, 4, 3).numpy(), torch.rand(4, 4)), "channels first or last"),
        (lambda: overlay(torch.rand(2, 3, 4, 4), [torch.rand(4, 4)] * 2), "map 1 of shape .* to 2 images"),
        (lambda: heat(torch.rand(1, 4, 4)), r"has shape \(H, W\), this one \(1, 4, 4\)"),
    ],
)
def test_errors(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: overlay("film.png", torch.rand(4, 4)), "Images are tensors.* not str"),
        (lambda: overlay(torch.rand(3, 4, 4), None), "Maps are tensors or NumPy arrays of real numbers, not NoneType"),
        (lambda: overlay(torch.rand(3, 4, 4), {"a": "b"}), "Maps a are tensors"),
        (lambda: overlay(torch.rand(3, 4, 4), torch.rand(4, 4).cfloat()), r"not torch\.complex64 Tensor"),
        (lambda: overlay(np.array([["a"]]), torch.rand(4, 4)), "not <U1 ndarray"),
        (lambda: heat(np.ones((4, 4))), "are tensors, not ndarray"),
    ],
)
def test_other_types(call: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        call()
