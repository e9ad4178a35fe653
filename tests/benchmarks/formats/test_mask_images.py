from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import load_dataset
from benchmarks.formats.category_mask import category_mask
from benchmarks.run.errors import UserError

VALUES = np.array([[0, 0, 1, 1], [2, 0, 0, 0], [2, 0, 255, 1]], dtype=np.uint8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "images" / "deep").mkdir(parents=True)
    Image.new("RGB", (4, 3)).save(tmp_path / "images" / "1.jpg")
    Image.new("L", (4, 3)).save(tmp_path / "images" / "deep" / "2.png")
    (tmp_path / "masks").mkdir()
    return tmp_path


def save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(np.uint8)).save(path)


def test_a_file_a_class(root: Path) -> None:
    """All but 0 counts, and each connected piece is an object."""
    save(root / "masks" / "heart" / "1.png", (VALUES == 1) * 255)
    save(root / "masks" / "lung" / "1.png", VALUES == 2)
    save(root / "masks" / "lung" / "2.png", np.zeros((3, 4)))
    data = load_dataset(root)
    assert (data.format, data.categories) == ("masks", ("heart", "lung"))
    first, second = data.images
    assert (first.name, first.path.name, second.path.name) == ("1", "1.jpg", "2.png")
    assert [(found.category, found.box) for found in first.objects] == [
        ("heart", (2, 0, 4, 1)), ("heart", (3, 2, 4, 3)), ("lung", (0, 1, 1, 3)),
    ]  # fmt: skip
    np.testing.assert_array_equal(category_mask(first, "heart", (3, 4), "shape"), VALUES == 1)
    assert second.labels == ()


@pytest.mark.parametrize("palette", [False, True])
def test_a_value_a_class(root: Path, palette: bool) -> None:
    """Values from 1 on have names, 255 was not judged; a palette's colours are nothing to us."""
    image = Image.fromarray(VALUES)
    if palette:
        image = image.convert("P")
        image.putdata(VALUES.ravel().tolist())
        image.putpalette(list(range(255, -1, -1)) * 3)
    image.save(root / "masks" / "1.png")
    (root / "masks" / "classes.txt").write_text("heart\nlung\n")
    data = load_dataset(root / "masks", images=root / "images")
    assert data.categories == ("heart", "lung")
    (image,) = data.images
    for value, name in enumerate(data.categories, start=1):
        np.testing.assert_array_equal(category_mask(image, name, (3, 4), "shape"), value == VALUES)


def test_one_value_needs_no_name(root: Path) -> None:
    Image.fromarray(VALUES == 1).save(root / "masks" / "1.png")  # of one bit
    save(root / "masks" / "2.png", (VALUES == 2) * 7)
    data = load_dataset(root)
    assert data.categories == ("object",)
    np.testing.assert_array_equal(category_mask(data.images[1], "object", (3, 4), "shape"), VALUES == 2)
    save(root / "masks" / "2.png", VALUES)
    with pytest.raises(UserError, match=r"it holds the values 1, 2, 255: name them in .*classes\.txt"):
        load_dataset(root)
