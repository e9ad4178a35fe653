"""Files with one thing wrong, in all formats: each gives a sentence that names file and entry, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sound_files import COCO, FILES, VINDR, VOC, write_sound

from benchmarks import __main__ as cli
from benchmarks import load_dataset
from benchmarks.data.object_cxr import FaultyTableError
from benchmarks.run.errors import UserError

SPOILT = [
    ("coco", COCO[-40:], "", "set.json is not readable as JSON (Input data was truncated)"),
    ("coco", '"id": 5,', '"id": 5', "set.json is not readable as JSON"),
    (
        "coco",
        "[1, 2, 4, 5]",
        "[1, 2, NaN, 5]",
        "set.json is not readable as JSON (invalid",
        ", at 'NaN, 5], \"is'): exp",
    ),
    ("coco", COCO, f"[{COCO}]", 'set.json holds no JSON object (no "{...}")'),
    ("coco", '"categories"', '"classes"', 'set.json has no "categories"'),
    ("coco", '[{"id": 3, "name": "cat"}]', '{"3": "cat"}', 'set.json: "categories" is no list'),
    ("coco", '[{"id": 3, "name": "cat"}]', "[]", "set.json: it has no categories"),
    ("coco", '"name": "cat"', '"name": ""', "set.json: a category has an empty name"),
    ("coco", '"name": "cat"', '"name": 7', "set.json, categories[0]: name: expected str, got int"),
    ("coco", '"name": "cat"}', '"name": "cat"}, {"id": 3, "name": "dog"}', "categories[1]: the id 3 is that of 'cat'"),
    ("coco", '"name": "cat"}', '"name": "cat"}, {"id": 4, "name": "cat"}', "the category 'cat' is there twice"),
    ("coco", '{"id": 2,', '{"id": 1,', "set.json, images[1]: another image has the id 1"),
    ("coco", '{"id": 2,', '{"id": "1",', "set.json, images[1]: another image has the id 1"),
    ("coco", '{"id": 2,', '{"id": 2.5,', "set.json, images[1]: id: expected int | str, got float"),
    (
        "coco",
        '"image_id": 1, "category_id": 3, "bbox"',
        '"image_id": 2, "image_id": 1, "category_id": 3, "bbox"',
        "set.json: 'image_id' is there twice in the object of id 5: keep one",
    ),
    ("coco", '"categories"', '"images": [], "categories"', "set.json: 'images' is there twice: keep one"),
    ("coco", '"counts": [50, 50, 100]', '"count": [200]', "annotations[2]: its segmentation is an object without"),
    (
        "coco",
        "[[1, 1, 5, 1, 5, 5]]",
        "[[1, 1, 5, 1, 5, 5], [90, 1, 95, 1, 95, 5]]",
        "annotations[1]: the part at 90 1 95 5 lies off the image, which has 20 x 10 pixels: correct or remove it",
    ),
    ("coco", '{"id": 2,', "{", "set.json, images[1]: object missing required field id"),
    ("coco", "b.png", "a.png", "set.json, image 2: the image a.png is there already (", "image 1"),
    ("coco", "b.png", "c.png", "set.json, images[1]: the image 'c.png' is not in ", "`images`"),
    ("coco", "b.png", "b.png/..", "set.json, images[1]: the image's name 'b.png/..' is no path inside a folder"),
    ("coco", '"width": 20', '"width": 40', "image 1: it is about an image of 40 x 10 pixels, but ", "20 x 10"),
    ("coco", '"width": 20', '"width": 0', "set.json, images[0]: width: expected int >= 1"),
    ("coco", '"id": 6,', '"id": 5,', "set.json, annotations[1]: another annotation has the id 5"),
    ("coco", '"image_id": 2', '"image_id": 9', 'annotations[2]: its image_id 9 is none of "images"'),
    ("coco", '"category_id": 3, "bbox"', '"category_id": 4, "bbox"', "[0]: its category_id 4 is none of"),
    ("coco", "[1, 2, 4, 5]", "[1, 2, 4]", "annotations[0]: its bbox has 3 numbers"),
    ("coco", "[1, 2, 4, 5]", "[1, 2, -4, 5]", "annotations[0]: its box has the size -4 x 5"),
    ("coco", "[1, 2, 4, 5]", "[1, 2, 1e999, 5]", "set.json"),
    ("coco", "[1, 2, 4, 5]", '["1", 2, 4, 5]', "annotations[0]: bbox[0]: expected float, got str"),
    ("coco", "[1, 2, 4, 5]", "null", "annotations[0]: it has neither a bbox nor a segmentation"),
    ("coco", "[1, 2, 4, 5]", "[21, 2, 4, 5]", "annotations[0]: the object at 21 2 25 7 lies off the image"),
    (
        "coco",
        "[1, 2, 4, 5]",
        "[0.1, 0.2, 0.3, 0.4]",
        "annotations[0]: the object at 0.1 0.2 0.4 0.6 seems to be given in",
    ),
    ("coco", "[[1, 1, 5, 1, 5, 5]]", "[[1, 1, 5, 1]]", "annotations[1]: a polygon has 4 numbers"),
    ("coco", "[[1, 1, 5, 1, 5, 5]]", "[[1, 1, 5, 1, 5, 5, 6]]", "annotations[1]: a polygon has 7 numbers"),
    ("coco", "[[1, 1, 5, 1, 5, 5]]", "[1, 1, 5, 1, 5, 5]", "annotations[1]: segmentation[0]: expected array, got int"),
    (
        "coco",
        "[50, 50, 100]",
        "[50, 50]",
        "annotations[2]: its run lengths hold 100 pixels where 10 rows of 20 are 200",
    ),
    ("coco", "[50, 50, 100]", "[200]", "annotations[2]: its run lengths mark no pixel"),
    ("coco", "[50, 50, 100]", '"~~"', "annotations[2]: its compressed run lengths hold '~'"),
    ("coco", '{"size": [10, 20]', '{"size": [20, 10]', "annotations[2]: its run lengths are for 10 x 20 pixels"),
    ("coco", '"iscrowd": 0', '"iscrowd": 2', "annotations[0]: iscrowd: expected int <= 1"),
    ("voc", "</annotation>", "", "a.xml: it is not readable as XML (no element found: line 3"),
    ("voc", "<annotation>", "<!DOCTYPE a [<!ENTITY x 'y'>]><annotation>", "a.xml: it defines entities"),
    ("voc", VOC, "<html></html>", "a.xml: it holds <html> where VOC has <annotation>"),
    ("voc", "a.png", "c.png", "a.xml: the image 'c.png' is not in "),
    ("voc", "<name>cat</name>", "", "a.xml, object 1: it has no <name>"),
    ("voc", "bndbox", "polygon", "a.xml, object 1: it has no <bndbox>"),
    ("voc", "<xmin>2</xmin>", "", "a.xml, object 1: its <xmin> is '' where a number is expected"),
    ("voc", "<xmin>2<", "<xmin>two<", "a.xml, object 1: its <xmin> is 'two'"),
    ("voc", "<xmin>2<", "<xmin>9<", "a.xml, object 1: its box ends before it begins: xmin 9, ymin 3, xmax 5, ymax 7"),
    ("voc", "<difficult>0<", "<difficult>yes<", "a.xml, object 1: its <difficult> is 'yes'"),
    ("voc", "<width>20<", "<width>0<", "a.xml: its <size> is 0 x 10 pixels"),
    ("voc", "<width>20<", "<width>10<", "a.xml: it is about an image of 10 x 10 pixels"),
    ("yolo", "0 0.5", "2 0.5", "a.txt, line 1: its class is '2' where a number from 0 to 1 is expected"),
    ("yolo", "0 0.5", "cat 0.5", "a.txt, line 1: its class is 'cat'"),
    ("yolo", "0 0.5", "0 0,5", "a.txt, line 1: its share is '0,5' where a number is expected"),
    ("yolo", "0 0.5", "0 10", "a.txt, line 1: 10 is no share of the image: YOLO counts from 0 to 1"),
    ("yolo", " 0.2\n", " -0.0001\n", "a.txt, line 1: its box has the size 0.2 x -0.0001"),
    ("yolo", " 0.2\n", " 0.2 0.9\n", "a.txt, line 1: it has five numbers behind its class"),
    ("yolo", " 0.2\n", "\n", "a.txt, line 1: it has 3 numbers"),
    ("yolo", "names: [cat, dog]", "names: [cat, 3]", 'data.yaml: its "names" are no list of words'),
    ("yolo", "names: [cat, dog]", "names: {0: cat, 2: dog}", 'data.yaml: its "names" are not numbered 0, 1, 2'),
    ("yolo", "names: [cat, dog]", "nc: 2", 'data.yaml has no "names"'),
    ("yolo", "names: [cat, dog]", "names: [cat", "data.yaml is not readable as YAML"),
    ("yolo", "names: [cat, dog]", "names: [cat]\nnames: [cat, dog]", "data.yaml: 'names' is there twice: keep one"),
    ("yolo", "names: [cat, dog]", "names: {0: cat, 1: dog, 1: cow}", "data.yaml: '1' is there twice: keep one"),
    ("yolo", "names: [cat, dog]", "names: [cat, cat]", "the category 'cat' is there twice"),
    ("yolo", "train: images", "train: pictures", "data.yaml: there is no folder ", "pictures"),
    ("contours", "[10, 20]", "[20, 10]", "set.json, a: it is about an image of 10 x 20 pixels"),
    ("contours", "[10, 20]", "[10]", "set.json, a: expected array of length 2"),
    (
        "contours",
        "[[1, 1], [5, 1], [5, 5]]",
        "[[1, 1], [5, 1]]",
        "set.json, a, Edema: a polygon needs at least 3 points",
    ),
    (
        "contours",
        "[[1, 1], [5, 1], [5, 5]]",
        "[1, 1, 5, 1, 5, 5]",
        "set.json, a, Edema: [0][0]: expected array, got int",
    ),
    ("contours", "[5, 1]", "[5, 1, 2]", "set.json, a, Edema: [0][1]: expected array of length 2"),
    ("contours", '"b"', '"a"', "set.json: 'a' is there twice"),
    ("contours", '"Edema": [', '"Edema": [], "Edema": [', "set.json: 'Edema' is there twice: keep one"),
    ("contours", '"b"', '"c"', "set.json, c: the image 'c' is not in"),
    ("runs", "[50, 50, 100]", "[50, -50, 200]", "set.json, a, Edema: its run lengths hold the negative count -50"),
    ("runs", "[10, 20]", "[5, 40]", "set.json, a, Edema: its run lengths are for 40 x 5 pixels"),
    ("runs", "[10, 20]", "[1000000, 1000000]", "set.json, a, Edema: its run lengths are for 1000000 x 1000000 pixels"),
    (
        "nih",
        ",1,2,3,4,,,",
        ",1,2,3,4,1,2,3",
        "set.csv, row 2: '1' is behind the last of 6 columns: put cells with commas",
    ),
    ("vindr", "1,2,5,6", "1,5,2,5,6", "set.csv, row 2: '6' is behind the last of 6 columns", "write decimal points"),
    ("object-cxr", "0 1 1 5 5", "0 1 1 5 5,0 6 6 7 7", "test.csv, row 2: '0 6 6 7 7' is behind the last of 2 columns"),
    ("vindr", VINDR, "sep=;\n" + VINDR, "separated by semicolons"),
    ("nih", ",1,2,3,4", ",1,2,3,", "set.csv, row 2: its h] is '' where a number is expected"),
    ("nih", ",1,2,3,4", ",1,2,-3,4", "set.csv, row 2: its box has the size -3 x 4"),
    ("nih", "big.png", "a.png", "set.csv, row 2: it is about an image of 1024 x 1024 pixels"),
    ("vindr", "1,2,5,6", "5,2,1,6", "set.csv, row 2: its box ends before it begins: 5 2 1 6"),
    ("vindr", "1,2,5,6", "1_0,2,5,6", "set.csv, row 2: its x_min is '1_0'"),
    (
        "vindr",
        "b,No finding,,,,",
        "b,No finding,1,2,3,4",
        "set.csv, row 3: it has a box, but its class_name is 'No find",
    ),
    ("vindr", "a,Nodule", ",Nodule", "set.csv, row 2: the image's name '' is no path"),
    ("vindr", "x_max", "y_max", "set.csv has the columns image_id, class_name"),
    ("vindr", ",", ";", "separated by semicolons"),
    ("rsna", "4,1", "4,2", "set.csv, row 2: its Target is '2' where '0' or '1' is expected"),
    ("rsna", "4,1", "4,0", "set.csv, row 2: it has a box, but its Target is '0'"),
    ("rsna", "1,2,3,4,1", ",,,,1", "set.csv, row 2: it has no box, but its Target is '1'"),
    ("object-cxr", "0 1 1 5 5", "0 1 1 5", "test.csv, row 2: object '0 1 1 5' has an odd number of coordinates"),
    ("object-cxr", "0 1 1 5 5", "0 30 1 35 5", "test.csv, row 2: the object at 30 1 35 5 lies off the image"),
    ("object-cxr", "b.png", "c.png", "test.csv, row 3: the film "),
]


@pytest.mark.parametrize("format", FILES)
def test_what_is_spoilt_below_is_sound(tmp_path: Path, format: str) -> None:
    assert load_dataset(write_sound(tmp_path, format)).images


@pytest.mark.parametrize(("format", "old", "new", "sentences"), [(f, o, n, s) for f, o, n, *s in SPOILT])
def test_a_spoilt_file_is_told_of(tmp_path: Path, format: str, old: str, new: str, sentences: list[str]) -> None:
    source = write_sound(tmp_path, format)
    found = [tmp_path / name for name, text in FILES[format].items() if old in text]
    assert found
    for path in found:
        path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(UserError) as caught:
        load_dataset(source)
    told = caught.value.faults if isinstance(caught.value, FaultyTableError) else (str(caught.value),)
    assert any(all(part in sentence for part in sentences) for sentence in told), told
    for sentence in told:
        assert str(tmp_path) in sentence
        assert sentence.endswith(".")
        assert "\n" not in sentence


BYTES = [
    ("coco", "set.json", b"", "set.json"),
    ("coco", "set.json", b"\xff\xfe{\0}\0", "set.json"),
    ("coco", "set.json", b"[" * 10**5, "set.json"),
    ("coco", "set.json", COCO.encode("utf-16"), "set.json is not in UTF-8: save it so"),
    ("coco", "set.json", COCO.replace("cat", "k\xe4fer").encode("latin-1"), "set.json is not in UTF-8: save it so"),
    ("voc", "Annotations/a.xml", b"\x89PNG", "a.xml: it is not readable as XML"),
    ("yolo", "labels/a.txt", b"0 0.5 \xff", "a.txt is not in UTF-8"),
    ("yolo", "labels/c.txt", b"0 0.5 0.5 0.1 0.1", "c.txt: there is no image for it in "),
    ("yolo", "images/a.jpg", b"", "would have the same labels"),
    ("vindr", "set.csv", VINDR.replace("Nodule", "Verdichtung, r\xe4tselhaft").encode("latin-1"), "not in UTF-8"),
    ("vindr", "images/a.png", b"", "row 2: The film "),
    ("yolo", "labels/a.TXT", b"0 0.5 0.5 0.1 0.1", "a.TXT is of the same image: keep one"),
    ("vindr", "images/a.png", b"\x89PNG\r\n\x1a\n\0\0", "row 2: The film "),
    ("contours", "images/deep/a.png", b"", "the image 'a' is there twice"),
    ("object-cxr", "images/b.png", b"GIF89a", "is neither DICOM nor PNG"),
]


@pytest.mark.parametrize(("format", "name", "content", "sentence"), BYTES)
def test_spoilt_bytes_are_told_of(tmp_path: Path, format: str, name: str, content: bytes, sentence: str) -> None:
    source = write_sound(tmp_path, format)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_dataset(source)
    assert sentence in str(caught.value)


MASKS = [
    ("masks/cat/c.png", np.ones((10, 20)), "c.png: the image 'c' is not in "),
    ("masks/cat/a.png", np.ones((20, 10)), "a.png: it is about an image of 10 x 20 pixels"),
    ("masks/cat/a.png", np.arange(200).reshape(10, 20), "a.png: it holds 199 values beside 0"),
    ("masks/cat/a.png", np.ones((10, 20, 3)), "a.png: it has colours (RGB)"),
    ("masks/cat/b.jpg", np.ones((10, 20)), "b.jpg: JPEG blurs the values of a mask"),
    ("masks/cat/a.bmp", np.ones((10, 20)), "a.png: there is another mask of 'cat' for a"),
    ("masks/cat/a.png", np.zeros((10, 20)), "none of its 1 images has a label"),
]


@pytest.mark.parametrize(("name", "values", "sentence"), MASKS)
def test_spoilt_masks_are_told_of(tmp_path: Path, name: str, values: np.ndarray, sentence: str) -> None:
    write_sound(tmp_path, "coco")
    for path, content in (("masks/cat/a.png", np.ones((10, 20))), (name, values)):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(content.astype(np.uint8)).save(tmp_path / path)
    with pytest.raises(UserError) as caught:
        load_dataset(tmp_path, format="masks")
    assert sentence in str(caught.value)


def test_spoilt_folders_are_told_of(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no folders: give a folder with a folder for each class"):
        load_dataset(tmp_path, format="folder")
    (tmp_path / "cat").mkdir()
    (tmp_path / "dog").mkdir()
    for name in ("cat/1.png", "2.png"):
        Image.new("L", (4, 4)).save(tmp_path / name)
    with pytest.raises(FaultyTableError) as caught:
        load_dataset(tmp_path, format="folder")
    loose, empty = caught.value.faults
    assert loose == f"{tmp_path / '2.png'}: it is in no folder of a class: move it into one."
    assert empty == f"{tmp_path / 'dog'}: it holds no image of a kind that is read: remove it, or fill it."
    for format in ("folder", "object-cxr"):
        with pytest.raises(UserError, match="leave `images` out"):
            load_dataset(tmp_path, images=tmp_path, format=format)


def test_several_faults_are_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_sound(tmp_path, "coco")
    content = json.loads(COCO)
    content["annotations"][0]["category_id"] = 9
    content["annotations"][1]["segmentation"] = [[1, 2]]
    content["images"][1]["file_name"] = "c.png"
    source.write_text(json.dumps(content))
    with pytest.raises(FaultyTableError) as caught:
        load_dataset(source)
    assert len(caught.value.faults) == 3
    assert "(3 faults in all; `evaluate --check`, or the error's `faults`, lists them)" in str(caught.value)
    assert cli.main(["evaluate", "--model", "none", "--data", str(source), "--check"]) == 2
    told = capsys.readouterr()
    assert all(fault in told.out + told.err for fault in caught.value.faults)
    assert told.err.endswith(f"error: {source} has 3 faults; each is named above.\n")


def test_a_fault_of_an_image_is_none_of_its_annotations(tmp_path: Path) -> None:
    source = write_sound(tmp_path, "coco")
    source.write_text(COCO.replace('"width": 20', '"width": "20"'))
    with pytest.raises(FaultyTableError) as caught:
        load_dataset(source)
    assert caught.value.faults == (f"{source}, images[0]: width: expected int | null, got str.",)


@pytest.mark.parametrize("format", FILES)
def test_the_command_line_says_it_and_stops(tmp_path: Path, capsys: pytest.CaptureFixture[str], format: str) -> None:
    """With 2, before any model is looked for."""
    source = write_sound(tmp_path, format)
    command = ["evaluate", "--model", "none", "--data", str(source), "--check"]
    assert cli.main(command) == 0
    assert "all well" in capsys.readouterr().out
    for path in (tmp_path / "images").iterdir():
        path.write_bytes(b"")
    assert cli.main(command) == 2
    told = capsys.readouterr()
    assert "error: " in told.err
    assert "is empty" in told.out + told.err
