from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.data import decoded_films as module
from benchmarks.data.decoded_films import decoded_films
from benchmarks.data.object_cxr import read_split
from benchmarks.data.records import Record


def write_set(root: Path, films: int = 6) -> list[Record]:
    (root / "test").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(films):
        Image.fromarray(rng.integers(0, 256, (20, 30 + number), np.uint8)).save(root / "test" / f"{number}.png")
    (root / "test.csv").write_text("image_name,annotation\n" + "".join(f"{n}.png,\n" for n in range(films)))
    return read_split(root, "test")


def test_a_start_that_was_stopped_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records, (whole, elsewhere) = write_set(tmp_path), (tmp_path / "whole", tmp_path / "stopped")
    whole.mkdir()
    elsewhere.mkdir()
    path, sizes, pixels = decoded_films(records, 16, whole)
    assert sizes[:, :2].tolist() == [[30 + number, 20] for number in range(6)]
    seen = []

    def until(number: int) -> None:
        def decode(file: Path, at_least: int) -> object:
            seen.append(file.name)
            if len(seen) == number:
                raise KeyboardInterrupt
            return plain(file, at_least)

        monkeypatch.setattr(module, "decode", decode)

    plain = module.decode
    until(4)
    with pytest.raises(KeyboardInterrupt):
        decoded_films(records, 16, elsewhere)
    (part,) = elsewhere.glob("*.part")
    films = np.lib.format.open_memmap(part, mode="r+")
    films[1] = 0  # never reached the disk
    del films
    seen.clear()
    until(100)
    again, *facts = decoded_films(records, 16, elsewhere)
    assert seen == ["1.png", "3.png", "4.png", "5.png"]
    assert facts[0].tolist() == sizes.tolist()
    assert facts[1] == pixels
    assert again.read_bytes() == path.read_bytes()
    assert {file.suffix for file in elsewhere.iterdir()} == {".npy", ".json"}


def test_all_pixels_are_read_only_where_the_file_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    records = write_set(tmp_path)
    path, _, pixels = decoded_films(records, 16, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(module, "_write_facts", lambda *_: pytest.fail("all pixels were read"))
        assert decoded_films(records, 16, tmp_path)[2] == pixels
    os.utime(path)  # as of a copy
    assert decoded_films(records, 16, tmp_path)[2] == pixels
    assert capsys.readouterr().out == ""
    facts = path.with_suffix(".json")
    facts.write_text(facts.read_text().replace(pixels, pixels[::-1]))
    assert decoded_films(records, 16, tmp_path)[2] == pixels
    assert "is damaged; its films are decoded again" in capsys.readouterr().out
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert decoded_films(records, 16, tmp_path)[2] == pixels
    assert "is damaged; its films are decoded again" in capsys.readouterr().out
