"""CheXlocalize, by files written as its authors describe gt_annotations and gt_segmentations."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import load_dataset
from benchmarks.formats.category_mask import category_mask
from benchmarks.formats.run_lengths import compress

NAME = "patient64741_study1_view1_frontal"
CONTOURS = {
    NAME: {
        "img_size": [6, 8],
        "Edema": [[[1.0, 1.0], [3.0, 1.0], [3.0, 5.0], [1.0, 5.0]], [[6, 0], [8, 0], [8, 2], [6, 2]]],
        "Cardiomegaly": [[[0, 5], [4, 5], [4, 6], [0, 6]]],
    }
}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Laid out like CheXpert."""
    folder = tmp_path / "CheXpert" / "test" / "patient64741" / "study1"
    folder.mkdir(parents=True)
    Image.new("L", (8, 6)).save(folder / "view1_frontal.jpg")
    return tmp_path / "CheXpert" / "test"


def drawn() -> np.ndarray:
    mask = np.zeros((6, 8), dtype=bool)
    mask[1:5, 1:3] = mask[0:2, 6:8] = True
    return mask


def test_contours(tmp_path: Path, images: Path) -> None:
    """The size is height and width, points are x and y; each contour is an object."""
    path = tmp_path / "gt_annotations_test.json"
    path.write_text(json.dumps(CONTOURS))
    data = load_dataset(path, images)
    assert (data.format, data.categories) == ("chexlocalize", ("Cardiomegaly", "Edema"))
    (image,) = data.images
    assert image.path == images / "patient64741" / "study1" / "view1_frontal.jpg"
    assert image.size == (8, 6)
    assert [found.box for found in image.objects if found.category == "Edema"] == [(1, 1, 3, 5), (6, 0, 8, 2)]
    np.testing.assert_array_equal(category_mask(image, "Edema", (6, 8), "shape"), drawn())


def test_run_lengths_down_the_columns(tmp_path: Path, images: Path) -> None:
    """All findings have some, though without a pixel where there is nothing."""
    counts = [7, 4, 2, 4, 19, 2, 4, 2, 4]  # columns of 6: row 1 of column 1, ...
    assert sum(counts) == 48
    runs = {"Edema": compress(counts), "Cardiomegaly": compress([48])}
    content = {NAME: {name: {"size": [6, 8], "counts": text} for name, text in runs.items()}}
    path = tmp_path / "gt_segmentations_test.json"
    path.write_text(json.dumps(content))
    (image,) = load_dataset(path, images).images
    assert image.labels == ("Edema",)
    assert [found.box for found in image.objects] == [(6, 0, 8, 2), (1, 1, 3, 5)]
    np.testing.assert_array_equal(category_mask(image, "Edema", (6, 8), "shape"), drawn())
