"""Boxes in a CSV, by rows as NIH, VinDr and RSNA publish them."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from dicom_file import write_dicom
from PIL import Image

from benchmarks import load_dataset
from benchmarks.run.errors import UserError


def picture(path: Path, width: int = 1024, height: int = 1024) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (width, height)).save(path)


def table(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_nih(tmp_path: Path) -> None:
    """The header's brackets are broken over columns; images lie in twelve folders."""
    source = table(
        tmp_path / "BBox_List_2017.csv",
        "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"
        "00013118_008.png,Atelectasis,225.084745762712,547.019216763771,86.7796610169491,79.1864406779661,,,\n"
        "00014716_007.png,Infiltrate,686,131,185,313,,,\n"
        "00013118_008.png,Mass,0,0,10,20,,,\n",
    )
    picture(tmp_path / "nih" / "images_007" / "images" / "00013118_008.png")
    picture(tmp_path / "nih" / "images_008" / "images" / "00014716_007.png")
    data = load_dataset(source, images=tmp_path / "nih")
    assert (data.format, data.categories) == ("nih", ("Atelectasis", "Infiltrate", "Mass"))
    first, second = data.images
    assert first.labels == ("Atelectasis", "Mass")
    assert second.objects[0].box == (686, 131, 686 + 185, 131 + 313)
    np.testing.assert_allclose(first.objects[0].box, (225.0847, 547.0192, 311.8644, 626.2057), atol=1e-4)
    picture(tmp_path / "nih" / "images_008" / "images" / "00014716_007.png", 512, 512)
    with pytest.raises(UserError, match=r"is about an image of 1024 x 1024 pixels, but .* has 512 x 512"):
        load_dataset(source, images=tmp_path / "nih")


def test_vindr(tmp_path: Path) -> None:
    """A row a reader, corners, images named without a suffix; "No finding" is nothing."""
    source = table(
        tmp_path / "train.csv",
        "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max\n"
        "50a418190bc3,No finding,14,R11,,,,\n"
        "50a418190bc3,No finding,14,R15,,,,\n"
        "9a5094b2563a,Aortic enlargement,0,R9,6.0,3.0,8.0,5.0\n"
        "9a5094b2563a,Aortic enlargement,0,R10,6.0,2.0,8.5,5.0\n"
        "9a5094b2563a,Other lesion,9,R10,0,0,1,3\n",
    )
    for name in ("50a418190bc3", "9a5094b2563a"):
        write_dicom(tmp_path / f"{name}.dicom", np.arange(70, dtype=np.uint16).reshape(7, 10))
    data = load_dataset(source, images=tmp_path)
    assert (data.format, data.categories) == ("vindr", ("Aortic enlargement", "Other lesion"))
    assert [image.size for image in data.images] == [(10, 7), (10, 7)]
    assert [image.labels for image in data.images] == [(), ("Aortic enlargement", "Other lesion")]
    assert [found.box for found in data.images[1].objects] == [(6, 3, 8, 5), (6, 2, 8.5, 5), (0, 0, 1, 3)]


def test_rsna(tmp_path: Path) -> None:
    source = table(
        tmp_path / "stage_2_train_labels.csv",
        "patientId,x,y,width,height,Target\n"
        "0004cfab-14fd,,,,,0\n"
        "00436515-870c,264.0,152.0,213.0,379.0,1\n"
        "00436515-870c,562.0,152.0,256.0,453.0,1\n",
    )
    for name in ("0004cfab-14fd", "00436515-870c"):
        picture(tmp_path / "stage_2_train_images" / f"{name}.png")
    data = load_dataset(source, images=tmp_path / "stage_2_train_images")
    assert (data.format, data.categories) == ("rsna", ("Pneumonia",))
    assert [image.labels for image in data.images] == [(), ("Pneumonia",)]
    assert [found.box for found in data.images[1].objects] == [(264, 152, 477, 531), (562, 152, 818, 605)]


def test_other_names_of_columns(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 20, 10)
    source = table(tmp_path / "mine.csv", "file,left,what,top,w,h\na.png,1,cat,2,3,4\na.png,,dog,,,\n")
    with pytest.raises(UserError, match=r"mine\.csv has the columns file, left"):
        load_dataset(source)
    columns = {"image": "file", "category": "what", "x": "left", "y": "top", "width": "w", "height": "h"}
    data = load_dataset(source, columns=columns)
    assert data.images[0].objects[0].box == (1, 2, 4, 6)
    assert data.images[0].labels == ("cat", "dog")  # the dog has no place
    with pytest.raises(UserError, match="there is no column 'when' among file, left, what, top, w, h"):
        load_dataset(source, columns={**columns, "image": "when"})
    with pytest.raises(UserError, match="must name image, category and either x1, y1, x2, y2 or x, y, width, height"):
        load_dataset(source, columns={"image": "file"})
    with pytest.raises(UserError, match="but the format is coco: leave one of them out"):
        load_dataset(source, format="coco", columns=columns)
    with pytest.raises(UserError, match="columns gives 'left' for both x and y: name a column for each"):
        load_dataset(source, columns={**columns, "y": "left"})


def test_numbers_as_pandas_writes_them(tmp_path: Path) -> None:
    """1.0 for 1, and NaN for nothing."""
    for name in "ab":
        picture(tmp_path / f"{name}.png")
    rows = "patientId,x,y,width,height,Target\na,1,2,3,4,1.0\nb,NaN,NaN,NaN,NaN,0.0\n"
    data = load_dataset(table(tmp_path / "rsna.csv", rows))
    assert [image.labels for image in data.images] == [("Pneumonia",), ()]
    rows = "image_id,class_name,x_min,y_min,x_max,y_max\na,Nodule,1,2,5,6\nb,No finding,nan,NaN,NaN,NaN\n"
    data = load_dataset(table(tmp_path / "vindr.csv", rows))
    assert [image.labels for image in data.images] == [("Nodule",), ()]
    assert data.images[0].objects[0].box == (1, 2, 5, 6)
    rows = "image,category,x1,y1,x2,y2\na.png,cat,1,2,5,6\nb.png,nan,nan,nan,nan,nan\n"
    data = load_dataset(table(tmp_path / "own.csv", rows))
    assert (data.categories, [image.labels for image in data.images]) == (("cat",), [("cat",), ()])


def test_tables_of_spreadsheets(tmp_path: Path) -> None:
    """Excel's first line names the separator; tabs are told of."""
    picture(tmp_path / "a.png")
    text = "image,category,x1,y1,x2,y2\na.png,cat,1,2,5,6\n"
    for first in ("sep=,", '"sep=,"'):
        assert load_dataset(table(tmp_path / "t.csv", f"{first}\n{text}")).images[0].objects[0].box == (1, 2, 5, 6)
    with pytest.raises(UserError, match=r"t\.tsv has its columns separated by tabs: save it as CSV in UTF-8"):
        load_dataset(table(tmp_path / "t.tsv", text.replace(",", "\t")))


def test_blanks_behind_commas_are_no_part_of_a_cell(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    rows = 'image, category, x1, y1, x2, y2\n"a.png", "cat, old", 1, "2", 5, 6\n'
    data = load_dataset(table(tmp_path / "t.csv", rows))
    assert data.categories == ("cat, old",)
    assert data.images[0].objects[0].box == (1, 2, 5, 6)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_images_beside_the_table_are_found_by_name(tmp_path: Path, form: Literal["NFC", "NFD"]) -> None:
    """Without a suffix, and whichever way an accent is written; rows that differ in that alone are of one image."""
    picture(tmp_path / unicodedata.normalize(form, "Ren\u00e9.v1.png"))
    rows = "image,category,x1,y1,x2,y2\nRen\u00e9.v1,cat,1,2,5,6\nRene\u0301.v1,dog,1,2,5,6\n"
    (image,) = load_dataset(table(tmp_path / "t.csv", rows)).images
    assert image.labels == ("cat", "dog")


@pytest.mark.parametrize(
    ("sizes", "stated"),
    [
        (("640,480", "640,480"), True),
        (("640.0,480.0", "640.0,480.0"), True),
        (("40,30", "21,11"), False),  # of the boxes, once with both ends
        (("100,90", "20,10"), False),  # nobody knows of what: the second box reaches over it
        ((",", ","), False),
        (("wide,high", "wide,high"), False),
    ],
)
def test_a_size_beside_corners_is_that_of_the_image_where_it_can_be(
    tmp_path: Path, sizes: tuple[str, str], stated: bool
) -> None:
    """As tables for TensorFlow have it; boxes that were drawn on a larger copy would lie elsewhere, without a word."""
    picture(tmp_path / "1.png", 320, 240)
    rows = "".join(f"1.png,{size},cat,{box}\n" for size, box in zip(sizes, ("0,0,40,30", "50,50,70,60"), strict=True))
    source = table(tmp_path / "boxes.csv", f"image,width,height,category,x1,y1,x2,y2\n{rows}")
    if stated:
        with pytest.raises(UserError, match=r"is about an image of 640 x 480 pixels, but .* has 320 x 240 pixels"):
            load_dataset(source)
        picture(tmp_path / "1.png", 640, 480)
    assert [found.box for found in load_dataset(source).images[0].objects] == [(0, 0, 40, 30), (50, 50, 70, 60)]
