"""Which file an annotation's name is."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.formats.image_files import ImageFiles


def folder_of(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


@pytest.mark.parametrize(
    "name",
    [
        *(
            "images/0.png",
            "images/0",
            r"C:\x\0.png",
            "c:/x/0.png",
            "/x/y/0.png",
            "./0.png",
            "0",
            "../0.png",
            "/x/../0.png",
        ),
        *("http://host/images/0.png", "https://host/0.png?size=large#top", "s3://bucket/a%20b/0.png"),
    ],
)
def test_a_path_that_begins_further_up_is_followed_from_the_folder(tmp_path: Path, name: str) -> None:
    root = folder_of(tmp_path / "images", "0.png")
    assert ImageFiles(root, []).find(name) == root / "0.png"
    assert ImageFiles(None, [root]).find(name) == root / "0.png"


@pytest.mark.parametrize(("name", "there"), [("0.png", "0.PNG"), ("0.JPG", "0.jpg"), ("a/0.jpg", "a/0.JPG")])
def test_a_suffix_may_be_in_capitals(tmp_path: Path, name: str, there: str) -> None:
    root = folder_of(tmp_path, there)
    assert ImageFiles(root, []).find(name) == root / there
    folder_of(root, name)  # on systems that tell them apart
    assert ImageFiles(root, []).find(name).samefile(root / name)


def test_the_longest_end_of_a_path_counts(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "images", "0.png", "a/0.png", "b/a/0.png")
    files = ImageFiles(root, [])
    for name, path in (("set/b/a/0", "b/a/0.png"), ("images/a/0.png", "a/0.png"), ("x/0.png", "0.png")):
        assert files.find(name) == root / path


def test_an_image_of_another_folder_is_another_image(tmp_path: Path) -> None:
    files = ImageFiles(folder_of(tmp_path, "val/0.png"), [])
    assert files.find("0.png") == tmp_path / "val" / "0.png"
    with pytest.raises(ValueError, match=r"the image 'train/0.png' is not in .*: put it there, or name its folder"):
        files.find("train/0.png")


def test_what_could_be_two_images_is_refused(tmp_path: Path) -> None:
    files = ImageFiles(folder_of(tmp_path, "0.png", "0.jpg"), [])
    with pytest.raises(ValueError, match=r"the image 'images/0' is there twice, as .*: keep one"):
        files.find("images/0")


@pytest.mark.parametrize(
    "name", ["", " ", "/", "C:/", "..", "0.png/..", "http://0.png", "C:0.png", "0\0", "s3://b/%00"]
)
def test_what_is_no_path_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="is no path inside a folder"):
        ImageFiles(folder_of(tmp_path, "0.png"), []).find(name)


def test_an_address_is_read_as_it_is_meant(tmp_path: Path) -> None:
    root = folder_of(tmp_path, "a b#1.png", "a%20b.png")
    assert ImageFiles(root, []).find("https://host/a%20b%231.png") == root / "a b#1.png"
    assert ImageFiles(root, []).find("a%20b.png") == root / "a%20b.png"  # which is no address


def test_nothing_outside_of_the_folder_is_read(tmp_path: Path) -> None:
    outside = folder_of(tmp_path, "1.png") / "1.png"
    with pytest.raises(ValueError, match="is not in"):
        ImageFiles(folder_of(tmp_path / "images", "0.png"), []).find(str(outside))
    for name in ("../1.png", "a/../../1.png", "http://host/../1.png", "http://host/%2e%2e/1.png"):
        with pytest.raises(ValueError, match="is not in"):
            ImageFiles(tmp_path / "images", []).find(name)
