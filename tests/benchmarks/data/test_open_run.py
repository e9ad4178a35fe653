from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image, ImageOps
from tiny_run import make_run

from benchmarks.data.open_run import open_existing, open_run
from benchmarks.run.errors import UserError


def test_relative_data_are_found_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_run(tmp_path)
    (tmp_path / "run" / "config.json").unlink()
    monkeypatch.chdir(tmp_path)
    open_run(config.replace(data=Path("data"), out=Path("run")))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    assert open_existing(Path("..") / "run", {}).data_root == tmp_path / "data"


def test_a_film_changed_at_the_same_size_is_told(tmp_path: Path) -> None:
    config = make_run(tmp_path)
    film = sorted((tmp_path / "data" / "train").glob("*.png"))[0]
    with Image.open(film) as picture:
        picture.save(film, "BMP")
        changed = ImageOps.mirror(picture)
    open_run(config)  # the same pixels in another container are the same film
    size = film.stat().st_size
    changed.save(film, "BMP")
    assert film.stat().st_size == size
    os.utime(film, ns=(1, 1))

    with pytest.raises(UserError, match="was made with other films or annotations"):
        open_run(config)
