from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import load_dataset
from benchmarks.evaluation.questions import Question, Questions
from benchmarks.models import open_model
from benchmarks.run.errors import UserError


def test_a_folder_is_a_label(tmp_path: Path) -> None:
    for name in ("dog/2.jpg", "dog/deep/1.JPG", "cat/1.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (5, 4)).save(path, "PNG")
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    data = load_dataset(tmp_path)
    assert (data.format, data.categories) == ("folder", ("cat", "dog"))
    assert [(image.name, image.labels, image.objects) for image in data.images] == [
        ("cat/1.png", ("cat",), ()),
        ("dog/2.jpg", ("dog",), ()),
        ("dog/deep/1.JPG", ("dog",), ()),
    ]


def test_what_programs_keep_for_themselves_is_no_class_and_no_image(tmp_path: Path) -> None:
    for name in ("cat/1.png", "cat/._1.png", "cat/.ipynb_checkpoints/1.png", ".cache/1.png", "__MACOSX/cat/1.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (5, 4)).save(path, "PNG")
    (tmp_path / "._2.png").write_bytes(b"")
    data = load_dataset(tmp_path)
    assert data.categories == ("cat",)
    assert [image.name for image in data.images] == ["cat/1.png"]


def test_files_that_are_left_out_are_told(tmp_path: Path) -> None:
    """Half of a class would be missing and nobody would know."""
    for name in ("cat/1.png", "dog/1.png", "dog/2.webp", "dog/3.gif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (5, 4)).save(tmp_path / name)
    data = load_dataset(tmp_path)
    assert len(data.images) == 2
    assert data.remarks == (
        f"2 files are left out, by their names no images of a kind that is read, such as {tmp_path / 'dog/2.webp'}.",
    )


def test_linked_folders_are_read_and_links_to_nowhere_are_told(tmp_path: Path) -> None:
    """As git-annex leaves images that were not fetched: half of a class would be missing and nobody would know."""
    for name in ("set/cat/1.png", "elsewhere/2.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        Image.new("L", (5, 4)).save(tmp_path / name)
    cats = tmp_path / "set" / "cat"
    (cats / "more").symlink_to(tmp_path / "elsewhere")
    (cats / "more" / "around").symlink_to(cats)
    assert [image.name for image in load_dataset(tmp_path / "set").images] == ["cat/1.png", "cat/more/2.png"]
    (cats / "3.png").symlink_to(tmp_path / "not fetched")
    with pytest.raises(UserError, match=r"3\.png cannot be read \(No such file or directory\)"):
        load_dataset(tmp_path / "set")


def test_an_image_that_is_linked_into_several_folders_shows_several_classes(tmp_path: Path) -> None:
    for name in ("cat/1.png", "dog/1.png"):
        (tmp_path / name).parent.mkdir()
        Image.new("L", (5, 4)).save(tmp_path / name)
    (tmp_path / "cat" / "again.png").symlink_to(tmp_path / "cat" / "1.png")
    (tmp_path / "dog" / "both.png").symlink_to(tmp_path / "cat" / "1.png")
    (tmp_path / "pet").mkdir()
    (tmp_path / "pet" / "2.png").hardlink_to(tmp_path / "dog" / "1.png")
    data = load_dataset(tmp_path)
    assert [(image.name, image.labels) for image in data.images] == [
        ("cat/1.png", ("cat", "dog")),
        ("dog/1.png", ("dog", "pet")),
    ]


@pytest.mark.parametrize("splits", [("train", "val"), ("Train", "valid", "test"), ("dev",), ("train2017", "val_2")])
def test_splits_are_no_classes(tmp_path: Path, splits: tuple[str, ...]) -> None:
    for split in splits:
        for kind in ("cat", "dog"):
            (tmp_path / split / kind).mkdir(parents=True)
            Image.new("L", (5, 4)).save(tmp_path / split / kind / "1.png")
    with pytest.raises(UserError, match="the names of splits, where folders of classes are expected: give one of them"):
        load_dataset(tmp_path)
    assert load_dataset(tmp_path / splits[0]).categories == ("cat", "dog")
    (tmp_path / "bus").mkdir()
    Image.new("L", (5, 4)).save(tmp_path / "bus" / "1.png")
    assert "bus" in load_dataset(tmp_path).categories  # as "train" is a class of vehicles


def test_a_folder_that_unpacking_made_is_no_class(tmp_path: Path) -> None:
    for kind in ("cat", "dog"):
        (tmp_path / "set" / kind).mkdir(parents=True)
        Image.new("L", (5, 4)).save(tmp_path / "set" / kind / "1.jfif", "JPEG")
        (tmp_path / "Thumbs.db").touch()
    with pytest.raises(UserError, match=r"holds one folder, set, which holds folders alone: give .*set"):
        load_dataset(tmp_path)
    assert load_dataset(tmp_path / "set").categories == ("cat", "dog")


def test_images_with_annotations_beside_them_have_more_than_a_folder(tmp_path: Path) -> None:
    (tmp_path / "batch1").mkdir()
    Image.new("L", (5, 4)).save(tmp_path / "batch1" / "1.png")
    (tmp_path / "batch1" / "1.xml").write_text("<annotation/>")
    with pytest.raises(UserError, match="is not recognised: name its format"):
        load_dataset(tmp_path)
    assert load_dataset(tmp_path, format="folder").categories == ("batch1",)


def test_an_image_with_a_label_alone_is_turned(tmp_path: Path) -> None:
    """There is no place that would lie elsewhere then; the network sees what a person does."""
    upright = np.zeros((6, 4, 3), np.uint8)
    upright[0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the stored first column, from the bottom up, is the first row
    (tmp_path / "cat").mkdir()
    Image.fromarray(np.rot90(upright)).save(tmp_path / "cat" / "1.png", exif=exif)
    (image,) = load_dataset(tmp_path).images
    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    films = Questions([Question(image, "cat", 0, "1")], open_model(network, size=(6, 4)), tmp_path / "cache")
    assert torch.allclose(films[0][0][0], torch.from_numpy(upright[..., 0] / np.float32(255)))
    assert np.array_equal(films.picture(0), upright)


def test_images_alike_may_share_a_file_of_a_cache(tmp_path: Path) -> None:
    """Whose name is a digest of its content."""
    blob = tmp_path / "blobs" / "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    blob.parent.mkdir()
    Image.new("L", (5, 4)).save(blob, "PNG")
    for name in ("set/cat/1.png", "set/cat/2.png", "set/dog/3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).symlink_to(blob)
    assert [(image.name, image.labels) for image in load_dataset(tmp_path / "set").images] == [
        ("cat/1.png", ("cat",)),
        ("cat/2.png", ("cat",)),
        ("dog/3.png", ("dog",)),
    ]
    table = tmp_path / "set" / "boxes.csv"
    table.write_text("image,category,x1,y1,x2,y2\ncat/1.png,cat,0,0,2,2\ncat/2.png,cat,0,0,2,3\n")
    assert [image.objects[0].box for image in load_dataset(table).images] == [(0, 0, 2, 2), (0, 0, 2, 3)]
    table.write_text("image,category,x1,y1,x2,y2\ncat/1.png,cat,0,0,2,2\n./cat/1.png,cat,0,0,2,3\n")
    with pytest.raises(UserError, match="is there already"):
        load_dataset(table)
