from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.data.annotations import parse_annotation
from benchmarks.data.contact_sheet import draw_contact_sheet
from benchmarks.data.object_cxr import Record


def make_records(folder: Path, annotations: list[str]) -> list[Record]:
    records = []
    for number, text in enumerate(annotations):
        path = folder / f"{number}.png"
        Image.fromarray(np.full((40, 80), 10 * number, np.uint8)).save(path)
        records.append(Record(path.name, path, parse_annotation(text), number + 2, folder / "test.csv"))
    return records


def load(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


def test_films_are_evenly_spaced_and_annotated(tmp_path: Path) -> None:
    annotations = [""] * 21
    annotations[10] = "0 20 10 60 30"
    draw_contact_sheet(make_records(tmp_path, annotations), tmp_path / "new" / "sheet.png", columns=3, rows=1, tile=40)
    sheet = load(tmp_path / "new" / "sheet.png")
    assert sheet.shape == (40, 120, 3)
    assert (sheet[:, :40] == 0).all()
    assert (sheet[:, 80:] == 200).all()
    film = sheet[:, 40:80]
    blue = film[..., 2] > film[..., 0]
    rows, columns = np.nonzero(blue)
    # 80 x 40 onto 40 x 40: x halves.
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (10, 30, 10, 30)
    assert not blue[15:25, 15:25].any()


@pytest.mark.parametrize("text", ["1 20 10 60 30", "2 20 10 60 10 40 30", "0 60 30 20 10", "0 -20 -10 300 300"])
def test_every_shape_leaves_a_mark(tmp_path: Path, text: str) -> None:
    draw_contact_sheet(make_records(tmp_path, [text]), tmp_path / "sheet.png", tile=90)
    sheet = load(tmp_path / "sheet.png")
    marked = (sheet[..., 2] > sheet[..., 0]).any()
    assert sheet.shape == (90, 90, 3)
    assert marked != ("300" in text)


def test_no_films_make_an_empty_sheet(tmp_path: Path) -> None:
    draw_contact_sheet([], tmp_path / "sheet.png", tile=20)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (20, 20)
