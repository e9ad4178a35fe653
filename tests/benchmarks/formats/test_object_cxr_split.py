from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from benchmarks import load_dataset
from benchmarks.data.object_cxr import read_split
from benchmarks.run.errors import UserError

ROWS = "image_name,annotation\n1.png,1 2 3 8 9;2 0 0 5 0 5 5\n2.png,\n"


def write(root: Path, split: str) -> None:
    (root / split).mkdir(parents=True)
    for name in ("1.png", "2.png"):
        Image.new("L", (10, 10)).save(root / split / name)
    (root / f"{split}.csv").write_text(ROWS)


def test_the_objects_are_those_of_the_reader(tmp_path: Path) -> None:
    write(tmp_path, "test")
    data = load_dataset(tmp_path)
    assert (data.format, data.categories) == ("object-cxr", ("foreign object",))
    for image, record in zip(data.images, read_split(tmp_path, "test"), strict=True):
        assert (image.name, image.path, image.where) == (record.name, record.path, record.where)
        assert tuple(shape for found in image.objects for shape in found.shapes) == record.shapes


def test_one_split_is_chosen(tmp_path: Path) -> None:
    write(tmp_path, "train")
    write(tmp_path / "object-CXR_dev", "dev")
    with pytest.raises(UserError, match=r"holds .*train\.csv, .*dev\.csv: give one of them"):
        load_dataset(tmp_path)
    assert len(load_dataset(tmp_path / "object-CXR_dev" / "dev.csv").images) == 2
    assert load_dataset(tmp_path / "train.csv").images[0].path == tmp_path / "train" / "1.png"


def test_all_faults_of_the_table_are_kept(tmp_path: Path) -> None:
    write(tmp_path, "test")
    (tmp_path / "test.csv").write_text(ROWS + "3.png,\n4.png,7 1 1\n")
    with pytest.raises(UserError) as caught:
        load_dataset(tmp_path)
    assert len(caught.value.faults) == 2
    assert "`evaluate --check`, or the error's `faults`, lists them" in str(caught.value)
