from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from dicom_file import write_dicom
from PIL import Image

from benchmarks import __main__ as cli
from benchmarks.data.check_set import check_set
from benchmarks.data.object_cxr import FaultyTableError


def write_set(root: Path, cells: list[str] | None = None, **options: object) -> Path:
    """Six films of 64 x 48 pixels a split, three with objects; ``cells`` replaces these of the test split."""
    generator = np.random.default_rng(0)
    for split in ("train", "dev", "test"):
        (root / split).mkdir(parents=True)
        rows = []
        for number in range(6):
            film = generator.integers(0, 255, (48, 64), dtype=np.uint8)
            Image.fromarray(film).save(root / split / f"{split}{number}.png")
            rows.append([f"{split}{number}.png", "0 10 10 30 30" if number % 2 else ""])
        if cells is not None and split == "test":
            for row, cell in zip(rows[1::2], cells, strict=False):
                row[1] = cell
        with (root / f"{split}.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows([["image_name", "annotation"], *rows])
    return root


def faults(root: Path) -> tuple[str, ...]:
    with pytest.raises(FaultyTableError) as caught:
        check_set(root, None, root / "cache")
    return caught.value.faults


def test_a_whole_set_has_no_faults(tmp_path: Path) -> None:
    root = write_set(tmp_path, ["0 -5 -5 3 3", "1 50 30 90 90;2 0 0 9 9 9 0", "0 30 30 10 10"])
    checked = check_set(root, None, tmp_path / "cache")
    assert {split: len(records) for split, records in checked.splits.items()} == {"train": 6, "dev": 6, "test": 6}
    assert checked.remarks == ()


@pytest.mark.parametrize(
    ("cell", "fault"),
    [
        ("0 64 0 70 10", "the object at 64 0 70 10 lies off the film, which has 64 x 48 pixels"),
        ("0 0 48 10 60", "lies off the film"),
        ("0 -9 0 0 10", "lies off the film"),
        ("2 70 0 80 0 80 9", "lies off the film"),
        ("0 0.1 0.1 0.4 0.4", "seems to be given in shares of the film: write pixels, of which it has 64 x 48"),
        ("0 0 0 1 1", "seems to be given in shares"),
        ("0 10 10 10 30", "the object at 10 10 10 30 has no area"),
        ("1 10 10 30 10", "has no area"),
        ("2 10 10 20 20 30 30 15 15", "has no area"),
        ("2 5 5 5 5 5 5", "has no area"),
    ],
)
def test_objects_that_no_map_can_hit(tmp_path: Path, cell: str, fault: str) -> None:
    root = write_set(tmp_path, [cell])
    (said,) = faults(root)
    assert said.startswith(f"{root / 'test.csv'}, row 3: ")
    assert fault in said
    assert said.count("row 3") == said.count("(film") == 1
    assert said.endswith("(film test1.png).")


def test_an_outline_that_crosses_itself_has_an_area(tmp_path: Path) -> None:
    check_set(write_set(tmp_path, ["2 10 10 20 20 20 10 10 20"]), None, tmp_path / "cache")


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ("test0.png,\ntest1.png,\n", "test holds 2 films, without objects only, and needs both classes"),
        ("test0.png,0 1 1 9 9\ntest1.png,0 1 1 9 9\n", "test holds 2 films, with objects only"),
        ("test0.png,\n", "test holds one film, without objects only"),
    ],
)
def test_a_split_needs_both_classes(tmp_path: Path, rows: str, fault: str) -> None:
    root = write_set(tmp_path)
    (root / "test.csv").write_text(f"image_name,annotation\n{rows}")
    (said,) = faults(root)
    assert fault in said


def test_a_film_is_in_one_split_whatever_its_container(tmp_path: Path) -> None:
    root = write_set(tmp_path)
    with Image.open(root / "train" / "train1.png") as film:
        film.save(root / "test" / "test2.png", "TIFF")
    (said,) = faults(root)
    assert said == (
        f"{root / 'test.csv'}, row 4: test2.png is the same film as train1.png ({root / 'train.csv'}, row 3): "
        "keep it in one split only."
    )


def test_a_film_twice_in_one_split_is_remarked(tmp_path: Path) -> None:
    root = write_set(tmp_path)
    for name, other in (("test3.png", "test1.png"), ("test4.png", "test1.png")):
        (root / "test" / name).write_bytes((root / "test" / other).read_bytes())
    assert check_set(root, None, tmp_path / "cache").remarks == (
        "test: 1 of the films show the same as another one, such as test3.png as test1.png.",
        "test: 1 of the films show the same as another one, such as test4.png as test1.png, but only one of the two "
        "has objects: correct or remove it.",
    )


@pytest.mark.parametrize("way", ["link", "path"])
def test_a_row_that_points_into_another_split_is_told(tmp_path: Path, way: str) -> None:
    root = write_set(tmp_path)
    (root / "train" / "more.png").write_bytes((root / "test" / "test0.png").read_bytes())
    if way == "link":
        (root / "test" / "test0.png").unlink()
        (root / "test" / "test0.png").symlink_to(root / "train" / "more.png")
    else:
        table = root / "test.csv"
        table.write_text(table.read_text().replace("image_name", "image_path").replace("test0", "train/more"))
    (said,) = faults(root)
    assert said.startswith(f"{root / 'test.csv'}, row 2: the film ")
    assert said.endswith(" is from the folder of train.")


def test_splits_may_share_a_folder(tmp_path: Path) -> None:
    root = write_set(tmp_path)
    (root / "images").mkdir()
    for split in ("train", "dev", "test"):
        for film in (root / split).iterdir():
            film.rename(root / "images" / film.name)
        (root / split).rmdir()
    check_set(root, None, tmp_path / "cache")


@pytest.mark.parametrize(
    ("cells", "remark"),
    [
        (["0 50 40 9 8;0 40 30 9 8", "0 30 40 9 8", "0 12 13 20 21"],
         "test: 3 of 4 boxes have their second corner left of or above their first: are they written as x y width"),
        (["0 40 30 50 40;0 40 30 50 50", "0 33 30 64 40", "0 1 1 9 9"],
         "test: 2 of 4 boxes reach over the edge of their film: are they written as x y width height?"),
    ],
)  # fmt: skip
def test_widths_read_as_corners_are_asked_about(tmp_path: Path, cells: list[str], remark: str) -> None:
    (said,) = check_set(write_set(tmp_path, cells), None, tmp_path / "cache").remarks
    assert said.startswith(remark)


def test_dicom_films_are_a_set_too(tmp_path: Path) -> None:
    root = write_set(tmp_path)
    film = np.random.default_rng(1).integers(0, 4095, (48, 64)).astype(np.uint16)
    (root / "test" / "test1.png").unlink()
    write_dicom(root / "test" / "test1.png", film, BitsStored=12)
    check_set(root, None, tmp_path / "cache")


def test_all_faults_of_all_splits_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_set(tmp_path / "set", ["0 90 90 99 99", "0 1 1 1 9", "7"])
    (root / "train" / "train0.png").write_bytes(b"")
    (root / "dev" / "dev0.png").unlink()
    (root / "dev.csv").write_text((root / "dev.csv").read_text() + "\x1b[2J.png,\n")

    assert cli.main(["data", "--data", str(root), "--out", str(tmp_path / "run")]) == 2

    *said, last = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 4
    assert last == f"error: {root} has 4 faults; each is named above."
    assert "\x1b" not in "".join(said)


def test_what_was_decided_of_films_is_told_once_a_kind(tmp_path: Path) -> None:
    """Also where it is known from before."""
    root = write_set(tmp_path)
    for number in (0, 1, 2):
        deep = np.full((48, 64), 3000 + number, dtype=np.uint16)
        deep[0] = np.arange(64) * (number + 1)
        Image.fromarray(deep).save(root / "test" / f"test{number}.png")
    with Image.open(root / "dev" / "dev0.png") as film:
        film.save(root / "dev" / "dev0.png", "TIFF", save_all=True, append_images=[film.copy()])
    for _ in range(2):
        assert check_set(root, None, tmp_path / "cache").remarks == (
            "dev: 1 of the films, such as dev0.png: it is the first of 2 pages.",
            "test: 3 of the films, such as test0.png: it was read as 12 bits deep, which hold its largest value.",
        )


def test_remarks_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_set(tmp_path / "set")
    (root / "test.csv").write_text((root / "test.csv").read_text() + "test1.png,0 31 31 35 35\n")

    assert cli.main(["data", "--data", str(root), "--out", str(tmp_path / "run")]) == 0

    said = capsys.readouterr().out
    assert "test: 6 films, 3 with objects" in said
    assert "note: test: 1 further row was joined with the first row of the same film." in said
