"""The example that draws objects on films of one's own: the set that it writes is one that the benchmark takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.data.object_cxr import read_split

SCRIPT = Path(__file__).parents[1] / "examples" / "draw_on_films.py"


def test_objects_are_drawn_where_the_tables_say_and_patients_stay_apart(tmp_path: Path) -> None:
    films, tables, out = tmp_path / "films", tmp_path / "tables", tmp_path / "out"
    (films / "images").mkdir(parents=True)
    tables.mkdir()
    for split in ("train", "dev"):
        (tables / f"{split}.csv").write_text("image_name,annotation\na.jpg,0 100 100 900 700;0 5 5 600 800\nb.jpg,\n")
    rows = ["image_name,patient_id"]
    for number in range(24):  # a grey value of its own for each, by which its patient is known
        Image.new("L", (96, 96), 10 + 5 * number).save(films / "images" / f"{number}.png")
        rows.append(f"{number}.png,{number // 2}")
    (films / "index.csv").write_text("\n".join(rows) + "\n")

    command = [sys.executable, str(SCRIPT), "real", str(out), "--films", str(films), "--annotations", str(tables)]
    subprocess.run([*command, "--counts", "12", "6", "6"], check=True)

    patients: dict[str, set[int]] = {}
    for split, count in {"train": 12, "dev": 6, "test": 6}.items():
        records = read_split(out, split)
        assert len(records) == count
        assert sum(bool(record.shapes) for record in records) == count / 2
        patients[split] = set()
        for record in records:
            film = np.asarray(Image.open(record.path)).astype(int)
            bare = int(np.bincount(film.ravel()).argmax())
            patients[split].add((bare - 10) // 10)
            inside = np.zeros_like(film, dtype=bool)
            for shape in record.shapes:
                left, top, right, bottom = shape.box
                inside[int(top) : int(bottom), int(left) : int(right)] = True
                assert film[int(top) : int(bottom), int(left) : int(right)].max() > bare + 20
            # What shrinking leaves beside a box is less than a sixth of a contrast, where two objects meet a third.
            assert film[~inside].max(initial=bare) <= bare + 110 / 3
    assert not patients["train"] & patients["dev"] | patients["train"] & patients["test"]
    assert not patients["dev"] & patients["test"]


def test_missing_films_are_a_sentence(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "real", str(tmp_path / "out"), "--films", str(tmp_path)]
    done = subprocess.run([*command, "--annotations", str(tmp_path)], capture_output=True, text=True)

    assert done.returncode == 2
    assert f"{tmp_path / 'train.csv'} is missing" in done.stderr
    assert "Traceback" not in done.stderr
