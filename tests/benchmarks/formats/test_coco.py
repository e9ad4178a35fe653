"""COCO, by files written to its own words: https://cocodataset.org/#format-data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks import load_dataset
from benchmarks.formats.category_mask import category_mask, object_mask
from benchmarks.formats.labelled import LabelledObject, LabelledSet

TEXT = """{
  "info": {"year": 2014, "description": "by hand"},
  "licenses": [],
  "images": [
    {"id": 42, "width": 8, "height": 6, "file_name": "COCO_val2014_000000000042.png", "license": 3},
    {"id": 7, "width": 6, "height": 6, "file_name": "COCO_val2014_000000000007.png"}
  ],
  "annotations": [
    {"id": 1, "image_id": 42, "category_id": 18, "segmentation": [[1, 1, 5, 1, 5, 3, 1, 3], [6.0, 4, 8, 4, 8, 6, 6, 6]],
     "area": 12, "bbox": [1, 1, 7, 5], "iscrowd": false},
    {"id": 2, "image_id": 42, "category_id": 1, "segmentation": {"counts": [6, 4, 2, 4, 32], "size": [6, 8]},
     "area": 8, "bbox": [1, 0, 2, 4], "iscrowd": 1},
    {"id": 3, "image_id": 42, "category_id": 1, "segmentation": {"counts": "641", "size": [6, 8]},
     "area": 1, "bbox": [1, 0, 1, 4], "iscrowd": 0},
    {"id": 4, "image_id": 7, "category_id": 18, "bbox": [0.25, 1.5, 2.5, 3.25], "segmentation": []}
  ],
  "categories": [
    {"id": 18, "name": "dog", "supercategory": "animal"},
    {"id": 1, "name": "person", "supercategory": "person"}
  ]
}"""


def load(folder: Path, text: str = TEXT) -> LabelledSet:
    (folder / "val2014").mkdir(exist_ok=True)
    (folder / "annotations").mkdir(exist_ok=True)
    Image.new("RGB", (8, 6)).save(folder / "val2014" / "COCO_val2014_000000000042.png")
    Image.new("RGB", (6, 6)).save(folder / "val2014" / "COCO_val2014_000000000007.png")
    path = folder / "annotations" / "instances_val2014.json"
    path.write_text(text, encoding="utf-8")
    return load_dataset(path)


def changed(**parts: Any) -> str:
    return json.dumps({**json.loads(TEXT), **parts})


@pytest.fixture
def data(tmp_path: Path) -> LabelledSet:
    runs = '"counts": "641"'
    assert runs in TEXT
    return load(tmp_path, TEXT.replace(runs, '"counts": [6, 4, 38]'))


def objects(data: LabelledSet) -> list[LabelledObject]:
    return [found for image in data.images for found in image.objects]


def test_images_and_categories_keep_the_order_of_the_file(data: LabelledSet) -> None:
    assert data.categories == ("dog", "person")
    assert [image.name[-6:] for image in data.images] == ["42.png", "07.png"]
    assert [image.size for image in data.images] == [(8, 6), (6, 6)]
    assert [image.labels for image in data.images] == [("dog", "person"), ("dog",)]
    assert data.images[0].where.endswith("instances_val2014.json, image 42")


def test_boxes_are_floats_with_exclusive_ends(data: LabelledSet) -> None:
    """x, y, width, height: the box begins at 0.25 and ends at 2.75."""
    assert data.images[1].objects[0].box == (0.25, 1.5, 2.75, 4.75)
    mask = category_mask(data.images[1], "dog", (6, 6))
    assert np.argwhere(mask).min(axis=0).tolist() == [1, 0]
    assert np.argwhere(mask).max(axis=0).tolist() == [4, 2]


def test_polygons_of_one_annotation_are_one_object(data: LabelledSet) -> None:
    dog = objects(data)[0]
    assert len(dog.shapes) == 2
    assert dog.box == (1, 1, 8, 6)
    mask = category_mask(data.images[0], "dog", (6, 8), "shape")
    expected = np.zeros((6, 8), dtype=bool)
    expected[1:3, 1:5] = expected[4:6, 6:8] = True
    np.testing.assert_array_equal(mask, expected)


def test_run_lengths_go_down_the_columns(data: LabelledSet) -> None:
    """6 unmarked are the first column of 6 rows; then 4 marked and 2 not, twice over."""
    crowd = objects(data)[1]
    assert crowd.crowd
    assert not objects(data)[2].crowd
    assert crowd.box == (1, 0, 3, 4)
    expected = np.zeros((6, 8), dtype=bool)
    expected[:4, 1:3] = True
    np.testing.assert_array_equal(category_mask(data.images[0], "person", (6, 8), "shape"), expected)


def test_run_lengths_may_be_compressed(data: LabelledSet, tmp_path: Path) -> None:
    """38 is 00110 and 1; as a third count it is written as it is."""
    letters = "64" + chr(48 + 0b100110) + chr(48 + 1)
    compressed = load(tmp_path, TEXT.replace('"counts": "641"', f'"counts": "{letters}"'))
    assert objects(compressed) == objects(data)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # its own
def test_pycocotools_counts_the_same_pixels(data: LabelledSet, tmp_path: Path) -> None:
    """Up to the way in which outlines are filled, which whole pixels leave no choice in."""
    coco = pytest.importorskip("pycocotools.coco")
    theirs = coco.COCO(tmp_path / "annotations" / "instances_val2014.json")
    for annotation, found in zip(theirs.dataset["annotations"][:3], objects(data)[:3], strict=True):
        mask = object_mask(found, (8, 6), (6, 8), "shape")
        np.testing.assert_array_equal(mask, theirs.annToMask(annotation).astype(bool))


def test_an_image_without_annotations_shows_nothing(tmp_path: Path) -> None:
    annotations = json.loads(TEXT)["annotations"][:1]
    data = load(tmp_path, changed(annotations=annotations))
    assert data.images[1].objects == data.images[1].labels == ()
    assert data.remarks == ("1 of 2 categories has no image: person.",)


@pytest.mark.parametrize("nothing", ["[[]]", '""', "{}", "null"])
def test_a_segmentation_that_says_nothing_leaves_the_box(tmp_path: Path, nothing: str) -> None:
    text = TEXT.replace('"segmentation": []', f'"segmentation": {nothing}')
    data = load(tmp_path, text.replace('"counts": "641"', '"counts": [6, 4, 38]'))
    assert data.images[1].objects[0].box == (0.25, 1.5, 2.75, 4.75)


def test_numbers_and_ids_as_other_programs_write_them(data: LabelledSet, tmp_path: Path) -> None:
    """Whole numbers with a point, ids in quotes in one place or in all, and null where nothing is said."""
    text = TEXT.replace('"counts": "641"', '"counts": [6, 4, 38]')
    floats = text.replace("42,", "42.0,").replace("[6, 4, 2, 4, 32]", "[6.0, 4.0, 2, 4, 32.0]")
    floats = floats.replace('"iscrowd": 1', '"iscrowd": 1.0').replace('"iscrowd": 0', '"iscrowd": null')
    floats = floats.replace('"width": 8', '"width": 8.0').replace('"id": 18', '"id": 18.0')
    assert floats.count(".0") > 8
    quoted = text.replace('"id": 42', '"id": "42"').replace('"image_id": 42', '"image_id": "42"')
    quoted = quoted.replace('"id": 7', '"id": "7"').replace('"image_id": 7', '"image_id": "7"')
    in_one_place = text.replace('"category_id": 18', '"category_id": "18"').replace('"id": 42', '"id": "42"')
    in_the_other = text.replace('"id": 18', '"id": "18"').replace('"image_id": 42', '"image_id": "42"')
    for same in (floats, quoted, in_one_place, in_the_other):
        loaded = load(tmp_path, same)
        assert objects(loaded) == objects(data)
        assert [image.where for image in loaded.images] == [image.where for image in data.images]


def test_a_part_on_the_edge_is_no_fault(tmp_path: Path) -> None:
    """A sliver at the end of 8 columns, which does not widen the box."""
    annotations = json.loads(TEXT)["annotations"][:1]
    annotations[0]["segmentation"][1] = [8, 4, 8, 5, 8, 6]
    data = load(tmp_path, changed(annotations=annotations))
    assert objects(data)[0].box == (1, 1, 8, 6)


def test_a_box_elsewhere_than_its_segmentation_is_remarked(tmp_path: Path) -> None:
    """Corners where sizes are expected: 1 1 8 6 is the box of the outline, 1 1 7 5 its corner and size."""
    (annotation, *_) = json.loads(TEXT)["annotations"]
    categories = json.loads(TEXT)["categories"][:1]
    for bbox, remarked in (([1, 1, 7, 5], False), ([2, 1, 6, 5], False), ([1, 1, 3, 2], True), ([4, 3, 8, 6], True)):
        text = changed(annotations=[{**annotation, "bbox": bbox}], categories=categories)
        remarks = load(tmp_path, text).remarks
        assert len(remarks) == remarked
        assert all("1 bbox elsewhere than the segmentation, which counts, such as in " in remark for remark in remarks)
