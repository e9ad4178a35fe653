from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.data.object_cxr import read_split


def write_split(root: Path, films: int) -> Path:
    (root / "test").mkdir(parents=True)
    Image.new("L", (40, 30)).save(root / "test" / "0.png")
    for number in range(1, films):
        os.link(root / "test" / "0.png", root / "test" / f"{number}.png")
    rows = [f"{number}.png,{'' if number % 4 else f'0 1 2 {number + 3} 9'}\n" for number in range(films)]
    (root / "test.csv").write_text("image_name,annotation\n" + "".join(rows))
    return root


def test_a_film_is_the_same_by_place_and_in_turn(tmp_path: Path) -> None:
    films = read_split(write_split(tmp_path, 9), "test")
    assert [films[i] for i in range(9)] == list(films) == films[:]
    assert [films[-1].name, films[8].shapes[0].points] == ["8.png", ((1.0, 2.0), (11.0, 9.0))]
    assert films.labels.tolist() == [record.label for record in films] == [1, 0, 0, 0, 1, 0, 0, 0, 1]
    with pytest.raises(IndexError):
        films[9]
    both = zip(films, films, strict=True)
    assert all(one == other for one, other in both)


def test_labels_of_chosen_films_are_theirs(tmp_path: Path) -> None:
    films = read_split(write_split(tmp_path, 9), "test", limit=3)
    assert [(record.name, record.label) for record in films] == [("0.png", 1), ("1.png", 0), ("4.png", 1)]
    assert films.labels.tolist() == [1, 0, 1]


def test_memory_hardly_grows_with_films(tmp_path: Path) -> None:
    peaks = []
    for count in (2000, 6000):  # by 2000, garbage is collected in any version
        root = write_split(tmp_path / str(count), count)
        tracemalloc.start()
        films = read_split(root, "test")
        assert sum(len(record.shapes) for record in films) == count // 4
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 10 * 4000  # a record and its name alone take 500 bytes
