from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dicom_file import write_dicom
from PIL import Image

from benchmarks.data.annotations import Shape
from benchmarks.data.object_cxr import FaultyTableError
from benchmarks.formats.agree import labelled_set
from benchmarks.formats.entries import Entry, Reading
from benchmarks.formats.labelled import LabelledObject, LabelledSet
from benchmarks.formats.run_lengths import RunLengths

Box = tuple[float, float, float, float]


def box(x1: float, y1: float, x2: float, y2: float, category: str = "a") -> LabelledObject:
    return LabelledObject(category, (Shape("rectangle", ((x1, y1), (x2, y2))),))


@pytest.fixture
def reading(tmp_path: Path) -> Reading:
    """Two images of 40 x 30 pixels."""
    found = Reading(categories=["a", "b"])
    for name in ("1.png", "2.png"):
        path = tmp_path / name
        Image.new("L", (40, 30)).save(path)
        found.entries.append(Entry(f"t, {name}", name, path, [(f"t, {name}, object", box(1, 2, 5, 9))]))
    found.entries[1].labels.append("b")
    return found


def made(reading: Reading) -> LabelledSet:
    return labelled_set(reading, "coco", Path("t"))


def faults(reading: Reading) -> tuple[str, ...]:
    with pytest.raises(FaultyTableError) as caught:
        made(reading)
    return caught.value.faults


def test_what_agrees_is_a_set(reading: Reading) -> None:
    data = made(reading)
    assert data.remarks == ()
    assert [image.labels for image in data.images] == [("a",), ("a", "b")]
    assert {image.size for image in data.images} == {(40, 30)}


@pytest.mark.parametrize(
    ("coordinates", "fault"),
    [
        (
            (40, 0, 50, 10),
            "the object at 40 0 50 10 lies off the image, which has 40 x 30 pixels: correct or remove it",
        ),
        ((0, 30, 9, 31), "lies off the image"),
        ((-9, 3, -1, 9), "lies off the image"),
        ((-9, 3, 0, 9), "lies off the image"),
        ((3, -9, 9, 0), "lies off the image"),
        ((0.1, 0.1, 0.4, 0.5), "seems to be given in shares of the image: write pixels, of which it has 40 x 30"),
        ((0, 0, 0, 0), "is empty"),
        ((0, 0, 1, math.nan), "not finite"),
        ((0, 0, math.inf, 3), "not finite"),
        ((0, 0, 3, 2e6), "beyond any image"),
    ],
)
def test_objects_must_lie_on_their_image(reading: Reading, coordinates: Box, fault: str) -> None:
    reading.entries[0].objects.append(("t, annotation 9", box(*coordinates)))
    (told,) = faults(reading)
    assert told.startswith("t, annotation 9: ")
    assert fault in told


@pytest.mark.parametrize("coordinates", [(-5, -5, 3, 3), (39.5, 29.5, 90, 90), (-5, 0, 90, 30), (0, 3, 0, 9)])
def test_objects_may_reach_over_the_edge(reading: Reading, coordinates: Box) -> None:
    reading.entries[0].objects.append(("t, annotation 9", box(*coordinates)))
    assert made(reading).images[0].objects[-1].box == coordinates


def test_objects_without_an_area_are_remarked(reading: Reading) -> None:
    reading.entries[0].objects += [("t, 8", box(3, 3, 3, 9)), ("t, 9", box(3, 3, 3, 3))]
    assert made(reading).remarks == ("2 objects without an area, counted as a pixel or a line of them: t, 8.",)


def test_sizes_for_corners_are_remarked(reading: Reading) -> None:
    """Four boxes of which two end beyond the image; three would not be enough to tell."""
    reading.entries[0].objects += [("t, 8", box(20, 20, 60, 45)), ("t, 9", box(20, 20, 42, 25))]
    (remark,) = made(reading).remarks
    assert remark.startswith("2 of 4 objects reach over the edge of their image, such as on 1.png: were two corners")
    del reading.entries[1].objects[0]
    assert made(reading).remarks == ()


def test_categories_without_an_image_are_remarked(reading: Reading) -> None:
    reading.categories = ["a", *"cdefghi", "b"]
    assert made(reading).remarks == ("7 of 9 categories have no image: c, d, e, f, g, ....",)


def test_shares_become_pixels(reading: Reading) -> None:
    reading.in_shares = True
    reading.entries[1].objects[0] = "t", LabelledObject("a", (Shape("polygon", ((0, 0), (1, 0), (1 / 3, 0.5))),))
    reading.entries[0].objects[0] = "t", box(0.1, 0.1, 0.333333, 0.5)
    data = made(reading)
    assert data.images[0].objects[0].box == (4, 3, 13.33, 15)
    assert data.images[1].objects[0].shapes[0].points == ((0, 0), (40, 0), (13.33, 15))


def test_sizes_must_be_those_of_the_file(reading: Reading) -> None:
    reading.entries[0].size = (40, 30)
    made(reading)
    reading.entries[0].size = (30, 40)
    (fault,) = faults(reading)
    assert fault.startswith("t, 1.png: it is about an image of 30 x 40 pixels, but ")
    assert fault.endswith("1.png has 40 x 30 pixels: give the image that was annotated.")


def test_run_lengths_must_have_the_size_of_the_image(reading: Reading) -> None:
    reading.entries[0].objects[0] = "t, 9", LabelledObject("a", (RunLengths.of(np.ones((40, 30), dtype=bool)),))
    assert faults(reading) == ("t, 9: its run lengths are for 30 x 40 pixels, but the image has 40 x 30 pixels.",)


def test_all_faults_are_told_at_once(reading: Reading, tmp_path: Path) -> None:
    reading.faults.append("t: a reader's.")
    reading.categories += ["a", " "]
    reading.entries.append(replace(reading.entries[0]))
    reading.entries[1].path.write_bytes(b"no image")
    told = faults(reading)
    assert [fault.partition("/")[0] for fault in told] == [
        "t: a reader's.",
        "t: the category 'a' is there twice: name each once.",
        "t: a category has an empty name: name it.",
        "t, 1.png: the image 1.png is there already (t, 1.png): keep one entry.",
        "t, 2.png: The film ",
    ]


def test_an_image_is_there_once_whatever_its_names(reading: Reading, tmp_path: Path) -> None:
    link = tmp_path / "link.png"
    link.symlink_to(reading.entries[0].path)
    reading.entries.append(replace(reading.entries[0], where="t, link.png", name="link.png", path=link))
    assert faults(reading) == ("t, link.png: the image link.png is there already (t, 1.png): keep one entry.",)


def test_nothing_to_play_is_refused(reading: Reading) -> None:
    for entry in reading.entries:
        entry.objects, entry.labels = [], []
    assert faults(reading) == ("t: none of its 2 images has a label.",)
    reading.entries = []
    assert faults(reading) == ("t: it holds no images.",)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_images_that_are_to_be_turned_are_refused(reading: Reading, tmp_path: Path, suffix: str) -> None:
    """As for films: nobody knows which way the annotation counts."""
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / f"turned.{suffix}"
    Image.fromarray(np.arange(1200, dtype=np.uint8).reshape(30, 40)).save(path, exif=exif)
    reading.entries[0].path = path
    (fault,) = faults(reading)
    assert fault.startswith("t, 1.png: The film ")
    assert "is to be turned by its EXIF data: save it upright" in fault


def test_sizes_of_dicom_files_are_read_too(reading: Reading, tmp_path: Path) -> None:
    reading.entries[0].path = write_dicom(tmp_path / "1", np.arange(300, dtype=np.uint16).reshape(15, 20))
    assert made(reading).images[0].size == (20, 15)
