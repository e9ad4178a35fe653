from __future__ import annotations

from pathlib import Path

from PIL import Image

from benchmarks import load_dataset


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
