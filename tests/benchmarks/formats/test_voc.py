"""Pascal VOC, by a file written as those of its development kit are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import load_dataset
from benchmarks.formats.category_mask import category_mask
from benchmarks.run.errors import UserError

TEXT = """<annotation>
    <folder>VOC2007</folder>
    <filename>{name}.jpg</filename>
    <source><database>The VOC2007 Database</database><annotation>PASCAL VOC2007</annotation></source>
    <owner><flickrid>by hand</flickrid><name>nobody</name></owner>
    <size><width>{width}</width><height>{height}</height><depth>3</depth></size>
    <segmented>0</segmented>
    <object>
        <name>train</name><pose>Unspecified</pose><truncated>1</truncated><difficult>0</difficult>
        <bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>2</ymax></bndbox>
    </object>
    <object>
        <name>person</name><pose>Unspecified</pose><truncated>0</truncated><difficult>1</difficult>
        <bndbox><xmin>8</xmin><ymin>6</ymin><xmax>8</xmax><ymax>6</ymax></bndbox>
        <part><name>head</name><bndbox><xmin>8</xmin><ymin>6</ymin><xmax>8</xmax><ymax>6</ymax></bndbox></part>
    </object>
</annotation>
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """VOC's own folders, with two images."""
    root = tmp_path / "VOC2007"
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for name in ("000001", "000002"):
        Image.new("RGB", (8, 6)).save(root / "JPEGImages" / f"{name}.jpg")
        (root / "Annotations" / f"{name}.xml").write_text(TEXT.format(name=name, width=8, height=6))
    (root / "ImageSets" / "Main" / "test.txt").write_text("000002\n")
    (root / "ImageSets" / "Main" / "person_test.txt").write_text("000001 -1\n000002  1\n")
    return root


def test_boxes_count_from_one_and_hold_their_ends(root: Path) -> None:
    """Columns 1 to 3 of row 2, counted from 1; and the last pixel of 8 x 6."""
    data = load_dataset(root)
    assert data.format == "voc"
    image = data.images[0]
    assert [found.box for found in image.objects] == [(0, 1, 3, 2), (7, 5, 8, 6)]
    assert np.argwhere(category_mask(image, "train", (6, 8))).tolist() == [[1, 0], [1, 1], [1, 2]]
    assert np.argwhere(category_mask(image, "person", (6, 8))).tolist() == [[5, 7]]


def test_an_image_is_found_without_its_suffix_or_by_its_annotation(root: Path) -> None:
    for name, filename in (("000001", "<filename>000001</filename>"), ("000002", "")):
        path = root / "Annotations" / f"{name}.xml"
        path.write_text(path.read_text().replace(f"<filename>{name}.jpg</filename>", filename))
    assert [image.path.name for image in load_dataset(root).images] == ["000001.jpg", "000002.jpg"]


def test_what_is_difficult_is_kept(root: Path) -> None:
    image = load_dataset(root / "Annotations").images[0]
    assert [found.difficult for found in image.objects] == [False, True]
    assert image.labels == ("person", "train")  # in the order of the alphabet, as VOC's files have none


def test_a_list_of_image_sets_names_the_images(root: Path) -> None:
    lists = root / "ImageSets" / "Main"
    assert [image.name for image in load_dataset(lists / "test.txt").images] == ["000002.jpg"]
    assert len(load_dataset(lists / "person_test.txt").images) == 2
    (lists / "test.txt").write_text("000009\n")
    with pytest.raises(UserError, match=r"test\.txt: .*000009\.xml is missing"):
        load_dataset(lists / "test.txt")


def test_counting_from_zero_is_remarked(root: Path) -> None:
    path = root / "Annotations" / "000001.xml"
    path.write_text(path.read_text().replace("<xmin>1</xmin>", "<xmin>0</xmin>"))
    (remark,) = load_dataset(root).remarks
    assert remark.startswith("1 box begins at 0, but VOC counts from 1, such as in ")


def test_one_file_is_a_set(root: Path) -> None:
    assert [image.name for image in load_dataset(root / "Annotations" / "000001.xml").images] == ["000001.jpg"]


def test_suffixes_in_capitals_and_folders_below_are_read(root: Path) -> None:
    folder = root / "Annotations"
    (folder / "deep").mkdir()
    (folder / "000001.xml").rename(folder / "deep" / "000001.xml")
    (folder / "000002.xml").rename(folder / "000002.XML")
    (folder / "._000001.xml").write_bytes(b"\0")
    for source in (root, folder):
        data = load_dataset(source)
        assert [image.name for image in data.images] == ["000002.jpg", "000001.jpg"]
        assert data.images[1].objects[0].box == (0, 1, 3, 2)
    listed = root / "ImageSets" / "Main" / "test.txt"
    listed.write_bytes(b"\xef\xbb\xbfdeep/000001\n000002\n")
    assert [image.name for image in load_dataset(listed).images] == ["000001.jpg", "000002.jpg"]


def test_a_list_in_another_encoding_is_told_of(root: Path) -> None:
    listed = root / "ImageSets" / "Main" / "test.txt"
    listed.write_bytes("\u00e9\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"test\.txt is not in UTF-8: save it so"):
        load_dataset(listed)


def test_a_size_of_nothing_says_nothing(root: Path) -> None:
    for name in ("000001", "000002"):
        (root / "Annotations" / f"{name}.xml").write_text(TEXT.format(name=name, width=0, height=0))
    assert [image.size for image in load_dataset(root).images] == [(8, 6), (8, 6)]


BOX = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>2</ymax></bndbox>"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (BOX, 2 * BOX, "000001.xml, object 1: it has 2 <bndbox> where there is one: keep one"),
        ("<name>train</name>", "<name>train</name><name>bus</name>", "object 1: it has 2 <name> where there is one"),
        ("<xmin>1<", "<xmin>2</xmin><xmin>1<", "object 1: it has 2 <xmin> where there is one"),
        ("</filename>", "</filename><filename>000002.jpg</filename>", "it has 2 <filename> where there is one"),
        ("</annotation>\n", f"<objects><object><name>a</name>{BOX}</object></objects></annotation>\n",
         "000001.xml: 1 of its 4 boxes are of no <object> right below <annotation>"),
        ("</annotation>\n", f"<Object><name>a</name>{BOX}</Object></annotation>\n",
         "1 of its 4 boxes are of no <object> right below <annotation>"),
    ],
)  # fmt: skip
def test_no_box_is_left_out_unseen(root: Path, old: str, new: str, told: str) -> None:
    path = root / "Annotations" / "000001.xml"
    text = path.read_text()
    assert text.count(old) == 1 or old == "</annotation>\n"
    path.write_text(new.join(text.rsplit(old, 1)))
    with pytest.raises(UserError, match=told):
        load_dataset(root)


def test_an_image_lies_where_its_annotation_does_among_the_others(root: Path) -> None:
    """Two cameras count from 1 each, and their files name no folder."""
    for camera, width in (("a", 8), ("b", 9)):
        for folder in ("Annotations", "JPEGImages"):
            (root / folder / camera).mkdir()
        Image.new("RGB", (width, 6)).save(root / "JPEGImages" / camera / "000001.jpg")
        (root / "Annotations" / camera / "000001.xml").write_text(TEXT.format(name="000001", width=width, height=6))
    images = load_dataset(root).images
    names = ("000001.jpg", "000002.jpg", "a/000001.jpg", "b/000001.jpg")
    assert [(image.name, image.path) for image in images] == [(name, root / "JPEGImages" / name) for name in names]


def test_a_file_about_another_image_than_its_own_is_remarked(root: Path) -> None:
    """As where files were renamed, and what is in them was not."""
    Image.new("RGB", (8, 6)).save(root / "JPEGImages" / "000003.jpg")
    path = root / "Annotations" / "000001.xml"
    path.write_text(TEXT.format(name="000003", width=8, height=6))
    data = load_dataset(root)
    assert [image.name for image in data.images] == ["000003.jpg", "000002.jpg"]
    assert data.remarks[0].startswith(f"1 file of another image than the one of the same name, such as {path} of 00000")
    (root / "JPEGImages" / "000001.jpg").unlink()
    assert load_dataset(root).remarks == ()


def test_an_encoding_that_python_does_not_parse_is_told_of(root: Path) -> None:
    path = root / "Annotations" / "000001.xml"
    path.write_text(f'<?xml version="1.0" encoding="gb2312"?>{TEXT}', "gb2312")
    with pytest.raises(UserError, match=r"multi-byte encodings are not supported\): save it in UTF-8"):
        load_dataset(root)
