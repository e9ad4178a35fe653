from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from benchmarks import load_dataset
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
