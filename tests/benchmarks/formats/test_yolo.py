"""YOLO, by files as Ultralytics describes them: class x_center y_center width height, or class and a polygon."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import load_dataset
from benchmarks.formats.category_mask import category_mask
from benchmarks.run.errors import UserError

YAML = """\
path: .
train: images/train
names:
  0: person
  1: traffic light
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for split in ("train", "val"):
        (tmp_path / "images" / split).mkdir(parents=True)
        (tmp_path / "labels" / split).mkdir(parents=True)
        for name in ("a", "b"):
            Image.new("RGB", (200, 100)).save(tmp_path / "images" / split / f"{name}.jpg")
    (tmp_path / "labels" / "train" / "a.txt").write_text("1 0.5 0.5 0.1 0.2\n\n0 0.0 0.0 0.25 0.0 0.25 0.5\n")
    (tmp_path / "labels" / "val" / "a.txt").write_text("0 0.5 0.5 1 1\n")
    (tmp_path / "data.yaml").write_text(YAML)
    return tmp_path


def test_boxes_are_shares_of_each_side(root: Path) -> None:
    """Centre 100, 50 of 200 x 100, sides 20 and 20."""
    data = load_dataset(root / "data.yaml")
    assert data.format == "yolo"
    assert data.categories == ("person", "traffic light")
    assert [image.name for image in data.images] == ["a.jpg", "b.jpg"]
    assert data.images[0].objects[0].box == (90, 40, 110, 60)
    assert data.images[0].objects[0].category == "traffic light"


def test_more_numbers_are_a_polygon(root: Path) -> None:
    image = load_dataset(root / "data.yaml").images[0]
    assert image.objects[1].shapes[0].points == ((0, 0), (50, 0), (50, 50))
    mask = category_mask(image, "person", (100, 200), "shape")
    assert abs(int(mask.sum()) - 50 * 50 / 2) <= 50
    assert mask[1, 48]
    assert not mask[48, 1]


@pytest.mark.parametrize("points", ["0.4 0.5 0.6 0.6", "0.4 0.5 2 0.6 0.6 1"])
def test_of_key_points_the_box_counts(root: Path, points: str) -> None:
    (root / "data.yaml").write_text(f"{YAML}kpt_shape: [2, {len(points.split()) // 2}]\n")
    (root / "labels" / "train" / "a.txt").write_text(f"0 0.5 0.5 0.25 0.5 {points}\n")
    (found,) = load_dataset(root / "data.yaml").images[0].objects
    assert (found.shapes[0].kind, found.box) == ("rectangle", (75, 25, 125, 75))


@pytest.mark.parametrize("points", ["0.4 0.5 0.6 0.6", "0.45 0.3 0 0", "0.4 0.5"])
def test_what_may_be_key_points_or_an_outline_is_asked_about(root: Path, points: str) -> None:
    """Read as an outline, a box that lies elsewhere would count, without a word."""
    labels = root / "labels" / "train" / "a.txt"
    labels.write_text(f"0 0.5 0.5 0.25 0.5 {points}\n1 0.5 0.5 0.1 0.2\n" * 2)
    count = len(points.split()) // 2
    with pytest.raises(
        UserError, match=rf"2 lines may be an outline or a box with {count} key point.*`kpt_shape: \[{count}, 2\]`"
    ):
        load_dataset(root / "data.yaml")
    (root / "data.yaml").write_text(f"{YAML}kpt_shape: null\n")
    assert load_dataset(root / "data.yaml").images[0].objects[0].shapes[0].kind == "polygon"
    (root / "data.yaml").write_text(YAML)
    labels.write_text(f"{labels.read_text()}0 0.4 0.4 0.6 0.4 0.6 0.6 0.5 0.7 0.4 0.6\n")  # outlines differ in length
    assert load_dataset(root / "data.yaml").images[0].objects[0].shapes[0].kind == "polygon"


def test_turned_boxes_are_no_key_points(root: Path) -> None:
    """An oriented box of which the last three corners lie in the box that the first two would be."""
    (root / "labels" / "train" / "a.txt").write_text("0 0.4 0.4 0.6 0.5 0.55 0.6 0.35 0.5\n")
    assert load_dataset(root / "data.yaml").images[0].objects[0].box == (70, 40, 120, 60)


@pytest.mark.parametrize("points", ["0.4 0.5 2 0.6 0.6 1", "0.4 0.5 1 0.9 0.6 1", "0 0 0 0.6 0.6 1", "0.4 0.5 2"])
def test_key_points_that_say_how_they_are_seen_are_known(root: Path, points: str) -> None:
    (root / "labels" / "train" / "a.txt").write_text(f"0 0.5 0.5 0.25 0.5 {points}\n")
    with pytest.raises(UserError, match="line 1: it seems to be a box with key points: tell of them in"):
        load_dataset(root / "data.yaml")


def test_an_image_without_a_file_shows_nothing(root: Path) -> None:
    assert load_dataset(root / "data.yaml").images[1].labels == ()


@pytest.mark.parametrize("path", ["labels/val", "labels/../labels/val"])
def test_a_folder_of_labels_finds_its_images_and_names(root: Path, path: str) -> None:
    data = load_dataset(root / path)
    assert [image.path for image in data.images] == [
        root / path.replace("labels/val", "images/val") / n for n in ("a.jpg", "b.jpg")
    ]
    assert data.images[0].objects[0].box == (0, 0, 200, 100)


def test_names_come_from_lists_too(root: Path) -> None:
    (root / "data.yaml").unlink()
    (root / "classes.txt").write_text("person\ntraffic light\n")
    assert load_dataset(root / "labels" / "train").categories == ("person", "traffic light")
    (root / "classes.txt").rename(root / "obj.names")
    data = load_dataset(root, images=root / "images")
    assert [image.name for image in data.images] == ["train/a.jpg", "train/b.jpg", "val/a.jpg", "val/b.jpg"]
    (root / "data.yaml").write_text("names: [man, lamp]\n")
    assert load_dataset(root / "labels" / "train").categories == ("man", "lamp")


def test_six_digits_give_back_whole_pixels(root: Path) -> None:
    """Thirds of a side, which no share of six digits is: 67 of 201 is 0.333333, and 66.999933 would lose a pixel."""
    Image.new("RGB", (201, 100)).save(root / "images" / "val" / "a.jpg")
    (root / "labels" / "val" / "a.txt").write_text("0 0.333333 0.500000 0.333333 1.000000\n")
    image = load_dataset(root / "labels" / "val").images[0]
    assert image.objects[0].box == (33.5, 0, 100.5, 100)
    assert np.flatnonzero(category_mask(image, "person", (100, 201)).any(axis=0))[[0, -1]].tolist() == [33, 100]


def test_folders_are_found_as_roboflow_writes_them(root: Path) -> None:
    (root / "data.yaml").write_text(YAML.replace("images/train", "../images/train"))
    assert load_dataset(root / "data.yaml").images[0].path == root / "images" / "train" / "a.jpg"


BOTH = ["train/a.jpg", "train/b.jpg", "val/a.jpg", "val/b.jpg"]


def test_a_split_may_have_several_folders(root: Path) -> None:
    (root / "data.yaml").write_text(YAML.replace("images/train", "[images/train, ./images/val/]"))
    data = load_dataset(root / "data.yaml")
    assert [image.name for image in data.images] == BOTH
    assert [len(image.objects) for image in data.images] == [2, 0, 1, 0]
    (root / "data.yaml").write_text(YAML.replace("images/train", "[images/train]"))
    assert [image.name for image in load_dataset(root / "data.yaml").images] == ["a.jpg", "b.jpg"]
    (root / "data.yaml").write_text(YAML.replace("images/train", "[images/train, {a: b}]"))
    with pytest.raises(UserError, match="its split is no folder: give the folder of the images"):
        load_dataset(root / "data.yaml")
    (root / "data.yaml").write_text(YAML.replace("images/train", "images/train/a.jpg"))
    with pytest.raises(
        UserError, match=r"its split .*a\.jpg is neither a folder of images nor a list of them \(\.txt\)"
    ):
        load_dataset(root / "data.yaml")


@pytest.mark.parametrize(
    "above", ["./images/", "images/", "/content/set/images/", "..\\set\\images\\", "{root}/images/"]
)
def test_a_split_may_be_a_list_of_images(root: Path, above: str) -> None:
    (root / "some.txt").write_text(above.format(root=root).join(["", "val/a.jpg\n", "train/b.jpg\n\n"]))
    (root / "data.yaml").write_text(YAML.replace("images/train", "some.txt"))
    data = load_dataset(root / "data.yaml")
    assert [(image.name, len(image.objects)) for image in data.images] == [("val/a.jpg", 1), ("train/b.jpg", 0)]
    assert data.images[0].objects[0].box == (0, 0, 200, 100)


def test_faults_of_a_list_are_told_with_their_line(root: Path) -> None:
    (root / "some.txt").write_text("./images/val/a.jpg\n./images/val/c.jpg\n./images/val/a.jpg\n")
    (root / "data.yaml").write_text(YAML.replace("images/train", "[some.txt, images/train]"))
    with pytest.raises(UserError, match=r"some\.txt, line 2: the image './images/val/c\.jpg' is not in .* \(2 faults"):
        load_dataset(root / "data.yaml")


@pytest.mark.parametrize("path", ["/kaggle/input/set", "../datasets/set"])
def test_where_the_set_was_on_another_machine_does_not_matter(root: Path, path: str) -> None:
    (root / "data.yaml").write_text(YAML.replace("path: .", f"path: {path}").replace("/train", "\\train"))
    assert load_dataset(root / "data.yaml").images[0].path == root / "images" / "train" / "a.jpg"


@pytest.mark.parametrize("more", ["a: &a {b: *a}", "a: &a {x: {}}\nb: {<<: *a, x: 1}\nc: [*a, *a]"])
def test_what_yaml_may_hold_beside_is_nothing_to_us(root: Path, more: str) -> None:
    """Anchors that hold themselves, and keys that are taken over."""
    (root / "data.yaml").write_text(f"{YAML}{more}\n")
    assert load_dataset(root / "data.yaml").categories == ("person", "traffic light")


def test_labels_that_are_missing_are_named(root: Path) -> None:
    (root / "labels").rename(root / "lables")
    with pytest.raises(UserError, match=r"no folder .*labels/train, where the labels of .*images/train are: put them"):
        load_dataset(root / "data.yaml")


def test_splits_that_are_read_together_are_remarked(root: Path) -> None:
    data = load_dataset(root)
    assert [image.name for image in data.images] == BOTH
    assert f"{root / 'labels'} holds train, val, the names of splits, all of which are read" in data.remarks[0]


def test_a_split_must_be_chosen(root: Path) -> None:
    (root / "data.yaml").write_text(YAML + "val: images/val\n")
    with pytest.raises(UserError, match="names train, val: give the folder of the images that count with `images`"):
        load_dataset(root / "data.yaml")
    assert load_dataset(root / "data.yaml", images=root / "images" / "val").images[0].objects[0].box == (0, 0, 200, 100)


def test_suffixes_in_capitals_are_the_same(root: Path) -> None:
    folder = root / "labels" / "train"
    (folder / "a.txt").rename(folder / "a.TXT")
    assert load_dataset(root / "data.yaml").images[0].objects[0].box == (90, 40, 110, 60)


def test_blank_lines_do_not_shift_classes(root: Path) -> None:
    (root / "data.yaml").unlink()
    (root / "classes.txt").write_text("person\ntraffic light\n\n \n")
    assert load_dataset(root / "labels" / "train").categories == ("person", "traffic light")
    for text, line in (("\nperson\ntraffic light\n", 1), ("person\n\ntraffic light\n", 2)):
        (root / "classes.txt").write_text(text)
        with pytest.raises(
            UserError, match=rf"classes\.txt, line {line}: it is blank where a class is named: remove or"
        ):
            load_dataset(root / "labels" / "train")


def test_what_programs_keep_for_themselves_is_not_read(root: Path) -> None:
    for name in ("images/train/.ipynb_checkpoints/a.jpg", "images/train/._a.jpg", "images/train/__MACOSX/b.jpg"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"no image")
    (root / "labels" / "train" / "._a.txt").write_bytes(b"\xff")
    assert [image.name for image in load_dataset(root / "data.yaml").images] == ["a.jpg", "b.jpg"]


def test_names_may_be_numbered_in_words(root: Path) -> None:
    (root / "data.yaml").write_text("train: images/train\nnames: {'1': dog, '0': cat}\nnc: 2\n")
    assert load_dataset(root / "data.yaml").categories == ("cat", "dog")
    (root / "data.yaml").write_text("train: images/train\nnames: [cat, dog]\nnc: 3\n")
    with pytest.raises(UserError, match='has 2 names, but its "nc" is 3: correct one of them'):
        load_dataset(root / "data.yaml")
    (root / "data.yaml").write_text("train: images/train\nnames: [cat, dog]\nnc: '2'\n")
    assert load_dataset(root / "data.yaml").categories == ("cat", "dog")


def test_a_list_of_classes_may_lie_among_the_labels(root: Path) -> None:
    """Where labelImg writes it."""
    (root / "data.yaml").unlink()
    (root / "labels" / "classes.txt").write_text("person\ntraffic light\n")
    assert load_dataset(root).categories == ("person", "traffic light")


def test_a_split_may_be_the_folder_above_its_images(root: Path) -> None:
    (root / "valid").mkdir()
    for folder in ("images", "labels"):
        (root / folder / "val").rename(root / "valid" / folder)
    (root / "data.yaml").write_text("names: [person]\nval: valid\n")
    assert load_dataset(root / "data.yaml").images[0].objects[0].box == (0, 0, 200, 100)
