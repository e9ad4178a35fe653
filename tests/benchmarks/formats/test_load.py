"""One set in every format, and how formats are told apart."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ten_images import BOXES, CATEGORY, NAMES, SIZES, drawn, write_ten

import benchmarks
from benchmarks import load_dataset
from benchmarks.formats.category_mask import category_mask
from benchmarks.formats.labelled import LabelledSet
from benchmarks.formats.load import FORMATS
from benchmarks.run.errors import UserError


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LabelledSet]:
    paths = write_ten(tmp_path_factory.mktemp("ten"))
    return {name: load_dataset(path, images) for name, (path, images) in paths.items()}


def test_formats_are_recognised(sets: dict[str, LabelledSet]) -> None:
    assert set(sets) == FORMATS.keys() - {"folder", "nih", "vindr", "rsna"}  # without places, or read as csv is
    assert {name: data.format for name, data in sets.items()} == {name: name for name in sets}


def test_one_set_in_all_formats(sets: dict[str, LabelledSet]) -> None:
    for data in sets.values():
        assert data.categories == (CATEGORY,)
        assert [Path(image.name).stem for image in data.images] == NAMES
        assert [image.size for image in data.images] == SIZES
        assert [image.labels for image in data.images] == [(CATEGORY,) if boxes else () for boxes in BOXES]
        assert [image.path.name for image in data.images] == [f"{name}.png" for name in NAMES]


def test_masks_are_those_that_were_drawn(sets: dict[str, LabelledSet]) -> None:
    """At the images' own size, where each pixel can be worked out."""
    for data in sets.values():
        for image, boxes, (width, height) in zip(data.images, BOXES, SIZES, strict=True):
            for truth in ("box", "shape"):
                mask = category_mask(image, CATEGORY, (height, width), truth)
                np.testing.assert_array_equal(mask, drawn(boxes, width, height), f"{data.format} {image.name} {truth}")


@pytest.mark.parametrize("frame", [(600, 600), (53, 97), (7, 5)])
def test_masks_are_the_same_in_all_formats(sets: dict[str, LabelledSet], frame: tuple[int, int]) -> None:
    expected = [category_mask(image, CATEGORY, frame) for image in sets["object-cxr"].images]
    for data in sets.values():
        for image, mask in zip(data.images, expected, strict=True):
            np.testing.assert_array_equal(category_mask(image, CATEGORY, frame), mask, f"{data.format} {image.name}")


def test_a_format_can_be_named(tmp_path: Path) -> None:
    paths = write_ten(tmp_path)
    source, images = paths["masks"]
    assert load_dataset(source, images, format="masks").format == "masks"
    with pytest.raises(UserError, match=r"no format 'png', but object-cxr, coco, voc"):
        load_dataset(source, images, format="png")
    with pytest.raises(UserError, match=r"is neither train\.csv, dev\.csv or test\.csv"):
        load_dataset(source, format="object-cxr")


def test_what_is_ambiguous_or_unknown_is_said(tmp_path: Path) -> None:
    paths = write_ten(tmp_path)
    paths["voc"][0].rename(tmp_path / "yolo" / "Annotations")
    with pytest.raises(UserError, match="yolo may be voc or yolo: say which with `format`"):
        load_dataset(tmp_path / "yolo", tmp_path / "images")
    assert load_dataset(tmp_path / "yolo", tmp_path / "images", format="voc").format == "voc"
    (tmp_path / "notes.md").write_text("")
    with pytest.raises(UserError, match=r"notes\.md is not recognised: name its format, one of object-cxr, coco"):
        load_dataset(tmp_path / "notes.md")
    (tmp_path / "other.csv").write_text("file,label,left,top,right,bottom\n00.png,cat,1,2,3,4\n")
    with pytest.raises(
        UserError, match=r"other\.csv has the columns file, label, .*: say with `columns` which are image"
    ):
        load_dataset(tmp_path / "other.csv")
    for name, sentence in (
        ("set.csv", "is empty: fetch"),
        ("set.csv.gz", "is an archive: unpack"),
        ("a.ZIP", "archive"),
    ):
        (tmp_path / name).write_text(" \n" if name == "set.csv" else "PK")
        with pytest.raises(UserError, match=sentence):
            load_dataset(tmp_path / name)
    with pytest.raises(UserError, match=r"There is no file or folder .*nowhere"):
        load_dataset(tmp_path / "nowhere")


def test_importing_costs_nothing() -> None:
    """Until a name is used."""
    script = "import sys, benchmarks; assert not {'numpy', 'torch', 'PIL', 'msgspec'} & set(sys.modules)"
    subprocess.run(
        [sys.executable, "-c", script + "; benchmarks.load_dataset"],
        check=True,
        cwd=Path(benchmarks.__file__).parent.parent,
    )
    with pytest.raises(AttributeError, match="no attribute 'load_data'"):
        benchmarks.load_data  # noqa: B018
