from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.data.annotations import Shape
from benchmarks.data.film_facts import annotation_digest
from benchmarks.data.kinds import write_kinds
from benchmarks.data.object_cxr import read_split
from benchmarks.run.errors import UserError
from benchmarks.synthetic.objects import OBJECTS
from benchmarks.synthetic.write import draw_film, write_synthetic

ROWS = "a.png,\nb.png,0 1 2 3 4\nc.png,0 1 2 3 4;1 5 5 9 9\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for split in ("train", "dev", "test"):
        (tmp_path / split).mkdir()
        (tmp_path / f"{split}.csv").write_text("image_name,annotation\n" + ROWS)
        for name in "abc":
            Image.fromarray(np.eye(12, dtype=np.uint8)).save(tmp_path / split / f"{name}.png")
    return tmp_path


def contents(root: Path) -> list[list[str]]:
    return [[shape.content for shape in record.shapes] for record in read_split(root, "test")]


def test_without_the_table_no_kind_is_known(root: Path) -> None:
    assert contents(root) == [[], [""], ["", ""]]


def test_kinds_come_in_the_order_of_the_annotation(root: Path) -> None:
    (root / "test_kinds.csv").write_text("image_name,kinds\nc.png,zip; safety pin\n")

    assert contents(root) == [[], [""], ["zip", "safety pin"]]


def test_an_empty_cell_says_nothing(root: Path) -> None:
    (root / "test_kinds.csv").write_text("image_name,kinds\na.png,\nb.png,\n")

    assert contents(root) == [[], [""], ["", ""]]


def test_the_table_changes_nothing_that_a_run_is_known_by(root: Path) -> None:
    before, records = annotation_digest(root, None, root / "cache"), list(read_split(root, "test"))
    (root / "test_kinds.csv").write_text("image_name,kinds\nb.png,zip\n")

    assert annotation_digest(root, None, root / "cache") == before
    assert list(read_split(root, "test")) == records


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("image_name,kinds\nc.png,zip\n", r"c\.png has 1 kinds for 2 annotated objects"),
        ("image_name,kinds\nb.png,zip\nB.png,zip\n", r"row 3: 'B\.png' is no film of test\.csv: name one as it does"),
        ("image_name,kinds\na.png,zip\n", r"a\.png has 1 kinds for 0 annotated objects"),
        ("image_name,kind\n", "row 1: the header must be"),
        ("image_name,kinds\nb.png\n", "row 2: two cells"),
        ('image_name,kinds\n"b.png,zip\n', "not readable as CSV"),
    ],
)
def test_a_table_that_does_not_fit_is_told_with_its_name(root: Path, text: str, fragment: str) -> None:
    (root / "test_kinds.csv").write_text(text)

    with pytest.raises(UserError, match=rf"test_kinds\.csv.*{fragment}"):
        read_split(root, "test")


def test_only_films_with_objects_are_written(tmp_path: Path) -> None:
    corners = ((1.0, 2.0), (3.0, 4.0))
    films = [("a.png", ()), ("b.png", (Shape("rectangle", corners, "coin"), Shape("ellipse", corners, "pin")))]

    write_kinds(tmp_path / "dev.csv", films)

    assert (tmp_path / "dev_kinds.csv").read_text() == "image_name,kinds\nb.png,coin;pin\n"


def test_synthetic_sets_know_their_objects(tmp_path: Path) -> None:
    write_synthetic(tmp_path, counts={"test": 8}, size=96, seed=3, processes=1)

    for number, record in enumerate(read_split(tmp_path, "test"), start=1):
        drawn = draw_film(3, number, record.label == 1, 96)[1]
        assert [shape.content for shape in record.shapes] == [shape.content for shape in drawn]
        assert {shape.content for shape in record.shapes} <= set(OBJECTS)
    assert (tmp_path / "test_kinds.csv").read_text().count("\n") == 1 + 4
